//! One probe of an Ollama server: `/api/tags` and `/api/ps` (and `/api/version` when asked), in one
//! connection, within one time limit; an answer counts only if its body is what Ollama sends.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, header};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::{Error, ErrorType};

use crate::dialect::ollama::{Malformed, parse_ps, parse_tags};

use super::{Endpoint, Inventory, Models};

/// Bytes of an answer: some ten thousand models.
const MOST: usize = 8 << 20;

static AGENT: HeaderValue = HeaderValue::from_static(concat!("remuda/", env!("CARGO_PKG_VERSION")));
static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a probe found no healthy Ollama server.
#[derive(Debug, thiserror::Error)]
pub(super) enum Miss {
    #[error("this process has no file descriptor left for a probe")]
    NoSocket,
    #[error("no connection: {0}")]
    NoConnection(String),
    #[error("no connection within {0:?}")]
    ConnectTimedOut(Duration),
    #[error("the connection was closed before {path} was answered: {cause}")]
    Closed { path: &'static str, cause: String },
    #[error("{path} was answered with something else than HTTP: {cause}")]
    Garbled { path: &'static str, cause: String },
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("{path} was answered with status {status}")]
    Status { path: &'static str, status: u16 },
    #[error("the answer to {0} is over 8 MiB")]
    TooLong(&'static str),
    #[error("{path}: {cause}")]
    Body {
        path: &'static str,
        cause: Malformed,
    },
}

impl Miss {
    /// Whether there was no server to be reached, as opposed to one that did not answer well. A
    /// tunnel whose far end is gone accepts connections and closes them.
    pub(super) fn unreachable(&self) -> bool {
        matches!(
            self,
            Self::NoConnection(_) | Self::ConnectTimedOut(_) | Self::Closed { .. }
        )
    }
}

/// Probes servers over Pingora's own connector, so that TLS and HTTP/2 behave as for requests.
pub(super) struct Prober {
    connector: Connector,
    models: Arc<Models>,
}

/// What to ask of a server.
pub(super) struct Question<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) authorization: Option<&'a HeaderValue>,
    /// The version if it is known already.
    pub(super) version: Option<&'a str>,
    /// For the whole probe.
    pub(super) timeout: Duration,
}

impl Prober {
    pub(super) fn new(models: Arc<Models>) -> Self {
        Self {
            connector: Connector::new(None),
            models,
        }
    }

    /// Asks, and returns what the server has.
    pub(super) async fn probe(&self, question: &Question<'_>) -> Result<Inventory, Miss> {
        let mut connected = false;
        let limit = question.timeout;
        let answer = tokio::time::timeout(limit, self.ask_all(question, &mut connected)).await;
        match answer {
            Ok(answer) => answer,
            Err(_) if connected => Err(Miss::TimedOut(limit)),
            Err(_) => Err(Miss::ConnectTimedOut(limit)),
        }
    }

    async fn ask_all(
        &self,
        question: &Question<'_>,
        connected: &mut bool,
    ) -> Result<Inventory, Miss> {
        let (tags, session) = self.ask(question, "/api/tags", connected).await?;
        let tags = parse_tags(&tags).map_err(body("/api/tags"))?;
        self.keep(session, question).await;
        let (loaded, session) = self.ask(question, "/api/ps", connected).await?;
        let loaded = parse_ps(&loaded).map_err(body("/api/ps"))?;
        let version = match question.version {
            Some(version) => version.to_owned(),
            None => {
                self.keep(session, question).await;
                self.version(question, connected).await?
            }
        };
        Ok(Inventory::new(
            &self.models,
            tags,
            loaded,
            version,
            Instant::now(),
        ))
    }

    /// The server's version; empty if it does not tell, which is no reason not to use it.
    async fn version(&self, question: &Question<'_>, connected: &mut bool) -> Result<String, Miss> {
        #[derive(serde::Deserialize)]
        struct Version {
            version: String,
        }
        match self.ask(question, "/api/version", connected).await {
            Ok((body, _)) => Ok(serde_json::from_slice::<Version>(&body)
                .map_or_else(|_| String::new(), |answer| answer.version)),
            Err(Miss::Status { .. }) => Ok(String::new()),
            Err(miss) => Err(miss),
        }
    }

    /// Lets the next question of this probe use the connection. Between probes none is kept: a new
    /// connection each time also shows that one can be made.
    async fn keep(&self, session: HttpSession, question: &Question<'_>) {
        let peer = &*question.endpoint.peer;
        self.connector
            .release_http_session(session, peer, Some(question.timeout))
            .await;
    }

    async fn ask(
        &self,
        question: &Question<'_>,
        path: &'static str,
        connected: &mut bool,
    ) -> Result<(Vec<u8>, HttpSession), Miss> {
        let closed = |error: Box<Error>| no_answer(path, &error);
        let peer = &*question.endpoint.peer;
        let (mut session, _) = self
            .connector
            .get_http_session(peer)
            .await
            .map_err(|error| no_connection(&error))?;
        *connected = true;
        session
            .write_request_header(Box::new(head(question, path)))
            .await
            .map_err(closed)?;
        session.finish_request_body().await.map_err(closed)?;
        session.read_response_header().await.map_err(closed)?;
        let status = session
            .response_header()
            .map_or(0, |head| head.status.as_u16());
        if status != 200 {
            return Err(Miss::Status { path, status });
        }
        let mut answer = Vec::new();
        while let Some(piece) = session.read_response_body().await.map_err(closed)? {
            if answer.len() + piece.len() > MOST {
                return Err(Miss::TooLong(path));
            }
            answer.extend_from_slice(&piece);
        }
        Ok((answer, session))
    }
}

fn head(question: &Question<'_>, path: &'static str) -> RequestHeader {
    let mut head =
        RequestHeader::build("GET", path.as_bytes(), Some(4)).expect("the path is valid");
    let fields = [
        (header::HOST, Some(&question.endpoint.host)),
        (header::ACCEPT, Some(&JSON)),
        (header::USER_AGENT, Some(&AGENT)),
        (header::AUTHORIZATION, question.authorization),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            head.insert_header(name, value.clone())
                .expect("the value is a header value already");
        }
    }
    head
}

fn body(path: &'static str) -> impl Fn(Malformed) -> Miss {
    move |cause| Miss::Body { path, cause }
}

fn no_answer(path: &'static str, error: &Error) -> Miss {
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
        other => Miss::NoConnection(other.as_str().to_owned()),
    }
}
