//! `created_at` of each line: RFC 3339 in UTC, the fraction of the second without its trailing zeros, as Go writes it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Timelike, Utc};

/// The wall clock, read once; lines add what has passed since.
#[derive(Debug)]
pub(super) struct Clock {
    /// Since 1970, at `started`.
    epoch: Duration,
    started: Instant,
    /// The last second that was written, and how.
    second: u64,
    text: String,
}

impl Clock {
    pub(super) fn new() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock {
            epoch: epoch.unwrap_or_default(),
            started: Instant::now(),
            second: 0,
            text: String::new(),
        }
    }

    /// Appends the time at `now`, which is not before the clock was made.
    pub(super) fn write(&mut self, now: Instant, out: &mut Vec<u8>) {
        let since = self.epoch + now.saturating_duration_since(self.started);
        if since.as_secs() != self.second || self.text.is_empty() {
            self.second = since.as_secs();
            let date = i64::try_from(self.second)
                .ok()
                .and_then(|second| DateTime::from_timestamp(second, 0))
                .unwrap_or_default();
            self.text = to_the_second(date);
        }
        out.extend_from_slice(self.text.as_bytes());
        fraction(since.subsec_nanos(), out);
        out.push(b'Z');
    }
}

/// Returns a time such as `2026-01-02T03:04:05`. It is made by hand: a format string is read anew for every answer,
/// which takes as long as reading the answer.
fn to_the_second(date: DateTime<Utc>) -> String {
    let mut text = String::with_capacity(19);
    let (_, year) = date.year_ce();
    for (number, digits, after) in [
        (year, 4, "-"),
        (date.month(), 2, "-"),
        (date.day(), 2, "T"),
        (date.hour(), 2, ":"),
        (date.minute(), 2, ":"),
        (date.second(), 2, ""),
    ] {
        for place in (0..digits).rev() {
            let digit = number / 10u32.pow(place) % 10;
            text.push(char::from(b'0' + digit as u8));
        }
        text.push_str(after);
    }
    text
}

/// Writes `.` and up to nine digits; nothing for 0.
fn fraction(mut nanoseconds: u32, out: &mut Vec<u8>) {
    if nanoseconds == 0 {
        return;
    }
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (nanoseconds % 10) as u8;
        nanoseconds /= 10;
    }
    let length = 9 - digits.iter().rev().take_while(|d| **d == b'0').count();
    out.push(b'.');
    out.extend_from_slice(&digits[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_lose_their_trailing_zeros() {
        let started = Instant::now();
        let mut clock = Clock {
            epoch: Duration::new(1_767_323_045, 678_901_234),
            started,
            second: 0,
            text: String::new(),
        };
        let mut shown = |nanoseconds| {
            let mut out = Vec::new();
            clock.write(started + Duration::from_nanos(nanoseconds), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(0), "2026-01-02T03:04:05.678901234Z");
        assert_eq!(shown(21_098_766), "2026-01-02T03:04:05.7Z");
        assert_eq!(shown(321_098_766), "2026-01-02T03:04:06Z");
        assert_eq!(shown(321_098_767), "2026-01-02T03:04:06.000000001Z");
    }

    #[test]
    fn dates_are_written_as_chrono_writes_them() {
        for second in [0, 951_782_399, 1_709_164_800, 1_767_323_045, 4_102_444_799] {
            let date = DateTime::from_timestamp(second, 0).unwrap();
            let expected = date.format("%Y-%m-%dT%H:%M:%S").to_string();
            assert_eq!(to_the_second(date), expected);
        }
    }
}
