//! Starts the Lambda function where Lambda started the program, else the command line.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use cloudtrail_alerter::aws::{self, S3, Sns, Table};
use cloudtrail_alerter::cli;
use cloudtrail_alerter::environment::{AWS_LAMBDA_RUNTIME_API, Settings};
use cloudtrail_alerter::lambda::{Handler, LogLines};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tokio::sync::OnceCell;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// [Lambda's limit](https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html).
const LONGEST_INVOCATION: Duration = Duration::from_mins(15);

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
            tracing::error!("the function can't continue: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<(), lambda_runtime::Error> {
    let handler = OnceCell::new();
    // The clients read the certificates of all authorities: built at once, they make the first poll four times as late.
    // They wait for an event, unless there is work before it.
    if settings.config_bucket.is_some() {
        handler.get_or_init(|| build(&settings)).await.warm_up().await;
    }
    let (handler, settings) = (&handler, &settings);
    let handle = |event: LambdaEvent<Value>| async move {
        let (now, deadline) = (SystemTime::now(), event.context.deadline());
        // `cargo lambda watch` gives a moment of 1970.
        let deadline = if deadline > now { deadline } else { now + LONGEST_INVOCATION };
        handler.get_or_init(|| build(settings)).await.handle(&event.payload, deadline).await
    };
    Box::pin(lambda_runtime::run(service_fn(handle))).await
}

async fn build(settings: &Settings) -> Handler {
    let config = aws::configuration().await;
    let table = settings.state_table.clone().map(|name| Table::new(&config, name));
    Handler::new(settings.clone(), S3::new(&config), Sns::new(config), table)
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
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(LogLines::default);
    let registry = tracing_subscriber::registry().with(targets);
    if settings.log_json {
        // The current span holds the request's id; the list would hold it once more.
        registry.with(lines.json().with_span_list(false)).init();
    } else {
        // Lambda writes the time before a line of text.
        registry.with(lines.without_time().with_ansi(false)).init();
    }
}
