//! The function behind TLS, and behind a proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use aws_config::BehaviorVersion;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use cloudtrail_alerter::aws::certificates::{BUNDLES, client_of_the_system};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::fake_aws::FakeAws;
use crate::world::{BUCKET, CONFIG, KEY, TIMEOUT, TOPIC, World, configuration, put_keys};
use crate::{gzip, log, records};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a server says of itself.
#[derive(Clone, Copy)]
struct Server {
    name: &'static str,
    expires: i32,
    /// On so many connections, the first ones, it says nothing.
    silent: usize,
}

const SERVER: Server = Server { name: "127.0.0.1", expires: 4000, silent: 0 };

impl Server {
    /// Takes TLS off before `aws`; the address.
    async fn start(self, aws: SocketAddr, authority: &Authority) -> SocketAddr {
        let mut params = CertificateParams::new([self.name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(self.expires, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.into()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for connection in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if connection < self.silent {
                        stream.read_to_end(&mut Vec::new()).await.ok();
                    } else if let Ok(mut stream) = acceptor.accept(stream).await {
                        let mut to_aws = TcpStream::connect(aws).await.unwrap();
                        copy_bidirectional(&mut stream, &mut to_aws).await.ok();
                    }
                });
            }
        });
        address
    }
}

/// A function that asks `server`, with a log in S3 that makes one alert.
async fn world(server: Server, authority: &Authority, environment: &[(&str, &str)]) -> World {
    let aws = FakeAws::start().await;
    aws.put(BUCKET, CONFIG, configuration());
    aws.put(BUCKET, KEY, gzip(&log(&records(1))));
    let endpoint = format!("https://{}", server.start(aws.address, authority).await);
    let environment = [&[("AWS_ENDPOINT_URL", endpoint.as_str()), ("TOPIC_ARN", TOPIC)], environment].concat();
    World::start(aws, &environment, TIMEOUT).await
}

/// The authorities that a function trusts, in a file.
fn trusted(authority: &Authority) -> (NamedTempFile, String) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, authority.pem()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

#[tokio::test]
async fn alerts_go_out_over_tls() {
    let authority = authority("ours");
    let (_file, certificates) = trusted(&authority);
    for bucket in ["", BUCKET] {
        let environment = [("SSL_CERT_FILE", certificates.as_str()), ("FILTER_CONFIG_BUCKET", bucket)];
        let mut world = world(SERVER, &authority, &environment).await;
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
        assert!(!world.lambda.output().contains("WARN"), "{}", world.lambda.output());
    }
}

#[tokio::test]
async fn certificates_that_could_not_be_read_are_a_warning_where_others_could() {
    let authority = authority("ours");
    let (_file, certificates) = trusted(&authority);
    let environment = [("SSL_CERT_FILE", certificates.as_str()), ("SSL_CERT_DIR", "/nonexistent")];
    let mut world = world(SERVER, &authority, &environment).await;
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
    let output = world.lambda.output();
    assert!(output.contains("WARN") && output.contains("/nonexistent"), "{output}");
}

/// Paths for `SSL_CERT_FILE` that name no certificate: nothing is there, an empty file, a folder, a text, a part of a certificate
/// and what only looks like one.
fn useless(authority: &Authority) -> (Vec<NamedTempFile>, Vec<String>) {
    let pem = authority.pem();
    let odd = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let (files, paths): (Vec<_>, Vec<_>) = ["", "no certificate\n", &pem[..pem.len() / 2], odd]
        .into_iter()
        .map(|text| {
            let (file, path) = trusted(authority);
            std::fs::write(&path, text).unwrap();
            (file, path)
        })
        .unzip();
    (files, [vec!["/nonexistent".to_owned(), "/".to_owned()], paths].concat())
}

