//! S3 Batch Operations, which invokes the function for each object of a job's manifest: what it asks, and the answer to it.
//! See [its manual](https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html).

use serde::Serialize;
use serde_json::Value;

use super::event::{form_decoded, object};
use super::report::Report;
use crate::alert::{escape, truncate};
use crate::error::Error;
use crate::log::S3Object;
use crate::rules::suggestion;

/// The most bytes of a result, which is a field of a line in the job's completion report.
const RESULT_LIMIT: usize = 1_000;

/// The most bytes of all results of an invocation, unless it has very many. Lambda's answer holds 6 MB.
const RESULTS_LIMIT: usize = 2 << 20;

/// The names of the user arguments.
const DRY_RUN: &str = "dryRun";
const RULE: &str = "rule";

/// An invocation by a job.
#[derive(Debug)]
pub struct Job {
    schema: Value,
    invocation: Value,
    id: Value,
    /// What to do with the objects; an error says what is wrong with the job's arguments.
    pub(super) replay: Result<Replay, String>,
    /// S3 sends one.
    pub tasks: Vec<Task>,
}

/// What a job asks for beside the objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replay {
    /// Nothing is sent.
    pub(super) dry_run: bool,
    /// The one rule to use.
    pub(super) rule: Option<String>,
}

/// An object of a job.
#[derive(Debug)]
pub struct Task {
    id: Value,
    /// An error says what is wrong with the task.
    pub object: Result<S3Object, String>,
    /// `None` for the latest.
    pub(super) version: Option<String>,
}

/// The answer to a job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobAnswer {
    invocation_schema_version: Value,
    treat_missing_keys_as: Code,
    invocation_id: Value,
    results: Vec<TaskResult>,
}

/// What became of a task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskResult {
    task_id: Value,
    result_code: Code,
    result_string: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Code {
    Succeeded,
    /// S3 tries again.
    TemporaryFailure,
    PermanentFailure,
}

/// Reads a payload, if it is of a job: it has a schema's version and a list of tasks, whatever the version.
pub fn parse(payload: &Value) -> Option<Job> {
    let (schema, tasks) = (payload.get("invocationSchemaVersion")?, payload.get("tasks")?.as_array()?);
    let of_job = |pointer| payload.pointer(pointer).cloned().unwrap_or_default();
    Some(Job {
        schema: schema.clone(),
        invocation: of_job("/invocationId"),
        id: of_job("/job/id"),
        replay: Replay::parse(&of_job("/job/userArguments")),
        tasks: tasks.iter().map(Task::parse).collect(),
    })
}

impl Job {
    /// The job's id, for people.
    pub(super) fn id(&self) -> &str {
        self.id.as_str().unwrap_or_default()
    }

    /// The result of a task: its counts, or why it failed. It may succeed later if anything that failed may: another attempt
    /// sends what is missing, and then fails for good.
    pub(super) fn result(&self, task: &Task, report: &Report, failures: Vec<Error>) -> TaskResult {
        let limit = RESULT_LIMIT.min(RESULTS_LIMIT / self.tasks.len().max(1));
        let (result_code, result_string) = match Error::of_all(failures) {
            None => (Code::Succeeded, escape(&report.summary(limit))),
            Some(error) if error.may_pass() => (Code::TemporaryFailure, shortened(&error, limit)),
            Some(error) => (Code::PermanentFailure, shortened(&error, limit)),
        };
        TaskResult { task_id: task.id.clone(), result_code, result_string }
    }

    /// The answer to the invocation. A task without an id can't be answered, and so has failed.
    pub(super) fn answer(self, results: Vec<TaskResult>) -> JobAnswer {
        JobAnswer {
            invocation_schema_version: self.schema,
            treat_missing_keys_as: Code::PermanentFailure,
            invocation_id: self.invocation,
            results: results.into_iter().filter(|result| !result.task_id.is_null()).collect(),
        }
    }
}

impl Replay {
    fn parse(arguments: &Value) -> Result<Self, String> {
        let mut replay = Replay::default();
        let arguments = match arguments {
            Value::Null => return Ok(replay),
            Value::Object(arguments) => arguments,
            _ => return Err("the job's userArguments are not an object".to_owned()),
        };
        let (of_job, mut problems) = ("the job's user argument", Vec::new());
        for (name, value) in arguments {
            match (name.as_str(), value.as_str()) {
                (DRY_RUN, Some("true")) => replay.dry_run = true,
                (DRY_RUN, Some("false")) => {}
                (RULE, Some(rule)) if !rule.is_empty() => replay.rule = Some(rule.to_owned()),
                (DRY_RUN, _) => problems.push(format!("{of_job} `{name}` is {value}: give \"true\" or \"false\"")),
                (RULE, _) => problems.push(format!("{of_job} `{name}` is {value}: give the name of a rule")),
                _ => problems.push(format!("{of_job} `{name}` is not known{}", suggestion(name, &[DRY_RUN, RULE]))),
            }
        }
        if problems.is_empty() { Ok(replay) } else { Err(problems.join("; ")) }
    }
}

