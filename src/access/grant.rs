//! What one request holds of its key's limits. It gives back what it did not need; dropped without a word, as when its
//! client leaves, it gives back its place among those in flight, and what it had reserved counts as taken.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::key::ClientKey;
use super::meter::Unit;
use super::refusal::Refusal;
use super::window::Slice;

/// A part of the limits of one unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) amount: u64,
    /// Of each of the unit's meters, in their order.
    pub(super) slices: [Option<Slice>; 2],
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// An answer of at most so many tokens, if it says so.
    Text {
        body: &'a [u8],
        most: Option<u64>,
    },
    Vectors {
        body: &'a [u8],
    },
}

/// What a request turned out to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It was refused, or no provider answered it.
    Nothing,
    Tokens {
        input: u64,
        output: u64,
    },
    /// It was answered at least in part, and nobody counted.
    Unknown,
}

/// The right of one request to be served.
#[derive(Debug)]
pub struct Grant {
    key: Arc<ClientKey>,
    _slot: Option<OwnedSemaphorePermit>,
    requests: Option<Taken>,
    tokens: Option<Taken>,
}

impl Grant {
    pub(super) fn new(
        key: Arc<ClientKey>,
        slot: Option<OwnedSemaphorePermit>,
        requests: Option<Taken>,
    ) -> Grant {
        Grant {
            key,
            _slot: slot,
            requests,
            tokens: None,
        }
    }

    /// Sets aside the tokens that a request may take.
    ///
    /// # Errors
    /// Why it is refused; it does not count as a request then.
    pub async fn reserve(&mut self, wanted: Wanted<'_>) -> Result<(), Refusal> {
        if !self.key.limits().count(Unit::Tokens) {
            return Ok(());
        }
        let estimate = self.key.estimate(wanted);
        match self.key.limits().take(Unit::Tokens, estimate).await {
            Ok(taken) => {
                self.tokens = Some(taken);
                Ok(())
            }
            Err(refusal) => {
                self.give_back();
                Err(refusal)
            }
        }
    }

    /// The request is not served after all, and does not count.
    fn give_back(&mut self) {
        if let Some(taken) = self.requests.take() {
            self.key.limits().correct(Unit::Requests, &taken, 0);
        }
    }

    /// The request is over.
    pub fn settle(mut self, spent: Spent) {
        let Some(taken) = self.tokens.take() else {
            return;
        };
        match spent {
            Spent::Nothing => self.key.limits().correct(Unit::Tokens, &taken, 0),
            Spent::Tokens { input, output } => {
                self.key
                    .limits()
                    .correct(Unit::Tokens, &taken, input.saturating_add(output));
                self.key.learn_output(output);
            }
            Spent::Unknown => {}
        }
    }
}
