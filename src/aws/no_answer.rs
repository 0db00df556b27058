//! Errors of the SDK, in words.

use std::sync::LazyLock;

use regex_automata::meta::Regex;

/// An error and all its causes, the outermost first. Alone, an error of the SDK's says only "dispatch failure".
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether an error with these causes came before there was a connection: no request was sent.
pub(super) fn had_no_connection(causes: &str) -> bool {
    causes.contains("(Connect)") || causes.contains("connect timeout")
}

/// No answer came from a service to the function: the causes, and what to do where there was no connection.
pub(super) fn no_answer(service: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let unconnected = "in a VPC the function needs an endpoint for it, a NAT gateway, or a proxy in HTTPS_PROXY";
    no_answer_with(service, error, unconnected)
}

/// The same to anybody, who is told what to do where there was no connection.
pub(super) fn no_answer_with(service: &str, error: &(dyn std::error::Error + 'static), unconnected: &str) -> String {
    let causes = with_causes(error);
    let hint = if causes.contains("tunnel") {
        "check HTTPS_PROXY, whose user name and password must be percent-encoded"
    } else if causes.contains("certificate") {
        "check SSL_CERT_FILE, or SSL_CERT_DIR, which name the certificates to trust"
    } else if had_no_connection(&causes) {
        unconnected
    } else {
        return format!("{service} could not be reached ({causes})");
    };
    format!("{service} could not be reached ({causes}); {hint}")
}

/// A reason without the ids of requests, such as those of a service behind SNS: `(Status Code: 400; Request ID: 1b2c; Proxy:
/// null)`. Each request has another one, and failures of the same cause would not be alike.
pub(super) fn without_request_ids(text: &str) -> String {
    const ID: &str = r#"(?i)request[ _-]*id\s*[:=]\s*([a-z0-9_+/="'-]+)"#;
    static FINDER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(ID).ok());
    let found = FINDER.iter().flat_map(|finder| finder.captures_iter(text));
    let ids: Vec<_> = found.filter_map(|found| found.get_group(1)).collect();
    let mut text = text.to_owned();
    for id in ids.into_iter().rev() {
        text.replace_range(id.range(), "…");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::{had_no_connection, no_answer, without_request_ids};

    #[test]
    fn the_hint_fits_the_cause() {
        for (cause, hint) in [
            ("io error: client error (Connect): dns error: failed to lookup address information", "NAT gateway"),
            ("timeout: HTTP connect timeout occurred after 3.1s", "NAT gateway"),
            ("client error (Connect): TLS handshake failed: invalid peer certificate: Expired", "SSL_CERT_FILE"),
            ("client error (Connect): tunnel error: proxy authorization required", "HTTPS_PROXY, whose"),
            ("client error (SendRequest): connection closed before message completed", "completed)"),
        ] {
            let text = no_answer("S3", &Error::other(cause));
            assert!(text.contains(hint) && text.contains(cause), "{text}");
            assert_eq!(text.contains("NAT gateway"), hint == "NAT gateway", "{text}");
            assert_eq!(had_no_connection(cause), !cause.contains("completed"), "{cause}");
        }
    }

    #[test]
    fn the_id_of_a_request_is_cut_out_of_a_reason() {
        for (text, cut) in [
            ("no (Code: X; Request ID: 1b2c-3d; Proxy: null) ü", "no (Code: X; Request ID: …; Proxy: null) ü"),
            ("ü requestid=\"a/b+c=\", Request-Id: 1 and RequestId:2", "ü requestid=…, Request-Id: … and RequestId:…"),
            ("the request ideas: 1, a request", "the request ideas: 1, a request"),
        ] {
            assert_eq!(without_request_ids(text), cut);
        }
    }
}
