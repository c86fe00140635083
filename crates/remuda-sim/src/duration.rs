//! Go's durations and Ollama's `keep_alive`: a number of seconds, or text such as `1h30m`.

use std::time::Duration;

/// How long a model stays loaded after its last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    For(Duration),
    Forever,
}

impl KeepAlive {
    /// Reads what `keep_alive` holds when it is text; the error is Go's.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(match nanoseconds(text)? {
            negative if negative < 0 => Self::Forever,
            nanos => Self::For(Duration::from_nanos(nanos.unsigned_abs())),
        })
    }

    /// When a model goes that nobody uses from now on; "forever" lies as far ahead as Go's durations reach.
    pub(super) fn end(self) -> chrono::DateTime<chrono::Local> {
        let furthest = chrono::TimeDelta::nanoseconds(i64::MAX);
        let time = match self {
            Self::For(time) => chrono::TimeDelta::from_std(time).unwrap_or(furthest),
            Self::Forever => furthest,
        };
        chrono::Local::now() + time.min(furthest)
    }

    /// What a bare number of seconds means; a negative one is forever.
    pub fn seconds(seconds: f64) -> Self {
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) => Self::For(time),
            Err(_) => Self::Forever,
        }
    }
}

/// Go's `time.ParseDuration`, in nanoseconds.
fn nanoseconds(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "" => return Err(format!("time: missing unit in duration {text:?}")),
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                other => {
                    return Err(format!("time: unknown unit {other:?} in duration {text:?}"));
                }
            };
        rest = &rest[unit..];
    }
    if total > i64::MAX as f64 {
        return Err(invalid());
    }
    let total = total as i64;
    Ok(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_durations() {
        for (text, nanos) in [
            ("5m", 300_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("300ms", 300_000_000),
            ("1.5s", 1_500_000_000),
            ("0", 0),
            ("-1s", -1_000_000_000),
        ] {
            assert_eq!(nanoseconds(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn errors_are_in_the_words_of_go() {
        let error = |text| KeepAlive::parse(text).unwrap_err();
        assert_eq!(error("300"), r#"time: missing unit in duration "300""#);
        assert_eq!(error(""), r#"time: invalid duration """#);
        assert_eq!(
            error("3 days"),
            r#"time: unknown unit " days" in duration "3 days""#
        );
    }

    #[test]
    fn negative_is_forever() {
        assert_eq!(KeepAlive::seconds(-1.0), KeepAlive::Forever);
        assert_eq!(KeepAlive::parse("-1m"), Ok(KeepAlive::Forever));
        assert_eq!(KeepAlive::seconds(0.0), KeepAlive::For(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.a-zµ ]{0,12}") {
            let _ = nanoseconds(&text);
        }

        #[test]
        fn whole_seconds_survive(seconds in 0_u32..1_000_000) {
            prop_assert_eq!(
                KeepAlive::parse(&format!("{seconds}s")),
                Ok(KeepAlive::For(Duration::from_secs(seconds.into())))
            );
        }
    }
}
