//! What reading and writing a format needs to know besides the message itself.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderValue;
use http::header::HeaderName;

#[cfg(test)]
use crate::facts::Facts;
use crate::facts::ModelFacts;
use crate::ir::{ClientTools, Dropped, Text, ToolNames};
use crate::preferences::ReasoningField;
#[cfg(test)]
use crate::provider::ProviderKind;
use crate::provider::ProviderProfile;

/// Where a translated request goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The provider's own name for the model.
    pub model: &'a str,
    pub facts: &'a ModelFacts,
    pub provider: ProviderProfile<'a>,
    /// Whether the provider's answer is to be streamed.
    pub stream: bool,
}

/// A request in a provider's format.
#[derive(Clone, Debug, Default)]
pub struct ProviderRequest {
    /// The path after the backend's base path, with its query; it begins with a slash and is percent-encoded.
    pub path: String,
    /// The body, which is JSON.
    pub body: Vec<u8>,
    /// Fields that this format needs, besides credentials and lengths.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What the provider cannot express: request fields in the names of the client's format.
    pub dropped: Dropped,
    /// Names of tools that the provider's alphabet does not allow.
    pub names: ToolNames,
    /// Stop strings that the provider does not take: the gateway cuts the answer at them.
    pub stop: Vec<String>,
}

/// What an answer in a client's format needs to know about its request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The model that answers, as its provider was asked for it.
    pub model: Text<'static>,
    /// Unique among this process's answers: letters and digits, for ids such as `chatcmpl-…`.
    pub id: Arc<str>,
    pub created: SystemTime,
    /// When the attempt began, for Ollama's durations.
    pub started: Instant,
    /// Whether a stream tells its usage, as OpenAI's `stream_options.include_usage` asks.
    pub include_usage: bool,
    pub reasoning_field: ReasoningField,
    /// Whether embeddings in OpenAI's format are written as base64.
    pub base64: bool,
    /// Whether the client speaks OpenAI's form of 2023, in which a call is the answer's `function_call`.
    pub functions: bool,
    /// About how many tokens the prompt has; 0 if nobody has counted.
    pub prompt_estimate: u64,
    /// How the client knows the tools that are more to it than a function.
    pub tools: Arc<ClientTools>,
}

#[cfg(test)]
impl Reply {
    /// Returns what tests write answers for: the model `m`, seven seconds after the epoch.
    pub(crate) fn sample() -> Self {
        Reply {
            model: Text::escaped("m"),
            id: "a1".into(),
            created: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7),
            started: Instant::now(),
            include_usage: false,
            reasoning_field: ReasoningField::Both,
            base64: false,
            functions: false,
            prompt_estimate: 0,
            tools: Arc::default(),
        }
    }
}

/// Puts a body right for a target; returns `None` if it may pass as it is.
#[cfg(test)]
type PutsRight = fn(&[u8], &Target<'_>) -> Option<(Vec<u8>, Dropped)>;

/// Puts a body right with `fitted` for a model of the bundled facts. Returns it with the names of what was left out.
#[cfg(test)]
pub(in crate::dialect) fn fitted_for(
    kind: ProviderKind,
    model: &str,
    body: &str,
    fitted: PutsRight,
) -> Option<(String, Vec<&'static str>)> {
    let facts = Facts::bundled();
    let target = Target {
        model,
        facts: facts.find(kind, model),
        provider: ProviderProfile::of_kind("p", kind),
        stream: false,
    };
    let (body, dropped) = fitted(body.as_bytes(), &target)?;
    Some((String::from_utf8(body).unwrap(), dropped.fields().to_vec()))
}
