//! One try of one backend: a connection, the request and the beginning of its answer, of several parts where it takes several
//! requests.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora::http::RequestHeader;

use crate::fleet::Backend;
use crate::proxy::attempt::answer::{UpstreamAnswer, headers_of};
use crate::proxy::attempt::continuation::Continuation;
use crate::proxy::attempt::error_status::error_body;
use crate::proxy::attempt::first_content::first_content;
use crate::proxy::attempt::judge::judge_beginning;
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::attempt::send::{NoHead, send};
use crate::proxy::attempt::upstream_request::UpstreamRequest;
use crate::proxy::attempt::upstreams::ProviderSide;
use crate::proxy::ctx::Sending;
use crate::proxy::failure::attempt::{AttemptError, Unanswered};
use crate::proxy::failure::deadline::Deadline;
use crate::proxy::offload::LONG;
use crate::proxy::prepared::ModelRequest;
use remuda_formats::dialect::rate_limits::RateLimits;

/// Why one try over one connection gave no answer.
pub(crate) enum NoAnswer {
    /// The connection came from the pool, and the backend had closed it, so that the request is to be sent again.
    Stale,
    Failed(Unanswered),
}

impl From<AttemptError> for NoAnswer {
    fn from(error: AttemptError) -> Self {
        NoAnswer::Failed(error.into())
    }
}

/// Sends the request to `backend` and waits for the first content until the deadline. The caller watches whether the client is
/// still there.
///
/// # Errors
/// The reason why the connection gave no answer.
pub(super) async fn attempt(
    side: &ProviderSide,
    (request, backend): (Arc<ModelRequest>, Arc<Backend>),
    written: UpstreamRequest,
    sending: Sending,
    deadline: Deadline,
) -> Result<Box<UpstreamAnswer>, NoAnswer> {
    let trying = async {
        let beginning = begin(side, (&request, &backend), written, sending);
        match tokio::time::timeout_at(deadline.at().into(), beginning).await {
            Ok(begun) => begun,
            Err(_) => Err(missed(deadline).into()),
        }
    };
    tokio::select! {
        biased;
        begun = trying => begun,
        // Boxed: hardly ever of use.
        () = Box::pin(backend.silenced()) => Err(AttemptError::silence().into()),
    }
}

/// Returns the error of an attempt without content at its deadline: the server has failed, or the request's own time is over.
fn missed(deadline: Deadline) -> AttemptError {
    match deadline {
        Deadline::Server(_) => AttemptError::timed_out(),
        Deadline::Request(limit) => AttemptError::Overdue(limit),
    }
}

/// Connects, sends the request, and reads the answer until its first content.
async fn begin(
    side: &ProviderSide,
    (request, backend): (&ModelRequest, &Backend),
    mut written: UpstreamRequest,
    sending: Sending,
) -> Result<Box<UpstreamAnswer>, NoAnswer> {
    if let Some(continuation) = written.continuation.take() {
        // Boxed: hardly ever of use.
        Box::pin(write_on(side, backend, *continuation, &mut written)).await;
    }
    let mut upstream = side
        .connections
        .open(backend)
        .await
        .map_err(|_| AttemptError::connect_failed())?;
    let UpstreamRequest {
        head,
        body,
        more,
        reader,
        dropped,
        continuation: _,
        across,
        streamed,
    } = written;
    match send(&mut upstream, head, &body, Some(sending)).await {
        Ok(()) => {
            drop(body);
            let mut answer = Box::new(UpstreamAnswer {
                upstream,
                begun: BytesMut::new(),
                ended: false,
                reader,
                ending: None,
                dropped,
                limits: None,
                across,
                streamed,
            });
            match beginning(&mut answer, side, (request, backend), more).await {
                Ok(()) => {
                    if !backend.provider.settings.kind.is_fleet() {
                        let headers = headers_of(&answer.upstream);
                        answer.limits = RateLimits::read(&headers, SystemTime::now());
                    }
                    Ok(answer)
                }
                Err(error) => Err(NoAnswer::Failed(unanswered(error, &answer, side))),
            }
        }
        Err(NoHead::Stale) => Err(NoAnswer::Stale),
        Err(NoHead::Broken) => Err(AttemptError::reset().into()),
    }
}

/// Reads all of the answer that comes before the client is told anything.
async fn beginning(
    answer: &mut UpstreamAnswer,
    side: &ProviderSide,
    (request, backend): (&ModelRequest, &Backend),
    more: Vec<(RequestHeader, Bytes)>,
) -> Result<(), AttemptError> {
    first_content(answer, request, backend).await?;
    for part in more {
        Box::pin(next_part(answer, side, (request, backend), part)).await?;
    }
    conclude_early(answer, side).await;
    judge_beginning(answer, request, backend)
}

/// Judges an answer that was gathered to its end.
pub(super) async fn end_gathered(
    answer: &mut UpstreamAnswer,
    side: &ProviderSide,
    request: &ModelRequest,
    backend: &Backend,
) -> Result<(), AttemptError> {
    conclude_early(answer, side).await;
    judge_beginning(answer, request, backend)
}

