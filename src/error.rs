//! The one error type. The name of a variant is the `errorType` that Lambda shows, logs and keeps with a failed event.

use std::fmt;

use lambda_runtime::Diagnostic;

use crate::log::S3Object;

/// The reason of a failed invocation. Every message names its object, and says what to do where that is known.
#[derive(thiserror::Error)]
pub enum Error {
    /// The payload, or one record of it, announces no S3 object.
    #[error("{0}")]
    InvalidPayload(String),

    /// S3 did not give the filter configuration.
    #[error("the configuration {object} can't be read: {cause}; {consequence}")]
    ConfigurationUnavailable { object: S3Object, cause: Cause, consequence: Consequence },

    /// The filter configuration was read and can't be used.
    #[error("the configuration {object} can't be used: {}; {consequence}", problems.join("; "))]
    InvalidConfiguration { object: S3Object, problems: Vec<String>, consequence: Consequence },

    /// S3 did not give a log file, or not all of it.
    #[error("the log {log} can't be read: {cause}")]
    LogUnavailable { log: S3Object, cause: Cause },

    /// An object was read and is not a CloudTrail log, or a damaged one.
    #[error("{log} is not a valid CloudTrail log: {cause}")]
    LogMalformed { log: S3Object, cause: String },

    /// SNS did not take alerts of a log, or of a mail, after all retries.
    #[error("{alerts} alerts {} were not published to {topic}: {cause}",
        log.as_ref().map_or_else(|| "for mail".to_owned(), |log| format!("of {log}")))]
    PublishFailed { log: Option<S3Object>, topic: String, alerts: u64, cause: Cause },

    /// Several of the above in one invocation; everything else in it was done.
    #[error("{} failures: {}", .0.len(), joined(.0))]
    SeveralFailures(Vec<Error>),
}

/// The reason why a service did not do something, and what to do about it. Text alone is a reason that may pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cause {
    text: String,
    is_lasting: bool,
}

/// What follows from a configuration that can't be had: the end of the error's sentence.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Consequence {
    /// No event has come yet.
    #[error("the first event will ask again")]
    AskedAgain,
    /// There is no configuration for this log.
    #[error("{0} was not read")]
    NotRead(S3Object),
    /// There is one for this log.
    #[error("{0} was read with the last good one")]
    ReadWithLastGood(S3Object),
}

/// The length of a message of several failures, in bytes. Lambda's answer holds [6 MB](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const MESSAGE_LIMIT: usize = 100_000;

fn joined(failures: &[Error]) -> String {
    let mut text = String::new();
    for (number, failure) in failures.iter().enumerate() {
        if text.len() > MESSAGE_LIMIT {
            return format!("{text} | and {} more, which the function's log names", failures.len() - number);
        }
        let separator = if number > 0 { " | " } else { "" };
        text = text + separator + &failure.to_string();
    }
    text
}

impl Cause {
    /// A reason for which another attempt would fail, too, if it says so.
    pub(crate) fn new(text: String, is_lasting: bool) -> Self {
        Cause { text, is_lasting }
    }
}

impl<T: Into<String>> From<T> for Cause {
    fn from(text: T) -> Self {
        Cause { text: text.into(), is_lasting: false }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error {
    pub(crate) fn of_all(mut failures: Vec<Error>) -> Option<Error> {
        if failures.len() > 1 { Some(Error::SeveralFailures(failures)) } else { failures.pop() }
    }

    pub(crate) fn log(&self) -> Option<&S3Object> {
        match self {
            Error::LogUnavailable { log, .. } | Error::LogMalformed { log, .. } => Some(log),
            Error::PublishFailed { log, .. } => log.as_ref(),
            _ => match self.configuration()? {
                (_, Consequence::NotRead(log)) => Some(log),
                _ => None,
            },
        }
    }

    /// The configuration whose last good version took the place of the current one, for all logs that use it.
    pub(crate) fn outdated_configuration(&self) -> Option<&S3Object> {
        match self.configuration()? {
            (object, Consequence::ReadWithLastGood(_)) => Some(object),
            _ => None,
        }
    }

    pub(crate) fn configuration(&self) -> Option<(&S3Object, &Consequence)> {
        match self {
            Error::ConfigurationUnavailable { object, consequence, .. }
            | Error::InvalidConfiguration { object, consequence, .. } => Some((object, consequence)),
            _ => None,
        }
    }

    /// Whether the same may succeed later although nobody does anything about it.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Error::InvalidPayload(_) | Error::InvalidConfiguration { .. } | Error::LogMalformed { .. } => false,
            Error::ConfigurationUnavailable { cause, .. }
            | Error::LogUnavailable { cause, .. }
            | Error::PublishFailed { cause, .. } => !cause.is_lasting,
            Error::SeveralFailures(failures) => failures.iter().any(Error::may_pass),
        }
    }

    /// The variant's name, stable: alarms and retry rules may test it.
    pub(crate) fn kind(&self) -> &'static str {
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

/// The kind and the message: the Lambda runtime logs a handler's error in this form.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.kind())
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Diagnostic { error_type: error.kind().to_owned(), error_message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_very_many_failures_is_bounded_and_counts_the_rest() {
        let failures = |count| (0..count).map(|n| Error::InvalidPayload(format!("failure {n}"))).collect();
        let message = |count| Error::of_all(failures(count)).unwrap().to_string();
        assert_eq!(message(2), "2 failures: failure 0 | failure 1");
        let long = message(100_000);
        assert!(long.len() < MESSAGE_LIMIT + 200 && long.starts_with("100000 failures: failure 0 |"), "{}", long.len());
        assert!(long.ends_with(" more, which the function's log names"));
    }
}
