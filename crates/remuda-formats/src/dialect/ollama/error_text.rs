//! What Ollama's errors say, in answers and in streams.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ir::Text;

/// Reads the text of an `error`, which is a string or an object with a `message`.
pub(super) fn error_text(error: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Described<'a> {
        #[serde(borrow)]
        message: Option<Text<'a>>,
    }
    let text = match Text::of(error) {
        Some(text) => text.into_decoded(),
        None if error.get() == "null" => return None,
        None => match serde_json::from_str::<Described<'_>>(error.get()) {
            Ok(Described {
                message: Some(message),
            }) => message.into_decoded(),
            _ => Cow::Borrowed("unknown error"),
        },
    };
    (!text.is_empty()).then_some(text)
}
