//! Objects in S3: small ones read whole, logs as streams of bytes.

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;

use super::no_answer::{no_answer, with_causes};
use crate::error::Cause;
use crate::log::S3Object;

/// The attempts at a request before its failure counts. S3 asks for patience (503) while it adds capacity.
const ATTEMPTS: u32 = 5;

/// Reads objects from S3.
#[derive(Clone)]
pub struct S3(Client);

/// The answer to a conditional request.
pub(crate) enum Fetched {
    /// S3 has the version that the caller knows.
    Unchanged,
    New {
        /// Names the version, for the next request.
        etag: Option<String>,
        /// The object's bytes. Of one over the limit, the rest is missing.
        bytes: Vec<u8>,
    },
}

impl S3 {
    /// Reads with this configuration.
    pub fn new(config: &SdkConfig) -> Self {
        // Gzip has a checksum of its own. S3's would be computed over the same bytes once more.
        let config = Builder::from(config).response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        S3(Client::from_conf(config.retry_config(retries).build()))
    }

    /// Reads an object, unless S3 has the version that is known. Of one over `limit` bytes the rest is left out. An error,
    /// as of all that follow, says why S3 did not give it, and what to do.
    pub(crate) async fn fetch(&self, object: &S3Object, limit: usize, known: Option<&str>) -> Result<Fetched, Cause> {
        match self.get(object).set_if_none_match(known.map(Into::into)).send().await {
            Err(e) if known.is_some() && status(&e) == Some(304) => Ok(Fetched::Unchanged),
            answer => read_up_to(answer, limit).await,
        }
    }

    /// Reads an object with a single request.
    pub(crate) async fn fetch_once(&self, object: &S3Object, limit: usize) -> Result<Fetched, Cause> {
        let no_retries = Builder::default().retry_config(RetryConfig::disabled());
        read_up_to(self.get(object).customize().config_override(no_retries).send().await, limit).await
    }

    /// Begins to read an object: the latest version, unless another one is named.
    pub(crate) async fn open(&self, object: &S3Object, version: Option<&str>) -> Result<LogBytes, Cause> {
        let request = self.get(object).set_version_id(version.map(Into::into));
        let GetObjectOutput { body, e_tag: etag, .. } = request.send().await.map_err(|e| failure(&e))?;
        let version = version.map(Into::into);
        Ok(LogBytes { s3: self.clone(), object: object.clone(), version, body, etag, position: 0, resumptions: 0 })
    }

    fn get(&self, object: &S3Object) -> GetObjectFluentBuilder {
        self.0.get_object().bucket(&object.bucket).key(&object.key)
    }
}

async fn read_up_to(answer: Result<GetObjectOutput, SdkError<GetObjectError>>, limit: usize) -> Result<Fetched, Cause> {
    let GetObjectOutput { mut body, e_tag: etag, .. } = answer.map_err(|e| failure(&e))?;
    let mut bytes = Vec::new();
    while bytes.len() <= limit {
        match body.try_next().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => break,
            Err(e) => return Err(format!("S3 broke off in the middle of it ({})", with_causes(&e)).into()),
        }
    }
    Ok(Fetched::New { etag, bytes })
}

pub(crate) struct LogBytes {
    s3: S3,
    object: S3Object,
    version: Option<String>,
    body: ByteStream,
    etag: Option<String>,
    position: u64,
    resumptions: u32,
}

