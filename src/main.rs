//! Starts the Lambda function where Lambda started the program, else the command line.

use std::process::ExitCode;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn};
use cloudtrail_alerter::handler::Handler;
use cloudtrail_alerter::publish::Publisher;
use cloudtrail_alerter::settings::Settings;
use cloudtrail_alerter::storage::Storage;
use cloudtrail_alerter::{cli, settings};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// [Lambda's limit](https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html).
const LONGEST_INVOCATION: Duration = Duration::from_mins(15);

/// For a connection, without TLS's handshake: the SDK's own default.
const TIME_TO_CONNECT: Duration = Duration::from_millis(3_100);

fn main() -> ExitCode {
    if std::env::var_os(settings::AWS_LAMBDA_RUNTIME_API).is_none() {
        return cli::main();
    }
    let settings = Settings::from_env();
    init_logging(&settings);
    // Else the first request comes with the first event.
    if settings.config_bucket.is_some() {
        read_certificates();
    }
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
    let mut loader =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http_client_fn(|_, _| CONNECTOR.clone()));
    // As the default chain would; but before it looks there, that builds the clients of all its other sources.
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

/// One TLS configuration, one reading of the certificates and one pool of connections for all clients. By the SDK's way
/// each client makes its own, and another just to see whether that works.
static CONNECTOR: LazyLock<SharedHttpConnector> = LazyLock::new(|| {
    let settings = HttpConnectorSettings::builder().connect_timeout(TIME_TO_CONNECT).build();
    let connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    let connector = connector.proxy_config(ProxyConfig::from_env()).connector_settings(settings);
    SharedHttpConnector::new(connector.build())
});

/// Begins to read the certificates, while the clients are made: most of what precedes the first handshake.
fn read_certificates() {
    let main = thread::current();
    let read = move || {
        main.unpark();
        LazyLock::force(&CONNECTOR);
    };
    if thread::Builder::new().spawn(read).is_ok() {
        // Linux often lets a new thread wait behind its parent, and seldom one that is woken.
        thread::park();
    }
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
