//! The messages of a chat request: roles, parts, images, and that every tool call has its answer.

use serde_json::{Map, Value};

use super::super::mind::{Prompt, tokens};
use super::error::Refusal;
use super::fields::{Kind, at_most, empty_array, known, text, type_name, wrong_type};
use crate::base64;

const ROLES: [&str; 6] = [
    "system",
    "assistant",
    "user",
    "function",
    "tool",
    "developer",
];

/// Fields of a message. `annotations` comes back when a client replays what it was given.
const FIELDS: [(&str, Kind); 9] = [
    ("role", Kind::Text),
    ("content", Kind::Any),
    ("name", Kind::Text),
    ("refusal", Kind::Text),
    ("audio", Kind::Object),
    ("annotations", Kind::List),
    ("tool_calls", Kind::List),
    ("function_call", Kind::Object),
    ("tool_call_id", Kind::Text),
];

/// Reads `messages` into `prompt`; returns about how many tokens they have.
///
/// `strict` refuses fields that OpenAI does not know.
pub(crate) fn read(messages: &Value, strict: bool, prompt: &mut Prompt) -> Result<u64, Refusal> {
    let list = match messages {
        Value::Array(list) if list.is_empty() => return Err(empty_array("messages")),
        Value::Array(list) => list,
        other => {
            return Err(wrong_type(
                "messages",
                "an array of objects",
                type_name(other),
            ));
        }
    };
    let mut reader = Reader {
        prompt,
        strict,
        tokens: 3,
        open: Vec::new(),
        called_at: None,
    };
    for (index, message) in list.iter().enumerate() {
        reader.message(index, message)?;
    }
    reader.all_answered()?;
    Ok(reader.tokens)
}

struct Reader<'a> {
    prompt: &'a mut Prompt,
    strict: bool,
    tokens: u64,
    /// Ids of calls that have no answer yet.
    open: Vec<String>,
    /// The message that made them.
    called_at: Option<usize>,
}

