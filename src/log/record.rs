//! A record's fields, parsed on demand.
//!
//! Records are parsed only where rules may match them, so this may cost more than scanning.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::{fmt, iter};

use memchr::memmem;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::redact::{compact, redact, string, value_length};
use super::secrets::Place;

/// A record: an object whose fields are the JSON text that the log holds. A key that stands twice has its last value.
pub struct Record<'a>(Value<'a>);

/// A field of a record, written as JSON.
pub(crate) struct CompactField {
    /// In quotes.
    pub(crate) key: String,
    pub(crate) value: String,
}

impl<'a> Record<'a> {
    /// Parses a record's JSON, as [`readable`] gives it. A value that is not an object has no fields.
    ///
    /// # Errors
    /// The JSON is broken.
    pub fn parse(json: &'a str) -> Result<Self, String> {
        let fields = if json.starts_with('{') {
            serde_json::from_str(json).map_err(|e| format!("the JSON is broken ({e} of the record)"))?
        } else {
            Fields::default()
        };
        Ok(Record(Value { json, fields: fields.into() }))
    }

    /// The same of JSON that has been parsed before: it is not broken.
    pub(crate) fn known(json: &'a str) -> Self {
        Record(Value::of(json))
    }

    /// The record as it may be shown.
    pub(crate) fn shown(&self) -> Shown<'_, 'a> {
        Shown { value: Some(Cow::Borrowed(&self.0)), place: Place::Record }
    }

    /// The record as compact JSON, keys in its order, secrets redacted. It is whole, unless it is far too large to be shown.
    pub(crate) fn compact(&self) -> Cow<'_, str> {
        compacted(self.shortened(), Place::Record)
    }

    /// The record as it is, or with a note in the place of each of its largest values.
    fn shortened(&self) -> Cow<'_, str> {
        if self.0.json.len() <= SHOWN_LIMIT {
            return self.0.json.into();
        }
        let Fields::Known(fields) = self.0.fields() else { return left_out(self.0.json).into() };
        let mut smallest_first: Vec<&str> = fields.iter().map(|(_, value)| value.json).collect();
        smallest_first.sort_by_key(|json| json.len());
        let mut room = SHOWN_LIMIT;
        let fits = |json: &&&str| room.checked_sub(json.len()).inspect(|left| room = *left).is_some();
        let largest = smallest_first.iter().take_while(fits).last().map_or(0, |json| json.len());
        let field = |(key, Value { json, .. }): &(Key<'_>, Value<'_>)| {
            let value = if json.len() > largest { left_out(json) } else { (*json).to_owned() };
            format!("{}:{value}", serde_json::to_string(key).unwrap_or_default())
        };
        format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(",")).into()
    }

    /// The top-level fields as [`Self::compact`] has them; none of a record that has very many.
    pub(crate) fn compact_fields(&self) -> Vec<CompactField> {
        let compact = self.compact();
        let Fields::Known(fields) = Fields::of(&compact) else { return Vec::new() };
        let field = |(key, value): &(Key<'_>, Value<'_>)| CompactField {
            key: serde_json::to_string(key).unwrap_or_default(),
            value: value.json.to_owned(),
        };
        fields.iter().map(field).collect()
    }

    /// The texts at a path of keys, as [`Self::raw_texts`] finds them, secrets redacted.
    pub(crate) fn texts(&self, path: &[impl AsRef<str>]) -> Vec<String> {
        self.0.texts(path, place(path))
    }

    /// The JSON text at a path of keys, with its secrets: not to be shown. `None` for an absent value and for `null`.
    pub(crate) fn raw_json(&self, path: &[&str]) -> Option<&'a str> {
        let json = self.0.at(path)?;
        (json != "null").then_some(json)
    }

    /// The string at a path of keys, with its secrets: not to be shown. `None` for an absent value and for one of another
    /// type.
    pub(crate) fn raw_string(&self, path: &[&str]) -> Option<String> {
        string(self.raw_json(path)?).map(Cow::into_owned)
    }

    /// The texts at a path of keys, with their secrets: not to be shown. An array on the way or at the end stands for each
    /// of its elements. A string's text is unescaped, a number's or boolean's is what the log writes, an object's is its
    /// compact JSON; `null` has none.
    pub(crate) fn raw_texts(&self, path: &[impl AsRef<str>]) -> Vec<String> {
        self.0.texts(path, Place::Raw)
    }

    /// Visits the same texts one by one: a record may have millions.
    pub(crate) fn visit_raw_texts(&self, path: &[impl AsRef<str>], mut visitor: impl FnMut(&str)) {
        self.0.visit_texts(path, Place::Raw, &mut |text| visitor(&text));
    }

    /// The objects at a path of keys, each with the fields of a record. An array on the way or at the end stands for each of
    /// its elements.
    pub(crate) fn objects(&self, path: &[impl AsRef<str>]) -> Vec<Record<'a>> {
        let mut found = Vec::new();
        self.visit_objects(path, |object| found.push(Record(object.0.clone())));
        found
    }

    /// Visits the same objects one by one.
    pub(crate) fn visit_objects(&self, path: &[impl AsRef<str>], mut visitor: impl FnMut(&Record<'a>)) {
        self.0.visit(path, &mut |value| {
            if value.json.starts_with('{') {
                visitor(&Record(Value { json: value.json, fields: OnceCell::new() }));
            }
        });
    }
}

