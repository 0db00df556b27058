//! What the paths of exceptions hold: who is named there, and who chooses it.

use super::condition::Test;

/// The kinds of text that exceptions look into, by how somebody can make one that contains another text.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Whoever sends the request chooses all of it.
    Chosen,
    /// An object, with texts of the caller in it.
    Object,
    /// The number of the caller's account.
    Account,
    /// The ARN of a user, role or policy, whose path may hold any text; or of a session.
    Arn(&'static str),
    /// The ARN of any resource, such as an object, whose key may hold any text.
    Resource,
    /// The name of a user or role.
    Name,
    /// A unique id, and behind a colon the name of a session.
    Principal,
    /// An IP address.
    Address,
}

/// The kind of the text at a test's path, if it names somebody or is the caller's choice.
pub(super) fn kind(test: &Test) -> Option<Kind> {
    let keys: Vec<&str> = test.path.iter().map(String::as_str).collect();
    Some(match keys[..] {
        ["userAgent"]
        | ["tlsDetails", "clientProvidedHostHeader"]
        | ["requestParameters", .., "externalId" | "roleSessionName" | "sourceIdentity"] => Kind::Chosen,
        ["requestParameters" | "userIdentity"] | ["userIdentity", .., "sessionContext" | "sessionIssuer"] => {
            Kind::Object
        }
        ["sourceIPAddress"] => Kind::Address,
        ["userIdentity", "accountId"] | ["userIdentity", .., "sessionIssuer", "accountId"] => Kind::Account,
        ["userIdentity", .., "sessionIssuer", "arn"] | [.., "role", "arn"] | [.., "roleArn"] => Kind::Arn("role"),
        [.., "assumedRoleUser", "arn"] => Kind::Arn("assumed-role"),
        ["userIdentity", .., "arn"] | [.., "user", "arn"] => Kind::Arn("user"),
        [.., "policy", "arn"] | [.., "policyArn"] => Kind::Arn("policy"),
        ["resources", "ARN"] => Kind::Resource,
        [.., "userName" | "UserName" | "username" | "roleName" | "sourceIdentity"] => Kind::Name,
        [.., "principalId" | "assumedRoleId"] => Kind::Principal,
        _ => return None,
    })
}
