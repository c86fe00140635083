//! What a request asks of the planner, and why there may be no plan for it.

use std::sync::Arc;

use crate::ids::ProviderId;
use crate::settings::Strategy;
use remuda_formats::client::{Operation, RequestFacts};

/// One request, as far as it matters where it goes.
#[derive(Clone, Copy, Default)]
pub struct PlanRequest<'a> {
    /// The model as the client wrote it, without the tag for accounting.
    pub model: &'a str,
    /// `X-Provider`.
    pub provider: Option<&'a str>,
    /// An approach of OptiLLM's that the request names (`bon`, `moa`, …), beside its model.
    pub approach: Option<&'a str>,
    pub needs: Needs,
    /// Goes before that of the model and that of the configuration.
    pub strategy: Option<Strategy>,
    /// What the client's key may use; `None`: everything.
    pub permission: Option<&'a dyn Permission>,
    /// Positions of providers that have failed this request already.
    pub without: &'a [ProviderId],
    /// It is asked about the model only: nothing is sent that would take a provider's turn.
    pub looks_only: bool,
}

impl<'a> PlanRequest<'a> {
    /// Returns a request for a model that says nothing else.
    pub fn of(model: &'a str) -> PlanRequest<'a> {
        PlanRequest {
            model,
            ..PlanRequest::default()
        }
    }

    /// Returns whether nothing decides but the name and what the key may use.
    pub(super) fn is_plain(&self) -> bool {
        self.provider.is_none() && self.approach.is_none() && self.without.is_empty()
    }
}

/// What a client's key may use.
pub trait Permission: Send + Sync {
    /// Returns whether the key may be served by the provider of this name.
    fn may_ask(&self, provider: &str) -> bool;

    /// Returns whether the key may use a model that goes by these names: what the client wrote, or the provider's own.
    fn may_use(&self, names: &[&str]) -> bool;
}

/// Bytes of a request's body that are a token on average, as Ollama's own layer estimates.
pub const BYTES_PER_TOKEN: u64 = 4;

/// What a model has to be able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub operation: Option<Operation>,
    pub vision: bool,
    pub tools: bool,
    pub thinking: bool,
    pub embeddings: bool,
    /// Text is to be continued rather than answered.
    pub raw: bool,
    /// Prompt tokens, estimated; 0 if there is no saying.
    pub tokens: u64,
}

impl Needs {
    /// Returns what a request needs whose body has `bytes` bytes.
    pub fn of(operation: Operation, facts: &RequestFacts<'_>, bytes: usize) -> Needs {
        use Operation::{Embed, Embeddings, OpenAiEmbeddings};
        Needs {
            operation: Some(operation),
            vision: facts.images,
            tools: facts.tools,
            thinking: facts.think,
            embeddings: matches!(operation, Embed | Embeddings | OpenAiEmbeddings),
            raw: facts.raw,
            // An image's bytes say nothing of its tokens.
            tokens: if facts.images {
                0
            } else {
                bytes as u64 / BYTES_PER_TOKEN
            },
        }
    }
}

/// Why a request can go nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// No provider has the model. A provider that has not answered its first probe may yet turn out to have it: see
    /// [`crate::fleet::Fleet::is_settling`].
    #[error("no provider has the model")]
    Unknown,
    #[error("X-Provider names no provider that is here; the providers are {}", .names.join(", "))]
    NoSuchProvider { names: Vec<Arc<str>> },
    #[error(
        "X-Provider and the prefix of the model's name are different providers; leave one of them out"
    )]
    Contradiction,
    #[error(
        "several providers have this model, and the strategy is manual: write {}, or name one in X-Provider",
        .names.iter().map(|name| format!("{name}/…")).collect::<Vec<_>>().join(" or ")
    )]
    Ambiguous { names: Vec<Arc<str>> },
    #[error(
        "the approach {approach} is run by an OptiLLM server: the operator has to add one as a provider with \
         `approaches: true`; without an approach (the model's name alone, or optillm_approach: proxy) the request is served here"
    )]
    NoApproach { approach: String },
    #[error("the model's name asks for {host}, and no Azure provider has its base_url there")]
    NoResource { host: String },
    /// All that have it are among [`PlanRequest::without`].
    #[error("every provider that has the model has failed")]
    Exhausted,
    /// The client's key may use none of those that have it.
    #[error("the key may not use this model or its providers")]
    Forbidden,
}
