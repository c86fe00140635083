//! What one request holds of its key's limits and budget. It gives back what it did not need; dropped without a word, it
//! gives back its place among those in flight and what was set aside of a budget, and the tokens too unless the request
//! had been sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OwnedSemaphorePermit;

use super::key::ClientKey;
use super::limits::Taken;
use super::purse::Cost;
use super::rate::RateUnit;
use super::refusal::Refusal;

/// Tokens of output that budgets expect at least of an answer whose length is not bounded, and how many times as long as
/// usual it may be: an average would be exceeded by every other answer.
const LEAST_EXPECTED: u64 = 1_024;
const LONGER: u64 = 4;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of its prompt, by estimate.
    pub prompt: u64,
    pub output: Output,
}

/// The answers that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// It has no tokens.
    None,
    /// So many, each of at most so many tokens if the request says so.
    Texts { answers: u64, most: Option<u64> },
}

impl Demand {
    /// Returns the tokens that are held, where an answer that is not bounded has so many.
    fn tokens(&self, usual: u64) -> u64 {
        self.prompt.saturating_add(self.output(usual))
    }

    fn output(&self, usual: u64) -> u64 {
        match self.output {
            Output::None => 0,
            Output::Texts { answers, most } => most.unwrap_or(usual).saturating_mul(answers),
        }
    }
}

/// What a request turned out to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumption {
    /// It was refused, or no provider answered it.
    Nothing,
    Tokens {
        input: u64,
        output: u64,
    },
    /// It was answered, and nobody counted.
    Unknown,
}

/// The right of one request to be served.
#[derive(Debug)]
pub struct Grant {
    key: Arc<ClientKey>,
    _slot: Option<OwnedSemaphorePermit>,
    requests: Option<Taken>,
    tokens: Option<Taken>,
    /// Set aside of the budget, in billionths of a dollar.
    held: u64,
    cost: Cost,
    wanted: Option<Demand>,
    /// Tokens of output from which on more is set aside; never, where nothing is.
    outgrown_at: u64,
    /// A provider has all of the request.
    sent: Arc<AtomicBool>,
}

/// What is set aside of a budget for a second provider that is asked at the same time, until this is dropped.
#[derive(Debug)]
pub struct Aside {
    key: Arc<ClientKey>,
    held: u64,
    cost: Cost,
}

impl ClientKey {
    /// Counts a request before its body is read.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn begin(self: &Arc<Self>) -> Result<Grant, Refusal> {
        self.purse().is_open()?;
        let slot = self.slot().await?;
        // A key without tokens left is refused before the body is read.
        self.limits().has_tokens()?;
        let requests = if self.limits().count(RateUnit::Requests) {
            Some(self.limits().take(RateUnit::Requests, 1).await?)
        } else {
            None
        };
        Ok(Grant::new(Arc::clone(self), slot, requests))
    }
}

impl Grant {
    fn new(
        key: Arc<ClientKey>,
        slot: Option<OwnedSemaphorePermit>,
        requests: Option<Taken>,
    ) -> Grant {
        Grant {
            key,
            _slot: slot,
            requests,
            tokens: None,
            held: 0,
            cost: Cost::default(),
            wanted: None,
            outgrown_at: u64::MAX,
            sent: Arc::default(),
        }
    }

    /// Sets aside the tokens that a request may take.
    ///
    /// # Errors
    /// Why it is refused; it does not count as a request then.
    pub async fn reserve(&mut self, wanted: Demand) -> Result<(), Refusal> {
        self.wanted = Some(wanted);
        if !self.key.limits().count(RateUnit::Tokens) {
            return Ok(());
        }
        let usual = self.key.usual_output();
        match self
            .key
            .limits()
            .take(RateUnit::Tokens, wanted.tokens(usual))
            .await
        {
            Ok(taken) => {
                self.tokens = Some(taken);
                self.outgrown_at = wanted.output(usual);
                Ok(())
            }
            Err(refusal) => {
                self.give_back();
                Err(refusal)
            }
        }
    }

