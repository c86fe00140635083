//! What a single value may look like: each kind reads YAML and text alike, and says what it expects.

use std::borrow::Cow;
use std::path::PathBuf;

use super::yaml::Value;
use crate::nearest::nearest;
use crate::settings::Secret;

/// A value of the configuration. Text is always accepted, for variables and interpolated strings.
pub(super) trait Scalar: Sized {
    /// Reads a value. The error is what should have been written: `expected …`, without the value itself.
    fn read(value: &Value) -> Result<Self, String>;

    /// Returns the value as `remuda check` prints it; `read` takes it back.
    fn write(&self) -> Value;
}

/// Returns the text of a string, number or truth value; `None` for anything else.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.trim().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(true) => Some("true".into()),
        Value::Bool(false) => Some("false".into()),
        _ => None,
    }
}

impl Scalar for bool {
    fn read(value: &Value) -> Result<bool, String> {
        let text = text(value).unwrap_or_default().to_ascii_lowercase();
        match text.as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err("expected true or false".into()),
        }
    }

    fn write(&self) -> Value {
        (*self).into()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<const MIN: u32, const MAX: u32>(pub(super) u32);

/// A count that nothing but good sense bounds.
pub(super) type Count<const MIN: u32> = Whole<MIN, { i32::MAX as u32 }>;

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    pub(super) fn of(number: usize) -> Self {
        Whole(u32::try_from(number).unwrap_or(MAX).clamp(MIN, MAX))
    }

    pub(super) fn size(self) -> usize {
        self.0 as usize
    }
}

impl<const MIN: u32, const MAX: u32> From<Whole<MIN, MAX>> for u32 {
    fn from(Whole(number): Whole<MIN, MAX>) -> u32 {
        number
    }
}

impl<const MIN: u32, const MAX: u32> From<Whole<MIN, MAX>> for usize {
    fn from(number: Whole<MIN, MAX>) -> usize {
        number.size()
    }
}

impl<const MIN: u32, const MAX: u32> Scalar for Whole<MIN, MAX> {
    fn read(value: &Value) -> Result<Self, String> {
        text(value)
            .and_then(|text| text.parse().ok())
            .filter(|number| (MIN..=MAX).contains(number))
            .map(Whole)
            .ok_or_else(|| format!("expected a whole number from {MIN} to {MAX}"))
    }

    fn write(&self) -> Value {
        self.0.into()
    }
}

/// A weight; what is not positive is read as is, so that its use can warn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weight(pub(super) f64);

impl Weight {
    pub(super) const MAX: u32 = 10_000;
}

impl Scalar for Weight {
    fn read(value: &Value) -> Result<Weight, String> {
        text(value)
            .and_then(|text| text.parse().ok())
            .filter(|number: &f64| {
                *number <= 0.0 || (number.fract() == 0.0 && *number <= Weight::MAX.into())
            })
            .map(Weight)
            .ok_or_else(|| format!("expected a whole number from 1 to {}", Weight::MAX))
    }

    fn write(&self) -> Value {
        (self.0 as i64).into()
    }
}

/// A price in any unit: only the ratio of two counts.
impl Scalar for f64 {
    fn read(value: &Value) -> Result<f64, String> {
        text(value)
            .and_then(|text| text.parse().ok())
            .filter(|number: &f64| number.is_finite() && *number >= 0.0)
            .ok_or_else(|| "expected a number that is not negative".into())
    }

    fn write(&self) -> Value {
        (*self).into()
    }
}

impl Scalar for String {
    fn read(value: &Value) -> Result<String, String> {
        text(value)
            .filter(|text| !text.is_empty())
            .map(Cow::into_owned)
            .ok_or_else(|| "expected a text that is not empty".into())
    }

    fn write(&self) -> Value {
        self.as_str().into()
    }
}

impl Scalar for PathBuf {
    fn read(value: &Value) -> Result<PathBuf, String> {
        String::read(value)
            .map(PathBuf::from)
            .map_err(|_| "expected the path of a file".into())
    }

    fn write(&self) -> Value {
        self.to_string_lossy().into_owned().into()
    }
}

/// What stands in place of a secret.
pub(super) const MASK: &str = "***";

impl Scalar for Secret {
    fn read(value: &Value) -> Result<Secret, String> {
        text(value)
            .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
            .map(|text| Secret::new(&text))
            .ok_or_else(|| {
                "expected a credential of printable ASCII characters without spaces, as HTTP headers \
                 carry nothing else"
                    .into()
            })
    }

