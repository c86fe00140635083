//! What a provider is asked: raw prompts, and gaps in texts, which chats cannot say.

use super::super::chat::Writer;
use super::super::object::Object;
use super::super::path::path;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::facts::Capability;
use crate::ir::{ChatRequest, Format, Part, Refused};
use crate::provider::{ProviderKind, SamplingFields};

/// Returns whether the target continues texts: OpenAI's models of today take chats only; of other servers it is taken
/// to be so unless the model's facts say otherwise.
fn continues_texts(target: &Target<'_>) -> bool {
    match target.provider.kind {
        ProviderKind::OpenAi | ProviderKind::Azure => {
            let known = target.facts.capabilities.as_ref();
            known.is_some_and(|known| known.contains(&Capability::Insert))
        }
        _ => target.facts.can(Capability::Insert),
    }
}

/// Writes the request for `/completions`.
///
/// # Errors
/// If it is no completion, or asks for what `/completions` cannot do.
pub fn write_chat(
    mut request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    let Some(completion) = request.completion.take() else {
        return Err(Refused::new("a chat cannot be continued as a text"));
    };
    let refused = |field, what: &str| {
        let text = format!("the model {} {what}", target.model);
        Err(Refused::field(field, text))
    };
    if !continues_texts(target) {
        return match completion.suffix {
            Some(_) => refused("suffix", "does not support insert"),
            None => refused(
                "raw",
                "takes chats only, which its provider puts into a template",
            ),
        };
    }
    if completion.template.is_some() {
        return refused("template", "takes no template in a completion");
    }
    let is_text = |part: &Part<'_>| matches!(part, Part::Text(_));
    if !request
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .all(is_text)
    {
        return refused("images", "takes no images in a completion");
    }
    let is_open = target.provider.sampling != SamplingFields::Standard;
    if request.format != Format::Text && !is_open {
        return refused("format", "does not follow a format in a completion");
    }
    let mut writer = Writer::new(&mut request, target);
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::new(&mut out);
    body.string("model", target.model);
    // A raw prompt has its own words for the system.
    let system = completion
        .system
        .filter(|text| !completion.raw && !text.is_blank());
    let mut prompt = system.clone().unwrap_or_default();
    if system.is_some() {
        prompt.push(&crate::ir::Text::escaped(r"\n\n"));
    }
    prompt.push(&completion.prompt);
    body.text("prompt", &prompt);
    if let Some(suffix) = &completion.suffix {
        body.text("suffix", suffix);
    }
    if completion.echo {
        body.flag("echo", true);
    }
    if let Some(tokens) = request.max_tokens {
        body.integer("max_tokens", tokens);
    }
    writer.common(&request, &mut body);
    if let Some(top) = request.logprobs {
        body.integer("logprobs", top.min(5));
    }
    body.end();
    Ok(writer.outgoing(path(target, "completions"), out))
}
