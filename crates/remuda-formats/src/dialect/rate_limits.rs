//! What a provider says of its rate limits in header fields, and the same in the names of a client's format.
//!
//! OpenAI's `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` have durations, Anthropic's
//! `anthropic-ratelimit-{requests,tokens,…}-{limit,remaining,reset}` RFC 3339 times. Both refill all the time rather than
//! at once: the reset says when nothing will be used up any more.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use http::header::{HeaderMap, HeaderName, HeaderValue};

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
    /// The limit that Anthropic sets for input alone.
    pub input_tokens: Allowance,
    /// The limit that Anthropic sets for output alone.
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

/// Limit, remaining, reset.
type Fields = [HeaderName; 3];

const OPENAI: [Fields; 2] = [
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

const ANTHROPIC: [Fields; 4] = [
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
    [
        HeaderName::from_static("anthropic-ratelimit-input-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-input-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-input-tokens-reset"),
    ],
    [
        HeaderName::from_static("anthropic-ratelimit-output-tokens-limit"),
        HeaderName::from_static("anthropic-ratelimit-output-tokens-remaining"),
        HeaderName::from_static("anthropic-ratelimit-output-tokens-reset"),
    ],
];

/// Returns whether a field tells of limits.
pub fn is_of_limits(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-ratelimit-") || name.starts_with("anthropic-ratelimit-")
}

impl RateLimits {
    /// Returns what an answer's head says; `None` if nothing. `now` is the time of Anthropic's resets.
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

    /// Writes the limits under the names of a client's format.
    pub fn write(
        &self,
        names: Names,
        now: SystemTime,
        mut field: impl FnMut(HeaderName, HeaderValue),
    ) {
        let mut this = *self;
        if names == Names::OpenAi && this.tokens == Allowance::default() {
            this.tokens = this.scarcest_tokens();
        }
        let families = this.families().into_iter();
        match names {
            Names::OpenAi => {
                for (allowance, names) in families.zip(OPENAI) {
                    allowance.write(names, go_duration, &mut field);
                }
            }
            Names::Anthropic => {
                for (allowance, names) in families.zip(ANTHROPIC) {
                    allowance.write(names, |reset| point(now + reset), &mut field);
                }
            }
        }
    }

    /// Returns, of the limits on tokens, the one of which the least is left.
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

impl Allowance {
    fn write(
        &self,
        [limit, remaining, reset]: Fields,
        time: impl Fn(Duration) -> HeaderValue,
        field: &mut impl FnMut(HeaderName, HeaderValue),
    ) {
        for (name, number) in [(limit, self.limit), (remaining, self.remaining)] {
            if let Some(number) = number {
                let mut text = Short::default();
                text.number(number);
                field(name, text.value());
            }
        }
        if let Some(left) = self.reset {
            field(reset, time(left));
        }
    }
}

fn read(
    headers: &HeaderMap,
    [limit, remaining, reset]: Fields,
    time: impl Fn(&str) -> Option<Duration>,
) -> Allowance {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let number = |name: HeaderName| text(name)?.trim().parse().ok();
    Allowance {
        limit: number(limit),
        remaining: number(remaining),
        reset: text(reset).and_then(time).filter(|wait| *wait <= LONGEST),
    }
}

/// Reads a duration as OpenAI writes it, which is Go's form: `120ms`, `1.5s`, `6m0s`, `1h2m3s`; to the millisecond.
fn go_duration(time: Duration) -> HeaderValue {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    let mut text = Short::default();
    if seconds == 0 {
        text.number(millis.into());
        text.push(if millis == 0 { b"s" } else { b"ms" });
        return text.value();
    }
    if seconds >= 3600 {
        text.number(seconds / 3600);
        text.push(b"h");
    }
    if seconds >= 60 {
        text.number(seconds / 60 % 60);
        text.push(b"m");
    }
    text.number(seconds % 60);
    if millis > 0 {
        text.push(b".");
        text.fraction(millis);
    }
    text.push(b"s");
    text.value()
}

/// Returns a time to the second, and not before it.
fn point(at: SystemTime) -> HeaderValue {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let at = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
    let text = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    HeaderValue::try_from(text).expect("digits and letters are a field value")
}

/// A text of a few digits and letters that is put together without the heap.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    length: usize,
}

impl Short {
    fn number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Thousandths, without zeros at their end.
    fn fraction(&mut self, mut millis: u32) {
        let mut unit = 100;
        while millis > 0 {
            self.number((millis / unit).into());
            millis %= unit;
            unit /= 10;
        }
    }

    fn push(&mut self, text: &[u8]) {
        let end = self.length + text.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(text);
            self.length = end;
        }
    }

    fn value(&self) -> HeaderValue {
        let text = &self.bytes[..self.length];
        HeaderValue::from_bytes(text).expect("digits and letters are a field value")
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

    fn written(limits: &RateLimits, names: Names) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        limits.write(names, now(), |name, value| {
            fields.push((name.to_string(), value.to_str().unwrap().to_owned()));
        });
        fields
    }

    fn field(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
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
        let same = openai.map(|(name, value)| field(name, value));
        assert_eq!(written(&limits, Names::OpenAi), same);
        let anthropic = written(&limits, Names::Anthropic);
        assert_eq!(
            anthropic[1],
            field("anthropic-ratelimit-requests-remaining", "499")
        );
        assert_eq!(
            anthropic[5],
            field("anthropic-ratelimit-tokens-reset", "2027-01-15T08:06:00Z")
        );
        let back = anthropic
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<HeaderMap>();
        let back = RateLimits::read(&back, now()).unwrap();
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
            field("x-ratelimit-limit-tokens", "8000"),
            field("x-ratelimit-remaining-tokens", "12"),
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
            assert_eq!(go_duration(Duration::from_millis(millis)), written);
        }
        // No clock has so long a time; it is cut rather than refused.
        go_duration(Duration::MAX);
    }

    #[test]
    fn a_point_in_time_is_never_early() {
        assert_eq!(point(now()), "2027-01-15T08:00:00Z");
        assert_eq!(
            point(now() + Duration::from_millis(1)),
            "2027-01-15T08:00:01Z"
        );
    }

    proptest! {
        #[test]
        fn durations_read_as_they_are_written(millis in 0u64..80_000_000) {
            let time = Duration::from_millis(millis);
            let read = duration(go_duration(time).to_str().unwrap()).unwrap();
            prop_assert!(read.abs_diff(time) < Duration::from_micros(1), "{read:?}");
        }
    }
}
