//! The alerts of one invocation that wait for SNS or are under way to it, topic by topic: which are sent next, and for which
//! there is room. No topic can take the room or the requests of all others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::dedup::AlertKey;
use crate::alert::{Alert, SIZE_LIMIT};
use crate::aws::sns::{BATCH_LIMIT, REQUESTS_AT_ONCE};
use crate::log::S3Object;
use crate::rules::{Severity, TopicArn};

/// The memory for alerts, in bytes, and more of it for the first alert of each further topic. Critical alerts may take half
/// of that: lesser ones, which are smaller, would else take all room that comes free.
const ROOM: usize = 12 << 20;
const MORE_ROOM: usize = 4 << 20;

/// An alert counts with the copies that its request makes of it. The longest is percent-encoded, up to three times as long.
const COPIES: usize = 5;
/// The memory of an alert's parts, beside their texts.
const OVERHEAD: usize = 1_000;

/// The most requests at once, to all topics. Each has a connection.
const REQUESTS: usize = 64;

/// A smaller batch than a full one waits so long for more alerts. Most logs have been read by then.
const TIME_TO_FILL: Duration = Duration::from_millis(50);
/// It waits no longer for the answers of earlier requests, which may be sent again and again.
const TIME_TO_OVERTAKE: Duration = Duration::from_secs(1);

/// A topic is stuck if SNS has taken nothing for it for so long, although it was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Entry {
    pub(super) alert: Alert,
    pub(super) topic: TopicArn,
    pub(super) log: Rc<S3Object>,
    pub(super) key: Option<AlertKey>,
}

/// The decision about an alert that asks for room.
pub(super) enum Admission {
    Taken,
    /// Others must leave first.
    Wait(Entry),
    /// Its topic is stuck.
    Refused(Entry),
}

/// Alerts for one topic, for one request.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// Tells that the topic is given up, and the request with it.
    pub(super) given_up: watch::Receiver<bool>,
}

#[derive(Default)]
pub(super) struct Queues {
    topics: BTreeMap<TopicArn, Queue>,
    /// How many batches have been sent.
    batches: u64,
    /// Alerts that waited for a topic when it was given up.
    pub(super) given_up: Vec<Entry>,
}

#[derive(Default)]
struct Queue {
    /// The most severe first.
    waiting: VecDeque<Entry>,
    /// Since when the first batch of them could have been sent.
    since: Option<Instant>,
    /// The memory of those that wait or are under way.
    held: usize,
    requests: usize,
    latest: u64,
    /// When SNS took the latest alert, or the first request after a pause was sent.
    progress: Option<Instant>,
    given_up: watch::Sender<bool>,
}

impl Entry {
    fn memory(&self) -> usize {
        let Alert { id, time, account, .. } = &self.alert;
        let more = [id, time, account].into_iter().flatten().map(String::len).sum::<usize>();
        (self.alert.size() + more) * COPIES + OVERHEAD
    }

    fn severity(&self) -> Option<Severity> {
        let severity = self.alert.attributes.iter().find(|attribute| attribute.name == "severity")?;
        Severity::named(&severity.value)
    }
}

impl Queue {
    fn is_stuck(&self, now: Instant) -> bool {
        self.requests > 0 && self.progress.is_some_and(|progress| now - progress >= PATIENCE)
    }

    fn next_batch(&self) -> usize {
        let mut size = 0;
        let fits = |entry: &&Entry| {
            size += entry.alert.size();
            size <= SIZE_LIMIT
        };
        self.waiting.iter().take(BATCH_LIMIT).take_while(fits).count().max(usize::from(!self.waiting.is_empty()))
    }

    /// Whether a batch should be sent now. This is [Nagle's algorithm](https://www.rfc-editor.org/rfc/rfc896): the first
    /// alert goes out soon, and of very many alerts no more than one request in a round trip is not full, or one in a second if
    /// that is more.
    fn is_due(&self, now: Instant, is_all: bool) -> bool {
        let is_full = || self.next_batch() == BATCH_LIMIT || self.next_batch() < self.waiting.len();
        let patience = if self.requests == 0 { TIME_TO_FILL } else { TIME_TO_OVERTAKE };
        let has_waited = || self.since.is_some_and(|since| now - since >= patience);
        !self.waiting.is_empty() && (is_all || is_full() || has_waited())
    }
}

