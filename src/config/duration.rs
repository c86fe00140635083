//! Durations: `5s`, `1m 30s`, `500ms`, or a bare number of seconds.

use std::time::Duration;

use super::scalar::{Scalar, text};
use super::yaml::Value;

/// Longer is a mistake, and could overflow a point in time.
const MAX: Duration = Duration::from_secs(365 * 24 * 3600);

impl Scalar for Duration {
    fn read(value: &Value) -> Result<Duration, String> {
        text(value)
            .and_then(|text| parse(&text))
            .filter(|duration| *duration <= MAX)
            .ok_or_else(|| {
                "expected a duration such as 5s, 1m 30s, 500ms or a number of seconds, up to 365 days"
                    .into()
            })
    }

    fn write(&self) -> Value {
        humantime::format_duration(*self).to_string().into()
    }
}

/// A duration that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Positive(pub(super) Duration);

impl From<Positive> for Duration {
    fn from(Positive(duration): Positive) -> Duration {
        duration
    }
}

impl Scalar for Positive {
    fn read(value: &Value) -> Result<Positive, String> {
        match Duration::read(value)? {
            Duration::ZERO => Err("expected a duration above zero, such as 5s".into()),
            duration => Ok(Positive(duration)),
        }
    }

    fn write(&self) -> Value {
        self.0.write()
    }
}

fn parse(text: &str) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::yaml;

    fn read(yaml: &str) -> Option<Duration> {
        Duration::read(&yaml::from_str(yaml).unwrap()).ok()
    }

    #[test]
    fn units_and_bare_seconds() {
        for (yaml, millis) in [
            ("5s", 5000),
            ("5", 5000),
            ("'5'", 5000),
            ("1.5", 1500),
            ("'0.25'", 250),
            ("500ms", 500),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(read(yaml), Some(Duration::from_millis(millis)), "{yaml}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for yaml in [
            "-1",
            "5 parsecs",
            "s",
            "''",
            ".inf",
            ".nan",
            "1e30",
            "366d",
            "[5]",
            "true",
        ] {
            assert_eq!(read(yaml), None, "{yaml}");
        }
        assert!(Positive::read(&"0".into()).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,20}|[0-9.e+-]{1,20}|[0-9]{1,20} ?(ms|s|m|h|days|years)") {
            let _ = Duration::read(&text.into());
        }

        #[test]
        fn reads_what_it_writes(millis in 0u64..31_536_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(Duration::read(&duration.write()), Ok(duration));
        }
    }
}
