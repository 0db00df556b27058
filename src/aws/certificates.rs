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

/// An HTTPS client that trusts the first of these bundles, if `SSL_CERT_FILE` and `SSL_CERT_DIR` name no certificate that can
/// be used. The SDK's own client would then refuse every server. `None` if that client will do, or no bundle is there either.
///
/// `variable` reads a variable of the environment.
pub fn client_of_the_system(
    variable: impl Fn(&str) -> Option<OsString>,
    bundles: &[impl AsRef<Path>],
) -> Option<SharedHttpClient> {
    let (file, folders) = (variable("SSL_CERT_FILE"), variable("SSL_CERT_DIR"));
    let entries = folders.iter().flat_map(env::split_paths).filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let mut paths = file.iter().map(PathBuf::from).chain(entries.flatten().map(|entry| entry.path()));
    let names_none = file.is_none() && folders.as_ref().is_none_or(|folders| folders.is_empty());
    if names_none || paths.any(|path| usable(&pem(&path)).next().is_some()) {
        return None;
    }
    let named = [("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folders)].into_iter();
    let named = named.filter_map(|(name, value)| Some(format!("{name}={}", PathBuf::from(value?).display())));
    let none = format!("{} names no certificate that can be read", named.collect::<Vec<_>>().join(" with "));
    let mut pems = bundles.iter().map(|bundle| (bundle.as_ref(), pem(bundle.as_ref())));
    let Some((bundle, pem)) = pems.find(|(_, pem)| usable(pem).next().is_some()) else {
        tracing::warn!(
            "{none}, and the system has none in its usual places: no server can be trusted; correct the variable"
        );
        return None;
    };
    tracing::warn!("{none}; the system's certificates in {} are used instead; correct the variable", bundle.display());
    let trusted = usable(&pem).fold(TrustStore::empty(), TrustStore::with_pem_certificate);
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

/// The text of a regular file. A pipe may never end.
fn pem(path: &Path) -> String {
    let bytes = if path.is_file() { fs::read(path).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The certificates that can be used. The SDK's client would panic over the others.
fn usable(pem: &str) -> impl Iterator<Item = &str> {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).ok();
    let is_usable = move |pem: &&str| certificate(pem).is_some_and(|it| RootCertStore::empty().add(it).is_ok());
    pem.split_inclusive("-----END CERTIFICATE-----").filter(is_usable)
}
