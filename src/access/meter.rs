//! One limit of one key: so many requests or tokens in a minute or a day.

use std::time::Duration;

use super::clock::Millis;
use super::refusal::Refusal;
use super::standing::Level;
use super::window::{Slice, Window};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Requests,
    Tokens,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Requests => "requests",
            Unit::Tokens => "tokens",
        }
    }
}

/// In how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Minute,
    Day,
}

impl Span {
    pub fn name(self) -> &'static str {
        match self {
            Span::Minute => "minute",
            Span::Day => "day",
        }
    }

    pub fn length(self) -> Duration {
        match self {
            Span::Minute => Duration::from_secs(60),
            Span::Day => Duration::from_secs(24 * 3600),
        }
    }
}

/// One limit and what counts against it.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) unit: Unit,
    pub(super) span: Span,
    pub(super) limit: u64,
    window: Window,
}

impl Meter {
    pub(super) fn new(unit: Unit, span: Span, limit: u64) -> Meter {
        Meter {
            unit,
            span,
            limit,
            window: Window::new(span.length(), 0),
        }
    }

    /// Whether `amount` fits.
    ///
    /// # Errors
    /// [`Refusal::Rate`], or [`Refusal::TooLarge`] if it never will.
    pub(super) fn check(&mut self, now: Millis, amount: u64) -> Result<(), Refusal> {
        let (span, limit) = (self.span, self.limit);
        if amount > limit {
            return Err(Refusal::TooLarge {
                span,
                limit,
                wanted: amount,
            });
        }
        if self.window.used(now) + amount <= limit {
            return Ok(());
        }
        Err(Refusal::Rate {
            unit: self.unit,
            span,
            limit,
            after: self.window.until(now, limit - amount),
        })
    }

    pub(super) fn take(&mut self, now: Millis, amount: u64) -> Slice {
        self.window.add(now, amount)
    }

    /// What was taken in `slice` turned out to be another amount.
    pub(super) fn correct(&mut self, slice: Slice, taken: u64, real: u64) {
        match real >= taken {
            true => self.window.add_to(slice, real - taken),
            false => self.window.give_back(slice, taken - real),
        }
    }

    pub(super) fn level(&mut self, now: Millis) -> Level {
        Level {
            limit: self.limit,
            remaining: self.limit.saturating_sub(self.window.used(now)),
            reset: self.window.until(now, 0),
        }
    }
}