    /// Returns a mask: what this program prints ends up in tickets.
    fn write(&self) -> Value {
        MASK.into()
    }
}

/// One of a few names, in any case, with `-` or `_`.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Names and what they mean; the first name of a meaning is the one that is printed.
    const NAMES: &'static [(&'static str, Self)];
}

impl<T: Choice> Scalar for T {
    fn read(value: &Value) -> Result<T, String> {
        let text = text(value).unwrap_or_default();
        let name = text.to_ascii_lowercase().replace('-', "_");
        if let Some((_, choice)) = T::NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*choice);
        }
        let names: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
        let all = names.join(", ");
        Err(match nearest(&name, names.iter().copied()) {
            Some(name) => format!("did you mean {name:?}? Expected one of {all}"),
            None => format!("expected one of {all}"),
        })
    }

    fn write(&self) -> Value {
        let named = T::NAMES.iter().find(|(_, choice)| choice == self);
        named.map_or(Value::Null, |(name, _)| (*name).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;
    use crate::settings::{SelectorKind, WhenUnhealthy};

    fn read<T: Scalar>(yaml: &str) -> Result<T, String> {
        T::read(&yaml::from_str(yaml).unwrap())
    }

    #[test]
    fn truth_has_many_names() {
        for yaml in ["true", "'true'", "YES", "on", "1", "'1'"] {
            assert_eq!(read(yaml), Ok(true), "{yaml}");
        }
        for yaml in ["false", "No", "off", "0"] {
            assert_eq!(read(yaml), Ok(false), "{yaml}");
        }
        for yaml in ["2", "maybe", "[true]", "''"] {
            assert!(read::<bool>(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn whole_numbers_are_bounded() {
        assert_eq!(read("3"), Ok(Whole::<0, 5>(3)));
        assert_eq!(read("'3'"), Ok(Whole::<0, 5>(3)));
        for yaml in ["6", "-1", "1.5", "x", "{}", "'99999999999999999999'"] {
            let error = read::<Whole<0, 5>>(yaml).unwrap_err();
            assert_eq!(error, "expected a whole number from 0 to 5", "{yaml}");
        }
        assert_eq!(Whole::<1, 5>::of(9), Whole(5));
    }

    #[test]
    fn weights_may_be_non_positive_but_not_fractional() {
        assert_eq!(read("3"), Ok(Weight(3.0)));
        assert_eq!(read("-1"), Ok(Weight(-1.0)));
        assert_eq!(read("0"), Ok(Weight(0.0)));
        for yaml in ["1.5", "10001", ".nan", "x"] {
            assert!(read::<Weight>(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn prices_are_finite_and_not_negative() {
        assert_eq!(read("0.25"), Ok(0.25));
        for yaml in ["-0.1", ".inf", ".nan", "free"] {
            assert!(read::<f64>(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn a_secret_never_shows() {
        let secret: Secret = read("hunter2").unwrap();
        assert_eq!(secret.write(), Value::from("***"));
        assert_eq!(secret.expose(), "hunter2");
        for yaml in ["'a b'", "\"a\\nb\"", "é", "''"] {
            let error = read::<Secret>(yaml).unwrap_err();
            assert!(error.starts_with("expected a credential"), "{yaml}");
        }
    }

    #[test]
    fn choices_take_any_case_and_suggest_the_nearest() {
        assert_eq!(read("Least-In-Flight"), Ok(SelectorKind::LeastInFlight));
        assert_eq!(read("WAIT"), Ok(WhenUnhealthy::Wait));
        let error = read::<SelectorKind>("round_robbin").unwrap_err();
        assert!(
            error.starts_with("did you mean \"round_robin\"? Expected one of "),
            "{error}"
        );
        let error = read::<WhenUnhealthy>("[]").unwrap_err();
        assert_eq!(error, "expected one of wait, refuse");
    }

    #[test]
    fn every_choice_reads_what_it_writes() {
        fn check<T: Choice + std::fmt::Debug>() {
            for (name, choice) in T::NAMES {
                assert_eq!(T::read(&(*name).into()).as_ref(), Ok(choice));
                assert_eq!(T::read(&choice.write()).as_ref(), Ok(choice));
            }
        }
        check::<SelectorKind>();
        check::<WhenUnhealthy>();
        check::<crate::settings::Placement>();
        check::<crate::settings::Forwarded>();
        check::<crate::settings::LogFormat>();
        check::<log::LevelFilter>();
    }
}
