//! A Sigma rule as a rule of a configuration, exactly or not at all.

use std::collections::BTreeMap;
use std::slice;

use rsigma_parser::{
    ConditionExpr, Detection, Level, Quantifier, SigmaCollection, SigmaRule, Status, parse_sigma_yaml,
};

use super::expression::{Expression, conditions};
use super::layout::{configuration, list, member, quoted};
use super::value::{KEYWORDS, tests};
use crate::rules::config;

/// The most characters of a file that a message shows.
const SHOWN: usize = 300;

/// The most `not`s of a file. The parser can't follow many thousand in a row.
const NOTS_LIMIT: usize = 1_000;

/// The lines of the rule that a file holds, under this name; `None` for a rule for other logs.
pub(super) fn import(name: &str, yaml: &str) -> Result<Option<Vec<String>>, String> {
    if yaml.matches("not").count() > NOTS_LIMIT {
        return Err(format!("it has more than {NOTS_LIMIT} times `not`: make several rules of it"));
    }
    let rule = only_rule(parse_sigma_yaml(yaml.trim_start_matches('\u{feff}')).map_err(|e| e.to_string())?)?;
    if rule.logsource.product.as_deref() != Some("aws") || rule.logsource.service.as_deref() != Some("cloudtrail") {
        return Ok(None);
    }
    if let Some(taxonomy) = rule.taxonomy.as_deref().filter(|taxonomy| *taxonomy != "sigma") {
        return Err(format!("its fields have the names of the taxonomy `{taxonomy}`: give them CloudTrail's"));
    }
    let named = rule.detection.named.iter().map(|(name, detection)| (name.as_str(), detection)).collect();
    let any = rule.detection.conditions.iter().map(|condition| expression(condition, &named));
    let conditions = conditions(Expression::any(any.collect::<Result<_, _>>()?))?;
    let [head, tail] = texts(name, &rule);
    let lines = [head, conditions, tail].concat();
    config::parse(configuration(slice::from_ref(&lines)).as_bytes(), None).map_err(|problems| problems.join("; "))?;
    Ok(Some(lines))
}

fn only_rule(mut file: SigmaCollection) -> Result<SigmaRule, String> {
    let errors: String = words(&file.errors.join("; ")).chars().take(SHOWN).collect();
    Err(match (file.rules.pop(), file.rules.is_empty()) {
        _ if errors.starts_with("Condition parse error") => {
            let (_, condition) =
                errors.split(" | ^").next().unwrap_or_default().split_once(" | 1 | ").unwrap_or_default();
            let what = if condition.contains('|') {
                "counts records: leave out what begins with `|` and `timeframe`, then give the rule a `threshold`"
            } else {
                "has more than and, or, not, (), `1 of` and `all of`: leave it out"
            };
            format!("its condition `{condition}` {what}")
        }
        _ if !errors.is_empty() => format!("it is not a valid Sigma rule: {errors}"),
        _ if !file.correlations.is_empty() => "it correlates records, and a rule here looks at one".to_owned(),
        _ if !file.filters.is_empty() => "it filters other rules: write it as `ignore` of the configuration".to_owned(),
        (Some(rule), true) => return Ok(rule),
        _ => "it must have one rule: give each rule a file, whose name it gets".to_owned(),
    })
}

fn expression(condition: &ConditionExpr, named: &BTreeMap<&str, &Detection>) -> Result<Expression, String> {
    let each = |of: &[ConditionExpr]| of.iter().map(|part| expression(part, named)).collect::<Result<_, _>>();
    Ok(match condition {
        ConditionExpr::And(parts) => Expression::all(each(parts)?),
        ConditionExpr::Or(parts) => Expression::any(each(parts)?),
        ConditionExpr::Not(part) => Expression::Not(Box::new(expression(part, named)?)),
        ConditionExpr::Identifier(name) => match named.get(name.as_str()) {
            Some(detection) => selection(detection)?,
            None => return Err(format!("its condition names `{name}`: it has none")),
        },
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen = named.iter().filter(|(name, _)| pattern.matches_detection_name(name));
            let chosen = chosen.map(|(_, detection)| selection(detection)).collect::<Result<Vec<_>, _>>()?;
            match quantifier {
                _ if chosen.is_empty() => return Err(format!("its condition names `{pattern}`: it has none")),
                Quantifier::Any => Expression::any(chosen),
                Quantifier::All => Expression::all(chosen),
                Quantifier::Count(_) => {
                    return Err(format!("`{condition}` of its condition: write out the combinations"));
                }
            }
        }
    })
}

