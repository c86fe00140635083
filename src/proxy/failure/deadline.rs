//! How long an attempt may take to its first content, and whose limit that is: a server that is too slow has failed; a
//! request that takes longer than it may is at its own end, and no other server would be quicker.

use std::time::{Duration, Instant};

use crate::proxy::failure::Failure;
use crate::settings::Timeouts;

/// A limit of the request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeLimit {
    pub(crate) at: Instant,
    setting: &'static str,
    value: Duration,
}

impl TimeLimit {
    /// Returns the limit that ends `value` after `start`; `None` if the setting has no value.
    pub(crate) fn after(
        start: Instant,
        setting: &'static str,
        value: Option<Duration>,
    ) -> Option<Self> {
        value.map(|value| Self {
            at: start + value,
            setting,
            value,
        })
    }

    pub(crate) fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).min_by_key(|bound| bound.at)
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// Returns the setting and its value.
    pub(crate) fn setting(&self) -> (&'static str, Duration) {
        (self.setting, self.value)
    }

    /// Returns what the client is told.
    pub(crate) fn failure(&self) -> Failure {
        let (setting, seconds) = (self.setting, self.value.as_secs_f64());
        let missing = match setting {
            SILENT => "was not whole",
            _ => "had not begun",
        };
        let text = format!(
            "the answer {missing} when the time of the setting {setting} ({seconds} s) was over"
        );
        Failure::new(504, "time_limit", text)
    }
}

/// The setting that bounds an answer which cannot be seen before it is whole.
const SILENT: &str = "timeouts.silent";
/// The setting that bounds the whole request, or an attempt at one provider.
pub(crate) const TOTAL: &str = "timeouts.total";
/// The setting that bounds all attempts together.
pub(crate) const WITHIN: &str = "routing.retry.within";

/// The moment until which an attempt may be without content.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    /// The server has failed if there is no content by then.
    Server(Instant),
    /// The request is over if there is no content by then.
    Request(TimeLimit),
}

impl Deadline {
    /// Returns the deadline of an attempt that begins now. `streamed` says that its first content will be seen before the
    /// answer is whole, and `until` bounds the request.
    pub(crate) fn begin(timeouts: &Timeouts, streamed: bool, until: Option<TimeLimit>) -> Self {
        let now = Instant::now();
        let silent = TimeLimit::after(now, SILENT, Some(timeouts.silent)).filter(|_| !streamed);
        let server = now + timeouts.first_byte;
        match TimeLimit::earlier(silent, until) {
            Some(bound) if !streamed || bound.at < server => Deadline::Request(bound),
            _ => Deadline::Server(server),
        }
    }

    pub(crate) fn at(&self) -> Instant {
        match self {
            Deadline::Server(at) => *at,
            Deadline::Request(bound) => bound.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_decides_and_says_whose_limit_it_is() {
        let timeouts = Timeouts {
            first_byte: Duration::from_secs(30),
            silent: Duration::from_secs(600),
            ..Timeouts::default()
        };
        let total = |seconds| {
            let value = Some(Duration::from_secs(seconds));
            TimeLimit::after(Instant::now(), TOTAL, value)
        };
        let within = TimeLimit::after(Instant::now(), WITHIN, Some(Duration::from_millis(1_500)));
        for (streamed, until, setting) in [
            (true, None, None),
            (true, total(60), None),
            (true, total(20), Some(TOTAL)),
            (true, TimeLimit::earlier(total(20), within), Some(WITHIN)),
            // The wait for the first byte is none of a whole answer.
            (false, None, Some(SILENT)),
            (false, total(700), Some(SILENT)),
            (false, total(60), Some(TOTAL)),
        ] {
            let named = match Deadline::begin(&timeouts, streamed, until) {
                Deadline::Server(_) => None,
                Deadline::Request(bound) => {
                    let failure = bound.failure();
                    assert_eq!(failure.status, 504);
                    assert!(failure.text.contains(bound.setting), "{}", failure.text);
                    Some(bound.setting)
                }
            };
            assert_eq!(named, setting, "{streamed} {until:?}");
        }
        assert_eq!(
            within.unwrap().failure().text,
            "the answer had not begun when the time of the setting routing.retry.within (1.5 s) was over"
        );
    }
}
