//! A record as its bytes arrive: where it ends, and where the two fields stand that every rule looks at. Pure.
//!
//! Most records match nothing, so they are not parsed. Sixty-four bytes at a time are turned into bit masks, one bit a
//! byte: where quotes, backslashes and brackets are, and from these what lies in strings. Only brackets and the keys
//! directly in the record are then looked at one by one.

use std::borrow::Cow;

use wide::u8x16;

use crate::record::{self, Record};

const BLOCK: usize = 64;

/// How many bytes behind a block must be there as well: a key or an escape may begin in it.
const AHEAD: usize = 16;

/// The state of one object; kept between objects, so that it allocates nothing.
#[derive(Default)]
pub struct Object {
    /// How many of its bytes have been looked at.
    at: usize,
    /// Whether the next byte is inside a string, and whether it is escaped there.
    in_string: bool,
    escaped: bool,
    /// The closing brackets that are to come.
    open: Vec<u8>,
    /// Where the last key `eventSource`, and `eventName`, of the object ends.
    source: Option<usize>,
    name: Option<usize>,
    /// Whether plain characters are written as escapes, so that a text may look like another one.
    disguised: bool,
}

impl Object {
    /// Looks at what has arrived of the object, from its first byte on; gives its length once it is whole.
    ///
    /// # Errors
    /// What is broken: a string, an escape, or the nesting of brackets. Nothing else is checked.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        while self.at + BLOCK + AHEAD <= bytes.len() {
            let Some(block) = bytes[self.at..].first_chunk() else { break };
            if let Some(length) = self.block(&Masks::of(block), bytes)? {
                return Ok(Some(length));
            }
            self.at += BLOCK;
        }
        Ok(None)
    }

    /// As [`advance`](Self::advance), if no more bytes will come.
    ///
    /// # Errors
    /// The same.
    pub fn finish(&mut self, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let padded = [bytes, &[b' '; BLOCK + AHEAD]].concat();
        Ok(self.advance(&padded)?.filter(|length| *length <= bytes.len()))
    }

    /// Forgets the object, for the next one.
    pub fn clear(&mut self) {
        let open = std::mem::take(&mut self.open);
        *self = Object { open, ..Object::default() };
        self.open.clear();
    }

    fn block(&mut self, masks: &Masks, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let (escaped, bad_escapes) = self.escapes(masks.backslashes, bytes);
        // A byte is in a string if the number of quotes up to it is odd: from each opening quote to before the closing.
        let quotes = masks.quotes & !escaped;
        let strings = prefix_xor(quotes) ^ if self.in_string { u64::MAX } else { 0 };
        self.in_string = strings >> (BLOCK - 1) == 1;
        let starts = quotes & strings;
        let bad_bytes = (masks.controls & strings) | (masks.backslashes & !strings);
        let mut brackets = masks.brackets & !strings;
        let mut from = 0;
        loop {
            let next = brackets.trailing_zeros();
            // What is wrong behind the object's end is not the object's.
            if bad_escapes & below(next) != 0 {
                return Err("a string holds an escape that JSON does not have");
            }
            if bad_bytes & below(next) != 0 {
                return Err("a control character stands in a string, or a backslash outside of one");
            }
            if self.open.len() == 1 {
                let mut starts = starts & below(next) & !below(from);
                while starts != 0 {
                    self.start_of_string(self.at + starts.trailing_zeros() as usize, bytes);
                    starts &= starts - 1;
                }
            }
            if brackets == 0 {
                return Ok(None);
            }
            brackets &= brackets - 1;
            from = next;
            let at = self.at + next as usize;
            match bytes[at] {
                b'{' => self.open.push(b'}'),
                b'[' => self.open.push(b']'),
                bracket if self.open.pop() != Some(bracket) => return Err("the brackets do not match"),
                _ if self.open.is_empty() => return Ok(Some(at + 1)),
                _ => {}
            }
        }
    }

    /// Which bytes of the block are escaped, given where its backslashes are, and which of these are not to be.
    fn escapes(&mut self, backslashes: u64, bytes: &[u8]) -> (u64, u64) {
        let (mut escaped, mut bad) = (u64::from(self.escaped), 0);
        self.escaped = false;
        let mut openers = backslashes & !escaped;
        while openers != 0 {
            let i = openers.trailing_zeros();
            if !self.is_escape(&bytes[self.at + i as usize + 1..]) {
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

    /// Whether JSON has the escape that goes on like this. Notes whether it stands for a plain character.
    fn is_escape(&mut self, rest: &[u8]) -> bool {
        match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
            [b'u', digits @ ..] => {
                let digits = digits.first_chunk::<4>().and_then(|digits| str::from_utf8(digits).ok());
                let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                self.disguised |= code.and_then(|code| u8::try_from(code).ok()).is_some_and(is_plain);
                code.is_some()
            }
            _ => false,
        }
    }

    /// Takes note of a string that begins directly in the object, if it is one of the two keys.
    fn start_of_string(&mut self, at: usize, bytes: &[u8]) {
        let text = &bytes[at + 1..];
        let (key, length) = if text.starts_with(b"eventSource\"") {
            (&mut self.source, "\"eventSource\"".len())
        } else if text.starts_with(b"eventName\"") {
            (&mut self.name, "\"eventName\"".len())
        } else {
            return;
        };
        // A value may read the same; it follows a colon.
        if bytes[..at].iter().rev().find(|b| !is_blank(**b)) != Some(&b':') {
            *key = Some(at + length);
        }
    }

    /// Whether the object writes plain characters as escapes.
    #[must_use]
    pub fn is_disguised(&self) -> bool {
        self.disguised
    }

    /// `eventSource` and `eventName` of the object that these bytes are, found whole. `None` for what is missing or no
    /// string.
    ///
    /// # Errors
    /// Why it is no JSON, which shows only if one of them is hard to read.
    pub fn fields<'a>(&self, bytes: &'a [u8]) -> Result<[Option<Cow<'a, str>>; 2], String> {
        if !self.disguised
            && let (Ok(source), Ok(name)) = (plain_text(bytes, self.source), plain_text(bytes, self.name))
        {
            return Ok([source.map(Cow::Borrowed), name.map(Cow::Borrowed)]);
        }
        let text = record::readable(bytes);
        let record = Record::parse(&text)?;
        Ok(["eventSource", "eventName"].map(|key| record.string(&[key]).map(Cow::Owned)))
    }
}

