//! What a client asks for, and the vectors as it reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::field::{self, Field, integer, text};
use super::super::others::name_others;
use crate::dialect::exchange::Reply;
use crate::dialect::ollama;
use crate::ir::{Dropped, EmbedInput, EmbedRequest, Embeddings, Json, Local, Refused, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body<'a> {
    #[serde(borrow)]
    input: Field<'a>,
    dimensions: Field<'a>,
    encoding_format: Field<'a>,
    user: Field<'a>,
    /// OpenRouter's, Cohere's and others': what the vectors are for.
    input_type: Field<'a>,
}

/// Reads the body of a request for embeddings that another format will carry, and whether the vectors are to be written
/// as base64, as OpenAI's own libraries ask for them.
///
/// # Errors
/// If it is wrong.
pub fn read_embed(bytes: &[u8]) -> Result<(EmbedRequest<'_>, bool), Refused> {
    let body: Body<'_> = field::body(bytes)?;
    let dimensions = match integer(body.dimensions, "dimensions")?.map(u32::try_from) {
        None => None,
        Some(Ok(dimensions @ 1..)) => Some(dimensions),
        Some(_) => {
            return Err(Refused::field(
                "dimensions",
                "`dimensions` must be at least 1",
            ));
        }
    };
    let mut dropped = Dropped::default();
    dropped.add_if(body.input_type.is_some(), "input_type");
    name_others(bytes, &mut dropped);
    let base64 = is_base64(body.encoding_format)?;
    let mut request = EmbedRequest {
        input: input(body.input)?,
        dimensions,
        truncate: None,
        user: text(body.user, "user")?,
        local: Local::default(),
        dropped,
    };
    ollama::read_foreign_embed(bytes, &mut request)?;
    Ok((request, base64))
}

fn is_base64(field: Field<'_>) -> Result<bool, Refused> {
    match text(field, "encoding_format")?
        .as_ref()
        .map(Text::as_escaped)
    {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => Err(Refused::field(
            "encoding_format",
            "`encoding_format` must be float or base64",
        )),
    }
}

fn input(field: Field<'_>) -> Result<EmbedInput<'_>, Refused> {
    let refused = |text| Refused::field("input", text);
    let Some(raw) = field else {
        return Err(refused("`input` is missing"));
    };
    if let Some(text) = Text::of(raw) {
        return Ok(EmbedInput::Texts(vec![text]));
    }
    if let Ok(texts) = serde_json::from_str::<Vec<Text<'_>>>(raw.get()) {
        return if texts.is_empty() {
            Err(refused("`input` must not be empty"))
        } else {
            Ok(EmbedInput::Texts(texts))
        };
    }
    if serde_json::from_str::<Vec<u32>>(raw.get()).is_ok() {
        return Ok(EmbedInput::Tokens(Json::trusted(format!(
            "[{}]",
            raw.get()
        ))));
    }
    match serde_json::from_str::<Vec<Vec<u32>>>(raw.get()) {
        Ok(_) => Ok(EmbedInput::Tokens(Json::of(raw))),
        Err(_) => Err(refused(
            "`input` must be a string, an array of strings, an array of tokens, or an array of such arrays",
        )),
    }
}

/// Appends the answer's body.
pub fn write_embeddings(embeddings: &Embeddings, reply: &Reply, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (index, vector) in embeddings.vectors.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"object\":\"embedding\",\"index\":");
        out.extend_from_slice(index.to_string().as_bytes());
        out.extend_from_slice(b",\"embedding\":");
        if reply.base64 {
            write_base64(vector, out);
        } else {
            serde_json::to_writer(&mut *out, vector).expect("writing to a vector cannot fail");
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"model\":");
    reply.model.write(out);
    let tokens = embeddings.usage.prompt.unwrap_or(0);
    out.extend_from_slice(
        format!(",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}").as_bytes(),
    );
}

/// Writes 32-bit floats as base64, little end first.
fn write_base64(vector: &[f32], out: &mut Vec<u8>) {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}
