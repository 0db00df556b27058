//! One invocation, from payload to answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::alert::{self, Alert, Format};
use crate::error::Error;
use crate::event::{self, S3Object};
use crate::filter::{Filter, TopicArn};
use crate::log_file::{LogFile, Malformed, RawRecord};
use crate::publish::{Outbox, Publisher};
use crate::report::Report;
use crate::settings::{Settings, TOPIC_ARN};
use crate::storage::{self, Fetched, Storage};

/// The most bytes of a log that are looked at before its alerts are passed on. Gzip makes at most a thousand times as
/// much of them.
const PIECE: usize = 16 << 10;

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
    topic: TopicArn,
}

impl Handler {
    /// Handles invocations with these settings and clients.
    #[must_use]
    pub fn new(settings: Settings, storage: Storage, publisher: Publisher) -> Self {
        Handler { settings, storage, publisher, configurations: Mutex::default() }
    }

    /// Handles one invocation: every object of the payload, whatever happens to the others.
    ///
    /// # Errors
    /// All that failed, after everything else was done.
    pub async fn handle(&self, payload: &Value) -> Result<Report, Error> {
        let start = Instant::now();
        let mut invocation = Invocation {
            handler: self,
            configurations: HashMap::new(),
            outbox: Outbox::new(&self.publisher),
            report: Report::default(),
        };
        let mut failures = match event::announcement(payload) {
            Ok(announced) => {
                invocation.report.skipped.test_event = announced.test_events;
                let mut failures: Vec<_> = announced.invalid.into_iter().map(Error::InvalidPayload).collect();
                for object in announced.objects {
                    failures.extend(invocation.object(&object).await.err());
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

    /// The configuration as it is in S3 now, read anew only if it changed.
    async fn configuration(&self, object: &S3Object, log: &S3Object) -> Result<Configuration, Error> {
        let mut configurations = self.configurations.lock().await;
        let known = configurations.get(object);
        let etag = known.and_then(|known| known.etag.as_deref());
        let unavailable =
            |cause| Error::ConfigurationUnavailable { object: object.to_string(), log: log.to_string(), cause };
        let invalid =
            |problems| Error::InvalidConfiguration { object: object.to_string(), log: log.to_string(), problems };
        match (self.storage.configuration(object, etag).await.map_err(unavailable)?, known) {
            (Fetched::Unchanged, Some(known)) => Ok(known.clone()),
            (Fetched::Unchanged, None) => Err(unavailable("S3 says it is unchanged, but it was never read".to_owned())),
            (Fetched::New { etag, file }, _) => {
                let filter = Filter::parse(&file, self.settings.topic_arn.as_deref()).map_err(invalid)?;
                let topic = filter.topic.clone().ok_or_else(|| {
                    invalid(vec![format!(
                        "no topic is named: add \"sns\": {{\"topicARN\": …}} to it, or set {TOPIC_ARN} in the function's \
                         environment"
                    )])
                })?;
                let configuration = Configuration { etag, filter: Arc::new(filter), topic };
                self.publisher.forget();
                configurations.insert(object.clone(), configuration.clone());
                Ok(configuration)
            }
        }
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
    async fn object(&mut self, object: &S3Object) -> Result<(), Error> {
        self.report.objects += 1;
        if let Some(reason) = event::no_log(&object.key) {
            self.report.skipped.add(reason);
            return Ok(());
        }
        let Handler { settings, storage, .. } = self.handler;
        let configuration = S3Object {
            bucket: settings.config_bucket.as_ref().unwrap_or(&object.bucket).clone(),
            key: settings.config_key.clone(),
        };
        if *object == configuration {
            self.report.skipped.configuration += 1;
            return Ok(());
        }
        let (in_force, body) = if let Some(in_force) = self.configurations.get(&configuration) {
            (Ok(in_force.clone()), storage.open(object).await)
        } else {
            tokio::join!(self.handler.configuration(&configuration, object), storage.open(object))
        };
        let in_force = in_force?;
        self.configurations.insert(configuration, in_force.clone());
        let body = body.map_err(|cause| Error::LogUnavailable { object: object.to_string(), cause })?;
        self.log(object, body, &in_force).await?;
        self.report.logs += 1;
        Ok(())
    }

    /// Reads a log to its end, and hands over its alerts while it is being read.
    async fn log(&mut self, object: &S3Object, mut body: ByteStream, in_force: &Configuration) -> Result<(), Error> {
        let name = object.to_string();
        let malformed = |e: Malformed| Error::LogMalformed { object: object.to_string(), cause: e.to_string() };
        let mut log = LogFile::new();
        let broken_off = loop {
            let bytes = match storage::next(&mut body).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break None,
                Err(cause) => break Some(Error::LogUnavailable { object: object.to_string(), cause }),
            };
            self.report.bytes += bytes.as_ref().len() as u64;
            for piece in bytes.as_ref().chunks(PIECE) {
                let mut alerts = Vec::new();
                let read = log.push(piece, &mut |raw| alerts.extend(judge(raw, in_force, &name, &mut self.report)));
                self.send(alerts, in_force, &name).await;
                read.map_err(malformed)?;
            }
        };
        // Where S3 broke off, whole records may still wait in the window; that the log ends there is S3's error.
        let mut alerts = Vec::new();
        let read = log.finish(&mut |raw| alerts.extend(judge(raw, in_force, &name, &mut self.report)));
        self.send(alerts, in_force, &name).await;
        broken_off.map_or(read.map_err(malformed), Err)
    }

    async fn send(&mut self, alerts: Vec<Alert>, in_force: &Configuration, log: &str) {
        for alert in alerts {
            self.outbox.add(alert, in_force.topic.clone(), log).await;
        }
    }
}

/// Counts a record, and makes the alert about it if a rule matches.
fn judge(raw: &RawRecord<'_>, in_force: &Configuration, log: &str, report: &mut Report) -> Option<Alert> {
    let alert = alert::about(raw, &in_force.filter, log, Format::Text);
    report.records += 1;
    if alert.is_some() {
        report.matched += 1;
    } else {
        report.unmatched += 1;
    }
    alert
}
