//! How far the silence of a request has come that is without content: whether its copy can be judged by it, and when.

use std::time::{Duration, Instant};

use crate::fleet::Backend;
use crate::proxy::prepared::ModelRequest;
use remuda_formats::client::Operation;

/// Nearly all requests have their first content before, and cost nothing here.
const LOOKED_AT: Duration = Duration::from_secs(1);

/// How far a candidate's silence has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Silence {
    /// It is judged from then on.
    Fresh(Instant),
    /// It is late from then on.
    Early(Instant),
    Late,
    /// It says nothing of its copy.
    Means,
}

impl Silence {
    /// Returns the silence of a request that is sent to `backend` now. That of services says nothing of one model, and what
    /// paints or listens takes as long as it takes.
    pub(crate) fn of(request: &ModelRequest, backend: &Backend, now: Instant) -> Silence {
        let of_copy = backend.provider.settings.kind.is_fleet() && request.wanted.is_some();
        if of_copy && (embeds(request.operation) || writes(request.operation)) {
            Silence::Fresh(now + LOOKED_AT)
        } else {
            Silence::Means
        }
    }

    /// Returns when it is to be looked at.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Silence::Fresh(at) | Silence::Early(at) => Some(at),
            Silence::Late | Silence::Means => None,
        }
    }

    pub(super) fn is_late(self) -> bool {
        matches!(self, Silence::Late)
    }

    /// Returns whether it has lasted so long that its copy may have been given up meanwhile.
    pub(super) fn is_long(self) -> bool {
        matches!(self, Silence::Early(_) | Silence::Late)
    }
}

/// Returns whether vectors are asked for, which all come at once.
pub(super) fn embeds(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Embed | Operation::Embeddings | Operation::OpenAiEmbeddings
    )
}

fn writes(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Chat
            | Operation::Generate
            | Operation::OpenAiChat
            | Operation::OpenAiCompletions
            | Operation::OpenAiResponses
            | Operation::AnthropicMessages
    )
}
