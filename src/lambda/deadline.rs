//! Work that must be done before a point in time.

use std::time::SystemTime;

use tokio::time::timeout;

/// The reason of a request that was not answered.
pub(super) const NO_ANSWER: &str = "S3 had not answered when the time was up: check that the function can reach S3 (in \
     a VPC it needs an endpoint, a NAT gateway or a proxy), and that its timeout is a minute or more";

/// Does the work, or gives up at the deadline with this reason.
pub(super) async fn in_time<T>(deadline: SystemTime, reason: &str, work: impl Future<Output = T>) -> Result<T, String> {
    let time_left = deadline.duration_since(SystemTime::now()).map_err(|_| reason)?;
    timeout(time_left, work).await.map_err(|_| reason.to_owned())
}
