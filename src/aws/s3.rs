//! Objects in S3: small ones read whole, logs as streams of bytes; and lists of them.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_config::SdkConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{EncodingType, Object};

use super::no_answer::{no_answer, no_answer_with, with_causes};
use crate::error::Cause;
use crate::log::{S3Object, decoded_key};

/// The attempts at a request before its failure counts. S3 asks for patience (503) while it adds capacity.
const ATTEMPTS: u32 = 5;

/// Reads objects from S3.
#[derive(Clone)]
pub struct S3 {
    client: Client,
    asker: Asker,
}

/// Who asks decides what to do about an error.
#[derive(Clone)]
enum Asker {
    Function,
    /// Somebody at a terminal, whose buckets are anywhere.
    Person(Arc<Person>),
}

#[derive(Default)]
struct Person {
    /// The clients for the buckets that are not in the region that is configured.
    elsewhere: Mutex<HashMap<String, Client>>,
    /// As [`S3::refusal`] tells it.
    refusal: OnceLock<String>,
}

/// A part of a list of a bucket's keys, in their order, all of which begin with a prefix.
#[derive(Default)]
pub(crate) struct Listing<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
    /// Whether keys below a folder of the prefix are left out, and the folder itself is told.
    pub(crate) folders: bool,
    /// Only keys behind this text are told.
    pub(crate) after: Option<String>,
    /// The page that follows, as the one before named it.
    pub(crate) next: Option<String>,
    /// The most keys that are told at once.
    pub(crate) limit: Option<i32>,
}

