//! How the servers with this API differ, as values: Perplexity refuses every field that it does not know.

use crate::dialect::exchange::Target;
use crate::facts::ReasoningControl;
use crate::provider::{ProviderKind, SamplingFields};

/// What one target takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    /// `text.format`; otherwise `response_format` as in chat completions, and schemas alone.
    pub(super) text_format: bool,
    /// The least `max_output_tokens`.
    pub(super) least_limit: u64,
    /// Whether an answer of this length at most is asked for where the client says nothing.
    pub(super) limit: Option<u64>,
    pub(super) logprobs: bool,
    pub(super) parallel_tool_calls: bool,
    /// What a function's `strict` is where the client says nothing: OpenAI takes true for the default here.
    pub(super) strict: Option<bool>,
    pub(super) user: bool,
    /// `reasoning.effort: none` and `max`.
    pub(super) all_efforts: bool,
    /// `reasoning.summary` and encrypted reasoning: asked for, and given back.
    pub(super) reasoning_items: bool,
    /// PDF files.
    pub(super) files: bool,
    /// Tools that take plain text.
    pub(super) customs: bool,
    /// `detail` of images.
    pub(super) detail: bool,
    /// The provider keeps prompts by itself.
    pub(super) caches: bool,
    /// Perplexity's `thought_signature` of calls, and the name in the output of one.
    pub(super) signed_calls: bool,
    /// Names that functions must not have.
    pub(super) built_in: &'static [&'static str],
    /// The model is there to search: it is told to, unless there are functions that it may call instead.
    pub(super) search: bool,
}

const OPENAI: Ways = Ways {
    text_format: true,
    least_limit: 16,
    limit: None,
    logprobs: true,
    parallel_tool_calls: true,
    strict: Some(false),
    user: true,
    all_efforts: true,
    reasoning_items: false,
    files: true,
    customs: true,
    detail: true,
    caches: true,
    signed_calls: false,
    built_in: &[],
    search: false,
};

/// A server of which nothing more is known.
const COMPATIBLE: Ways = Ways {
    least_limit: 1,
    user: false,
    files: false,
    caches: false,
    customs: false,
    ..OPENAI
};

const PERPLEXITY: Ways = Ways {
    text_format: false,
    logprobs: false,
    parallel_tool_calls: false,
    strict: None,
    user: false,
    all_efforts: false,
    files: false,
    customs: false,
    detail: false,
    caches: false,
    signed_calls: true,
    built_in: &[
        "web_search",
        "fetch_url",
        "sandbox",
        "people_search",
        "finance_search",
        "mcp",
    ],
    ..OPENAI
};

/// What Perplexity is told where it demands a limit and the client has none.
const PERPLEXITY_LIMIT: u64 = 8192;

/// The family of the models whose limit Perplexity demands.
const NEEDS_LIMIT: &str = "claude";

/// The family of Perplexity's own models.
const SEARCHES: &str = "sonar";

impl Ways {
    pub(super) fn of(target: &Target<'_>) -> Ways {
        let facts = target.facts;
        match target.provider.kind {
            ProviderKind::Perplexity => Ways {
                limit: (&*facts.family == NEEDS_LIMIT).then_some(PERPLEXITY_LIMIT),
                search: &*facts.family == SEARCHES,
                ..PERPLEXITY
            },
            ProviderKind::OpenAi | ProviderKind::Azure => Ways {
                reasoning_items: facts.reasoning.form == ReasoningControl::Effort,
                ..OPENAI
            },
            _ => Ways {
                reasoning_items: facts.reasoning.form == ReasoningControl::Effort,
                caches: target.provider.sampling != SamplingFields::Standard,
                ..COMPATIBLE
            },
        }
    }
}
