//! Reads a client's chat as Ollama would, and refuses what Ollama would refuse, in its words.

use super::{message, tool};
use crate::client::{Operation, scan_request};
use crate::dialect::ollama::fields::Common;
use crate::dialect::ollama::go::{Field, read_struct};
use crate::dialect::ollama::load::LoadOrUnload;
use crate::ir::{ChatRequest, Refused};

/// Reads a request. One without messages asks to load or unload: see [`load_request`].
///
/// # Errors
/// What Ollama answers 400 or, for options and formats, 500.
pub fn read_chat(body: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let mut request = ChatRequest::default();
    let mut common = Common::default();
    read_struct(body, "ChatRequest", |reader, key| match key {
        "messages" => {
            request.messages.clear();
            let field = Field("ChatRequest", "messages");
            reader.list(field, "[]api.Message", |reader| {
                let message = message::read(reader)?;
                request.messages.push(message);
                Ok(())
            })
        }
        "tools" => {
            request.tools.clear();
            let field = Field("ChatRequest", "tools");
            reader.list(field, "api.Tools", |reader| {
                let tool = tool::read(reader)?;
                request.tools.extend(tool);
                Ok(())
            })
        }
        key => common.field(reader, "ChatRequest", key),
    })?;
    common.into_request(&mut request)?;
    Ok(request)
}

/// Returns whether a request is to load or to unload its model; `None` if it asks for anything else.
pub fn load_request(body: &[u8]) -> Option<LoadOrUnload> {
    let facts = scan_request(Operation::Chat, body).ok()?;
    LoadOrUnload::of(&facts)
}
