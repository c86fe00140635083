//! What a key has spent today, this month and ever: the figures that budgets are held against.

use std::sync::{Mutex, PoisonError};

use super::{Moment, Usd};
use crate::settings::Period;

/// The sums of one key.
#[derive(Debug, Default)]
pub struct Spent(Mutex<Sums>);

/// The sums of a day and of the month around it; periods that are over have no sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) day: (i64, Usd),
    /// The month by its first hour.
    pub(super) month: (i64, Usd),
    pub(super) total: Usd,
}

impl Sums {
    fn turn(&mut self, now: Moment) {
        let (day, month) = (now.day(), now.first_hour_of_month());
        // A clock that is set back does not open yesterday's budget again. One that was far ahead has left what was spent
        // in a period that is years away: it counts for the one that holds.
        if day + 1 < self.day.0 {
            self.day.0 = day;
            self.month.0 = month;
        }
        if day <= self.day.0 {
            return;
        }
        self.day = (day, Usd::ZERO);
        if month > self.month.0 {
            self.month = (month, Usd::ZERO);
        }
    }
}

impl Spent {
    /// Returns what a key has spent by the sums of a file.
    pub(super) fn starting(sums: Sums) -> Spent {
        Spent(Mutex::new(sums))
    }

    pub(super) fn add(&self, now: Moment, cost: Usd) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.turn(now);
        sums.day.1 += cost;
        sums.month.1 += cost;
        sums.total += cost;
    }

    /// Returns what was spent since the period began; it includes every answer that has ended.
    pub fn of(&self, period: Period, now: Moment) -> Usd {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.turn(now);
        match period {
            Period::Day => sums.day.1,
            Period::Month => sums.month.1,
            Period::Total => sums.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    /// 2024-02-28T12:00:00Z
    const NOON: i64 = 1_709_121_600;

    #[test]
    fn a_new_day_begins_at_nothing_and_a_new_month_too() {
        let spent = Spent::default();
        let at = |days: i64| Moment::seconds(NOON + days * DAY);
        spent.add(at(0), Usd::nanos(5));
        spent.add(at(0), Usd::nanos(2));
        let now = |moment| {
            [Period::Day, Period::Month, Period::Total]
                .map(|period| spent.of(period, moment).as_nanos())
        };
        assert_eq!(now(at(0)), [7, 7, 7]);
        assert_eq!(now(at(1)), [0, 7, 7]);
        spent.add(at(1), Usd::nanos(1));
        assert_eq!(now(at(1)), [1, 8, 8]);
        // 2024-03-01
        assert_eq!(now(at(2)), [0, 0, 8]);
    }

    #[test]
    fn a_clock_that_goes_back_keeps_the_sums() {
        let spent = Spent::default();
        spent.add(Moment::seconds(NOON), Usd::nanos(5));
        assert_eq!(
            spent.of(Period::Day, Moment::seconds(NOON - DAY)),
            Usd::nanos(5)
        );
    }

    #[test]
    fn a_clock_that_was_years_ahead_does_not_freeze_a_budget() {
        let spent = Spent::default();
        spent.add(Moment::seconds(NOON + 4000 * DAY), Usd::nanos(5));
        let then = Moment::seconds(NOON);
        assert_eq!(spent.of(Period::Day, then), Usd::nanos(5));
        assert_eq!(spent.of(Period::Month, then), Usd::nanos(5));
        assert_eq!(
            spent.of(Period::Day, Moment::seconds(NOON + DAY)),
            Usd::ZERO
        );
        assert_eq!(
            spent.of(Period::Month, Moment::seconds(NOON + 3 * DAY)),
            Usd::ZERO
        );
    }
}
