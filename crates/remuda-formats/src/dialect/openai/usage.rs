//! Token counts as OpenAI and its likes state them, in both directions.

use std::io::Write as _;

use serde::Deserialize;

use super::field::Field;
use crate::ir::Usage;

/// `usage` of an answer.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts<'a> {
    #[serde(borrow)]
    prompt_tokens: Field<'a>,
    completion_tokens: Field<'a>,
    prompt_tokens_details: Option<PromptDetails<'a>>,
    completion_tokens_details: Option<OutputDetails<'a>>,
    /// Cached tokens of the prompt as DeepSeek counts them.
    prompt_cache_hit_tokens: Field<'a>,
    /// Anthropic's names, by gateways that speak of caches as both do; parts of `prompt_tokens` all the same.
    cache_read_input_tokens: Field<'a>,
    cache_creation_input_tokens: Field<'a>,
    /// The cost in US dollars, which OpenRouter tells.
    cost: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PromptDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Field<'a>,
    cache_write_tokens: Field<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutputDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Field<'a>,
}

impl Counts<'_> {
    /// Returns what is stated; a zero states nothing, since chunks before the last may have it in place of the count.
    pub(super) fn usage(&self) -> Usage {
        let prompt = self.prompt_tokens_details.as_ref();
        let output = self.completion_tokens_details.as_ref();
        let cached = prompt.and_then(|details| count(details.cached_tokens));
        Usage {
            prompt: count(self.prompt_tokens),
            cache_read: cached
                .or_else(|| count(self.prompt_cache_hit_tokens))
                .or_else(|| count(self.cache_read_input_tokens)),
            cache_write: prompt
                .and_then(|details| count(details.cache_write_tokens))
                .or_else(|| count(self.cache_creation_input_tokens)),
            output: count(self.completion_tokens),
            reasoning: output.and_then(|details| count(details.reasoning_tokens)),
            cost: number(self.cost).filter(|cost| *cost > 0.0),
            ..Usage::default()
        }
    }
}

fn count(field: Field<'_>) -> Option<u64> {
    let text = field?.get();
    // Servers in JavaScript may write `5.0`; the cast saturates.
    let count = text.parse().ok().or_else(|| Some(number(field)? as u64))?;
    (count > 0).then_some(count)
}

fn number(field: Field<'_>) -> Option<f64> {
    field?
        .get()
        .trim_matches('"')
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

/// Appends `{"prompt_tokens":…}`; what is not known is 0.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let known = |count: Option<u64>| count.unwrap_or(0);
    write!(
        out,
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"cache_write_tokens":{}}},"completion_tokens_details":{{"reasoning_tokens":{}}}}}"#,
        known(usage.prompt),
        known(usage.output),
        usage.total(),
        known(usage.cache_read),
        known(usage.cache_write),
        known(usage.reasoning),
    )
    .expect("writing to a vector cannot fail");
}
