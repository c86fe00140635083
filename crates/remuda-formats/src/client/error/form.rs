//! Whether an error's body is in the form in which a client reads errors.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ErrorStyle;
use crate::ir::Text;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
    /// The type that Anthropic's format has beside the error.
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a RawValue>,
}

impl ErrorStyle {
    /// Returns whether `body` has all that a client of this style looks for; it may have more.
    pub fn is_form_of(self, body: &[u8]) -> bool {
        let Some(body) = object::<Body<'_>>(body) else {
            return false;
        };
        if self == ErrorStyle::Ollama {
            return Text::of(body.error).is_some();
        }
        let Some(error) = object::<Error<'_>>(body.error.get().as_bytes()) else {
            return false;
        };
        let kind = error.kind.and_then(Text::of);
        let is_error = body.kind.is_some_and(|kind| kind.get() == "\"error\"");
        !error.message.is_empty() && (self != ErrorStyle::Anthropic || (is_error && kind.is_some()))
    }
}

/// A list of values is read as a structure as well, and is none.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_style_is_told_from_the_others_and_from_what_is_none() {
        use ErrorStyle::{Anthropic, Ollama, OpenAi, OpenAiResponses};
        for (body, styles) in [
            (r#"{"error":"no"}"#, vec![Ollama]),
            (r#"{"error":"no","signin_url":"x"}"#, vec![Ollama]),
            (
                r#"{"error":{"message":"no \"x\"","type":"t","param":null,"code":400}}"#,
                vec![OpenAi, OpenAiResponses],
            ),
            (
                r#"{"error":{"code":"c","message":"no"}}"#,
                vec![OpenAi, OpenAiResponses],
            ),
            (
                r#"{"type":"error","error":{"type":"t","message":"no"},"request_id":"r"}"#,
                vec![OpenAi, OpenAiResponses, Anthropic],
            ),
            (r#"{"detail":"no"}"#, vec![]),
            (r#"{"object":"error","message":"no"}"#, vec![]),
            (r#"{"error":{"message":""}}"#, vec![]),
            (r#"{"error":{"message":null}}"#, vec![]),
            (r#"{"error":null}"#, vec![]),
            (r#"{"error":{"message":"no"}"#, vec![]),
            (r#"[{"error":"no"}]"#, vec![]),
            (r#"["no"]"#, vec![]),
            (r#"{"error":["no"]}"#, vec![]),
            ("<html></html>", vec![]),
            ("", vec![]),
        ] {
            for style in [Ollama, OpenAi, OpenAiResponses, Anthropic] {
                let is = style.is_form_of(body.as_bytes());
                assert_eq!(is, styles.contains(&style), "{style:?} {body}");
            }
        }
        assert!(!OpenAi.is_form_of(b"{\"error\":{\"message\":\"\xff\"}}"));
    }
}
