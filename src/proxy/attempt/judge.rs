//! What an answer is worth that has come: content, or an error and whose fault that is.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use tokio::time::timeout_at;

use crate::fleet::{self, Backend};
use crate::metrics::AttemptOutcome;
use crate::proxy::attempt::answer::{UpstreamAnswer, headers_of};
use crate::proxy::attempt::reader::LAST_END;
use crate::proxy::failure::attempt::{AttemptError, Cause, ClientError};
use crate::proxy::failure::error_answer::{self, ErrorAnswer};
use crate::proxy::failure::{Failure, is_the_operators};
use crate::proxy::prepared::ModelRequest;
use crate::proxy::upstream::Upstream;
use remuda_formats::client::Operation;
use remuda_formats::dialect::blame::is_about_model;
use remuda_formats::dialect::ollama;
use remuda_formats::ir::{Class, Fault, FaultKind};
use remuda_formats::translate;
use remuda_formats::wire::ndjson::BYTE_ORDER_MARK;

/// Bytes of a backend's error answer that are kept to be relayed.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// How long a backend may take to send the body of its error answer.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns whether what came is worth sending. What is not is judged alike whether it would have passed or been translated.
pub(super) fn judge_beginning(
    answer: &UpstreamAnswer,
    request: &ModelRequest,
    backend: &Backend,
) -> Result<(), AttemptError> {
    let reader = &answer.reader;
    let Some(fault) = reader.fault() else {
        return Ok(());
    };
    // What was held of an answer that is no stream has been shown to nobody, nor what was translated at once.
    let shown = reader.begun() && reader.streams();
    let is_held = request.operation.is_inference() || request.operation == Operation::Show;
    if !reader.translates() && (shown || !is_held) {
        return Ok(());
    }
    Err(match fault.kind {
        FaultKind::Incomplete => broke_off(answer, fault, backend),
        FaultKind::Garbled => AttemptError::of_fault(fault, backend),
        _ => only_an_error(answer, fault, backend, request.operation),
    })
}

/// Judges an answer that ended before its content: a 200 without a single line is a runner that died.
fn broke_off(answer: &UpstreamAnswer, fault: &Fault, backend: &Backend) -> AttemptError {
    match (
        AttemptError::reset(),
        AttemptError::of_fault(fault, backend),
    ) {
        (
            AttemptError::Retryable {
                outcome, report, ..
            },
            AttemptError::Retryable { error, cause, .. },
        ) if answer.reader.translates() => AttemptError::Retryable {
            outcome,
            report,
            error,
            cause,
        },
        (reset, _) => reset,
    }
}

/// Judges an answer of status 200 that is nothing but an error. If no other candidate does better, the client is told of it as of
/// an error answer: by what can be done about it, and of an Ollama server in its own words.
fn only_an_error(
    answer: &UpstreamAnswer,
    fault: &Fault,
    backend: &Backend,
    operation: Operation,
) -> AttemptError {
    let fleet = backend.provider.settings.kind.is_fleet();
    match AttemptError::of_fault(fault, backend) {
        AttemptError::Retryable {
            report,
            error,
            cause,
            ..
        } => AttemptError::Retryable {
            outcome: AttemptOutcome::ErrorLine,
            // A runner that fails is not its server.
            report: report.filter(|_| !fleet),
            error: match error {
                Some(ClientError::Failure(failure)) if fleet && !is_the_operators(fault) => {
                    in_place_of_answer(answer, failure, operation)
                }
                error => error,
            },
            cause: if fleet {
                cause
            } else {
                cause.of_answer(StatusCode::OK, &headers_of(&answer.upstream))
            },
        },
        other => other,
    }
}

