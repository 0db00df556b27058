//! The filter configurations that are in use: read from S3 with each invocation, kept while they are good.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::deadline::{NO_ANSWER, in_time};
use crate::aws::s3::{Fetched, S3};
use crate::environment::Settings;
use crate::error::{Consequence, Error};
use crate::log::S3Object;
use crate::rules::config::{self, SIZE_LIMIT};
use crate::rules::{Filter, Learned};

/// The time for the configuration before the first event. Lambda gives ten seconds to the whole start.
const TIME_TO_WARM_UP: Duration = Duration::from_secs(5);

const NO_TOPIC: &str = "no topic is named: add \"sns\": {\"topicARN\": …} to it, or set TOPIC_ARN in the function's \
     environment";

/// The last good configuration of each bucket that has one.
pub(super) struct ConfigStore {
    /// The bucket of all configurations; `None` for each log's own.
    bucket: Option<String>,
    key: String,
    /// The topic of configurations that name none.
    default_topic: Option<String>,
    configs: RefCell<HashMap<S3Object, Rc<Config>>>,
}

/// A configuration in use.
pub(super) struct Config {
    /// The version of the file that it was read from.
    etag: Option<String>,
    pub(super) filter: Filter,
    pub(super) learned: Learned,
}

/// A configuration after S3 was asked for it; [`ConfigStore::get`] gives it.
#[derive(Default)]
pub(super) struct Refreshed {
    /// Another version has taken the place of a known one.
    pub(super) changed: bool,
    /// Why it is not S3's current version, but the last good one.
    pub(super) error: Option<Error>,
}

impl ConfigStore {
    pub(super) fn new(settings: &Settings) -> Self {
        ConfigStore {
            bucket: settings.config_bucket.clone(),
            key: settings.config_key.clone(),
            default_topic: settings.topic_arn.clone(),
            configs: RefCell::default(),
        }
    }

    /// The configuration for a log.
    pub(super) fn location(&self, log: &S3Object) -> S3Object {
        S3Object { bucket: self.bucket.as_ref().unwrap_or(&log.bucket).clone(), key: self.key.clone() }
    }

    /// Loads the configuration before the first event, where its bucket is known. A failure is only a warning, and not
    /// tried again: the first event asks again, and then it is an error.
    pub(super) async fn warm_up(&self, s3: &S3) {
        let Some(bucket) = self.bucket.clone() else { return };
        let object = S3Object { bucket, key: self.key.clone() };
        let fetched = timeout(TIME_TO_WARM_UP, s3.fetch_once(&object, SIZE_LIMIT)).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("it took over {} s", TIME_TO_WARM_UP.as_secs())));
        if let Err(error) = self.update(object, fetched, Consequence::AskedAgain) {
            tracing::warn!(kind = error.kind(), "{error}");
        }
    }

    /// Asks S3 for the configuration of a log. It is an error if S3 gives no usable one and none is known from before.
    pub(super) async fn refresh(
        &self,
        s3: &S3,
        object: &S3Object,
        log: &S3Object,
        deadline: SystemTime,
    ) -> Result<Refreshed, Error> {
        let known = self.get(object);
        let is_known = known.is_some();
        let etag = known.as_ref().and_then(|config| config.etag.as_deref());
        let fetched = in_time(deadline, NO_ANSWER, s3.fetch(object, SIZE_LIMIT, etag)).await.flatten();
        let log = log.clone();
        let consequence = if is_known { Consequence::ReadWithLastGood(log) } else { Consequence::NotRead(log) };
        match self.update(object.clone(), fetched, consequence) {
            Ok(changed) => Ok(Refreshed { changed: changed && is_known, error: None }),
            Err(error) if is_known => Ok(Refreshed { changed: false, error: Some(error) }),
            Err(error) => Err(error),
        }
    }

    pub(super) fn get(&self, object: &S3Object) -> Option<Rc<Config>> {
        self.configs.borrow().get(object).cloned()
    }

    /// Takes S3's answer; gives whether there is a new version.
    fn update(
        &self,
        object: S3Object,
        fetched: Result<Fetched, String>,
        consequence: Consequence,
    ) -> Result<bool, Error> {
        let (etag, bytes) = match fetched {
            Ok(Fetched::New { etag, bytes }) => (etag, bytes),
            Ok(Fetched::Unchanged) => return Ok(false),
            Err(cause) => return Err(Error::ConfigurationUnavailable { object, cause, consequence }),
        };
        match config::parse(&bytes, self.default_topic.as_deref()) {
            Ok(filter) if filter.topics.iter().all(|topic| topic.arn.is_some()) => {
                let config = Config { etag, filter, learned: Learned::default() };
                self.configs.borrow_mut().insert(object, Rc::new(config));
                Ok(true)
            }
            parsed => {
                let problems = parsed.err().unwrap_or_else(|| vec![NO_TOPIC.to_owned()]);
                Err(Error::InvalidConfiguration { object, problems, consequence })
            }
        }
    }
}
