//! The fields of a Sigma rule, with their modifiers and values, as tests.

use rsigma_parser::{DetectionItem, Modifier, SigmaString, SigmaValue};

use super::check::Check;
use super::expression::Expression;
use super::pattern::Pattern;
use super::regex;

use Modifier::{
    All, Cased, Cidr, Contains, DotAll, EndsWith, FieldRef, Gt, Gte, IgnoreCase, Lt, Lte, Multiline, Re, StartsWith,
};

/// Numbers below it are exact as doubles, and so is the next double of each.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) const KEYWORDS: &str =
    "it searches for keywords in the whole record, but a test here needs a field: name the fields";

/// What a field of a selection asks for.
pub(super) fn tests(item: &DetectionItem) -> Result<Expression, String> {
    let Some(field) = &item.field.name else { return Err(KEYWORDS.to_owned()) };
    let path = field.replace("\\[", "[").replace("\\]", "]");
    let has = |wanted| item.field.modifiers.contains(&wanted);
    let modifiers: Vec<_> = item.field.modifiers.iter().copied().filter(|m| !matches!(m, All | Cased)).collect();
    let test = |value| test(&path, &modifiers, has(Cased), value).map_err(|why| format!("`{path}`: {why}"));
    let tests = item.values.iter().map(test).collect::<Result<Vec<_>, _>>()?;
    match tests.is_empty() {
        true => Err(format!("`{path}` has no value: give it one, or delete it")),
        false if has(All) => Ok(Expression::all(tests)),
        false => Ok(Expression::any(tests)),
    }
}

fn test(path: &str, modifiers: &[Modifier], is_cased: bool, value: &SigmaValue) -> Result<Expression, String> {
    let pattern = |pattern| Expression::Test(path.to_owned(), Check::Patterns(vec![pattern]));
    let range = |at_least, at_most| Expression::Test(path.to_owned(), Check::Range { at_least, at_most });
    Ok(match (modifiers, text(value), number(value)) {
        ([Modifier::Exists], ..) => {
            return Err(format!(
                "`exists` tells an absent field from null, and tests here don't: put `{path}: null` into a selection of \
                 its own, with `not` before it in the condition, or without for `exists: false`"
            ));
        }
        ([], ..) if *value == SigmaValue::Null && !is_cased => pattern(Pattern::anything()).negated(),
        ([] | [Contains | StartsWith | EndsWith], Some(text), _) => {
            let (from_start, to_end) = (matches!(modifiers, [] | [StartsWith]), matches!(modifiers, [] | [EndsWith]));
            pattern(Pattern::string(&text, from_start, to_end, is_cased))
        }
        (_, Some(_), _) if is_cased => return Err(refusal(modifiers, value)),
        ([], None, Some(number)) => range(Some(number), Some(number)),
        ([Gt], _, Some(number)) => range(Some(number.next_up()), None),
        ([Gte], _, Some(number)) => range(Some(number), None),
        ([Lt], _, Some(number)) => range(None, Some(number.next_down())),
        ([Lte], _, Some(number)) => range(None, Some(number)),
        ([Re, flags @ ..], Some(text), _)
            if flags.iter().all(|flag| matches!(flag, IgnoreCase | Multiline | DotAll)) =>
        {
            let why = |why| format!("the regular expression `{text}` can't be taken over: {why}");
            let regex = regex::translated(&text.original).map_err(why)?;
            let flags = [(IgnoreCase, 'i'), (Multiline, 'm'), (DotAll, 's')].iter();
            let flags: String = flags.filter(|(flag, _)| modifiers.contains(flag)).map(|(_, letter)| letter).collect();
            // Flags within an expression hold up to its end, and so must not reach the next one.
            let is_bare = flags.is_empty() && !regex.contains("(?");
            pattern(Pattern::regex(if is_bare { regex } else { format!("(?{flags}:{regex})") }))
        }
        ([Cidr], Some(text), _) => Expression::Test(path.to_owned(), Check::Networks(vec![text.original])),
        ([FieldRef], Some(text), _) if text.is_plain() => {
            Expression::Test(path.to_owned(), Check::SameAs(text.original))
        }
        _ => return Err(refusal(modifiers, value)),
    })
}

/// The text of a value, or the string of which it is one. The parser makes a string of what is neither text nor number, too.
fn text(value: &SigmaValue) -> Option<SigmaString> {
    match value {
        SigmaValue::String(string) => Some(string.clone()),
        SigmaValue::Integer(number) => Some(SigmaString::from_raw(&number.to_string())),
        SigmaValue::Bool(boolean) => Some(SigmaString::from_raw(&boolean.to_string())),
        SigmaValue::Float(_) | SigmaValue::Null => None,
    }
}

fn number(value: &SigmaValue) -> Option<f64> {
    let number = match value {
        SigmaValue::Integer(number) => number.to_string().parse().ok()?,
        SigmaValue::Float(number) => *number,
        _ => return None,
    };
    (number.abs() < EXACT).then_some(number)
}

fn refusal(modifiers: &[Modifier], value: &SigmaValue) -> String {
    let names: Vec<_> = modifiers.iter().map(|modifier| format!("{modifier:?}").to_lowercase()).collect();
    let names = names.join("|");
    match modifiers {
        [.., Modifier::Expand] => format!("`expand` stands for values that only you know: write them in place of `{value}`, and delete `|expand`"),
        [Modifier::Neq, ..] => {
            "`neq` does not say whether it means an absent field too: put the field without `neq` into a selection of its own, with `not` before it in the condition".to_owned()
        }
        _ => format!("a test here can't say `{names}` of `{value}`"),
    }
}
