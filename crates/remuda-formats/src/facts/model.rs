//! The facts about one model.

use chrono::NaiveDate;
use serde::Deserialize;

use super::price::Price;
use super::reasoning::{EffortLevel, Reasoning, ReasoningSetting};
use crate::ir::Thinking;

/// A field of a request, or a use of one, that a model may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameter {
    /// Any temperature but 1.
    Temperature,
    TopP,
    TopK,
    PresencePenalty,
    FrequencyPenalty,
    /// `logprobs` and `top_logprobs`.
    Logprobs,
    Stop,
    Seed,
    LogitBias,
    ParallelToolCalls,
    /// The limit by its old name; `max_completion_tokens` is taken.
    MaxTokens,
    /// A conversation that ends with the assistant's words, to be continued.
    Prefill,
    /// A tool choice of `required`, or of one tool.
    ForcedToolChoice,
    /// A system prompt of its own: its text goes before the user's first.
    System,
    /// More than one answer.
    N,
    /// The fields `prediction` and `audio` of OpenAI.
    Prediction,
    Audio,
    /// JSON, or a schema, asked for beside tools.
    FormatWithTools,
    /// JSON Schema beyond the subset that OpenAPI 3.0 knows.
    FullJsonSchema,
    /// Calls in the history without the signature that they came with (Gemini's `thoughtSignature`).
    UnsignedCalls,
    /// Bedrock's `cachePoint`: anywhere, after tools, or for an hour.
    CachePoints,
    ToolCachePoints,
    CacheHour,
}

/// What a model can do, as Ollama's `capabilities` name it, and what Ollama has no word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    Completion,
    Tools,
    Insert,
    Vision,
    Embedding,
    Thinking,
    Image,
    Audio,
    JsonSchema,
    /// Words of the system amid the conversation, at Anthropic.
    SystemTurns,
}

impl Capability {
    pub const ALL: [Capability; 10] = [
        Capability::Completion,
        Capability::Tools,
        Capability::Insert,
        Capability::Vision,
        Capability::Embedding,
        Capability::Thinking,
        Capability::Image,
        Capability::Audio,
        Capability::JsonSchema,
        Capability::SystemTurns,
    ];

    /// Returns how Ollama names it in `capabilities`; `None` for what Ollama has no word for.
    pub fn ollama_name(self) -> Option<&'static str> {
        match self {
            Capability::Completion => Some("completion"),
            Capability::Tools => Some("tools"),
            Capability::Insert => Some("insert"),
            Capability::Vision => Some("vision"),
            Capability::Embedding => Some("embedding"),
            Capability::Thinking => Some("thinking"),
            Capability::Image => Some("image"),
            Capability::Audio => Some("audio"),
            Capability::JsonSchema | Capability::SystemTurns => None,
        }
    }
}

/// What OpenAI's and Azure's `/v1/chat/completions` takes for a model; `/v1/responses` takes the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatCompletions {
    #[default]
    All,
    /// No function tools while the model reasons.
    NoToolsWhileReasoning,
    Never,
}

/// Whether `temperature` and `top_p` may stand together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingRule {
    #[default]
    Any,
    OneOfTemperatureAndTopP,
}

/// The vectors of an embedding model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingFacts {
    /// Numbers in a vector when nothing is said.
    pub dimensions: u32,
    /// The lengths that may be asked for, where they are a few.
    #[serde(default)]
    pub choices: Vec<u32>,
    /// Whether any shorter length may be asked for.
    #[serde(default)]
    pub reducible: bool,
    /// Texts in one call.
    pub batch: Option<u32>,
}

impl EmbeddingFacts {
    /// Returns whether vectors of this length can be had.
    pub fn allows(&self, dimensions: u32) -> bool {
        dimensions == self.dimensions
            || self.choices.contains(&dimensions)
            || (self.reducible && (1..=self.dimensions).contains(&dimensions))
    }
}

/// What is known of a model. The default is an unknown one: nothing is refused, everything is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// `claude`, `gpt`, `gemini`, …; empty if unknown.
    pub family: Box<str>,
    /// Prompt tokens at most.
    pub context: Option<u64>,
    /// Tokens of an answer at most, thinking included.
    pub max_output: Option<u64>,
    /// `None`: not known, so taken to be possible.
    pub capabilities: Option<Vec<Capability>>,
    pub refused: Vec<Parameter>,
    pub refused_while_reasoning: Vec<Parameter>,
    pub reasoning: Reasoning,
    pub chat_completions: ChatCompletions,
    pub sampling: SamplingRule,
    pub embeddings: Option<EmbeddingFacts>,
    pub price: Option<Price>,
    /// The day from which on the provider no longer serves it.
    pub retires: Option<NaiveDate>,
}

impl Default for ModelFacts {
    fn default() -> ModelFacts {
        ModelFacts {
            family: "".into(),
            context: None,
            max_output: None,
            capabilities: None,
            refused: Vec::new(),
            refused_while_reasoning: Vec::new(),
            reasoning: Reasoning::default(),
            chat_completions: ChatCompletions::All,
            sampling: SamplingRule::Any,
            embeddings: None,
            price: None,
            retires: None,
        }
    }
}

impl ModelFacts {
    /// Returns whether the model can do this, as far as is known.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities
            .as_ref()
            .is_none_or(|known| known.contains(&capability))
    }

    /// Returns whether the model is known to do this.
    pub fn surely_can(&self, capability: Capability) -> bool {
        self.capabilities.is_some() && self.can(capability)
    }

    /// Returns what to say of reasoning; see [`Reasoning::ask`].
    pub fn ask(&self, wanted: Option<Thinking>) -> ReasoningSetting {
        self.reasoning.ask(wanted)
    }

    /// Returns whether the provider answers 400 to `parameter` in a request that says `ask` of reasoning.
    pub fn refuses(&self, parameter: Parameter, ask: ReasoningSetting) -> bool {
        self.refused.contains(&parameter)
            || (self.refused_while_reasoning.contains(&parameter) && self.reasoning.is_on(ask))
    }

    /// Returns whether OpenAI or Azure serve this request by `/v1/responses` alone.
    pub fn needs_responses(&self, has_tools: bool, ask: ReasoningSetting) -> bool {
        match self.chat_completions {
            ChatCompletions::All => false,
            ChatCompletions::NoToolsWhileReasoning => has_tools && self.reasoning.is_on(ask),
            ChatCompletions::Never => true,
        }
    }

    /// Returns the level to send, as [`Reasoning::effort_for`] says.
    pub fn effort_for(&self, wanted: EffortLevel) -> Option<EffortLevel> {
        self.reasoning.effort_for(wanted)
    }

    /// Returns the tokens to send, as [`Reasoning::budget_for`] says.
    pub fn budget_for(&self, wanted: EffortLevel) -> Option<u32> {
        self.reasoning.budget_for(wanted)
    }
}