/// The function has the paths of a real system, where no test can put an authority. So this test asks with the function's
/// client, and the next one checks that the function has it.
#[tokio::test]
async fn where_the_environment_names_no_certificate_those_of_the_system_count() {
    let ours = authority("ours");
    let (_files, useless) = useless(&ours);
    let (_file, certificates) = trusted(&ours);
    let (_other_file, others) = trusted(&authority("other"));
    // A bundle may hold an odd one.
    let bundle = std::fs::read_to_string(&useless[useless.len() - 1]).unwrap() + &ours.pem();
    std::fs::write(&certificates, bundle).unwrap();
    let aws = FakeAws::start().await;
    aws.put(BUCKET, CONFIG, "{}");
    let endpoint = format!("https://{}", SERVER.start(aws.address, &ours).await);
    for path in &useless {
        for (bundles, answers) in
            [([path, &certificates], true), ([&certificates, &others], true), ([&others, path], false)]
        {
            let named = |name: &str| (name == "SSL_CERT_FILE").then(|| path.into());
            let client = client_of_the_system(named, &bundles).unwrap();
            let config = aws_config::defaults(BehaviorVersion::latest()).http_client(client).endpoint_url(&endpoint);
            let config = config.region("us-east-1").retry_config(RetryConfig::disabled());
            let config = config.credentials_provider(Credentials::new("id", "key", None, None, "test")).load().await;
            let got = aws_sdk_s3::Client::new(&config).get_object().bucket(BUCKET).key(CONFIG).send().await;
            assert_eq!(got.is_ok(), answers, "{path} and {bundles:?}: {got:?}");
        }
        let named = |name: &str| (name == "SSL_CERT_FILE").then(|| path.into());
        assert!(client_of_the_system(named, &useless).is_none(), "{path}: no bundle has one either");
        let named = |name: &str| Some(if name == "SSL_CERT_FILE" { path } else { "/nonexistent" }.into());
        assert!(client_of_the_system(named, &[&certificates]).is_some(), "{path}: nor has the folder");
    }
    for named in [None, Some(&certificates)] {
        let named = |name: &str| named.filter(|_| name == "SSL_CERT_FILE").map(Into::into);
        assert!(client_of_the_system(named, &[&others]).is_none(), "the SDK's own client has them");
    }
}

#[tokio::test]
async fn the_function_warns_of_certificates_that_are_missing_and_goes_on_with_those_of_the_system() {
    let ours = authority("ours");
    let (_files, useless) = useless(&ours);
    let mut rows = JoinSet::new();
    for path in useless {
        let mut world = world(SERVER, &ours, &[("SSL_CERT_FILE", &path)]).await;
        rows.spawn(async move {
            // The system's authorities know no test.
            world.fails(&put_keys(&[KEY]), "ConfigurationUnavailable", &["UnknownIssuer", "SSL_CERT_FILE"]).await;
            let output = world.lambda.output();
            let [warning] = output.lines().filter(|line| line.contains("WARN")).collect::<Vec<_>>()[..] else {
                panic!("{path}: {output}")
            };
            let bundle = BUNDLES.iter().find(|bundle| Path::new(bundle).exists()).unwrap();
            let instead = format!("; the system's certificates in {bundle} are used instead");
            let named = format!("SSL_CERT_FILE={path} names no certificate that can be read");
            assert!(warning.contains(&(named + &instead)), "{warning}");
        });
    }
    rows.join_all().await;
}

#[tokio::test]
async fn a_folder_makes_up_for_a_missing_file_and_the_other_way_round() {
    let ours = authority("ours");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.pem");
    std::fs::write(&path, ours.pem()).unwrap();
    // Nobody writes into the pipe: whoever reads it waits for ever.
    let pipes = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(pipes.path().join("pipe")).status().unwrap().success());
    let (file, folder) = (path.to_str().unwrap(), folder.path().to_str().unwrap());
    let folders = format!("/nonexistent:{}:{folder}", pipes.path().display());
    for (file, folder) in [("/nonexistent", folder), ("/nonexistent", &folders), (file, "/nonexistent")] {
        let mut world = world(SERVER, &ours, &[("SSL_CERT_FILE", file), ("SSL_CERT_DIR", folder)]).await;
        assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1, "{file} and {folder}");
        assert!(!world.lambda.output().contains("used instead"), "{}", world.lambda.output());
    }
}

#[tokio::test]
async fn an_obstacle_to_connecting_is_named_before_the_first_event() {
    let authority = authority("ours");
    let environment = [("SSL_CERT_FILE", "/nonexistent"), ("FILTER_CONFIG_BUCKET", BUCKET)];
    let mut world = world(SERVER, &authority, &environment).await;
    world.lambda.is_ready().await;
    world.lambda.prints("SSL_CERT_FILE").await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_and_asked_again() {
    let authority = authority("ours");
    let (_file, certificates) = trusted(&authority);
    let mut world = world(Server { silent: 2, ..SERVER }, &authority, &[("SSL_CERT_FILE", &certificates)]).await;
    assert_eq!(world.counts(&put_keys(&[KEY])).await["published"], 1);
}

/// A proxy's address, and the heads of the requests that come to it; it lets them through, or refuses them.
async fn proxy(answer: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let server = head.split(' ').nth(1).unwrap().to_owned();
            sender.send(head).unwrap();
            stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.unwrap();
            if answer.starts_with("200") {
                tokio::spawn(async move {
                    let mut to_server = TcpStream::connect(server).await.unwrap();
                    copy_bidirectional(&mut stream, &mut to_server).await.ok();
                });
            }
        }
    });
    (address, heads)
}

