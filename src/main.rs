//! Starts the Lambda function where Lambda started the program, else the command line.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use cloudtrail_alerter::aws::s3::S3;
use cloudtrail_alerter::aws::sns::Sns;
use cloudtrail_alerter::environment::{AWS_LAMBDA_RUNTIME_API, Settings};
use cloudtrail_alerter::{cli, lambda::handler::Handler};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// [Lambda's limit](https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html).
const LONGEST_INVOCATION: Duration = Duration::from_mins(15);

/// For a connection, from looking up the name to the end of TLS's handshake: the SDK's own default.
const TIME_TO_CONNECT: Duration = Duration::from_millis(3_100);

/// From a request to the first byte of its answer. S3 and SNS answer within a second; a lost answer is asked for again.
const TIME_TO_ANSWER: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    if std::env::var_os(AWS_LAMBDA_RUNTIME_API).is_none() {
        return cli::main();
    }
    let settings = Settings::from_env();
    init_logging(&settings);
    // A function below 1,769 MB has less than one CPU: more threads would only take turns.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(settings)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("the function can't go on: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), lambda_runtime::Error> {
    let timeouts = TimeoutConfig::builder().connect_timeout(TIME_TO_CONNECT).read_timeout(TIME_TO_ANSWER).build();
    let config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await;
    let handler = Handler::new(settings, S3::new(&config), Sns::new(config));
    handler.warm_up().await;
    let handler = &handler;
    let handle = |event: LambdaEvent<Value>| async move {
        let (now, deadline) = (SystemTime::now(), event.context.deadline());
        // `cargo lambda watch` tells a moment of 1970.
        let deadline = if deadline > now { deadline } else { now + LONGEST_INVOCATION };
        handler.handle(&event.payload, deadline).await
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

/// Logs as Lambda's logging controls say; of the libraries, warnings only.
fn init_logging(settings: &Settings) {
    let targets = Targets::new()
        .with_default(LevelFilter::WARN.min(settings.log_level.into()))
        .with_target("cloudtrail_alerter", settings.log_level)
        // It would repeat every failure of the handler. A panic is on stderr already.
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
        // The span that brings the request's id.
        .with_target("lambda_runtime::layers::trace", settings.log_level);
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    if settings.log_json {
        // The current span holds the request's id; the list would hold it once more.
        registry.with(lines.json().with_span_list(false)).init();
    } else {
        // Lambda writes the time before a line of text.
        registry.with(lines.without_time().with_ansi(false)).init();
    }
}
