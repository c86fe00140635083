//! A client that waits: what is awaited for it ends when it leaves, or when the process does.

use std::future::Future;

use pingora::protocols::http::ServerSession;

use crate::proxy::drain::Drain;
use crate::proxy::failure::attempt::AttemptError;
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::response_body::opening::Opening;

/// The connection of a client that waits, and what it has been told meanwhile.
pub(crate) struct Downstream<'a> {
    pub(crate) client: &'a mut ServerSession,
    pub(crate) opening: &'a mut Opening,
    pub(crate) drain: &'a Drain,
}

impl Downstream<'_> {
    /// Resolves when nobody waits any more, and says why.
    pub(crate) async fn ends(&mut self) -> AttemptError {
        tokio::select! {
            biased;
            () = self.opening.attend(self.client) => AttemptError::ClientGone,
            () = self.drain.cut() => AttemptError::ShuttingDown,
        }
    }

    /// Returns what `wait` comes to, unless the client leaves or the process ends first.
    ///
    /// # Errors
    /// Which of the two it was.
    pub(crate) async fn unless_ended<T>(
        &mut self,
        wait: impl Future<Output = T>,
    ) -> Result<T, Stop> {
        tokio::select! {
            biased;
            result = wait => Ok(result),
            () = self.opening.attend(self.client) => Err(Stop::ClientGone),
            () = self.drain.cut() => Err(Failure::shutting_down().into()),
        }
    }
}
