//! Warnings about valid configurations that are probably mistakes: rules that never match, match everything, or feed
//! themselves.

use std::time::Duration;

use ipnet::IpNet;

use super::calls::Calls;
use super::condition::{CallName, Check, Condition, PathsSeen, Scratch, Test, path_text};
use super::examples::{examples, matches_everything};
use super::model::{Exception, Filter, Rule, Severity};
use super::pattern::Searches;
use super::stage::{Stage, StageKind};
use super::{cost, exceptions, overrides, paths};
use crate::log::Record;

/// Keys and values of the events in files that the function skips, those events' name, and the values of other events.
const SKIPPED: [(&str, &str, &str); 3] = [
    ("eventCategory", "Insight", "Insights"),
    ("eventCategory", "Aggregated", "aggregated"),
    ("eventType", "AwsCloudTrailInsight", "Insights"),
];
const NOT_SKIPPED: &str = "Management Data NetworkActivity AwsApiCall AwsServiceEvent AwsConsoleAction AwsConsoleSignIn \
    AwsVpceEvent";

/// Services under a name that people or EventBridge give them, and under CloudTrail's.
const RENAMED: &str = "alb=elasticloadbalancing cloudwatch=monitoring cloudwatch-logs=logs cloudwatchlogs=logs docdb=rds \
    efs=elasticfilesystem elb=elasticloadbalancing elbv2=elasticloadbalancing emr=elasticmapreduce eventbridge=events \
    macie=macie2 msk=kafka neptune=rds opensearch=es stepfunctions=states tag=tagging";

/// Calls of all kinds, one a line: a condition that matches each of them probably matches every call.
const CALLS: &str = include_str!("every_call.jsonl");

/// Calls that the function itself makes when it runs: a rule on one of them brings an alert about each alert, where the
/// trail logs data events.
const OWN_CALLS: [(&str, &str); 2] = [("sns.amazonaws.com", "Publish"), ("s3.amazonaws.com", "GetObject")];

/// Paths whose value hardly any two events share.
const ALWAYS_NEW: [&str; 3] = ["eventID", "requestID", "eventTime"];

/// How long before the end of an exception it is told.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// Warnings about a valid configuration, each naming its rule and what to do, given its packs as they are shipped, and
/// today as `2027-03-01`.
pub(crate) fn warnings(filter: &Filter, packs: &[Filter], today: &str) -> Vec<String> {
    let midnight = humantime::parse_rfc3339(&format!("{today}T00:00:00Z"));
    let soon = midnight.map(|time| humantime::format_rfc3339(time + NOTICE).to_string()).unwrap_or_default();
    let lint = Lint { calls: Calls::new(), today, soon };
    let mut found = Vec::new();
    for rule in &filter.rules {
        let mut of_rule = overrides::warnings(rule, filter, packs);
        of_rule.extend(own_calls(rule, filter));
        of_rule.extend(lint.rule(rule));
        found.extend(prefixed(&format!("rule {}", rule.name), of_rule));
    }
    found.extend(lint.ignore(&filter.ignore, None));
    found
}

fn prefixed(at: &str, warnings: Vec<String>) -> impl Iterator<Item = String> {
    warnings.into_iter().map(move |warning| format!("{at}: {warning}"))
}

/// What warnings look at beside a rule.
struct Lint<'t> {
    calls: Calls,
    today: &'t str,
    /// The last day on which exceptions end that are told.
    soon: String,
}

