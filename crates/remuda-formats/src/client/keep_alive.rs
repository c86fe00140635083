//! Whether a `keep_alive` asks to unload at once.

use crate::wire::json::{ByteSpan, Kind};

/// Returns true for a value that Ollama reads as zero: seconds as a number, or a Go duration as a string (`"0"`,
/// `"0s"`, `"0h0m"`). Fractions below a nanosecond count as zero there too.
pub(super) fn is_zero(kind: Kind, span: ByteSpan, body: &[u8]) -> bool {
    let text = span.of(body);
    match kind {
        Kind::Number => str::from_utf8(text)
            .ok()
            .and_then(|number| number.parse::<f64>().ok())
            .is_some_and(|seconds| seconds >= 0.0 && seconds * 1e9 < 1.0),
        Kind::String => is_zero_duration(&text[1..text.len() - 1]),
        _ => false,
    }
}

/// Returns whether a duration is zero: `[-+]? 0`, or `[-+]? (decimal unit)+` in which every decimal is zero.
fn is_zero_duration(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    };
    if unsigned == b"0" {
        return true;
    }
    let mut rest = unsigned;
    while !rest.is_empty() {
        let digits = rest
            .iter()
            .take_while(|byte| matches!(byte, b'0' | b'.'))
            .count();
        if !rest[..digits].contains(&b'0') {
            return false;
        }
        rest = &rest[digits..];
        let units: [&[u8]; 8] = [
            b"ns",
            b"us",
            "µs".as_bytes(),
            "μs".as_bytes(),
            b"ms",
            b"s",
            b"m",
            b"h",
        ];
        let Some(unit) = units.iter().find(|unit| rest.starts_with(unit)) else {
            return false;
        };
        rest = &rest[unit.len()..];
    }
    !unsigned.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::Scanner;

    fn zero(value: &str) -> bool {
        let mut scanner = Scanner::new(value.as_bytes());
        let kind = scanner.kind().unwrap();
        let span = scanner.skip_value().unwrap();
        is_zero(kind, span, value.as_bytes())
    }

    #[test]
    fn zeros_in_every_spelling() {
        for value in [
            "0",
            "0.0",
            "-0",
            "0e5",
            "1e-10",
            r#""0""#,
            r#""0s""#,
            r#""-0h0m0.0s""#,
            r#""0ms""#,
        ] {
            assert!(zero(value), "{value}");
        }
    }

    #[test]
    fn everything_else_keeps_the_model() {
        for value in [
            "1", "-1", "0.5", "1e-9", "null", "true", "[]", r#""""#, r#""5m""#, r#""-1s""#,
            r#""s""#, r#""0x""#, r#""10s""#, r#"".s""#, r#""0s ""#,
        ] {
            assert!(!zero(value), "{value}");
        }
    }
}