impl Queues {
    /// Takes an alert if there is room. A topic may hold as much as it leaves to the others; if it does, they wait for it as
    /// long as it gets on.
    pub(super) fn admit(&mut self, entry: Entry, now: Instant) -> Admission {
        let (memory, all_held) = (entry.memory(), self.held());
        let queue = self.topics.entry(entry.topic.clone()).or_default();
        if *queue.given_up.borrow() {
            return Admission::Refused(entry);
        }
        let has_room = queue.held + memory <= ROOM.saturating_sub(all_held)
            || entry.severity() == Some(Severity::Critical) && all_held + memory <= ROOM + MORE_ROOM / 2
            || queue.held == 0 && all_held + memory <= ROOM + MORE_ROOM;
        if !has_room {
            if queue.is_stuck(now) {
                return Admission::Refused(entry);
            }
            if queue.held == 0 {
                self.give_up(now);
            }
            return Admission::Wait(entry);
        }
        queue.since.get_or_insert(now);
        queue.held += memory;
        let at = queue.waiting.partition_point(|other| other.severity() >= entry.severity());
        queue.waiting.insert(at, entry);
        Admission::Taken
    }

    /// The next batch to be sent, if one is due: the most severe one, and among equals that of the topic whose latest one is
    /// the oldest. `is_all` says that no more alerts will come.
    pub(super) fn next(&mut self, now: Instant, is_all: bool) -> Option<Batch> {
        let free = REQUESTS - self.topics.values().map(|queue| queue.requests).sum::<usize>();
        if free == 0 && self.topics.values().any(|queue| queue.requests == 0 && queue.is_due(now, is_all)) {
            self.give_up(now);
        }
        let is_next = |queue: &&mut Queue| queue.requests < free.min(REQUESTS_AT_ONCE) && queue.is_due(now, is_all);
        let order = |queue: &&mut Queue| (Reverse(queue.waiting.front().and_then(Entry::severity)), queue.latest);
        let queue = self.topics.values_mut().filter(is_next).min_by_key(order)?;
        if queue.requests == 0 {
            queue.progress = Some(now);
        }
        self.batches += 1;
        queue.requests += 1;
        queue.latest = self.batches;
        let entries: Vec<_> = queue.waiting.drain(..queue.next_batch()).collect();
        queue.since = (!queue.waiting.is_empty()).then_some(now);
        Some(Batch { entries, given_up: queue.given_up.subscribe() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.values().all(|queue| queue.waiting.is_empty())
    }

    /// SNS took an alert for a topic.
    pub(super) fn progressed(&mut self, topic: &TopicArn, now: Instant) {
        if let Some(queue) = self.topics.get_mut(topic) {
            queue.progress = Some(now);
        }
    }

    pub(super) fn done(&mut self, entries: &[Entry]) {
        let Some(queue) = entries.first().and_then(|entry| self.topics.get_mut(&entry.topic)) else { return };
        queue.held -= entries.iter().map(Entry::memory).sum::<usize>();
        queue.requests -= 1;
    }

    fn held(&self) -> usize {
        self.topics.values().map(|queue| queue.held).sum()
    }

    /// Gives up the topics that are stuck, because another topic needs what they hold.
    fn give_up(&mut self, now: Instant) {
        for queue in self.topics.values_mut().filter(|queue| queue.is_stuck(now)) {
            queue.given_up.send_replace(true);
            queue.held -= queue.waiting.iter().map(Entry::memory).sum::<usize>();
            self.given_up.extend(queue.waiting.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evaluate::{Evaluator, Verdict};
    use crate::log::LogFile;
    use crate::rules::{Learned, Matcher, config};

    /// An alert of this severity for a topic, about a record with so many more bytes.
    fn entry(topic: &str, severity: &str, bytes: usize) -> Entry {
        let arn = format!("arn:aws:sns:us-east-1:123456789012:{topic}");
        let rule = json!({"name": "r", "regexp": "", "topicARN": arn, "severity": severity, "format": "json"});
        let filter = config::parse(json!({ "rules": [rule] }).to_string().as_bytes(), None).unwrap();
        let log = json!({"Records": [{"eventName": "A", "x": "x".repeat(bytes)}]}).to_string();
        let (mut log_file, learned) = (LogFile::default(), Learned::new(&filter));
        // The scanner goes on in steps of 64 bytes.
        let log = log + &" ".repeat(100);
        let mut records = log_file.read(Some(log.as_bytes()));
        let record = records.next().unwrap().unwrap();
        let verdict = Evaluator::new(Matcher::new(&filter, &learned), "log", None).evaluate(&record);
        let Ok(Verdict::Matched(_, mut alerts)) = verdict else { panic!("it matches") };
        let alert = alerts.next().unwrap();
        let topic = alert.topic.clone().unwrap();
        Entry { alert, topic, log: Rc::new(S3Object { bucket: String::new(), key: String::new() }), key: None }
    }

    fn is_taken(queues: &mut Queues, entry: Entry, now: Instant) -> bool {
        matches!(queues.admit(entry, now), Admission::Taken)
    }

    /// The number of alerts for which there is room.
    fn fill(queues: &mut Queues, topic: &str, bytes: usize, now: Instant) -> usize {
        (0..1_000).take_while(|_| is_taken(queues, entry(topic, "low", bytes), now)).count()
    }

    fn done(queues: &mut Queues, batches: &[Batch]) {
        for batch in batches {
            queues.done(&batch.entries);
        }
    }

    fn send_all(queues: &mut Queues, now: Instant) -> Vec<Batch> {
        std::iter::from_fn(|| queues.next(now, true)).collect()
    }

    #[test]
    fn a_batch_goes_out_when_it_is_full_or_nothing_is_under_way_and_the_most_severe_first() {
        let (mut queues, start) = (Queues::default(), Instant::now());
        let next_size = |queues: &mut Queues, now| queues.next(now, false).map(|batch| batch.entries.len());
        for _ in 0..9 {
            assert!(is_taken(&mut queues, entry("a", "low", 0), start));
        }
        assert_eq!(next_size(&mut queues, start), None);
        assert_eq!(next_size(&mut queues, start + TIME_TO_FILL), Some(9));
        for severity in ["low"; 15].into_iter().chain(["critical", "high"]) {
            assert!(is_taken(&mut queues, entry("a", severity, 0), start));
        }
        let batch = queues.next(start, false).unwrap();
        let severities: Vec<_> = batch.entries.iter().map(|entry| entry.severity().unwrap()).collect();
        assert_eq!(severities[..3], [Severity::Critical, Severity::High, Severity::Low]);
        assert_eq!(next_size(&mut queues, start + TIME_TO_FILL), None, "two are under way");
        for (topic, severity) in [("b", "high"), ("c", "critical")] {
            assert!(is_taken(&mut queues, entry(topic, severity, 0), start));
        }
        let batches = send_all(&mut queues, start);
        let topics: Vec<_> = batches.iter().map(|batch| batch.entries[0].topic.as_str()).collect();
        assert!(topics.iter().zip([":c", ":b", ":a"]).all(|(topic, end)| topic.ends_with(end)), "{topics:?}");
        assert!(queues.is_empty());
    }

    #[test]
    fn a_batch_waits_a_second_at_most_for_the_answers_of_earlier_ones() {
        let (mut queues, start) = (Queues::default(), Instant::now());
        let mut sent_at = |now| {
            assert!(is_taken(&mut queues, entry("a", "critical", 0), now));
            // The first one is never answered, perhaps because it is sent again and again.
            let times = [now, now + TIME_TO_FILL, now + TIME_TO_OVERTAKE];
            times.map(|now| queues.next(now, false).is_some())
        };
        assert_eq!(sent_at(start), [false, true, false]);
        assert_eq!(sent_at(start + TIME_TO_OVERTAKE), [false, false, true]);
    }

    #[test]
    fn a_large_critical_alert_has_room_although_lesser_ones_of_its_topic_take_all_that_comes_free() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        fill(&mut queues, "a", 10_000, now);
        assert!(is_taken(&mut queues, entry("a", "critical", 250_000), now));
        // They leave room for the first alert of another topic.
        while is_taken(&mut queues, entry("a", "critical", 250_000), now) {}
        assert!(is_taken(&mut queues, entry("b", "low", 250_000), now));
    }

    #[test]
    fn every_text_of_an_alert_counts_as_memory() {
        let (mut long, short) = (entry("a", "low", 0), entry("a", "low", 0));
        let text = Some("x".repeat(1_000));
        (long.alert.id, long.alert.time, long.alert.account) = (text.clone(), text.clone(), text);
        assert!(long.memory() > short.memory() + 2_900 * COPIES);
    }

    #[test]
    fn a_topic_takes_no_more_room_than_it_leaves_to_the_others() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        let taken = ["a", "b", "c"].map(|topic| fill(&mut queues, topic, 100_000, now));
        assert!(taken[0] > 10 && taken[1] > 5 && taken[2] > 1, "{taken:?}");
        assert!(queues.held() <= ROOM, "{}", queues.held());
        // Even the largest alerts of many topics are within the bound, and all room comes back.
        let first = (0..20).filter(|n| is_taken(&mut queues, entry(&format!("t{n}"), "low", 250_000), now)).count();
        assert!(first > 0 && queues.held() <= ROOM + MORE_ROOM, "{first}, {}", queues.held());
        loop {
            let batches = send_all(&mut queues, now);
            if batches.is_empty() {
                break;
            }
            done(&mut queues, &batches);
        }
        assert!(queues.topics.values().all(|queue| (queue.held, queue.requests) == (0, 0)));
    }

    #[test]
    fn an_alert_waits_for_a_topic_that_gets_on_and_not_for_one_that_is_stuck() {
        let (mut queues, start) = (Queues::default(), Instant::now());
        fill(&mut queues, "a", 100_000, start);
        let another = || entry("a", "low", 100_000);
        // A topic to which nothing has been sent is not stuck.
        assert!(matches!(queues.admit(another(), start + PATIENCE), Admission::Wait(_)));
        let batch = queues.next(start, false).unwrap();
        assert!(matches!(queues.admit(another(), start), Admission::Wait(_)));
        assert!(matches!(queues.admit(another(), start + PATIENCE), Admission::Refused(_)));
        let later = start + PATIENCE;
        let next = queues.next(later, false).unwrap();
        // One alert of a request that goes on is enough.
        queues.progressed(&batch.entries[0].topic, later);
        assert!(matches!(queues.admit(another(), later), Admission::Wait(_)), "SNS has taken one");
        queues.done(&batch.entries);
        assert!(is_taken(&mut queues, another(), later));
        fill(&mut queues, "a", 100_000, later);
        assert!(matches!(queues.admit(another(), later), Admission::Wait(_)), "SNS has taken some");
        queues.done(&next.entries);
        assert!(is_taken(&mut queues, another(), later), "failures give room, too");
    }

    #[test]
    fn stuck_topics_are_given_up_when_another_one_needs_their_requests_or_room() {
        let (mut queues, start) = (Queues::default(), Instant::now());
        let later = start + PATIENCE;
        let stuck = |queues: &mut Queues, bytes| {
            (0..=REQUESTS).filter(|n| is_taken(queues, entry(&format!("t{n}"), "low", bytes), start)).count()
        };
        assert_eq!(stuck(&mut queues, 0), REQUESTS + 1);
        let batches = send_all(&mut queues, start);
        assert_eq!(batches.len(), REQUESTS, "the last one has to wait");
        assert!(queues.next(later, true).is_none());
        assert!(batches.iter().all(|batch| *batch.given_up.borrow()));
        done(&mut queues, &batches);
        assert_eq!(send_all(&mut queues, later).len(), 1);

        let mut queues = Queues::default();
        let admitted = stuck(&mut queues, 250_000);
        assert!((5..REQUESTS).contains(&admitted), "{admitted}");
        let batches = send_all(&mut queues, start);
        let another = || entry("another", "low", 250_000);
        assert!(matches!(queues.admit(another(), start), Admission::Wait(_)));
        assert!(matches!(queues.admit(another(), later), Admission::Wait(_)), "they have to end");
        assert!(batches.iter().all(|batch| *batch.given_up.borrow()));
        done(&mut queues, &batches);
        assert!(is_taken(&mut queues, another(), later));
        assert!(matches!(queues.admit(entry("t0", "low", 0), later), Admission::Refused(_)));
    }
}
