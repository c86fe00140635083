//! A TLS server of the test's own, which offers HTTP/2 and HTTP/1.1 and notes what its clients chose.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pingora::tls::{CertificateDer, PrivateKeyDer, ServerConfig, ServerTlsStream, TlsAcceptor};
use rustls_pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::upstream::{PS, TAGS};

/// Whom a server says to be. Each is signed by an authority of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Certificate {
    Localhost,
    /// The name `elsewhere.test`.
    Elsewhere,
}

impl Certificate {
    /// The PEM file of the authority that has signed it.
    pub(crate) fn authority(self) -> PathBuf {
        let file = match self {
            Self::Localhost => "src/fleet/tests/tls/authority.pem",
            Self::Elsewhere => "tests/gateway/support/tls/authority.pem",
        };
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
    }

    fn chain_and_key(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Localhost => (
                include_bytes!("../../../src/fleet/tests/tls/localhost.pem"),
                include_bytes!("../../../src/fleet/tests/tls/localhost.key"),
            ),
            Self::Elsewhere => (
                include_bytes!("tls/elsewhere.pem"),
                include_bytes!("tls/elsewhere.key"),
            ),
        }
    }
}

/// A model request that came through.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) path: String,
    pub(crate) version: Version,
    /// What the client chose of `h2` and `http/1.1`.
    pub(crate) protocol: String,
    /// The server's name as the client gave it in the handshake.
    pub(crate) server_name: String,
}

/// A server that has the model `scripted`, as Ollama at its root and in OpenAI's format under `/v1`.
pub(crate) struct Secure {
    pub(crate) port: u16,
    /// The rest of a streamed answer after its first piece waits for a permit of this.
    pub(crate) gate: Arc<Semaphore>,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    served: Vec<Served>,
    /// Requests of any kind.
    requests: usize,
    /// Handshakes that clients ended.
    refused: usize,
}

impl Secure {
    pub(crate) async fn start(certificate: Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, gate) = (Arc::<Mutex<Seen>>::default(), Arc::new(Semaphore::new(0)));
        let (acceptor, notes, open) = (acceptor(certificate), seen.clone(), gate.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(
                    acceptor.clone(),
                    stream,
                    notes.clone(),
                    open.clone(),
                ));
            }
        });
        Self {
            port,
            gate,
            seen,
            task,
        }
    }

    /// Model requests so far.
    pub(crate) fn served(&self) -> Vec<Served> {
        self.seen.lock().unwrap().served.clone()
    }

    /// Requests of any kind so far: none, unless a client trusted the certificate.
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().requests
    }

    /// Handshakes so far that the client ended.
    pub(crate) fn refused(&self) -> usize {
        self.seen.lock().unwrap().refused
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(certificate: Certificate) -> TlsAcceptor {
    pingora::tls::install_default_crypto_provider();
    let (chain, key) = certificate.chain_and_key();
    let chain = vec![CertificateDer::from_pem_slice(chain).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn converse(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    gate: Arc<Semaphore>,
) {
    let Ok(stream) = acceptor.accept(stream).await else {
        seen.lock().unwrap().refused += 1;
        return;
    };
    let (protocol, server_name) = chosen(&stream);
    let http2 = protocol == "h2";
    let service = service_fn(move |request: Request<Incoming>| {
        let served = Served {
            path: request.uri().path().to_owned(),
            version: request.version(),
            protocol: protocol.clone(),
            server_name: server_name.clone(),
        };
        answer(request, served, seen.clone(), gate.clone())
    });
    let stream = TokioIo::new(stream);
    // A client that leaves ends it by an error.
    let _ = if http2 {
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await
    } else {
        http1::Builder::new()
            .serve_connection(stream, service)
            .await
    };
}

fn chosen(stream: &ServerTlsStream<TcpStream>) -> (String, String) {
    let (_, connection) = stream.get_ref();
    let protocol = connection.alpn_protocol().unwrap_or_default();
    (
        String::from_utf8_lossy(protocol).into_owned(),
        connection.server_name().unwrap_or_default().to_owned(),
    )
}

async fn answer(
    request: Request<Incoming>,
    served: Served,
    seen: Arc<Mutex<Seen>>,
    gate: Arc<Semaphore>,
) -> Result<Response<Pieces>, Infallible> {
    seen.lock().unwrap().requests += 1;
    let path = served.path.clone();
    let listing = match path.as_str() {
        "/api/tags" => Some(TAGS),
        "/api/ps" => Some(PS),
        "/api/version" => Some(r#"{"version":"0.33.0"}"#),
        "/v1/models" => Some(
            r#"{"object":"list","data":[{"id":"scripted","object":"model","created":1,"owned_by":"tests"}]}"#,
        ),
        _ => None,
    };
    if let Some(listing) = listing {
        return Ok(reply("application/json", Pieces::whole(listing)));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["model"], "scripted");
    seen.lock().unwrap().served.push(served);
    Ok(match (path.as_str(), body["stream"] == true) {
        ("/api/chat", true) => reply("application/x-ndjson", Pieces::paced(OLLAMA, gate)),
        ("/v1/chat/completions", true) => reply("text/event-stream", Pieces::paced(OPENAI, gate)),
        ("/api/chat", false) => reply("application/json", Pieces::whole(OLLAMA_WHOLE)),
        ("/v1/chat/completions", false) => reply("application/json", Pieces::whole(OPENAI_WHOLE)),
        other => panic!("unexpected {other:?}"),
    })
}

fn reply(kind: &str, body: Pieces) -> Response<Pieces> {
    let response = Response::builder().header("content-type", kind);
    response.body(body).unwrap()
}

const OLLAMA: [&str; 2] = [
    "{\"model\":\"scripted\",\"created_at\":\"2026-01-02T03:04:05Z\",\"message\":{\"role\":\"assistant\",\"content\":\"first\"},\"done\":false}\n",
    "{\"model\":\"scripted\",\"created_at\":\"2026-01-02T03:04:05Z\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n",
];
const OLLAMA_WHOLE: &str = r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"over TLS"},"done":true,"done_reason":"stop"}"#;
const OPENAI: [&str; 2] = [
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"scripted\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"first\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"scripted\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
];
const OPENAI_WHOLE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"scripted","choices":[{"index":0,"message":{"role":"assistant","content":"over TLS"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;

/// A body that is made piece by piece.
struct Pieces(mpsc::Receiver<&'static str>);

impl Pieces {
    fn whole(text: &'static str) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(text).unwrap();
        Self(receiver)
    }

    /// The first piece at once, the second when `gate` has a permit.
    fn paced(pieces: [&'static str; 2], gate: Arc<Semaphore>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let [first, second] = pieces;
            // No receiver, no client.
            let _ = sender.send(first).await;
            gate.acquire().await.unwrap().forget();
            let _ = sender.send(second).await;
        });
        Self(receiver)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}
