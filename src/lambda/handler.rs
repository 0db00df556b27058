//! What an execution environment keeps between invocations, and the answer to an invocation.

use std::time::SystemTime;

use aws_lambda_events::sqs::SqsBatchResponse;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::config_store::ConfigStore;
use super::dedup::RecentAlerts;
use super::event;
use super::invocation::Invocation;
use super::report::Report;
use crate::aws::s3::S3;
use crate::aws::sns::Sns;
use crate::environment::Settings;
use crate::error::Error;
use crate::log::file::LogFile;

/// Handles invocations, one after the other.
pub struct Handler {
    settings: Settings,
    s3: S3,
    state: Mutex<State>,
}

/// The state that one invocation leaves to the next.
pub(super) struct State {
    pub(super) sns: Sns,
    pub(super) configs: ConfigStore,
    pub(super) published: RecentAlerts,
    /// One log is read after the other, all through one window.
    pub(super) log_file: LogFile,
}

/// The answer of an invocation that did not fail.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The counts.
    Report(Report),
    /// For SQS: [the messages](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html) to deliver
    /// again.
    Batch(SqsBatchResponse),
}

impl Handler {
    /// Handles invocations with these settings and clients.
    #[must_use]
    pub fn new(settings: Settings, s3: S3, sns: Sns) -> Self {
        let configs = ConfigStore::new(&settings);
        let state = State { sns, configs, published: RecentAlerts::default(), log_file: LogFile::new() };
        Handler { settings, s3, state: Mutex::new(state) }
    }

    /// Loads the configuration before the first event, where its bucket is known. That also opens a connection to S3.
    pub async fn warm_up(&self) {
        self.state.lock().await.configs.warm_up(&self.s3).await;
    }

    /// Handles one invocation, which must be over by `deadline`.
    ///
    /// # Errors
    /// Everything that failed, after the rest was done. From SQS, failures of single messages are no error: these messages
    /// are handed back.
    pub async fn handle(&self, payload: &Value, deadline: SystemTime) -> Result<Answer, Error> {
        let mut state = self.state.lock().await;
        Invocation::new(&self.settings, &self.s3, &mut state, deadline).run(&event::parse(payload)).await
    }
}
