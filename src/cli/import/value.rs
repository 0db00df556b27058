//! The fields of a Sigma rule, with their modifiers and values, as tests.

use rsigma_parser::{DetectionItem, Modifier, SigmaString, SigmaValue};

use super::expression::{Check, Expression};
use super::layout::{list, member, object, quoted};
use super::pattern::Pattern;
use super::regex;

/// Numbers below it are exact as doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) const KEYWORDS: &str = "it searches for keywords in the whole record: name the fields instead";

/// What a field of a selection asks for.
pub(super) fn tests(item: &DetectionItem) -> Result<Expression, String> {
    let Some(field) = &item.field.name else { return Err(KEYWORDS.to_owned()) };
    // The parser has escaped them.
    let path = field.replace("\\[", "[").replace("\\]", "]");
    let given = &item.field.modifiers;
    let (is_cased, all) = (given.contains(&Modifier::Cased), given.contains(&Modifier::All));
    let others = |modifier: &Modifier| !matches!(modifier, Modifier::Cased | Modifier::All);
    let modifiers: Vec<_> = given.iter().copied().filter(others).collect();
    let test = |check| Expression::Test(path.clone(), check);
    let is_call = matches!(path.as_str(), "eventSource" | "eventName");
    let (mut patterns, mut tests) = (Vec::new(), Vec::new());
    for value in &item.values {
        if given.is_empty() && *value == SigmaValue::Null {
            let any_text = Check::Pattern(Pattern::regex(String::new()));
            tests.push(Expression::Not(Box::new(test(any_text))));
            continue;
        }
        match check(&path, &modifiers, is_cased, value).map_err(|why| format!("`{path}`: {why}"))? {
            Check::Pattern(pattern) if all => patterns.push(pattern.to_string()),
            // `source` and `regexp` look at texts only.
            Check::Pattern(pattern) if is_call && !matches!(value, SigmaValue::String(_)) => {
                tests.push(test(Check::Object(quoted(&pattern.to_string()))));
            }
            check => tests.push(test(check)),
        }
    }
    if !patterns.is_empty() {
        tests.push(test(Check::Object(object(&[member("all", &list(&patterns, 8))], 0))));
    }
    match tests.is_empty() {
        true => Err(format!("`{path}` has no value: delete it")),
        false if all => Ok(Expression::all(tests)),
        false => Ok(Expression::any(tests)),
    }
}

fn check(path: &str, modifiers: &[Modifier], is_cased: bool, value: &SigmaValue) -> Result<Check, String> {
    use Modifier::{
        Cidr, Contains, DotAll, EndsWith, FieldRef, Gt, Gte, IgnoreCase, Lt, Lte, Multiline, Re, StartsWith,
    };
    let object = |key: &str, json: &str| Ok(Check::Object(object(&[member(key, json)], 0)));
    match (modifiers, text(value), number(value)) {
        ([] | [Contains | StartsWith | EndsWith], Some(text), _) => {
            let (from_start, to_end) = (matches!(modifiers, [] | [StartsWith]), matches!(modifiers, [] | [EndsWith]));
            Ok(Check::Pattern(Pattern::string(&text, from_start, to_end, is_cased)))
        }
        _ if is_cased => Err(refusal(path, modifiers, value)),
        ([Re, flags @ ..], Some(text), _) if flags.iter().all(|f| matches!(f, IgnoreCase | Multiline | DotAll)) => {
            let regex = regex::translated(&text.original, flags.contains(&Multiline))
                .map_err(|why| format!("of `{text}`, {why}: write it otherwise"))?;
            let flags = [(IgnoreCase, 'i'), (Multiline, 'm'), (DotAll, 's')].iter();
            let flags: String = flags.filter(|(flag, _)| modifiers.contains(flag)).map(|(_, letter)| letter).collect();
            // Flags within an expression hold up to its end, and so must not reach the next one.
            let is_bare = flags.is_empty() && !regex.contains("(?");
            Ok(Check::Pattern(Pattern::regex(if is_bare { regex } else { format!("(?{flags}:{regex})") })))
        }
        ([Cidr], Some(text), _) => Ok(Check::Networks(vec![text.original])),
        ([FieldRef], Some(text), _) if text.is_plain() => object("sameAs", &quoted(&text.original)),
        ([], None, Some(n)) => Ok(Check::Object(format!("{{ \"atLeast\": {n}, \"atMost\": {n} }}"))),
        // Numbers are compared as doubles, and the next double is the first one above.
        ([Gt], _, Some(number)) => object("atLeast", &format!("{:?}", number.next_up())),
        ([Gte], _, Some(number)) => object("atLeast", &number.to_string()),
        ([Lt], _, Some(number)) => object("atMost", &format!("{:?}", number.next_down())),
        ([Lte], _, Some(number)) => object("atMost", &number.to_string()),
        _ => Err(refusal(path, modifiers, value)),
    }
}

/// The text of a value. For a map, list or tag, which have none, the parser gives Rust's description.
fn text(value: &SigmaValue) -> Option<SigmaString> {
    let is_described =
        |text: &str| ["Mapping {", "Sequence [", "TaggedValue {"].iter().any(|name| text.starts_with(name));
    match value {
        SigmaValue::String(string) => (!is_described(&string.original)).then(|| string.clone()),
        SigmaValue::Integer(_) | SigmaValue::Bool(_) => Some(SigmaString::from_raw(&value.to_string())),
        SigmaValue::Float(_) | SigmaValue::Null => None,
    }
}

fn number(value: &SigmaValue) -> Option<f64> {
    let is_number = matches!(value, SigmaValue::Integer(_) | SigmaValue::Float(_));
    value.to_string().parse::<f64>().ok().filter(|number| is_number && number.abs() < EXACT)
}

fn refusal(path: &str, modifiers: &[Modifier], value: &SigmaValue) -> String {
    let names: Vec<_> = modifiers.iter().map(|modifier| format!("{modifier:?}").to_lowercase()).collect();
    let names = names.join("|");
    let selection = "into a selection of its own, with `not` before it in the condition";
    match modifiers {
        [] => format!("`{value}` is neither a text nor a number that a test can name: write one, true, false or null"),
        [Modifier::Exists] => {
            format!(
                "`exists` tells an absent field from `null`, and a test here can't. For `exists: true`, write \
                 `filter: {{ {path}: null }}` and `and not filter` in the condition"
            )
        }
        [Modifier::Neq] => format!("`neq` leaves open whether absence counts: put the value {selection}"),
        [Modifier::Expand, ..] => {
            format!("`expand` stands for what only you know: write that for `{value}`, without it")
        }
        _ => format!("a test here can't say `{names}` of `{value}`: write the value without it, or delete the field"),
    }
}
