//! OptiLLM's own parameters in a request: which approach they name, and the body without them, as no other server takes
//! them.

use std::borrow::Cow;

use crate::wire::json::{Kind, Scanner, SyntaxError};

/// Those that name an approach, in the order in which they count.
const NAMING: [&str; 4] = ["optillm_approach", "proxy_wrap", "wrapped_approach", "wrap"];

/// Those that tune one.
const TUNING: [&str; 7] = [
    "mcts_simulations",
    "mcts_exploration",
    "mcts_depth",
    "best_of_n",
    "rstar_max_depth",
    "rstar_num_rollouts",
    "rstar_c",
];

/// Where clients of OpenAI's SDK that write the body themselves put further fields.
const EXTRA: &str = "extra_body";

/// Returns whether a body with this field is to be looked at.
pub fn concerns(key: &[u8]) -> bool {
    str::from_utf8(key).is_ok_and(|name| is_private(name) || name == EXTRA)
}

fn is_private(name: &str) -> bool {
    NAMING.contains(&name) || TUNING.contains(&name)
}

/// Returns the texts of the parameters that name an approach, in the order in which they count.
///
/// # Errors
/// If the body is no JSON.
pub fn approaches(body: &[u8]) -> Result<Vec<String>, SyntaxError> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut note = |name: &str, value: &[u8]| {
        let place = NAMING.iter().position(|known| *known == name);
        if let (Some(place), Ok(text)) = (place, serde_json::from_slice::<String>(value)) {
            found.push((place, text));
        }
    };
    members(body, &mut |name, _, value| {
        note(name, value);
        if name == EXTRA {
            members(value, &mut |name, _, value| {
                note(name, value);
                Ok(())
            })
        } else {
            Ok(())
        }
    })?;
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, text)| text).collect())
}

/// Returns the body without the parameters, at its top and in `extra_body`, which goes too if nothing is left in it.
/// All other bytes stay as they are, but for the space around the fields.
///
/// # Errors
/// If the body is no JSON.
pub fn without(body: &[u8]) -> Result<Vec<u8>, SyntaxError> {
    object_without(body, &mut |name, value| {
        if name == EXTRA {
            extra_without(value)
        } else {
            Ok(Some(Cow::Borrowed(value)))
        }
    })
}

/// Returns what is left of `extra_body`; an `extra_body` within it is none.
fn extra_without(value: &[u8]) -> Result<Option<Cow<'_, [u8]>>, SyntaxError> {
    if !value.starts_with(b"{") {
        return Ok(Some(Cow::Borrowed(value)));
    }
    let kept = object_without(value, &mut |_, value| Ok(Some(Cow::Borrowed(value))))?;
    Ok((kept != b"{}").then_some(Cow::Owned(kept)))
}

/// What becomes of a member by its name and value; nothing: it goes.
type Keep<'k> =
    &'k mut dyn for<'v> FnMut(&str, &'v [u8]) -> Result<Option<Cow<'v, [u8]>>, SyntaxError>;

fn object_without(body: &[u8], keep: Keep<'_>) -> Result<Vec<u8>, SyntaxError> {
    let mut kept = vec![b'{'];
    members(body, &mut |name, key, value| {
        if is_private(name) {
            return Ok(());
        }
        let Some(value) = keep(name, value)? else {
            return Ok(());
        };
        if kept.len() > 1 {
            kept.push(b',');
        }
        kept.extend_from_slice(key);
        kept.push(b':');
        kept.extend_from_slice(&value);
        Ok(())
    })?;
    kept.push(b'}');
    Ok(kept)
}

/// What is done with a member: its name, its key as it is written, and its value.
type Each<'e> = &'e mut dyn FnMut(&str, &[u8], &[u8]) -> Result<(), SyntaxError>;

/// Goes through the members of an object; nothing else has any.
fn members(body: &[u8], each: Each<'_>) -> Result<(), SyntaxError> {
    let mut scanner = Scanner::new(body);
    if scanner.kind()? != Kind::Object {
        return Ok(());
    }
    scanner.begin_object()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        scanner.kind()?;
        let value = scanner.skip_value()?;
        each(&key.text(body), key.span.of(body), value.of(body))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(body: &str) -> String {
        String::from_utf8(without(body.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn parameters_go_and_all_else_stays() {
        for (body, expected) in [
            (r#"{"model":"a","messages":[ 1, {"wrap":"x"} ]}"#, None),
            (
                r#" { "optillm_approach" : "bon", "model": "a" , "mcts_depth":1 } "#,
                Some(r#"{"model":"a"}"#),
            ),
            (
                r#"{"wrap":null,"proxy_wrap":"moa","wrapped_approach":"x","best_of_n":3}"#,
                Some("{}"),
            ),
            (
                r#"{"model":"a","extra_body":{"optillm_approach":"proxy"},"n":1}"#,
                Some(r#"{"model":"a","n":1}"#),
            ),
            (
                r#"{"extra_body":{"rstar_c":1.5,"top_k": 5},"rstar_max_depth":2,"rstar_num_rollouts":9}"#,
                Some(r#"{"extra_body":{"top_k":5}}"#),
            ),
            // No deeper, or a body of nothing else would be read once for each level.
            (r#"{"extra_body":{"extra_body":{"wrap":"x"}}}"#, None),
            (r#"{"extra_body":7,"st\u006fp":"x"}"#, None),
            (r#"{"wr\u0061p":"x"}"#, Some("{}")),
        ] {
            assert_eq!(kept(body), expected.unwrap_or(body), "{body}");
        }
        for wrong in [r#"{"a":}"#, r#"{"extra_body":{"a":}}"#, "{"] {
            assert!(without(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn approaches_are_found_wherever_they_are() {
        for (body, expected) in [
            (r#"{"model":"a"}"#, &[][..]),
            (r#"{"optillm_approach":"bon|moa"}"#, &["bon|moa"]),
            (
                r#"{"wrap":"moa","extra_body":{"optillm_approach":"proxy"}}"#,
                &["proxy", "moa"],
            ),
            (
                r#"{"optillm_approach":7,"proxy_wrap":"\u0062on"}"#,
                &["bon"],
            ),
        ] {
            assert_eq!(approaches(body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn what_concerns_it_is_told_by_the_key() {
        for key in ["wrap", "rstar_c", "extra_body", "optillm_approach"] {
            assert!(concerns(key.as_bytes()), "{key}");
        }
        for key in ["model", "best_of", "wraps", ""] {
            assert!(!concerns(key.as_bytes()), "{key}");
        }
    }
}