impl Task {
    /// Reads a task of schema 1.0, which names the bucket's ARN, or 2.0, which names the bucket. Both encode the key as HTML
    /// forms do.
    fn parse(task: &Value) -> Self {
        let text = |name| task.get(name).and_then(Value::as_str);
        let of_arn = || text("s3BucketArn").and_then(|arn| arn.rsplit(':').next());
        let object = match (text("s3Bucket").or_else(of_arn), text("s3Key")) {
            (Some(bucket), Some(key)) if !bucket.is_empty() && !key.is_empty() => {
                form_decoded(key).and_then(|key| object(bucket, &key)).map_err(|problem| format!("a task {problem}"))
            }
            _ => Err("a task names no object: expected s3Key, and s3Bucket or s3BucketArn".to_owned()),
        };
        let version = match task.get("s3VersionId") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(version)) => Ok(Some(version.clone()).filter(|version| !version.is_empty())),
            Some(other) => Err(format!("a task has a s3VersionId that is not a text: {other}")),
        };
        let id = task.get("taskId").cloned().unwrap_or_default();
        match version {
            Ok(version) => Task { id, object, version },
            Err(problem) => Task { id, object: object.and(Err(problem)), version: None },
        }
    }
}

/// Why a task failed, for a line of the completion report. The function's log has it in full.
fn shortened(error: &Error, limit: usize) -> String {
    const MORE: &str = "… (the function's log has all of it)";
    truncate(escape(&format!("{}: {error}", error.kind())), limit, MORE).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(arguments: &Value, tasks: &[Value]) -> Job {
        let payload = json!({"invocationSchemaVersion": "2.0", "invocationId": "i", "tasks": tasks,
            "job": {"id": "j", "userArguments": arguments}});
        parse(&payload).unwrap()
    }

    #[test]
    fn a_job_is_known_by_its_content_whatever_its_schema() {
        for payload in [
            json!({"invocationSchemaVersion": "1.0", "tasks": []}),
            json!({"invocationSchemaVersion": "3.1", "tasks": [], "new": 1, "job": null}),
            json!({"invocationSchemaVersion": 2, "tasks": [null]}),
        ] {
            let job = parse(&payload).unwrap();
            assert_eq!(job.replay, Ok(Replay::default()));
            assert_eq!(json!(job.answer(Vec::new()))["invocationSchemaVersion"], payload["invocationSchemaVersion"]);
        }
        for payload in
            [json!({"tasks": []}), json!({"invocationSchemaVersion": "1.0", "tasks": {}}), json!([]), json!(null)]
        {
            assert!(parse(&payload).is_none(), "{payload}");
        }
    }

    #[test]
    fn a_task_names_its_object_and_version_in_both_schemas() {
        let of_arn = |arn: &str| json!({"taskId": "t", "s3Key": "k", "s3BucketArn": arn});
        let tasks = [
            json!({"taskId": "t", "s3Key": "a+b%2Bc%252B/%C3%BC%20", "s3Bucket": "b", "s3VersionId": null}),
            of_arn("arn:aws:s3:::b"),
            of_arn("arn:aws-cn:s3:us-east-1:0123456788:b"),
            json!({"taskId": "t", "s3Key": "k", "s3Bucket": "b", "s3VersionId": "v"}),
            json!({"taskId": "t", "s3Key": "k", "s3Bucket": "b", "s3VersionId": ""}),
        ];
        let parsed = job(&Value::Null, &tasks).tasks;
        let told: Vec<_> = parsed.iter().map(|task| (task.object.as_ref().unwrap(), task.version.as_deref())).collect();
        let object = |key: &str| S3Object { bucket: "b".to_owned(), key: key.to_owned() };
        let (odd, plain) = (object("a b+c%2B/ü "), object("k"));
        assert_eq!(told, [(&odd, None), (&plain, None), (&plain, None), (&plain, Some("v")), (&plain, None)]);
    }

    #[test]
    fn a_task_that_is_not_valid_is_an_error_of_its_own() {
        for (task, problem) in [
            (json!({}), "names no object"),
            (json!(null), "names no object"),
            (json!({"s3Key": "k"}), "names no object"),
            (json!({"s3Key": "", "s3Bucket": "b"}), "names no object"),
            (json!({"s3Key": 7, "s3Bucket": "b"}), "names no object"),
            (json!({"s3Key": "%FF", "s3Bucket": "b"}), "has a key that is not UTF-8: %FF"),
            (json!({"s3Key": "k".repeat(1_025), "s3Bucket": "b"}), "its key over 1024"),
            (json!({"s3Key": "k", "s3Bucket": "b", "s3VersionId": 7}), "s3VersionId that is not a text: 7"),
        ] {
            let job = job(&Value::Null, std::slice::from_ref(&task));
            let told = job.tasks[0].object.as_ref().unwrap_err();
            assert!(told.contains(problem) && told.starts_with("a task "), "{task}: {told}");
        }
    }

    #[test]
    fn arguments_are_known_and_valid_or_the_job_is_refused() {
        for (arguments, replay) in [
            (json!(null), Replay::default()),
            (json!({}), Replay::default()),
            (json!({"dryRun": "false"}), Replay::default()),
            (json!({"dryRun": "true", "rule": "a b"}), Replay { dry_run: true, rule: Some("a b".to_owned()) }),
        ] {
            assert_eq!(job(&arguments, &[]).replay, Ok(replay), "{arguments}");
        }
        for (arguments, problems) in [
            (json!("dryRun"), "are not an object"),
            (json!({"dryRun": "yes"}), "`dryRun` is \"yes\": give \"true\" or \"false\""),
            (json!({"dryRun": true}), "`dryRun` is true: give \"true\""),
            (json!({"rule": ""}), "`rule` is \"\": give the name of a rule"),
            (json!({"rule": ["a"]}), "`rule` is [\"a\"]: give"),
            (json!({"dryrun": "true"}), "`dryrun` is not known; did you mean `dryRun`?"),
            (json!({"colour": "x", "dryRun": ""}), "`colour` is not known; known names: dryRun, rule; the job's"),
        ] {
            let told = job(&arguments, &[]).replay.unwrap_err();
            assert!(told.contains(problems), "{arguments}: {told}");
        }
    }

    #[test]
    fn a_result_is_as_long_as_a_line_allows_and_all_of_them_as_an_answer_does() {
        let tasks = vec![json!({"taskId": "t", "s3Key": "k", "s3Bucket": "b"}); 10_000];
        for (tasks, limit) in [(&tasks[..1], RESULT_LIMIT), (&tasks[..], RESULTS_LIMIT / 10_000)] {
            let job = job(&Value::Null, tasks);
            let fail = |text: String| job.result(&job.tasks[0], &Report::default(), vec![Error::InvalidPayload(text)]);
            let long = fail("ü\n".repeat(1_000)).result_string;
            assert!((limit - 5..=limit).contains(&long.len()) && long.ends_with("has all of it)"), "{long}");
            assert!(long.starts_with("InvalidPayload: ü\\nü"), "{long}");
            assert_eq!(fail("short".to_owned()).result_string, "InvalidPayload: short");
        }
    }

    #[test]
    fn a_failure_is_tried_again_if_any_part_of_it_may_pass() {
        let job = job(&Value::Null, &[json!({"taskId": "t"}), json!({})]);
        let code = |failures| job.result(&job.tasks[0], &Report::default(), failures).result_code;
        let invalid = || Error::InvalidPayload(String::new());
        let log = || S3Object { bucket: "b".to_owned(), key: "k".to_owned() };
        let unavailable =
            |lasts| Error::LogUnavailable { log: log(), cause: crate::error::Cause::new(String::new(), lasts) };
        assert_eq!(code(vec![]), Code::Succeeded);
        assert_eq!(code(vec![invalid(), unavailable(true)]), Code::PermanentFailure);
        assert_eq!(code(vec![invalid(), unavailable(false)]), Code::TemporaryFailure);
        let results = job.tasks.iter().map(|task| job.result(task, &Report::default(), vec![])).collect();
        let answer = json!(job.answer(results));
        let result = json!({"taskId": "t", "resultCode": "Succeeded", "resultString": "{}"});
        assert_eq!(
            answer,
            json!({"invocationSchemaVersion": "2.0", "invocationId": "i",
            "treatMissingKeysAs": "PermanentFailure", "results": [result]})
        );
    }
}
