//! The input of a Responses request: items of every type, and that calls, their outputs and reasoning belong together.

use serde_json::Value;

use super::super::mind::{Prompt, tokens};
use super::super::openai::error::Refusal;
use super::super::openai::fields::{at_most, text, type_name, wrong_type};
use super::super::openai::messages::check_image;

const TYPES: &[&str] = &[
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "reasoning",
    "item_reference",
    "additional_tools",
    "tool_search_call",
    "tool_search_output",
    "agent_message",
];

const ROLES: &[&str] = &["assistant", "system", "developer", "user"];

/// What a server knows of items that it has made.
pub(crate) trait Known {
    /// Returns whether this reasoning item's encrypted content is what was given out with its id.
    fn is_genuine(&self, id: &str, encrypted: &str) -> bool;

    /// Returns whether an item with this id is stored.
    fn is_stored(&self, id: &str) -> bool;
}

/// Reads `input` into `prompt`; returns about how many tokens it has.
///
/// `typed` demands a `type` of every item, and is not content with a role.
pub(crate) fn read(
    input: &Value,
    typed: bool,
    known: &dyn Known,
    prompt: &mut Prompt,
) -> Result<u64, Refusal> {
    let items = match input {
        Value::String(text) => {
            prompt.say(text);
            return Ok(tokens(text) + 3);
        }
        Value::Array(items) => items,
        other => {
            return Err(wrong_type(
                "input",
                "one of a string or array of input items",
                type_name(other),
            ));
        }
    };
    let mut reader = Reader {
        prompt,
        typed,
        known,
        tokens: 3,
        calls: Vec::new(),
        outputs: Vec::new(),
    };
    for (index, item) in items.iter().enumerate() {
        reader.item(&format!("input[{index}]"), item, items.get(index + 1))?;
    }
    reader.all_answered()?;
    Ok(reader.tokens)
}

struct Reader<'a> {
    prompt: &'a mut Prompt,
    typed: bool,
    known: &'a dyn Known,
    tokens: u64,
    calls: Vec<String>,
    outputs: Vec<String>,
}

