//! What an answer of status 200 is worth whose beginning has come: content, or an error and whose fault that is.

use bytes::Bytes;
use http::{StatusCode, header};
use pingora::http::ResponseHeader;

use crate::fleet::Backend;
use crate::metrics::AttemptOutcome;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::error_status::answer_for_client;
use crate::proxy::failure::attempt::{AttemptError, ClientError};
use crate::proxy::failure::{Failure, is_the_operators};
use crate::proxy::prepared::ModelRequest;
use remuda_formats::client::Operation;
use remuda_formats::ir::{Fault, FaultKind};

/// Judges whether what has come is worth sending. An answer that is not is judged alike whether it would have passed or been
/// translated.
///
/// # Errors
/// The reason why the answer is not sent, and what follows from it.
pub(super) fn judge_beginning(
    answer: &UpstreamAnswer,
    request: &ModelRequest,
    backend: &Backend,
) -> Result<(), AttemptError> {
    let reader = &answer.reader;
    let Some(fault) = reader.fault() else {
        return Ok(());
    };
    // The server is well: it has given another answer than the first.
    if reader.differs() {
        return Ok(());
    }
    let beginning = Beginning {
        head: answer.upstream.head().ok_or_else(AttemptError::reset)?,
        translates: reader.translates(),
        // What was held of an answer that is no stream has been shown to nobody, nor what was translated at once.
        shown: reader.begun() && reader.streams(),
        failing: reader.failing(),
    };
    match beginning.judge(fault, backend, request.operation) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The beginning of an answer in which a fault was found.
struct Beginning<'a> {
    head: &'a ResponseHeader,
    /// Whether the client gets another format than the provider's.
    translates: bool,
    /// Whether content came before the fault, and has to be sent although the fault follows.
    shown: bool,
    /// The provider's own words for the fault, in the client's format; empty if there are none.
    failing: &'a [u8],
}

impl Beginning<'_> {
    /// Returns what the fault means for the attempt; `None` if the client gets what there is, with the fault at its end.
    fn judge(
        &self,
        fault: &Fault,
        backend: &Backend,
        operation: Operation,
    ) -> Option<AttemptError> {
        let is_held = operation.is_inference() || operation == Operation::Show;
        if !self.translates && (self.shown || !is_held) {
            return None;
        }
        Some(match fault.kind {
            FaultKind::Incomplete => broke_off(self.translates, fault, backend),
            FaultKind::Garbled => AttemptError::of_fault(fault, backend),
            _ => self.only_an_error(fault, backend, operation),
        })
    }

    /// Judges an answer that is nothing but an error. If no other candidate does better, the client is told of it as of an error
    /// answer: by what can be done about it, and of an Ollama server in its own words.
    fn only_an_error(
        &self,
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
                        self.in_place_of_answer(failure, operation)
                    }
                    error => error,
                },
                cause: if fleet {
                    cause
                } else {
                    cause.of_answer(StatusCode::OK, &self.head.headers)
                },
            },
            other => other,
        }
    }

    /// Returns a server's own error that came under status 200, with the status that it is told with. An answer that was translated
    /// has no words in the client's format but the gateway's.
    fn in_place_of_answer(
        &self,
        failure: Box<Failure>,
        operation: Operation,
    ) -> Option<ClientError> {
        let line = Bytes::copy_from_slice(self.failing.trim_ascii());
        if line.is_empty() {
            return Some(ClientError::Failure(failure));
        }
        let mut answer = answer_for_client(self.head, line, operation);
        let head = &mut answer.head;
        head.set_status(StatusCode::from_u16(failure.status).ok()?)
            .ok()?;
        let json = "application/json; charset=utf-8";
        head.insert_header(header::CONTENT_TYPE, json).ok()?;
        if let Some(seconds) = failure.retry_after {
            head.insert_header(header::RETRY_AFTER, seconds).ok()?;
        }
        Some(ClientError::Answer(Box::new(answer)))
    }
}