/// The most bytes of JSON that are made ready to be shown. No message holds more than a quarter of it, and each step would
/// copy the 16 MiB that a record may have.
const SHOWN_LIMIT: usize = 1 << 20;

/// A value, or a note in the place of one that is far too large to be shown.
fn shown(json: &str) -> Cow<'_, str> {
    if json.len() > SHOWN_LIMIT { left_out(json).into() } else { json.into() }
}

fn left_out(json: &str) -> String {
    format!("\"(left out: {} bytes)\"", json.len())
}

fn compacted(json: Cow<'_, str>, place: Place) -> Cow<'_, str> {
    match json {
        Cow::Borrowed(json) => compact(json, place),
        Cow::Owned(json) => compact(&json, place).into_owned().into(),
    }
}

/// A record, or a value in it, as it may be shown: secrets redacted. What is absent has nothing in it.
pub(crate) struct Shown<'r, 'a> {
    value: Option<Cow<'r, Value<'a>>>,
    place: Place,
}

impl<'a> Shown<'_, 'a> {
    /// What stands at a key of it, which must not be the key of a secret.
    pub(crate) fn at(&self, key: &str) -> Shown<'_, 'a> {
        let place = match self.place {
            Place::Record if key == "userIdentity" => Place::Identity,
            Place::Identity => Place::Identity,
            _ => Place::Name,
        };
        debug_assert_eq!(place.inside(b'{'), self.place_at(key).inside(b'{'), "{key}");
        Shown { value: self.value(key), place }
    }

    /// The compact JSON at a key; `None` for an absent value and for `null`.
    pub(crate) fn json(&self, key: &str) -> Option<Cow<'a, str>> {
        Some(compacted(shown(self.raw(key)?), self.place_at(key)))
    }

    /// The string at a key, unless it is empty. It is a name, or what AWS says of a call: of anybody's but the caller's,
    /// secrets in URLs are redacted.
    pub(crate) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        self.text_of(self.raw(key).filter(|json| json.starts_with('"'))?)
    }

    /// The same of a string's JSON.
    fn text_of(&self, json: &'a str) -> Option<Cow<'a, str>> {
        let text = match shown(json) {
            Cow::Borrowed(json) => string(json)?,
            Cow::Owned(note) => string(&note)?.into_owned().into(),
        };
        let place = if self.place == Place::Identity { Place::Identity } else { Place::Name };
        let redacted = match redact(&text, place) {
            Cow::Borrowed(_) => None,
            Cow::Owned(redacted) => Some(redacted),
        };
        Some(redacted.map_or(text, Cow::Owned)).filter(|text| !text.is_empty())
    }

    /// Whether a text may stand in what is at a key. JSON may write it as escapes.
    pub(crate) fn may_hold(&self, key: &str, text: &str) -> bool {
        let holds =
            |json: &str| [text, "\\"].iter().any(|text| memmem::find(json.as_bytes(), text.as_bytes()).is_some());
        self.raw(key).is_some_and(holds)
    }

    /// The text of a string, a number or a boolean. AWS's services do not agree on what is which.
    pub(crate) fn scalar(&self, key: &str) -> Option<Cow<'a, str>> {
        let json = self.raw(key)?;
        if json.starts_with('"') { self.text_of(json) } else { (!json.starts_with(['{', '['])).then_some(json.into()) }
    }

    fn value(&self, key: &str) -> Option<Cow<'_, Value<'a>>> {
        self.value.as_ref()?.get(key)
    }

    fn raw(&self, key: &str) -> Option<&'a str> {
        Some(self.value(key)?.json).filter(|json| *json != "null")
    }

    fn place_at(&self, key: &str) -> Place {
        self.place.inside(b'{').at(key)
    }
}