impl Lint<'_> {
    fn rule(&self, rule: &Rule) -> Vec<String> {
        let mut found = self.condition_of_rule(&rule.condition, None);
        for (i, condition) in rule.any.iter().enumerate() {
            found.extend(prefixed(&format!("any[{i}]"), self.condition_of_rule(condition, Some(&rule.condition))));
        }
        found.extend(self.ignore(&rule.ignore, Some(&rule.condition)));
        found.extend(rule.stages.iter().flat_map(|stage| prefixed(stage.name(), self.stage(stage, rule))));
        found
    }

    fn stage(&self, stage: &Stage, rule: &Rule) -> Vec<String> {
        let known = if rule.any.is_empty() { self.calls.parameters(&[&rule.condition]) } else { Vec::new() };
        let unknown = |path: &Vec<String>| paths::unknown(path).or_else(|| self.calls.unknown_parameter(path, &known));
        let always_new = stage.by.iter().map(|path| path_text(path)).find(|path| ALWAYS_NEW.contains(&path.as_str()));
        let single = always_new.map(|path| {
            format!("`{path}` in `by` is new in each event, so each event is a group of its own: leave it out")
        });
        let critical = (rule.severity == Severity::Critical).then(|| {
            let by = stage.by_text();
            let when = match stage.kind {
                StageKind::Threshold { count, .. } => format!("until there are {count} with the same {by}"),
                _ => format!("within {} of one with the same {by}", stage.span.in_words()),
            };
            format!("it holds back critical alerts {when}: delete it if each must be sent")
        });
        let one_text = match &stage.kind {
            StageKind::Threshold { distinct: Some(path), .. } if stage.by.contains(path) => Some(format!(
                "`{}` is in `by` too, so that all matches of a group have one text: leave it out of `by`",
                path_text(path)
            )),
            _ => None,
        };
        stage.paths().filter_map(unknown).chain(single).chain(one_text).chain(critical).collect()
    }

    /// The warnings about entries of an `ignore`, which may be that of a rule with this condition.
    fn ignore(&self, entries: &[Exception], of: Option<&Condition>) -> Vec<String> {
        let mut found = Vec::new();
        for (i, Exception { condition, until, .. }) in entries.iter().enumerate() {
            let mut of_entry = self.condition(condition, of);
            of_entry.extend(until.as_deref().and_then(|until| self.expiry(until)));
            if !every_call(condition) {
                of_entry.extend(exceptions::of_ignore(condition));
            }
            found.extend(prefixed(&format!("ignore[{i}]"), of_entry));
        }
        found
    }

    fn condition_of_rule(&self, condition: &Condition, of: Option<&Condition>) -> Vec<String> {
        let mut found = self.condition(condition, of);
        let account = exceptions::account(of.into_iter().chain([condition]).flat_map(|it| &it.wheres));
        found.extend(condition.unless.iter().filter_map(|test| exception(test, account.as_deref())));
        found
    }

    /// The warnings about a condition, given the one that holds with it.
    fn condition(&self, condition: &Condition, of: Option<&Condition>) -> Vec<String> {
        let [wheres, unless] = [&condition.wheres, &condition.unless].map(|tests| paths::flat(tests));
        let flat = Condition { wheres, unless, ..condition.clone() };
        let known = if flat.tests().any(|test| test.is_within("requestParameters")) {
            self.calls.parameters(&[condition].into_iter().chain(of).collect::<Vec<_>>())
        } else {
            Vec::new()
        };
        let mut found = Vec::new();
        found.extend(source(condition));
        found.extend(self.calls.versioned(condition));
        found.extend(condition.event_name.as_ref().and_then(|pattern| self.calls.unknown("regexp", pattern)));
        found.extend(everything(condition));
        found.extend(flat.wheres.iter().filter_map(skipped));
        for test in flat.tests() {
            let other = if let Check::SameAs(other) = &test.check { Some(other) } else { None };
            for path in [&test.path].into_iter().chain(other) {
                found.extend(paths::unknown(path).or_else(|| self.calls.unknown_parameter(path, &known)));
            }
            if test.path == ["eventName"] {
                found.extend(test.patterns().iter().filter_map(|pattern| self.calls.unknown("eventName", pattern)));
            }
            found.extend(networks(test));
        }
        found.extend(cost::slow(&flat));
        found
    }

    /// An exception that has ended, or ends soon.
    fn expiry(&self, until: &str) -> Option<String> {
        let what = if until < self.today { "ended" } else { "ends" };
        (*until <= *self.soon).then(|| format!("it {what} on {until}: delete it, or give it a later `until`"))
    }
}

/// A text that a pattern asks for, if it is EventBridge's or another name that CloudTrail does not write.
fn source(condition: &Condition) -> Option<String> {
    let pattern = condition.event_source.as_ref()?;
    examples(pattern).iter().filter(|text| pattern.is_match(text)).find_map(|text| {
        let small = text.to_lowercase();
        let service = small.split("amazonaws").next()?.trim_start_matches("aws.").trim_matches('.');
        let mut renamed = RENAMED.split_whitespace().filter_map(|names| names.split_once('='));
        let service = renamed.find(|(other, _)| *other == service).map_or(service, |(_, own)| own);
        let meant = if service.is_empty() { &["iam", "aws-marketplace"][..] } else { &[service] };
        let sources: Vec<_> = meant.iter().map(|service| format!("{service}.amazonaws.com")).collect();
        let what = if service.is_empty() { "names such as " } else { "" };
        let warning = format!("`source` matches `{text}`, but CloudTrail writes {what}`{}`", sources[0]);
        (!text.is_empty() && !sources.iter().any(|source| pattern.is_match(source))).then_some(warning)
    })
}

fn everything(condition: &Condition) -> Option<String> {
    if every_call(condition) {
        return Some("it matches every call: narrow it down, or delete it".to_owned());
    }
    let (key, _) = condition.call().find(|(_, pattern)| matches_everything(pattern))?;
    Some(format!("`{key}` matches everything: narrow it down, or leave it out"))
}

