//! One invocation, from payload to answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::alert::Alert;
use crate::configuration;
use crate::error::Error;
use crate::event::{self, S3Object};
use crate::filter::{Filter, Matcher};
use crate::log_file::{LogFile, Malformed};
use crate::publish::{Outbox, Publisher};
use crate::report::Report;
use crate::settings::Settings;
use crate::storage::{self, Fetched, Storage};
use crate::triage::Triage;

/// The most bytes of a log that are looked at before its alerts are passed on. Gzip makes at most a thousand times as
/// much of them.
const PIECE: usize = 16 << 10;

const NO_TOPIC: &str = "no topic is named: add \"sns\": {\"topicARN\": …} to it, or set TOPIC_ARN in the function's \
     environment";

/// What an execution environment keeps between invocations.
pub struct Handler {
    settings: Settings,
    storage: Storage,
    publisher: Publisher,
    /// The last good configuration of each bucket that one was looked for in.
    configurations: Mutex<HashMap<S3Object, Configuration>>,
}

/// A configuration in force, and the version of the file that it was read from.
#[derive(Clone)]
struct Configuration {
    etag: Option<String>,
    filter: Arc<Filter>,
}

impl Handler {
    /// Handles invocations with these settings and clients.
    #[must_use]
    pub fn new(settings: Settings, storage: Storage, publisher: Publisher) -> Self {
        Handler { settings, storage, publisher, configurations: Mutex::default() }
    }

    /// Handles one invocation, which must be over by `deadline`: every object of the payload, whatever happens to the
    /// others.
    ///
    /// # Errors
    /// All that failed, after everything else was done.
    pub async fn handle(&self, payload: &Value, deadline: SystemTime) -> Result<Report, Error> {
        let start = Instant::now();
        let mut invocation = Invocation {
            handler: self,
            configurations: HashMap::new(),
            outbox: Outbox::new(&self.publisher, deadline),
            report: Report::default(),
        };
        let mut failures = match event::announcement(payload) {
            Ok(announced) => {
                invocation.report.skipped.test_event = announced.test_events;
                let mut failures: Vec<_> = announced.invalid.into_iter().map(Error::InvalidPayload).collect();
                for object in announced.objects {
                    invocation.object(&object, &mut failures).await;
                }
                failures
            }
            Err(expected) => vec![Error::InvalidPayload(expected)],
        };
        let Invocation { outbox, mut report, .. } = invocation;
        failures.extend(outbox.finish(&mut report).await);
        report.close(start);
        for failure in &failures {
            tracing::error!(kind = failure.kind(), "{failure}");
        }
        Error::of_all(failures).map_or(Ok(report), Err)
    }

    /// The configuration for a log as it is in S3 now. Where that can't be had: the last good one, with the error
    /// beside it, or else the error alone.
    async fn configuration(&self, object: &S3Object, log: &S3Object) -> Result<(Configuration, Option<Error>), Error> {
        let mut configurations = self.configurations.lock().await;
        let Some(known) = configurations.get(object) else {
            let consequence = format!("{log} was not read");
            let first = self.fetch(object, None, consequence).await?;
            configurations.insert(object.clone(), first.clone());
            return Ok((first, None));
        };
        let consequence = format!("{log} was read with the last good one");
        match self.fetch(object, Some(known), consequence).await {
            Ok(configuration) => {
                configurations.insert(object.clone(), configuration.clone());
                Ok((configuration, None))
            }
            Err(error) => Ok((known.clone(), Some(error))),
        }
    }

