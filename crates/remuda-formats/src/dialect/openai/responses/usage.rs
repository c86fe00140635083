//! Token counts as the Responses API states them, and as Perplexity does.

use std::io::Write as _;

use serde::Deserialize;

use super::super::field::Field;
use crate::ir::Usage;

/// `usage` of a response.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts<'a> {
    #[serde(borrow)]
    input_tokens: Field<'a>,
    output_tokens: Field<'a>,
    input_tokens_details: Option<InputDetails<'a>>,
    output_tokens_details: Option<OutputDetails<'a>>,
    /// Perplexity's, in US dollars: an object; OpenRouter's is a number.
    cost: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InputDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Field<'a>,
    cache_write_tokens: Field<'a>,
    /// Perplexity's names for the two; parts of `input_tokens` all the same.
    cache_read_input_tokens: Field<'a>,
    cache_creation_input_tokens: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cost<'a> {
    #[serde(borrow)]
    total_cost: Field<'a>,
}

impl Counts<'_> {
    pub(super) fn usage(&self) -> Usage {
        let input = self.input_tokens_details.as_ref();
        let output = self.output_tokens_details.as_ref();
        let read = input.and_then(|details| count(details.cached_tokens));
        let written = input.and_then(|details| count(details.cache_write_tokens));
        Usage {
            prompt: count(self.input_tokens),
            cache_read: read
                .or_else(|| input.and_then(|details| count(details.cache_read_input_tokens))),
            cache_write: written
                .or_else(|| input.and_then(|details| count(details.cache_creation_input_tokens))),
            output: count(self.output_tokens),
            reasoning: output.and_then(|details| count(details.reasoning_tokens)),
            cost: self.cost.and_then(cost),
            ..Usage::default()
        }
    }
}

/// Zeros state nothing: servers that count one of two kinds of details write them for the other.
fn count(field: Field<'_>) -> Option<u64> {
    field?.get().parse().ok().filter(|count| *count > 0)
}

fn cost(field: &serde_json::value::RawValue) -> Option<f64> {
    let total = match serde_json::from_str::<Cost<'_>>(field.get()) {
        Ok(cost) => cost.total_cost?.get(),
        Err(_) => field.get(),
    };
    total
        .parse()
        .ok()
        .filter(|cost: &f64| cost.is_finite() && *cost > 0.0)
}

/// Appends `{"input_tokens":…}`; what is not known is 0.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let known = |count: Option<u64>| count.unwrap_or(0);
    write!(
        out,
        r#"{{"input_tokens":{},"input_tokens_details":{{"cached_tokens":{},"cache_write_tokens":{}}},"output_tokens":{},"output_tokens_details":{{"reasoning_tokens":{}}},"total_tokens":{}}}"#,
        known(usage.prompt),
        known(usage.cache_read),
        known(usage.cache_write),
        known(usage.output),
        known(usage.reasoning),
        usage.total(),
    )
    .expect("writing to a vector cannot fail");
}
