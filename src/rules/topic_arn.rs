//! SNS topics' ARNs.

use crate::log::is_account;

/// An SNS topic's ARN, `arn:partition:sns:region:account:name`. It has no character that a shell or a terminal would
/// read as more than text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicArn(String);

impl TopicArn {
    /// Reads an ARN. An error shows how one looks.
    pub(crate) fn parse(arn: &str) -> Result<TopicArn, String> {
        match arn.split(':').collect::<Vec<_>>()[..] {
            ["arn", partition, "sns", region, account, name]
                if is_partition(partition) && is_region(region) && is_account(account) && is_name(name) =>
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

/// Such as `aws`, `aws-cn` or `aws-us-gov`.
fn is_partition(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    text.split('-').enumerate().all(|(i, word)| if i == 0 { word == "aws" } else { is_word(word) })
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// What [SNS allows](https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html).
fn is_name(text: &str) -> bool {
    let name = text.strip_suffix(".fifo").unwrap_or(text);
    (1..=256).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_arn_is_checked() {
        let longest = format!("arn:aws:sns:us-east-1:123456789012:{}", "a".repeat(256));
        for arn in [
            "arn:aws:sns:us-east-1:123456789012:alerts",
            "arn:aws-cn:sns:cn-north-1:123456789012:A_b-1",
            "arn:aws-us-gov:sns:us-gov-west-1:123456789012:alerts.fifo",
            "arn:aws-iso-b:sns:us-isob-east-1:123456789012:a",
            "arn:aws-eusc:sns:eusc-de-east-1:123456789012:a",
            &longest,
        ] {
            assert!(TopicArn::parse(arn).is_ok(), "{arn}");
        }
        let too_long = format!("{longest}a");
        for arn in [
            "",
            "arn:aws:sns:us-east-1:123456789012:",
            "arn:aws:sns:us-east-1:123456789012:.fifo",
            "arn:aws:sns:us-east-1:123456789012:a.b",
            "arn:aws:sns:us-east-1:123456789012:a;id",
            "arn:aws:sns:us-east-1:123456789012:a\n",
            "arn:aws:sns:us-east-1:123456789012:a:5a1e05f5",
            "arn:aws:sns:us-east-1:12345678901:a",
            "arn:aws:sns:us-east-1:12345678901x:a",
            "arn:aws:sns::123456789012:a",
            "arn:aws:sns:US-east-1:123456789012:a",
            "arn:aws:sns:us east-1:123456789012:a",
            "arn:aws:sqs:us-east-1:123456789012:a",
            "arn:aws$(touch x):sns:us-east-1:123456789012:a",
            "arn:aws`id`:sns:us-east-1:123456789012:a",
            "arn:aws-:sns:us-east-1:123456789012:a",
            "arn:awsx:sns:us-east-1:123456789012:a",
            "arn::sns:us-east-1:123456789012:a",
            " arn:aws:sns:us-east-1:123456789012:a",
            &too_long,
        ] {
            assert!(TopicArn::parse(arn).is_err(), "{arn}");
        }
    }
}
