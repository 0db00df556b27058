//! A Sigma rule as a rule of a configuration, exactly or not at all.

use std::collections::BTreeMap;
use std::slice;

use rsigma_parser::{
    ConditionExpr, Detection, Level, Quantifier, SigmaCollection, SigmaRule, Status, parse_sigma_yaml,
};

use super::expression::{Expression, conditions};
use super::layout::{self, Entries, Json};
use super::value::{KEYWORDS, tests};
use crate::rules::config;

/// The rule of a file.
pub(super) struct Imported {
    /// As the configuration writes it.
    pub(super) text: String,
    /// What its author says against its use.
    pub(super) warning: Option<String>,
}

/// Why a file gives no rule.
pub(super) enum Refusal {
    /// Its rule is for other logs.
    OtherLogs,
    Reason(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Refusal::Reason(reason)
    }
}

/// The rule that a file holds, under this name.
pub(super) fn import(name: &str, yaml: &str) -> Result<Imported, Refusal> {
    let rule = only_rule(parse_sigma_yaml(yaml).map_err(|e| e.to_string())?)?;
    let is = |given: &Option<String>, wanted| given.as_deref().is_some_and(|given| given.eq_ignore_ascii_case(wanted));
    if !is(&rule.logsource.product, "aws") || !is(&rule.logsource.service, "cloudtrail") {
        return Err(Refusal::OtherLogs);
    }
    if let Some(taxonomy) = rule.taxonomy.as_deref().filter(|taxonomy| *taxonomy != "sigma") {
        return Err(format!("its fields have the names of the taxonomy `{taxonomy}`: give them CloudTrail's").into());
    }
    let named: BTreeMap<_, _> = rule.detection.named.iter().map(|(name, detection)| (&**name, detection)).collect();
    let expressions = rule.detection.conditions.iter().map(|condition| expression(condition, &named));
    let expression = Expression::any(expressions.collect::<Result<_, _>>()?);
    let mut groups = head(name, &rule);
    groups.extend(conditions(expression)?);
    groups.extend(tail(&rule));
    let text = layout::rule(&groups);
    config::parse(layout::configuration(slice::from_ref(&text)).as_bytes(), None)
        .map_err(|problems| problems.join("; "))?;
    let status = rule.status.filter(|status| matches!(status, Status::Deprecated | Status::Unsupported));
    let warning =
        status.map(|status| format!("it is imported, but its authors say that it is {status:?}").to_lowercase());
    Ok(Imported { text, warning })
}

fn only_rule(mut file: SigmaCollection) -> Result<SigmaRule, String> {
    if !file.errors.is_empty() {
        let errors = file.errors.join("; ");
        return Err(format!("it is not a valid Sigma rule: {}", words(&errors)));
    }
    if !file.correlations.is_empty() {
        return Err("it correlates several records, and a rule here looks at one".to_owned());
    }
    if !file.filters.is_empty() {
        return Err("it filters other rules: write its exceptions into `ignore` of the configuration".to_owned());
    }
    match (file.rules.pop(), file.rules.is_empty()) {
        (Some(rule), true) => Ok(rule),
        (Some(_), false) => Err("it has several rules: give each a file of its own, whose name it gets".to_owned()),
        (None, _) => Err("it has no Sigma rule".to_owned()),
    }
}

fn expression(condition: &ConditionExpr, named: &BTreeMap<&str, &Detection>) -> Result<Expression, String> {
    let each = |conditions: &[ConditionExpr]| {
        conditions.iter().map(|condition| expression(condition, named)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match condition {
        ConditionExpr::And(conditions) => Expression::all(each(conditions)?),
        ConditionExpr::Or(conditions) => Expression::any(each(conditions)?),
        ConditionExpr::Not(condition) => expression(condition, named)?.negated(),
        ConditionExpr::Identifier(name) => match named.get(name.as_str()) {
            Some(detection) => selection(detection)?,
            None => return Err(format!("its condition names `{name}`, which it does not have")),
        },
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen = named.iter().filter(|(name, _)| pattern.matches_detection_name(name));
            let chosen = chosen.map(|(_, detection)| selection(detection)).collect::<Result<Vec<_>, _>>()?;
            match quantifier {
                _ if chosen.is_empty() => {
                    return Err(format!("its condition names `{pattern}`, and none of its selections is named so"));
                }
                Quantifier::Any => Expression::any(chosen),
                Quantifier::All => Expression::all(chosen),
                Quantifier::Count(_) => {
                    return Err(format!("its condition has `{condition}`: write out the combinations"));
                }
            }
        }
    })
}

fn selection(detection: &Detection) -> Result<Expression, String> {
    match detection {
        Detection::AllOf(items) if items.is_empty() => Err("a selection is empty: delete it".to_owned()),
        Detection::AllOf(items) => Ok(Expression::all(items.iter().map(tests).collect::<Result<_, _>>()?)),
        Detection::AnyOf(selections) => {
            Ok(Expression::any(selections.iter().map(selection).collect::<Result<_, _>>()?))
        }
        Detection::Keywords(_) => Err(KEYWORDS.to_owned()),
        _ => Err("it has tests for each element of an array, which only a proposal for Sigma knows".to_owned()),
    }
}

fn head(name: &str, rule: &SigmaRule) -> Vec<Entries> {
    let text = |key: &str, text: &str| (key.to_owned(), Json::Text(text.to_owned()));
    let severity = rule.level.map(|level| if level == Level::Informational { "info" } else { level.as_str() });
    let mut description = vec![sentence(&rule.title)];
    description.extend(rule.description.as_deref().map(sentence));
    if !rule.falsepositives.is_empty() {
        description.push(sentence(&format!("False positives: {}", rule.falsepositives.join("; "))));
    }
    description.extend(rule.license.as_deref().map(|license| sentence(&format!("Licence: {license}"))));
    let first = [text("name", name)].into_iter().chain(severity.map(|severity| text("severity", severity)));
    vec![first.collect(), vec![text("description", &description.join(" "))]]
}

fn tail(rule: &SigmaRule) -> Vec<Entries> {
    let list = |key: &str, texts: &[String]| {
        let entries = (!texts.is_empty()).then(|| (key.to_owned(), Json::texts(texts)));
        entries.into_iter().collect::<Entries>()
    };
    let id = rule.id.iter().map(|id| format!("sigma:{id}"));
    let references: Vec<_> = rule.references.iter().cloned().chain(id).collect();
    let author = rule.author.iter().map(|author| ("author".to_owned(), Json::Text(words(author))));
    vec![list("references", &references), list("tags", &rule.tags), author.collect()]
}

/// A text on one line, with a full stop.
fn sentence(text: &str) -> String {
    let text = words(text);
    if text.ends_with(['.', '!', '?']) { text } else { text + "." }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
