//! A rule as one place of the file gives it, and how the drafts of all places become rules and topics.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::condition::{Condition, Test};
use super::json_tree::Problems;
use super::model::{Exception, Format, Rule, RuleTest, Severity, Topic};
use super::pattern::Pattern;
use super::stage::Stage;
use super::topic_arn::TopicArn;

/// The keys of a rule that one place gives. A rule of the file overrides keys of a pack's rule.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) condition: ConditionDraft,
    pub(super) any: Option<Vec<Condition>>,
    pub(super) ignore: Option<Vec<Exception>>,
    pub(super) description: Option<String>,
    pub(super) severity: Option<Severity>,
    pub(super) enabled: Option<bool>,
    pub(super) dry_run: Option<bool>,
    pub(super) metrics: Option<bool>,
    pub(super) threshold: Option<Stage>,
    pub(super) first_seen: Option<Stage>,
    pub(super) suppress: Option<Stage>,
    pub(super) runbook: Option<String>,
    pub(super) references: Option<Vec<String>>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) tests: Option<Vec<RuleTest>>,
    pub(super) topic: Option<TopicArn>,
    pub(super) format: Option<Format>,
}

/// The keys of a condition that one place gives.
#[derive(Default)]
pub(super) struct ConditionDraft {
    pub(super) source: Option<Pattern>,
    pub(super) regexp: Option<Pattern>,
    pub(super) wheres: Option<Vec<Test>>,
    pub(super) unless: Option<Vec<Test>>,
}

impl ConditionDraft {
    /// Whether it has no condition at all.
    pub(super) fn is_empty(&self) -> bool {
        let none = |tests: &Option<Vec<Test>>| tests.as_ref().is_none_or(Vec::is_empty);
        self.source.is_none() && self.regexp.is_none() && none(&self.wheres) && none(&self.unless)
    }

    pub(super) fn into_condition(self) -> Condition {
        Condition {
            event_source: self.source,
            event_name: self.regexp,
            wheres: self.wheres.unwrap_or_default(),
            unless: self.unless.unwrap_or_default(),
        }
    }
}

impl Draft {
    pub(super) fn has_no_condition(&self) -> bool {
        self.condition.is_empty() && self.any.is_none()
    }

    /// Takes over the keys that the other one gives.
    pub(super) fn override_with(&mut self, other: Draft) {
        fn replace<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        replace(&mut self.condition.source, other.condition.source);
        replace(&mut self.condition.regexp, other.condition.regexp);
        replace(&mut self.condition.wheres, other.condition.wheres);
        replace(&mut self.condition.unless, other.condition.unless);
        replace(&mut self.any, other.any);
        replace(&mut self.ignore, other.ignore);
        replace(&mut self.description, other.description);
        replace(&mut self.severity, other.severity);
        replace(&mut self.enabled, other.enabled);
        replace(&mut self.dry_run, other.dry_run);
        replace(&mut self.metrics, other.metrics);
        replace(&mut self.threshold, other.threshold);
        replace(&mut self.first_seen, other.first_seen);
        replace(&mut self.suppress, other.suppress);
        replace(&mut self.runbook, other.runbook);
        replace(&mut self.references, other.references);
        replace(&mut self.tags, other.tags);
        replace(&mut self.tests, other.tests);
        replace(&mut self.topic, other.topic);
        replace(&mut self.format, other.format);
    }

    /// Makes the rule of that name, whose alerts go to a topic.
    fn into_rule(self, name: String, topic: usize) -> Rule {
        Rule {
            name,
            description: self.description,
            severity: self.severity.unwrap_or(Severity::Medium),
            condition: self.condition.into_condition(),
            any: self.any.unwrap_or_default(),
            ignore: self.ignore.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            dry_run: self.dry_run.unwrap_or(false),
            metrics: self.metrics.unwrap_or(false),
            stages: [self.threshold, self.first_seen, self.suppress].into_iter().flatten().collect(),
            runbook: self.runbook,
            references: self.references.unwrap_or_default(),
            tags: self.tags.unwrap_or_default(),
            tests: self.tests.unwrap_or_default(),
            topic,
        }
    }
}

/// The rules of a file in their order, by name.
#[derive(Default)]
pub(super) struct Drafts {
    in_order: Vec<(String, Draft)>,
    /// Where in that order a name is.
    places: HashMap<String, usize, RandomState>,
    /// Names of packs' rules that no rule has overridden yet.
    pub(super) from_packs: Vec<String>,
}

impl Drafts {
    pub(super) fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// The draft of that name.
    pub(super) fn known(&mut self, name: &str) -> Option<&mut Draft> {
        let place = self.places.get(name)?;
        self.in_order.get_mut(*place).map(|(_, draft)| draft)
    }

    /// Adds a rule of a name that is not known.
    pub(super) fn add(&mut self, name: String, draft: Draft) {
        self.places.insert(name.clone(), self.in_order.len());
        self.in_order.push((name, draft));
    }

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
        for (name, draft) in self.in_order {
            let arn = draft.topic.as_ref().or(topic).cloned();
            let topic = topics.iter().position(|topic| topic.arn == arn).unwrap_or_else(|| {
                let format = formats.get(&arn).copied().or(format).unwrap_or_default();
                topics.push(Topic { arn, format });
                topics.len() - 1
            });
            rules.push(draft.into_rule(name, topic));
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
        for (name, draft) in &self.in_order {
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
