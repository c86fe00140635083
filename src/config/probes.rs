//! How backends are watched; stated for the provider or, the same, under its `discover`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::Positive;
use super::field::Field;
use super::reader::Section;
use super::scalar::{Scalar, Whole};
use crate::settings::Provider;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Probes {
    interval: Field<Positive>,
    probe_timeout: Field<Positive>,
    misses: Field<Whole<1, 1000>>,
}

pub(super) struct UsedProbes {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) misses: u32,
}

impl Probes {
    /// `self` stands in the provider at `at`, `inner` under its `discover`.
    pub(super) fn used(
        self,
        inner: Probes,
        at: &mut Section<'_, '_>,
        default: &Provider,
    ) -> UsedProbes {
        let interval = stated(
            at,
            "interval",
            self.interval,
            inner.interval,
            Some("SCAN_INTERVAL_SECONDS"),
        );
        let timeout = stated(
            at,
            "probe_timeout",
            self.probe_timeout,
            inner.probe_timeout,
            Some("PROBE_TIMEOUT_SECONDS"),
        );
        let misses = stated(at, "misses", self.misses, inner.misses, None);
        UsedProbes {
            interval: interval.map_or(default.interval, |interval| interval.0),
            timeout: timeout.map_or(default.probe_timeout, |timeout| timeout.0),
            misses: misses.map_or(default.misses, |misses| misses.0),
        }
    }
}

fn stated<T: Scalar>(
    at: &mut Section<'_, '_>,
    key: &str,
    outer: Field<T>,
    inner: Field<T>,
    variable: Option<&str>,
) -> Option<T> {
    if outer.is_stated() && inner.is_stated() {
        at.problem(key, "is stated here and under discover; keep one of them");
    }
    if inner.is_stated() {
        return at.section("discover").stated(key, inner);
    }
    match variable {
        Some(variable) => at.stated_or(key, outer, variable),
        None => at.stated(key, outer),
    }
}

impl From<&Provider> for Probes {
    fn from(used: &Provider) -> Probes {
        Probes {
            interval: Positive(used.interval).into(),
            probe_timeout: Positive(used.probe_timeout).into(),
            misses: Whole(used.misses).into(),
        }
    }
}
