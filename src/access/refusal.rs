//! Why a request of a known key is refused, in words that say what to do.

use std::time::Duration;

use super::clock::Millis;
use super::rate::{RatePeriod, RateUnit};

/// Why a request of a known key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("rate limit reached: this key may have {limit} {} per {}; try again in {}", .unit.name(), .span.name(), seconds(.after))]
    Rate {
        unit: RateUnit,
        span: RatePeriod,
        limit: u64,
        /// The time until the same request could pass.
        after: Duration,
    },
    /// No wait helps.
    #[error("request too large: it may take about {wanted} tokens, and this key may have {limit} per {}; send less, or ask for fewer tokens of output", .span.name())]
    TooLarge {
        span: RatePeriod,
        limit: u64,
        wanted: u64,
    },
    #[error("too many requests at once: this key may have {limit} in flight; wait for one to end")]
    Concurrency { limit: usize },
    #[error("the budget of this key is used up: {}{}", dollars(*.micro_usd), ending(*.anew))]
    Budget {
        micro_usd: u64,
        /// When it begins anew, and how long that is from now.
        anew: Option<(Millis, Duration)>,
    },
    #[error("what is left of this key's budget, {}, is set aside for its requests in flight; wait for one to end", dollars(*.left))]
    SetAside {
        /// Millionths of a US dollar.
        left: u64,
    },
    #[error("what is left of this key's budget is {}, and the prompt alone may cost {}; send less", dollars(*.left), dollars(*.wanted))]
    TooDear {
        /// Millionths of a US dollar.
        left: u64,
        /// The same.
        wanted: u64,
    },
    #[error("request too large: it takes {calls} calls of the provider, each of which counts, and this key may have {limit} requests per {}; send fewer inputs", .span.name())]
    TooManyCalls {
        span: RatePeriod,
        limit: u64,
        calls: u64,
    },
    #[error("this key may not use the model {model:?}")]
    Model { model: String },
    #[error("this key may not use a provider of the model {model:?}")]
    Provider { model: String },
}

impl Refusal {
    /// Returns the reason's name in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Rate {
                unit: RateUnit::Requests,
                ..
            } => "requests",
            Refusal::Rate {
                unit: RateUnit::Tokens,
                ..
            }
            | Refusal::TooLarge { .. } => "tokens",
            Refusal::TooManyCalls { .. } => "requests",
            Refusal::Concurrency { .. } => "concurrency",
            Refusal::Budget { .. } | Refusal::SetAside { .. } | Refusal::TooDear { .. } => "budget",
            Refusal::Model { .. } => "model",
            Refusal::Provider { .. } => "provider",
        }
    }

    /// Returns the time until it makes sense to ask again; `None` where it never does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Rate { after, .. } => Some(*after),
            Refusal::Concurrency { .. } | Refusal::SetAside { .. } => Some(Duration::from_secs(1)),
            Refusal::Budget { anew, .. } => anew.map(|(_, after)| after),
            Refusal::TooLarge { .. }
            | Refusal::TooManyCalls { .. }
            | Refusal::TooDear { .. }
            | Refusal::Model { .. }
            | Refusal::Provider { .. } => None,
        }
    }

    /// Returns whether a client that asks again by itself, after seconds, asks in vain.
    pub fn is_final(&self) -> bool {
        match self {
            Refusal::Rate { after, .. } => *after > MOST_PATIENCE,
            Refusal::Concurrency { .. } | Refusal::SetAside { .. } => false,
            _ => true,
        }
    }
}

/// What clients of OpenAI and Anthropic wait at most before they ask again.
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// Returns whole seconds, at least one, rounded up so that whoever waits as told is not early.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
        .max(1)
}

fn seconds(time: &Duration) -> String {
    humantime::format_duration(Duration::from_secs(whole_seconds(*time))).to_string()
}

fn dollars(micro_usd: u64) -> String {
    let (whole, part) = (micro_usd / 1_000_000, micro_usd % 1_000_000);
    if part.is_multiple_of(10_000) {
        format!("{whole}.{:02} US dollars", part / 10_000)
    } else {
        format!("{whole}.{part:06} US dollars")
    }
}

fn ending(anew: Option<(Millis, Duration)>) -> String {
    let Some((at, _)) = anew else {
        return "; ask the operator for more".to_owned();
    };
    let at = i64::try_from(at)
        .ok()
        .and_then(chrono::DateTime::<chrono::Utc>::from_timestamp_millis);
    let at = at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    format!("; it begins anew at {}", at.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        let rate = Refusal::Rate {
            unit: RateUnit::Requests,
            span: RatePeriod::Minute,
            limit: 60,
            after: Duration::from_millis(61_001),
        };
        assert_eq!(
            rate.to_string(),
            "rate limit reached: this key may have 60 requests per minute; try again in 1m 2s"
        );
        assert!(rate.is_final());
        let budget = |micro_usd, anew| Refusal::Budget { micro_usd, anew }.to_string();
        assert_eq!(
            budget(
                20_500_000,
                Some((1_767_225_600_000, Duration::from_secs(1)))
            ),
            "the budget of this key is used up: 20.50 US dollars; it begins anew at 2026-01-01T00:00:00Z"
        );
        assert_eq!(
            Refusal::TooDear {
                left: 20_000,
                wanted: 1_250_001
            }
            .to_string(),
            "what is left of this key's budget is 0.02 US dollars, and the prompt alone may cost 1.250001 US dollars; send less"
        );
        assert_eq!(
            budget(1, None),
            "the budget of this key is used up: 0.000001 US dollars; ask the operator for more"
        );
    }

    #[test]
    fn nobody_is_told_to_wait_for_no_time() {
        for (time, told) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(time)), told);
        }
    }
}
