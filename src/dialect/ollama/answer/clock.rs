//! `created_at` of each line: RFC 3339 in UTC, the fraction of the second without its trailing zeros, as Go writes it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::DateTime;

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
            self.text = date.format("%Y-%m-%dT%H:%M:%S").to_string();
        }
        out.extend_from_slice(self.text.as_bytes());
        fraction(since.subsec_nanos(), out);
        out.push(b'Z');
    }
}

/// `.` and up to nine digits; nothing for 0.
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
}
