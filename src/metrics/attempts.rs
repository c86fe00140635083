//! Attempts at backends, by how they ended.

use prometheus::{IntCounter, IntCounterVec};

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptOutcome {
    Ok,
    ConnectError,
    Reset,
    Timeout,
    ServerError,
    ErrorLine,
    Refused,
    BrokenStream,
    ClientGone,
    /// Another backend that was asked at the same time gave the answer, or the process ended.
    Cancelled,
}

impl AttemptOutcome {
    const ALL: [(AttemptOutcome, &'static str); 10] = [
        (AttemptOutcome::Ok, "ok"),
        (AttemptOutcome::ConnectError, "connect_error"),
        (AttemptOutcome::Reset, "reset"),
        (AttemptOutcome::Timeout, "timeout"),
        (AttemptOutcome::ServerError, "server_error"),
        (AttemptOutcome::ErrorLine, "error_line"),
        (AttemptOutcome::Refused, "refused"),
        (AttemptOutcome::BrokenStream, "broken_stream"),
        (AttemptOutcome::ClientGone, "client_gone"),
        (AttemptOutcome::Cancelled, "cancelled"),
    ];

    /// Returns the label value.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Returns whether the outcome speaks against the provider: a refusal is about the request, a client may leave for
    /// any reason, and who was asked first may have been the slower one.
    #[must_use]
    pub fn failed(self) -> bool {
        !matches!(
            self,
            AttemptOutcome::Ok
                | AttemptOutcome::Refused
                | AttemptOutcome::ClientGone
                | AttemptOutcome::Cancelled
        )
    }
}

/// Attempt counters of one provider.
pub struct AttemptCounters([IntCounter; AttemptOutcome::ALL.len()]);

impl AttemptCounters {
    /// Resolves the counters of `provider` among all.
    pub(super) fn of(provider: &str, attempts: &IntCounterVec) -> AttemptCounters {
        AttemptCounters(
            AttemptOutcome::ALL.map(|(_, name)| attempts.with_label_values(&[provider, name])),
        )
    }

    /// Counts one attempt.
    pub fn count(&self, outcome: AttemptOutcome) {
        self.0[outcome as usize].inc();
    }

    /// Returns the attempts so far, by how they ended.
    pub fn counts(&self) -> impl Iterator<Item = (AttemptOutcome, u64)> {
        let outcomes = AttemptOutcome::ALL.into_iter().zip(&self.0);
        outcomes.map(|((outcome, _), counter)| (outcome, counter.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_index_their_own_names() {
        for (index, (outcome, name)) in AttemptOutcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
            assert_eq!(outcome.name(), *name);
        }
    }
}