fn selection(detection: &Detection) -> Result<Expression, String> {
    match detection {
        Detection::AllOf(items) if items.is_empty() => Err("a selection is empty: delete it".to_owned()),
        Detection::AllOf(items) => Ok(Expression::all(items.iter().map(tests).collect::<Result<_, _>>()?)),
        Detection::AnyOf(of) => Ok(Expression::any(of.iter().map(selection).collect::<Result<_, _>>()?)),
        Detection::Keywords(_) => Err(KEYWORDS.to_owned()),
        _ => Err("it tests elements of an array one by one, which is not in Sigma's specification".to_owned()),
    }
}

/// What a rule says to people, before and after its condition.
fn texts(name: &str, rule: &SigmaRule) -> [Vec<String>; 2] {
    let text = |key: &str, text: &str| member(key, &quoted(&words(text)));
    let texts = |key: &str, texts: Vec<String>| (!texts.is_empty()).then(|| member(key, &list(&texts, 6)));
    let severity = rule.level.map(|level| if level == Level::Informational { "info" } else { level.as_str() });
    let severity = severity.map(|severity| format!(", {}", text("severity", severity))).unwrap_or_default();
    let status = rule.status.filter(|status| matches!(status, Status::Deprecated | Status::Unsupported));
    let sentences = [
        Some(rule.title.clone()),
        rule.description.clone(),
        status.map(|status| format!("Its authors call it {}", format!("{status:?}").to_lowercase())),
        (!rule.falsepositives.is_empty()).then(|| format!("False positives: {}", rule.falsepositives.join(". "))),
        rule.license.as_ref().map(|license| format!("Licence: {license}")),
    ];
    let sentences = sentences.iter().flatten().map(|text| format!("{}.", words(text).trim_end_matches('.')));
    let description = text("description", &sentences.collect::<Vec<_>>().join(" "));
    let references = rule.references.iter().cloned().chain(rule.id.iter().map(|id| format!("sigma:{id}"))).collect();
    let author = rule.author.as_ref().map(|author| text("author", author));
    let tail = [texts("references", references), texts("tags", rule.tags.clone()), author];
    [vec![text("name", name) + &severity, description], tail.into_iter().flatten().collect()]
}

