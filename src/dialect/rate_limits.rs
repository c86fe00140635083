//! What a provider says of its rate limits in header fields, and the same in the names of a client's format.
//!
//! OpenAI's `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` have durations, Anthropic's
//! `anthropic-ratelimit-{requests,tokens,…}-{limit,remaining,reset}` RFC 3339 times. Both refill all the time rather than
//! at once: the reset says when nothing will be used up any more.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::retry_after::duration;

/// One limit, as far as it is stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
    /// Until all of the limit can be used again.
    pub reset: Option<Duration>,
}

/// What a provider says of its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub requests: Allowance,
    pub tokens: Allowance,
    /// Anthropic's, of input alone.
    pub input_tokens: Allowance,
    /// Anthropic's, of output alone.
    pub output_tokens: Allowance,
}

/// Whose names the fields have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    OpenAi,
    Anthropic,
}

/// Longer is a mistake.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

const OPENAI: [[&str; 3]; 2] = [
    [
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ],
    [
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    ],
];

const ANTHROPIC: [[&str; 3]; 4] = [
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    [
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ],
    [
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ],
    [
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ],
];

impl RateLimits {
    /// What an answer's head says; `None` if nothing. `now` is the time of Anthropic's resets.
    pub fn read(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let mut limits = Self::default();
        for (allowance, names) in [&mut limits.requests, &mut limits.tokens]
            .into_iter()
            .zip(OPENAI)
        {
            *allowance = read(headers, names, duration);
        }
        if limits == Self::default() {
            let until = |text: &str| {
                let at = chrono::DateTime::parse_from_rfc3339(text.trim()).ok()?;
                Some(SystemTime::from(at).duration_since(now).unwrap_or_default())
            };
            for (allowance, names) in limits.families().into_iter().zip(ANTHROPIC) {
                *allowance = read(headers, names, until);
            }
        }
        (limits != Self::default()).then_some(limits)
    }

    /// The same in the names of a client's format.
    pub fn write(
        &self,
        names: Names,
        now: SystemTime,
        mut field: impl FnMut(&'static str, String),
    ) {
        let mut this = *self;
        let reset = |reset: Duration| match names {
            Names::OpenAi => go_duration(reset),
            Names::Anthropic => {
                let at = chrono::DateTime::<chrono::Utc>::from(now + reset);
                at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            }
        };
        let table: &[[&'static str; 3]] = match names {
            Names::OpenAi => &OPENAI,
            Names::Anthropic => &ANTHROPIC,
        };
        if names == Names::OpenAi && this.tokens == Allowance::default() {
            this.tokens = this.scarcest_tokens();
        }
        for (allowance, names) in this.families().into_iter().zip(table) {
            let values = [
                allowance.limit.map(|number| number.to_string()),
                allowance.remaining.map(|number| number.to_string()),
                allowance.reset.map(reset),
            ];
            for (name, value) in names.iter().zip(values) {
                if let Some(value) = value {
                    field(name, value);
                }
            }
        }
    }

    /// Of the limits on tokens the one of which the least is left.
    pub fn scarcest_tokens(&self) -> Allowance {
        [self.tokens, self.input_tokens, self.output_tokens]
            .into_iter()
            .filter(|allowance| allowance.remaining.is_some())
            .min_by_key(|allowance| allowance.remaining)
            .unwrap_or_default()
    }

    fn families(&mut self) -> [&mut Allowance; 4] {
        [
            &mut self.requests,
            &mut self.tokens,
            &mut self.input_tokens,
            &mut self.output_tokens,
        ]
    }
}

fn read(
    headers: &HeaderMap,
    [limit, remaining, reset]: [&str; 3],
    time: impl Fn(&str) -> Option<Duration>,
) -> Allowance {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |name: &str| text(name)?.trim().parse().ok();
    Allowance {
        limit: number(limit),
        remaining: number(remaining),
        reset: text(reset).and_then(time).filter(|wait| *wait <= LONGEST),
    }
}

/// As OpenAI writes them: `120ms`, `6m0s`, `1.5s`.
fn go_duration(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    match (seconds, millis) {
        (0, millis) => format!("{millis}ms"),
        (seconds, millis) if seconds < 60 => match millis {
            0 => format!("{seconds}s"),
            millis => format!("{seconds}.{millis:03}s"),
        },
        (seconds, _) if seconds < 3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        (seconds, _) => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(http::HeaderName, http::HeaderValue)>>()
            .into_iter()
            .collect()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn written(limits: &RateLimits, names: Names) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        limits.write(names, now(), |name, value| fields.push((name, value)));
        fields
    }

    #[test]
    fn openais_become_anthropics_and_back() {
        let openai = [
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "29000"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        let limits = RateLimits::read(&headers(&openai), now()).unwrap();
        let same = openai.map(|(name, value)| (name, value.to_owned()));
        assert_eq!(written(&limits, Names::OpenAi), same);
        let anthropic = written(&limits, Names::Anthropic);
        assert_eq!(
            anthropic[1],
            ("anthropic-ratelimit-requests-remaining", "499".to_owned())
        );
        assert_eq!(
            anthropic[5],
            (
                "anthropic-ratelimit-tokens-reset",
                "2027-01-15T08:06:00Z".to_owned()
            )
        );
        let fields: Vec<_> = anthropic
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let back = RateLimits::read(&headers(&fields), now()).unwrap();
        assert_eq!(back.tokens, limits.tokens);
        assert_eq!(back.requests.remaining, Some(499));
    }

    #[test]
    fn of_anthropics_tokens_the_scarcest_is_told() {
        let fields = [
            ("anthropic-ratelimit-input-tokens-limit", "40000"),
            ("anthropic-ratelimit-input-tokens-remaining", "39000"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "12"),
        ];
        let limits = RateLimits::read(&headers(&fields), now()).unwrap();
        assert_eq!(limits.scarcest_tokens().remaining, Some(12));
        let expected = [
            ("x-ratelimit-limit-tokens", "8000".to_owned()),
            ("x-ratelimit-remaining-tokens", "12".to_owned()),
        ];
        assert_eq!(written(&limits, Names::OpenAi), expected);
    }

    #[test]
    fn what_makes_no_sense_is_not_there() {
        assert_eq!(RateLimits::read(&HeaderMap::new(), now()), None);
        let odd = [
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-reset-requests", "1000h"),
            ("x-ratelimit-limit-tokens", "many"),
        ];
        assert_eq!(RateLimits::read(&headers(&odd), now()), None);
        let past = [("anthropic-ratelimit-tokens-reset", "2001-01-01T00:00:00Z")];
        let limits = RateLimits::read(&headers(&past), now()).unwrap();
        assert_eq!(limits.tokens.reset, Some(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn durations_read_as_they_are_written(millis in 0u64..80_000_000) {
            let time = Duration::from_millis(millis);
            let read = duration(&go_duration(time)).unwrap();
            let lost = time.saturating_sub(read);
            prop_assert!(read <= time + Duration::from_micros(1) && lost < Duration::from_secs(1));
        }
    }
}
