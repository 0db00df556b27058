//! Finds the end of a record while its bytes arrive, and the two fields that most rules look at: `eventSource`, `eventName`.
//!
//! Most records match nothing, so they are not parsed. Sixty-four bytes at a time become bit masks, one bit a byte: the
//! places of quotes and brackets, and from these the extent of strings. Only brackets, and strings that may be one of the
//! two keys, are then looked at one by one.
//!
//! Functions that take a `Simd` are compiled once for each instruction set. The processor's best one is chosen when the
//! program runs. This works only where all of them are inlined.

#![allow(clippy::inline_always)]

use std::borrow::Cow;
use std::mem;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x64};
use memchr::memchr2;

use super::record::{self, Record};

const BLOCK: usize = 64;

/// A key or an escape may begin in a block and end behind it, so this many bytes behind it must have arrived.
const AHEAD: usize = 16;

const BAD_ESCAPE: &str = "a string holds an escape that JSON does not have";
const BAD_BYTE: &str = "a control character stands in a string, or a backslash outside of one";
const BAD_NESTING: &str = "the brackets do not match";

/// Scans one record, an object, at a time.
#[derive(Default)]
pub(super) struct RecordScanner {
    /// How many bytes of the record have been looked at.
    at: usize,
    /// Whether the next byte is inside a string, and whether it is escaped there.
    in_string: bool,
    escaped: bool,
    /// The closing brackets that are still missing.
    open: Vec<u8>,
    /// The ends of the last keys `eventSource` and `eventName` at the top level.
    source_key_end: Option<usize>,
    name_key_end: Option<usize>,
    plain_escapes: bool,
}

impl RecordScanner {
    /// Looks at the bytes of the record that have arrived, from its first one on; gives its length once it is whole.
    /// Strings, escapes and the nesting of brackets are checked, and nothing else.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        dispatch!(Level::new(), simd => self.advance_with(simd, bytes))
    }

    #[inline(always)]
    fn advance_with<S: Simd>(&mut self, simd: S, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        while let Some(ahead) = bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            if let Some(length) = self.block(&Masks::of(simd, ahead), bytes)? {
                return Ok(Some(length));
            }
            self.at += BLOCK;
        }
        Ok(None)
    }

    /// As [`advance`](Self::advance), if no more bytes will come.
    pub(super) fn finish(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let padded = [bytes, &[b' '; BLOCK + AHEAD]].concat();
        Ok(self.advance(&padded)?.filter(|length| *length <= bytes.len()))
    }

    /// Forgets the record, for the next one.
    pub(super) fn clear(&mut self) {
        let open = mem::take(&mut self.open);
        *self = RecordScanner { open, ..RecordScanner::default() };
        self.open.clear();
    }

    /// Goes through a block; gives the record's length if it ends there.
    #[inline(always)]
    fn block(&mut self, masks: &Masks, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let (mut escaped, mut bad_escapes) = (u64::from(mem::take(&mut self.escaped)), 0);
        if masks.backslashes != 0 {
            (escaped, bad_escapes) = self.escapes(escaped, masks.backslashes, bytes);
        }
        // A byte is in a string if the number of quotes up to it is odd: from each opening quote to before the closing.
        let quotes = masks.quotes & !escaped;
        let strings = prefix_xor(quotes) ^ if self.in_string { u64::MAX } else { 0 };
        self.in_string = strings >> (BLOCK - 1) == 1;
        let bad_bytes = (masks.controls & strings) | (masks.backslashes & !strings);
        let mut keys = masks.keys & quotes & strings;
        let mut brackets = masks.brackets & !strings;
        // Nearly always there are only brackets to look at.
        if (bad_escapes | bad_bytes | keys) == 0 {
            while brackets != 0 {
                let at = self.at + brackets.trailing_zeros() as usize;
                if self.bracket(bytes[at])? {
                    return Ok(Some(at + 1));
                }
                brackets &= brackets - 1;
            }
            return Ok(None);
        }
        loop {
            let next = brackets.trailing_zeros();
            // A mistake behind the record's end is not the record's.
            if bad_escapes & below(next) != 0 {
                return Err(BAD_ESCAPE);
            }
            if bad_bytes & below(next) != 0 {
                return Err(BAD_BYTE);
            }
            while keys & below(next) != 0 {
                if self.open.len() == 1 {
                    self.key(self.at + keys.trailing_zeros() as usize, bytes);
                }
                keys &= keys - 1;
            }
            if brackets == 0 {
                return Ok(None);
            }
            let at = self.at + next as usize;
            if self.bracket(bytes[at])? {
                return Ok(Some(at + 1));
            }
            brackets &= brackets - 1;
        }
    }

    /// Whether this bracket closes the record.
    #[inline(always)]
    fn bracket(&mut self, byte: u8) -> Result<bool, &'static str> {
        match byte {
            b'{' => self.open.push(b'}'),
            b'[' => self.open.push(b']'),
            closing if self.open.pop() == Some(closing) => return Ok(self.open.is_empty()),
            _ => return Err(BAD_NESTING),
        }
        Ok(false)
    }

    /// Gives two masks: the bytes that are escaped, and the backslashes that begin no escape of JSON. `escaped` is 1 if the
    /// first byte is escaped.
    fn escapes(&mut self, mut escaped: u64, backslashes: u64, bytes: &[u8]) -> (u64, u64) {
        let mut bad = 0;
        let mut openers = backslashes & !escaped;
        while openers != 0 {
            let i = openers.trailing_zeros();
            if !self.check_escape(&bytes[self.at + i as usize + 1..]) {
                bad |= 1 << i;
            }
            // The next byte is escaped, and if it is a backslash, it begins nothing.
            if i as usize == BLOCK - 1 {
                self.escaped = true;
                break;
            }
            escaped |= 2 << i;
            openers &= !(3 << i);
        }
        (escaped, bad)
    }

    /// Whether the bytes behind a backslash make an escape that JSON has. Notes whether it stands for a plain character, or
    /// for a control character, which compact JSON may write with other letters.
    fn check_escape(&mut self, rest: &[u8]) -> bool {
        match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
            [b'u', digits @ ..] => {
                let digits = digits.first_chunk::<4>().and_then(|digits| str::from_utf8(digits).ok());
                let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                self.plain_escapes |=
                    code.and_then(|code| u8::try_from(code).ok()).is_some_and(|code| code < b' ' || is_plain(code));
                code.is_some()
            }
            _ => false,
        }
    }

    /// Notes a string at the top level of the record, if it is one of the two keys.
    fn key(&mut self, at: usize, bytes: &[u8]) {
        let text = &bytes[at + 1..];
        let (key, length) = if text.starts_with(b"eventSource\"") {
            (&mut self.source_key_end, "\"eventSource\"".len())
        } else if text.starts_with(b"eventName\"") {
            (&mut self.name_key_end, "\"eventName\"".len())
        } else {
            return;
        };
        // A value may read the same; it follows a colon.
        if bytes[..at].iter().rev().find(|b| !is_blank(**b)) != Some(&b':') {
            *key = Some(at + length);
        }
    }

    /// Whether the record has `eventSource` or `eventName`, unless they are written with escapes.
    pub(super) fn has_keys(&self) -> bool {
        self.source_key_end.is_some() || self.name_key_end.is_some()
    }

    /// Whether the record writes plain characters as escapes, so that a text may look like another one.
    pub(super) fn has_plain_escapes(&self) -> bool {
        self.plain_escapes
    }

    /// `eventSource` and `eventName` of the whole record; `None` for a field that is missing or not a string. That the
    /// record is not JSON shows only if one of them is hard to read.
    pub(super) fn fields<'a>(&self, bytes: &'a [u8]) -> Result<[Option<Cow<'a, str>>; 2], String> {
        if !self.plain_escapes
            && let (Ok(source), Ok(name)) =
                (plain_text(bytes, self.source_key_end), plain_text(bytes, self.name_key_end))
        {
            return Ok([source.map(Cow::Borrowed), name.map(Cow::Borrowed)]);
        }
        let text = record::readable(bytes);
        let record = Record::parse(&text)?;
        Ok(["eventSource", "eventName"].map(|key| record.raw_string(&[key]).map(Cow::Owned)))
    }
}