/// Returns a server's own error that came under status 200, with the status that it is told with; what was translated has no
/// words in the client's format but the gateway's.
fn in_place_of_answer(
    answer: &UpstreamAnswer,
    failure: Box<Failure>,
    operation: Operation,
) -> Option<ClientError> {
    let line = Bytes::copy_from_slice(answer.reader.failing().trim_ascii());
    if line.is_empty() {
        return Some(ClientError::Failure(failure));
    }
    let mut error = error_answer(&answer.upstream, line, operation)?;
    if let ClientError::Answer(answer) = &mut error {
        let head = &mut answer.head;
        head.set_status(StatusCode::from_u16(failure.status).ok()?)
            .ok()?;
        let json = "application/json; charset=utf-8";
        head.insert_header(header::CONTENT_TYPE, json).ok()?;
        if let Some(seconds) = failure.retry_after {
            head.insert_header(header::RETRY_AFTER, seconds).ok()?;
        }
    }
    Some(error)
}

/// Judges a provider's error answer: sorts it by what it means, and puts it into the client's own format.
pub(super) async fn provider_refused(
    answer: &mut UpstreamAnswer,
    backend: &Backend,
    status: StatusCode,
    operation: Operation,
) -> AttemptError {
    let body = error_body(&mut answer.upstream).await;
    let headers = headers_of(&answer.upstream);
    let kind = backend.provider.settings.kind;
    let fault = translate::fault(kind, status.as_u16(), &headers, &body);
    let same = !answer.across && fault.class == Class::Permanent;
    let silent = kind.is_fleet()
        && status.is_client_error()
        && is_blank(&body)
        && !refuses_key(backend, status.as_u16(), &body);
    match error_answer(&answer.upstream, body, operation) {
        // In the client's own format the provider's words are best.
        Some(error) if same => AttemptError::Final(error, fault.mend),
        _ => match AttemptError::of_answer(&fault, backend, Some(status.as_u16())) {
            AttemptError::Retryable {
                outcome,
                report,
                error,
                cause,
            } => AttemptError::Retryable {
                outcome,
                report,
                // Its refusal is of the request, whatever that status says elsewhere.
                error: match &error {
                    Some(ClientError::Failure(failure)) if silent && failure.status >= 500 => {
                        Some(wordless(backend, status))
                    }
                    _ => error,
                },
                cause: cause.of_answer(status, &headers_of(&answer.upstream)),
            },
            other => other,
        },
    }
}

/// Returns whether an answer is HTML, which no API answers with, but a login page or a portal in between does.
pub(super) fn is_page(head: &ResponseHeader) -> bool {
    const PAGE: &[u8] = b"text/html";
    head.headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().get(..PAGE.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(PAGE))
}

/// Reads a status that another backend might not give.
pub(super) async fn refused(
    upstream: &mut Upstream,
    request: &ModelRequest,
    backend: &Backend,
    status: StatusCode,
) -> Option<AttemptError> {
    let model_vanished = status == StatusCode::NOT_FOUND && request.operation.is_inference();
    let of_account = matches!(status.as_u16(), 401..=403);
    let of_server = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    if !(of_server || of_account || model_vanished) {
        return None;
    }
    let body = error_body(upstream).await;
    let headers = headers_of(upstream);
    if of_account {
        drop(headers);
        let operation = request.operation;
        return Some(account_refused(upstream, body, backend, status, operation));
    }
    let request_fault = status.is_server_error() && ollama::is_request_fault(&body);
    let fault = ollama::fault(status.as_u16(), &headers, &body);
    // The server has read the request, and says that it is at fault, or its model.
    let blameless = matches!(status.as_u16(), 500 | 501) && fault.class == Class::Route;
    let cause = if blameless {
        Cause::of_fault(&fault).of_answer(status, &headers)
    } else {
        Cause {
            of_model: status == StatusCode::INTERNAL_SERVER_ERROR && is_about_model(&fault.message),
            ..Cause::of_status(status, &headers)
        }
    };
    drop(headers);
    let answer = if is_blank(&body) {
        let status = Some(status.as_u16());
        let failure = Failure::of_server(&fault, &backend.provider.name, status);
        Some(ClientError::Failure(Box::new(failure)))
    } else {
        error_answer(upstream, body, request.operation)
    };
    match answer {
        Some(error) if request_fault => Some(AttemptError::Final(error, None)),
        error if status.is_server_error() && !blameless => Some(AttemptError::Retryable {
            outcome: AttemptOutcome::ServerError,
            report: (!cause.of_model).then_some(fleet::RequestOutcome::ServerError),
            error,
            cause,
        }),
        error => Some(AttemptError::Retryable {
            outcome: AttemptOutcome::Refused,
            report: None,
            error,
            cause,
        }),
    }
}

