//! A JSON text without some of its parts. Every other part stays as it was written, but for the space between parts.

use std::borrow::Cow;

use super::{Kind, Scanner, SyntaxError};

/// A step on the way from the whole to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep<'a> {
    /// The member of an object.
    Key(Cow<'a, str>),
    /// An item of an array.
    Item,
}

/// What becomes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Keep,
    Drop,
    /// Its own parts are asked about; a part without any is kept.
    Enter,
}

/// Writes `json` anew, without the parts for which `fate` says so; it is asked with the way to each and with its bytes.
///
/// # Errors
/// If `json` is no JSON.
pub fn prune<'a>(
    json: &'a [u8],
    fate: &mut dyn FnMut(&[PathStep<'a>], &'a [u8]) -> Fate,
) -> Result<Vec<u8>, SyntaxError> {
    let mut pruned = Vec::with_capacity(json.len());
    let mut way = Vec::new();
    enter(json, &mut way, fate, &mut pruned)?;
    Ok(pruned)
}

fn enter<'a>(
    value: &'a [u8],
    way: &mut Vec<PathStep<'a>>,
    fate: &mut dyn FnMut(&[PathStep<'a>], &'a [u8]) -> Fate,
    out: &mut Vec<u8>,
) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(value);
    let is_object = match scanner.kind()? {
        Kind::Object => true,
        Kind::Array => false,
        _ => {
            let span = scanner.skip_value()?;
            out.extend_from_slice(span.of(value));
            return Ok(());
        }
    };
    out.push(if is_object { b'{' } else { b'[' });
    let empty = out.len();
    let mut first = true;
    if is_object {
        scanner.begin_object()?;
    } else {
        scanner.begin_array()?;
    }
    loop {
        let key = if is_object {
            let Some(key) = scanner.next_key(first)? else {
                break;
            };
            Some(key)
        } else if scanner.next_item(first)? {
            None
        } else {
            break;
        };
        first = false;
        scanner.kind()?;
        let part = scanner.skip_value()?.of(value);
        way.push(match key {
            Some(key) => PathStep::Key(key.text(value)),
            None => PathStep::Item,
        });
        let fate_of_part = fate(way, part);
        if fate_of_part != Fate::Drop {
            if out.len() > empty {
                out.push(b',');
            }
            if let Some(key) = key {
                out.extend_from_slice(key.span.of(value));
                out.push(b':');
            }
            match fate_of_part {
                Fate::Enter => enter(part, way, fate, out)?,
                _ => out.extend_from_slice(part),
            }
        }
        way.pop();
    }
    out.push(if is_object { b'}' } else { b']' });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn without(json: &str, name: &str) -> String {
        let pruned = prune(json.as_bytes(), &mut |way, _| match way.last() {
            Some(PathStep::Key(key)) if key == name => Fate::Drop,
            _ => Fate::Enter,
        });
        String::from_utf8(pruned.unwrap()).unwrap()
    }

    #[test]
    fn parts_go_and_the_rest_stays_as_it_was_written() {
        for (json, pruned) in [
            (r#"{"a":1,"x":2,"b":1.50}"#, r#"{"a":1,"b":1.50}"#),
            (r#"{"x":{"a":[1]}}"#, "{}"),
            (
                r#" { "a" : [ {"x":1, "b":"\u00e4 , ]"}, {"\u0078":2} , 12345678901234567890 ] } "#,
                r#"{"a":[{"b":"\u00e4 , ]"},{},12345678901234567890]}"#,
            ),
            ("[]", "[]"),
            ("null", "null"),
        ] {
            assert_eq!(without(json, "x"), pruned);
        }
    }

    #[test]
    fn items_are_judged_by_their_bytes() {
        let pruned = prune(br#"{"l":[1, "x" ,[2],"x"]}"#, &mut |way, part| match way {
            [_, PathStep::Item] if part == b"\"x\"" => Fate::Drop,
            [_] => Fate::Enter,
            _ => Fate::Keep,
        });
        assert_eq!(pruned.unwrap(), br#"{"l":[1,[2]]}"#);
    }

    proptest! {
        #[test]
        fn without_a_loss_it_says_the_same(json in "[\\[\\]{}\",:0-9a-c ]{0,40}") {
            let kept = prune(json.as_bytes(), &mut |_, _| Fate::Enter);
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&json) {
                let kept: serde_json::Value = serde_json::from_slice(&kept.unwrap()).unwrap();
                // Of two members of one name both readers take the last.
                prop_assert_eq!(kept, value);
            }
        }
    }
}
