//! Why an attempt gave no answer, as far as that decides what follows it and what the client is told.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::fleet::{self, Backend};
use crate::metrics::AttemptOutcome;
use crate::proxy::failure::deadline::TimeLimit;
use crate::proxy::failure::error_answer::ErrorAnswer;
use crate::proxy::failure::{Failure, Stop};
use remuda_formats::dialect::blame::is_about_model;
use remuda_formats::dialect::retry_after;
use remuda_formats::ir::{Class, Fault, FaultKind, Mend, Usage};

/// Why an attempt gave no answer.
pub(crate) enum AttemptError {
    /// The client left.
    ClientGone,
    /// The process ends, and no request is waited for any more.
    ShuttingDown,
    /// Another backend may do better.
    Retryable {
        outcome: AttemptOutcome,
        /// What the attempt says about the backend's health, if anything.
        report: Option<fleet::RequestOutcome>,
        /// What the client gets if there is no other candidate.
        error: Option<ClientError>,
        cause: Cause,
    },
    /// The backend's error is about the request, so no other would do better, but for what could be left out of it.
    Final(ClientError, Option<Mend>),
    /// The request has taken longer than it may, whoever serves it.
    Overdue(TimeLimit),
}

/// Why an attempt gave no answer, with what its provider reported of its usage although it failed.
pub(crate) struct Unanswered {
    pub(crate) error: AttemptError,
    /// The usage that the provider reported, if any. It is boxed because hardly any attempt that fails has one.
    pub(crate) usage: Option<Box<Usage>>,
}

impl From<AttemptError> for Unanswered {
    fn from(error: AttemptError) -> Self {
        Unanswered { error, usage: None }
    }
}

impl From<TimeLimit> for AttemptError {
    fn from(limit: TimeLimit) -> Self {
        AttemptError::Overdue(limit)
    }
}

/// What is known of why an attempt failed, as far as it decides what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    pub(crate) class: Class,
    pub(crate) kind: FaultKind,
    /// The status of the provider's answer, if it gave one.
    pub(crate) status: Option<u16>,
    /// When the provider says that it may be better.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the provider says that asking again makes sense (`x-should-retry`).
    pub(crate) again: Option<bool>,
    /// What the request may be sent without so that the same provider takes it.
    pub(crate) mend: Option<Mend>,
    /// The server could not load the model.
    pub(crate) of_model: bool,
    /// Tokens of a prompt that is too long, where the server has counted them.
    pub(crate) tokens: Option<u32>,
    /// The copy that was to serve the request was found to answer nobody. Nothing is started on it before it has answered
    /// again.
    pub(crate) recalled: bool,
}

impl Cause {
    pub(crate) fn new(class: Class, kind: FaultKind) -> Self {
        Self {
            class,
            kind,
            status: None,
            retry_after: None,
            again: None,
            mend: None,
            of_model: false,
            tokens: None,
            recalled: false,
        }
    }

    pub(crate) fn of_fault(fault: &Fault) -> Self {
        Self {
            retry_after: fault.retry_after,
            mend: fault.mend,
            of_model: fault.class == Class::Transient && is_about_model(&fault.message),
            tokens: fault
                .overflow
                .as_ref()
                .and_then(|overflow| u32::try_from(overflow.input?).ok()),
            ..Self::new(fault.class, fault.kind)
        }
    }

    pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap) -> Self {
        let (class, kind) = match status.as_u16() {
            429 => (Class::Capacity, FaultKind::RateLimit),
            503 => (Class::Capacity, FaultKind::Overloaded),
            404 => (Class::Route, FaultKind::ModelNotFound),
            _ => (Class::Transient, FaultKind::Server),
        };
        Self {
            retry_after: retry_after::from_headers(headers),
            ..Self::new(class, kind)
        }
        .of_answer(status, headers)
    }

    /// Adds what the answer said besides.
    pub(crate) fn of_answer(self, status: StatusCode, headers: &HeaderMap) -> Self {
        let again = headers.get("x-should-retry").map(HeaderValue::as_bytes);
        Self {
            status: Some(status.as_u16()),
            again: match again {
                Some(b"true") => Some(true),
                Some(b"false") => Some(false),
                _ => None,
            },
            ..self
        }
    }
}

impl Cause {
    /// Returns whether the key is of no use for any model, whatever status says so. After a 403 it may be of use for other
    /// models.
    pub(crate) fn is_of_key(&self) -> bool {
        let status = self.status.filter(|status| *status != 403);
        status == Some(401) || (status.is_some() && self.kind == FaultKind::Credentials)
    }