impl Reader<'_> {
    fn message(&mut self, index: usize, message: &Value) -> Result<(), Refusal> {
        let at = format!("messages[{index}]");
        let Value::Object(fields) = message else {
            return Err(wrong_type(&at, "an object", type_name(message)));
        };
        let role = text(message, "role", &at)?;
        if !ROLES.contains(&role) {
            return Err(Refusal::value(&format!("{at}.role"), role, &ROLES));
        }
        if self.strict {
            known(fields, &FIELDS, &format!("{at}."))?;
        }
        self.tokens += 3;
        if role == "tool" {
            return self.tool(index, &at, message);
        }
        self.all_answered()?;
        match role {
            "assistant" => self.assistant(index, &at, fields),
            "user" => {
                let said =
                    self.content(&at, message, &["text", "image_url", "input_audio", "file"])?;
                self.prompt.say(&said);
                Ok(())
            }
            "function" => {
                text(message, "name", &at)?;
                let result = self.content(&at, message, &["text"])?;
                self.prompt.results.push(result);
                Ok(())
            }
            _ => {
                let instruction = self.content(&at, message, &["text"])?;
                self.prompt.instruct(&instruction);
                Ok(())
            }
        }
    }

    fn tool(&mut self, index: usize, at: &str, message: &Value) -> Result<(), Refusal> {
        let id = text(message, "tool_call_id", at)?;
        let Some(found) = self.open.iter().position(|open| open == id) else {
            return Err(Refusal::bad(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
            )
            .of(format!("messages.[{index}].role")));
        };
        self.open.remove(found);
        let result = self.content(at, message, &["text"])?;
        self.prompt.results.push(result);
        Ok(())
    }

    fn assistant(
        &mut self,
        index: usize,
        at: &str,
        message: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let value = Value::Object(message.clone());
        let calls = match message.get("tool_calls") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(calls)) if calls.is_empty() => {
                return Err(empty_array(&format!("{at}.tool_calls")));
            }
            Some(Value::Array(calls)) => calls.as_slice(),
            Some(other) => {
                return Err(wrong_type(
                    &format!("{at}.tool_calls"),
                    "an array of objects",
                    type_name(other),
                ));
            }
        };
        for (number, call) in calls.iter().enumerate() {
            self.call(&format!("{at}.tool_calls[{number}]"), call)?;
        }
        if !calls.is_empty() {
            self.called_at = Some(index);
        }
        let may_be_silent = !calls.is_empty()
            || ["function_call", "refusal", "audio"]
                .iter()
                .any(|name| message.contains_key(*name));
        if may_be_silent && message.get("content").is_none_or(Value::is_null) {
            return Ok(());
        }
        self.content(at, &value, &["text", "refusal"]).map(|_| ())
    }

    fn call(&mut self, at: &str, call: &Value) -> Result<(), Refusal> {
        let id = text(call, "id", at)?;
        at_most(&format!("{at}.id"), id, 40)?;
        let kind = text(call, "type", at)?;
        let (name, arguments) = match kind {
            "function" => ("function", "arguments"),
            "custom" => ("custom", "input"),
            other => {
                return Err(Refusal::value(
                    &format!("{at}.type"),
                    other,
                    &["function", "custom"],
                ));
            }
        };
        let inner = call
            .get(name)
            .ok_or_else(|| Refusal::missing(&format!("{at}.{name}")))?;
        let inside = format!("{at}.{name}");
        text(inner, "name", &inside)?;
        self.tokens += tokens(text(inner, arguments, &inside)?) + 4;
        self.open.push(id.to_owned());
        Ok(())
    }

    fn all_answered(&self) -> Result<(), Refusal> {
        if self.open.is_empty() {
            return Ok(());
        }
        let at = self.called_at.map_or(0, |index| index + 1);
        Err(Refusal::bad(format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            self.open.join(", ")
        ))
        .of(format!("messages.[{at}].role")))
    }

    /// Returns the text of a message's content, which may be a string or parts of the kinds in `allowed`.
    fn content(&mut self, at: &str, message: &Value, allowed: &[&str]) -> Result<String, Refusal> {
        let param = format!("{at}.content");
        let parts = match message.get("content") {
            Some(Value::String(text)) => {
                self.tokens += tokens(text);
                return Ok(text.clone());
            }
            Some(Value::Array(parts)) if parts.is_empty() => return Err(empty_array(&param)),
            Some(Value::Array(parts)) => parts,
            None | Some(Value::Null) => {
                return Err(Refusal::bad(
                    "Invalid value for 'content': expected a string, got null.",
                )
                .of(param.replace('[', ".[")));
            }
            Some(other) => {
                return Err(wrong_type(
                    &param,
                    "one of a string or array of objects",
                    type_name(other),
                ));
            }
        };
        let mut said = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let at = format!("{param}[{number}]");
            let kind = text(part, "type", &at)?;
            if !allowed.contains(&kind) {
                return Err(Refusal::value(&format!("{at}.type"), kind, allowed));
            }
            said.extend(self.part(&at, kind, part)?);
        }
        Ok(said.join("\n"))
    }

    fn part<'a>(
        &mut self,
        at: &str,
        kind: &str,
        part: &'a Value,
    ) -> Result<Option<&'a str>, Refusal> {
        match kind {
            "text" | "refusal" => {
                let text = text(part, kind, at)?;
                self.tokens += tokens(text);
                return Ok(Some(text));
            }
            "image_url" => {
                let inside = format!("{at}.image_url");
                let image = part
                    .get("image_url")
                    .ok_or_else(|| Refusal::missing(&inside))?;
                if !image.is_object() {
                    return Err(wrong_type(&inside, "an object", type_name(image)));
                }
                let url = text(image, "url", &inside)?;
                if let Some(detail) = image["detail"].as_str() {
                    let levels = ["auto", "low", "high", "original"];
                    if !levels.contains(&detail) {
                        return Err(Refusal::value(&format!("{inside}.detail"), detail, &levels));
                    }
                }
                check_image(&format!("{inside}.url"), url)?;
                self.prompt.images += 1;
                self.tokens += 85;
            }
            "input_audio" => {
                let inside = format!("{at}.input_audio");
                let audio = part
                    .get("input_audio")
                    .ok_or_else(|| Refusal::missing(&inside))?;
                text(audio, "data", &inside)?;
                let format = text(audio, "format", &inside)?;
                if !["wav", "mp3"].contains(&format) {
                    return Err(Refusal::value(
                        &format!("{inside}.format"),
                        format,
                        &["wav", "mp3"],
                    ));
                }
            }
            _ => {
                let inside = format!("{at}.file");
                part.get("file").ok_or_else(|| Refusal::missing(&inside))?;
            }
        }
        Ok(None)
    }
}