impl LogBytes {
    /// The next bytes, `None` at the end. Where the connection breaks, or S3 sends less than it announced, the rest is
    /// requested, a few times.
    pub(crate) async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, String> {
        loop {
            match self.body.try_next().await {
                Ok(Some(bytes)) => {
                    self.position += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(e) => {
                    let broke_off = format!("S3 broke off after {} bytes ({})", self.position, with_causes(&e));
                    // Boxed, because it is rare, and the future of every wait for bytes would be as large as a request.
                    Box::pin(self.resume()).await.map_err(|why| format!("{broke_off}, and {why}"))?;
                }
            }
        }
    }

    /// Asks for the rest of the same version of the object.
    async fn resume(&mut self) -> Result<(), String> {
        let etag = self.etag.clone().ok_or("it can't be asked for the rest, since it named no version")?;
        if self.resumptions == ATTEMPTS {
            return Err(format!("that was the {ATTEMPTS}th time it was asked for the rest"));
        }
        self.resumptions += 1;
        let request = self
            .s3
            .get(&self.object)
            .set_version_id(self.version.clone())
            .if_match(etag)
            .range(format!("bytes={}-", self.position));
        let output = request.send().await.map_err(|e| format!("then {}", cause(&e)))?;
        if !output.content_range().is_some_and(|range| range.starts_with(&format!("bytes {}-", self.position))) {
            return Err("it did not give the rest but something else".to_owned());
        }
        self.body = output.body;
        Ok(())
    }
}

fn status(error: &SdkError<GetObjectError>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// S3's answer, and whether another attempt would have the same.
fn failure(error: &SdkError<GetObjectError>) -> Cause {
    let code = error.code().unwrap_or_default();
    Cause::new(cause(error), status(error).is_some_and(|status| is_lasting(status, code)))
}

/// Whether [an error of S3](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) comes again until somebody
/// does something. The next attempt is signed anew, with credentials that Lambda has renewed.
fn is_lasting(status: u16, code: &str) -> bool {
    const PASSING: [&str; 3] = ["ExpiredToken", "RequestTimeTooSkewed", "RequestTimeout"];
    (300..500).contains(&status)
        && !matches!(status, 408 | 409 | 412 | 429)
        && !PASSING.contains(&code)
        && !code.contains("Throttl")
}

/// S3's answer, and what to do about it.
fn cause(error: &SdkError<GetObjectError>) -> String {
    let Some(status) = status(error) else { return no_answer("S3", error) };
    let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let said = format!("S3 answered {status} {code}: {}", message.trim_end_matches('.'));
    let said = said.trim_end_matches([':', ' ']);
    if status == 301 {
        let region = error.raw_response().and_then(|response| response.headers().get("x-amz-bucket-region"));
        let region = region.unwrap_or("another region");
        return format!("{said}; the bucket is in {region}, and the function must run there too");
    }
    said.to_owned() + advice(status, code, message)
}

/// What to do about [an error of S3](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html). Many that come
/// with 403 are not a matter of permissions. Those that are name the parameters by which the stack gives the permission.
fn advice(status: u16, code: &str, message: &str) -> &'static str {
    match (status, code) {
        (_, "RequestTimeTooSkewed") => {
            "; no permission is missing: the clock that signed the request differs from S3's by more than 15 minutes; the \
             retry signs anew, and if it fails too, set the clock"
        }
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            "; the credentials have expired: let the function use those of its role, and set no AWS_SESSION_TOKEN"
        }
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
            "; the credentials are wrong: let the function use those of its role, and set neither AWS_ACCESS_KEY_ID nor \
             AWS_SECRET_ACCESS_KEY; a proxy that changes requests breaks their signatures, too"
        }
        (_, "InvalidObjectState") => "; it is archived: restore it with `aws s3api restore-object`, then replay it",
        (_, code) if code.starts_with("KMS.") => "; check that the KMS key that encrypts it exists and is enabled",
        (403, "AccessDenied") if message.contains("kms:Decrypt") => {
            "; allow the function's role kms:Decrypt on the KMS key that encrypts it (in the stack: name the key in \
             TrailKmsKeyArn for a log, in MoreKmsKeyArns for the configuration, in KmsKeyArn for the stack's own bucket), and \
             check the key's policy"
        }
        (403, "" | "AccessDenied") => {
            "; check that it exists, because S3 answers the same if it does not; then allow the function's role \
             s3:GetObject on it (in the stack: LogBucketName and LogKeyPrefix for a log, ConfigBucketName and ConfigKey for \
             the configuration), and kms:Decrypt, if a KMS key encrypts it (in the stack: TrailKmsKeyArn for a log, \
             MoreKmsKeyArns for the configuration, KmsKeyArn for the stack's own bucket)"
        }
        (412, _) => "; it was replaced while it was being read",
        (404, _) => "; check whether it was deleted, and whether its name is right",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::{advice, is_lasting};

    #[test]
    fn the_advice_fits_the_code_and_not_the_status_alone() {
        for (status, code, right) in [
            (403, "AccessDenied", "s3:GetObject"),
            (403, "", "s3:GetObject"),
            (403, "RequestTimeTooSkewed", "set the clock"),
            (403, "SignatureDoesNotMatch", "the credentials are wrong"),
            (403, "InvalidAccessKeyId", "the credentials are wrong"),
            (400, "ExpiredToken", "have expired"),
            (403, "InvalidObjectState", "restore-object"),
            (400, "KMS.DisabledException", "enabled"),
            (404, "NoSuchKey", "deleted"),
            (412, "PreconditionFailed", "replaced"),
            (503, "SlowDown", ""),
        ] {
            let text = advice(status, code, "Access Denied");
            assert!(text.contains(right) && text.is_empty() == right.is_empty(), "{status} {code}: {text}");
            assert_eq!(text.contains("s3:GetObject"), right == "s3:GetObject", "{status} {code}: {text}");
        }
        for (status, code, lasts) in [
            (301, "PermanentRedirect", true),
            (403, "AccessDenied", true),
            (404, "NoSuchKey", true),
            (403, "InvalidObjectState", true),
            (400, "KMS.DisabledException", true),
            (400, "KMS.ThrottlingException", false),
            (400, "ExpiredToken", false),
            (400, "RequestTimeout", false),
            (412, "PreconditionFailed", false),
            (503, "SlowDown", false),
            (500, "InternalError", false),
        ] {
            assert_eq!(is_lasting(status, code), lasts, "{status} {code}");
        }
        let of_kms =
            "User: arn is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext";
        let text = advice(403, "AccessDenied", of_kms);
        assert!(text.contains("kms:Decrypt") && !text.contains("s3:GetObject"), "{text}");
    }
}
