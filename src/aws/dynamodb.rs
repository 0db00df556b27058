//! The table that environments share: an item for each group of matches, and one for each alert that was published.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, PutRequest, ReturnValuesOnConditionCheckFailure, WriteRequest,
};
use tokio::time::{sleep, timeout};

use super::no_answer::{no_answer, with_causes};

/// The most items of [a request](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html).
pub(crate) const READ_LIMIT: usize = 100;
const WRITE_LIMIT: usize = 25;

/// The time of an operation with all its attempts, 300 ms. It is counted in ticks: while another log has the thread, an
/// answer that is there can't be taken, and no more than a tick passes.
const TICKS: u32 = 10;
const TICK: Duration = Duration::from_millis(30);

/// The attempts at a request, with pauses of 175 ms at most between them all.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// The form of the items of groups.
const VERSION: u64 = 1;

/// One table.
pub struct Table {
    client: Client,
    pub(crate) name: String,
}

/// The item of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Another one with each write.
    pub(crate) revision: u64,
    /// When the table may forget it, in seconds since 1970.
    pub(crate) expires: u64,
    pub(crate) state: String,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written {
    Done,
    /// Another one has written the item, or the table has forgotten it: the item as it is.
    Conflict(Option<Item>),
}

type Attributes = HashMap<String, AttributeValue>;

