//! What a key has spent, told by whoever keeps the accounts, here and at other gateways, and when its budget begins anew.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Datelike, Days, Months, NaiveTime, Utc};

use super::clock::Millis;
use crate::ids::KeyId;
use crate::settings::Period;

/// Whoever keeps the accounts. Asked with every request of a key that has a budget, so the answer is at hand.
pub trait Spending: Send + Sync {
    /// Returns the millionths of a US dollar that requests of `key` have cost since the current period began.
    fn spent(&self, key: KeyId, period: Period) -> u64;

    /// Returns a number that no other gateway's accounts have, and that stays with them.
    fn books(&self) -> u64;
}

/// No accounts are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Spending for Nothing {
    fn spent(&self, _: KeyId, _: Period) -> u64 {
        0
    }

    fn books(&self) -> u64 {
        0
    }
}

/// What a budget's period has cost at all gateways together, as far as is known here. Within a period it only grows: a
/// server that forgot does not open a budget again.
#[derive(Debug, Default)]
pub(super) struct Together {
    /// When the period ends.
    ends: AtomicU64,
    micro_usd: AtomicU64,
}

impl Together {
    /// Learns what the period that ends then has cost. One task calls it.
    pub(super) fn learn(&self, ends: Millis, micro_usd: u64) {
        let known = self.ends.load(Ordering::Relaxed);
        if ends > known {
            self.micro_usd.store(micro_usd, Ordering::Relaxed);
            self.ends.store(ends, Ordering::Relaxed);
        } else if ends == known {
            self.micro_usd.fetch_max(micro_usd, Ordering::Relaxed);
        }
    }

    /// Returns what was spent in the period that holds at `now`, in millionths of a US dollar.
    pub(super) fn at(&self, now: Millis) -> u64 {
        if now < self.ends.load(Ordering::Relaxed) {
            self.micro_usd.load(Ordering::Relaxed)
        } else {
            0
        }
    }
}

/// Returns when the period that holds at `now` ends; `None` for one that never does.
pub fn begins_anew(period: Period, now: Millis) -> Option<Millis> {
    let now = DateTime::<Utc>::from_timestamp_millis(i64::try_from(now).ok()?)?;
    let today = now.date_naive();
    let next = match period {
        Period::Day => today.checked_add_days(Days::new(1))?,
        Period::Month => today.with_day(1)?.checked_add_months(Months::new(1))?,
        Period::Total => return None,
    };
    Millis::try_from(next.and_time(NaiveTime::MIN).and_utc().timestamp_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_spent_never_sinks_until_the_period_ends() {
        let together = Together::default();
        assert_eq!(together.at(5), 0);
        together.learn(100, 40);
        together.learn(100, 30);
        assert_eq!(together.at(99), 40);
        together.learn(100, 50);
        assert_eq!(together.at(99), 50);
        // Nobody tells of the new period, as the server is away.
        assert_eq!(together.at(100), 0);
        together.learn(200, 7);
        together.learn(100, 60);
        assert_eq!(together.at(199), 7);
    }

    #[test]
    fn periods_end_at_midnight_of_utc() {
        let at = |text: &str| {
            let time = DateTime::parse_from_rfc3339(text).unwrap();
            Millis::try_from(time.timestamp_millis()).unwrap()
        };
        for (period, now, next) in [
            (
                Period::Day,
                "2026-02-28T23:59:59.999Z",
                Some("2026-03-01T00:00:00Z"),
            ),
            (
                Period::Day,
                "2026-03-01T00:00:00Z",
                Some("2026-03-02T00:00:00Z"),
            ),
            (
                Period::Month,
                "2026-01-31T12:00:00Z",
                Some("2026-02-01T00:00:00Z"),
            ),
            (
                Period::Month,
                "2026-12-01T00:00:00Z",
                Some("2027-01-01T00:00:00Z"),
            ),
            (Period::Total, "2026-12-01T00:00:00Z", None),
        ] {
            assert_eq!(
                begins_anew(period, at(now)),
                next.map(at),
                "{period:?} {now}"
            );
        }
    }
}