/// A text that is hard to read: it holds escapes, or is no UTF-8.
struct Hard;

/// The string behind a key that ends there; `None` if there is no key, or something else behind it.
fn plain_text(bytes: &[u8], key_end: Option<usize>) -> Result<Option<&str>, Hard> {
    let Some(key_end) = key_end else { return Ok(None) };
    let rest = &bytes[key_end..];
    let value = rest.iter().position(|b| !is_blank(*b) && *b != b':').map_or(&[][..], |at| &rest[at..]);
    let [b'"', text @ ..] = value else { return Ok(None) };
    match text.iter().position(|b| matches!(b, b'"' | b'\\')) {
        Some(end) if text[end] == b'"' => str::from_utf8(&text[..end]).map(Some).map_err(|_| Hard),
        _ => Err(Hard),
    }
}

/// Whether a character is one that nobody has a reason to write as an escape.
#[must_use]
pub fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':')
}

/// Whether JSON takes a byte for white space.
#[must_use]
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The bits below one.
fn below(bit: u32) -> u64 {
    1_u64.checked_shl(bit).map_or(u64::MAX, |bit| bit - 1)
}

/// For each bit, the parity of the bits up to it.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// What stands where in a block: bit `i` is about byte `i`.
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// Brackets and braces. In strings other characters, too: one comparison finds all four.
    brackets: u64,
    controls: u64,
}

impl Masks {
    fn of(block: &[u8; BLOCK]) -> Self {
        let mut masks = Masks { quotes: 0, backslashes: 0, brackets: 0, controls: 0 };
        for (i, bytes) in block.as_chunks().0.iter().enumerate() {
            let bytes = u8x16::new(*bytes);
            let mask = |found: u8x16| u64::from(found.to_bitmask()) << (16 * i);
            masks.quotes |= mask(bytes.simd_eq(u8x16::splat(b'"')));
            masks.backslashes |= mask(bytes.simd_eq(u8x16::splat(b'\\')));
            // `[`, `]`, `{` and `}` differ in these bits only; of what else does, JSON has nothing outside of strings.
            masks.brackets |= mask((bytes | u8x16::splat(0x26)).simd_eq(u8x16::splat(0x7f)));
            masks.controls |= mask(bytes.simd_eq(bytes.min(u8x16::splat(0x1f))));
        }
        masks
    }
}
