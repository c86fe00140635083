//! How the servers with this API differ, as values: which fields they take, and under which names.

use crate::dialect::call_ids::CallIds;
use crate::dialect::exchange::Target;
use crate::facts::{Parameter, ReasoningControl};
use crate::provider::{ProviderKind, SamplingFields};

/// What one target takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    /// The field that bounds the answer.
    pub(super) limit: &'static str,
    /// The role of instructions.
    pub(super) system: &'static str,
    /// Instructions only as the first message: many chat templates take them nowhere else.
    pub(super) one_system: bool,
    /// The content of an assistant's turn that only calls tools, as JSON.
    pub(super) no_content: &'static str,
    /// Stop strings at most.
    pub(super) stops: usize,
    pub(super) extras: &'static Extras,
    pub(super) reasoning: Reasoning,
    pub(super) replay: Replay,
    /// `stream_options`; without it usage comes anyway.
    pub(super) usage_option: bool,
    pub(super) user: bool,
    /// PDF files.
    pub(super) files: bool,
    /// Tools that take plain text.
    pub(super) customs: bool,
    pub(super) ids: CallIds,
    pub(super) caching: Caching,
}

/// Who sees to it that a prompt is not read anew with every turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caching {
    /// The provider, whatever it is told.
    Itself,
    /// The client, by `cache_control`.
    Marked,
    /// Nobody, as far as is known.
    Unknown,
}

/// Sampling fields beyond OpenAI's.
#[derive(Debug)]
pub(super) struct Extras {
    /// The value that switches it off; Ollama's is 0.
    pub(super) top_k_off: Option<i64>,
    pub(super) min_p: bool,
    pub(super) typical_p: bool,
    pub(super) repeat_penalty: Option<&'static str>,
    pub(super) repeat_last_n: bool,
}

/// How a model is told to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reasoning {
    /// `reasoning_effort`.
    Effort,
    /// The field is OpenRouter's `reasoning`.
    Object,
    /// The field is DeepSeek's `thinking`.
    Switch,
    /// An argument of the chat template; `field`: the effort stands in `reasoning_effort` as well.
    Template { field: bool },
}

/// How an assistant's turn in the history says what it thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replay {
    Never,
    /// `reasoning_content`, in every turn while the model reasons (DeepSeek answers 400 otherwise).
    Required,
    /// `reasoning_content`, and `reasoning`, its name in vLLM from 2026 on.
    BothNames,
    /// `reasoning_content`.
    OldName,
    /// OpenRouter's `reasoning_details`, with signatures.
    Details,
}

const STANDARD: Extras = Extras {
    top_k_off: None,
    min_p: false,
    typical_p: false,
    repeat_penalty: None,
    repeat_last_n: false,
};

const VLLM: Extras = Extras {
    top_k_off: Some(-1),
    min_p: true,
    repeat_penalty: Some("repetition_penalty"),
    ..STANDARD
};

const OPENROUTER: Extras = Extras {
    top_k_off: Some(0),
    ..VLLM
};

const LLAMA_CPP: Extras = Extras {
    top_k_off: Some(0),
    min_p: true,
    typical_p: true,
    repeat_penalty: Some("repeat_penalty"),
    repeat_last_n: true,
};

/// OpenAI itself.
const OPENAI: Ways = Ways {
    limit: "max_completion_tokens",
    system: "system",
    one_system: false,
    no_content: "null",
    stops: 4,
    extras: &STANDARD,
    reasoning: Reasoning::Effort,
    replay: Replay::Never,
    usage_option: true,
    user: true,
    files: true,
    caching: Caching::Itself,
    customs: true,
    ids: CallIds::Plain(40),
};

/// A server of which nothing more is known.
const COMPATIBLE: Ways = Ways {
    limit: "max_tokens",
    one_system: true,
    no_content: "\"\"",
    // Some refuse fields that they do not know, and none needs it.
    user: false,
    files: false,
    caching: Caching::Unknown,
    customs: false,
    ..OPENAI
};

/// The first of Azure's dated versions that takes `max_completion_tokens`.
const AZURE_NEW_LIMIT: &str = "2024-09";

impl Ways {
    pub(super) fn of(target: &Target<'_>) -> Ways {
        let provider = target.provider;
        let form = target.facts.reasoning.form;
        let ways = match provider.kind {
            ProviderKind::OpenAi => openai(form),
            ProviderKind::Azure => Ways {
                limit: match provider.api_version {
                    Some(version) if version < AZURE_NEW_LIMIT => "max_tokens",
                    _ => OPENAI.limit,
                },
                ..openai(form)
            },
            ProviderKind::OpenRouter => Ways {
                limit: "max_tokens",
                extras: &OPENROUTER,
                reasoning: Reasoning::Object,
                replay: Replay::Details,
                usage_option: false,
                caching: Caching::Marked,
                // Most of its models know functions alone.
                customs: false,
                ..OPENAI
            },
            _ => Ways {
                caching: caching(provider.sampling, &target.facts.family),
                ..compatible(provider.sampling, form)
            },
        };
        Ways {
            limit: if target.facts.refused.contains(&Parameter::MaxTokens) {
                OPENAI.limit
            } else {
                ways.limit
            },
            ids: if provider.is_mistral {
                CallIds::Nine
            } else {
                ways.ids
            },
            ..ways
        }
    }
}

/// Models that reason take instructions from the developer, not from the system.
fn openai(form: ReasoningControl) -> Ways {
    Ways {
        system: match form {
            ReasoningControl::Effort => "developer",
            _ => OPENAI.system,
        },
        ..OPENAI
    }
}

/// Returns who keeps the prompts. vLLM and llama.cpp keep prompts by themselves, and so do the makers of these models,
/// whoever is asked in their place.
fn caching(sampling: SamplingFields, family: &str) -> Caching {
    match (sampling, family) {
        (SamplingFields::Vllm | SamplingFields::LlamaCpp, _) => Caching::Itself,
        (SamplingFields::Standard, "claude") => Caching::Marked,
        (SamplingFields::Standard, "gpt" | "o" | "gemini" | "deepseek") => Caching::Itself,
        (SamplingFields::Standard, _) => COMPATIBLE.caching,
    }
}

fn compatible(sampling: SamplingFields, form: ReasoningControl) -> Ways {
    match (sampling, form) {
        (SamplingFields::Vllm, _) => Ways {
            stops: usize::MAX,
            extras: &VLLM,
            reasoning: Reasoning::Template { field: true },
            replay: Replay::BothNames,
            user: true,
            ..COMPATIBLE
        },
        (SamplingFields::LlamaCpp, _) => Ways {
            stops: usize::MAX,
            extras: &LLAMA_CPP,
            reasoning: Reasoning::Template { field: false },
            replay: Replay::OldName,
            ..COMPATIBLE
        },
        (SamplingFields::Standard, ReasoningControl::Switch) => Ways {
            reasoning: Reasoning::Switch,
            replay: Replay::Required,
            ..COMPATIBLE
        },
        (SamplingFields::Standard, _) => COMPATIBLE,
    }
}