/// An answer to a [`Listing`].
#[derive(Default)]
pub(crate) struct Page {
    /// Keys, and sizes in bytes.
    pub(crate) objects: Vec<(String, u64)>,
    /// The folders, each with the prefix before it and the `/` behind it.
    pub(crate) folders: Vec<String>,
    /// Names the next page.
    pub(crate) next: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Get,
    List,
}

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
    /// Reads with this configuration, for the function.
    pub fn new(config: &SdkConfig) -> Self {
        S3::with(Builder::from(config), Asker::Function)
    }

    /// Reads with this configuration, for somebody at a terminal: follows buckets to their regions, and advises on one's own
    /// credentials.
    pub(crate) fn of_person(config: &SdkConfig) -> Self {
        // The region of an access point stands in its ARN.
        S3::with(Builder::from(config).use_arn_region(true), Asker::Person(Arc::default()))
    }

    fn with(config: Builder, asker: Asker) -> Self {
        // Gzip has a checksum of its own. S3's would be computed over the same bytes once more.
        let config = config.response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        S3 { client: Client::from_conf(config.retry_config(retries).build()), asker }
    }

    /// The reason why S3 gives a person nothing at all, once that is known: credentials that are missing, expired or wrong. From
    /// then on every request fails with this text, and is not sent.
    pub(crate) fn refusal(&self) -> Option<&str> {
        match &self.asker {
            Asker::Function => None,
            Asker::Person(person) => person.refusal.get().map(String::as_str),
        }
    }

    pub(crate) async fn list(&self, listing: &Listing<'_>) -> Result<Page, Cause> {
        let answer = self.ask(listing.bucket, Request::List, |client| {
            let request = client.list_objects_v2().bucket(listing.bucket).prefix(listing.prefix);
            let request = request.set_delimiter(listing.folders.then(|| "/".to_owned()));
            let request = request.set_start_after(listing.after.clone()).set_continuation_token(listing.next.clone());
            // Plain keys may hold characters that XML can't.
            request.set_max_keys(listing.limit).encoding_type(EncodingType::Url).send()
        });
        let answer = answer.await?;
        let decoded = |key: Option<&str>| {
            let key = key.unwrap_or_default();
            decoded_key(key).ok_or_else(|| format!("S3 named a key that is not UTF-8: {key}"))
        };
        let size = |size: Option<i64>| size.and_then(|size| size.try_into().ok()).unwrap_or_default();
        let object = |object: &Object| Ok((decoded(object.key())?, size(object.size())));
        Ok(Page {
            objects: answer.contents().iter().map(object).collect::<Result<_, String>>()?,
            folders: answer
                .common_prefixes()
                .iter()
                .map(|folder| decoded(folder.prefix()))
                .collect::<Result<_, _>>()?,
            next: answer.next_continuation_token,
        })
    }

    /// Reads an object, unless S3 has the version that is known. Of one over `limit` bytes the rest is left out. An error,
    /// as of all that follow, says why S3 did not give it, and what to do.
    pub(crate) async fn fetch(&self, object: &S3Object, limit: usize, known: Option<&str>) -> Result<Fetched, Cause> {
        match get(&self.client, object).set_if_none_match(known.map(Into::into)).send().await {
            Err(e) if known.is_some() && status(&e) == Some(304) => Ok(Fetched::Unchanged),
            answer => read_up_to(answer.map_err(|e| self.cause(Request::Get, &e))?, limit).await,
        }
    }

    /// Reads an object with a single request.
    pub(crate) async fn fetch_once(&self, object: &S3Object, limit: usize) -> Result<Fetched, Cause> {
        let no_retries = Builder::default().retry_config(RetryConfig::disabled());
        let answer = get(&self.client, object).customize().config_override(no_retries).send().await;
        read_up_to(answer.map_err(|e| self.cause(Request::Get, &e))?, limit).await
    }

    /// Begins to read an object: the latest version, unless another one is named.
    pub(crate) async fn open(&self, object: &S3Object, version: Option<&str>) -> Result<LogBytes, Cause> {
        let version: Option<String> = version.map(Into::into);
        let answer = self
            .ask(&object.bucket, Request::Get, |client| get(&client, object).set_version_id(version.clone()).send());
        let GetObjectOutput { body, e_tag: etag, .. } = answer.await?;
        Ok(LogBytes { s3: self.clone(), object: object.clone(), version, body, etag, position: 0, resumptions: 0 })
    }

    /// Asks S3 in the region of the bucket, as far as it is known; a person's request follows the bucket to another one.
    async fn ask<T, E, F>(&self, bucket: &str, what: Request, request: impl Fn(Client) -> F) -> Result<T, Cause>
    where
        E: ProvideErrorMetadata + Error + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let Asker::Person(person) = &self.asker else {
            return request(self.client.clone()).await.map_err(|e| self.cause(what, &e));
        };
        if let Some(refusal) = self.refusal() {
            return Err(refusal.into());
        }
        let elsewhere = || person.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        let known = elsewhere().get(bucket).cloned();
        let client = known.unwrap_or_else(|| self.client.clone());
        let region = client.config().region().cloned();
        let mut answer = request(client).await;
        if let Some(other) = answer.as_ref().err().and_then(region_of).filter(|other| Some(other) != region.as_ref()) {
            let config = self.client.config().to_builder().region(other);
            let client = Client::from_conf(config.build());
            elsewhere().insert(bucket.to_owned(), client.clone());
            answer = request(client).await;
        }
        answer.map_err(|e| {
            if let Some(refusal) = refusal(&e) {
                return person.refusal.get_or_init(|| refusal).as_str().into();
            }
            self.cause(what, &e)
        })
    }

    /// S3's answer, what to do about it, and whether another attempt would have the same.
    fn cause<E: ProvideErrorMetadata + Error + 'static>(&self, what: Request, error: &SdkError<E>) -> Cause {
        let code = error.code().unwrap_or_default();
        Cause::new(self.explained(what, error), status(error).is_some_and(|status| is_lasting(status, code)))
    }

    fn explained<E: ProvideErrorMetadata + Error + 'static>(&self, what: Request, error: &SdkError<E>) -> String {
        let is_function = matches!(self.asker, Asker::Function);
        let Some(status) = status(error) else {
            let for_person =
                "check the network, the region (AWS_REGION or the profile's), and HTTPS_PROXY, if you need a proxy";
            return if is_function { no_answer("S3", error) } else { no_answer_with("S3", error, for_person) };
        };
        let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
        let said = said(status, code, message);
        if status == 301 {
            let region = region_of(error);
            let region = region.as_ref().map_or("another region", AsRef::as_ref);
            let hint = if is_function { "and the function must run there too" } else { "so set AWS_REGION to it" };
            return format!("{said}; the bucket is in {region}, {hint}");
        }
        let to_person = if is_function { None } else { advice_to_person(what, status, code, message) };
        said + to_person.unwrap_or_else(|| advice(status, code, message))
    }
}

fn get(client: &Client, object: &S3Object) -> GetObjectFluentBuilder {
    client.get_object().bucket(&object.bucket).key(&object.key)
}

