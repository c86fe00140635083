//! Embeddings by `batchEmbedContents`.

use serde::Deserialize;

use super::answer::TokenUsage;
use super::error;
use super::json::{key, put, separate};
use super::path::{self, Call};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::ir::{Dropped, EmbedInput, EmbedRequest, Embeddings, Fault, Refused, Text};
use crate::wire::json;

/// Texts in one call, where the facts do not say.
const MAX_TEXTS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    embeddings: Option<Vec<Vector>>,
    /// The vector of `embedContent`.
    #[serde(default)]
    embedding: Option<Vector>,
    #[serde(default)]
    usage_metadata: Option<TokenUsage>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    values: Vec<f32>,
}

pub(super) fn write(
    request: &EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<ProviderRequest>, Refused> {
    let EmbedInput::Texts(texts) = &request.input else {
        return Err(Refused::field(
            "input",
            "Gemini embeds text, not token numbers; send the text itself",
        ));
    };
    let known = target.facts.embeddings.as_ref();
    if let (Some(wanted), Some(known)) = (request.dimensions, known)
        && !known.allows(wanted)
    {
        return Err(Refused::field(
            "dimensions",
            format!(
                "this model makes vectors of {} numbers at most",
                known.dimensions
            ),
        ));
    }
    let batch = known.and_then(|known| known.batch).map(usize::try_from);
    let batch = batch.and_then(Result::ok).unwrap_or(MAX_TEXTS).max(1);
    let mut dropped = Dropped::default();
    dropped.add_if(request.truncate == Some(false), "truncate");
    dropped.add_if(request.user.is_some(), "user");
    let outgoing = texts.chunks(batch).map(|texts| ProviderRequest {
        path: Call::Embed.path(target.model),
        body: body(texts, request.dimensions, target.model),
        dropped: dropped.clone(),
        ..ProviderRequest::default()
    });
    Ok(outgoing.collect())
}

fn body(texts: &[Text<'_>], dimensions: Option<u32>, model: &str) -> Vec<u8> {
    let name = path::model(model);
    let name = Text::plain(&name);
    let length: usize = texts.iter().map(|text| text.as_escaped().len() + 120).sum();
    let mut out = Vec::with_capacity(length + 32);
    put(r#"{"requests":["#, &mut out);
    for text in texts {
        separate(&mut out);
        put(r#"{"model":"#, &mut out);
        name.write(&mut out);
        put(r#","content":{"parts":[{"text":"#, &mut out);
        text.write(&mut out);
        put("}]}", &mut out);
        if let Some(dimensions) = dimensions {
            key("outputDimensionality", &mut out);
            put(&dimensions.to_string(), &mut out);
        }
        out.push(b'}');
    }
    put("]}", &mut out);
    out
}

pub(super) fn read(body: &[u8]) -> Result<Embeddings, Fault> {
    let unreadable = || {
        error::within(body)
            .unwrap_or_else(|| Fault::garbled("the provider's answer holds no vectors"))
    };
    let read: Body = json::parse(body).map_err(|_| unreadable())?;
    let vectors = read.embeddings.or(read.embedding.map(|one| vec![one]));
    let vectors = vectors.ok_or_else(unreadable)?;
    if vectors.is_empty() || vectors.iter().any(|vector| vector.values.is_empty()) {
        return Err(unreadable());
    }
    Ok(Embeddings {
        vectors: vectors.into_iter().map(|vector| vector.values).collect(),
        usage: read
            .usage_metadata
            .map(TokenUsage::usage)
            .unwrap_or_default(),
    })
}
