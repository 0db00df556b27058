//! The configuration of all AWS clients.

use std::env;
use std::time::Duration;

use aws_config::meta::region::RegionProviderChain;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

use super::certificates;

/// From a request to S3 to the first byte of its answer, which takes less than a second; a lost answer is asked for again.
const TIME_TO_ANSWER: Duration = Duration::from_secs(8);

/// A command line may have no region. S3 says there which one a bucket is in.
const DEFAULT_REGION: &str = "us-east-1";

/// The credentials, the region and the endpoints that the environment and AWS's configuration files name.
pub async fn configuration() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().read_timeout(TIME_TO_ANSWER).build();
    let region = RegionProviderChain::default_provider().or_else(DEFAULT_REGION);
    let mut config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).region(region);
    if let Some(client) = certificates::client_of_the_system(|name| env::var_os(name), &certificates::BUNDLES) {
        config = config.http_client(client);
    }
    config.load().await
}