    /// Reads a configuration anew, unless S3 has the version that is known. The last argument ends the error.
    async fn fetch(
        &self,
        object: &S3Object,
        known: Option<&Configuration>,
        consequence: String,
    ) -> Result<Configuration, Error> {
        let etag = known.and_then(|known| known.etag.as_deref());
        let object_name = object.to_string();
        let (etag, file) = match (self.storage.configuration(object, etag).await, known) {
            (Ok(Fetched::New { etag, file }), _) => (etag, file),
            (Ok(Fetched::Unchanged), Some(known)) => return Ok(known.clone()),
            (Ok(Fetched::Unchanged), None) => {
                let cause = "S3 says that it has not changed, but it was never read".to_owned();
                return Err(Error::ConfigurationUnavailable { object: object_name, cause, consequence });
            }
            (Err(cause), _) => {
                return Err(Error::ConfigurationUnavailable { object: object_name, cause, consequence });
            }
        };
        let parsed = configuration::parse(&file, self.settings.topic_arn.as_deref()).and_then(|filter| {
            let named = filter.topics.iter().all(|topic| topic.arn.is_some());
            if named { Ok(Configuration { etag, filter: Arc::new(filter) }) } else { Err(vec![NO_TOPIC.to_owned()]) }
        });
        let invalid = |problems| Error::InvalidConfiguration { object: object_name, problems, consequence };
        parsed.map_err(invalid).inspect(|_| self.publisher.forget())
    }
}

/// One invocation under way.
struct Invocation<'a> {
    handler: &'a Handler,
    /// Those that this invocation has asked for: once each.
    configurations: HashMap<S3Object, Configuration>,
    outbox: Outbox<'a>,
    report: Report,
}

impl Invocation<'_> {
    /// Processes one announced object.
    async fn object(&mut self, object: &S3Object, failures: &mut Vec<Error>) {
        self.report.objects += 1;
        if let Some(reason) = event::no_log(&object.key) {
            self.report.skipped.add(reason);
            return;
        }
        let Handler { settings, storage, .. } = self.handler;
        let configuration = S3Object {
            bucket: settings.config_bucket.as_ref().unwrap_or(&object.bucket).clone(),
            key: settings.config_key.clone(),
        };
        if *object == configuration {
            self.report.skipped.configuration += 1;
            return;
        }
        let (in_force, body) = if let Some(in_force) = self.configurations.get(&configuration) {
            (Ok((in_force.clone(), None)), storage.open(object).await)
        } else {
            tokio::join!(self.handler.configuration(&configuration, object), storage.open(object))
        };
        let in_force = match in_force {
            Ok((in_force, error)) => {
                failures.extend(error);
                self.configurations.insert(configuration, in_force.clone());
                in_force
            }
            Err(error) => {
                failures.push(error);
                return;
            }
        };
        let read = match body {
            Ok(body) => self.log(object, body, &in_force).await,
            Err(cause) => Err(Error::LogUnavailable { object: object.to_string(), cause }),
        };
        match read {
            Ok(()) => self.report.logs += 1,
            Err(error) => failures.push(error),
        }
    }

    /// Reads a log to its end, and hands over its alerts while it is being read.
    async fn log(&mut self, object: &S3Object, mut body: ByteStream, in_force: &Configuration) -> Result<(), Error> {
        let name = object.to_string();
        let malformed = |e: Malformed| Error::LogMalformed { object: object.to_string(), cause: e.to_string() };
        let mut log = LogFile::new();
        let mut matcher = Matcher::new(&in_force.filter);
        let mut triage = Triage::new(&mut matcher, &name, None);
        let mut read = Ok(());
        'reading: loop {
            let bytes = match storage::next(&mut body).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(cause) => {
                    read = Err(Error::LogUnavailable { object: object.to_string(), cause });
                    break;
                }
            };
            self.report.bytes += bytes.as_ref().len() as u64;
            for piece in bytes.as_ref().chunks(PIECE) {
                let mut alerts = Vec::new();
                let pushed = log.push(piece, &mut |raw| alerts.extend(self.report.count(triage.record(raw))));
                self.send(alerts, &name).await;
                if let Err(e) = pushed {
                    read = Err(malformed(e));
                    break 'reading;
                }
            }
        }
        // Where reading broke off, whole records may still wait in the window.
        let mut alerts = Vec::new();
        let finished = log.finish(&mut |raw| alerts.extend(self.report.count(triage.record(raw))));
        alerts.extend(triage.summaries());
        self.send(alerts, &name).await;
        read.and(finished.map_err(malformed))
    }

    async fn send(&mut self, alerts: Vec<Alert>, log: &str) {
        for alert in alerts {
            self.outbox.add(alert, log).await;
        }
    }
}
