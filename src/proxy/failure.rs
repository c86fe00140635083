//! What went wrong with a request, as its client is told: status, a code for logs and metrics, a
//! text that says what to do, in the client's own format.

use std::borrow::Cow;

/// A request that ends with an error of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {text}")]
pub(super) struct Failure {
    /// HTTP status.
    pub(super) status: u16,
    /// One of a few constants, for logs.
    pub(super) code: &'static str,
    /// For the client; never holds a credential or a prompt.
    pub(super) text: Cow<'static, str>,
    /// Seconds for `Retry-After`.
    pub(super) retry_after: Option<u32>,
    /// For `Allow`, with 405.
    pub(super) allow: Option<&'static str>,
    /// The request's body was not read to its end, so its connection cannot serve another.
    pub(super) close: bool,
}

impl Failure {
    pub(super) fn new(status: u16, code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            retry_after: None,
            allow: None,
            close: false,
        }
    }

    /// With `Retry-After`.
    #[must_use]
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Ends the client's connection after the answer.
    #[must_use]
    pub(super) fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    pub(super) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "bad_request", text)
    }
}

/// Why a request's journey ended before its answer was whole.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing was sent yet: the client gets this.
    Failure(Failure),
    /// The client left; there is nobody to answer.
    ClientGone,
    /// The answer broke after its head and cannot be mended: the connection ends, so that it never
    /// looks complete.
    Broken,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failure(failure)
    }
}
