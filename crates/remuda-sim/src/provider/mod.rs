//! Simulated cloud providers: they check what the real ones check, answer in their words, and fail as they fail.
//!
//! A dialect is a value that implements [`Provider`]: a pure function from a [`Request`] to a [`Reply`]. All else is
//! common to them and lives here:
//!
//! - `exchange.rs`: `Request` (method, path, query, headers, body), `Reply` (status, headers, and a body that is whole
//!   or a list of [`Piece`]s, each with the number of tokens that it carries), and `Failure`.
//! - `mind.rs`: what the simulated model thinks. A dialect reads its request into a `Prompt` and words the `Thought`
//!   that comes back; so all dialects answer the same conversation alike, and tests can assert on what a model saw.
//! - `serve.rs`: time (a pause for each token), faults of the link, and the counters. A fault that has the provider's
//!   own shape is asked for from the dialect: `refuse` for an error status, `break_off` for the event that ends a
//!   stream, `fail_whole` for an answer that is not streamed. What they leave unsaid (`message`, `code`) is for the
//!   dialect to fill in.
//!
//! To add one: a file here, a variant of [`Dialect`], and its lines in `build.rs`.

mod anthropic;
mod azure;
mod bedrock;
mod build;
mod exchange;
mod google;
#[cfg(test)]
mod harness;
mod ledger;
mod mind;
mod openai;
mod openrouter;
mod perplexity;
mod picture;
mod responses;
pub(super) mod serve;
mod signature;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use exchange::{Failed, Reply, Request};

/// What a simulation speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    #[default]
    Ollama,
    /// Anthropic's Messages
    Anthropic,
    /// Amazon's Bedrock: Converse and embeddings
    Bedrock,
    /// Google's Gemini API
    Google,
    /// OpenAI: chat, completions, embeddings, and Responses
    Openai,
    /// OpenAI's Responses and nothing else
    Responses,
    /// Azure OpenAI; its models are deployments
    Azure,
    /// OpenRouter's chat completions
    Openrouter,
    /// Perplexity's Agent API
    Perplexity,
}

/// Which provider is simulated, and what it expects of those who call it.
#[derive(Clone, Debug)]
pub struct Setup {
    pub dialect: Dialect,
    /// Models as the provider names them; none is a list of its well-known ones.
    pub models: Vec<String>,
    /// The key that is expected in the header that the provider reads it from.
    pub api_key: String,
    /// Bedrock's credentials, for signed requests.
    pub access_key: String,
    pub secret_key: String,
    /// Expected in `X-Amz-Security-Token`, and signed; `None` expects none.
    pub session_token: Option<String>,
    pub region: String,
}

impl Setup {
    /// Returns a provider with its usual models and the keys that AWS's own documentation uses.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            models: Vec::new(),
            api_key: "sim-key".into(),
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
            region: "us-east-1".into(),
        }
    }
}

/// What every dialect is built from.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) setup: Setup,
    /// Words of prose that follow the echo in an answer.
    pub(super) answer_tokens: std::ops::RangeInclusive<u32>,
    pub(super) seed: u64,
}

impl World {
    /// Returns whether the provider has `model`.
    pub(super) fn lists(&self, model: &str) -> bool {
        self.setup.models.iter().any(|listed| listed == model)
    }
}

/// One provider's wire format, from the provider's side.
pub(super) trait Provider: Send + Sync {
    /// Answers a request, or refuses it as the provider does.
    fn answer(&self, request: &Request) -> Reply;

    /// Returns an error status that was asked for as a fault, with the headers that come with it.
    fn refuse(&self, request: &Request, failed: &Failed) -> Reply;

    /// Returns whether a refusal says by `Retry-After` when to come back.
    fn says_retry_after(&self) -> bool {
        true
    }

    /// Returns the bytes that end a streamed answer to `request` in the middle; `sent` events have gone before.
    fn break_off(&self, request: &Request, failed: &Failed, sent: u64) -> Bytes;

    /// Returns the answer to a request that does not stream, and whose model failed at its work.
    fn fail_whole(&self, request: &Request, failed: &Failed) -> Reply {
        self.refuse(request, failed)
    }
}
