//! How much of its limits a key has left, and the header fields that tell its client so.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use http::header::{HeaderName, HeaderValue};

use super::clock::Millis;

/// One limit at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub limit: u64,
    pub remaining: u64,
    /// Until all of it is there again, if nothing more is taken.
    pub reset: Duration,
}

/// The tightest limits of a key at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub requests: Option<Level>,
    pub tokens: Option<Level>,
}

/// Of an answer's fields, those that tell of a provider's limits for the operator's account.
pub fn is_of_limits(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-ratelimit-") || name.starts_with("anthropic-ratelimit-")
}

const X: [[HeaderName; 3]; 2] = [
    [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
];

const ANTHROPIC: [[HeaderName; 3]; 2] = [
    [
        HeaderName::from_static("anthropic-ratelimit-requests-limit"),
        HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
        HeaderName::from_static("anthropic-ratelimit-requests-reset"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
    ],
];

impl Standing {
    /// As OpenAI's clients read it, with resets as durations in Go's form (`6m0s`, `20ms`).
    pub fn for_openai(&self, mut write: impl FnMut(HeaderName, HeaderValue)) {
        for ([limit, remaining, reset], level) in X.into_iter().zip([self.requests, self.tokens]) {
            let Some(level) = level else { continue };
            write(limit, level.limit.into());
            write(remaining, level.remaining.into());
            write(reset, text(go(level.reset)));
        }
    }

    /// As Anthropic's clients read it, with resets as points in time (RFC 3339).
    pub fn for_anthropic(&self, now: Millis, mut write: impl FnMut(HeaderName, HeaderValue)) {
        let levels = [self.requests, self.tokens];
        for ([limit, remaining, reset], level) in ANTHROPIC.into_iter().zip(levels) {
            let Some(level) = level else { continue };
            write(limit, level.limit.into());
            write(remaining, level.remaining.into());
            write(reset, text(point(now, level.reset)));
        }
    }
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and letters are a field value")
}

/// `1h2m3s`, `6m0s`, `1.5s`, `20ms`, as Go's `time.Duration` prints itself, to the millisecond.
fn go(time: Duration) -> String {
    let millis = time.as_millis();
    let (seconds, rest) = (millis / 1000, millis % 1000);
    if seconds == 0 {
        return match rest {
            0 => "0s".to_owned(),
            rest => format!("{rest}ms"),
        };
    }
    let fraction = match rest {
        0 => String::new(),
        rest => format!(".{rest:03}").trim_end_matches('0').to_owned(),
    };
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}{fraction}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}{fraction}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// To the second, and not before.
fn point(now: Millis, after: Duration) -> String {
    let millis = u128::from(now) + after.as_millis();
    let seconds = i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX);
    let at = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, written) in [
            (0, "0s"),
            (20, "20ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (1005, "1.005s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (3_723_040, "1h2m3.04s"),
            (86_400_000, "24h0m0s"),
        ] {
            assert_eq!(go(Duration::from_millis(millis)), written);
        }
    }

    #[test]
    fn each_client_reads_its_own_fields() {
        let standing = Standing {
            requests: Some(Level {
                limit: 60,
                remaining: 59,
                reset: Duration::from_millis(60_500),
            }),
            tokens: None,
        };
        let (mut openai, mut anthropic) = (Vec::new(), Vec::new());
        standing.for_openai(|name, value| openai.push((name.to_string(), value)));
        standing.for_anthropic(1_767_225_600_000, |name, value| {
            anthropic.push((name.to_string(), value));
        });
        let expected = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1m0.5s"),
        ];
        let of = |fields: &[(&str, &'static str)]| -> Vec<(String, HeaderValue)> {
            let fields = fields.iter();
            fields
                .map(|(name, value)| ((*name).to_owned(), HeaderValue::from_static(value)))
                .collect()
        };
        assert_eq!(openai, of(&expected));
        let expected = [
            ("anthropic-ratelimit-requests-limit", "60"),
            ("anthropic-ratelimit-requests-remaining", "59"),
            ("anthropic-ratelimit-requests-reset", "2026-01-01T00:01:01Z"),
        ];
        assert_eq!(anthropic, of(&expected));
    }
}
