//! What a chat asks for, whatever format it was asked in.

use std::borrow::Cow;

use super::{CacheTtl, Image, Json, SpecialTool, Text};

/// A request for a chat completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest<'a> {
    pub stream: bool,
    /// OpenAI's `stream_options.include_usage`.
    pub include_usage: bool,
    /// The turns in order. System messages stand where the client put them: those before all others are the system
    /// prompt.
    pub messages: Vec<Message<'a>>,
    /// Set when the client asked for the continuation of a text (`/api/generate`, `/v1/completions`); `messages` then
    /// say the same as a chat, for providers that know only chats.
    pub completion: Option<Completion<'a>>,
    pub tools: Vec<Tool<'a>>,
    /// Those of `tools` that the client knows by more than their name.
    pub special: Vec<SpecialTool<'a>>,
    pub tool_choice: ToolChoice<'a>,
    /// Whether several calls may come in one turn; `None` is the provider's default.
    pub parallel_tool_calls: Option<bool>,
    /// Tokens of the answer at most.
    pub max_tokens: Option<u64>,
    pub sampling: Sampling<'a>,
    pub stop: Vec<Text<'a>>,
    pub format: Format<'a>,
    pub thinking: Option<Thinking>,
    /// Log probabilities are wanted, with so many alternatives for each token.
    pub logprobs: Option<u8>,
    /// OpenAI's form of 2023: offered as `functions`, called as the one `function_call` of an answer.
    pub functions: bool,
    /// Answers that are wanted to the same question (OpenAI's `n`), if more than one.
    pub answers: Option<u32>,
    /// Who the client's own user is (OpenAI `user`, Anthropic `metadata.user_id`).
    pub user: Option<Text<'a>>,
    /// Anthropic's `cache_control` of the whole request: a breakpoint at the end of what it is then.
    pub cache: Option<CacheTtl>,
    pub serving: Serving<'a>,
    /// What only an Ollama server can do.
    pub local: Local<'a>,
    /// Fields of the client's format that this model has no place for, and that change what the answer is.
    pub dropped: Dropped,
}

/// How a request is to be served, kept and counted: what OpenAI's APIs say apart from the question itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Serving<'a> {
    /// The tier in OpenAI's words: `auto`, `default`, `flex`, `priority`, …
    pub tier: Option<Text<'a>>,
    pub cache_key: Option<Text<'a>>,
    pub cache_retention: Option<Text<'a>>,
    pub cache_options: Option<Json<'a>>,
    /// An object of strings.
    pub metadata: Option<Json<'a>>,
    /// Who the client's own user is, for the provider's watch over misuse.
    pub safety_identifier: Option<Text<'a>>,
    pub store: Option<bool>,
    /// How wordy the answer is to be: `low`, `medium` or `high`.
    pub verbosity: Option<Text<'a>>,
}

/// What concerns Ollama's servers alone: how long a model stays in memory, how it is loaded, and what becomes of a
/// prompt that is too long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Local<'a> {
    pub keep_alive: Option<Json<'a>>,
    pub truncate: Option<bool>,
    pub shift: Option<bool>,
    /// Those of Ollama's `options` that are no [`Sampling`], by their names.
    pub options: Vec<(Text<'a>, Json<'a>)>,
}

impl<'a> Local<'a> {
    /// Adds an option, unless it is there.
    pub fn option(&mut self, name: Text<'a>, value: Json<'a>) {
        if !self.options.iter().any(|(known, _)| *known == name) {
            self.options.push((name, value));
        }
    }

    /// Takes over what is not said yet.
    pub fn complete(&mut self, other: Local<'a>) {
        self.keep_alive = self.keep_alive.take().or(other.keep_alive);
        self.truncate = self.truncate.or(other.truncate);
        self.shift = self.shift.or(other.shift);
        for (name, value) in other.options {
            self.option(name, value);
        }
    }

    /// Names what is said, for a provider that can do none of it.
    pub fn name_in(&self, dropped: &mut Dropped) {
        dropped.add_if(self.keep_alive.is_some(), "keep_alive");
        dropped.add_if(self.truncate.is_some(), "truncate");
        dropped.add_if(self.shift.is_some(), "shift");
        for (name, _) in &self.options {
            dropped.add(match name.as_escaped() {
                "num_ctx" => "num_ctx",
                _ => "options",
            });
        }
    }
}

/// The raw form of a text completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion<'a> {
    pub prompt: Text<'a>,
    /// What comes after the gap that the model fills.
    pub suffix: Option<Text<'a>>,
    pub system: Option<Text<'a>>,
    /// The prompt is given to the model without a chat template.
    pub raw: bool,
    /// Ollama's template in place of the model's own.
    pub template: Option<Text<'a>>,
    /// OpenAI's `echo`: the answer begins with the prompt.
    pub echo: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    /// The user, who also says what tools answered: see [`Part::ToolResult`].
    User,
    Assistant,
}

/// One turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    pub role: Role,
    pub parts: Vec<Part<'a>>,
    /// The name of a participant, as OpenAI's `name` has it.
    pub name: Option<Text<'a>>,
    /// Where each of its thoughts stood, as far as they say so; see [`super::place_thoughts`].
    pub places: Vec<Option<ThoughtPlace>>,
}