/// The place of what stands at a path of a record. An array on the way is no step, as in [`Record::raw_texts`].
fn place(path: &[impl AsRef<str>]) -> Place {
    path.iter().fold(Place::Record, |place, key| place.inside(b'{').at(key.as_ref()))
}

/// The most arrays within arrays that a path is followed through. CloudTrail's own records need two or three.
const ARRAYS_LIMIT: usize = 32;

/// One value of a record, as the log writes it.
#[derive(Clone)]
struct Value<'a> {
    json: &'a str,
    /// Parsed on demand. Several rules, and an alert, look into the same few objects.
    fields: OnceCell<Fields<'a>>,
}

impl<'a> Value<'a> {
    fn of(json: &'a str) -> Self {
        Value { json, fields: OnceCell::new() }
    }

    fn fields(&self) -> &Fields<'a> {
        self.fields.get_or_init(|| Fields::of(self.json))
    }

    /// The value of the last such key.
    fn get(&self, key: &str) -> Option<Cow<'_, Value<'a>>> {
        match self.fields() {
            Fields::Known(fields) => {
                fields.iter().rev().find(|(Key(k), _)| k == key).map(|(_, value)| Cow::Borrowed(value))
            }
            Fields::TooMany => {
                members(self.json).filter(|(Key(k), _)| k == key).last().map(|(_, value)| Cow::Owned(value))
            }
        }
    }

    /// The JSON text at a path of keys.
    fn at(&self, path: &[&str]) -> Option<&'a str> {
        match path.split_first() {
            Some((first, rest)) => self.get(first)?.at(rest),
            None => Some(self.json),
        }
    }

    /// `place` is that of the texts.
    fn texts(&self, path: &[impl AsRef<str>], place: Place) -> Vec<String> {
        let mut found = Vec::new();
        self.visit_texts(path, place, &mut |text| found.push(text.into_owned()));
        found
    }

    fn visit_texts(&self, path: &[impl AsRef<str>], place: Place, visitor: &mut impl FnMut(Cow<'_, str>)) {
        self.visit(path, &mut |Value { json, .. }| match json.as_bytes().first() {
            Some(b'{' | b'"') if place != Place::Raw && json.len() > SHOWN_LIMIT => {
                string(&left_out(json)).map(&mut *visitor);
            }
            Some(b'{') => visitor(compact(json, place)),
            Some(b'"') => {
                if let Some(text) = string(json) {
                    visitor(redact(&text, place));
                }
            }
            Some(b'n') | None => {}
            Some(_) => visitor(redact(json, place)),
        });
    }

    /// Visits the values at a path of keys of an object, each element of an array by itself.
    fn visit(&self, path: &[impl AsRef<str>], visitor: &mut impl FnMut(&Value<'a>)) {
        if self.json.starts_with('{') && !path.is_empty() {
            self.visit_within(path, ARRAYS_LIMIT, visitor);
        }
    }

    fn visit_within(&self, path: &[impl AsRef<str>], arrays: usize, visitor: &mut impl FnMut(&Value<'a>)) {
        match (self.json.as_bytes().first(), path.split_first()) {
            (Some(b'['), _) if arrays > 0 => {
                parts(self.json).for_each(|element| Value::of(element).visit_within(path, arrays - 1, visitor));
            }
            (Some(b'{'), Some((first, rest))) => {
                if let Some(value) = self.get(first.as_ref()) {
                    value.visit_within(rest, arrays, visitor);
                }
            }
            (Some(b'['), _) | (_, Some(_)) => {}
            (_, None) => visitor(self),
        }
    }
}

/// The elements of an array, or the keys and the values of an object, one by one: there may be millions. It has been parsed
/// as a part of the record.
fn parts(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json.get(1..).unwrap_or_default();
    iter::from_fn(move || {
        rest = &rest[rest.bytes().take_while(|b| b" \t\r\n,:".contains(b)).count()..];
        if rest.is_empty() || rest.starts_with(['}', ']']) {
            return None;
        }
        let (part, after) = rest.split_at(value_length(rest));
        rest = after;
        Some(part)
    })
}

/// The fields of an object, in its order.
fn members(json: &str) -> impl Iterator<Item = (Key<'_>, Value<'_>)> {
    let mut parts = parts(json);
    iter::from_fn(move || Some((Key(string(parts.next()?)?), Value::of(parts.next()?))))
}

/// A record has about so many fields, and an object within it so many. Room for more would take the allocator's slow way.
const USUAL_FIELDS: usize = 24;
const USUAL_MEMBERS: usize = 8;

/// The most fields of an object that are kept. An object of 16 MiB may have millions, and each takes more memory than text.
const FIELDS_LIMIT: usize = 16_000;

/// The keys and values of one object, in its order.
#[derive(Clone)]
enum Fields<'a> {
    Known(Vec<(Key<'a>, Value<'a>)>),
    /// They are read anew whenever one is asked for.
    TooMany,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Fields::Known(Vec::new())
    }
}

