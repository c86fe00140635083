//! How many requests one client address may send in a stretch of time: the setting `server.max_requests_per_address`.

use std::net::IpAddr;
use std::time::Duration;

use pingora_limits::rate::Rate;

use crate::proxy::listener::places::customer;
use crate::settings::RequestRate;

/// Rows of counters. An address is counted once in each, and the least of its counters holds.
const ROWS: usize = 4;
/// Counters in a row, together 512 KiB. Two addresses are taken for one where they share a counter in every row, so that
/// some ten thousand may send requests in one stretch of time.
const COUNTERS: usize = 8192;

/// Counts requests by client address, in bounded memory.
pub(crate) struct Pace {
    pub(super) limit: RequestRate,
    rate: Rate,
}

impl Pace {
    pub(crate) fn new(limit: RequestRate) -> Pace {
        Pace {
            limit,
            rate: Rate::new_with_estimator_config(limit.per, ROWS, COUNTERS),
        }
    }

    /// Counts a request of the address, unless it is one too many; those that are refused do not count.
    ///
    /// # Errors
    /// The time until there is room for a request.
    pub(super) fn count(&self, client: IpAddr) -> Result<(), Duration> {
        let client = customer(client);
        self.rate.observe(&client, 1);
        let wait = self.rate.rate_with(&client, |seen| {
            let (before, now) = (seen.prev_samples as f64, seen.curr_samples as f64);
            room_in(
                f64::from(self.limit.requests),
                before,
                now,
                seen.current_interval_fraction,
            )
        });
        match wait {
            None => Ok(()),
            Some(stretches) => {
                self.rate.observe(&client, -1);
                Err(self.limit.per.mul_f64(stretches))
            }
        }
    }
}

/// Returns how long it takes until there is room for the last request, in stretches of time, or `None` if there is room now.
///
/// `before` requests came in the last whole stretch and `now` in the present one, of which the share `elapsed` is over. The
/// former count by the share of their stretch that lies within the sliding window, as Cloudflare's estimate has it:
/// <https://blog.cloudflare.com/counting-things-a-lot-of-different-things/>.
fn room_in(most: f64, before: f64, now: f64, elapsed: f64) -> Option<f64> {
    if before * (1.0 - elapsed) + now <= most {
        return None;
    }
    // The share of a stretch after which so many of its requests have left the window that the others and one more fit.
    let gone = |leaving: f64, others: f64| (1.0 - (most - others - 1.0) / leaving).clamp(0.0, 1.0);
    let others = now - 1.0;
    let wait = if others < most {
        gone(before, others) - elapsed
    } else {
        1.0 - elapsed + gone(others, 0.0)
    };
    Some(wait.max(0.0))
}

/// Returns whole seconds, so that whoever waits as told is not early.
pub(super) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        // Nothing came before: as many as the limit at once.
        assert_eq!(room_in(10.0, 0.0, 10.0, 0.0), None);
        // The eleventh waits for the next stretch, and for a tenth of it.
        let wait = room_in(10.0, 0.0, 11.0, 0.25).unwrap();
        assert!((wait - 0.85).abs() < 1e-9, "{wait}");
        // Half of those before count still.
        assert_eq!(room_in(10.0, 10.0, 5.0, 0.5), None);
        let wait = room_in(10.0, 10.0, 6.0, 0.5).unwrap();
        assert!((wait - 0.1).abs() < 1e-9, "{wait}");
        // One in a minute.
        assert_eq!(room_in(1.0, 0.0, 1.0, 0.9), None);
        let wait = room_in(1.0, 0.0, 2.0, 0.5).unwrap();
        assert!((wait - 1.5).abs() < 1e-9, "{wait}");
        let wait = room_in(1.0, 1.0, 1.0, 0.5).unwrap();
        assert!((wait - 0.5).abs() < 1e-9, "{wait}");
    }

    #[test]
    fn an_address_has_its_own_count_and_refused_requests_do_not_count() {
        let hour = Duration::from_secs(3600);
        let pace = Pace::new(RequestRate {
            requests: 2,
            per: hour,
        });
        let at = |address: &str| pace.count(address.parse().unwrap());
        assert!(at("10.0.0.1").is_ok() && at("::ffff:10.0.0.1").is_ok());
        for _ in 0..5 {
            let wait = at("10.0.0.1").unwrap_err();
            assert!(wait > hour && wait <= hour * 2, "{wait:?}");
        }
        assert!(at("10.0.0.2").is_ok());
        // One /64 is one customer.
        assert!(at("2001:db8::1").is_ok() && at("2001:db8::2").is_ok());
        assert!(at("2001:db8::3").is_err());
        assert!(at("2001:db8:0:1::1").is_ok());
    }
}
