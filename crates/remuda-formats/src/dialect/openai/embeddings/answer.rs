//! The vectors of a provider's answer.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::error::fault_in_body;
use super::super::field::Field;
use super::super::usage::Counts;
use crate::ir::{Embeddings, Fault, Text, Usage};
use crate::wire::json;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Vec<Entry<'a>>>,
    usage: Option<Counts<'a>>,
    error: Field<'a>,
    detail: Field<'a>,
    message: Field<'a>,
}

impl Answer<'_> {
    /// Returns whether there are words for what is missing.
    fn says_why(&self) -> bool {
        self.error.or(self.detail).or(self.message).is_some()
    }
}

#[derive(Deserialize)]
struct Entry<'a> {
    index: Option<usize>,
    #[serde(borrow)]
    embedding: Field<'a>,
}

/// Reads the answer to one call.
///
/// # Errors
/// If it is an error, or not one vector for each place.
pub fn read_embeddings(body: &[u8], _headers: &HeaderMap) -> Result<Embeddings, Fault> {
    let garbled = || Fault::garbled("the provider's answer has no vectors");
    // An array would be taken for the struct's fields in their order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let read: Option<Answer<'_>> = json::parse(body).ok().filter(|_| is_object);
    let answer = read.ok_or_else(garbled)?;
    let entries = match answer.data {
        Some(entries) if !entries.is_empty() => entries,
        Some(_) => return Err(garbled()),
        None if answer.says_why() => return Err(fault_in_body(body)),
        None => return Err(garbled()),
    };
    let mut places = vec![None; entries.len()];
    for (position, entry) in entries.into_iter().enumerate() {
        let place = places
            .get_mut(entry.index.unwrap_or(position))
            .filter(|place| place.is_none())
            .ok_or_else(garbled)?;
        *place = Some(vector(entry.embedding.ok_or_else(garbled)?).ok_or_else(garbled)?);
    }
    Ok(Embeddings {
        // As many as there are places, each in a place of its own.
        vectors: places.into_iter().flatten().collect(),
        usage: answer
            .usage
            .map(|counts| counts.usage())
            .unwrap_or_default(),
    })
}

/// Returns what an answer cost whose vectors are all written so; `None` if some are not, or if it is no answer.
pub fn encoded_as(body: &[u8], base64: bool) -> Option<Usage> {
    let answer: Answer<'_> = json::parse(body).ok()?;
    let opening = if base64 { '"' } else { '[' };
    let is_so = |entry: &Entry<'_>| {
        let vector = entry.embedding;
        vector.is_some_and(|vector| vector.get().starts_with(opening))
    };
    answer.data?.iter().all(is_so).then(|| {
        let counts = answer.usage;
        counts.map(|counts| counts.usage()).unwrap_or_default()
    })
}

/// Reads an array, or the base64 of 32-bit floats, which some servers send unasked.
fn vector(raw: &RawValue) -> Option<Vec<f32>> {
    let Some(text) = Text::of(raw) else {
        return serde_json::from_str(raw.get()).ok();
    };
    let bytes = BASE64.decode(text.into_decoded().as_bytes()).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| {
        numbers
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    })
}
