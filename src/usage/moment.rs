//! Points in time as sums know them: hours, days and months of UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike};

use crate::clock;

/// A point in time, in whole seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

impl Moment {
    /// Returns the time of the system's clock, without its jumps.
    pub fn now() -> Moment {
        Moment::from(clock::now())
    }

    pub fn seconds(seconds: i64) -> Moment {
        Moment(seconds)
    }

    pub fn as_seconds(self) -> i64 {
        self.0
    }

    /// Returns the hours since 1970.
    pub fn hour(self) -> i64 {
        self.0.div_euclid(HOUR)
    }

    /// Returns the beginning of an hour.
    pub fn of_hour(hour: i64) -> Moment {
        Moment(hour.saturating_mul(HOUR))
    }

    /// Returns the days since 1970.
    pub(super) fn day(self) -> i64 {
        self.0.div_euclid(DAY)
    }

    /// Returns the first hour of this day.
    pub(super) fn first_hour_of_day(self) -> i64 {
        self.day() * 24
    }

    /// Returns the first hour of this month.
    pub(super) fn first_hour_of_month(self) -> i64 {
        let of_month = DateTime::from_timestamp(self.0, 0).map_or(1, |date| date.day());
        (self.day() - (i64::from(of_month) - 1)) * 24
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Moment {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_days_and_months_are_those_of_utc() {
        // 2024-02-29T23:59:59Z
        let leap = Moment(1_709_251_199);
        assert_eq!(leap.hour(), 474_791);
        assert_eq!(leap.first_hour_of_day(), 474_768);
        // 2024-02-01T00:00:00Z
        assert_eq!(
            Moment::of_hour(leap.first_hour_of_month()),
            Moment(1_706_745_600)
        );
        let next = Moment(leap.0 + 1);
        assert_eq!(next.first_hour_of_month(), next.hour());
        assert_eq!(next.first_hour_of_day(), next.hour());
    }
}