    /// Returns the tokens in and out that a budget has to have room for, for which `price` is asked; `None` without a
    /// budget.
    pub fn expected(&self) -> Option<(u64, u64)> {
        let wanted = self.wanted.filter(|_| self.key.purse().has_budget())?;
        let usual = self.key.usual_output().saturating_mul(LONGER);
        Some((wanted.prompt, wanted.output(usual.max(LEAST_EXPECTED))))
    }

    /// Sets aside what the request may cost where it is about to be sent, in place of what was set aside for it before.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn afford(&mut self, cost: Cost) -> Result<(), Refusal> {
        self.held = self.key.purse().set_aside(self.held, cost).await?;
        self.cost = cost;
        if let Some((_, output)) = self.expected().filter(|_| self.held > 0) {
            self.outgrown_at = self.outgrown_at.min(output);
        }
        Ok(())
    }

    /// Takes so many more calls of the request's provider, each of which counts.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn count_calls(&mut self, more: u64) -> Result<(), Refusal> {
        if more > 0 && self.key.limits().count(RateUnit::Requests) {
            self.key.limits().take(RateUnit::Requests, more).await?;
        }
        Ok(())
    }

    /// Sets aside what the request may cost at a second provider besides; `None` if the budget has no room for both.
    pub fn afford_too(&self, cost: Cost) -> Option<Aside> {
        let held = self.key.purse().try_set_aside(0, cost).ok()?;
        Some(Aside {
            key: Arc::clone(&self.key),
            held,
            cost,
        })
    }

    /// Lets the second provider serve the request: what was set aside for the first is free.
    pub fn take_over(&mut self, mut aside: Aside) {
        let before = std::mem::replace(&mut self.held, std::mem::take(&mut aside.held));
        self.cost = aside.cost;
        self.key.purse().free(before);
    }

    /// Returns the flag that notes that a provider has all of the request: whoever leaves from then on has used it.
    pub fn sent(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.sent)
    }

    /// Notes that so many tokens of output have come: where they are more than was set aside, twice as many are, so
    /// that requests that come meanwhile find the truth.
    pub fn note_output(&mut self, output: u64) {
        if output > self.outgrown_at {
            self.outgrow(output);
        }
    }

    #[cold]
    fn outgrow(&mut self, output: u64) {
        let Some(wanted) = self.wanted else { return };
        let doubled = output.saturating_mul(2);
        if let Some(taken) = &mut self.tokens {
            let amount = wanted.prompt.saturating_add(doubled);
            if amount > taken.amount {
                self.key.limits().correct(RateUnit::Tokens, taken, amount);
                taken.amount = amount;
            }
        }
        if let Some((_, expected)) = self.expected().filter(|_| self.held > 0) {
            let of_output = u128::from(self.cost.at_most.saturating_sub(self.cost.surely));
            let grown = of_output * u128::from(doubled) / u128::from(expected.max(1));
            let grown = u64::try_from(grown).unwrap_or(u64::MAX);
            let cost = self.cost.surely.saturating_add(grown);
            if cost > self.held {
                self.held = self.key.purse().raise(self.held, cost);
            }
        }
        self.outgrown_at = doubled;
    }

    /// Gives back all that the request took: it is not served after all, and does not count.
    fn give_back(&mut self) {
        if let Some(taken) = self.requests.take() {
            self.key.limits().correct(RateUnit::Requests, &taken, 0);
        }
    }

    /// Settles a request that is over and was accounted. `whole` says that its answer came to its end, and that its
    /// provider has counted it.
    pub fn settle(mut self, spent: Consumption, whole: bool) {
        let correct = |taken: Option<Taken>, tokens| {
            if let Some(taken) = taken {
                self.key.limits().correct(RateUnit::Tokens, &taken, tokens);
            }
        };
        let taken = self.tokens;
        match spent {
            Consumption::Nothing => correct(taken, 0),
            Consumption::Tokens { input, output } => {
                correct(taken, input.saturating_add(output));
                // What was cut short says nothing of how long answers are.
                if whole {
                    self.key.learn_output(output);
                }
            }
            Consumption::Unknown => {}
        }
        self.tokens = None;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.key.purse().free(self.held);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.key.purse().free(self.held);
        if let Some(taken) = self.tokens.take()
            && !self.sent.load(Ordering::Relaxed)
        {
            self.key.limits().correct(RateUnit::Tokens, &taken, 0);
        }
    }
}
