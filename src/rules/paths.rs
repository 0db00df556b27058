//! The paths of tests: those that CloudTrail documents for a record, and warnings about others.

use super::condition::{Check, Test, path_text};
use super::suggest::nearest;

/// The paths of a [record](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html)
/// and of its [`userIdentity`](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
/// A star stands for any keys.
const PATHS: &str = "
    additionalEventData.* addendum.originalEventID addendum.originalRequestID addendum.originalUID addendum.reason
    addendum.updatedFields apiVersion awsRegion edgeDeviceDetails.* errorCode errorMessage eventCategory eventID
    eventName eventSource eventTime eventType eventVersion managementEvent readOnly recipientAccountId requestID
    requestParameters.* resources.ARN resources.ARNPrefix resources.accountId resources.type responseElements.*
    serviceEventDetails.* sessionCredentialFromConsole sharedEventID sourceIPAddress tlsDetails.cipherSuite
    tlsDetails.clientProvidedHostHeader tlsDetails.keyExchange tlsDetails.tlsVersion userAgent
    userIdentity.accessKeyId userIdentity.accountId userIdentity.arn userIdentity.credentialId
    userIdentity.identityProvider userIdentity.identityStoreArn userIdentity.inScopeOf.credentialsIssuedTo
    userIdentity.inScopeOf.issuerType userIdentity.inScopeOf.sourceAccount userIdentity.inScopeOf.sourceArn
    userIdentity.invokedBy userIdentity.invokedByDelegate.accountId userIdentity.onBehalfOf.identityStoreArn
    userIdentity.onBehalfOf.userId userIdentity.principalId userIdentity.sessionContext.assumedRoot
    userIdentity.sessionContext.attributes.creationDate userIdentity.sessionContext.attributes.mfaAuthenticated
    userIdentity.sessionContext.attributes.sessionCredentialFromConsole userIdentity.sessionContext.ec2RoleDelivery
    userIdentity.sessionContext.sessionIssuer.accountId userIdentity.sessionContext.sessionIssuer.arn
    userIdentity.sessionContext.sessionIssuer.principalId userIdentity.sessionContext.sessionIssuer.type
    userIdentity.sessionContext.sessionIssuer.userName userIdentity.sessionContext.sourceIdentity
    userIdentity.sessionContext.webIdFederationData.attributes.*
    userIdentity.sessionContext.webIdFederationData.federatedProvider userIdentity.type userIdentity.userName
    userIdentity.webIdFederationData.* vpcEndpointAccountId vpcEndpointId";

const IDENTITY: &str = "userIdentity";

/// Keys that CloudTrail writes, but not into the log files that the function reads.
const ELSEWHERE: [(&str, &str); 2] = [
    ("eventContext", "only event data stores get it"),
    ("insightDetails", "only Insights events have it, and the function skips their files"),
];

/// A warning about a path that no record has.
pub(super) fn unknown(path: &[String]) -> Option<String> {
    let shown = path_text(path);
    if let Some(index) = path.iter().find(|key| key.ends_with(']')) {
        let why = "an array stands for any of its elements: leave out the brackets and what is in them";
        return Some(format!("`{shown}`: CloudTrail has no key `{index}`; {why}"));
    }
    let first = path.first()?;
    if let Some((_, why)) = ELSEWHERE.iter().find(|(key, _)| key == first) {
        return Some(format!("`{shown}`: a trail's log files have no key `{first}`: {why}"));
    }
    // What may follow the keys so far.
    let mut rests: Vec<&str> = PATHS.split_whitespace().collect();
    for (i, key) in path.iter().enumerate() {
        if rests.contains(&"*") {
            return None;
        }
        let known: Vec<&str> = rests.iter().filter_map(|rest| rest.split('.').next()).collect();
        if !known.contains(&key.as_str()) {
            let elsewhere = within_identity(&path[i..]).filter(|_| i == 0 || first == IDENTITY);
            let meant = match elsewhere.or_else(|| nearest(key, &known)) {
                Some(meant) => format!("; did you mean `{meant}`?"),
                None if key == "$" => "; leave out the `$.` of metric filters".to_owned(),
                None => String::new(),
            };
            let of = if i == 0 { "a CloudTrail record" } else { &format!("CloudTrail's {}", path_text(&path[..i])) };
            return Some(format!("`{shown}`: {of} has no key `{key}`{meant}"));
        }
        rests = rests.iter().filter_map(|rest| rest.strip_prefix(key.as_str())?.strip_prefix('.')).collect();
    }
    None
}

/// The path of `userIdentity` that ends like this, the shortest if there are several.
fn within_identity(end: &[String]) -> Option<&'static str> {
    let of_identity = PATHS.split_whitespace().filter(|path| path.starts_with(IDENTITY));
    let end = format!(".{}", path_text(end));
    of_identity.filter(|path| path.ends_with(&end)).min_by_key(|path| path.len())
}

/// Tests with those in an `element` in its place, with their whole paths.
pub(super) fn flat(tests: &[Test]) -> Vec<Test> {
    let each = tests.iter().flat_map(|test| {
        let Check::Element(inner) = &test.check else { return vec![test.clone()] };
        let mut inner = flat(inner);
        for within in &mut inner {
            within.path.splice(0..0, test.path.iter().cloned());
            if let Check::SameAs(other) = &mut within.check {
                other.splice(0..0, test.path.iter().cloned());
            }
        }
        inner
    });
    each.collect()
}
