//! When a provider says that it may be better: the header fields and the ways to write a time that providers use.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// Longer waits are not waited for, so that a mistake of a provider's does not shut it out for long.
const LONGEST: Duration = Duration::from_secs(120);

/// Reads when to come back from `retry-after-ms`, `retry-after`, or the times at which OpenAI and Anthropic say that a
/// budget is full again; at most two minutes.
pub fn from_headers(headers: &HeaderMap) -> Option<Duration> {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let milliseconds = field("retry-after-ms")
        .and_then(number)
        .map(|number| number / 1000.0)
        .and_then(seconds);
    milliseconds
        .or_else(|| field("retry-after").and_then(seconds_or_date))
        .or_else(|| reset(field))
        .or_else(|| resets_at(field, SystemTime::now()))
        .map(|wait| wait.min(LONGEST))
}

/// Reads Go's form (`1m30.5s`, `20ms`), of which protobuf's (`1.5s`) is a part, or plain seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Some(number) = number(rest) {
        return seconds(number);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits =
            rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let count: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(rest.len());
        total += count
            * match &rest[..letters] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (!text.is_empty()).then(|| seconds(total)).flatten()
}

/// Returns, of the budgets that are used up, the time of the one that takes longest; where none is said to be, the one
/// that is first back.
fn reset<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    const BUDGETS: [(&str, &str); 2] = [
        (
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ),
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ];
    let resets = || {
        BUDGETS.iter().filter_map(|(remaining, reset)| {
            let used_up = field(remaining) == Some("0");
            Some((used_up, duration(field(reset)?)?))
        })
    };
    let used_up = resets()
        .filter(|(used_up, _)| *used_up)
        .map(|(_, wait)| wait)
        .max();
    used_up.or_else(|| resets().map(|(_, wait)| wait).min())
}

/// Returns, of Anthropic's budgets that are used up, the time of the one that takes longest; it says when each is full
/// again (RFC 3339).
fn resets_at<'a>(field: impl Fn(&str) -> Option<&'a str>, now: SystemTime) -> Option<Duration> {
    let waits = ["requests", "tokens", "input-tokens", "output-tokens"]
        .into_iter()
        .filter_map(|budget| {
            let of = |what: &str| field(&format!("anthropic-ratelimit-{budget}-{what}"));
            (of("remaining")? == "0").then_some(())?;
            let reset = chrono::DateTime::parse_from_rfc3339(of("reset")?).ok()?;
            SystemTime::from(reset).duration_since(now).ok()
        });
    waits.max()
}

/// Reads `Retry-After` as RFC 9110 §10.2.3 has it.
fn seconds_or_date(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(number) = number(text) {
        return seconds(number);
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(
        SystemTime::from(date)
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    )
}

fn number(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hint(fields: &[(&'static str, &str)]) -> Option<f64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        from_headers(&headers).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn the_most_exact_field_wins() {
        assert_eq!(
            hint(&[("retry-after", "2"), ("retry-after-ms", "1500")]),
            Some(1.5)
        );
        assert_eq!(
            hint(&[("retry-after", "2.5"), ("x-ratelimit-reset-tokens", "9s")]),
            Some(2.5)
        );
        assert_eq!(hint(&[("retry-after", "soon")]), None);
        assert_eq!(hint(&[("retry-after", "-1")]), None);
        assert_eq!(hint(&[("retry-after", "86400")]), Some(120.0));
        assert_eq!(hint(&[]), None);
    }

    #[test]
    fn dates_are_waits_from_now() {
        let later = chrono::Utc::now() + chrono::TimeDelta::seconds(60);
        let wait = hint(&[("retry-after", &later.to_rfc2822())]).unwrap();
        assert!((50.0..=61.0).contains(&wait), "{wait}");
        assert_eq!(
            hint(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]),
            Some(0.0)
        );
    }

    #[test]
    fn the_budget_that_is_used_up_counts() {
        let both = [
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-reset-tokens", "1m0.5s"),
        ];
        assert_eq!(hint(&both), Some(1.0));
        let remaining = [both[0], both[1], ("x-ratelimit-remaining-tokens", "0")];
        assert_eq!(hint(&remaining), Some(60.5));
    }

    #[test]
    fn anthropics_budgets_are_full_again_at_a_time() {
        let later = chrono::Utc::now() + chrono::TimeDelta::seconds(60);
        let later = later.to_rfc3339();
        let reset = ("anthropic-ratelimit-input-tokens-reset", &*later);
        assert_eq!(hint(&[reset]), None);
        let used_up = ("anthropic-ratelimit-input-tokens-remaining", "0");
        let wait = hint(&[reset, used_up]).unwrap();
        assert!((50.0..=61.0).contains(&wait), "{wait}");
        assert_eq!(hint(&[reset, used_up, ("retry-after", "3")]), Some(3.0));
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("20ms", Some(0.02)),
            ("6m0s", Some(360.0)),
            ("1h1m1.5s", Some(3661.5)),
            ("22", Some(22.0)),
            ("", None),
            ("s", None),
            ("5x", None),
            ("5", Some(5.0)),
        ] {
            assert_eq!(
                duration(text).map(|wait| wait.as_secs_f64()),
                seconds,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-zµ.:+ -]{0,12}") {
            duration(&text);
            seconds_or_date(&text);
        }
    }
}
