//! The filter configurations that are in use: read from S3 with each invocation, kept while they are good.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::deadline::{NO_ANSWER, in_time};
use crate::aws::s3::{Fetched, S3};
use crate::environment::Settings;
use crate::error::{Cause, Consequence, Error};
use crate::log::S3Object;
use crate::rules::config::{self, SIZE_LIMIT};
use crate::rules::{Filter, Learned};

/// The time for the configuration before the first event. Lambda gives ten seconds to the whole start.
const TIME_TO_WARM_UP: Duration = Duration::from_secs(5);

/// The most memory that configurations take together, in bytes; one alone may take a little more. A function of 256 MB has
/// room for them, for the next one while it is read, and for logs and alerts.
const MEMORY_LIMIT: usize = 64 << 20;

const REFUSED_LIMIT: usize = 4;

/// What a configuration takes beside its rules.
const CONFIG_MEMORY: usize = 16 << 10;

const NO_TOPIC: &str = "no topic is named: add \"sns\": {\"topicARN\": …} to it, or set TOPIC_ARN in the function's \
     environment";

/// The last good configuration of each bucket that has one, as far as there is room. The bucket whose configuration has not
/// been used for longest loses its own first; one that an open log uses stays, because its memory would.
pub(super) struct ConfigStore {
    settings: Settings,
    /// The one rule that is used, if a job asks for one alone.
    rule: Option<String>,
    /// Whether it is used where the current one can't be had.
    last_good_counts: bool,
    configs: RefCell<HashMap<S3Object, Known>>,
    /// The contents that were refused last, by their hashes, and why. Each log without a configuration asks again, and it may
    /// take seconds to find out.
    refused: RefCell<VecDeque<(Hash, Vec<String>)>>,
}

type Hash = [u8; 32];

struct Known {
    etag: Option<String>,
    /// The hash of its content: another version may have the same.
    hash: Hash,
    /// When it was used last, compared with the others.
    used: u64,
    /// `None` if it had to make room.
    config: Option<Rc<Config>>,
}

impl Known {
    fn memory(&self) -> usize {
        let of_config = |config: &Rc<Config>| CONFIG_MEMORY + config.filter.memory + config.learned.memory();
        self.config.as_ref().map_or(0, of_config)
    }
}

pub(super) struct Config {
    pub(super) filter: Filter,
    pub(super) learned: Learned,
}

