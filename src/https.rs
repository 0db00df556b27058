//! How requests reach AWS: for all clients through one pool of connections, with one TLS configuration.
//!
//! By the SDK's own way each client makes its own, reads the certificates of a hundred authorities before the first
//! handshake begins, and is ready for HTTP/2, which neither S3 nor SNS speaks.

use std::fmt;
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{self, Connect, Connected, capture_connection};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tower::{ServiceExt, service_fn};

use crate::error::with_causes;

/// For a connection, from looking up the name to the end of TLS's handshake: as long as the SDK gives it.
const TIME_TO_CONNECT: Duration = Duration::from_millis(3_100);

/// From a request to the first of its answer, the time to connect included. Neither service takes a second; what was lost
/// on its way is then asked for again, while there is time.
const TIME_TO_ANSWER: Duration = Duration::from_secs(8);

const TOO_LATE: &str =
    "no connection within 3.1 s; from a VPC there must be a way: an endpoint, a NAT gateway, or a proxy in HTTPS_PROXY";

/// What the AWS clients send their requests with.
///
/// `HTTPS_PROXY` and `NO_PROXY` count, as with other programs; requests to an `http:` endpoint go to it straight.
/// `SSL_CERT_FILE` or `SSL_CERT_DIR` names the certificates to trust, else they are where the system has them.
#[must_use]
pub fn client() -> SharedHttpClient {
    let tls = ClientConfig::builder();
    let verifier = Verifier(tls.crypto_provider().clone());
    let tls = tls.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    let tls = Arc::new(tls);

    let transport = Transport::new(tls.clone());
    let https = HttpsConnector::from((service_fn(move |server| Box::pin(transport.clone().connect(server))), tls));
    let in_time = service_fn(move |server: Uri| {
        let connecting = timeout(TIME_TO_CONNECT, https.clone().oneshot(server));
        Box::pin(async { connecting.await.unwrap_or_else(|_| Err(TOO_LATE.into())) })
    });
    let pool = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(in_time);
    let connector = SharedHttpConnector::new(Pool(pool));
    http_client_fn(move |_, _| connector.clone())
}

/// Makes the connections that requests, or TLS, run over.
#[derive(Clone)]
struct Transport {
    tcp: connect::HttpConnector,
    /// To proxies that are reached by TLS themselves.
    https: HttpsConnector<connect::HttpConnector>,
    proxies: Arc<Matcher>,
}

impl Transport {
    fn new(tls: Arc<ClientConfig>) -> Self {
        let mut tcp = connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnector::from((tcp.clone(), tls));
        Transport { tcp, https, proxies: Arc::new(Matcher::from_env()) }
    }

    async fn connect(self, server: Uri) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError> {
        let by_tls = server.scheme() == Some(&Scheme::HTTPS);
        if by_tls {
            // They are needed when the server has answered.
            static READING: Once = Once::new();
            READING.call_once(|| drop(spawn_blocking(|| LazyLock::force(&AUTHORITIES))));
        }
        let Some(proxy) = self.proxies.intercept(&server).filter(|_| by_tls) else {
            return Ok(MaybeHttpsStream::Http(self.tcp.oneshot(server).await?));
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.https);
        if let Some(password) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(password.clone());
        }
        // Of a password that is not percent-encoded, the rest of the URI may hold a part.
        let name = proxy.uri().host().unwrap_or_default();
        tunnel.oneshot(server).await.map_err(|e| format!("the proxy {name}: {}", with_causes(&e)).into())
    }
}

/// The connections that are open.
struct Pool<C>(Client<C, SdkBody>);

impl<C: Connect + Clone + Send + Sync + 'static> HttpConnector for Pool<C> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(e) => return HttpConnectorFuture::ready(Err(ConnectorError::user(e.into()))),
        };
        // After an error that may be the server's the SDK wants another connection.
        let connection = capture_connection(&mut request);
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            let close = move || {
                connection.connection_metadata().as_ref().map(Connected::poison);
            };
            let connection = ConnectionMetadata::builder().proxied(false).poison_fn(close).build();
            capture.set_connection_retriever(move || Some(connection.clone()));
        }
        let response = timeout(TIME_TO_ANSWER, self.0.request(request));
        HttpConnectorFuture::new(async {
            let no_answer = |_| ConnectorError::timeout(format!("no answer within {TIME_TO_ANSWER:?}").into());
            let response = response.await.map_err(no_answer)?.map_err(|e| ConnectorError::io(e.into()))?;
            let response = response.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

/// Verifies servers by the certificates of the authorities, or says why there are none.
static AUTHORITIES: LazyLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>> = LazyLock::new(|| {
    let read = rustls_native_certs::load_native_certs();
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(read.certs);
    let verifier = WebPkiServerVerifier::builder(authorities.into()).build();
    let problems = read.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if verifier.is_ok() && !problems.is_empty() {
        tracing::warn!("not all certificates of authorities could be read: {problems}");
    }
    let advice = "is what SSL_CERT_FILE or SSL_CERT_DIR says right?";
    verifier.map_err(|e| rustls::Error::General(format!("{e} ({problems}); {advice}")))
});

/// Verifies servers as rustls does by itself, but reads the authorities' certificates only then: that is more work than
/// all that a cold start does before.
#[derive(Debug)]
struct Verifier(Arc<CryptoProvider>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authorities = AUTHORITIES.as_ref().map_err(Clone::clone)?;
        authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