impl Reader<'_> {
    fn item(&mut self, at: &str, item: &Value, next: Option<&Value>) -> Result<(), Refusal> {
        if !item.is_object() {
            return Err(wrong_type(at, "an object", type_name(item)));
        }
        self.tokens += 3;
        let kind = match item.get("type") {
            None if item.get("role").is_some() && !self.typed => "message",
            _ => text(item, "type", at)?,
        };
        match kind {
            "message" => self.message(at, item),
            "function_call" | "custom_tool_call" => self.call(at, item, kind),
            "function_call_output" | "custom_tool_call_output" => self.output(at, item),
            // A client's own search; what it has found is offered.
            "tool_search_call" => self.search(at, item),
            "tool_search_output" => {
                let call = text(item, "call_id", at)?;
                self.answers(call)
            }
            "additional_tools" => {
                if item["tools"].is_array() {
                    Ok(())
                } else {
                    Err(Refusal::missing(&format!("{at}.tools")))
                }
            }
            "agent_message" => text(item, "author", at).map(|_| ()),
            "reasoning" => self.reasoning(at, item, next),
            "item_reference" => {
                let id = text(item, "id", at)?;
                if self.known.is_stored(id) {
                    Ok(())
                } else {
                    Err(not_found(id))
                }
            }
            other => Err(Refusal::value(&format!("{at}.type"), other, TYPES)),
        }
    }

    fn message(&mut self, at: &str, item: &Value) -> Result<(), Refusal> {
        let role = text(item, "role", at)?;
        match role {
            "user" => {
                let said = self.content(at, item, "content", INPUT)?;
                self.prompt.say(&said);
            }
            "assistant" => {
                self.content(at, item, "content", &["output_text", "refusal"])?;
            }
            "system" | "developer" => {
                let instruction = self.content(at, item, "content", INPUT)?;
                self.prompt.instruct(&instruction);
            }
            other => return Err(Refusal::value(&format!("{at}.role"), other, ROLES)),
        }
        Ok(())
    }

    fn call(&mut self, at: &str, item: &Value, kind: &str) -> Result<(), Refusal> {
        let custom = kind == "custom_tool_call";
        let call = text(item, "call_id", at)?;
        at_most(&format!("{at}.call_id"), call, 64)?;
        text(item, "name", at)?;
        let arguments = text(item, if custom { "input" } else { "arguments" }, at)?;
        self.tokens += tokens(arguments) + 4;
        check_prefix(at, item, if custom { "ctc" } else { "fc" })?;
        self.calls.push(call.to_owned());
        Ok(())
    }

    fn output(&mut self, at: &str, item: &Value) -> Result<(), Refusal> {
        let call = text(item, "call_id", at)?;
        self.answers(call)?;
        let result = self.content(at, item, "output", INPUT)?;
        self.prompt.results.push(result);
        Ok(())
    }

    fn answers(&mut self, call: &str) -> Result<(), Refusal> {
        if !self.calls.iter().any(|known| known == call) {
            return Err(Refusal::bad(format!(
                "No tool call found for function call output with call_id {call}."
            ))
            .of("input"));
        }
        self.outputs.push(call.to_owned());
        Ok(())
    }

    fn search(&mut self, at: &str, item: &Value) -> Result<(), Refusal> {
        let call = text(item, "call_id", at)?;
        at_most(&format!("{at}.call_id"), call, 64)?;
        check_prefix(at, item, "tsc")?;
        match item["execution"].as_str() {
            Some("client") if item["arguments"].is_object() => {}
            Some("client") => return Err(Refusal::missing(&format!("{at}.arguments"))),
            _ => return Err(Refusal::missing(&format!("{at}.execution"))),
        }
        self.calls.push(call.to_owned());
        Ok(())
    }

    fn reasoning(&mut self, at: &str, item: &Value, next: Option<&Value>) -> Result<(), Refusal> {
        let id = text(item, "id", at)?;
        check_prefix(at, item, "rs")?;
        if !item["summary"].is_array() {
            return Err(Refusal::missing(&format!("{at}.summary")));
        }
        match item["encrypted_content"].as_str() {
            Some(encrypted) if self.known.is_genuine(id, encrypted) => {}
            Some(encrypted) => {
                let start: String = encrypted.chars().take(12).collect();
                return Err(Refusal::bad(format!(
                    "The encrypted content {start}... could not be verified. Reason: Encrypted content could not be decrypted or parsed."
                ))
                .code("invalid_encrypted_content"));
            }
            None if self.known.is_stored(id) => {}
            None => return Err(not_found(id)),
        }
        let follows = next.is_some_and(|next| match next["type"].as_str() {
            Some("function_call" | "custom_tool_call" | "reasoning" | "item_reference") => true,
            Some("message") | None => next["role"] == "assistant",
            Some(_) => false,
        });
        if follows {
            return Ok(());
        }
        Err(Refusal::bad(format!(
            "Item '{id}' of type 'reasoning' was provided without its required following item."
        ))
        .of("input"))
    }

    fn all_answered(&self) -> Result<(), Refusal> {
        match self.calls.iter().find(|call| !self.outputs.contains(call)) {
            None => Ok(()),
            Some(call) => Err(Refusal::bad(format!(
                "No tool output found for function call {call}."
            ))
            .of("input")),
        }
    }

    /// Returns the text of a field that is a string or a list of parts.
    fn content(
        &mut self,
        at: &str,
        item: &Value,
        name: &str,
        allowed: &[&str],
    ) -> Result<String, Refusal> {
        let param = format!("{at}.{name}");
        let parts = match item.get(name) {
            Some(Value::String(text)) => {
                self.tokens += tokens(text);
                return Ok(text.clone());
            }
            Some(Value::Array(parts)) => parts,
            None | Some(Value::Null) => return Err(Refusal::missing(&param)),
            Some(other) => {
                return Err(wrong_type(
                    &param,
                    "one of an array of objects or string",
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
            match kind {
                "input_text" | "output_text" => said.push(text(part, "text", &at)?),
                "refusal" => said.push(text(part, "refusal", &at)?),
                "input_image" => self.image(&at, part)?,
                _ => {}
            }
        }
        let said = said.join("\n");
        self.tokens += tokens(&said);
        Ok(said)
    }

    fn image(&mut self, at: &str, part: &Value) -> Result<(), Refusal> {
        self.prompt.images += 1;
        self.tokens += 85;
        if part["file_id"].is_string() {
            return Ok(());
        }
        check_image(&format!("{at}.image_url"), text(part, "image_url", at)?)
    }
}

const INPUT: &[&str] = &["input_text", "input_image", "input_file"];

/// Ids of items say what the items are.
fn check_prefix(at: &str, item: &Value, prefix: &str) -> Result<(), Refusal> {
    match item["id"].as_str() {
        Some(id) if !id.starts_with(prefix) => Err(Refusal::bad(format!(
            "Invalid '{at}.id': '{id}'. Expected an ID that begins with '{prefix}'."
        ))
        .of(format!("{at}.id"))
        .code("invalid_value")),
        _ => Ok(()),
    }
}

fn not_found(id: &str) -> Refusal {
    Refusal::bad(format!(
        "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input."
    ))
    .status(404)
    .of("input")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Server;

    impl Known for Server {
        fn is_genuine(&self, id: &str, encrypted: &str) -> bool {
            encrypted == format!("secret of {id}")
        }

        fn is_stored(&self, id: &str) -> bool {
            id == "rs_stored"
        }
    }

    fn of(input: Value) -> Result<Prompt, Refusal> {
        let mut prompt = Prompt::default();
        read(&input, false, &Server, &mut prompt).map(|_| prompt)
    }

    #[test]
    fn a_conversation_is_read() {
        let prompt = of(json!([
            {"role": "developer", "content": "short"},
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret of rs_1"},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c2", "output": "two"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "one"}]},
        ]))
        .unwrap();
        assert_eq!((prompt.said.as_str(), prompt.images), ("look", 1));
        assert_eq!(prompt.results, ["two", "one"]);
        assert_eq!(of("hi".into()).unwrap().said, "hi");
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let reasoning = |id: &str, encrypted: Value| json!({"type": "reasoning", "id": id, "summary": [], "encrypted_content": encrypted});
        let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
        let output = json!({"type": "function_call_output", "call_id": "c", "output": "1"});
        for (input, says) in [
            (json!([call]), "No tool output found for function call c."),
            (json!([output]), "No tool call found"),
            (
                json!([reasoning("rs_1", "secret of rs_1".into())]),
                "without its required following item",
            ),
            (
                json!([reasoning("rs_1", "other".into()), call, output]),
                "could not be verified",
            ),
            (
                json!([reasoning("rs_1", Value::Null), call, output]),
                "Item with id 'rs_1' not found",
            ),
            (
                json!([{"type": "item_reference", "id": "msg_1"}]),
                "not found",
            ),
            (
                json!([{"role": "tool", "content": "x"}]),
                "Invalid value: 'tool'",
            ),
            (
                json!([{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
                "Supported values are: 'input_text'",
            ),
            (json!([{"type": "thing"}]), "Invalid value: 'thing'"),
            (
                json!([{"type": "function_call", "id": "call_1", "call_id": "c", "name": "f", "arguments": "{}"}]),
                "begins with 'fc'",
            ),
        ] {
            let refusal = of(input).unwrap_err();
            assert!(refusal.message.contains(says), "{}", refusal.message);
        }
        assert!(of(json!([reasoning("rs_stored", Value::Null), call, output])).is_ok());
    }
}
