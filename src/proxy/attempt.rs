//! One try of one backend, up to its first content: until then the client has seen nothing, and any
//! failure may be answered with the next candidate.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use memchr::{memchr, memmem};
use pingora::ErrorType;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;

use super::body::Body;
use super::client::departed;
use super::heads;
use super::upstream::Upstream;
use super::{Gateway, ProviderSide};
use crate::dialect::ollama::{self, First, Operation, Tap};
use crate::fleet::{self, Backend};
use crate::metrics::AttemptOutcome;

/// Bytes of a backend's error answer that are kept to be relayed.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// Bytes of an answer that may come without content: what Ollama's own client accepts as a line.
const MAX_BEGINNING: usize = 8 * 1024 * 1024;
/// How long a backend may take to send the body of its error answer.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer is waited for after the backend stopped taking the request's body.
const EARLY_ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// What every attempt at one request has in common.
pub(super) struct Job {
    pub(super) operation: Operation,
    pub(super) body: Body,
    pub(super) has_body: bool,
    pub(super) streams: bool,
}

/// An answer that has begun. Always boxed: by value it would lie in every future that it passes through.
pub(super) struct Answer {
    pub(super) upstream: Upstream,
    /// The body as far as it has been read.
    pub(super) begun: BytesMut,
    /// The body has come to its end.
    pub(super) ended: bool,
    pub(super) tap: Tap,
}

/// A backend's own error answer.
#[derive(Debug)]
pub(super) struct ErrorAnswer {
    pub(super) head: ResponseHeader,
    pub(super) body: Bytes,
}

/// Why an attempt gave no answer.
pub(super) enum Setback {
    /// The client left.
    ClientGone,
    /// Another backend may do better.
    Next {
        outcome: AttemptOutcome,
        /// What it says about the backend.
        report: Option<fleet::Outcome>,
        /// Relayed if there is no other candidate.
        answer: Option<Box<ErrorAnswer>>,
    },
    /// The backend's error is about the request, so no other would do better.
    Final(Box<ErrorAnswer>),
}

impl Setback {
    fn next(outcome: AttemptOutcome, report: fleet::Outcome) -> Self {
        Setback::Next {
            outcome,
            report: Some(report),
            answer: None,
        }
    }

    pub(super) fn reset() -> Self {
        Self::next(AttemptOutcome::Reset, fleet::Outcome::Reset)
    }

    fn timed_out() -> Self {
        Self::next(AttemptOutcome::Timeout, fleet::Outcome::TimedOut)
    }
}

/// Why one exchange over one connection gave no answer.
pub(super) enum NoAnswer {
    /// The connection came from the pool and the backend had closed it: to be tried again.
    Stale,
    Setback(Setback),
}

impl From<Setback> for NoAnswer {
    fn from(setback: Setback) -> Self {
        NoAnswer::Setback(setback)
    }
}

/// Why a connection gave no head.
enum NoHead {
    /// It came from the pool and the backend had closed it.
    Stale,
    Broken,
}

impl Gateway {
    /// Sends the request to `backend` and waits for the first content, until `deadline`.
    pub(super) async fn attempt(
        &self,
        client: &mut ServerSession,
        job: &Job,
        backend: &Backend,
        head: RequestHeader,
        deadline: Instant,
    ) -> Result<Box<Answer>, NoAnswer> {
        let side = &self.upstreams[backend.provider.index];
        let trying = async {
            match tokio::time::timeout_at(deadline.into(), begin(side, job, backend, head)).await {
                Ok(begun) => begun,
                Err(_) => Err(Setback::timed_out().into()),
            }
        };
        tokio::select! {
            biased;
            begun = trying => begun,
            () = departed(client) => Err(Setback::ClientGone.into()),
        }
    }
}

async fn begin(
    side: &ProviderSide,
    job: &Job,
    backend: &Backend,
    head: RequestHeader,
) -> Result<Box<Answer>, NoAnswer> {
    let mut upstream =
        side.connections.open(backend).await.map_err(|_| {
            Setback::next(AttemptOutcome::ConnectError, fleet::Outcome::ConnectFailed)
        })?;
    match exchange(&mut upstream, head, &job.body.bytes).await {
        Ok(()) => Ok(first_content(upstream, job).await?),
        Err(NoHead::Stale) => Err(NoAnswer::Stale),
        Err(NoHead::Broken) => Err(Setback::reset().into()),
    }
}

/// Sends the request and reads the head of its answer.
async fn exchange(
    upstream: &mut Upstream,
    head: RequestHeader,
    body: &Bytes,
) -> Result<(), NoHead> {
    let broken = |upstream: &Upstream| {
        if upstream.reused {
            NoHead::Stale
        } else {
            NoHead::Broken
        }
    };
    if upstream.send(head, body).await.is_err() {
        // A backend may answer (413, 503) without taking the whole body.
        let answered = tokio::time::timeout(EARLY_ANSWER_TIMEOUT, upstream.read_head()).await;
        return match answered {
            Ok(Ok(_)) => Ok(()),
            _ => Err(broken(upstream)),
        };
    }
    match upstream.read_head().await {
        Ok(_) => Ok(()),
        // A server that closed an idle connection answers what comes after by FIN or by RST.
        Err(error) => match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::ReadError => Err(broken(upstream)),
            _ => Err(NoHead::Broken),
        },
    }
}

