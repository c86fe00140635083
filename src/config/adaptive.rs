//! `routing.adaptive:` and `routing.health_check:`, limits that follow how a service fares, and how it is watched.

use serde::{Deserialize, Serialize};

use super::duration::Positive;
use super::field::Field;
use super::reader::Section;
use super::scalar::{Count, Scalar, Whole};
use super::yaml::Value;
use crate::settings;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Adaptive {
    enabled: Field<bool>,
    min: Field<Count<1>>,
    max: Field<Count<0>>,
    tolerance: Field<Factor>,
}

/// How many times the usual; not less than once.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Factor(f64);

impl Scalar for Factor {
    fn read(value: &Value) -> Result<Factor, String> {
        super::scalar::text(value)
            .and_then(|text| text.parse().ok())
            .filter(|factor: &f64| factor.is_finite() && *factor >= 1.0)
            .map(Factor)
            .ok_or_else(|| "expected a number that is not below 1".into())
    }

    fn write(&self) -> Value {
        self.0.into()
    }
}

impl Adaptive {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Adaptive {
        let default = settings::Adaptive::default();
        let used = settings::Adaptive {
            enabled: at
                .stated("enabled", self.enabled)
                .unwrap_or(default.enabled),
            min: at
                .stated("min", self.min)
                .map_or(default.min, |least| least.0),
            max: at
                .stated("max", self.max)
                .map(|most| most.0)
                .filter(|most| *most > 0),
            tolerance: at
                .stated("tolerance", self.tolerance)
                .map_or(default.tolerance, |factor| factor.0),
        };
        if used.max.is_some_and(|max| max < used.min) {
            at.problem("max", "is less than min, which is always allowed");
        }
        used
    }
}

impl From<&settings::Adaptive> for Adaptive {
    fn from(used: &settings::Adaptive) -> Adaptive {
        Adaptive {
            enabled: used.enabled.into(),
            min: Whole(used.min).into(),
            max: used.max.map(Whole).into(),
            tolerance: Factor(used.tolerance).into(),
        }
    }
}

/// A provider balancer's section; what a provider's own entry states goes before it.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct HealthCheck {
    enabled: Field<bool>,
    interval: Field<Positive>,
    timeout: Field<Positive>,
}

impl HealthCheck {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::HealthCheck {
        settings::HealthCheck {
            enabled: at.stated("enabled", self.enabled).unwrap_or(true),
            interval: at
                .stated("interval", self.interval)
                .map(|interval| interval.0),
            timeout: at.stated("timeout", self.timeout).map(|timeout| timeout.0),
        }
    }

    /// Returns the checks that are stated and could be read, for the providers, which are read before this section.
    pub(super) fn stated(&self) -> settings::HealthCheck {
        settings::HealthCheck {
            enabled: self.enabled.stated().copied().unwrap_or(true),
            interval: self.interval.stated().map(|interval| interval.0),
            timeout: self.timeout.stated().map(|timeout| timeout.0),
        }
    }
}

impl From<&settings::HealthCheck> for HealthCheck {
    fn from(used: &settings::HealthCheck) -> HealthCheck {
        HealthCheck {
            enabled: used.enabled.into(),
            interval: used.interval.map(Positive).into(),
            timeout: used.timeout.map(Positive).into(),
        }
    }
}
