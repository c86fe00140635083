//! `routing.breaker:`, when a provider that fails is left alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::Positive;
use super::field::Field;
use super::reader::Section;
use super::retry::Share;
use super::scalar::{Count, Whole};
use crate::settings;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Breaker {
    enabled: Field<bool>,
    window: Field<Positive>,
    failures: Field<Count<1>>,
    min_requests: Field<Count<1>>,
    error_rate: Field<Share>,
    slow_call: Field<Duration>,
    slow_rate: Field<Share>,
    open: Field<Positive>,
    successes: Field<Whole<1, 1000>>,
    ramp: Field<Duration>,
}

impl Breaker {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Breaker {
        let default = settings::Breaker::default();
        settings::Breaker {
            enabled: at
                .stated("enabled", self.enabled)
                .unwrap_or(default.enabled),
            window: at
                .stated("window", self.window)
                .map_or(default.window, |window| window.0),
            failures: at
                .stated("failures", self.failures)
                .map_or(default.failures, |failures| failures.0),
            min_requests: at
                .stated("min_requests", self.min_requests)
                .map_or(default.min_requests, |requests| requests.0),
            error_rate: at
                .stated("error_rate", self.error_rate)
                .map_or(default.error_rate, |rate| rate.0),
            slow_call: at
                .stated("slow_call", self.slow_call)
                .filter(|time| !time.is_zero()),
            slow_rate: at
                .stated("slow_rate", self.slow_rate)
                .map_or(default.slow_rate, |rate| rate.0),
            open: at
                .stated("open", self.open)
                .map_or(default.open, |open| open.0),
            successes: at
                .stated("successes", self.successes)
                .map_or(default.successes, |successes| successes.0),
            ramp: at.stated("ramp", self.ramp).unwrap_or(default.ramp),
        }
    }
}

impl From<&settings::Breaker> for Breaker {
    fn from(used: &settings::Breaker) -> Breaker {
        Breaker {
            enabled: used.enabled.into(),
            window: Positive(used.window).into(),
            failures: Whole(used.failures).into(),
            min_requests: Whole(used.min_requests).into(),
            error_rate: Share(used.error_rate).into(),
            slow_call: used.slow_call.into(),
            slow_rate: Share(used.slow_rate).into(),
            open: Positive(used.open).into(),
            successes: Whole(used.successes).into(),
            ramp: used.ramp.into(),
        }
    }
}
