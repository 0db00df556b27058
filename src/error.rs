//! The one error type. The name of a variant is the `errorType` that Lambda shows, logs and keeps with a failed event.

use lambda_runtime::Diagnostic;

/// Why an invocation failed. Every message names the object that it is about and says what to do.
#[derive(thiserror::Error)]
pub enum Error {
    /// The payload, or one record of it, announces no S3 object.
    #[error("{0}")]
    InvalidPayload(String),

    /// S3 did not give the filter configuration.
    #[error("the configuration {object} can't be read: {cause}; {consequence}")]
    ConfigurationUnavailable {
        /// The configuration, as `s3://bucket/key`.
        object: String,
        /// S3's answer, and what to do about it.
        cause: String,
        /// What became of the log that needed it.
        consequence: String,
    },

    /// The filter configuration was read and can't be used; all its mistakes at once.
    #[error("the configuration {object} can't be used: {}; {consequence}", problems.join("; "))]
    InvalidConfiguration {
        /// The configuration, as `s3://bucket/key`.
        object: String,
        /// One text for each mistake.
        problems: Vec<String>,
        /// What became of the log that needed it.
        consequence: String,
    },

    /// S3 did not give a log file, or not all of it.
    #[error("the log {object} can't be read: {cause}")]
    LogUnavailable {
        /// The log file, as `s3://bucket/key`.
        object: String,
        /// S3's answer, and what to do about it.
        cause: String,
    },

    /// An object was read and is no CloudTrail log, or a damaged one.
    #[error("{object} is no sound CloudTrail log: {cause}")]
    LogMalformed {
        /// The object, as `s3://bucket/key`.
        object: String,
        /// What is wrong, and where.
        cause: String,
    },

    /// SNS did not take alerts, after all retries.
    #[error("{alerts} alerts of {log} were not published to {topic}: {cause}")]
    PublishFailed {
        /// The log file in which the alerts were found, as `s3://bucket/key`.
        log: String,
        /// The topic's ARN.
        topic: String,
        /// How many alerts.
        alerts: u64,
        /// SNS's answer, and what to do about it.
        cause: String,
    },

    /// Several of the above in one invocation; everything else in it was done.
    #[error("{} failures: {}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))]
    SeveralFailures(Vec<Error>),
}

impl Error {
    /// The failures of an invocation as one error, or none where there was no failure.
    #[must_use]
    pub fn of_all(mut failures: Vec<Error>) -> Option<Error> {
        if failures.len() > 1 { Some(Error::SeveralFailures(failures)) } else { failures.pop() }
    }

    /// The log that it is about, as `s3://bucket/key`, if it is about one.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        match self {
            Error::LogUnavailable { object: log, .. }
            | Error::LogMalformed { object: log, .. }
            | Error::PublishFailed { log, .. } => Some(log),
            _ => None,
        }
    }

    /// Whether no message can do better before somebody has mended the configuration.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Error::ConfigurationUnavailable { .. } | Error::InvalidConfiguration { .. })
    }

    /// The variant's name, stable: alarms and retry rules may test it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Error::InvalidPayload(_) => "InvalidPayload",
            Error::ConfigurationUnavailable { .. } => "ConfigurationUnavailable",
            Error::InvalidConfiguration { .. } => "InvalidConfiguration",
            Error::LogUnavailable { .. } => "LogUnavailable",
            Error::LogMalformed { .. } => "LogMalformed",
            Error::PublishFailed { .. } => "PublishFailed",
            Error::SeveralFailures(_) => "SeveralFailures",
        }
    }
}

/// The same as `Display`: the Lambda runtime logs a handler's error in this form.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {self}", self.kind())
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Diagnostic { error_type: error.kind().to_owned(), error_message: error.to_string() }
    }
}

/// An error and all its causes, the outermost first: alone, one of the SDK's says no more than "dispatch failure".
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
