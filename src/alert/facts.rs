//! Further facts of a call, each a line of its message if the record has it.

use super::message::VALUE_LIMIT;
use super::render::Line;
use super::sanitize::truncate_and_count;
use super::who::scalar;
use crate::log::Record;

/// The lines about the caller, then those about the call.
pub(super) fn lines(record: &Record<'_>) -> impl Iterator<Item = Line> {
    let identity = |path: &[&str]| scalar(record, &[&["userIdentity"], path].concat());
    let session = |path: &[&str]| identity(&[&["sessionContext"], path].concat());
    // A sign-in has no session yet, and says it in its details.
    let mfa_of_sign_in = || scalar(record, &["additionalEventData", "MFAUsed"]);
    // What an identity provider says of a session.
    let attributes = json(record, &["userIdentity", "sessionContext", "webIdFederationData", "attributes"]);
    // Many resources are told by the start that their ARNs have in common.
    let resources = ["ARN", "ARNPrefix"].into_iter().flat_map(|key| record.texts(&["resources", key]));
    let endpoint_account = scalar(record, &["vpcEndpointAccountId"]).map(|id| format!("account {id}"));
    let facts = [
        ("Identity", joined([identity(&["type"]), identity(&["accessKeyId"]), identity(&["credentialId"])])),
        ("MFA", session(&["attributes", "mfaAuthenticated"]).or_else(mfa_of_sign_in)),
        ("Issuer", session(&["sessionIssuer", "arn"])),
        ("Provider", joined([session(&["webIdFederationData", "federatedProvider"]), attributes])),
        ("Person", session(&["sourceIdentity"])),
        ("For", joined([identity(&["onBehalfOf", "userId"]), identity(&["onBehalfOf", "identityStoreArn"])])),
        ("Workload", identity(&["inScopeOf", "credentialsIssuedTo"]).or_else(|| identity(&["inScopeOf", "sourceArn"]))),
        ("Resource", joined(resources.map(Some))),
        ("Response", json(record, &["responseElements"])),
        ("Details", joined([json(record, &["additionalEventData"]), json(record, &["serviceEventDetails"])])),
        ("Endpoint", joined([record.text(&["vpcEndpointId"]), endpoint_account])),
    ];
    facts
        .into_iter()
        .filter_map(|(label, value)| Some(Line::new(label, Some(truncate_and_count(&value?, VALUE_LIMIT)))))
}

/// The value at a path, as compact JSON without its secrets; `None` for an empty object.
fn json(record: &Record<'_>, path: &[&str]) -> Option<String> {
    record.json(path).filter(|json| json != "{}")
}

fn joined(parts: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &str, label: &str) -> Option<String> {
        let record = Record::parse(record).unwrap();
        lines(&record).find(|line| line.label == label)?.value
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
