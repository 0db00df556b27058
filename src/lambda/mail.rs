//! The emails of one invocation: alerts that come back from their topic go on, together, to the mail topic.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use super::event::Payload;
use super::outbox::TIME_TO_REPORT;
use crate::alert::digest::{self, ALERTS_LIMIT, Delivered};
use crate::aws::sns::{Sns, TopicPublisher};
use crate::environment::{MAIL_TOPIC_ARN, Settings};
use crate::error::Error;
use crate::rules::TopicArn;

/// How long an invocation lasts after each email, copies of retries included. SNS suspends
/// [an email subscription](https://docs.aws.amazon.com/sns/latest/dg/sns-email-notifications.html) that gets more than
/// ten messages a second. The stack lets two invocations mail at once, so the topic gets two.
const PAUSE: Duration = Duration::from_secs(1);

/// After so many refused mails without one that was taken, the topic seems to refuse everything.
const SPLITS_IN_VAIN: u32 = 6;

#[derive(Default)]
pub(super) struct Mailed {
    /// The messages that the topic took, and the alerts that they tell.
    pub(super) mails: u64,
    pub(super) alerts: u64,
    /// The keys of all other alerts.
    pub(super) unsent: HashSet<u128>,
    pub(super) failures: Vec<Error>,
}

/// Mails all alerts of a payload, each once and the most severe first.
pub(super) fn send<'p>(
    payload: &'p Payload,
    settings: &Settings,
    sns: &mut Sns,
    deadline: SystemTime,
) -> impl Future<Output = Mailed> + use<'p> {
    let alerts = payload.alerts();
    let topic = (!alerts.is_empty()).then(|| topic(alerts.len() as u64, settings, sns));
    let mut mailed = Mailed { unsent: alerts.iter().map(|alert| alert.key).collect(), ..Mailed::default() };
    async move {
        match topic {
            Some(Ok(topic)) => mailed.send_to(&topic, &alerts, deadline).await,
            Some(Err(error)) => mailed.failures.push(error),
            None => {}
        }
        mailed
    }
}

/// The mail topic, or why so many alerts can't be mailed.
fn topic(alerts: u64, settings: &Settings, sns: &mut Sns) -> Result<TopicPublisher, Error> {
    let no_topic = || {
        Error::InvalidPayload(format!(
            "{alerts} alerts came to be mailed, and no mail topic is known: set {MAIL_TOPIC_ARN} in the function's \
             environment, or end the subscription that brings it alerts"
        ))
    };
    let arn = settings.mail_topic_arn.as_ref().ok_or_else(no_topic)?;
    let failed = |cause: String| Error::PublishFailed { log: None, topic: arn.clone(), alerts, cause: cause.into() };
    Ok(sns.topic(&TopicArn::parse(arn).map_err(failed)?, PAUSE))
}

impl Mailed {
    /// Halves a mail that the topic refuses: one alert may be the cause, for example one that the topic's data protection policy
    /// denies.
    async fn send_to(&mut self, topic: &TopicPublisher, alerts: &[&Delivered], deadline: SystemTime) {
        let deadline = deadline.checked_sub(TIME_TO_REPORT + PAUSE).unwrap_or(deadline);
        let (mut causes, mut splits_in_vain) = (BTreeMap::<String, u64>::new(), 0);
        let mut open: VecDeque<_> = alerts.chunks(ALERTS_LIMIT).collect();
        while let Some(part) = open.pop_front() {
            let count = part.len() as u64;
            let pause = if SystemTime::now() < deadline { PAUSE } else { Duration::ZERO };
            let results = topic.publish(&[&digest::mail(part)], deadline, &|_| ()).await;
            // Also after a failure: SNS may have taken the mail all the same.
            tokio::time::sleep(pause).await;
            match results.into_iter().collect() {
                Ok(()) => {
                    splits_in_vain = 0;
                    self.mails += 1;
                    self.alerts += count;
                    for alert in part {
                        self.unsent.remove(&alert.key);
                    }
                }
                Err(failure) if failure.is_lasting() && count > 1 && splits_in_vain < SPLITS_IN_VAIN => {
                    splits_in_vain += 1;
                    let (first, rest) = part.split_at(part.len() / 2);
                    open.extend([first, rest]);
                }
                Err(failure) => *causes.entry(failure.cause).or_default() += count,
            }
        }
        let arn = topic.arn.as_str();
        let failed = |(cause, alerts): (String, u64)| Error::PublishFailed {
            log: None,
            topic: arn.to_owned(),
            alerts,
            cause: cause.into(),
        };
        self.failures.extend(causes.into_iter().map(failed));
    }
}
