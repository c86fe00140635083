//! What a limit of a key counts, and within which time.

use std::time::Duration;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateUnit {
    Requests,
    Tokens,
}

impl RateUnit {
    pub fn name(self) -> &'static str {
        match self {
            RateUnit::Requests => "requests",
            RateUnit::Tokens => "tokens",
        }
    }
}

/// The time within which a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatePeriod {
    Minute,
    Day,
}

impl RatePeriod {
    pub fn name(self) -> &'static str {
        match self {
            RatePeriod::Minute => "minute",
            RatePeriod::Day => "day",
        }
    }

    pub fn length(self) -> Duration {
        match self {
            RatePeriod::Minute => Duration::from_secs(60),
            RatePeriod::Day => Duration::from_secs(24 * 3600),
        }
    }
}