#[tokio::test]
async fn a_proxy_is_used_where_the_environment_names_one() {
    let authority = authority("ours");
    let (_file, certificates) = trusted(&authority);
    let (address, mut heads) = proxy("200 OK").await;
    let proxy = format!("http://user:secret@{address}");
    let environment = [("SSL_CERT_FILE", certificates.as_str()), ("HTTPS_PROXY", proxy.as_str())];
    let mut proxied = world(SERVER, &authority, &environment).await;
    assert_eq!(proxied.counts(&put_keys(&[KEY])).await["published"], 1);
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("CONNECT 127.0.0.1:"), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpzzwnyzxq="), "{head}");

    // The client that trusts the system's certificates uses it too.
    while heads.try_recv().is_ok() {}
    let without_file = [("SSL_CERT_FILE", "/nonexistent"), environment[1]];
    let mut proxied = world(SERVER, &authority, &without_file).await;
    proxied.fails(&put_keys(&[KEY]), "ConfigurationUnavailable", &["UnknownIssuer"]).await;
    assert!(heads.recv().await.unwrap().starts_with("CONNECT 127.0.0.1:"));

    while heads.try_recv().is_ok() {}
    let environment = [&environment[..], &[("NO_PROXY", "127.0.0.1")]].concat();
    let mut direct = world(SERVER, &authority, &environment).await;
    assert_eq!(direct.counts(&put_keys(&[KEY])).await["published"], 1);
    assert!(heads.try_recv().is_err(), "the proxy was asked");
}

#[tokio::test]
async fn an_error_says_why_there_is_no_connection_and_shows_no_password() {
    let (ours, other) = (Arc::new(authority("ours")), Arc::new(authority("other")));
    let (_file, certificates) = trusted(&ours);
    let (address, _heads) = proxy("407 Proxy Authentication Required").await;
    let trusting = |certificates: &str| ("SSL_CERT_FILE", certificates.to_owned());
    let proxied = |password: &str| ("HTTPS_PROXY", format!("http://user:{password}@{address}"));
    let mut rows = JoinSet::new();
    for (server, by, variable, parts) in [
        (SERVER, &other, trusting(&certificates), &["UnknownIssuer"][..]),
        (Server { name: "s3.amazonaws.com", ..SERVER }, &ours, trusting(&certificates), &["not valid for name"]),
        (Server { expires: 2020, ..SERVER }, &ours, trusting(&certificates), &["expired"]),
        (SERVER, &ours, trusting("/nonexistent"), &["UnknownIssuer", "SSL_CERT_FILE"]),
        (SERVER, &ours, trusting("/dev/null"), &["UnknownIssuer", "SSL_CERT_FILE"]),
        (Server { silent: usize::MAX, ..SERVER }, &ours, trusting(&certificates), &["NAT gateway"]),
        (SERVER, &ours, proxied("se%40cret"), &["tunnel", "authorization required", "HTTPS_PROXY"]),
        // These are mistakes: in a URI `@` and `/` must be percent-encoded.
        (SERVER, &ours, proxied("se@cret"), &["tunnel", "authorization required", "HTTPS_PROXY"]),
        (SERVER, &ours, proxied("se/cret"), &["tunnel", "HTTPS_PROXY", "percent-encoded"]),
    ] {
        let by = by.clone();
        rows.spawn(async move {
            let mut world = world(server, &by, &[(variable.0, &variable.1)]).await;
            let parts = [&["S3 could not be reached"], parts].concat();
            world.fails(&put_keys(&[KEY]), "ConfigurationUnavailable", &parts).await;
            assert_eq!(world.aws.gets().len(), 0, "{variable:?}");
            assert!(!world.lambda.output().contains("cret"), "{}", world.lambda.output());
        });
    }
    rows.join_all().await;
}
