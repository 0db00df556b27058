//! Starts the Lambda function where Lambda started the program, else the command line.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, Region};
use cloudtrail_alerter::handler::Handler;
use cloudtrail_alerter::publish::Publisher;
use cloudtrail_alerter::settings::Settings;
use cloudtrail_alerter::storage::Storage;
use cloudtrail_alerter::{cli, https, settings};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// [Lambda's limit](https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html).
const LONGEST_INVOCATION: Duration = Duration::from_mins(15);

fn main() -> ExitCode {
    if std::env::var_os(settings::AWS_LAMBDA_RUNTIME_API).is_none() {
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
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https::client());
    // As the default chains would; but before they look there, they build the clients of all their other sources.
    if let Some(region) = std::env::var("AWS_REGION").ok().filter(|region| !region.is_empty()) {
        loader = loader.region(Region::new(region));
    }
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some_and(|key| !key.is_empty()) {
        loader = loader.credentials_provider(EnvironmentVariableCredentialsProvider::new());
    }
    let config = loader.load().await;
    let handler = Handler::new(settings, Storage::new(&config), Publisher::new(config));
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
