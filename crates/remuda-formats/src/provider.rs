//! What of a provider a request in its format depends on.

/// What a format needs to know of the provider that a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct ProviderProfile<'a> {
    /// The operator's name for it, which errors tell.
    pub name: &'a str,
    pub kind: ProviderKind,
    pub chat_api: ChatApi,
    pub sampling: SamplingFields,
    /// The version of Azure's API: with it, deployments are addressed in the path; without, the v1 form is used.
    pub api_version: Option<&'a str>,
    /// The context of an Ollama server, in tokens, that models are loaded with when a request comes from another
    /// format. `None` leaves it to the server.
    pub num_ctx: Option<u32>,
    pub copy: CopyEdits,
    /// Whether it is Mistral's own service, which takes only ids of calls that have nine letters.
    pub is_mistral: bool,
}

impl<'a> ProviderProfile<'a> {
    /// Returns the profile of a provider for which nothing was configured but its name and kind.
    pub fn of_kind(name: &'a str, kind: ProviderKind) -> ProviderProfile<'a> {
        ProviderProfile {
            name,
            kind,
            chat_api: ChatApi::Auto,
            sampling: SamplingFields::Standard,
            api_version: None,
            num_ctx: None,
            copy: CopyEdits::default(),
            is_mistral: false,
        }
    }
}

/// What is changed in a request to an Ollama server so that the copy in its memory serves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyEdits {
    /// The copy's context; `None` leaves what the client says.
    pub context: Option<u32>,
    /// Whether the options that make a server load the model anew are left out.
    pub pins: bool,
    /// Whether the server is kept from shortening the prompt.
    pub whole: bool,
}

/// The wire format and the ways of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProviderKind {
    Ollama,
    OpenAi,
    /// Any server with OpenAI's chat API: vLLM, llama.cpp, LM Studio, Groq, DeepSeek, …
    OpenAiCompatible,
    Anthropic,
    Google,
    Azure,
    Bedrock,
    OpenRouter,
    Perplexity,
}

impl ProviderKind {
    /// Every kind, as the configuration names it.
    pub const NAMES: &'static [(&'static str, ProviderKind)] = &[
        ("ollama", ProviderKind::Ollama),
        ("openai", ProviderKind::OpenAi),
        ("openai_compatible", ProviderKind::OpenAiCompatible),
        ("anthropic", ProviderKind::Anthropic),
        ("google", ProviderKind::Google),
        ("azure", ProviderKind::Azure),
        ("bedrock", ProviderKind::Bedrock),
        ("openrouter", ProviderKind::OpenRouter),
        ("perplexity", ProviderKind::Perplexity),
    ];

    /// Returns the kind as the configuration names it.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    /// Returns whether its backends are servers of a fleet, with models in memory and slots to wait for, rather than
    /// one service that looks after itself.
    pub fn is_fleet(self) -> bool {
        self == ProviderKind::Ollama
    }
}

/// Which of OpenAI's two chat APIs a provider is asked by, where the client's format leaves the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatApi {
    /// Chat completions, and the Responses API where the model's facts ask for it (default).
    Auto,
    Chat,
    Responses,
}

/// Which sampling fields beyond OpenAI's own a compatible server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingFields {
    /// OpenAI's only (default): many servers refuse others.
    Standard,
    /// `top_k`, `min_p`, `repetition_penalty` (vLLM, OpenRouter, Together).
    Vllm,
    /// `top_k`, `min_p`, `typical_p`, `repeat_penalty`, `repeat_last_n` (llama.cpp).
    LlamaCpp,
}