    /// Returns whether a failure says something of the model that was asked for, and nothing of the provider's others.
    /// `fleet`: the provider is a fleet of Ollama servers, whose own errors are the server's if they do not say otherwise.
    pub(crate) fn is_of_model(&self, fleet: bool) -> bool {
        use FaultKind::{
            ContextLength, Credentials, ModelNotFound, Overloaded, RateLimit, Server, Timeout,
            Unsupported,
        };
        // Who was silent or could not be reached is not well, whatever is asked for.
        let answered = self.status.is_some();
        let said = match self.kind {
            ModelNotFound | ContextLength | Unsupported => true,
            RateLimit | Overloaded | Server | Timeout => !fleet,
            Credentials => !fleet && !self.is_of_key(),
            _ => false,
        };
        self.of_model || (answered && said)
    }

    /// Returns whether the server was well and its own error is about the request, or about what its model made of it.
    pub(crate) fn is_about_request(&self) -> bool {
        let of_server = self.status.is_none_or(|status| status >= 500);
        match (self.class, self.kind) {
            (Class::Route, FaultKind::InvalidRequest) => true,
            // 501, or 500 with words that mean the same; what cannot be written for a provider has no status.
            (Class::Route, FaultKind::Unsupported) => of_server && self.status.is_some(),
            _ => false,
        }
    }
}

/// What the client is told in place of an answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// The backend's own answer: it speaks the client's format.
    Answer(Box<ErrorAnswer>),
    Failure(Box<Failure>),
}

impl ClientError {
    /// Returns the error as it is told when no candidate is left.
    pub(crate) fn last(self) -> Self {
        match self {
            ClientError::Failure(failure) => ClientError::Failure(Box::new(Failure {
                final_word: true,
                ..*failure
            })),
            answer => answer,
        }
    }
}

impl AttemptError {
    pub(crate) fn next(
        outcome: AttemptOutcome,
        report: fleet::RequestOutcome,
        kind: FaultKind,
    ) -> Self {
        AttemptError::Retryable {
            outcome,
            report: Some(report),
            error: None,
            cause: Cause::new(Class::Transient, kind),
        }
    }

    /// Returns why the request ends with the attempt, whoever else there is; `None` if there is an answer to tell, or
    /// somebody else to ask.
    pub(crate) fn stop(&self) -> Option<Stop> {
        match self {
            AttemptError::ClientGone => Some(Stop::ClientGone),
            AttemptError::ShuttingDown => Some(Failure::shutting_down().into()),
            AttemptError::Overdue(limit) => Some(limit.failure().into()),
            AttemptError::Retryable { .. } | AttemptError::Final(..) => None,
        }
    }

    /// Returns whether another candidate may still answer the request.
    pub(crate) fn is_of_backend(&self) -> bool {
        matches!(
            self,
            AttemptError::Retryable { .. } | AttemptError::Overdue(_)
        )
    }

    /// Returns what the request may be sent without so that the same backend takes it.
    pub(crate) fn mend(&self) -> Option<Mend> {
        match self {
            AttemptError::ClientGone | AttemptError::ShuttingDown | AttemptError::Overdue(_) => {
                None
            }
            AttemptError::Retryable { cause, .. } => cause.mend,
            AttemptError::Final(_, mend) => *mend,
        }
    }

    /// Judges a provider's error by what can be done about it.
    pub(crate) fn of_fault(fault: &Fault, backend: &Backend) -> Self {
        Self::of_answer(fault, backend, None)
    }

    /// Judges a provider's error in an answer with that status.
    pub(crate) fn of_answer(fault: &Fault, backend: &Backend, status: Option<u16>) -> Self {
        let provider = &backend.provider;
        Self::of_provider(
            fault,
            &provider.name,
            provider.settings.kind.is_fleet(),
            status,
        )
    }

    /// Judges an error of a provider of that name, which is a `fleet` of Ollama servers or a service.
    pub(crate) fn of_provider(
        fault: &Fault,
        provider: &str,
        fleet: bool,
        status: Option<u16>,
    ) -> Self {
        let failure = if fleet {
            Failure::of_server(fault, provider, status)
        } else {
            Failure::of_fault(fault, provider)
        };
        let error = ClientError::Failure(Box::new(failure));
        let broken = fault.class == Class::Transient;
        let cause = Cause::of_fault(fault);
        if fault.class == Class::Permanent {
            return AttemptError::Final(error, fault.mend);
        }
        AttemptError::Retryable {
            outcome: if broken {
                AttemptOutcome::ServerError
            } else {
                AttemptOutcome::Refused
            },
            report: (broken && !cause.of_model).then_some(fleet::RequestOutcome::ServerError),
            error: Some(error),
            cause,
        }
    }

