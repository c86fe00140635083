//! What a client asks for.

use serde::Deserialize;

use super::super::chat::completion;
use super::super::field::{self, Field, flag, integer, text};
use crate::dialect::ollama;
use crate::ir::{ChatRequest, Completion, Message, Part, Refused, Role, Text};

/// What chats do not have; the other fields are theirs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    prompt: Field<'a>,
    suffix: Field<'a>,
    echo: Field<'a>,
    best_of: Field<'a>,
    logprobs: Field<'a>,
}

/// Reads the body of a request for a completion that another format will carry; also as a chat of one message.
///
/// # Errors
/// If it is wrong, or asks for what no other format can say.
pub fn read_chat(body: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let own: Body<'_> = field::body(body)?;
    if integer(own.best_of, "best_of")?.is_some_and(|best| best != 1) {
        return Err(Refused::field(
            "best_of",
            "`best_of` must be 1: this model's provider gives one answer to a request",
        ));
    }
    let logprobs = match integer(own.logprobs, "logprobs")?.map(u8::try_from) {
        None => None,
        Some(Ok(top @ 0..=20)) => Some(top),
        Some(_) => {
            return Err(Refused::field(
                "logprobs",
                "`logprobs` must be from 0 to 20",
            ));
        }
    };
    let prompt = prompt(own.prompt)?;
    let message = Message::new(Role::User, vec![Part::Text(prompt.clone())]);
    let mut request = ChatRequest {
        messages: vec![message],
        completion: Some(Completion {
            prompt,
            suffix: text(own.suffix, "suffix")?.filter(|text| !text.is_empty()),
            echo: flag(own.echo, "echo")?.unwrap_or(false),
            ..Completion::default()
        }),
        logprobs,
        ..completion(body)?
    };
    ollama::read_foreign(body, &mut request)?;
    Ok(request)
}

/// Reads one text, also as the only one of a list.
fn prompt(field: Field<'_>) -> Result<Text<'_>, Refused> {
    const EXPECTED: &str =
        "one string: this model's provider takes neither tokens nor several prompts at once";
    let refused = || Refused::field("prompt", format!("`prompt` must be {EXPECTED}"));
    let raw = field.ok_or_else(|| Refused::field("prompt", "`prompt` is missing"))?;
    if let Some(text) = Text::of(raw) {
        return Ok(text);
    }
    let texts: Vec<Text<'_>> = serde_json::from_str(raw.get()).map_err(|_| refused())?;
    match <[Text<'_>; 1]>::try_from(texts) {
        Ok([text]) => Ok(text),
        Err(_) => Err(refused()),
    }
}