/// Judges an answer that ended before its content: a 200 without a single line is a runner that died. The client of a
/// translation is told in its own format what is missing.
fn broke_off(translates: bool, fault: &Fault, backend: &Backend) -> AttemptError {
    match (
        AttemptError::reset(),
        AttemptError::of_fault(fault, backend),
    ) {
        (
            AttemptError::Retryable {
                outcome, report, ..
            },
            AttemptError::Retryable { error, cause, .. },
        ) if translates => AttemptError::Retryable {
            outcome,
            report,
            error,
            cause,
        },
        (reset, _) => reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Provider, ProviderKind};
    use remuda_formats::ir::Class;

    const LINE: &str = r#"{"error":"model runner has unexpectedly stopped"}"#;

    /// Judges a fault of the beginning of an answer to a chat.
    fn judged(
        kind: ProviderKind,
        fault: &Fault,
        (translates, failing): (bool, &str),
    ) -> Option<AttemptError> {
        let beginning = Beginning {
            head: &ResponseHeader::build(200, None).unwrap(),
            translates,
            shown: false,
            failing: failing.as_bytes(),
        };
        let backend = crate::fleet::Backend::alone(&Provider::of_kind("one", kind));
        beginning.judge(fault, &backend, Operation::Chat)
    }

    fn failed() -> Fault {
        Fault::new(Class::Transient, FaultKind::Server, "it has stopped")
    }

    #[test]
    fn what_was_shown_or_is_not_held_passes_with_its_fault() {
        let head = ResponseHeader::build(200, None).unwrap();
        let backend = crate::fleet::Backend::alone(&Provider::named("gpus"));
        for (operation, translates, shown, passes) in [
            (Operation::Chat, false, true, true),
            (Operation::Chat, false, false, false),
            (Operation::Show, false, false, false),
            (Operation::Pull, false, false, true),
            // The client has seen nothing of what is written here.
            (Operation::OpenAiChat, true, true, false),
        ] {
            let beginning = Beginning {
                head: &head,
                translates,
                shown,
                failing: b"",
            };
            let error = beginning.judge(&failed(), &backend, operation);
            assert_eq!(
                error.is_none(),
                passes,
                "{operation:?} {translates} {shown}"
            );
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_a_broken_connection_and_only_a_translation_has_words_for_it() {
        for (translates, has_words) in [(false, false), (true, true)] {
            let error = judged(ProviderKind::Ollama, &Fault::incomplete(), (translates, ""));
            let Some(AttemptError::Retryable {
                outcome,
                report,
                error,
                cause,
            }) = error
            else {
                panic!("another server may do better");
            };
            assert_eq!(outcome, AttemptOutcome::Reset);
            assert!(report.is_some(), "its runner or its connection has died");
            assert_eq!(cause.kind, FaultKind::Incomplete);
            assert_eq!(error.is_some(), has_words, "{translates}");
        }
    }

    #[test]
    fn an_error_under_status_200_is_not_its_server_s_but_a_service_s() {
        for (kind, sick, status) in [
            (ProviderKind::Ollama, false, None),
            (ProviderKind::OpenAi, true, Some(200)),
        ] {
            let error = judged(kind, &failed(), (true, ""));
            let Some(AttemptError::Retryable {
                outcome,
                report,
                cause,
                ..
            }) = error
            else {
                panic!("another candidate may do better");
            };
            assert_eq!(outcome, AttemptOutcome::ErrorLine);
            assert_eq!((report.is_some(), cause.status), (sick, status), "{kind:?}");
        }
    }

    #[test]
    fn a_server_s_error_under_status_200_is_told_in_its_words_unless_they_are_for_the_operator() {
        let told =
            |fault: &Fault, failing| match judged(ProviderKind::Ollama, fault, (false, failing)) {
                Some(AttemptError::Retryable { error, .. }) => error.expect("it has words"),
                _ => panic!("another server may do better"),
            };
        let ClientError::Answer(answer) = told(&failed(), LINE) else {
            panic!("its words are the server's");
        };
        assert_eq!(answer.head.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            answer.head.headers[header::CONTENT_TYPE],
            "application/json; charset=utf-8"
        );
        assert_eq!(&*answer.body, LINE.as_bytes());
        let busy = Fault::new(Class::Capacity, FaultKind::Overloaded, "busy");
        let ClientError::Answer(answer) = told(&busy, LINE) else {
            panic!("its words are the server's");
        };
        assert_eq!(answer.head.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.head.headers[header::RETRY_AFTER], "1");
        let key = Fault::new(Class::Route, FaultKind::Credentials, "key abc is refused");
        for (fault, failing) in [(&key, LINE), (&failed(), " \n")] {
            let ClientError::Failure(failure) = told(fault, failing) else {
                panic!("nobody but the operator is told of a key: {fault:?}");
            };
            assert!(!failure.text.contains("abc"), "{}", failure.text);
        }
    }

    #[test]
    fn a_request_that_is_wrong_for_everybody_is_told_at_once() {
        let wrong = Fault::new(Class::Permanent, FaultKind::InvalidRequest, "no");
        for kind in [ProviderKind::Ollama, ProviderKind::OpenAi] {
            let error = judged(kind, &wrong, (true, ""));
            assert!(matches!(error, Some(AttemptError::Final(..))), "{kind:?}");
        }
    }
}
