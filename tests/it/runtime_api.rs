//! A Lambda that runs the built program: its Runtime API on the loopback device.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, watch};

use crate::fake_aws::{Streamed, serve, whole};

/// How long anything may take before a test gives up. No test measures time by it.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub struct Lambda {
    child: Child,
    payloads: mpsc::Sender<Vec<u8>>,
    answers: mpsc::Receiver<Result<Value, Failure>>,
    output: watch::Receiver<String>,
    ready: watch::Receiver<bool>,
}

/// The error of an invocation, as Lambda shows it.
#[derive(Debug)]
pub struct Failure {
    pub kind: String,
    pub message: String,
}

impl Lambda {
    /// Starts the program. Each invocation has a deadline `timeout` later.
    pub async fn start(aws: SocketAddr, environment: &[(&str, &str)], timeout: Duration) -> Self {
        let (payloads, receiver) = mpsc::channel(1);
        let receiver = Arc::new(Mutex::new(receiver));
        let (sender, answers) = mpsc::channel(1);
        let is_ready = watch::Sender::new(false);
        let ready = is_ready.subscribe();
        let api = serve(move |request| {
            if request.uri().path().ends_with("/invocation/next") {
                is_ready.send_replace(true);
            }
            runtime_api(request, receiver.clone(), sender.clone(), timeout)
        })
        .await;
        let mut child = Command::new(crate::PROGRAM)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "cloudtrail-alerter")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/cloudtrail-alerter")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/20/[$LATEST]0")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", format!("http://{aws}"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = watch::Sender::new(String::new());
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let lambda = Self { child, payloads, answers, output: output.subscribe(), ready };
        tokio::spawn(async move {
            let (mut out, mut err) = ([0; 4096], [0; 4096]);
            loop {
                let piece = tokio::select! {
                    n = stdout.read(&mut out) => &out[..n.unwrap_or(0)],
                    n = stderr.read(&mut err) => &err[..n.unwrap_or(0)],
                };
                if piece.is_empty() {
                    break;
                }
                output.send_modify(|text| *text += &String::from_utf8_lossy(piece));
            }
        });
        lambda
    }

    /// Waits until the program has asked for an event.
    pub async fn is_ready(&mut self) {
        let wait = self.ready.wait_for(|ready| *ready);
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "it never asked for an event: {}", self.output());
    }

    /// One invocation, its answer or its error.
    pub async fn invoke(&mut self, payload: &Value) -> Result<Value, Failure> {
        self.payloads.send(payload.to_string().into_bytes()).await.unwrap();
        let output = self.output.clone();
        tokio::select! {
            answer = self.answers.recv() => answer.unwrap(),
            status = self.child.wait() => panic!("the program ended, {status:?}:\n{}", *output.borrow()),
            () = tokio::time::sleep(PATIENCE) => panic!("no answer:\n{}", *output.borrow()),
        }
    }

    /// The JSON lines that an invocation logged. The metrics are the last: every log level lets them through.
    pub async fn lines(&mut self, number: usize) -> Vec<Value> {
        let is_last = |line: &Value| line.get("_aws").is_some() && line.get("Rule").is_none();
        let of_invocations = |text: &str| -> Vec<Vec<Value>> {
            let whole = &text[..=text.rfind('\n').unwrap_or(0)];
            let lines: Vec<_> = whole.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect();
            lines.split_inclusive(is_last).map(<[Value]>::to_vec).collect()
        };
        let done = |lines: &Vec<Value>| lines.last().is_some_and(is_last);
        let wait = self.output.wait_for(|text| of_invocations(text).get(number - 1).is_some_and(done));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(text)) => of_invocations(&text).remove(number - 1),
            _ => panic!("no metrics"),
        }
    }

    /// Waits until the program has printed a text.
    pub async fn prints(&mut self, part: &str) {
        let wait = self.output.wait_for(|text| text.contains(part));
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "no {part:?} in {}", self.output());
    }

    /// All that the program has printed.
    pub fn output(&self) -> String {
        self.output.borrow().clone()
    }

    /// The most memory that the program has had, in MiB.
    pub fn memory_peak(&self) -> u64 {
        memory_peak(self.child.id().unwrap())
    }

    /// Freezes the program, as Lambda does between invocations, or lets it go on.
    pub async fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    }

    /// The counts in the log line of the last of `invocations` invocations.
    pub async fn logged(&mut self, invocations: usize) -> Value {
        let done = |text: &str| -> Vec<Value> {
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.filter(|line| line.to_string().contains("invocation done")).collect()
        };
        let wait = self.output.wait_for(|text| done(text).len() >= invocations);
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(text)) => done(&text).remove(invocations - 1),
            _ => panic!("no line that says \"invocation done\""),
        }
    }
}

/// The most memory that a process has had, in MiB.
pub fn memory_peak(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
    peak.trim().parse::<u64>().unwrap() / 1024
}

async fn runtime_api(
    request: Request<Incoming>,
    payloads: Arc<Mutex<mpsc::Receiver<Vec<u8>>>>,
    answers: mpsc::Sender<Result<Value, Failure>>,
    timeout: Duration,
) -> Option<Response<Streamed>> {
    let path = request.uri().path().to_owned();
    if path.ends_with("/invocation/next") {
        let payload = payloads.lock().await.recv().await?;
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + timeout;
        let mut answer = whole(200, payload);
        for (name, value) in [
            ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
            ("lambda-runtime-deadline-ms", &deadline.as_millis().to_string()),
            (
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:123456789012:function:cloudtrail-alerter",
            ),
            ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"),
        ] {
            answer.headers_mut().insert(name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap());
        }
        return Some(answer);
    }
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body:?}"));
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let failure = || Failure { kind: text("errorType"), message: text("errorMessage") };
    answers.send(if path.ends_with("/response") { Ok(body.clone()) } else { Err(failure()) }).await.ok()?;
    Some(whole(202, "{\"status\":\"OK\"}"))
}