/// Judges a server's answer of 401, 402 or 403: it is about the gateway's own key or account, so that another server may do better, or
/// about the request.
fn account_refused(
    upstream: &Upstream,
    body: Bytes,
    backend: &Backend,
    status: StatusCode,
    operation: Operation,
) -> AttemptError {
    let headers = headers_of(upstream);
    let fault = ollama::fault(status.as_u16(), &headers, &body);
    let of_key = is_the_operators(&fault) && refuses_key(backend, status.as_u16(), &body);
    match AttemptError::of_answer(&fault, backend, None) {
        AttemptError::Retryable {
            outcome,
            report,
            error,
            cause,
        } if of_key => AttemptError::Retryable {
            outcome,
            report,
            error,
            cause: cause.of_answer(status, &headers),
        },
        _ => AttemptError::Final(objection(upstream, body, backend, status, operation), None),
    }
}

/// Returns whether a server of a fleet, or what stands before it, refuses the gateway's own key or account: a client has nothing to
/// do with either. Without a key, a 403 that says nothing is what Ollama answers to a host or an origin.
pub(crate) fn refuses_key(backend: &Backend, status: u16, body: &[u8]) -> bool {
    let settings = &backend.provider.settings;
    let has_key =
        settings.api_key.is_some() || !settings.api_keys.is_empty() || !settings.headers.is_empty();
    match status {
        401 | 402 => true,
        403 => has_key || !is_blank(body),
        _ => false,
    }
}

/// Returns a server's whole answer to a request that it does not take (4xx), in its own words if it has any.
pub(super) fn objection(
    upstream: &Upstream,
    body: Bytes,
    backend: &Backend,
    status: StatusCode,
    operation: Operation,
) -> ClientError {
    if is_blank(&body) {
        return wordless(backend, status);
    }
    error_answer(upstream, body, operation).unwrap_or_else(|| wordless(backend, status))
}

/// Returns what is told of a server that answers with a status and nothing else, as Ollama does to a page of a foreign origin.
fn wordless(backend: &Backend, status: StatusCode) -> ClientError {
    let provider = &backend.provider.name;
    let text =
        format!("provider {provider}: its server answered with status {status}, and nothing else");
    ClientError::Failure(Box::new(Failure::new(
        status.as_u16(),
        "backend_error",
        text,
    )))
}

fn is_blank(body: &[u8]) -> bool {
    body.trim_ascii().is_empty()
}

/// Returns an error answer in the form that the client reads. The body may have been cut to its bound, so its length is stated anew when it is relayed.
fn error_answer(upstream: &Upstream, body: Bytes, operation: Operation) -> Option<ClientError> {
    let mut head = upstream.head()?.clone();
    head.remove_header(&header::CONTENT_LENGTH);
    let answer = error_answer::for_client(ErrorAnswer { head, body }, operation);
    Some(ClientError::Answer(Box::new(answer)))
}

/// Returns what a backend says of its failure, as far as it comes in time: some say all of it and leave the body open.
pub(super) async fn error_body(upstream: &mut Upstream) -> Bytes {
    let deadline = Instant::now() + ERROR_BODY_TIMEOUT;
    let mut body = BytesMut::new();
    while body.len() < MAX_ERROR_BODY {
        let until = if translate::is_whole(&body) {
            deadline.min(Instant::now() + LAST_END)
        } else {
            deadline
        };
        let Ok(Ok(Some(piece))) = timeout_at(until.into(), upstream.read_piece()).await else {
            break;
        };
        let room = MAX_ERROR_BODY - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    if body.starts_with(BYTE_ORDER_MARK) {
        body.advance(BYTE_ORDER_MARK.len());
    }
    body.freeze()
}
