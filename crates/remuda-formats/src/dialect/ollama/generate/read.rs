//! Reads a client's request to continue a prompt, and says it as a chat too, for providers that know only chats.

use crate::client::{Operation, scan_request};
use crate::dialect::ollama::fields::{Common, read_attachments};
use crate::dialect::ollama::go::{Field, Reader, read_struct};
use crate::dialect::ollama::load::LoadOrUnload;
use crate::ir::{ChatRequest, Completion, Message, Part, Refused, Role, Text};
use crate::wire::json::{Kind, Scanner};

const PATH: &str = "GenerateRequest";

/// The fields of its own, as they were written.
#[derive(Default)]
struct Written<'a> {
    prompt: Text<'a>,
    suffix: Text<'a>,
    system: Text<'a>,
    template: Text<'a>,
    raw: bool,
    images: Vec<Part<'a>>,
    /// Tokens of an earlier answer were sent along.
    has_context: bool,
}

/// Reads a request. One without a prompt asks to load or unload: see [`load_request`].
///
/// # Errors
/// What Ollama answers 400 or, for options and formats, 500; and for a `context`, which holds another model's tokens.
pub fn read_chat(body: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let mut request = ChatRequest::default();
    let mut common = Common::default();
    let mut written = Written::default();
    read_struct(body, PATH, |reader, key| {
        if written.field(reader, key)? {
            Ok(())
        } else {
            common.field(reader, PATH, key)
        }
    })?;
    common.into_request(&mut request)?;
    written.into_request(&mut request)?;
    Ok(request)
}

/// Returns whether a request is to load or to unload its model; `None` if it asks for anything else.
pub fn load_request(body: &[u8]) -> Option<LoadOrUnload> {
    let facts = scan_request(Operation::Generate, body).ok()?;
    LoadOrUnload::of(&facts)
}

impl<'a> Written<'a> {
    /// Reads a field of a completion. Returns false, and leaves its value unread, if it is none of these.
    fn field(&mut self, reader: &mut Reader<'a>, key: &str) -> Result<bool, Refused> {
        let mut text = |place: fn(&mut Self) -> &mut Text<'a>, name| {
            if let Some(text) = reader.text(Field(PATH, name))? {
                *place(self) = text;
            }
            Ok(true)
        };
        match key {
            "prompt" => text(|written| &mut written.prompt, "prompt"),
            "suffix" => text(|written| &mut written.suffix, "suffix"),
            "system" => text(|written| &mut written.system, "system"),
            "template" => text(|written| &mut written.template, "template"),
            "raw" => {
                self.raw = reader.boolean(Field(PATH, "raw"))?.unwrap_or(self.raw);
                Ok(true)
            }
            "images" => {
                self.images.clear();
                read_attachments(reader, Field(PATH, "images"), &mut self.images)?;
                Ok(true)
            }
            "context" => {
                match reader.kind()? {
                    Kind::Array => self.has_context = !is_empty(reader.raw()?),
                    _ => reader.mismatch(Field(PATH, "context"), "[]int")?,
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn into_request(self, request: &mut ChatRequest<'a>) -> Result<(), Refused> {
        if self.raw && (self.has_context || !self.template.is_empty() || !self.system.is_empty()) {
            return Err(Refused::field(
                "raw",
                "raw mode does not support template, system, or context",
            ));
        }
        if self.has_context {
            return Err(Refused::field(
                "context",
                "context holds the tokens of another model's answer, which this model cannot read: \
                 use /api/chat with messages instead",
            ));
        }
        if !self.system.is_empty() {
            let parts = vec![Part::Text(self.system.clone())];
            request.messages.push(Message::new(Role::System, parts));
        }
        let mut parts = vec![Part::Text(self.prompt.clone())];
        parts.extend(self.images);
        request.messages.push(Message::new(Role::User, parts));
        let given = |text: Text<'a>| Some(text).filter(|text| !text.is_empty());
        request.completion = Some(Completion {
            prompt: self.prompt,
            suffix: given(self.suffix),
            system: given(self.system),
            raw: self.raw,
            template: given(self.template),
            echo: false,
        });
        Ok(())
    }
}

fn is_empty(array: &[u8]) -> bool {
    Scanner::starting_at(array, 1).peek() == Some(b']')
}