/// Checks that an image is a link, or a data URI of a known type whose bytes are base64.
pub(crate) fn check_image(param: &str, url: &str) -> Result<(), Refusal> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    let Some((kind, data)) = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"))
    else {
        return Err(Refusal::bad(format!(
            "Invalid '{param}'. Expected a valid URL, but got a value with an invalid format."
        ))
        .of(param)
        .code("invalid_value"));
    };
    let known = [
        "image/png",
        "image/jpeg",
        "image/jpg",
        "image/gif",
        "image/webp",
    ];
    if !known.contains(&kind) {
        return Err(Refusal::bad(
            "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg', 'gif', 'webp'].",
        )
        .code("invalid_image_format"));
    }
    match base64::check(data) {
        Ok(()) if !data.is_empty() => Ok(()),
        _ => Err(Refusal::bad(format!(
            "Invalid '{param}'. Expected a base64-encoded data URL with an image MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value without the 'data:' prefix."
        ))
        .of(param)
        .code("invalid_value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(messages: Value) -> Result<Prompt, Refusal> {
        let mut prompt = Prompt::default();
        read(&messages, true, &mut prompt).map(|_| prompt)
    }

    fn call(id: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
    }

    #[test]
    fn a_conversation_is_read() {
        let prompt = of(json!([
            {"role": "system", "content": "short"},
            {"role": "developer", "content": [{"type": "text", "text": "polite"}]},
            {"role": "user", "content": [
                {"type": "text", "text": "what is"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "this?"},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
            {"role": "tool", "tool_call_id": "b", "content": "two"},
            {"role": "tool", "tool_call_id": "a", "content": "one"},
        ]))
        .unwrap();
        assert_eq!(prompt.system, "short\n\npolite");
        assert_eq!(prompt.said, "what is\nthis?");
        assert_eq!(prompt.images, 1);
        assert_eq!(prompt.results, ["two", "one"]);
    }

    #[test]
    fn broken_histories_are_refused() {
        let user = json!({"role": "user", "content": "hi"});
        let calls = json!({"role": "assistant", "tool_calls": [call("a"), call("b")]});
        let answer = json!({"role": "tool", "tool_call_id": "a", "content": "1"});
        for (messages, says) in [
            (json!([]), "empty array"),
            (
                json!([user, calls, answer]),
                "did not have response messages: b",
            ),
            (
                json!([user, calls, user]),
                "did not have response messages: a, b",
            ),
            (
                json!([user, answer]),
                "must be a response to a preceeding message",
            ),
            (
                json!([{"role": "robot", "content": ""}]),
                "Invalid value: 'robot'",
            ),
            (
                json!([{"role": "user", "content": null}]),
                "expected a string, got null",
            ),
            (
                json!([{"role": "user", "content": "x", "thinking": "y"}]),
                "Unknown parameter",
            ),
            (
                json!([{"role": "assistant", "tool_calls": []}]),
                "empty array",
            ),
            (
                json!([user, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function",
                    "function": {"name": "f", "arguments": {}}}]}]),
                "expected a string, but got an object",
            ),
            (
                json!([user, {"role": "assistant", "tool_calls": [call(&"x".repeat(41))]}]),
                "string too long",
            ),
            (
                json!([{"role": "system", "content": [{"type": "image_url"}]}]),
                "Supported values are: 'text'.",
            ),
        ] {
            let refusal = of(messages).unwrap_err();
            assert!(refusal.message.contains(says), "{}", refusal.message);
        }
    }

    #[test]
    fn images_are_links_or_data() {
        assert!(check_image("p", "https://example.com/a.png").is_ok());
        assert!(check_image("p", "data:image/webp;base64,AAAA").is_ok());
        for bad in [
            "AAAA",
            "data:image/bmp;base64,AAAA",
            "data:image/png;base64,A",
            "data:image/png;base64,",
        ] {
            assert!(check_image("p", bad).is_err(), "{bad}");
        }
    }
}
