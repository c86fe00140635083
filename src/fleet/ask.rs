//! One `GET` of a server, as probes make it: over Pingora's own connector, so that TLS and HTTP/2 behave as for
//! requests, and with a bound on the answer.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, ErrorType};

use super::endpoint::Endpoint;
use super::miss::Miss;
use crate::coding;

/// Bytes of an answer: some ten thousand models.
pub(super) const MOST: usize = 8 << 20;

static AGENT: HeaderValue = HeaderValue::from_static(concat!("remuda/", env!("CARGO_PKG_VERSION")));
static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whom to ask, and for how long a connection may be kept for the next question of the same probe.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) connector: &'a Connector,
    pub(super) endpoint: &'a Endpoint,
    pub(super) timeout: Duration,
    /// Set once a connection stands.
    pub(super) connected: &'a AtomicBool,
    /// Set once anything has been answered.
    pub(super) answered: &'a AtomicBool,
}

/// An answer with its body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    session: HttpSession,
}

impl Answer {
    pub(super) fn headers(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        let head = self.session.response_header();
        head.map_or(&*NONE, |head| &head.headers)
    }
}

impl Caller<'_> {
    /// Checks that a connection can be made.
    pub(super) async fn connect(&self) -> Result<(), Miss> {
        self.session().await.map(drop)
    }

    /// Checks that the backend gives any answer.
    pub(super) async fn rouse(&self) -> Result<(), Miss> {
        let path = match &*self.endpoint.path {
            "" => "/",
            path => path,
        };
        self.get(path, &HeaderMap::new()).await.map(drop)
    }

    /// Asks for `path`, with these fields besides its own.
    pub(super) async fn get(&self, path: &str, fields: &HeaderMap) -> Result<Answer, Miss> {
        let closed = |error: Box<Error>| no_answer(path, &error);
        let head = self.head(path, fields).map_err(closed)?;
        let mut session = self.session().await?;
        session
            .write_request_header(Box::new(head))
            .await
            .map_err(closed)?;
        session.finish_request_body().await.map_err(closed)?;
        session.read_response_header().await.map_err(closed)?;
        let head = session.response_header();
        let status = head.map_or(StatusCode::BAD_GATEWAY, |head| head.status);
        let mut body = Vec::new();
        while let Some(piece) = session.read_response_body().await.map_err(closed)? {
            if body.len() + piece.len() > MOST {
                return Err(Miss::TooLong(path.to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        self.answered.store(true, Ordering::Release);
        let body = plain(path, session.response_header(), body)?;
        Ok(Answer {
            status,
            body,
            session,
        })
    }

    /// Lets the next question of this probe use the connection. Between probes none is kept: a new
    /// connection each time also shows that one can be made.
    pub(super) async fn keep(&self, answer: Answer) {
        let peer = &*self.endpoint.peer;
        self.connector
            .release_http_session(answer.session, peer, Some(self.timeout))
            .await;
    }

    async fn session(&self) -> Result<HttpSession, Miss> {
        let peer = &*self.endpoint.peer;
        let session = self.connector.get_http_session(peer).await;
        let (session, _) = session.map_err(|error| no_connection(&error))?;
        self.connected.store(true, Ordering::Release);
        Ok(session)
    }

    fn head(&self, path: &str, fields: &HeaderMap) -> Result<RequestHeader, Box<Error>> {
        let mut head = RequestHeader::build("GET", path.as_bytes(), Some(8))?;
        head.insert_header(header::HOST, &self.endpoint.host)?;
        head.insert_header(header::ACCEPT, &JSON)?;
        // A server that is told nothing may compress its answers, and some do in any case.
        head.insert_header(header::ACCEPT_ENCODING, "identity")?;
        head.insert_header(header::USER_AGENT, &AGENT)?;
        for (name, value) in fields {
            head.insert_header(name, value)?;
        }
        Ok(head)
    }
}

/// Returns the body of an answer as it was before it was packed: some servers compress theirs although nobody asked for
/// it.
fn plain(path: &str, head: Option<&ResponseHeader>, body: Vec<u8>) -> Result<Vec<u8>, Miss> {
    let fields = head.map(|head| head.headers.get_all(header::CONTENT_ENCODING));
    let fields = fields.iter().flatten();
    let mut codings = coding::listed(fields.map(HeaderValue::as_bytes));
    let Some(first) = codings.next().filter(|_| !body.is_empty()) else {
        return Ok(body);
    };
    let path = path.to_owned();
    let Some(coding) = coding::named(first).filter(|_| codings.next().is_none()) else {
        return Err(Miss::Packed { path });
    };
    match coding::unpacked(coding, &body, MOST) {
        Ok(Some(plain)) => Ok(plain),
        Ok(None) => Err(Miss::TooLong(path)),
        Err(what) => Err(Miss::Garbled {
            path,
            cause: format!("its {} {what}", coding.name()),
        }),
    }
}

/// Returns why a TLS handshake failed in the words of rustls, such as `invalid peer certificate: UnknownIssuer`, which Pingora
/// passes on as text only.
fn handshake(error: &Error) -> String {
    let context = error
        .context
        .as_ref()
        .map_or("", |context| context.as_str());
    let words = context.rsplit("cause: ").next().unwrap_or_default();
    let words = words.split(", SNI:").next().unwrap_or_default();
    format!("the TLS handshake failed: {}", words.trim())
}

fn no_answer(path: &str, error: &Error) -> Miss {
    let path = path.to_owned();
    let cause = error.etype().as_str().to_owned();
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
            Miss::Closed { path, cause }
        }
        _ => Miss::Garbled { path, cause },
    }
}

fn no_connection(error: &Error) -> Miss {
    const NO_FILE: [Option<i32>; 2] = [Some(23), Some(24)]; // ENFILE, EMFILE
    let system = error
        .root_cause()
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    match error.etype() {
        _ if NO_FILE.contains(&system) => Miss::NoSocket,
        ErrorType::ConnectRefused => Miss::NoConnection("refused".to_owned()),
        ErrorType::TLSHandshakeFailure => Miss::NoConnection(handshake(error)),
        other => Miss::NoConnection(other.as_str().to_owned()),
    }
}