impl Table {
    /// The table of that name.
    pub fn new(config: &SdkConfig, name: String) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE);
        Table { client: Client::from_conf(Builder::from(config).retry_config(retries).build()), name }
    }

    /// The items of these groups, at most [`READ_LIMIT`], that there are. An error, as of all that follow, says why the table
    /// can't be used, and what to do.
    pub(crate) async fn groups(&self, ids: &[String]) -> Result<HashMap<String, Item>, String> {
        self.read(ids).await?.iter().map(item).collect()
    }

    /// Writes the item of a group if its revision is the one that is known, or if there is none and none is known.
    pub(crate) async fn put_group(&self, id: &str, item: &Item, known: Option<u64>) -> Result<Written, String> {
        let put = self.client.put_item().table_name(&self.name).item("id", text(id)).item("version", number(VERSION));
        let put = put.item("revision", number(item.revision)).item("expires", number(item.expires));
        let put = put.item("state", text(&item.state));
        let put = match known {
            Some(known) => {
                put.condition_expression("revision = :known").expression_attribute_values(":known", number(known))
            }
            None => put.condition_expression("attribute_not_exists(id)"),
        };
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match in_time(async { Ok(put.send().await) }).await? {
            Ok(_) => Ok(Written::Done),
            Err(e) => match e.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => match &failed.item {
                    Some(other) if !other.is_empty() => Ok(Written::Conflict(Some(self::item(other)?.1))),
                    _ => Ok(Written::Conflict(self.groups(&[id.to_owned()]).await?.into_values().next())),
                },
                _ => Err(cause(&e)),
            },
        }
    }

    /// Those of the ids, at most [`READ_LIMIT`], that have an item which has not expired.
    pub(crate) async fn published(&self, ids: &[String], now: u64) -> Result<HashSet<String>, String> {
        let found = self.read(ids).await?;
        let is_known = |found: &&Attributes| number_of(found, "expires").is_some_and(|expires| expires > now);
        Ok(found.iter().filter(is_known).filter_map(|found| Some(found.get("id")?.as_s().ok()?.clone())).collect())
    }

    /// Writes an item for each of the ids.
    pub(crate) async fn put_published(&self, ids: &[String], expires: u64) -> Result<(), String> {
        for ids in ids.chunks(WRITE_LIMIT) {
            let write = |id: &String| {
                let put = PutRequest::builder().item("id", text(id)).item("expires", number(expires)).build();
                Ok(WriteRequest::builder().put_request(put.map_err(no_request)?).build())
            };
            let mut open = HashMap::from([(self.name.clone(), ids.iter().map(write).collect::<Result<_, String>>()?)]);
            in_time(async {
                loop {
                    let written = self.client.batch_write_item().set_request_items(Some(open)).send().await;
                    open = written.map_err(|e| cause(&e))?.unprocessed_items.unwrap_or_default();
                    if open.is_empty() {
                        return Ok(());
                    }
                    pause().await;
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn read(&self, ids: &[String]) -> Result<Vec<Attributes>, String> {
        let keys = ids.iter().map(|id| HashMap::from([("id".to_owned(), text(id))])).collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let mut open = HashMap::from([(self.name.clone(), keys.map_err(no_request)?)]);
        in_time(async {
            let mut found = Vec::new();
            loop {
                let read = self.client.batch_get_item().set_request_items(Some(open)).send().await;
                let read = read.map_err(|e| cause(&e))?;
                found.extend(read.responses.into_iter().flat_map(HashMap::into_values).flatten());
                open = read.unprocessed_keys.unwrap_or_default();
                if open.is_empty() {
                    return Ok(found);
                }
                pause().await;
            }
        })
        .await
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn number_of(attributes: &Attributes, name: &str) -> Option<u64> {
    attributes.get(name)?.as_n().ok()?.parse().ok()
}

/// The item of a group, with its id.
fn item(attributes: &Attributes) -> Result<(String, Item), String> {
    let text = |name| attributes.get(name).and_then(|value| value.as_s().ok()).cloned();
    let id = text("id").unwrap_or_default();
    let version = number_of(attributes, "version");
    if version != Some(VERSION) {
        let version = version.map_or("no version".to_owned(), |version| format!("the version {version}"));
        return Err(format!(
            "its item {id} has {version}, and this program knows version {VERSION}; let only functions of the same version \
             use the table"
        ));
    }
    let numbers = number_of(attributes, "revision").zip(number_of(attributes, "expires"));
    let (Some((revision, expires)), Some(state)) = (numbers, text("state")) else {
        return Err(format!("its item {id} is incomplete; delete the item"));
    };
    Ok((id, Item { revision, expires, state }))
}

/// Waits before the rest of a request is sent again.
async fn pause() {
    sleep(FIRST_PAUSE.mul_f64(fastrand::f64())).await;
}

async fn in_time<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let mut work = pin!(work);
    for _ in 0..TICKS {
        if let Ok(done) = timeout(TICK, &mut work).await {
            return done;
        }
    }
    let milliseconds = (TICK * TICKS).as_millis();
    Err(format!(
        "DynamoDB had not answered after {milliseconds} ms; do nothing, unless it persists; then check that the function can \
         reach DynamoDB (in a VPC it needs an endpoint, a NAT gateway or a proxy), and whether the table is throttled"
    ))
}

fn no_request(error: impl Display) -> String {
    format!("no request could be made ({error})")
}

/// DynamoDB's answer, and what to do about it.
fn cause<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some(status) = error.raw_response().map(|response| response.status().as_u16()) else {
        return no_answer("DynamoDB", error);
    };
    match error.code() {
        Some(code) => {
            let message = error.message().unwrap_or("no reason").trim_end_matches('.');
            format!("DynamoDB answered {status} {code}: {message}{}", advice(code))
        }
        None if status < 300 => format!("DynamoDB's answer can't be read ({})", with_causes(error)),
        None => format!("DynamoDB answered {status}"),
    }
}

/// What to do about [an error](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html).
fn advice(code: &str) -> &'static str {
    match code {
        "ResourceNotFoundException" => {
            "; the table does not exist: correct STATE_TABLE in the function's environment, or deploy the stack with \
             Memory=none and then with Memory=table"
        }
        "AccessDeniedException" => {
            "; allow the function's role dynamodb:BatchGetItem, dynamodb:PutItem and dynamodb:BatchWriteItem on the table, and \
             check the policies of the table and of the KMS key that encrypts it"
        }
        "ProvisionedThroughputExceededException" | "ThrottlingException" | "RequestLimitExceeded" => {
            "; do nothing, unless it persists; then raise the table's capacity, or let it be billed on demand"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(version: u64, names: &[&str]) -> Attributes {
        let all = [("id", text("g1")), ("revision", number(7)), ("expires", number(9)), ("state", text("{}"))];
        let kept = all.into_iter().filter(|(name, _)| names.contains(name));
        kept.chain([("version", number(version))]).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn an_item_of_another_version_or_without_an_attribute_is_refused_and_named() {
        let all = ["id", "revision", "expires", "state"];
        let expected = Item { revision: 7, expires: 9, state: "{}".to_owned() };
        assert_eq!(item(&attributes(VERSION, &all)), Ok(("g1".to_owned(), expected)));
        let other = item(&attributes(VERSION + 1, &all)).unwrap_err();
        assert!(other.contains("item g1 has the version 2"), "{other}");
        assert!(item(&Attributes::new()).unwrap_err().contains("has no version"));
        for missing in ["revision", "expires", "state"] {
            let names: Vec<_> = all.into_iter().filter(|name| *name != missing).collect();
            assert!(item(&attributes(VERSION, &names)).unwrap_err().contains("g1 is incomplete"), "{missing}");
        }
    }
}
