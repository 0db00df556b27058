//! SNS topics' ARNs.

use crate::log::is_account;

/// An SNS topic's ARN, `arn:partition:sns:region:account:name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicArn(String);

impl TopicArn {
    /// Reads an ARN. An error shows how one looks.
    pub(crate) fn parse(arn: &str) -> Result<TopicArn, String> {
        let name_ok = |name: &str| {
            let base = name.strip_suffix(".fifo").unwrap_or(name);
            !base.is_empty() && base.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let region_ok = |r: &str| !r.is_empty() && r.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match arn.split(':').collect::<Vec<_>>()[..] {
            ["arn", partition, "sns", region, account, name]
                if partition.starts_with("aws") && region_ok(region) && is_account(account) && name_ok(name) =>
            {
                Ok(TopicArn(arn.to_owned()))
            }
            _ => Err(format!(
                "`{arn}` is not a topic's ARN, which looks like arn:aws:sns:us-east-1:123456789012:alerts (a \
                 subscription's has one part more)"
            )),
        }
    }

    /// The region that the topic is in: requests for it must go there.
    pub(crate) fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }

    /// Whether it is a [FIFO topic](https://docs.aws.amazon.com/sns/latest/dg/sns-fifo-topics.html).
    pub(crate) fn is_fifo(&self) -> bool {
        self.0.rsplit('.').next() == Some("fifo")
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
