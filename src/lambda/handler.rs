//! The entrance for invocations, one after the other, and the state of the execution environment behind one lock.

use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::Mutex;

use super::config_store::ConfigStore;
use super::dedup::RecentAlerts;
use super::event;
use super::invocation::{Answer, Invocation, State};
use crate::aws::{S3, Sns};
use crate::environment::Settings;
use crate::error::Error;

/// Handles invocations, one after the other.
pub struct Handler {
    settings: Settings,
    s3: S3,
    state: Mutex<State>,
}

impl Handler {
    /// Handles invocations with these settings and clients.
    pub fn new(settings: Settings, s3: S3, sns: Sns) -> Self {
        let configs = ConfigStore::new(&settings);
        let state = State { sns, configs, published: RecentAlerts::default() };
        Handler { settings, s3, state: Mutex::new(state) }
    }

    /// Loads the configuration before the first event, where its bucket is known. That also opens a connection to S3.
    pub async fn warm_up(&self) {
        self.state.lock().await.configs.warm_up(&self.s3).await;
    }

    /// Handles one invocation, which must be over by `deadline`.
    ///
    /// # Errors
    /// Everything that failed, after the rest was done. From SQS, failures of single messages are not an error: these
    /// messages are handed back.
    pub async fn handle(&self, payload: &Value, deadline: SystemTime) -> Result<Answer, Error> {
        let mut state = self.state.lock().await;
        Invocation::new(&self.settings, &self.s3, &mut state, deadline).run(event::parse(payload)).await
    }
}
