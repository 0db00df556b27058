//! The certificates to trust where the environment names some and none of them can be used: the system's.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use aws_sdk_s3::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where systems keep the certificates of all authorities. The first two are those of Amazon Linux, and so of Lambda.
pub const BUNDLES: [&str; 5] = [
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const END: &str = "-----END CERTIFICATE-----";

/// An HTTPS client that trusts the first of these bundles, if `SSL_CERT_FILE` and `SSL_CERT_DIR` name no certificate that can
/// be used. The SDK's own client would then refuse every server. `None` if that client will do, or no bundle is there either.
///
/// `variable` reads a variable of the environment.
pub fn client_of_the_system(
    variable: impl Fn(&str) -> Option<OsString>,
    bundles: &[impl AsRef<Path>],
) -> Option<SharedHttpClient> {
    let (file, folders) = (variable("SSL_CERT_FILE"), variable("SSL_CERT_DIR"));
    let folder_entries =
        folders.iter().flat_map(env::split_paths).filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut paths = file.iter().map(PathBuf::from).chain(folder_entries.flatten().map(|entry| entry.path()));
    let names_none = file.is_none() && folders.as_ref().is_none_or(|folders| folders.is_empty());
    if names_none || paths.any(|path| holds_certificates(&path)) {
        return None;
    }
    let named = [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folders)].into_iter();
    let named = named.filter_map(|(name, value)| Some(format!("{name}={}", PathBuf::from(value?).display())));
    let none = format!("{} names no certificate that can be read", named.collect::<Vec<_>>().join(" with "));
    let Some((bundle, trusted)) =
        bundles.iter().find_map(|bundle| Some((bundle.as_ref(), certificates(bundle.as_ref())?)))
    else {
        tracing::warn!(
            "{none}, and the system has none in its usual places: no server can be trusted; correct the variable"
        );
        return None;
    };
    tracing::warn!("{none}; the system's certificates in {} are used instead; correct the variable", bundle.display());
    let trusted = TlsContext::builder().with_trust_store(trusted).build().ok()?;
    Some(Builder::new().build_with_connector_fn(move |settings, components| {
        // As the SDK's own client.
        let mut connector = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_tls_context(trusted.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    }))
}

/// Whether a regular file holds a certificate that can be used. It is read up to that one. A pipe may never end.
fn holds_certificates(path: &Path) -> bool {
    let certificates = || CertificateDer::pem_file_iter(path);
    path.is_file() && certificates().is_ok_and(|mut all| all.any(|certificate| certificate.is_ok_and(is_usable)))
}

/// The certificates of a bundle that can be used, if there are any. The SDK's client would panic over the others.
fn certificates(bundle: &Path) -> Option<TrustStore> {
    let bundle = fs::read(bundle).ok()?;
    let bundle = String::from_utf8_lossy(&bundle);
    let usable = |pem: &&str| CertificateDer::from_pem_slice(pem.as_bytes()).is_ok_and(is_usable);
    let mut usable = bundle.split_inclusive(END).filter(usable).peekable();
    usable.peek()?;
    Some(usable.fold(TrustStore::empty(), TrustStore::with_pem_certificate))
}

fn is_usable(certificate: CertificateDer<'_>) -> bool {
    RootCertStore::empty().add(certificate).is_ok()
}
