//! A rule's match as the memory sees it: hashes of what tells its groups apart, so that the memory holds no texts of
//! records.

use std::collections::BTreeSet;

use super::group::Sighted;
use crate::alert::GroupId;
use crate::alert::id::{self, Hash};
use crate::log::{Record, Time};
use crate::rules::{Filter, Rule, Stage, StageKind, TopicArn, path_text};

/// A match of a rule that has stages.
#[derive(Debug)]
pub(crate) struct Sighting<'f> {
    pub(crate) rule: &'f Rule,
    time: Time,
    event: u64,
    /// By stage of the rule.
    groups: Vec<InGroup>,
}

#[derive(Debug)]
struct InGroup {
    id: GroupId,
    /// Hashes of the texts at `distinct`; `None` where events are counted.
    texts: Option<Vec<u64>>,
}

impl<'f> Sighting<'f> {
    /// A match of a rule of that filter; `event` gives the hash of the event. `None` for a rule without stages, and for a
    /// record without a valid `eventTime`, on which a rule always alerts.
    pub(crate) fn of(filter: &Filter, rule: &'f Rule, record: &Record<'_>, event: impl Fn() -> u128) -> Option<Self> {
        if rule.stages.is_empty() {
            return None;
        }
        let time = Time::of(record)?;
        // A function may have several configurations, and rules of one name in them.
        let topic = filter.topics.get(rule.topic).and_then(|topic| topic.arn.as_ref()).map_or("", TopicArn::as_str);
        let groups = rule.stages.iter().map(|stage| InGroup::of([topic, &rule.name], stage, record)).collect();
        Some(Sighting { rule, time, event: half(event()), groups })
    }

    /// The stages of the rule in their order, each with the match's group.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (&'f Stage, GroupId, Sighted<'_>)> {
        self.rule.stages.iter().zip(&self.groups).map(|(stage, InGroup { id, texts })| {
            let counted = texts.as_deref().unwrap_or(std::slice::from_ref(&self.event));
            (stage, *id, Sighted { time: self.time, event: self.event, counted })
        })
    }
}

impl InGroup {
    fn of(rule: [&str; 2], stage: &Stage, record: &Record<'_>) -> Self {
        let mut group = Hash::default();
        // A changed stage begins anew: its groups would count other things.
        let [topic, name] = rule;
        for text in [topic, name, stage.name(), &stage.span.to_string()] {
            group.add(text);
        }
        if let StageKind::Threshold { count, distinct } = &stage.kind {
            group.add(&count.to_string());
            group.add(&distinct.as_deref().map(path_text).unwrap_or_default());
        }
        for path in &stage.by {
            let (mut texts, mut count) = (Hash::default(), 0);
            record.visit_raw_texts(path, |text| {
                texts.add(text);
                count += 1;
            });
            // The number of texts at each path keeps `a, b` and nothing apart from `a` and `b`.
            group.add(&path_text(path));
            group.add(&format!("{count} {:032x}", texts.finish()));
        }
        let id = GroupId(group.finish());
        let counted = match &stage.kind {
            StageKind::Threshold { count, distinct: Some(path) } => {
                let mut different = BTreeSet::new();
                record.visit_raw_texts(path, |text| {
                    // More of them change nothing.
                    if different.len() < *count {
                        different.insert(half(id::hash([text])));
                    }
                });
                Some(different.into_iter().collect())
            }
            _ => None,
        };
        InGroup { id, texts: counted }
    }
}

/// Enough of a hash to tell the few events and texts of one group apart.
fn half(hash: u128) -> u64 {
    (hash >> 64) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rules::config;

    /// The groups and what counts, by stage; `None` where the rule always alerts.
    fn sighted(name: &str, stages: &str, record: &Value) -> Option<Vec<(GroupId, usize)>> {
        let topic = r#""topicARN": "arn:aws:sns:us-east-1:123456789012:t""#;
        let file = format!(r#"{{"rules": [{{"name": "{name}", {topic}, "regexp": "x", {stages}}}]}}"#);
        let filter = config::parse(file.as_bytes(), None).unwrap();
        let record = record.to_string();
        let sighting = Sighting::of(&filter, &filter.rules[0], &Record::parse(&record).unwrap(), || 7)?;
        Some(sighting.stages().map(|(_, group, sighted)| (group, sighted.counted.len())).collect())
    }

    #[test]
    fn groups_are_told_apart_by_the_rule_the_stage_and_the_texts() {
        let stages = r#""firstSeen": {"by": ["a", "b"], "within": "1d"}, "suppress": {"by": ["a", "b"], "for": "1d"}"#;
        let group = |name: &str, mut record: Value| {
            record["eventTime"] = json!("2026-11-20T21:08:30Z");
            sighted(name, stages, &record).unwrap().into_iter().map(|(group, _)| group).collect::<Vec<_>>()
        };
        let mut all: Vec<GroupId> = group("another", json!({}));
        for record in [
            json!({}),
            json!({"a": ""}),
            json!({"a": "x"}),
            json!({"b": "x"}),
            json!({"a": "x", "b": ""}),
            json!({"a": ["x", "y"]}),
            json!({"a": ["y", "x"]}),
            json!({"a": "x", "b": "y"}),
            json!({"a": {"x": "y"}}),
        ] {
            all.extend(group("r", record));
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((count, all.len()), (20, 20));
        // Another path, and another topic.
        let one = |stages: &str, topic: &str| {
            let rule = format!(r#"{{"name": "r", "regexp": "x", "suppress": {{"by": ["{stages}"], "for": "1d"}}}}"#);
            let topic = format!(r#"{{"topicARN": "arn:aws:sns:us-east-1:123456789012:{topic}"}}"#);
            let filter = config::parse(format!(r#"{{"sns": {topic}, "rules": [{rule}]}}"#).as_bytes(), None).unwrap();
            let record = Record::parse(r#"{"eventTime": "2026-11-20T21:08:30Z"}"#).unwrap();
            let sighting = Sighting::of(&filter, &filter.rules[0], &record, || 7).unwrap();
            sighting.stages().next().unwrap().1
        };
        assert_eq!(one("a", "t"), one("a", "t"));
        assert_ne!(one("a", "t"), one("b", "t"));
        assert_ne!(one("a", "t"), one("a", "u"));
        for (one, same) in [
            (json!({"a": null, "b": []}), json!({"c": "z"})),
            (json!({"a": "1"}), json!({"a": 1})),
            (json!({"a": ["x"]}), json!({"a": "x"})),
        ] {
            assert_eq!(group("r", one), group("r", same));
        }
    }

    #[test]
    fn a_record_without_a_valid_time_has_no_group_and_one_with_many_texts_counts_few() {
        let stages = r#""threshold": {"count": 3, "by": ["a"], "within": "1m", "distinct": "t.n"}"#;
        let of = |time: &str, texts: Value| sighted("r", stages, &json!({"eventTime": time, "t": {"n": texts}}));
        for time in ["", "yesterday", "2026-11-20", "2026-11-20T21:08:30", "2026-11-20T21:08:30+01:00"] {
            assert_eq!(of(time, json!("x")), None, "{time}");
        }
        let texts: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
        for (texts, counted) in
            [(json!([]), 0), (json!(null), 0), (json!(["x", "x"]), 1), (json!(["x", "y"]), 2), (json!(texts), 3)]
        {
            assert_eq!(of("2026-11-20T21:08:30.5Z", texts).unwrap()[0].1, counted);
        }
    }
}