impl ConfigStore {
    pub(super) fn new(settings: &Settings) -> Self {
        ConfigStore {
            settings: settings.clone(),
            rule: None,
            last_good_counts: true,
            configs: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    /// For a job, which is refused while a configuration can't be used: of a year of logs nobody wants the alerts of a former
    /// configuration. With a rule, that rule alone is used, whether or not it is switched on.
    pub(super) fn for_job(settings: &Settings, rule: Option<String>) -> Self {
        ConfigStore { rule, last_good_counts: false, ..ConfigStore::new(settings) }
    }

    /// Whether it is for a job that asks for this rule alone, or for all rules.
    pub(super) fn is_for_job(&self, rule: Option<&str>) -> bool {
        !self.last_good_counts && self.rule.as_deref() == rule
    }

    pub(super) fn location(&self, log: &S3Object) -> S3Object {
        let bucket = self.settings.config_bucket.as_ref().unwrap_or(&log.bucket).clone();
        S3Object { bucket, key: self.settings.config_key.clone() }
    }

    /// Loads the configuration before the first event, where its bucket is known. A failure is only a warning, and not
    /// tried again: the first event asks again, and then it is an error.
    pub(super) async fn warm_up(&self, s3: &S3) {
        let Some(bucket) = self.settings.config_bucket.clone() else { return };
        let object = S3Object { bucket, key: self.settings.config_key.clone() };
        let deadline = SystemTime::now() + TIME_TO_WARM_UP;
        let fetched = in_time(deadline, "it took over 5 s", s3.fetch_once(&object, SIZE_LIMIT));
        let fetched = fetched.await.map_err(Cause::from).flatten();
        if let Err(error) = self.update(object, fetched, Consequence::AskedAgain) {
            tracing::warn!(kind = error.kind(), "{error}");
        }
    }

    /// Asks S3 for the configuration of a log, and makes room for it. Tells whether another content has taken the place of a
    /// known one. After an error, [`ConfigStore::get`] gives the last good one, if there is one.
    pub(super) async fn refresh(
        &self,
        s3: &S3,
        object: &S3Object,
        log: &S3Object,
        deadline: SystemTime,
    ) -> Result<bool, Error> {
        let is_known = self.get(object).is_some();
        let etag = self.configs.borrow().get(object).filter(|_| is_known).and_then(|known| known.etag.clone());
        let fetched = in_time(deadline, NO_ANSWER, s3.fetch(object, SIZE_LIMIT, etag.as_deref()));
        let fetched = fetched.await.map_err(Cause::from).flatten();
        let log = log.clone();
        let is_used = is_known && self.last_good_counts;
        let consequence = if is_used { Consequence::ReadWithLastGood(log) } else { Consequence::NotRead(log) };
        let changed = self.update(object.clone(), fetched, consequence);
        self.note_use(object);
        changed
    }

    /// A configuration, unless the room for others has been needed since it was asked for.
    pub(super) fn get(&self, object: &S3Object) -> Option<Rc<Config>> {
        self.configs.borrow().get(object).and_then(|known| known.config.clone())
    }

    /// Makes room for a configuration that is used by forgetting others.
    fn note_use(&self, object: &S3Object) {
        let configs = &mut *self.configs.borrow_mut();
        let latest = configs.values().map(|known| known.used).max().unwrap_or_default();
        if let Some(known) = configs.get_mut(object) {
            known.used = latest + 1;
        }
        while configs.values().map(Known::memory).sum::<usize>() > MEMORY_LIMIT {
            let is_free = |known: &Known| known.config.as_ref().is_some_and(|config| Rc::strong_count(config) == 1);
            let others = configs.iter_mut().filter(|(other, known)| *other != object && is_free(known));
            let Some((_, oldest)) = others.min_by_key(|(_, known)| known.used) else { break };
            oldest.config = None;
        }
    }

    /// Takes S3's answer; gives whether another content has taken the place of a known one, or of one that was forgotten.
    fn update(
        &self,
        object: S3Object,
        fetched: Result<Fetched, Cause>,
        consequence: Consequence,
    ) -> Result<bool, Error> {
        let (etag, bytes) = match fetched {
            Ok(Fetched::New { etag, bytes }) => (etag, bytes),
            Ok(Fetched::Unchanged) => return Ok(false),
            Err(cause) => return Err(Error::ConfigurationUnavailable { object, cause, consequence }),
        };
        let hash = Sha256::digest(&bytes).into();
        let is_kept = |known: &&mut Known| known.hash == hash && known.config.is_some();
        if let Some(known) = self.configs.borrow_mut().get_mut(&object).filter(is_kept) {
            known.etag = etag;
            return Ok(false);
        }
        let filter = match self.parse(hash, &bytes) {
            Ok(filter) => filter,
            Err(problems) => return Err(Error::InvalidConfiguration { object, problems, consequence }),
        };
        let config = Some(Rc::new(Config { learned: Learned::new(&filter), filter }));
        let last = self.configs.borrow_mut().insert(object, Known { etag, hash, used: 0, config });
        Ok(last.is_some_and(|last| last.hash != hash))
    }

    fn parse(&self, hash: Hash, bytes: &[u8]) -> Result<Filter, Vec<String>> {
        if let Some((_, problems)) = self.refused.borrow().iter().find(|(refused, _)| *refused == hash) {
            return Err(problems.clone());
        }
        let mut parsed = config::parse(bytes, self.settings.topic_arn.as_deref());
        if parsed.as_ref().is_ok_and(|filter| filter.topics.iter().any(|topic| topic.arn.is_none())) {
            parsed = Err(vec![NO_TOPIC.to_owned()]);
        }
        if let Some(rule) = &self.rule {
            let alone = |mut filter: Filter| filter.keep_only(rule).map(|()| filter).map_err(|problem| vec![problem]);
            parsed = parsed.and_then(alone);
        }
        parsed.inspect_err(|problems| {
            let mut refused = self.refused.borrow_mut();
            refused.push_front((hash, problems.clone()));
            refused.truncate(REFUSED_LIMIT);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> ConfigStore {
        let mut settings = Settings::from_env();
        settings.topic_arn = Some("arn:aws:sns:us-east-1:123456789012:alerts".to_owned());
        settings.config_bucket = None;
        ConfigStore::new(&settings)
    }

    fn object(bucket: usize) -> S3Object {
        S3Object { bucket: format!("bucket-{bucket}"), key: "filter_config.json".to_owned() }
    }

    /// Asks for the configuration of a bucket, which has this pattern and takes some 1.7 MB.
    fn ask(store: &ConfigStore, bucket: usize, pattern: usize) -> bool {
        let text = format!(r#"{{"source": "iam", "regexp": "^[\\w-]{{30}}{pattern}"}}"#);
        let fetched = Ok(Fetched::New { etag: None, bytes: text.into_bytes() });
        let changed = store.update(object(bucket), fetched, Consequence::AskedAgain).unwrap();
        store.note_use(&object(bucket));
        changed
    }

    fn memory(store: &ConfigStore) -> usize {
        store.configs.borrow().values().map(Known::memory).sum()
    }

    #[test]
    fn configurations_of_many_buckets_stay_within_memory_and_the_one_in_use_stays() {
        let store = store();
        let is_known = |bucket| store.get(&object(bucket)).is_some();
        for bucket in 1..60 {
            assert!(!is_known(bucket) && is_known(0) == (bucket > 1), "{bucket}: the one in use stays");
            assert!(!ask(&store, bucket, bucket) && !ask(&store, 0, 0), "{bucket}: nothing has changed");
            assert!(memory(&store) <= MEMORY_LIMIT, "{}", memory(&store));
        }
        let known = (0..60).filter(|bucket| is_known(*bucket)).count();
        assert!((25..45).contains(&known), "{known}");
        assert!(is_known(59) && !is_known(1), "the oldest went first");
        // What has become of a forgotten one meanwhile is known all the same.
        assert!(!ask(&store, 1, 1) && ask(&store, 2, 99));
    }

    #[test]
    fn a_configuration_that_an_open_log_uses_counts_until_the_log_is_closed() {
        let store = store();
        ask(&store, 0, 0);
        let used = store.get(&object(0)).unwrap();
        let weak = Rc::downgrade(&used);
        for bucket in 1..60 {
            ask(&store, bucket, bucket);
            assert!(store.get(&object(0)).is_some() && memory(&store) <= MEMORY_LIMIT);
        }
        drop(used);
        ask(&store, 60, 60);
        assert!(weak.upgrade().is_none(), "its memory is free");
    }

    #[test]
    fn contents_that_are_refused_are_compiled_once_even_if_several_take_turns() {
        let store = store();
        for _ in 0..3 {
            for text in ["{", "[", "]"] {
                let fetched = Ok(Fetched::New { etag: None, bytes: text.into() });
                store.update(object(0), fetched, Consequence::AskedAgain).unwrap_err();
            }
        }
        assert_eq!(store.refused.borrow().len(), 3, "each was compiled once");
    }
}
