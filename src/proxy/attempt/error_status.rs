//! What an answer with an error's status is worth: whose fault the error is, who else may be asked, and what the client is
//! told of it.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use tokio::time::timeout_at;

use crate::fleet::{self, Backend};
use crate::metrics::AttemptOutcome;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::reader::LAST_END;
use crate::proxy::failure::attempt::{AttemptError, Cause, ClientError};
use crate::proxy::failure::error_answer::{self, ErrorAnswer};
use crate::proxy::failure::{Failure, is_the_operators};
use crate::proxy::upstream::Upstream;
use remuda_formats::client::Operation;
use remuda_formats::dialect::blame::is_about_model;
use remuda_formats::dialect::ollama;
use remuda_formats::ir::Class;
use remuda_formats::translate;
use remuda_formats::wire::ndjson::BYTE_ORDER_MARK;

/// Bytes of a backend's error answer that are kept to be relayed.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// How long a backend may take to send the body of its error answer.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the body of an answer with an error's status, and judges the error.
pub(super) async fn judge_error(
    answer: &mut UpstreamAnswer,
    backend: &Backend,
    operation: Operation,
) -> AttemptError {
    let body = error_body(&mut answer.upstream).await;
    let Some(head) = answer.upstream.head() else {
        return AttemptError::reset();
    };
    let error = ErrorStatus {
        head,
        body,
        across: answer.across,
    };
    error.judge(backend, operation)
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

/// An answer with another status than 2xx.
struct ErrorStatus<'a> {
    head: &'a ResponseHeader,
    body: Bytes,
    /// Whether the client gets another format than the backend's.
    across: bool,
}

/// By which rules an error is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    /// Those of a status by which an Ollama server refuses the gateway's key or account, if not the request.
    Account,
    /// Those of a status of an Ollama server's that another server might not give.
    Server,
    /// Those of an Ollama server's objection to the request.
    Objection,
    /// Those of any other provider, by what its error means in its own format.
    Provider,
}

impl Rules {
    /// Returns the rules for an error; `passes` if it comes from an Ollama server whose own format the client speaks.
    fn of(status: StatusCode, passes: bool, operation: Operation) -> Rules {
        let model_vanished = status == StatusCode::NOT_FOUND && operation.is_inference();
        let of_server = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if !passes {
            Rules::Provider
        } else if matches!(status.as_u16(), 401..=403) {
            Rules::Account
        } else if of_server || model_vanished {
            Rules::Server
        } else if status.is_client_error() {
            Rules::Objection
        } else {
            Rules::Provider
        }
    }
}

impl ErrorStatus<'_> {
    fn judge(self, backend: &Backend, operation: Operation) -> AttemptError {
        let passes = backend.provider.settings.kind.is_fleet() && !self.across;
        match Rules::of(self.head.status, passes, operation) {
            Rules::Account => self.of_account(backend, operation),
            Rules::Server => self.of_server(backend, operation),
            Rules::Objection => AttemptError::Final(self.objection(backend, operation), None),
            Rules::Provider => self.of_provider(backend, operation),
        }
    }

    /// Judges a provider's error answer: sorts it by what it means, and puts it into the client's own format.
    fn of_provider(self, backend: &Backend, operation: Operation) -> AttemptError {
        let ErrorStatus { head, body, across } = self;
        let (status, kind) = (head.status, backend.provider.settings.kind);
        let fault = translate::fault(kind, status.as_u16(), &head.headers, &body);
        // In the client's own format the provider's words are best.
        if !across && fault.class == Class::Permanent {
            let answer = answer_for_client(head, body, operation);
            return AttemptError::Final(ClientError::Answer(Box::new(answer)), fault.mend);
        }
        let silent = kind.is_fleet()
            && status.is_client_error()
            && is_blank(&body)
            && !refuses_key(backend, status.as_u16(), &body);
        match AttemptError::of_answer(&fault, backend, Some(status.as_u16())) {
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
                cause: cause.of_answer(status, &head.headers),
            },
            other => other,
        }
    }

    /// Judges an Ollama server's error that another server might not give: its own, its model's, or a full queue.
    fn of_server(self, backend: &Backend, operation: Operation) -> AttemptError {
        let ErrorStatus { head, body, .. } = self;
        let (status, headers) = (head.status, &head.headers);
        let request_fault = status.is_server_error() && ollama::is_request_fault(&body);
        let fault = ollama::fault(status.as_u16(), headers, &body);
        // The server has read the request, and says that it is at fault, or its model.
        let blameless = matches!(status.as_u16(), 500 | 501) && fault.class == Class::Route;
        let cause = if blameless {
            Cause::of_fault(&fault).of_answer(status, headers)
        } else {
            Cause {
                of_model: status == StatusCode::INTERNAL_SERVER_ERROR
                    && is_about_model(&fault.message),
                ..Cause::of_status(status, headers)
            }
        };
        let error = if is_blank(&body) {
            let status = Some(status.as_u16());
            let failure = Failure::of_server(&fault, &backend.provider.name, status);
            ClientError::Failure(Box::new(failure))
        } else {
            ClientError::Answer(Box::new(answer_for_client(head, body, operation)))
        };
        if request_fault {
            return AttemptError::Final(error, None);
        }
        let is_broken = status.is_server_error() && !blameless;
        AttemptError::Retryable {
            outcome: if is_broken {
                AttemptOutcome::ServerError
            } else {
                AttemptOutcome::Refused
            },
            report: (is_broken && !cause.of_model).then_some(fleet::RequestOutcome::ServerError),
            error: Some(error),
            cause,
        }
    }

    /// Judges a server's answer of 401, 402 or 403: it is about the gateway's own key or account, so that another server may do
    /// better, or about the request.
    fn of_account(self, backend: &Backend, operation: Operation) -> AttemptError {
        let (status, headers) = (self.head.status, &self.head.headers);
        let fault = ollama::fault(status.as_u16(), headers, &self.body);
        let of_key = is_the_operators(&fault) && refuses_key(backend, status.as_u16(), &self.body);
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
                cause: cause.of_answer(status, headers),
            },
            _ => AttemptError::Final(self.objection(backend, operation), None),
        }
    }

    /// Returns a server's whole answer to a request that it does not take (4xx), in its own words if it has any.
    fn objection(self, backend: &Backend, operation: Operation) -> ClientError {
        if is_blank(&self.body) {
            return wordless(backend, self.head.status);
        }
        let answer = answer_for_client(self.head, self.body, operation);
        ClientError::Answer(Box::new(answer))
    }
}

/// Returns whether a server of a fleet, or what stands before it, refuses the gateway's own key or account: a client has nothing
/// to do with either. Without a key, a 403 that says nothing is what Ollama answers to a host or an origin.
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

/// Returns an error answer in the form that the client reads. The body may have been cut to its bound, so its length is stated
/// anew when it is relayed.
pub(super) fn answer_for_client(
    head: &ResponseHeader,
    body: Bytes,
    operation: Operation,
) -> ErrorAnswer {
    let mut head = head.clone();
    head.remove_header(&header::CONTENT_LENGTH);
    error_answer::for_client(ErrorAnswer { head, body }, operation)
}

#[cfg(test)]
mod tests;
