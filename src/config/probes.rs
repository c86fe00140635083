//! How backends are watched; stated for the provider or, the same, under its `discover`.

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

impl Probes {
    /// Reads how a provider is probed into `used`, which has the kind's defaults. `self` stands in the provider at
    /// `at`, `inner` under its `discover`.
    pub(super) fn used(self, inner: Probes, at: &mut Section<'_, '_>, used: &mut Provider) {
        let (interval, timeout) = if used.kind.is_fleet() {
            (Some("SCAN_INTERVAL_SECONDS"), Some("PROBE_TIMEOUT_SECONDS"))
        } else {
            (Some("HEALTH_CHECK_INTERVAL"), None)
        };
        let common = Some(at.reader.health_check).filter(|_| !used.kind.is_fleet());
        let common = common.unwrap_or_default();
        used.watched = common.enabled;
        // What the file says of all services goes before the environment.
        let interval = interval.filter(|_| common.interval.is_none());
        if let Some(interval) = stated(at, "interval", self.interval, inner.interval, interval)
            .map(|interval| interval.0)
            .or(common.interval)
        {
            used.interval = interval;
        }
        let probe_timeout = (self.probe_timeout, inner.probe_timeout);
        if let Some(limit) = stated(
            at,
            "probe_timeout",
            probe_timeout.0,
            probe_timeout.1,
            timeout,
        )
        .map(|limit| limit.0)
        .or(common.timeout)
        {
            used.probe_timeout = limit;
        }
        if let Some(misses) = stated(at, "misses", self.misses, inner.misses, None) {
            used.misses = misses.0;
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