async fn first_content(mut upstream: Upstream, job: &Job) -> Result<Box<Answer>, Setback> {
    let head = upstream.head().ok_or_else(Setback::reset)?;
    let status = head.status;
    // An error that is no stream (400, 404) comes as one JSON body whatever was asked for.
    let streams = job.streams && status.is_success() && is_stream(head);
    if let Some(setback) = refused(&mut upstream, job, status).await {
        return Err(setback);
    }
    let mut tap = Tap::new(job.operation, streams);
    let mut begun = BytesMut::new();
    let mut line_ended = false;
    let ended = loop {
        match upstream.read_piece().await {
            Ok(Some(piece)) => {
                tap.feed(piece);
                line_ended |= memchr(b'\n', piece).is_some();
                begun.extend_from_slice(piece);
                let first = tap.first().is_some();
                let whole = !streams || (line_ended && has_unit(&begun, job.operation));
                if (first && whole) || !job.operation.is_inference() {
                    break upstream.done();
                }
                if begun.len() > MAX_BEGINNING {
                    if first {
                        break upstream.done();
                    }
                    return Err(Setback::reset());
                }
            }
            Ok(None) => break true,
            Err(_) => return Err(Setback::reset()),
        }
    };
    if status.is_success() && job.operation.is_inference() {
        match tap.first() {
            Some(First::Error { .. }) => {
                return Err(Setback::Next {
                    outcome: AttemptOutcome::ErrorLine,
                    report: None,
                    answer: error_answer(&upstream, begun.freeze()),
                });
            }
            // A 200 without a single line is a runner that died, not an answer.
            None if ended => return Err(Setback::reset()),
            _ => {}
        }
    }
    Ok(Box::new(Answer {
        upstream,
        begun,
        ended,
        tap,
    }))
}

fn is_stream(head: &ResponseHeader) -> bool {
    head.headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json"))
}

/// Reads a status that another backend might not give.
async fn refused(upstream: &mut Upstream, job: &Job, status: StatusCode) -> Option<Setback> {
    let model_vanished = status == StatusCode::NOT_FOUND && job.operation.is_inference();
    if !(status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || model_vanished) {
        return None;
    }
    let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, error_body(upstream))
        .await
        .unwrap_or_default();
    let request_fault = status.is_server_error() && ollama::is_request_fault(&body);
    let answer = error_answer(upstream, body);
    match answer {
        Some(answer) if request_fault => Some(Setback::Final(answer)),
        answer if status.is_server_error() => Some(Setback::Next {
            outcome: AttemptOutcome::ServerError,
            report: Some(fleet::Outcome::ServerError),
            answer,
        }),
        answer => Some(Setback::Next {
            outcome: AttemptOutcome::Refused,
            report: None,
            answer,
        }),
    }
}

/// The body may have been cut to its bound, so its length is stated anew when it is relayed.
fn error_answer(upstream: &Upstream, body: Bytes) -> Option<Box<ErrorAnswer>> {
    let mut head = upstream.head()?.clone();
    head.remove_header(&header::CONTENT_LENGTH);
    Some(Box::new(ErrorAnswer { head, body }))
}

/// Whether the beginning of a stream holds a whole line or event. Before that the client is sent nothing, so that a
/// stream that breaks within the first can still go to the next candidate.
fn has_unit(begun: &[u8], operation: Operation) -> bool {
    let begun = begun.trim_ascii_start();
    match operation.framing() {
        ollama::Framing::Sse => {
            memmem::find(begun, b"\n\n").is_some() || memmem::find(begun, b"\n\r\n").is_some()
        }
        _ => memchr(b'\n', begun).is_some(),
    }
}

async fn error_body(upstream: &mut Upstream) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(piece)) = upstream.read_piece().await {
        let room = MAX_ERROR_BODY - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == MAX_ERROR_BODY {
            break;
        }
    }
    body.freeze()
}

impl Gateway {
    /// The head that goes to `backend`.
    pub(super) fn upstream_head(
        &self,
        inbound: &RequestHeader,
        ctx: &super::ctx::Inbound,
        job: &Job,
        backend: &Backend,
    ) -> pingora::Result<RequestHeader> {
        heads::upstream_request(
            inbound,
            &heads::Rewrite {
                host: &backend.host,
                authorization: self.upstreams[backend.provider.index]
                    .authorization
                    .as_ref(),
                content_length: job.has_body.then_some(job.body.bytes.len()),
                request_id: &ctx.request_id,
                client: ctx.client,
                forwarded: self.settings.server.forwarded,
            },
        )
    }
}
