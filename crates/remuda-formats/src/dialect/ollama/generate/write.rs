//! Writes the continuation of a prompt for an Ollama server.

use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::ollama::chat;
use crate::dialect::ollama::fields::{Body, write_attachment, write_common};
use crate::ir::{ChatRequest, Completion, Dropped, Message, Part, Refused};

/// Writes a request for `/api/generate`, or for `/api/chat` if it is no completion.
///
/// # Errors
/// For what Ollama cannot be told and the client relies on: images by address, files, a tool that is not offered.
pub fn write_chat(
    request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    let Some(completion) = &request.completion else {
        return chat::write_chat(request, target);
    };
    let mut dropped = Dropped::default();
    let mut body = Body::new(target.model, size(completion));
    body.text("prompt", &completion.prompt);
    for (name, text) in [
        ("suffix", &completion.suffix),
        ("system", &completion.system),
        ("template", &completion.template),
    ] {
        if let Some(text) = text {
            body.text(name, text);
        }
    }
    if completion.raw {
        body.boolean("raw", true);
    }
    images(&request.messages, &mut body)?;
    dropped.add_if(completion.echo, "echo");
    dropped.add_if(!request.tools.is_empty(), "tools");
    write_common(&request, target, &mut body, &mut dropped);
    Ok(ProviderRequest {
        path: "/api/generate".to_owned(),
        body: body.finish(),
        dropped,
        ..ProviderRequest::default()
    })
}

fn size(completion: &Completion<'_>) -> usize {
    let suffix = completion.suffix.as_ref();
    completion.prompt.as_escaped().len() + suffix.map_or(0, |suffix| suffix.as_escaped().len())
}

/// Writes the images of all messages; the prompt is beside them already.
fn images(messages: &[Message<'_>], body: &mut Body) -> Result<(), Refused> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let attached = parts.filter(|part| matches!(part, Part::Image(_) | Part::Document(_)));
    let mut any = false;
    let mut array = Vec::new();
    for part in attached {
        array.push(if any { b',' } else { b'[' });
        any = true;
        if !write_attachment(part, &mut array)? {
            return Err(Refused::field(
                "prompt",
                "Ollama takes images and sounds, but no other files: send the text of the file",
            ));
        }
    }
    if any {
        array.push(b']');
        body.field("images").extend_from_slice(&array);
    }
    Ok(())
}