impl<'a> Message<'a> {
    pub fn new(role: Role, parts: Vec<Part<'a>>) -> Self {
        Message {
            role,
            parts,
            name: None,
            places: Vec::new(),
        }
    }
}

/// Where a thought stood in its turn: what of the turn came before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThoughtPlace {
    /// The length of the words before it, in characters.
    pub text: usize,
    pub calls: usize,
}

/// A piece of a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'a> {
    Text(Text<'a>),
    /// An image, which a user's turn has.
    Image(Image<'a>),
    /// A document, which a user's turn has.
    Document(Document<'a>),
    /// A thought, which an assistant's turn has.
    Thought(Thought<'a>),
    /// A call, which an assistant's turn has.
    ToolCall(ToolCall<'a>),
    /// A tool's result, which a user's turn has before its text.
    ToolResult(ToolResult<'a>),
    /// The prompt up to here is to be kept; belongs to the part before it.
    Breakpoint(CacheTtl),
}

impl Part<'_> {
    pub fn is_breakpoint(&self) -> bool {
        matches!(self, Part::Breakpoint(_))
    }
}

/// A file or a recording; few providers take one.
#[derive(Clone, Debug, PartialEq)]
pub struct Document<'a> {
    pub name: Option<Text<'a>>,
    /// Such as `application/pdf`, `text/plain`, `audio/wav`.
    pub media_type: Cow<'a, str>,
    /// Standard base64 with padding.
    pub data: Cow<'a, str>,
}

/// Reasoning in an assistant's turn, in its place among what was said and called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thought<'a> {
    /// Empty where the provider shows none.
    pub text: Text<'a>,
    /// What the provider needs to believe the text: Anthropic's and Bedrock's `signature`, Gemini's `thoughtSignature`,
    /// OpenAI's `encrypted_content`. Only the provider that made it understands it.
    pub signature: Option<Text<'a>>,
    /// Anthropic's `redacted_thinking`: `signature` holds its data and there is no text.
    pub redacted: bool,
    /// The id of a `reasoning` item of OpenAI's.
    pub id: Option<Text<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall<'a> {
    /// `None` where the format gives none; [`super::pair_tool_results`] makes one.
    pub id: Option<Text<'a>>,
    pub name: Text<'a>,
    /// An object, always.
    pub arguments: Json<'a>,
    /// Gemini's `thoughtSignature` of this call.
    pub signature: Option<Text<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult<'a> {
    pub id: Option<Text<'a>>,
    pub name: Option<Text<'a>>,
    /// Text and images.
    pub parts: Vec<Part<'a>>,
    pub is_error: bool,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool<'a> {
    pub name: Text<'a>,
    pub description: Option<Text<'a>>,
    /// JSON Schema of an object.
    pub parameters: Option<Json<'a>>,
    pub strict: Option<bool>,
    /// A breakpoint after this tool.
    pub cache: Option<CacheTtl>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    #[default]
    Auto,
    None,
    /// Some tool must be called.
    Required,
    /// This tool must be called.
    Named(Text<'a>),
}

/// How tokens are chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling<'a> {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub typical_p: Option<f64>,
    pub repeat_penalty: Option<f64>,
    pub repeat_last_n: Option<i64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub logit_bias: Option<Json<'a>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format<'a> {
    #[default]
    Text,
    /// Any JSON object.
    Json,
    Schema {
        name: Option<Text<'a>>,
        description: Option<Text<'a>>,
        schema: Json<'a>,
        strict: Option<bool>,
    },
}

/// Whether the model is to reason before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    Off,
    /// The model thinks as much as the provider sees fit.
    On,
    Effort(Effort),
    /// The model thinks for so many tokens.
    Budget(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    /// Returns the level as OpenAI spells it.
    pub fn name(self) -> &'static str {
        match self {
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// Returns the level that a format names; `none` is no level.
    pub fn named(name: &str) -> Option<Effort> {
        [
            Effort::Minimal,
            Effort::Low,
            Effort::Medium,
            Effort::High,
            Effort::XHigh,
            Effort::Max,
        ]
        .into_iter()
        .find(|effort| effort.name() == name)
    }
}

/// Names of request fields that were left out, for `X-Remuda-Dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(Vec<&'static str>);

impl Dropped {
    /// Notes a field, once.
    pub fn add(&mut self, field: &'static str) {
        if !self.0.contains(&field) {
            self.0.push(field);
        }
    }

    /// Notes a field if the request has it.
    pub fn add_if(&mut self, has: bool, field: &'static str) {
        if has {
            self.add(field);
        }
    }

    pub fn merge(&mut self, other: &Dropped) {
        for field in &other.0 {
            self.add(field);
        }
    }

    pub fn fields(&self) -> &[&'static str] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A request that cannot be read, or that cannot be said in another format. The client gets 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// What is wrong and what to do; holds nothing of the prompt.
    pub text: Cow<'static, str>,
    /// The field, where it is one, for OpenAI's `param`.
    pub param: Option<&'static str>,
}

impl Refused {
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Refused {
            text: text.into(),
            param: None,
        }
    }

    pub fn field(param: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Refused {
            text: text.into(),
            param: Some(param),
        }
    }
}
