//! The mails of one invocation: alerts that come back from their topic go on, together, to the topic for mail.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::event::Payload;
use super::outbox::TIME_TO_REPORT;
use super::report::Report;
use crate::alert::digest::{self, ALERTS_LIMIT, Delivered};
use crate::aws::Sns;
use crate::environment::{MAIL_TOPIC_ARN, Settings};
use crate::error::Error;
use crate::rules::TopicArn;

/// How long an invocation lasts after each mail. SNS suspends
/// [a mail subscription](https://docs.aws.amazon.com/sns/latest/dg/sns-email-notifications.html) that gets more than ten
/// messages a second. The stack lets two invocations mail at once, so the topic gets two.
const PAUSE: Duration = Duration::from_secs(1);

/// Mails all alerts of a payload, each once and the most severe first. Gives the keys of those that were not mailed.
pub(super) async fn send(
    payload: &Payload,
    settings: &Settings,
    sns: &mut Sns,
    deadline: SystemTime,
    report: &mut Report,
    failures: &mut Vec<Error>,
) -> HashSet<u128> {
    let alerts = payload.alerts();
    let deadline = deadline.checked_sub(TIME_TO_REPORT).unwrap_or(deadline);
    let mut unsent = HashSet::new();
    for alerts in alerts.chunks(ALERTS_LIMIT) {
        match publish(alerts, settings, sns, deadline).await {
            Ok(()) => {
                report.mails += 1;
                report.mailed += alerts.len() as u64;
            }
            Err(error) => {
                failures.push(error);
                unsent.extend(alerts.iter().map(|alert| alert.key));
            }
        }
    }
    unsent
}

/// Publishes one mail, and pauses also after a failure: SNS may have taken the mail all the same.
async fn publish(alerts: &[&Delivered], settings: &Settings, sns: &mut Sns, deadline: SystemTime) -> Result<(), Error> {
    let count = alerts.len() as u64;
    let no_topic = || {
        Error::InvalidPayload(format!(
            "{count} alerts came to be mailed, and no topic for mail is known: set {MAIL_TOPIC_ARN} in the function's \
             environment, or end the subscription that brings it alerts"
        ))
    };
    let arn = settings.mail_topic_arn.as_ref().ok_or_else(no_topic)?;
    let failed = |cause| Error::PublishFailed { log: None, topic: arn.clone(), alerts: count, cause };
    let topic = TopicArn::parse(arn).map_err(failed)?;
    let results = sns.topic(&topic).publish(&[&digest::mail(alerts)], deadline, &|_| ()).await;
    let time_left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(PAUSE.min(time_left)).await;
    results.into_iter().collect::<Result<(), _>>().map_err(failed)
}
