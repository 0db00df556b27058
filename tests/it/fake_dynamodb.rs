//! DynamoDB with one table, with the rules of the real one that the program relies on, and the faults that a test asks for.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

/// The name of the table.
pub const TABLE: &str = "alert-memory";

/// A fault of a request.
#[derive(Clone, Copy, Debug)]
pub enum TableFault {
    Refused(u16, &'static str),
    /// No answer ever comes, and nothing is done.
    Silent,
    /// It is done, and no answer ever comes.
    SilentlyDone,
    /// It is done, and the connection breaks.
    Dropped,
    /// It is done, and the answer is cut.
    Cut,
    /// Only the first key or item is processed.
    Unprocessed,
}

/// What becomes of a request.
pub enum Answer {
    Status(u16, String),
    Dropped,
    Never,
}

#[derive(Default)]
pub struct Table {
    /// By id, as the API writes them.
    pub items: BTreeMap<String, Value>,
    /// The operations that were asked for.
    pub requests: Vec<String>,
    /// The operation (empty for all), how many requests for it succeed before, the fault, and how many requests fail.
    pub fault: Option<(&'static str, usize, TableFault, usize)>,
    /// Requests that the real one would refuse.
    pub violations: Vec<String>,
}

fn error(status: u16, code: &str, item: Option<&Value>) -> Answer {
    let mut error =
        json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": format!("{code}.") });
    if let Some(item) = item {
        error["Item"] = item.clone();
    }
    Answer::Status(status, error.to_string())
}

impl Table {
    /// The states of the groups.
    pub fn groups(&self) -> Vec<Value> {
        let groups = self.items.iter().filter(|(id, _)| id.starts_with('g'));
        groups.map(|(_, item)| serde_json::from_str(item["state"]["S"].as_str().unwrap()).unwrap()).collect()
    }

    /// How many matches the groups hold that no alert tells yet.
    pub fn held(&self) -> u64 {
        self.groups().iter().map(|group| group["held"]["count"].as_u64().unwrap_or(0)).sum()
    }

    pub fn answer(&mut self, operation: &str, body: &Value) -> Answer {
        self.requests.push(operation.to_owned());
        let fault = match &mut self.fault {
            Some((of, before, fault, times)) if (of.is_empty() || *of == operation) && *times > 0 => {
                if *before > 0 {
                    *before -= 1;
                    None
                } else {
                    *times -= 1;
                    Some(*fault)
                }
            }
            _ => None,
        };
        match fault {
            Some(TableFault::Refused(status, code)) => return error(status, code, None),
            Some(TableFault::Silent) => return Answer::Never,
            _ => {}
        }
        let answer = match operation {
            "BatchGetItem" => self.batch_get(body, matches!(fault, Some(TableFault::Unprocessed))),
            "PutItem" => self.put(body),
            "BatchWriteItem" => self.batch_write(body, matches!(fault, Some(TableFault::Unprocessed))),
            _ => error(400, "AccessDeniedException", None),
        };
        match (fault, answer) {
            (Some(TableFault::SilentlyDone), _) => Answer::Never,
            (Some(TableFault::Dropped), _) => Answer::Dropped,
            (Some(TableFault::Cut), Answer::Status(status, body)) => {
                Answer::Status(status, body[..body.len() / 2].into())
            }
            (_, answer) => answer,
        }
    }

    fn rule(&mut self, holds: bool, rule: &str) {
        if !holds {
            self.violations.push(format!("DynamoDB: {rule}"));
        }
    }

    fn batch_get(&mut self, body: &Value, unprocessed: bool) -> Answer {
        let wanted = &body["RequestItems"][TABLE];
        let Some(keys) = wanted["Keys"].as_array() else { return error(400, "ResourceNotFoundException", None) };
        let ids: Vec<_> = keys.iter().map(|key| key["id"]["S"].as_str().unwrap()).collect();
        self.rule((1..=100).contains(&ids.len()), "a request has 1 to 100 keys");
        self.rule(ids.iter().collect::<HashSet<_>>().len() == ids.len(), "keys are unique");
        self.rule(wanted["ConsistentRead"] == true, "reads are consistent");
        let process = if unprocessed { 1 } else { ids.len() };
        let found: Vec<_> = ids[..process].iter().filter_map(|id| self.items.get(*id)).collect();
        let mut answer = json!({ "Responses": { TABLE: found }, "UnprocessedKeys": {} });
        if process < keys.len() {
            answer["UnprocessedKeys"] = json!({ TABLE: { "Keys": keys[process..], "ConsistentRead": true } });
        }
        Answer::Status(200, answer.to_string())
    }

    fn put(&mut self, body: &Value) -> Answer {
        if body["TableName"] != TABLE {
            return error(400, "ResourceNotFoundException", None);
        }
        let item = &body["Item"];
        let id = item["id"]["S"].as_str().unwrap();
        let names: Vec<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
        self.rule(names == ["expires", "id", "revision", "state", "version"], "a group has these attributes");
        self.rule(body["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD", "a conflict gives the item");
        let known = self.items.get(id);
        let holds = match body["ConditionExpression"].as_str().unwrap() {
            "attribute_not_exists(id)" => known.is_none(),
            "revision = :known" => {
                known.is_some_and(|known| known["revision"] == body["ExpressionAttributeValues"][":known"])
            }
            other => panic!("an unknown condition: {other}"),
        };
        if !holds {
            return error(400, "ConditionalCheckFailedException", known);
        }
        self.items.insert(id.to_owned(), item.clone());
        Answer::Status(200, "{}".to_owned())
    }

    fn batch_write(&mut self, body: &Value, unprocessed: bool) -> Answer {
        let Some(writes) = body["RequestItems"][TABLE].as_array() else {
            return error(400, "ResourceNotFoundException", None);
        };
        self.rule((1..=25).contains(&writes.len()), "a request has 1 to 25 items");
        let process = if unprocessed { 1 } else { writes.len() };
        let mut ids = HashSet::new();
        for write in &writes[..process] {
            let item = &write["PutRequest"]["Item"];
            let id = item["id"]["S"].as_str().unwrap();
            self.rule(ids.insert(id), "keys are unique");
            let names: Vec<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
            self.rule(id.starts_with('p') && names == ["expires", "id"], "a published alert has these attributes");
            self.items.insert(id.to_owned(), item.clone());
        }
        let mut answer = json!({ "UnprocessedItems": {} });
        if process < writes.len() {
            answer["UnprocessedItems"] = json!({ TABLE: writes[process..] });
        }
        Answer::Status(200, answer.to_string())
    }
}
