//! Embeddings by InvokeModel, whose body is each maker's own: Amazon's Titan and Nova take one text
//! a call, Cohere takes several.

use super::error;
use super::json::{key, put, separate};
use super::path::RuntimeOperation;
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::ir::{Dropped, EmbedInput, EmbedRequest, Embeddings, Fault, Refused, Text, Usage};
use crate::wire::json;
use http::HeaderMap;
use serde::Deserialize;

/// Texts that Cohere takes at once, where the facts do not say.
const COHERE_BATCH: usize = 96;

#[derive(Clone, Copy, PartialEq)]
enum Maker {
    Titan,
    Cohere,
    Nova,
}

/// Writes one request for each batch of texts.
pub(super) fn write(
    request: EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<ProviderRequest>, Refused> {
    let facts = target.facts;
    let maker = match &*facts.family {
        "titan-embed" => Maker::Titan,
        "cohere-embed" => Maker::Cohere,
        "nova-embed" => Maker::Nova,
        _ => {
            return Err(Refused::field(
                "model",
                "it is not known how this model of Bedrock takes texts to embed; state its family in models_file",
            ));
        }
    };
    let EmbedInput::Texts(texts) = &request.input else {
        return Err(Refused::field(
            "input",
            "Bedrock embeds texts, not token numbers; send the text",
        ));
    };
    let known = facts.embeddings.as_ref();
    if let (Some(wanted), Some(known)) = (request.dimensions, known)
        && !known.allows(wanted)
    {
        return Err(Refused::field(
            "dimensions",
            format!(
                "this model gives vectors of {} numbers, not {wanted}",
                known.dimensions
            ),
        ));
    }
    let choosable = known.is_none_or(|known| !known.choices.is_empty() || known.reducible);
    let form = Form {
        maker,
        dimensions: request.dimensions.filter(|_| choosable),
        truncates: request.truncate.unwrap_or(true),
        standard: known.map(|known| known.dimensions),
    };
    let batch = match maker {
        Maker::Cohere => known
            .and_then(|known| known.batch)
            .map_or(COHERE_BATCH, |most| most as usize),
        Maker::Titan | Maker::Nova => 1,
    };
    let mut dropped = Dropped::default();
    dropped.add_if(request.user.is_some(), "user");
    // Titan refuses what is too long, and cannot be told to cut it.
    dropped.add_if(
        maker == Maker::Titan && request.truncate == Some(true),
        "truncate",
    );
    let calls = texts.chunks(batch.max(1)).map(|texts| ProviderRequest {
        path: RuntimeOperation::Invoke.path(target.model),
        body: form.body(texts),
        dropped: dropped.clone(),
        ..ProviderRequest::default()
    });
    Ok(calls.collect())
}

struct Form {
    maker: Maker,
    /// The length of the vectors, where it is to be said.
    dimensions: Option<u32>,
    truncates: bool,
    /// The length that the model gives by itself.
    standard: Option<u32>,
}

impl Form {
    fn body(&self, texts: &[Text<'_>]) -> Vec<u8> {
        let length: usize = texts.iter().map(|text| text.as_escaped().len() + 3).sum();
        let mut out = Vec::with_capacity(200 + length);
        out.push(b'{');
        match self.maker {
            Maker::Titan => {
                key("inputText", &mut out);
                write_first(texts, &mut out);
                self.write_dimensions("dimensions", &mut out);
            }
            Maker::Cohere => {
                key("texts", &mut out);
                out.push(b'[');
                for text in texts {
                    separate(&mut out);
                    text.write(&mut out);
                }
                put(r#"],"input_type":"search_document","truncate":"#, &mut out);
                put(
                    if self.truncates {
                        r#""END""#
                    } else {
                        r#""NONE""#
                    },
                    &mut out,
                );
                self.write_dimensions("output_dimension", &mut out);
            }
            Maker::Nova => {
                put(
                    r#""schemaVersion":"nova-multimodal-embed-v1","taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX""#,
                    &mut out,
                );
                if let Some(dimensions) = self.dimensions.or(self.standard) {
                    key("embeddingDimension", &mut out);
                    put(&dimensions.to_string(), &mut out);
                }
                put(r#","text":{"truncationMode":"#, &mut out);
                put(
                    if self.truncates {
                        r#""END""#
                    } else {
                        r#""NONE""#
                    },
                    &mut out,
                );
                key("value", &mut out);
                write_first(texts, &mut out);
                put("}}", &mut out);
            }
        }
        out.push(b'}');
        out
    }

    fn write_dimensions(&self, name: &str, out: &mut Vec<u8>) {
        if let Some(dimensions) = self.dimensions {
            key(name, out);
            put(&dimensions.to_string(), out);
        }
    }
}

fn write_first(texts: &[Text<'_>], out: &mut Vec<u8>) {
    match texts {
        [text, ..] => text.write(out),
        [] => put(r#""""#, out),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// Titan.
    #[serde(default)]
    embedding: Option<Vec<f32>>,
    #[serde(default)]
    input_text_token_count: Option<u64>,
    /// Cohere and Nova.
    #[serde(default)]
    embeddings: Option<Vectors>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vectors {
    Plain(Vec<Vec<f32>>),
    ByType { float: Vec<Vec<f32>> },
    Objects(Vec<Object>),
}

#[derive(Deserialize)]
struct Object {
    embedding: Vec<f32>,
}

/// Reads the vectors of one answer; which maker's it is shows by its fields.
pub(super) fn read(body: &[u8], headers: &HeaderMap) -> Result<Embeddings, Fault> {
    let garbled = || Fault::garbled("the provider's vectors cannot be read");
    let Ok(answer) = json::parse::<Answer>(body) else {
        return Err(error::in_body(body).unwrap_or_else(garbled));
    };
    let vectors = match (answer.embedding, answer.embeddings) {
        (Some(vector), _) => vec![vector],
        (None, Some(Vectors::Plain(vectors) | Vectors::ByType { float: vectors })) => vectors,
        (None, Some(Vectors::Objects(objects))) => {
            objects.into_iter().map(|object| object.embedding).collect()
        }
        (None, None) => return Err(error::in_body(body).unwrap_or_else(garbled)),
    };
    // Cohere's answers say it in a header only.
    let counted = || {
        let value = headers.get("x-amzn-bedrock-input-token-count")?;
        value.to_str().ok()?.parse().ok()
    };
    Ok(Embeddings {
        vectors,
        usage: Usage {
            prompt: answer.input_text_token_count.or_else(counted),
            ..Usage::default()
        },
    })
}
