//! Writes a chat as a `generateContent` request.

use super::contents::{self, Contents};
use super::generation::Generation;
use super::json::{key, put};
use super::path::Call;
use super::{tools, turns};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::turns::only_chats;
use crate::ir::{ChatRequest, Dropped, Refused, ToolNames};

/// Returns the request for `target`.
pub(super) fn write(
    mut request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    let facts = target.facts;
    let mut dropped = Dropped::default();
    only_chats(request.completion.as_ref(), "Gemini", &mut dropped)?;
    dropped.add_if(request.user.is_some(), "user");
    let system = turns::arrange(&mut request, facts, &mut dropped);
    let generation = Generation::of(&request, facts, &mut dropped);

    let mut body = Vec::with_capacity(512 + contents::length(&request));
    let mut names = ToolNames::default();
    body.push(b'{');
    if !system.is_empty() {
        key("systemInstruction", &mut body);
        put(r#"{"parts":["#, &mut body);
        contents::write_texts(&system, &mut body);
        put("]}", &mut body);
    }
    // Tools first, so that their own names are not taken by those of the history.
    tools::write(&request, facts, &mut names, &mut dropped, &mut body)?;
    key("contents", &mut body);
    body.push(b'[');
    let mut contents = Contents::new(&mut body, &mut names, facts);
    for message in &request.messages {
        contents.turn(message)?;
    }
    body.push(b']');
    generation.write(facts, &mut body)?;
    body.push(b'}');

    let call = if target.stream {
        Call::Stream
    } else {
        Call::Generate
    };
    Ok(ProviderRequest {
        path: call.path(target.model),
        body,
        dropped,
        names,
        stop: generation.unsent_stop,
        ..ProviderRequest::default()
    })
}