/// A text on one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::evaluate::{Evaluator, Verdict};
    use crate::log::LogFile;
    use crate::rules::{Learned, Matcher};

    const HEAD: &str = "title: T\nlogsource: {product: aws, service: cloudtrail}\n";

    /// The lines of the condition of a rule with this section.
    fn imported(detection: &str) -> Result<Vec<String>, String> {
        let lines = import("sigma-t", &format!("{HEAD}detection: {detection}\n"))?.unwrap();
        assert_eq!(lines[..2], ["\"name\": \"sigma-t\"", "\"description\": \"T.\""]);
        Ok(lines[2..].to_vec())
    }

    #[test]
    fn selections_become_conditions() {
        for (detection, expected) in [
            ("{s: {eventName: [A, B], eventSource: c}, condition: s}", "'source': '(?i)^c$', 'regexp': '(?i)^(A|B)$'"),
            ("{s: [{eventName: A}, {eventName: B}], condition: s}", "'regexp': '(?i)^(A|B)$'"),
            ("{s: {eventName: 5}, condition: s}", "'where': { 'eventName': '^5$' }"),
            ("{s: {eventName: '5'}, condition: s}", "'regexp': '^5$'"),
            (
                "{s: {eventName: [A, 5]}, condition: s}",
                "'any': [ { 'regexp': '(?i)^A$' }, { 'where': { 'eventName': '^5$' } } ]",
            ),
            ("{s: {a: null}, condition: s}", "'unless': { 'a': '' }"),
            ("{s: {a: null}, condition: not s}", "'where': { 'a': '' }"),
            (
                "{s: {a: [null, x]}, condition: s}",
                "'any': [ { 'unless': { 'a': '' } }, { 'where': { 'a': '(?i)^x$' } } ]",
            ),
            (
                "{s: {a: '', b: true, c: 7, d|contains: 7}, condition: s}",
                "'where': { 'a': '^$', 'b': '(?i)^true$', 'c': '^7$', 'd': '7' }",
            ),
            ("{s: {a: 1.5}, condition: s}", "'where': { 'a': { 'atLeast': 1.5, 'atMost': 1.5 } }"),
            (
                "{s: {a|gt: 5, b|gte: 5, c|lt: 5, d|lte: -0.5}, condition: s}",
                "'where': { 'a': { 'atLeast': 5.000000000000001 }, 'b': { 'atLeast': 5 }, 'c': { 'atMost': 4.999999999999999 }, 'd': { 'atMost': -0.5 } }",
            ),
            ("{s: {a|contains|all: [x, y]}, condition: s}", "'where': { 'a': { 'all': ['(?i)x', '(?i)y'] } }"),
            (
                "{s: {a|startswith: x, a|endswith: y}, condition: s}",
                "'where': { 'a': '(?i)^x' } 'any': [ { 'where': { 'a': '(?i)y$' } } ]",
            ),
            (
                "{s: {a: x}, r: {'a|re': y}, condition: s or r}",
                "'any': [ { 'where': { 'a': '(?i)^x$' } }, { 'where': { 'a': 'y' } } ]",
            ),
            (
                "{s: {a|gt: 0, b|lt: 0}, condition: s}",
                "'where': { 'a': { 'atLeast': 5e-324 }, 'b': { 'atMost': -5e-324 } }",
            ),
            ("{s: {a|cased: X, b|contains|cased: [x, y]}, condition: s}", "'where': { 'a': '^X$', 'b': 'x|y' }"),
            (
                "{s: {'a|re': '^x\\d', 'b|re|i|s': 'x.y', 'c|re': ['(?i)x', y]}, condition: s}",
                "'where': { 'a': '^x[0-9]', 'b': '(?is:x.y)', 'c': '(?:(?i)x)|y' }",
            ),
            (
                "{s: {a|cidr: [10.0.0.0/8, '2001:db8::/32'], b|fieldref: c.d}, condition: s}",
                "'where': { 'a': { 'cidr': ['10.0.0.0/8', '2001:db8::/32'] }, 'b': { 'sameAs': 'c.d' } }",
            ),
            ("{s: {'a[0]': x}, condition: s}", "'where': { 'a[0]': '(?i)^x$' }"),
            (
                "{s: {a: x}, f_1: {b: y}, f_2: {c: z, d: w}, condition: s and not 1 of f_*}",
                "'where': { 'a': '(?i)^x$' } 'unless': { 'b': '(?i)^y$' } 'ignore': [ { 'where': { 'c': '(?i)^z$', 'd': '(?i)^w$' } } ]",
            ),
            (
                "{s: {a: x, b: y}, condition: not s}",
                "'any': [ { 'unless': { 'a': '(?i)^x$' } }, { 'unless': { 'b': '(?i)^y$' } } ]",
            ),
            ("{s: {a: x}, _t: {b: y}, condition: all of them}", "'where': { 'a': '(?i)^x$' }"),
            (
                "{s: {a: x}, t: {b: y}, condition: [s, t]}",
                "'any': [ { 'where': { 'a': '(?i)^x$' } }, { 'where': { 'b': '(?i)^y$' } } ]",
            ),
            // A path has one test in `where`, and one in `unless`.
            (
                "{s: {a: x, a|cidr: 10.0.0.0/8}, condition: s}",
                "'where': { 'a': '(?i)^x$' } 'any': [ { 'where': { 'a': { 'cidr': ['10.0.0.0/8'] } } } ]",
            ),
            (
                "{s: [{a: x}, {a|cidr: 10.0.0.0/8}], condition: not s}",
                "'unless': { 'a': '(?i)^x$' } 'ignore': [ { 'where': { 'a': { 'cidr': ['10.0.0.0/8'] } } } ]",
            ),
        ] {
            let lines = imported(detection).unwrap_or_else(|why| panic!("{detection}: {why}"));
            assert_eq!(words(&lines.join(" ")).replace('"', "'"), expected, "{detection}");
        }
    }

    #[test]
    fn tests_that_a_rule_can_not_say_are_refused_with_the_reason() {
        let many: Vec<_> = (0..8).map(|i| format!("a{i}: {{a{i}: x}}, b{i}: {{b{i}: x}}, ")).collect();
        let all: Vec<_> = (0..8).map(|i| format!("(a{i} or b{i})")).collect();
        let many = format!("{{{}condition: {}}}", many.concat(), all.join(" and "));
        let nots = format!("{{s: {{a: x}}, condition: {} s}}", "not ".repeat(16_000));
        for (detection, why) in [
            (
                "{s: {a|exists: true}, condition: s}",
                "`a`: `exists` tells an absent field from `null`, and a test here can't. For `exists: true`, write `filter: { a: null }` and `and not filter`",
            ),
            ("{s: {a|neq: x}, condition: s}", "`a`: `neq` leaves open whether absence counts"),
            (
                "{s: {a|expand: '%x%'}, condition: s}",
                "`a`: `expand` stands for what only you know: write that for `%x%`",
            ),
            (
                "{s: {a|base64offset|contains: x}, condition: s}",
                "`a`: a test here can't say `base64offset|contains` of `x`",
            ),
            (
                "{s: {a|contains|startswith: x}, condition: s}",
                "`a`: a test here can't say `contains|startswith` of `x`",
            ),
            ("{s: {a|hour: 3}, condition: s}", "`a`: a test here can't say `hour` of `3`"),
            ("{s: {a|contains: null}, condition: s}", "`a`: a test here can't say `contains` of `null`"),
            ("{s: {a|gt: x}, condition: s}", "`a`: a test here can't say `gt` of `x`"),
            ("{s: {a|gt: 9007199254740993}, condition: s}", "`a`: a test here can't say `gt` of `9007199254740993`"),
            ("{s: {a|fieldref: 'b*'}, condition: s}", "`a`: a test here can't say `fieldref` of `b*`"),
            ("{s: {a|re|cased: x}, condition: s}", "`a`: a test here can't say `re` of `x`"),
            ("{s: {'a|re': '(?=x)'}, condition: s}", "`a`: of `(?=x)`, `(?=` may mean something else here"),
            ("{s: {'a|re': '(x'}, condition: s}", "`(x` is not a valid regular expression"),
            ("{s: {a|cidr: 10.0.0.1/8}, condition: s}", "`10.0.0.1/8` is not a network"),
            ("{s: {a: {b: c}}, condition: s}", "`a`: `Mapping {\"b\": String(\"c\")}` is neither a text nor a number"),
            ("{s: {a: [[b]]}, condition: s}", "`a`: `Sequence [String(\"b\")]` is neither a text nor a number"),
            ("{s: {a: !b c}, condition: s}", "`a`: `TaggedValue { tag: !b"),
            ("{s: {a: .inf}, condition: s}", "`a`: `inf` is neither a text nor a number"),
            ("{s: {a: []}, condition: s}", "`a` has no value"),
            ("{s: {}, condition: s}", "a selection is empty"),
            ("{s: [x, y], condition: s}", "it searches for keywords in the whole record"),
            ("{s: {'|all': [x, y]}, condition: s}", "it searches for keywords in the whole record"),
            ("{s: {a: x}, condition: t}", "its condition names `t`: it has none"),
            ("{s: {a: x}, condition: 1 of t*}", "its condition names `t*`: it has none"),
            ("{s: {a: x}, condition: 2 of them}", "`2 of them` of its condition: write out the combinations"),
            (
                "{s: {a: x}, condition: s | count() > 5}",
                "its condition `s | count() > 5` counts records: leave out what begins with `|` and `timeframe`, then give the rule a `threshold`",
            ),
            ("{s: {a: x}, condition: s xor s}", "has more than and, or, not, (), `1 of` and `all of`: leave it out"),
            ("{s: {a: x, a: y}, condition: s}", "it is not a valid Sigma rule: YAML parse error"),
            ("{s: {a|foo: x}, condition: s}", "it is not a valid Sigma rule: Unknown modifier 'foo'"),
            (
                "{s: {b: y}, t: [{a: x, a|cidr: 10.0.0.0/8, b: x}, {c: x}], condition: s and t}",
                "`a` has several tests that must pass together",
            ),
            (&many, "more than 100 alternatives"),
            (&nots, "more than 1000 times `not`"),
        ] {
            let refusal = imported(detection).expect_err(detection);
            assert!(refusal.contains(why), "{detection}: {refusal}");
        }
    }

    #[test]
    fn files_with_something_else_than_a_rule_for_cloudtrail_are_refused() {
        let rule = format!("{HEAD}detection: {{s: {{a: x}}, condition: s}}\n");
        for (file, why) in [
            (String::new(), "it is not a valid Sigma rule"),
            (format!("{rule}---\n{rule}"), "it must have one rule"),
            ("title: T\ncorrelation: {type: event_count, rules: [a], group-by: [b], timespan: 1h, condition: {gte: 2}}".to_owned(), "it correlates records"),
            ("title: T\nlogsource: {product: aws}\nfilter: {rules: [a], s: {b: c}, condition: s}".to_owned(), "it filters other rules"),
            (format!("{rule}taxonomy: ecs"), "the taxonomy `ecs`"),
            (format!("{rule}level: hihg"), "invalid level: 'hihg'"),
            (rule.replace("T\n", "T\nsigma-version: 3\n").replace("a:", "'a[any].b':"), "it tests elements of an array one by one"),
        ] {
            let refusal = import("sigma-t", &file).expect_err(&file);
            assert!(refusal.contains(why), "{file}: {refusal}");
        }
        assert_eq!(import("sigma-t", &rule.replace("aws", "azure")), Ok(None));
        assert_eq!(import("sigma-t", &rule.replace("cloudtrail", "waf")), Ok(None));
    }

    /// What a rule asks of the fields `eventName`, `a.b` and `a.c`.
    #[derive(Clone, Debug)]
    enum Tree {
        Field(usize, (&'static str, &'static str)),
        Not(Box<Tree>),
        All(Vec<Tree>),
        Any(Vec<Tree>),
    }

    const FIELDS: [&str; 3] = ["eventName", "a.b", "a.c"];
    const TESTS: [(&str, &str); 11] = [
        ("", "x"),
        ("", "XY"),
        ("", "null"),
        ("|cased", "X"),
        ("|contains", "Y"),
        ("|startswith", "x"),
        ("|endswith", "7"),
        ("|gte", "6"),
        ("|lt", "6"),
        ("|cidr", "10.0.0.0/8"),
        ("|re", "^x"),
    ];
    const TEXTS: [&str; 8] = ["x", "X", "xy", "zY7", "7", "5.5", "10.1.2.7", ""];

    fn tree() -> impl Strategy<Value = Tree> {
        let field =
            (0..FIELDS.len(), prop::sample::select(&TESTS[..])).prop_map(|(field, test)| Tree::Field(field, test));
        field.prop_recursive(4, 12, 3, |inner| {
            let several = prop::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                inner.prop_map(|tree| Tree::Not(Box::new(tree))),
                several.clone().prop_map(Tree::All),
                several.prop_map(Tree::Any),
            ]
        })
    }

    /// The texts of each field. The name of an event is one.
    fn texts() -> impl Strategy<Value = [Vec<&'static str>; 3]> {
        let several = |most| prop::collection::vec(prop::sample::select(&TEXTS[..]), 0..=most);
        (several(1), several(2), several(2)).prop_map(|(name, b, c)| [name, b, c])
    }

    /// Sigma's condition, for the selections that are added.
    fn condition(tree: &Tree, selections: &mut Vec<String>) -> String {
        let mut joined = |trees: &[Tree], word: &str| {
            let parts: Vec<_> = trees.iter().map(|tree| condition(tree, selections)).collect();
            format!("({})", parts.join(word))
        };
        match tree {
            Tree::Field(field, (modifier, value)) => {
                let name = format!("s{}", selections.len());
                selections.push(format!("  {name}: {{'{}{modifier}': {value}}}\n", FIELDS[*field]));
                name
            }
            Tree::Not(tree) => format!("not {}", condition(tree, selections)),
            Tree::All(trees) => joined(trees, " and "),
            Tree::Any(trees) => joined(trees, " or "),
        }
    }

    /// Sigma's specification, word by word. Of the texts of a field, which an array has, one must match.
    fn holds(tree: &Tree, record: &[Vec<&str>; 3]) -> bool {
        match tree {
            Tree::Field(field, (_, "null")) => record[*field].is_empty(),
            Tree::Field(field, test) => record[*field].iter().any(|text| matches(test, text)),
            Tree::Not(tree) => !holds(tree, record),
            Tree::All(trees) => trees.iter().all(|tree| holds(tree, record)),
            Tree::Any(trees) => trees.iter().any(|tree| holds(tree, record)),
        }
    }

    fn matches((modifier, value): &(&str, &str), exact: &str) -> bool {
        let (text, lower) = (exact.to_lowercase(), value.to_lowercase());
        let number = exact.parse::<f64>();
        match *modifier {
            "" => text == lower,
            "|cased" => exact == *value,
            "|contains" => text.contains(&lower),
            "|startswith" => text.starts_with(&lower),
            "|endswith" => text.ends_with(&lower),
            "|gte" => number.is_ok_and(|number| number >= 6.0),
            "|lt" => number.is_ok_and(|number| number < 6.0),
            "|cidr" => exact.parse::<Ipv4Addr>().is_ok_and(|address| address.octets()[0] == 10),
            _ => exact.starts_with('x'),
        }
    }

    /// A record with these texts of the fields.
    fn record([name, b, c]: &[Vec<&str>; 3]) -> Value {
        json!({ "eventName": name.first(), "eventSource": "s", "a": [{ "b": b }, { "c": c }] })
    }

    /// Which of these records a configuration alerts on.
    fn alerted(configuration: &str, records: &[Value]) -> Vec<bool> {
        let filter = config::parse(configuration.as_bytes(), None).unwrap();
        let learned = Learned::new(&filter);
        let mut evaluator = Evaluator::new(Matcher::new(&filter, &learned), "log", None);
        let mut log_file = LogFile::default();
        let mut alerted = Vec::new();
        for piece in [Some(json!({ "Records": records }).to_string().as_bytes()), None] {
            let mut read = log_file.read(piece);
            while let Some(record) = read.next().unwrap() {
                alerted.push(match evaluator.evaluate(&record).unwrap() {
                    Verdict::Matched(_, alerts) => alerts.count() > 0,
                    Verdict::Unmatched | Verdict::Pending(..) => false,
                });
            }
        }
        alerted
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn rules_match_exactly_the_records_that_sigma_matches(
            tree in tree(),
            texts in prop::collection::vec(texts(), 1..40),
        ) {
            let mut selections = Vec::new();
            let condition = condition(&tree, &mut selections);
            let yaml = format!("{HEAD}detection:\n{}  condition: {condition}\n", selections.concat());
            let imported = import("sigma-t", &yaml);
            // Few rules can't be said. Too many of them would fail the test.
            prop_assume!(!matches!(&imported, Err(why) if why.contains("that must pass together")));
            let configuration = configuration(&[imported.unwrap().unwrap()]);
            let records: Vec<_> = texts.iter().map(record).collect();
            let expected: Vec<_> = texts.iter().map(|texts| holds(&tree, texts)).collect();
            prop_assert_eq!(alerted(&configuration, &records), expected, "{}\n{}\n{:?}", yaml, configuration, texts);
        }
    }
}
