//! One try of one backend, up to its first content: until then the client has seen nothing, and any
//! failure may be answered with the next candidate.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
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
/// How long a backend may take to send the body of its error answer.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer is waited for after the backend stopped taking the request's body.
const EARLY_ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// Pooled connections that may turn out to be closed before a new one is made.
const STALE_CONNECTIONS: u32 = 3;

/// What every attempt at one request has in common.
pub(super) struct Job {
    pub(super) operation: Operation,
    pub(super) body: Body,
    pub(super) has_body: bool,
    pub(super) streams: bool,
}

/// An answer that has begun.
pub(super) struct Answer {
    pub(super) upstream: Upstream,
    pub(super) head: ResponseHeader,
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

    fn reset() -> Self {
        Self::next(AttemptOutcome::Reset, fleet::Outcome::Reset)
    }

    fn timed_out() -> Self {
        Self::next(AttemptOutcome::Timeout, fleet::Outcome::TimedOut)
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
    ) -> Result<Answer, Setback> {
        let side = &self.upstreams[backend.provider.index];
        let trying = async {
            match tokio::time::timeout_at(deadline.into(), begin(side, job, backend, head)).await {
                Ok(begun) => begun,
                Err(_) => Err(Setback::timed_out()),
            }
        };
        tokio::select! {
            biased;
            begun = trying => begun,
            () = departed(client) => Err(Setback::ClientGone),
        }
    }
}

async fn begin(
    side: &ProviderSide,
    job: &Job,
    backend: &Backend,
    head: RequestHeader,
) -> Result<Answer, Setback> {
    let mut stale = 0;
    loop {
        let mut upstream = side.connections.open(backend).await.map_err(|_| {
            Setback::next(AttemptOutcome::ConnectError, fleet::Outcome::ConnectFailed)
        })?;
        match exchange(&mut upstream, head.clone(), &job.body.bytes).await {
            Ok(()) => return first_content(upstream, job).await,
            Err(NoHead::Stale) if stale < STALE_CONNECTIONS => stale += 1,
            Err(_) => return Err(Setback::reset()),
        }
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

async fn first_content(mut upstream: Upstream, job: &Job) -> Result<Answer, Setback> {
    let head = upstream.head().cloned().ok_or_else(Setback::reset)?;
    if let Some(setback) = refused(&mut upstream, job, &head).await {
        return Err(setback);
    }
    // An error that is no stream (400, 404) comes as one JSON body whatever was asked for.
    let streams = job.streams && head.status.is_success() && is_stream(&head);
    let mut tap = Tap::new(job.operation, streams);
    let mut begun = BytesMut::new();
    let ended = loop {
        match upstream.read_piece().await {
            Ok(Some(piece)) => {
                tap.feed(piece);
                begun.extend_from_slice(piece);
                if tap.first().is_some() || !job.operation.is_inference() {
                    break upstream.done();
                }
            }
            Ok(None) => break true,
            Err(_) => return Err(Setback::reset()),
        }
    };
    if head.status.is_success() && job.operation.is_inference() {
        match tap.first() {
            Some(First::Error { .. }) => {
                let body = begun.freeze();
                return Err(Setback::Next {
                    outcome: AttemptOutcome::ErrorLine,
                    report: None,
                    answer: Some(Box::new(ErrorAnswer { head, body })),
                });
            }
            // A 200 without a single line is a runner that died, not an answer.
            None if ended => return Err(Setback::reset()),
            _ => {}
        }
    }
    Ok(Answer {
        upstream,
        head,
        begun,
        ended,
        tap,
    })
}

fn is_stream(head: &ResponseHeader) -> bool {
    head.headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json"))
}

/// Reads a status that another backend might not give.
async fn refused(upstream: &mut Upstream, job: &Job, head: &ResponseHeader) -> Option<Setback> {
    let status = head.status;
    let model_vanished = status == StatusCode::NOT_FOUND && job.operation.is_inference();
    if !(status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || model_vanished) {
        return None;
    }
    let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, error_body(upstream))
        .await
        .unwrap_or_default();
    let answer = Box::new(ErrorAnswer {
        head: without_length(head),
        body,
    });
    if !status.is_server_error() {
        return Some(Setback::Next {
            outcome: AttemptOutcome::Refused,
            report: None,
            answer: Some(answer),
        });
    }
    if ollama::is_request_fault(&answer.body) {
        return Some(Setback::Final(answer));
    }
    Some(Setback::Next {
        outcome: AttemptOutcome::ServerError,
        report: Some(fleet::Outcome::ServerError),
        answer: Some(answer),
    })
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

/// The body may have been cut to its bound, so its length is stated anew.
fn without_length(head: &ResponseHeader) -> ResponseHeader {
    let mut head = head.clone();
    head.remove_header(&header::CONTENT_LENGTH);
    head
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
