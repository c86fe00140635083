//! Who is told what happens in the fleet, and what a request tells the fleet about a backend.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{BackendId, ModelId, ProviderId};

use super::backend::Backend;
use super::inventory::Inventory;

/// Learns of changes in the fleet as they happen.
///
/// For one backend the calls come one after another and in order: `joined`, then any number of
/// `probed` and `unhealthy`, then `left`. For different backends they come from several threads.
/// They must return soon and must not call [`super::Fleet::report`].
pub trait Observer: Send + Sync {
    /// A backend is a member from now on. It takes no requests before it is first `probed`.
    fn joined(&self, backend: &Arc<Backend>);
    /// The backend is no longer a member, and its id never comes back.
    fn left(&self, backend: BackendId);
    /// A good probe: the backend is healthy, and this is what it has.
    fn probed(&self, backend: &Backend, inventory: &Arc<Inventory>);
    /// The backend takes no requests until it is `probed` again.
    fn unhealthy(&self, backend: BackendId);
    /// From now on the provider takes at most so many requests at once, besides its configured limit.
    fn limited(&self, _provider: ProviderId, _limit: Option<usize>) {}
    /// These models are nowhere any more, and their numbers never come back.
    fn forgotten(&self, _models: &[ModelId]) {}
    /// From now on the backend takes at most so many requests at once, besides its slots.
    fn backend_limited(&self, _backend: BackendId, _limit: Option<u32>) {}
}

/// How a request to a backend ended, as far as it tells about the backend.
///
/// A client's own mistake (4xx) or departure says nothing and is not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Answered; from the request's start to the first content of the answer.
    Served { response_time: Duration },
    /// No connection: refused, timed out, TLS failure.
    ConnectFailed,
    /// The connection broke before the answer was complete.
    Reset,
    /// No head or no first byte in the time allowed.
    TimedOut,
    /// A status of 500 or more.
    ServerError,
}

impl std::fmt::Display for RequestOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Served { .. } => "a request was served",
            Self::ConnectFailed => "a request could not connect",
            Self::Reset => "the connection broke during a request",
            Self::TimedOut => "a request was not answered in time",
            Self::ServerError => "a request was answered with a server error",
        })
    }
}
