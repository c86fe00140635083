//! `routing.retry:`, pauses between attempts and the bound on them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::Positive;
use super::field::Field;
use super::reader::Section;
use super::scalar::{Choice, Count, Scalar, Whole};
use super::yaml::Value;
use crate::settings::{self, Fallback};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Retry {
    attempts: Field<Whole<0, 100>>,
    base: Field<Duration>,
    max: Field<Duration>,
    max_wait: Field<Duration>,
    within: Field<Positive>,
    hedge_after: Field<Patience>,
    budget: Field<Share>,
    budget_floor: Field<Count<0>>,
}

impl Choice for Fallback {
    const NAMES: &'static [(&'static str, Fallback)] = Fallback::NAMES;
}

/// A part of a whole, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl Scalar for Share {
    fn read(value: &Value) -> Result<Share, String> {
        super::scalar::text(value)
            .and_then(|text| text.parse().ok())
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Share)
            .ok_or_else(|| "expected a share from 0 to 1".into())
    }

    fn write(&self) -> Value {
        self.0.into()
    }
}

/// A duration above zero, or `off`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Patience(Option<Duration>);

impl Scalar for Patience {
    fn read(value: &Value) -> Result<Patience, String> {
        match super::scalar::text(value).as_deref() {
            Some("off" | "false" | "0") => Ok(Patience(None)),
            _ => match Duration::read(value) {
                Ok(Duration::ZERO) => Ok(Patience(None)),
                Ok(duration) => Ok(Patience(Some(duration))),
                Err(error) => Err(format!("{error}; or off")),
            },
        }
    }

    fn write(&self) -> Value {
        self.0.map_or("off".into(), |duration| duration.write())
    }
}

impl Retry {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Retry {
        let default = settings::Retry::default();
        settings::Retry {
            attempts: at
                .stated("attempts", self.attempts)
                .map_or(default.attempts, |attempts| attempts.0),
            base: at.stated("base", self.base).unwrap_or(default.base),
            max: at.stated("max", self.max).unwrap_or(default.max),
            max_wait: at
                .stated("max_wait", self.max_wait)
                .unwrap_or(default.max_wait),
            within: at
                .stated("within", self.within)
                .map_or(default.within, |within| within.0),
            hedge_after: at
                .stated("hedge_after", self.hedge_after)
                .map_or(default.hedge_after, |after| after.0),
            budget: at
                .stated("budget", self.budget)
                .map_or(default.budget, |budget| budget.0),
            budget_floor: at
                .stated("budget_floor", self.budget_floor)
                .map_or(default.budget_floor, |floor| floor.0),
        }
    }
}

impl From<&settings::Retry> for Retry {
    fn from(used: &settings::Retry) -> Retry {
        Retry {
            attempts: Whole(used.attempts).into(),
            base: used.base.into(),
            max: used.max.into(),
            max_wait: used.max_wait.into(),
            within: Positive(used.within).into(),
            hedge_after: Patience(used.hedge_after).into(),
            budget: Share(used.budget).into(),
            budget_floor: Whole(used.budget_floor).into(),
        }
    }
}