async fn read_up_to(answer: GetObjectOutput, limit: usize) -> Result<Fetched, Cause> {
    let GetObjectOutput { mut body, e_tag: etag, .. } = answer;
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
        let answer = self.s3.ask(&self.object.bucket, Request::Get, |client| {
            let rest = get(&client, &self.object).set_version_id(self.version.clone());
            rest.range(format!("bytes={}-", self.position)).if_match(etag.as_str()).send()
        });
        let output = answer.await.map_err(|why| format!("then {why}"))?;
        if !output.content_range().is_some_and(|range| range.starts_with(&format!("bytes {}-", self.position))) {
            return Err("it did not give the rest but something else".to_owned());
        }
        self.body = output.body;
        Ok(())
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
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

fn said(status: u16, code: &str, message: &str) -> String {
    let said = format!("S3 answered {status} {code}: {}", message.trim_end_matches('.'));
    said.trim_end_matches([':', ' ']).to_owned()
}

/// The region of a bucket, where an answer says that the request came to another one.
fn region_of<E>(error: &SdkError<E>) -> Option<Region> {
    let response = error.raw_response().filter(|answer| matches!(answer.status().as_u16(), 301 | 307 | 400))?;
    let in_body = || {
        let body = str::from_utf8(response.body().bytes()?).ok()?;
        Some(body.split_once("<Region>")?.1.split_once("</Region>")?.0)
    };
    let region = response.headers().get("x-amz-bucket-region").or_else(in_body)?;
    Some(Region::new(region.to_owned()))
}

/// One sentence about credentials that no request will do with.
fn refusal<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> Option<String> {
    let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let hint = match code {
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "the AWS credentials have expired: get new ones, for example with `aws sso login`"
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            "the AWS credentials are wrong: correct them, or set AWS_PROFILE to a profile with others; a proxy that changes \
             requests breaks their signatures, too"
        }
        _ => {
            let mut causes = std::iter::successors(error.source(), |error| (*error).source());
            let cause = causes.find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
            return Some(unusable(cause));
        }
    };
    Some(format!("{}; {hint}", said(status(error)?, code, message)))
}

/// Why there are no credentials.
fn unusable(cause: &CredentialsError) -> String {
    let causes = with_causes(cause).replace("an error occurred while loading credentials: ", "");
    if causes.contains("credentials-login") {
        return "the credentials of `aws login` can't be read: set those that `aws configure export-credentials --format env` \
                prints"
            .to_owned();
    }
    if !matches!(cause, CredentialsError::CredentialsNotLoaded(_)) {
        let causes = causes.trim();
        return format!(
            "the AWS credentials can't be loaded ({causes}): log in again, for example with `aws sso login`, or check AWS_PROFILE"
        );
    }
    // The SDK tells of each place where it has looked, in a line. A profile is the one that somebody may have named.
    let profile =
        causes.lines().find_map(|line| line.trim().strip_prefix("Profile: the credential provider was not enabled: "));
    match profile {
        Some(why) => {
            format!("no AWS credentials were found ({why}): correct AWS_PROFILE, or the profile in ~/.aws/config")
        }
        None => "no AWS credentials were found: set AWS_PROFILE to a profile that has some, or run `aws configure` or `aws sso login`".to_owned(),
    }
}

/// What to do about an error, where it is something else than the function's owner would do.
fn advice_to_person(what: Request, status: u16, code: &str, message: &str) -> Option<&'static str> {
    Some(match (status, code, what) {
        (_, "RequestTimeTooSkewed", _) => "; set the clock, which differs from S3's by more than 15 minutes",
        (_, "InvalidObjectState", _) => {
            "; it is archived: restore it with `aws s3api restore-object`, then scan it again"
        }
        (403, "AccessDenied", _) if message.contains("kms:Decrypt") => {
            "; allow your credentials kms:Decrypt on the KMS key that encrypts it, and check the key's policy"
        }
        (403, "" | "AccessDenied", Request::List) => {
            "; allow your credentials s3:ListBucket on the bucket, and check the bucket's policy"
        }
        (403, "" | "AccessDenied", Request::Get) => {
            "; check that it exists, because S3 answers the same if it does not; then allow your credentials s3:GetObject on \
             it, and kms:Decrypt, if a KMS key encrypts it"
        }
        (404, _, Request::List) => "; check the bucket's name",
        _ => return None,
    })
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