impl<'a> Fields<'a> {
    /// Those of an object that has been parsed as a part of the record. A value that is not an object has no fields.
    fn of(json: &'a str) -> Self {
        if !json.starts_with('{') {
            return Fields::default();
        }
        let mut fields = Vec::with_capacity(USUAL_MEMBERS);
        fields.extend(members(json).take(FIELDS_LIMIT + 1));
        if fields.len() > FIELDS_LIMIT { Fields::TooMany } else { Fields::Known(fields) }
    }
}

#[derive(Clone, Deserialize, Serialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

/// Reads the fields of a record.
struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(USUAL_FIELDS);
        while let Some((key, value)) = map.next_entry::<_, &RawValue>()? {
            if entries.len() == FIELDS_LIMIT {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Fields::TooMany);
            }
            entries.push((key, Value::of(value.get())));
        }
        Ok(Fields::Known(entries))
    }
}

/// A record's bytes as text that any JSON parser takes: invalid UTF-8, and surrogates that are not one of a pair (a user
/// agent that was cut has them), become U+FFFD.
pub fn readable(bytes: &[u8]) -> Cow<'_, str> {
    // The check alone is much faster than the search for bytes to replace.
    let text = str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
    if !text.contains("\\u") {
        return text;
    }
    let mut fixed = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        fixed.push_str(before);
        let (written, length) = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (None, _) => {
                let length = escape.char_indices().nth(2).map_or(escape.len(), |(i, _)| i);
                (&escape[..length], length)
            }
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (&escape[..12], 12),
            (Some(_), _) => ("\\ufffd", 6),
        };
        fixed.push_str(written);
        rest = &escape[length..];
    }
    fixed.push_str(rest);
    Cow::Owned(fixed)
}

