//! Further facts of a call, each a line of its message if the record has it.

use std::borrow::Cow;

use super::message::VALUE_LIMIT;
use super::render::Line;
use super::sanitize::truncate_and_count;
use crate::log::{Record, Shown};

/// The lines about the caller, then those about the call.
pub(super) fn lines<'l, 'a: 'l>(record: &Record<'a>) -> impl Iterator<Item = Line<'l>> + use<'l, 'a> {
    // Many resources are told by the start that their ARNs have in common.
    let resources = ["ARN", "ARNPrefix"].into_iter().flat_map(|key| record.texts(&["resources", key]));
    let resources = joined(resources.map(|arn| Some(arn.into())));
    let record = record.shown();
    let (identity, details) = (record.at("userIdentity"), record.at("additionalEventData"));
    let (session, behalf, scope) = (identity.at("sessionContext"), identity.at("onBehalfOf"), identity.at("inScopeOf"));
    let federation = session.at("webIdFederationData");
    let identity = ["type", "accessKeyId", "credentialId"].map(|key| identity.scalar(key));
    let mfa = session.at("attributes").scalar("mfaAuthenticated");
    // What an identity provider says of a session.
    let provider = [federation.scalar("federatedProvider"), json(&federation, "attributes")];
    let endpoint_account = record.scalar("vpcEndpointAccountId").map(|id| ["account ", &id].concat().into());
    let facts = [
        ("Identity", joined(identity)),
        // A sign-in has no session yet, and says it in its details.
        ("MFA", mfa.or_else(|| details.scalar("MFAUsed"))),
        ("Issuer", session.at("sessionIssuer").scalar("arn")),
        ("Provider", joined(provider)),
        ("Person", session.scalar("sourceIdentity")),
        ("For", joined(["userId", "identityStoreArn"].map(|key| behalf.scalar(key)))),
        ("Workload", scope.scalar("credentialsIssuedTo").or_else(|| scope.scalar("sourceArn"))),
        ("Resource", resources),
        ("Response", json(&record, "responseElements")),
        ("Details", joined(["additionalEventData", "serviceEventDetails"].map(|key| json(&record, key)))),
        ("Endpoint", joined([record.text("vpcEndpointId"), endpoint_account])),
    ];
    facts.into_iter().filter_map(|(label, value)| Some(Line::new(label, Some(truncate_and_count(value?, VALUE_LIMIT)))))
}

/// The value at a key, as compact JSON without its secrets; `None` for an empty object.
fn json<'a>(object: &Shown<'_, 'a>, key: &str) -> Option<Cow<'a, str>> {
    object.json(key).filter(|json| json != "{}")
}

pub(super) fn joined<'t>(parts: impl IntoIterator<Item = Option<Cow<'t, str>>>) -> Option<Cow<'t, str>> {
    parts.into_iter().flatten().reduce(|all, part| [&all, ", ", &part].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &str, label: &str) -> Option<String> {
        let record = Record::parse(record).unwrap();
        lines(&record).find(|line| line.label == label)?.value.map(Cow::into_owned)
    }

    #[test]
    fn a_boolean_or_a_number_is_shown_as_a_string_is() {
        for value in ["true", "\"true\""] {
            let session =
                format!(r#"{{"userIdentity":{{"sessionContext":{{"attributes":{{"mfaAuthenticated":{value}}}}}}}}}"#);
            assert_eq!(line(&session, "MFA").as_deref(), Some("true"));
            assert_eq!(
                line(&format!(r#"{{"additionalEventData":{{"MFAUsed":{value}}}}}"#), "MFA").as_deref(),
                Some("true")
            );
        }
        let endpoint = line(r#"{"vpcEndpointId":"vpce-1","vpcEndpointAccountId":123456789012}"#, "Endpoint");
        assert_eq!(endpoint.as_deref(), Some("vpce-1, account 123456789012"));
        assert_eq!(
            line(r#"{"userIdentity":{"sessionContext":{"attributes":{"mfaAuthenticated":null}}}}"#, "MFA"),
            None
        );
    }

    #[test]
    fn resources_have_no_secrets() {
        let record = r#"{"resources":[{"ARN":"https://b.s3.amazonaws.com/x?X-Amz-Security-Token=HUSH"},
            {"ARN":{"sessionToken":"HUSH","id":"y"}},{"ARNPrefix":"arn:aws:s3:::b/z"}]}"#;
        let shown = line(record, "Resource").unwrap();
        assert!(!shown.contains("HUSH") && ["b.s3.", "y", "b/z"].iter().all(|part| shown.contains(part)), "{shown}");
    }
}