    /// Makes the error of an attempt that could not connect.
    pub(crate) fn connect_failed() -> Self {
        Self::next(
            AttemptOutcome::ConnectError,
            fleet::RequestOutcome::ConnectFailed,
            FaultKind::Server,
        )
    }

    /// Makes the error of an attempt whose connection broke before the answer's content.
    pub(crate) fn reset() -> Self {
        Self::next(
            AttemptOutcome::Reset,
            fleet::RequestOutcome::Reset,
            FaultKind::Incomplete,
        )
    }

    /// Makes the error of an attempt whose backend was found to serve nobody, which its health has been told already.
    pub(crate) fn silence() -> Self {
        AttemptError::Retryable {
            outcome: AttemptOutcome::Timeout,
            report: None,
            error: None,
            cause: Cause::new(Class::Transient, FaultKind::Timeout),
        }
    }

    /// Makes the error of an attempt whose copy was found to answer nobody, which the scheduler knows already.
    pub(crate) fn recalled() -> Self {
        AttemptError::Retryable {
            outcome: AttemptOutcome::Timeout,
            report: None,
            error: None,
            cause: Cause {
                recalled: true,
                ..Cause::new(Class::Transient, FaultKind::Timeout)
            },
        }
    }

    /// Makes the error of an attempt whose backend did not answer in time.
    pub(crate) fn timed_out() -> Self {
        Self::next(
            AttemptOutcome::Timeout,
            fleet::RequestOutcome::TimedOut,
            FaultKind::Timeout,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::failure::deadline::TOTAL;

    fn cause(class: Class, kind: FaultKind, status: Option<u16>) -> Cause {
        Cause {
            status,
            ..Cause::new(class, kind)
        }
    }

    #[test]
    fn a_failure_is_the_models_the_servers_or_the_providers() {
        use {Class::*, FaultKind::*};
        for (cause, of_service, of_fleet) in [
            (cause(Transient, Server, Some(500)), true, false),
            (cause(Transient, Timeout, Some(504)), true, false),
            (cause(Capacity, Overloaded, Some(503)), true, false),
            (cause(Capacity, RateLimit, Some(429)), true, false),
            (cause(Route, ModelNotFound, Some(404)), true, true),
            (cause(Route, ContextLength, Some(400)), true, true),
            (cause(Route, Unsupported, Some(400)), true, true),
            (cause(Route, Credentials, Some(403)), true, false),
            (cause(Route, Credentials, Some(401)), false, false),
            (cause(Route, Billing, Some(402)), false, false),
            (cause(Route, InvalidRequest, Some(500)), false, false),
            (cause(Transient, Garbled, Some(200)), false, false),
            // Nothing was heard.
            (cause(Transient, Timeout, None), false, false),
            (cause(Transient, Server, None), false, false),
        ] {
            let said = [false, true].map(|fleet| cause.is_of_model(fleet));
            assert_eq!(said, [of_service, of_fleet], "{cause:?}");
        }
        let unloadable = Cause {
            of_model: true,
            ..cause(Transient, Server, Some(500))
        };
        assert!(unloadable.is_of_model(true));
    }

    #[test]
    fn a_key_is_refused_by_whatever_status_but_403() {
        use {Class::Route, FaultKind::Credentials};
        for status in [200, 400, 401] {
            assert!(cause(Route, Credentials, Some(status)).is_of_key());
        }
        for status in [None, Some(403)] {
            assert!(!cause(Route, Credentials, status).is_of_key());
        }
    }

    #[test]
    fn a_server_s_own_error_is_about_the_request_and_a_client_s_mistake_is_not() {
        use {Class::Route, FaultKind::*};
        for (kind, status, about) in [
            (InvalidRequest, Some(500), true),
            (Unsupported, Some(501), true),
            (Unsupported, Some(500), true),
            (Unsupported, Some(400), false),
            // What cannot be written for a provider was not sent.
            (Unsupported, None, false),
            (ModelNotFound, Some(404), false),
        ] {
            let cause = cause(Route, kind, status);
            assert_eq!(cause.is_about_request(), about, "{cause:?}");
        }
        let failed = cause(Class::Transient, Server, Some(500));
        assert!(!failed.is_about_request());
    }

    #[test]
    fn only_an_answer_or_another_candidate_keeps_a_request_from_its_end() {
        let now = std::time::Instant::now();
        let limit = TimeLimit::after(now, TOTAL, Some(Duration::ZERO)).expect("it is stated");
        for (error, ends, of_backend) in [
            (AttemptError::ClientGone, true, false),
            (AttemptError::ShuttingDown, true, false),
            (AttemptError::from(limit), true, true),
            (AttemptError::reset(), false, true),
        ] {
            assert_eq!(error.stop().is_some(), ends);
            assert_eq!(error.is_of_backend(), of_backend);
        }
    }
}
