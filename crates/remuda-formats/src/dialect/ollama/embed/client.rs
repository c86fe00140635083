//! Embeddings as clients of Ollama ask for them and get them.

use std::io::Write as _;

use crate::dialect::exchange::Reply;
use crate::dialect::ollama::go::{Field, Reader, read_struct};
use crate::dialect::ollama::read_foreign_embed;
use crate::ir::{self, Dropped, EmbedInput, EmbedRequest, Embeddings, Refused, Text};
use crate::wire::json::Kind;

/// Reads a request to `/api/embed`. No text at all asks to load the model: the answer has no vectors.
///
/// # Errors
/// In Ollama's words.
pub fn read_embed(body: &[u8]) -> Result<EmbedRequest<'_>, Refused> {
    const PATH: &str = "EmbedRequest";
    let mut request = request(Vec::new());
    read_struct(body, PATH, |reader, key| {
        match key {
            "input" => request.input = EmbedInput::Texts(input(reader)?),
            "dimensions" => {
                let dimensions = reader.integer(Field(PATH, "dimensions"))?;
                // 0 is Ollama's word for the model's own.
                request.dimensions = dimensions
                    .and_then(|dimensions| u32::try_from(dimensions).ok())
                    .filter(|dimensions| *dimensions > 0);
            }
            "truncate" => request.truncate = reader.boolean(Field(PATH, "truncate"))?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    read_foreign_embed(body, &mut request)?;
    Ok(request)
}

/// Reads a request to `/api/embeddings`: one text.
///
/// # Errors
/// In Ollama's words.
pub fn read_embed_legacy(body: &[u8]) -> Result<EmbedRequest<'_>, Refused> {
    const PATH: &str = "EmbeddingRequest";
    let mut prompt = None;
    read_struct(body, PATH, |reader, key| {
        match key {
            "prompt" => prompt = reader.text(Field(PATH, "prompt"))?.or(prompt.take()),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    let prompt = prompt.filter(|prompt: &Text<'_>| !prompt.is_empty());
    let mut request = request(prompt.into_iter().collect());
    read_foreign_embed(body, &mut request)?;
    Ok(request)
}

fn request(texts: Vec<Text<'_>>) -> EmbedRequest<'_> {
    EmbedRequest {
        input: EmbedInput::Texts(texts),
        dimensions: None,
        truncate: None,
        user: None,
        local: Default::default(),
        dropped: Dropped::default(),
    }
}

/// Reads a string or an array of strings; an empty string is no input.
fn input<'a>(reader: &mut Reader<'a>) -> Result<Vec<Text<'a>>, Refused> {
    let invalid = || Refused::field("input", "invalid input type");
    let mut texts = Vec::new();
    match reader.kind()? {
        Kind::Null => reader.skip()?,
        Kind::String => {
            let text = reader.literal()?;
            texts.extend(Some(text).filter(|text| !text.is_empty()));
        }
        Kind::Array => reader.items(|reader| {
            if reader.kind()? != Kind::String {
                return Err(invalid());
            }
            texts.push(reader.literal()?);
            Ok(())
        })?,
        _ => return Err(invalid()),
    }
    Ok(texts)
}

/// Appends the answer of `/api/embed`: vectors of length 1.
pub fn write_embeddings(embeddings: &Embeddings, reply: &Reply, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"model\":");
    reply.model.write(out);
    out.extend_from_slice(b",\"embeddings\":[");
    let mut scaled = Vec::new();
    for (place, vector) in embeddings.vectors.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        scaled.clear();
        scaled.extend_from_slice(vector);
        ir::to_unit_length(&mut scaled);
        write_vector(&scaled, out);
    }
    out.push(b']');
    let usage = &embeddings.usage;
    let total = (!embeddings.vectors.is_empty()).then(|| {
        let elapsed = u64::try_from(reply.started.elapsed().as_nanos());
        usage.total_duration.unwrap_or(elapsed.unwrap_or(u64::MAX))
    });
    for (name, value) in [
        ("total_duration", total),
        ("load_duration", usage.load_duration),
        ("prompt_eval_count", usage.prompt),
    ] {
        if let Some(value) = value.filter(|value| *value > 0) {
            write!(out, ",\"{name}\":{value}").expect("writing to a vector cannot fail");
        }
    }
    out.push(b'}');
}

/// Appends the answer of `/api/embeddings`: one vector as the provider gave it.
pub fn write_embeddings_legacy(embeddings: &Embeddings, _: &Reply, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"embedding\":");
    let vector = embeddings.vectors.first();
    write_vector(vector.map_or(&[], Vec::as_slice), out);
    out.push(b'}');
}

fn write_vector(vector: &[f32], out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, number) in vector.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, number).expect("writing to a vector cannot fail");
    }
    out.push(b']');
}
