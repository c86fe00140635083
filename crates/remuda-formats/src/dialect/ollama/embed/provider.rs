//! Embeddings as Ollama's servers are asked for them and give them.

use std::io::Write as _;

use http::HeaderMap;
use serde::Deserialize;

use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::ollama::fault_within;
use crate::dialect::ollama::fields::Body;
use crate::ir::{Dropped, EmbedInput, EmbedRequest, Embeddings, Fault, Refused, Usage};
use crate::wire::json;

/// Writes a request to `/api/embed`, one for any number of texts.
///
/// # Errors
/// For token numbers, and for a length that the model's vectors are known not to have: Ollama would give another.
pub fn write_embed(
    request: EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<ProviderRequest>, Refused> {
    let EmbedInput::Texts(texts) = &request.input else {
        return Err(Refused::field(
            "input",
            "Ollama embeds texts, not token numbers: send the input as text",
        ));
    };
    let size = texts.iter().map(|text| text.as_escaped().len() + 3).sum();
    let mut body = Body::new(target.model, size);
    let input = body.field("input");
    input.push(b'[');
    for (place, text) in texts.iter().enumerate() {
        if place > 0 {
            input.push(b',');
        }
        text.write(input);
    }
    input.push(b']');
    let truncate = request.truncate.or(request.local.truncate);
    body.truncate(truncate, target.provider.copy);
    if let Some(dimensions) = request.dimensions {
        let known = target.facts.embeddings.as_ref();
        if known.is_some_and(|known| dimensions > known.dimensions) {
            return Err(Refused::field(
                "dimensions",
                format!("{} has no vectors of {dimensions} dimensions", target.model),
            ));
        }
        write!(body.field("dimensions"), "{dimensions}").expect("writing to a vector cannot fail");
    }
    let mut dropped = Dropped::default();
    dropped.add_if(request.user.is_some(), "user");
    body.load_options(&request.local, target, &mut dropped);
    body.local(&request.local, target.provider.copy);
    Ok(vec![ProviderRequest {
        path: "/api/embed".to_owned(),
        body: body.finish(),
        dropped,
        ..ProviderRequest::default()
    }])
}

/// Reads the answer of `/api/embed`.
///
/// # Errors
/// If it is an error, or has no vectors.
pub fn read_embeddings(body: &[u8], _headers: &HeaderMap) -> Result<Embeddings, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        embeddings: Vec<Vec<f32>>,
        prompt_eval_count: Option<f64>,
        total_duration: Option<f64>,
        load_duration: Option<f64>,
    }
    let answer: Answer = match json::parse(body) {
        Ok(answer) => answer,
        Err(_) if has_error(body) => return Err(fault_within(body)),
        Err(_) => return Err(garbled()),
    };
    let finite = |vector: &Vec<f32>| vector.iter().all(|number| number.is_finite());
    if !answer.embeddings.iter().all(finite) {
        return Err(garbled());
    }
    // The casts saturate.
    let count = |number: Option<f64>| number.map(|number| number as u64);
    Ok(Embeddings {
        vectors: answer.embeddings,
        usage: Usage {
            prompt: count(answer.prompt_eval_count),
            total_duration: count(answer.total_duration),
            load_duration: count(answer.load_duration),
            ..Usage::default()
        },
    })
}

fn has_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow, rename = "error")]
        _error: &'a serde_json::value::RawValue,
    }
    json::parse::<Error<'_>>(body).is_ok()
}

fn garbled() -> Fault {
    Fault::garbled("the provider's embeddings are not in Ollama's format")
}
