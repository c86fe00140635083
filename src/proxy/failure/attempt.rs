//! Why an attempt gave no answer, as far as that decides what follows it and what the client is told.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::dialect::blame::is_about_model;
use crate::dialect::retry_after;
use crate::fleet::{self, Backend};
use crate::ir::{Class, Fault, FaultKind, Mend};
use crate::metrics::AttemptOutcome;
use crate::proxy::failure::deadline::Bound;
use crate::proxy::failure::error_answer::ErrorAnswer;
use crate::proxy::failure::told::Failure;

/// Why an attempt gave no answer.
pub(crate) enum Setback {
    /// The client left.
    ClientGone,
    /// The process ends, and no request is waited for any more.
    Cut,
    /// Another backend may do better.
    Next {
        outcome: AttemptOutcome,
        /// What it says about the backend.
        report: Option<fleet::Outcome>,
        /// What the client gets if there is no other candidate.
        word: Option<Word>,
        cause: Cause,
    },
    /// The backend's error is about the request, so no other would do better, but for what could be left out of it.
    Final(Word, Option<Mend>),
    /// The request has taken longer than it may, whoever serves it.
    Overdue(Bound),
}

/// What is known of why an attempt failed, as far as it decides what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    pub(crate) class: Class,
    pub(crate) kind: FaultKind,
    /// The provider's own, if it answered.
    pub(crate) status: Option<u16>,
    /// When the provider says that it may be better.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the provider says that asking again makes sense (`x-should-retry`).
    pub(crate) again: Option<bool>,
    /// Without what the same provider might take the request.
    pub(crate) mend: Option<Mend>,
    /// The server could not load the model.
    pub(crate) of_model: bool,
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
        }
    }

    pub(crate) fn of_fault(fault: &Fault) -> Self {
        Self {
            retry_after: fault.retry_after,
            mend: fault.mend,
            of_model: fault.class == Class::Transient && is_about_model(&fault.message),
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
        .told(status, headers)
    }

    pub(crate) fn told(self, status: StatusCode, headers: &HeaderMap) -> Self {
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

/// What the client is told in place of an answer.
#[derive(Debug)]
pub(crate) enum Word {
    /// The backend's own answer: it speaks the client's format.
    Answer(Box<ErrorAnswer>),
    Failure(Box<Failure>),
}

impl Word {
    /// No candidate is left.
    pub(crate) fn last(self) -> Self {
        match self {
            Word::Failure(failure) => Word::Failure(Box::new(Failure {
                final_word: true,
                ..*failure
            })),
            answer => answer,
        }
    }
}

impl Setback {
    pub(crate) fn next(outcome: AttemptOutcome, report: fleet::Outcome, kind: FaultKind) -> Self {
        Setback::Next {
            outcome,
            report: Some(report),
            word: None,
            cause: Cause::new(Class::Transient, kind),
        }
    }

    /// Without what the same backend might take the request.
    pub(crate) fn mend(&self) -> Option<Mend> {
        match self {
            Setback::ClientGone | Setback::Cut | Setback::Overdue(_) => None,
            Setback::Next { cause, .. } => cause.mend,
            Setback::Final(_, mend) => *mend,
        }
    }

    /// By what can be done about a provider's error.
    pub(crate) fn of_fault(fault: &Fault, backend: &Backend) -> Self {
        Self::of_answer(fault, backend, None)
    }

    /// As [`Self::of_fault`], of an answer with that status.
    pub(crate) fn of_answer(fault: &Fault, backend: &Backend, status: Option<u16>) -> Self {
        let provider = &backend.provider;
        let failure = match provider.settings.kind.is_fleet() {
            true => Failure::of_server(fault, &provider.name, status),
            false => Failure::of_fault(fault, &provider.name),
        };
        let word = Word::Failure(Box::new(failure));
        let broken = fault.class == Class::Transient;
        let cause = Cause::of_fault(fault);
        if fault.class == Class::Permanent {
            return Setback::Final(word, fault.mend);
        }
        Setback::Next {
            outcome: match broken {
                true => AttemptOutcome::ServerError,
                false => AttemptOutcome::Refused,
            },
            report: (broken && !cause.of_model).then_some(fleet::Outcome::ServerError),
            word: Some(word),
            cause,
        }
    }

    pub(crate) fn connect_failed() -> Self {
        Self::next(
            AttemptOutcome::ConnectError,
            fleet::Outcome::ConnectFailed,
            FaultKind::Server,
        )
    }

    pub(crate) fn reset() -> Self {
        Self::next(
            AttemptOutcome::Reset,
            fleet::Outcome::Reset,
            FaultKind::Incomplete,
        )
    }

    /// The backend was found to serve nobody, which is known already.
    pub(crate) fn silence() -> Self {
        Setback::Next {
            outcome: AttemptOutcome::Timeout,
            report: None,
            word: None,
            cause: Cause::new(Class::Transient, FaultKind::Timeout),
        }
    }

    pub(crate) fn timed_out() -> Self {
        Self::next(
            AttemptOutcome::Timeout,
            fleet::Outcome::TimedOut,
            FaultKind::Timeout,
        )
    }
}