/// Adds to the error of an attempt the usage that its provider reported before it failed, and counts the lines or events that
/// could not be read.
pub(super) fn unanswered(
    error: AttemptError,
    answer: &UpstreamAnswer,
    side: &ProviderSide,
) -> Unanswered {
    side.malformed.inc_by(answer.reader.malformed());
    Unanswered {
        error,
        usage: answer.reader.usage().map(Box::new),
    }
}

/// Sends the next of several requests whose answers make up one, after the one before was answered whole, and reads its answer
/// until the first content.
async fn next_part(
    answer: &mut UpstreamAnswer,
    side: &ProviderSide,
    (request, backend): (&ModelRequest, &Backend),
    (head, body): (RequestHeader, Bytes),
) -> Result<(), AttemptError> {
    let headers = headers_of(&answer.upstream);
    let taken = if answer.reader.held() < LONG {
        answer.reader.part(&headers)
    } else {
        drop(headers);
        answer
            .aside(&side.offload, |reader, headers| reader.part(headers))
            .await
    };
    if let Err(fault) = taken {
        return Err(AttemptError::of_fault(&fault, backend));
    }
    let refused = |_| AttemptError::connect_failed();
    let next = side.connections.open_new(backend).await.map_err(refused)?;
    let last = std::mem::replace(&mut answer.upstream, next);
    last.let_end().await;
    send(&mut answer.upstream, head, &body, None)
        .await
        .map_err(|_| AttemptError::reset())?;
    first_content(answer, request, backend).await
}

/// Ends an answer whose body has come whole, so that a fault at its end still finds another backend.
async fn conclude_early(answer: &mut UpstreamAnswer, side: &ProviderSide) {
    if answer.ended && may_conclude(&answer.reader) {
        if answer.reader.held() < LONG {
            answer.conclude()
        } else {
            Box::pin(answer.conclude_aside(&side.offload)).await
        }
    }
}

/// Returns whether an answer whose body has come whole may be ended before its client is told anything: not if it has begun and
/// passes, as its client gets what there is.
fn may_conclude(reader: &AnswerReader) -> bool {
    reader.composes() || !reader.begun()
}

/// Has the answer written on rather than told again, if its server tells the prompt.
async fn write_on(
    side: &ProviderSide,
    backend: &Backend,
    mut continuation: Continuation,
    written: &mut UpstreamRequest,
) {
    let Some((head, body)) = continuation.question.take() else {
        return;
    };
    let Some(answer) = ask_aside(side, backend, head, &body).await else {
        return;
    };
    if let Some((head, body, reader)) = continuation.request(&answer) {
        (written.head, written.body, written.reader) = (head, body, reader);
    }
}

/// Asks the backend a question for which no model has to run. Returns the body of its answer, which is short; `None` unless the
/// status is 200.
pub(crate) async fn ask_aside(
    side: &ProviderSide,
    backend: &Backend,
    head: RequestHeader,
    body: &Bytes,
) -> Option<Bytes> {
    let mut upstream = side.connections.open_new(backend).await.ok()?;
    send(&mut upstream, head, body, None).await.ok()?;
    let succeeded = upstream.head()?.status == StatusCode::OK;
    let answer = error_body(&mut upstream).await;
    if upstream.done() {
        upstream.release().await;
    }
    succeeded.then_some(answer)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::metrics::AttemptOutcome;
    use crate::proxy::failure::deadline::{TOTAL, TimeLimit};
    use remuda_formats::client::Operation;
    use remuda_formats::translate::{Gathering, Passing};

    #[test]
    fn a_server_that_misses_its_deadline_has_failed_and_a_request_that_misses_its_own_is_over() {
        let now = Instant::now();
        let limit = TimeLimit::after(now, TOTAL, Some(Duration::from_secs(1)));
        let limit = limit.expect("it is stated");
        assert!(matches!(
            missed(Deadline::Server(now)),
            AttemptError::Retryable {
                outcome: AttemptOutcome::Timeout,
                report: Some(_),
                ..
            }
        ));
        assert!(matches!(
            missed(Deadline::Request(limit)),
            AttemptError::Overdue(told) if told == limit
        ));
    }

    #[test]
    fn an_answer_that_passes_is_not_concluded_once_it_has_begun() {
        let content = b"{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n";
        let head = pingora::http::ResponseHeader::build(200, None).unwrap();
        let gathering = Gathering::of(Operation::Chat).expect("chats are gathered");
        for (mut reader, before, after) in [
            (
                AnswerReader::same(Passing::new(Operation::Chat, true)),
                true,
                false,
            ),
            (AnswerReader::Gathered(Box::new(gathering)), true, true),
        ] {
            reader.begin(&head);
            assert_eq!(may_conclude(&reader), before);
            let _ = reader.feed(content);
            assert!(reader.begun());
            assert_eq!(may_conclude(&reader), after);
        }
    }
}
