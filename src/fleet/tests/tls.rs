//! Backends behind TLS: checked as the settings say, with HTTP/2 where it is offered.

use std::convert::Infallible;
use std::path::Path;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pingora::tls::{CertificateDer, PrivateKeyDer, ServerConfig, TlsAcceptor};
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A TLS port of `localhost`; its certificate is signed by the tests' own authority.
struct Secure {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secure {
    /// Passes what it decrypts to a server that speaks HTTP/1.1.
    async fn before(plain: SocketAddr) -> Self {
        Self::start(b"http/1.1", move |mut stream| async move {
            let mut inner = TcpStream::connect(plain).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
        })
        .await
    }

    /// Speaks HTTP/2 only.
    async fn http2() -> Self {
        Self::start(b"h2", |stream| async {
            let service = hyper::service::service_fn(answer);
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        })
        .await
    }

    async fn start<F, S>(protocol: &[u8], serve: S) -> Self
    where
        S: Fn(pingora::tls::ServerTlsStream<TcpStream>) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = acceptor(protocol);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust the certificate ends the handshake.
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream));
                }
            }
        });
        Self { addr, task }
    }
}

fn acceptor(protocol: &[u8]) -> TlsAcceptor {
    pingora::tls::install_default_crypto_provider();
    let chain = vec![CertificateDer::from_pem_slice(include_bytes!("tls/localhost.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/localhost.key")).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn answer(
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.headers()["authorization"], "Bearer hunter2");
    let body = match request.uri().path() {
        "/api/version" => r#"{"version":"0.33.0"}"#,
        _ => r#"{"models":[{"name":"llama3.2:latest"}]}"#,
    };
    Ok(hyper::Response::new(Full::from(body)))
}

fn provider(addr: SocketAddr) -> settings::Provider {
    let backends = vec![StaticBackend {
        tls: true,
        ..entry("localhost", addr.port())
    }];
    let api_key = Some(settings::Secret::new("hunter2"));
    settings::Provider {
        backends,
        api_key,
        ..settings("secure")
    }
}

fn trusting(addr: SocketAddr) -> settings::Provider {
    let mut provider = provider(addr);
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fleet/tests/tls/authority.pem");
    provider.pool.ca_file = Some(authority);
    provider
}

/// Whether the one backend of a provider is healthy after one round.
async fn healthy_after_a_round(provider: settings::Provider) -> bool {
    let fleet = Fleet::new(&[provider], &Timeouts::default(), Vec::new()).unwrap();
    fleet.refresh().await;
    let members = fleet.snapshot();
    assert_eq!(members.len(), 1);
    members[0].healthy()
}

#[tokio::test]
async fn certificates_are_checked_unless_the_operator_says_otherwise() {
    let plain = Fake::start(Mood::Has(&["llama3.2"])).await;
    let server = Secure::before(plain.addr).await;
    assert!(!healthy_after_a_round(provider(server.addr)).await);
    assert!(plain.requests().is_empty());

    assert!(healthy_after_a_round(trusting(server.addr)).await);
    assert!(
        plain
            .requests()
            .iter()
            .all(|head| head.contains("authorization: bearer hunter2"))
    );

    let mut unchecked = provider(server.addr);
    unchecked.pool.verify = false;
    assert!(healthy_after_a_round(unchecked).await);
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let server = Secure::http2().await;
    assert!(healthy_after_a_round(trusting(server.addr)).await);
    let mut without = trusting(server.addr);
    without.pool.http2 = false;
    assert!(!healthy_after_a_round(without).await);
}
