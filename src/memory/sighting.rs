//! A rule's match as the memory sees it: hashes of what tells its groups apart, so that the memory holds no texts of
//! records.

use super::group::Sighted;
use crate::alert::{GroupId, id};
use crate::log::{Record, Time};
use crate::rules::{Rule, Stage, StageKind};

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
    /// `event` gives the hash of the event. `None` for a rule without stages, and for a record without a valid `eventTime`, on
    /// which a rule always alerts.
    pub(crate) fn of(rule: &'f Rule, record: &Record<'_>, event: impl Fn() -> u128) -> Option<Self> {
        if rule.stages.is_empty() {
            return None;
        }
        let time = Time::of(record)?;
        let groups = rule.stages.iter().map(|stage| InGroup::of(rule, stage, record)).collect();
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
    fn of(rule: &Rule, stage: &Stage, record: &Record<'_>) -> Self {
        // The number of texts at each path keeps `a, b` and nothing apart from `a` and `b`.
        let mut texts = vec![rule.name.clone(), stage.name().to_owned()];
        for path in &stage.by {
            let found = record.raw_texts(path);
            texts.push(found.len().to_string());
            texts.extend(found);
        }
        let id = GroupId(id::hash(texts.iter().map(String::as_str)));
        let counted = match &stage.kind {
            StageKind::Threshold { distinct: Some(path), .. } => {
                Some(record.raw_texts(path).iter().map(|text| half(id::hash([text.as_str()]))).collect())
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
