//! The messages of a chat for an Ollama server: one text each, with images, thinking and calls beside it.

use std::borrow::Cow;

use ahash::AHashMap;

use crate::dialect::ollama::fields::{text_of_file, write_attachment};
use crate::ir::{Json, Message, Part, Refused, Role, Text, ToolCall, ToolResult};

/// Appends the array of messages. `hint`, the inside of a string literal, ends the first system message, or is one:
/// many chat templates take a system message at the beginning only.
///
/// # Errors
/// For images by address, and for files.
pub(super) fn write_messages(
    messages: &[Message<'_>],
    hint: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let mut turns = Turns {
        out,
        any: false,
        calls: AHashMap::new(),
    };
    turns.out.push(b'[');
    let mut hint = hint;
    if messages
        .first()
        .is_none_or(|first| first.role != Role::System)
        && let Some(hint) = hint.take()
    {
        turns.system(&[], Some(hint))?;
    }
    for message in messages {
        match message.role {
            Role::System => turns.system(&message.parts, hint.take())?,
            Role::User => turns.user(&message.parts)?,
            Role::Assistant => turns.assistant(&message.parts)?,
        }
    }
    turns.out.push(b']');
    Ok(())
}

struct Turns<'b, 'm> {
    out: &'b mut Vec<u8>,
    any: bool,
    /// Names of the calls so far by their ids, the last of each: some clients answer a call by its id alone, templates
    /// name it.
    calls: AHashMap<&'m str, &'m Text<'m>>,
}

impl<'m> Turns<'_, 'm> {
    fn system(&mut self, parts: &[Part<'_>], hint: Option<&str>) -> Result<(), Refused> {
        self.open("system");
        let any = self.text(parts);
        if let Some(hint) = hint {
            if any {
                self.put(br"\n\n");
            }
            self.put(hint.as_bytes());
        }
        self.put(b"\"");
        self.attachments(parts)?;
        self.put(b"}");
        Ok(())
    }

    /// Writes a user's turn. What tools answered are messages of their own.
    fn user(&mut self, parts: &[Part<'_>]) -> Result<(), Refused> {
        if parts.is_empty() {
            return self.spoken(parts);
        }
        let is_result = |part: &Part<'_>| matches!(part, Part::ToolResult(_));
        for run in parts.chunk_by(|one, next| !is_result(one) && !is_result(next)) {
            match run {
                [Part::ToolResult(result)] => self.result(result)?,
                own => self.spoken(own)?,
            }
        }
        Ok(())
    }

    fn spoken(&mut self, parts: &[Part<'_>]) -> Result<(), Refused> {
        self.open("user");
        self.text(parts);
        self.put(b"\"");
        self.attachments(parts)?;
        self.put(b"}");
        Ok(())
    }

    fn result(&mut self, result: &ToolResult<'_>) -> Result<(), Refused> {
        self.open("tool");
        if result.is_error {
            self.put(b"Error: ");
        }
        self.text(&result.parts);
        self.put(b"\"");
        self.attachments(&result.parts)?;
        let id = result.id.as_ref().map(Text::as_escaped);
        let called = id.and_then(|id| self.calls.get(id)).copied();
        if let Some(name) = result.name.as_ref().or(called) {
            self.out.extend_from_slice(b",\"tool_name\":");
            name.write(self.out);
        }
        if let Some(id) = &result.id {
            self.put(b",\"tool_call_id\":");
            id.write(self.out);
        }
        self.put(b"}");
        Ok(())
    }

    fn assistant(&mut self, parts: &'m [Part<'m>]) -> Result<(), Refused> {
        self.open("assistant");
        self.text(parts);
        self.put(b"\"");
        self.thinking(parts);
        self.attachments(parts)?;
        let mut any = false;
        for part in parts {
            if let Part::ToolCall(call) = part {
                self.put(if any { b"," } else { b",\"tool_calls\":[" });
                any = true;
                self.call(call);
            }
        }
        self.put(if any { b"]}" } else { b"}" });
        Ok(())
    }

    fn thinking(&mut self, parts: &[Part<'_>]) {
        let mut any = false;
        for part in parts {
            if let Part::Thought(thought) = part
                && !thought.redacted
                && !thought.text.is_empty()
            {
                self.put(if any { br"\n" } else { b",\"thinking\":\"" });
                any = true;
                self.put(thought.text.as_escaped().as_bytes());
            }
        }
        if any {
            self.put(b"\"");
        }
    }

    fn call(&mut self, call: &'m ToolCall<'m>) {
        self.put(b"{");
        if let Some(id) = &call.id {
            self.put(b"\"id\":");
            id.write(self.out);
            self.put(b",");
            self.calls.insert(id.as_escaped(), &call.name);
        }
        self.put(b"\"function\":{\"name\":");
        call.name.write(self.out);
        self.put(b",\"arguments\":");
        if call.arguments.is_object() {
            call.arguments.write(self.out);
        } else {
            Json::arguments(Cow::Borrowed(call.arguments.as_str()))
                .0
                .write(self.out);
        }
        self.put(b"}}");
    }

    /// Begins a message, up to its text.
    fn open(&mut self, role: &str) {
        self.put(if self.any {
            b",{\"role\":\""
        } else {
            b"{\"role\":\""
        });
        self.any = true;
        self.put(role.as_bytes());
        self.put(b"\",\"content\":\"");
    }

    /// Writes all texts, those of files too. Returns whether there were any.
    fn text(&mut self, parts: &[Part<'_>]) -> bool {
        let mut any = false;
        for part in parts {
            let text = match part {
                Part::Text(text) => text.borrow(),
                Part::Document(document) => match text_of_file(document) {
                    Some(text) => text,
                    None => continue,
                },
                _ => continue,
            };
            if any {
                self.put(br"\n");
            }
            any = true;
            self.put(text.as_escaped().as_bytes());
        }
        any
    }

    fn attachments(&mut self, parts: &[Part<'_>]) -> Result<(), Refused> {
        let mut any = false;
        for part in parts {
            match part {
                Part::Image(_) => {}
                Part::Document(document) if text_of_file(document).is_none() => {}
                _ => continue,
            }
            self.put(if any { b"," } else { b",\"images\":[" });
            any = true;
            if !write_attachment(part, self.out)? {
                return Err(Refused::field(
                    "messages",
                    "Ollama takes images and sounds, but no other files: send the text of the file",
                ));
            }
        }
        if any {
            self.put(b"]");
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}