/// Whether a condition without exceptions probably matches every call. That of a rule that has only `any` is empty.
fn every_call(condition: &Condition) -> bool {
    let is_empty = condition.is_for_any_call() && condition.wheres.is_empty();
    condition.unless.is_empty()
        && !is_empty
        && CALLS.lines().filter_map(|call| Record::parse(call).ok()).all(|call| {
            let [source, name] = ["eventSource", "eventName"].map(|key| call.raw_string(&[key]));
            let name = CallName { source: source.as_deref(), name: name.as_deref() };
            condition.matches(
                name,
                &call,
                &mut Scratch { searches: &mut Searches::default(), paths_seen: &mut PathsSeen::default() },
            )
        })
}

/// A test of an `unless` that excepts every call, or callers that are not meant.
fn exception(test: &Test, account: Option<&str>) -> Option<String> {
    if every_call(&Condition { wheres: vec![test.clone()], ..Condition::default() }) {
        let path = test.path_text();
        return Some(format!("`{path}` in `unless` excepts every call: narrow it down, or leave it out"));
    }
    exceptions::of_test(test, account)
}

fn skipped(test: &Test) -> Option<String> {
    let pattern = test.pattern().filter(|pattern| !NOT_SKIPPED.split(' ').any(|value| pattern.is_match(value)))?;
    let is_found = |(key, value, _): &&(&str, &str, &str)| test.path == [*key] && pattern.is_match(value);
    let (key, value, events) = SKIPPED.iter().find(is_found)?;
    Some(format!("`{key}`: only {events} events are `{value}`, and the function skips their files"))
}

/// Networks in the place of a pattern for an address.
fn networks(test: &Test) -> Option<String> {
    let pattern = test.pattern().filter(|_| test.path.last().is_some_and(|key| key.ends_with("IPAddress")))?;
    let networks = examples(pattern).into_iter().map(|text| text.parse::<IpNet>().ok().filter(|_| text.contains('/')));
    let networks = networks.map(|network| Some(format!("\"{}\"", network?.trunc()))).collect::<Option<Vec<_>>>()?;
    let (path, networks) = (test.path_text(), networks.join(", "));
    (!networks.is_empty()).then(|| {
        format!(
            "`{path}`: a pattern is searched in the text, and no address has a `/`: write {{\"cidr\": [{networks}]}}"
        )
    })
}

/// A rule that matches what the function does.
fn own_calls(rule: &Rule, filter: &Filter) -> Option<String> {
    // A rule that is narrowed down, or excepts callers, is probably no accident.
    let ignored = rule.ignore.iter().chain(&filter.ignore).flat_map(|entry| &entry.condition.wheres);
    let mut excepted = rule.conditions().flat_map(|it| &it.unless).chain(ignored);
    let is_silent = rule.dry_run || !rule.enabled || rule.conditions().all(Condition::is_for_any_call);
    if is_silent || excepted.any(|test| test.is_within("userIdentity")) {
        return None;
    }
    let (source, event) = OWN_CALLS.iter().find(|(source, name)| {
        rule.all_and_any(|it| it.wheres.is_empty() && it.matches_source(Some(source)) && it.matches_name(Some(name)))
    })?;
    Some(format!(
        "it matches {event} of {source}, which this function calls itself: where the trail logs such data events, every \
         alert leads to the next; add to `ignore`, with your account: {{\"where\": {{\"userIdentity.arn\": \
         \"^arn:aws:sts::123456789012:assumed-role/NAME-OF-THE-FUNCTION'S-ROLE/\"}}}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{config, packs};
    use super::warnings;

    #[test]
    fn packs_are_valid_and_free_of_warnings() {
        let all = format!(r#"{{"packs": {:?}}}"#, packs::NAMES);
        let filter = config::parse(all.as_bytes(), None).unwrap();
        assert_eq!(warnings(&filter, &[], "2026-11-26"), [""; 0]);
        for name in packs::NAMES {
            let alone = config::parse(packs::file(name).unwrap().as_bytes(), None).unwrap();
            assert!(alone.rules.iter().all(|rule| rule.description.is_some()), "{name}");
        }
    }

    #[test]
    fn exceptions_that_end_within_two_weeks_are_told() {
        for (until, word) in [
            ("2026-11-25", Some("ended")),
            ("2026-11-26", Some("ends")),
            ("2026-12-10", Some("ends")),
            ("2026-12-11", None),
        ] {
            let entry = format!(r#"{{"source": "^iam", "regexp": "^CreateUser$", "until": "{until}"}}"#);
            let rule = format!(r#"{{"name": "r", "regexp": "^CreateUser$", "ignore": [{entry}]}}"#);
            let filter =
                config::parse(format!(r#"{{"rules": [{rule}], "ignore": [{entry}]}}"#).as_bytes(), None).unwrap();
            let expected = ["rule r: ignore[0]", "ignore[0]"].map(|at| {
                word.map(|word| format!("{at}: it {word} on {until}: delete it, or give it a later `until`"))
            });
            assert_eq!(
                warnings(&filter, &[], "2026-11-26"),
                expected.into_iter().flatten().collect::<Vec<_>>(),
                "{until}"
            );
        }
    }
}
