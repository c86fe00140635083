//! Why a probe found no healthy backend.

use std::time::Duration;

use remuda_formats::dialect::ollama::Malformed;

/// Why a probe found no healthy backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum Miss {
    #[error("this process has no file descriptor left for a probe")]
    NoSocket,
    #[error("no connection: {0}")]
    NoConnection(String),
    #[error("no connection within {0:?}")]
    ConnectTimedOut(Duration),
    #[error("the connection was closed before {path} was answered: {cause}")]
    Closed { path: String, cause: String },
    #[error("{path} was answered with something else than HTTP: {cause}")]
    Garbled { path: String, cause: String },
    #[error("{path} was answered with a body that is compressed in a way that is not known here")]
    Packed { path: String },
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It answers other questions.
    #[error("no answer to {path} within {within:?}")]
    Stuck {
        path: &'static str,
        within: Duration,
    },
    #[error("{path} was answered with status {status}")]
    Status { path: &'static str, status: u16 },
    #[error("the answer to {0} is over 8 MiB")]
    TooLong(String),
    #[error("{path}: {cause}")]
    Body {
        path: &'static str,
        cause: Malformed,
    },
}

impl Miss {
    /// Returns whether there was no server to be reached, as opposed to one that did not answer well. A tunnel whose
    /// far end is gone accepts connections and closes them.
    pub(super) fn unreachable(&self) -> bool {
        matches!(
            self,
            Self::NoConnection(_) | Self::ConnectTimedOut(_) | Self::Closed { .. }
        )
    }

    /// Returns whether nothing at all came, so that it is for a request to wait as well.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::TimedOut(_) | Self::ConnectTimedOut(_) | Self::Stuck { .. }
        )
    }
}