/// A text that is hard to read: it holds escapes, or is not UTF-8.
struct Hard;

/// The string behind a key that ends there; `None` if there is no key, or another value behind it.
fn plain_text(bytes: &[u8], key_end: Option<usize>) -> Result<Option<&str>, Hard> {
    let Some(key_end) = key_end else { return Ok(None) };
    let rest = &bytes[key_end..];
    let value = rest.iter().position(|b| !is_blank(*b) && *b != b':').map_or(&[][..], |at| &rest[at..]);
    let [b'"', text @ ..] = value else { return Ok(None) };
    match memchr2(b'"', b'\\', text) {
        Some(end) if text[end] == b'"' => str::from_utf8(&text[..end]).map(Some).map_err(|_| Hard),
        _ => Err(Hard),
    }
}

/// Whether a character is one that nobody has a reason to write as an escape.
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':')
}

/// Whether JSON takes a byte for white space.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The bits below one.
fn below(bit: u32) -> u64 {
    1_u64.checked_shl(bit).map_or(u64::MAX, |bit| bit - 1)
}

/// For each bit, the parity of the bits up to it.
fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ bits << 32
}

/// The places of the characters that matter in a block: bit `i` is about byte `i`.
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// Brackets and braces. One comparison finds all four, and in strings other characters too.
    brackets: u64,
    controls: u64,
    /// Possible beginnings of the two keys: they have a capital at the same place, and few other texts do.
    keys: u64,
}

impl Masks {
    #[inline(always)]
    fn of<S: Simd>(simd: S, ahead: &[u8; BLOCK + AHEAD]) -> Self {
        const CAPITAL: usize = "\"event".len();
        let bytes = u8x64::from_slice(simd, &ahead[..BLOCK]);
        let capitals = u8x64::from_slice(simd, &ahead[CAPITAL..][..BLOCK]);
        let (backslashes, controls) = (bytes.simd_eq(b'\\'), bytes.simd_lt(b' '));
        // Most blocks have neither, and one comparison costs less than two masks.
        let odd = (backslashes | controls).any_true();
        Masks {
            quotes: bytes.simd_eq(b'"').to_bitmask(),
            backslashes: if odd { backslashes.to_bitmask() } else { 0 },
            // `[`, `]`, `{` and `}` differ in these bits only. The other bytes that do never stand outside of strings.
            brackets: (bytes | 0x26).simd_eq(0x7f).to_bitmask(),
            controls: if odd { controls.to_bitmask() } else { 0 },
            keys: (capitals.simd_eq(b'S') | capitals.simd_eq(b'N')).to_bitmask(),
        }
    }
}
