//! What a provider is asked, in as many calls as its limit on a batch makes of it.

use serde_json::value::RawValue;

use super::super::object::{Object, list};
use super::super::path::path;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::ir::{EmbedInput, EmbedRequest, Refused, ToolNames};
use crate::provider::{ProviderKind, SamplingFields};

/// OpenAI's limit on the inputs of a call.
const LARGEST_BATCH: u32 = 2048;

/// Writes the requests for `/embeddings`; their answers belong one after another.
///
/// # Errors
/// If the model cannot make such vectors, or the provider does not take such input.
pub fn write_embed(
    request: EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<ProviderRequest>, Refused> {
    let dimensions = dimensions(request.dimensions, target)?;
    let mut dropped = request.dropped.clone();
    dropped.add_if(request.user.is_some() && !is_openais(target), "user");
    // A text that is too long is refused.
    dropped.add_if(request.truncate == Some(true), "truncate");
    let batch = target
        .facts
        .embeddings
        .as_ref()
        .and_then(|known| known.batch);
    let batch = batch.unwrap_or(LARGEST_BATCH).max(1) as usize;
    let write = |write_input: &dyn Fn(&mut Vec<u8>)| ProviderRequest {
        path: path(target, "embeddings"),
        body: body(&request, dimensions, target, write_input),
        headers: Vec::new(),
        dropped: dropped.clone(),
        names: ToolNames::default(),
        stop: Vec::new(),
    };
    match &request.input {
        EmbedInput::Texts(texts) if texts.is_empty() => {
            Err(Refused::field("input", "`input` must not be empty"))
        }
        EmbedInput::Texts(texts) => Ok(texts
            .chunks(batch)
            .map(|texts| write(&|out| list(texts, out, |text, out| text.write(out))))
            .collect()),
        EmbedInput::Tokens(tokens) => {
            if !takes_tokens(target) {
                return Err(Refused::field(
                    "input",
                    format!("the model {} takes texts, not tokens", target.model),
                ));
            }
            let tokens: Vec<&RawValue> = serde_json::from_str(tokens.as_str())
                .map_err(|_| Refused::field("input", "`input` must be an array of tokens"))?;
            Ok(tokens
                .chunks(batch)
                .map(|tokens| {
                    write(&|out| {
                        list(tokens, out, |tokens, out| {
                            out.extend_from_slice(tokens.get().as_bytes());
                        });
                    })
                })
                .collect())
        }
    }
}

/// Returns the field to send. A model that has one length refuses the field.
fn dimensions(wanted: Option<u32>, target: &Target<'_>) -> Result<Option<u32>, Refused> {
    let (Some(wanted), Some(known)) = (wanted, &target.facts.embeddings) else {
        return Ok(wanted);
    };
    if !known.allows(wanted) {
        return Err(Refused::field(
            "dimensions",
            format!(
                "the model {} has no vectors of {wanted} dimensions",
                target.model
            ),
        ));
    }
    let is_fixed = !known.reducible && known.choices.is_empty();
    Ok((!is_fixed).then_some(wanted))
}

/// Returns whether the provider takes tokens, which only a server with the same tokenizer can.
fn takes_tokens(target: &Target<'_>) -> bool {
    match target.provider.kind {
        ProviderKind::OpenAi | ProviderKind::Azure => true,
        _ => target.provider.sampling == SamplingFields::Vllm,
    }
}

fn is_openais(target: &Target<'_>) -> bool {
    matches!(
        target.provider.kind,
        ProviderKind::OpenAi | ProviderKind::Azure
    )
}

fn body(
    request: &EmbedRequest<'_>,
    dimensions: Option<u32>,
    target: &Target<'_>,
    write_input: &dyn Fn(&mut Vec<u8>),
) -> Vec<u8> {
    let is_openais = is_openais(target);
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::new(&mut out);
    body.string("model", target.model);
    write_input(body.key("input"));
    if let Some(dimensions) = dimensions {
        body.integer("dimensions", dimensions);
    }
    if is_openais {
        // What others do by themselves, and some refuse to be told.
        body.word("encoding_format", "float");
    }
    if let Some(user) = request.user.as_ref().filter(|_| is_openais) {
        body.text("user", user);
    }
    body.end();
    out
}
