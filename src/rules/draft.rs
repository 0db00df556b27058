//! A rule as one place of the file gives it, and how the drafts of all places become rules and topics.

use std::collections::HashMap;

use super::json_tree::Problems;
use super::model::{Condition, Format, Rule, Severity, Test, Topic};
use super::pattern::Pattern;
use super::topic_arn::TopicArn;

/// The keys of a rule that one place gives. A rule of the file overrides keys of a pack's rule.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) description: Option<String>,
    pub(super) severity: Option<Severity>,
    pub(super) source: Option<Pattern>,
    pub(super) regexp: Option<Pattern>,
    pub(super) wheres: Option<Vec<Test>>,
    pub(super) unless: Option<Vec<Test>>,
    pub(super) topic: Option<TopicArn>,
    pub(super) format: Option<Format>,
}

impl Draft {
    /// Takes over the keys that the other one gives.
    pub(super) fn override_with(&mut self, other: Draft) {
        *self = Draft {
            description: other.description.or(self.description.take()),
            severity: other.severity.or(self.severity),
            source: other.source.or(self.source.take()),
            regexp: other.regexp.or(self.regexp.take()),
            wheres: other.wheres.or(self.wheres.take()),
            unless: other.unless.or(self.unless.take()),
            topic: other.topic.or(self.topic.take()),
            format: other.format.or(self.format),
        };
    }

    pub(super) fn into_condition(self) -> Condition {
        Condition {
            event_source: self.source,
            event_name: self.regexp,
            wheres: self.wheres.unwrap_or_default(),
            unless: self.unless.unwrap_or_default(),
        }
    }

    /// Whether it has no condition at all.
    pub(super) fn is_empty(&self) -> bool {
        let none = |tests: &Option<Vec<Test>>| tests.as_ref().is_none_or(Vec::is_empty);
        self.source.is_none() && self.regexp.is_none() && none(&self.wheres) && none(&self.unless)
    }
}

/// The rules of a file in their order, by name.
#[derive(Default)]
pub(super) struct Drafts {
    pub(super) drafts: Vec<(String, Draft)>,
    /// Names of packs' rules that no rule has overridden yet.
    pub(super) from_packs: Vec<String>,
}

impl Drafts {
    /// Makes the rules and the topics that they use, each topic with one format. The topic and the format are those of
    /// the top level.
    pub(super) fn into_rules(
        self,
        topic: Option<&TopicArn>,
        format: Option<Format>,
        problems: &mut Problems,
    ) -> (Vec<Rule>, Vec<Topic>) {
        let formats = self.formats(topic, format, problems);
        let mut topics: Vec<Topic> = Vec::new();
        let mut rules = Vec::new();
        for (name, mut draft) in self.drafts {
            let arn = draft.topic.as_ref().or(topic).cloned();
            let topic = topics.iter().position(|topic| topic.arn == arn).unwrap_or_else(|| {
                let format = formats.get(&arn).copied().or(format).unwrap_or_default();
                topics.push(Topic { arn, format });
                topics.len() - 1
            });
            let (description, severity) = (draft.description.take(), draft.severity.unwrap_or(Severity::Medium));
            rules.push(Rule { name, description, severity, condition: draft.into_condition(), topic });
        }
        (rules, topics)
    }

    /// The formats that the file asks for. A topic with two is a mistake.
    fn formats(
        &self,
        topic: Option<&TopicArn>,
        format: Option<Format>,
        problems: &mut Problems,
    ) -> HashMap<Option<TopicArn>, Format> {
        let mut asked = HashMap::from([(topic.cloned(), (format.unwrap_or_default(), "the top level".to_owned()))]);
        for (name, draft) in &self.drafts {
            let Some(format) = draft.format else { continue };
            let at = format!("rule {name}");
            if draft.topic.is_none() {
                let what =
                    "`format` belongs to a topic: give the rule a topicARN too, or set `format` at the top level";
                problems.add(&at, what);
                continue;
            }
            let (known, place) = asked.entry(draft.topic.clone()).or_insert_with(|| (format, at.clone()));
            if *known != format {
                let what = format!("`{}`, but {place} asks for `{}`: a topic has one", format.name(), known.name());
                problems.add(&format!("{at}, format"), what);
            }
        }
        asked.into_iter().map(|(topic, (format, _))| (topic, format)).collect()
    }
}
