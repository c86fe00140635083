//! One limit of one key: so many requests or tokens in a minute or a day, counted here alone or together with other
//! gateways.

use std::time::Duration;

use super::clock::Millis;
use super::pool::Pool;
use super::rate::{RatePeriod, RateUnit};
use super::refusal::Refusal;
use super::window::{Slice, Window};
use remuda_formats::dialect::rate_limits::Allowance;

/// Why an amount cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Short {
    Refused(Refusal),
    /// There may be enough left, but it has to be asked for. What is said if that comes to nothing.
    OfLease(Refusal),
}

impl Short {
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Short::Refused(refusal) | Short::OfLease(refusal) => refusal,
        }
    }

    /// Returns how long the shortage lasts. A lease may be enlarged at any time, so that its shortage is not told as long
    /// as there is another.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Short::OfLease(_) => Duration::ZERO,
            Short::Refused(refusal) => refusal.retry_after().unwrap_or(Duration::MAX),
        }
    }
}

/// One limit and what counts against it.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) unit: RateUnit,
    pub(super) span: RatePeriod,
    pub(super) limit: u64,
    /// What this gateway has let through.
    pub(super) window: Window,
    /// What others have, where they count together.
    pub(super) pool: Option<Pool>,
}

impl Meter {
    pub(super) fn new(unit: RateUnit, span: RatePeriod, limit: u64, shared: bool) -> Meter {
        // An allowance may be taken from the pool a little before it is used.
        let late = u64::from(shared);
        Meter {
            unit,
            span,
            limit,
            window: Window::new(span.length(), late),
            pool: shared.then(|| Pool::new(span.length(), late)),
        }
    }

    /// Checks that `amount` can be taken now.
    ///
    /// # Errors
    /// [`Refusal::Rate`], [`Refusal::TooLarge`] or [`Refusal::TooManyCalls`] if it never will, or [`Short::OfLease`].
    pub(super) fn check(&mut self, now: Millis, amount: u64) -> Result<(), Short> {
        let (span, limit) = (self.span, self.limit);
        if amount > limit {
            return Err(Short::Refused(match self.unit {
                RateUnit::Tokens => Refusal::TooLarge {
                    span,
                    limit,
                    wanted: amount,
                },
                // The request itself has been taken before.
                RateUnit::Requests => Refusal::TooManyCalls {
                    span,
                    limit,
                    calls: amount + 1,
                },
            }));
        }
        if let Some(pool) = &mut self.pool
            && pool.lease_holds(now, amount)
        {
            return Ok(());
        }
        // Of what is left when the server is away, each gateway has its share.
        let pool = self.pool.as_mut();
        let weight = pool.map_or(0, |pool| pool.weight(now, limit, amount));
        if self.used(now).saturating_add(amount).saturating_add(weight) > limit {
            return Err(Short::Refused(Refusal::Rate {
                unit: self.unit,
                span,
                limit,
                after: self.until(now, limit - amount),
            }));
        }
        match &mut self.pool {
            Some(pool) if pool.must_lease() => {
                pool.starve(amount);
                // There was not enough for all who wanted it at once.
                Err(Short::OfLease(Refusal::Rate {
                    unit: self.unit,
                    span,
                    limit,
                    after: Duration::from_secs(1),
                }))
            }
            _ => Ok(()),
        }
    }

    /// Returns [`Refusal::Rate`] if nothing is left, as far as is known.
    pub(super) fn exhausted(&mut self, now: Millis) -> Option<Refusal> {
        (self.used(now) >= self.limit).then(|| Refusal::Rate {
            unit: self.unit,
            span: self.span,
            limit: self.limit,
            after: self.until(now, self.limit - 1),
        })
    }

    /// Takes what [`Self::check`] allowed.
    pub(super) fn take(&mut self, now: Millis, amount: u64) -> Slice {
        let slice = self.window.add(now, amount);
        if let Some(pool) = &mut self.pool {
            pool.taken(now, slice, amount);
        }
        slice
    }

    /// Corrects what was taken in `slice` and turned out to be another amount.
    pub(super) fn correct(&mut self, slice: Slice, taken: u64, real: u64) {
        if real >= taken {
            self.window.add_to(slice, real - taken)
        } else {
            self.window.give_back(slice, taken - real)
        }
        if let Some(pool) = &mut self.pool {
            pool.changed(slice);
        }
    }

    /// Notes that the clock was set by `ahead` milliseconds.
    pub(super) fn shift(&mut self, ahead: i64) {
        self.window.shift(ahead);
        if let Some(pool) = &mut self.pool {
            pool.shift(ahead);
        }
    }

    pub(super) fn remaining(&mut self, now: Millis) -> u64 {
        self.limit.saturating_sub(self.used(now))
    }

    /// Returns what is left, and when all of it will be there again if nothing more is taken.
    pub(super) fn left(&mut self, now: Millis) -> Allowance {
        Allowance {
            limit: Some(self.limit),
            remaining: Some(self.remaining(now)),
            reset: Some(self.until(now, 0)),
        }
    }

    fn used(&mut self, now: Millis) -> u64 {
        let others = self.pool.as_mut().map_or(0, |pool| pool.others.used(now));
        self.window.used(now).saturating_add(others)
    }

    /// Returns the time until no more than `amount` counts.
    fn until(&mut self, now: Millis, amount: u64) -> Duration {
        let Some(pool) = &self.pool else {
            return self.window.until(now, amount);
        };
        let mut all = self.window.clone();
        all.advance(now);
        for (slice, others) in pool.others.amounts() {
            all.add_to(slice, others);
        }
        all.until(now, amount)
    }
}
