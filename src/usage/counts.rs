//! What is added up: requests, tokens, money.

use super::{Tokens, Usd};

/// Sums over requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that reached a provider.
    pub requests: u64,
    /// Those that gave the client no whole answer.
    pub failed: u64,
    /// Answers whose tokens, or some of them, were estimated, because they broke off before the provider told.
    pub estimated: u64,
    /// Answers whose price is not known: their tokens are counted, and they add nothing to `cost`.
    pub unpriced: u64,
    pub tokens: Tokens,
    pub cost: Usd,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.estimated += other.estimated;
        self.unpriced += other.unpriced;
        self.cost += other.cost;
        let (tokens, more) = (&mut self.tokens, &other.tokens);
        tokens.input += more.input;
        tokens.cache_read += more.cache_read;
        tokens.cache_write += more.cache_write;
        tokens.cache_write_hour += more.cache_write_hour;
        tokens.output += more.output;
        tokens.reasoning += more.reasoning;
    }
}