/// The code unit of a `\uXXXX` escape at the front, if it is a surrogate.
fn surrogate(escape: &str) -> Option<u16> {
    let unit = u16::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_another_type_is_absent_and_the_last_of_two_counts() {
        let record =
            Record::parse(r#"{"s":"first","n":7,"z":null,"o":{"k":"a\u0041\"","l":["x"]},"s":"last"}"#).unwrap();
        for (path, text) in [
            (&["s"] as &[_], Some("last")),
            (&["o", "k"], Some("aA\"")),
            (&["n"], None),
            (&["z"], None),
            (&["missing"], None),
            (&["o"], None),
            (&["o", "l"], None),
            (&["o", "k", "x"], None),
            (&["s", "x"], None),
        ] {
            assert_eq!(record.raw_string(path).as_deref(), text, "{path:?}");
        }
    }

    #[test]
    fn texts_are_found_through_arrays_and_written_as_the_log_does() {
        let record = Record::parse(
            r#"{"n":1.688560107857E9,"b":false,"z":null,"e":"","a":[1,[null,"x"],{"k":"y"}],
                "o":{ "k" : [1, 2.50], "s" : "\u003d\"" },"i":[{"k":[{"v":"1"},{"v":"2"}]},{"k":{"v":"3"}},7],"d.k":{"sessionToken":"t"}}"#,
        ).unwrap();
        for (path, texts) in [
            (&["n"] as &[_], &["1.688560107857E9"] as &[_]),
            (&["b"], &["false"]),
            (&["z"], &[]),
            (&["e"], &[""]),
            (&["missing"], &[]),
            (&["a"], &["1", "x", r#"{"k":"y"}"#]),
            (&["a", "k"], &["y"]),
            (&["o"], &[r#"{"k":[1,2.50],"s":"=\""}"#]),
            (&["o", "k"], &["1", "2.50"]),
            (&["o", "k", "x"], &[]),
            (&["i", "k", "v"], &["1", "2", "3"]),
            (&["d.k"], &[r#"{"sessionToken":"t"}"#]),
        ] {
            let path: Vec<_> = path.iter().map(ToString::to_string).collect();
            assert_eq!(record.raw_texts(&path), texts, "{path:?}");
        }
        let deep = format!(r#"{{"a":{}"x"{}}}"#, "[".repeat(500_000), "]".repeat(500_000));
        assert!(Record::parse(&deep).unwrap().raw_texts(&["a"]).is_empty());
    }

    #[test]
    fn lone_surrogates_and_bad_utf8_are_replaced_and_nothing_else() {
        for (bytes, text) in [
            (br#""a\ud83db""#.as_slice(), r#""a\ufffdb""#),
            (br#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (br#""\ud83d\ud83d\ude00\ude00""#, r#""\ufffd\ud83d\ude00\ufffd""#),
            (br#""\\ud83d""#, r#""\\ud83d""#),
            (br#""\\\ud83d\n""#, r#""\\\ufffd\n""#),
            (br#""\u00e9""#, r#""\u00e9""#),
            (b"\"\xff\"", "\"\u{fffd}\""),
            ("\"\\ü\\u".as_bytes(), "\"\\ü\\u"),
            (b"\"\\u\\", "\"\\u\\"),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }

    #[test]
    fn deep_nesting_is_written() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(500_000), "]".repeat(500_000));
        let record = Record::parse(&deep).unwrap();
        assert_eq!(record.compact(), deep);
        assert_eq!(record.shown().json("a").unwrap().len(), 1_000_001);
    }

    #[test]
    fn of_a_record_that_is_far_too_large_the_largest_values_are_left_out() {
        let large = "x".repeat(SHOWN_LIMIT / 2);
        let json = format!(r#"{{"a":"{large}","b":"{large}{large}","c":{{"password":"HUSH"}},"d":[1]}}"#);
        let record = Record::parse(&json).unwrap();
        let bytes = large.len() + 2;
        let note = |bytes: usize| format!("(left out: {bytes} bytes)");
        let expected =
            format!(r#"{{"a":"{large}","b":"{}","c":{{"password":"****"}},"d":[1]}}"#, note(2 * large.len() + 2));
        assert_eq!(record.compact(), expected);
        assert_eq!(record.compact_fields().iter().map(|field| field.value.len()).max(), Some(bytes));
        assert_eq!(record.shown().text("b").as_deref(), Some(&*note(2 * large.len() + 2)));
        assert_eq!(record.shown().json("b").as_deref(), Some(&*format!("\"{}\"", note(2 * large.len() + 2))));
        assert_eq!(record.texts(&["b"]), [note(2 * large.len() + 2)]);
        assert_eq!(record.raw_texts(&["b"])[0].len(), 2 * large.len());
    }

    #[test]
    fn of_very_many_fields_the_last_of_a_key_counts_too() {
        let many = (0..=FIELDS_LIMIT).map(|n| format!(r#""k{n}":{{"n":{n}}}"#)).collect::<Vec<_>>().join(",");
        for json in [format!(r#"{{{many},"k5":{{"n":"last"}}}}"#), format!(r#"{{"x":{{{many},"k5":{{"n":"last"}}}}}}"#)]
        {
            let record = Record::parse(&json).unwrap();
            let path: &[&str] = if json.starts_with(r#"{"x""#) { &["x", "k5", "n"] } else { &["k5", "n"] };
            assert_eq!(record.raw_string(path).as_deref(), Some("last"));
            assert_eq!(record.raw_texts(path), ["last"]);
        }
        assert!(Record::parse(&format!("{{{many},}}")).is_err());
    }
}
