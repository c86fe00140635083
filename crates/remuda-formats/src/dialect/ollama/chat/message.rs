//! One message of a client's chat.

use crate::dialect::ollama::fields::read_attachments;
use crate::dialect::ollama::go::{Field, Reader};
use crate::dialect::signature;
use crate::ir::{Json, Message, Part, Refused, Role, Text, Thought, ToolCall, ToolResult};
use crate::wire::json::Kind;

const PATH: &str = "ChatRequest.messages";

/// The fields of a message as they were written.
#[derive(Default)]
struct Written<'a> {
    role: Text<'a>,
    content: Text<'a>,
    thinking: Text<'a>,
    attachments: Vec<Part<'a>>,
    calls: Vec<ToolCall<'a>>,
    tool_name: Option<Text<'a>>,
    tool_call_id: Option<Text<'a>>,
}

/// Reads the message that is due.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>, Refused> {
    let mut written = Written::default();
    let field = Field("ChatRequest", "messages");
    reader.structure(field, "api.Message", |reader, key| {
        written.field(reader, key)
    })?;
    Ok(written.into_message())
}

impl<'a> Written<'a> {
    fn field(&mut self, reader: &mut Reader<'a>, key: &str) -> Result<(), Refused> {
        fn set<'a>(place: &mut Text<'a>, text: Option<Text<'a>>) {
            if let Some(text) = text {
                *place = text;
            }
        }
        match key {
            "role" => set(&mut self.role, reader.text(Field(PATH, "role"))?),
            "content" => set(&mut self.content, reader.text(Field(PATH, "content"))?),
            "thinking" => set(&mut self.thinking, reader.text(Field(PATH, "thinking"))?),
            "images" => {
                self.attachments.clear();
                read_attachments(reader, Field(PATH, "images"), &mut self.attachments)?;
            }
            "tool_calls" => {
                self.calls.clear();
                let field = Field(PATH, "tool_calls");
                reader.list(field, "[]api.ToolCall", |reader| {
                    let call = read_call(reader)?;
                    self.calls.extend(call);
                    Ok(())
                })?;
            }
            "tool_name" => self.tool_name = reader.text(Field(PATH, "tool_name"))?,
            "tool_call_id" => self.tool_call_id = reader.text(Field(PATH, "tool_call_id"))?,
            _ => reader.skip()?,
        }
        Ok(())
    }

    fn into_message(self) -> Message<'a> {
        let role = self.role.decoded().to_lowercase();
        let is_tool = role == "tool";
        let role = match role.as_str() {
            "system" | "developer" => Role::System,
            "assistant" => Role::Assistant,
            // Ollama leaves others to the model's template; they are someone's who speaks to the model.
            _ => Role::User,
        };
        let mut parts = Vec::new();
        if !self.thinking.is_empty() && role == Role::Assistant {
            parts.push(Part::Thought(Thought {
                text: self.thinking,
                ..Thought::default()
            }));
        }
        if !self.content.is_empty() {
            parts.push(Part::Text(self.content));
        }
        parts.extend(self.attachments);
        if is_tool {
            let given = |text: &Text<'_>| !text.is_empty();
            let result = ToolResult {
                id: self
                    .tool_call_id
                    .filter(given)
                    .map(|id| signature::unpack(id).0),
                name: self.tool_name.filter(given),
                parts,
                is_error: false,
            };
            return Message::new(role, vec![Part::ToolResult(result)]);
        }
        if role == Role::Assistant {
            parts.extend(self.calls.into_iter().map(Part::ToolCall));
        }
        if parts.is_empty() {
            parts.push(Part::Text(Text::default()));
        }
        Message::new(role, parts)
    }
}

/// Reads the call that is due; `None` if it was none, which the reader knows.
fn read_call<'a>(reader: &mut Reader<'a>) -> Result<Option<ToolCall<'a>>, Refused> {
    const CALLS: &str = "ChatRequest.messages.tool_calls";
    const FUNCTION: &str = "ChatRequest.messages.tool_calls.function";
    let mut id = None;
    let mut name = Text::default();
    let mut arguments = Json::empty_object();
    let found = reader.structure(Field(PATH, "tool_calls"), "api.ToolCall", |reader, key| {
        match key {
            "id" => id = reader.text(Field(CALLS, "id"))?,
            "function" => {
                let field = Field(CALLS, "function");
                reader.structure(field, "api.ToolCallFunction", |reader, key| {
                    match key {
                        "name" => name = reader.text(Field(FUNCTION, "name"))?.unwrap_or_default(),
                        "arguments" if reader.kind()? == Kind::Object => {
                            arguments = reader.json()?.1;
                        }
                        "arguments" => reader.mismatch(
                            Field(FUNCTION, "arguments"),
                            "api.ToolCallFunctionArguments",
                        )?,
                        _ => reader.skip()?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    let (id, signature) = match id.filter(|id: &Text<'_>| !id.is_empty()) {
        Some(id) => {
            let (id, signature) = signature::unpack(id);
            (Some(id), signature)
        }
        None => (None, None),
    };
    Ok(found.then_some(ToolCall {
        id,
        name,
        arguments,
        signature,
    }))
}
