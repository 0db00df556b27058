//! Errors of the SDK, in words.

/// An error and all its causes, the outermost first. Alone, an error of the SDK's says only "dispatch failure".
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// No answer came from a service: the causes, and what to do where there was no connection.
pub(super) fn no_answer(service: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let causes = with_causes(error);
    let hint = if causes.contains("tunnel") {
        "; check HTTPS_PROXY, whose user name and password must be percent-encoded"
    } else if causes.contains("certificate") {
        "; check SSL_CERT_FILE, or SSL_CERT_DIR, which name the certificates to trust"
    } else if causes.contains("connect") {
        "; in a VPC the function needs an endpoint for it, a NAT gateway, or a proxy in HTTPS_PROXY"
    } else {
        ""
    };
    format!("{service} could not be reached ({causes}){hint}")
}
