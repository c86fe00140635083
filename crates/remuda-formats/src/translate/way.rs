//! Whether a request can go to a provider as it is, and in which of the provider's formats if not.

use super::forms::{ClientForm, ProviderForm};
use crate::client::Operation;
use crate::facts::{Capability, ChatCompletions, ModelFacts};
use crate::ir::Refused;
use crate::provider::{ChatApi, ProviderKind, ProviderProfile};

/// How a request is brought to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The provider speaks the client's format: bytes pass untouched, but for the model's name.
    Same,
    /// Through the neutral model.
    Across(ClientForm, ProviderForm),
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub operation: Operation,
    pub provider: ProviderProfile<'a>,
    pub facts: &'a ModelFacts,
    /// The request offers tools.
    pub tools: bool,
    /// Text is to be continued or filled in rather than answered: `raw`, `suffix`, a template.
    pub raw: bool,
}

/// Returns the way to this provider.
///
/// # Errors
/// If the provider has nothing of the kind.
pub fn way(question: &Question<'_>) -> Result<Way, Refused> {
    let Question {
        operation,
        provider,
        ..
    } = *question;
    if is_native(question) {
        return Ok(Way::Same);
    }
    let Some(client) = ClientForm::of(operation) else {
        return Err(Refused::new(format!(
            "{} is not available from provider {}, which is of kind {}",
            operation.name(),
            provider.name,
            provider.kind.name()
        )));
    };
    let form = if client.embeds() {
        embedding_form(provider.kind)
    } else {
        chat_form(question, client)
    };
    form.map(|form| Way::Across(client, form)).ok_or_else(|| {
        Refused::new(format!(
            "provider {} has no embeddings; send this to a model of another provider",
            provider.name
        ))
    })
}

/// Returns whether the provider serves the operation itself, in the client's own format.
fn is_native(question: &Question<'_>) -> bool {
    use Operation::*;
    let operation = question.operation;
    match question.provider.kind {
        ProviderKind::Ollama => matches!(
            operation,
            Chat | Generate
                | Embed
                | Embeddings
                | OpenAiImages
                | OpenAiImageEdits
                | AudioTranscriptions
        ),
        ProviderKind::OpenAi | ProviderKind::Azure => match operation {
            OpenAiChat => !wants_responses(question),
            OpenAiResponses => question.provider.chat_api != ChatApi::Chat,
            OpenAiCompletions => completes(question),
            OpenAiEmbeddings | OpenAiImages | OpenAiImageEdits | AudioTranscriptions => true,
            _ => false,
        },
        ProviderKind::OpenAiCompatible => match operation {
            OpenAiChat => question.provider.chat_api != ChatApi::Responses,
            OpenAiResponses => question.provider.chat_api == ChatApi::Responses,
            OpenAiCompletions | OpenAiEmbeddings | OpenAiImages | OpenAiImageEdits
            | AudioTranscriptions => true,
            _ => false,
        },
        ProviderKind::OpenRouter => {
            matches!(operation, OpenAiChat | OpenAiEmbeddings)
        }
        ProviderKind::Anthropic => matches!(operation, AnthropicMessages | AnthropicCountTokens),
        // Perplexity's Responses API refuses any field that it does not know, so nothing passes unread.
        ProviderKind::Perplexity | ProviderKind::Google | ProviderKind::Bedrock => false,
    }
}

/// Returns whether the model is known to continue texts; OpenAI's others answer chats only.
fn completes(question: &Question<'_>) -> bool {
    question.facts.capabilities.is_some() && question.facts.can(Capability::Insert)
}

fn wants_responses(question: &Question<'_>) -> bool {
    match question.provider.chat_api {
        ChatApi::Chat => false,
        ChatApi::Responses => true,
        ChatApi::Auto => match question.facts.chat_completions {
            ChatCompletions::All => false,
            ChatCompletions::NoToolsWhileReasoning => question.tools,
            ChatCompletions::Never => true,
        },
    }
}

fn chat_form(question: &Question<'_>, client: ClientForm) -> Option<ProviderForm> {
    let continues = question.raw || client == ClientForm::OpenAiCompletions;
    Some(match question.provider.kind {
        ProviderKind::Ollama if continues => ProviderForm::OllamaGenerate,
        ProviderKind::Ollama => ProviderForm::OllamaChat,
        ProviderKind::OpenAiCompatible if question.raw => ProviderForm::OpenAiCompletions,
        ProviderKind::OpenAi | ProviderKind::Azure if question.raw && completes(question) => {
            ProviderForm::OpenAiCompletions
        }
        ProviderKind::OpenAi | ProviderKind::Azure if wants_responses(question) => {
            ProviderForm::OpenAiResponses
        }
        ProviderKind::OpenAiCompatible if question.provider.chat_api == ChatApi::Responses => {
            ProviderForm::OpenAiResponses
        }
        ProviderKind::OpenAi
        | ProviderKind::Azure
        | ProviderKind::OpenAiCompatible
        | ProviderKind::OpenRouter => ProviderForm::OpenAiChat,
        ProviderKind::Perplexity => ProviderForm::OpenAiResponses,
        ProviderKind::Anthropic => ProviderForm::AnthropicMessages,
        ProviderKind::Google => ProviderForm::GoogleContent,
        ProviderKind::Bedrock => ProviderForm::BedrockConverse,
    })
}

fn embedding_form(kind: ProviderKind) -> Option<ProviderForm> {
    match kind {
        ProviderKind::Ollama => Some(ProviderForm::OllamaEmbed),
        ProviderKind::OpenAi
        | ProviderKind::Azure
        | ProviderKind::OpenAiCompatible
        | ProviderKind::OpenRouter => Some(ProviderForm::OpenAiEmbeddings),
        ProviderKind::Google => Some(ProviderForm::GoogleEmbed),
        ProviderKind::Bedrock => Some(ProviderForm::BedrockEmbed),
        ProviderKind::Anthropic | ProviderKind::Perplexity => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;

    fn question(operation: Operation, kind: ProviderKind, model: &str, tools: bool) -> Way {
        let facts = Facts::bundled();
        let provider = ProviderProfile::of_kind("p", kind);
        let question = Question {
            operation,
            provider,
            facts: facts.find(kind, model),
            tools,
            raw: false,
        };
        way(&question).unwrap()
    }

    /// Ollama's `/v1` swallows errors amid a stream, and reads neither `max_completion_tokens` nor `tool_choice`
    /// (`openai/` and `middleware/` in https://github.com/ollama/ollama).
    #[test]
    fn ollama_is_asked_in_its_own_format() {
        use Operation::*;
        for operation in [OpenAiChat, OpenAiResponses, AnthropicMessages] {
            let way = question(operation, ProviderKind::Ollama, "llama3.2", true);
            assert!(
                matches!(way, Way::Across(_, ProviderForm::OllamaChat)),
                "{way:?}"
            );
        }
        let completions = question(OpenAiCompletions, ProviderKind::Ollama, "llama3.2", false);
        assert!(matches!(
            completions,
            Way::Across(_, ProviderForm::OllamaGenerate)
        ));
        let embeddings = question(OpenAiEmbeddings, ProviderKind::Ollama, "llama3.2", false);
        assert!(matches!(
            embeddings,
            Way::Across(_, ProviderForm::OllamaEmbed)
        ));
        for operation in [Chat, Generate, Embed, Embeddings] {
            let way = question(operation, ProviderKind::Ollama, "llama3.2", true);
            assert_eq!(way, Way::Same);
        }
    }

    /// From GPT-5.4 on, a model that reasons takes tools by the Responses API only, which `conf/models.yaml` states as
    /// `no_tools_while_reasoning`.
    #[test]
    fn tools_of_models_that_reason_go_to_responses() {
        use Operation::{AnthropicMessages, OpenAiChat};
        for (model, tools, responses) in [
            ("gpt-4.1", true, false),
            ("gpt-5", true, false),
            ("gpt-5.4", false, false),
            ("gpt-5.4", true, true),
            ("gpt-6-astra", true, true),
        ] {
            let chat = question(OpenAiChat, ProviderKind::OpenAi, model, tools);
            assert_eq!(chat != Way::Same, responses, "{model} {chat:?}");
            let form = if responses {
                ProviderForm::OpenAiResponses
            } else {
                ProviderForm::OpenAiChat
            };
            let messages = question(AnthropicMessages, ProviderKind::OpenAi, model, tools);
            assert_eq!(
                messages,
                Way::Across(ClientForm::AnthropicMessages, form),
                "{model}"
            );
        }
        // Others' servers have chats, whatever their models are called.
        let other = question(OpenAiChat, ProviderKind::OpenAiCompatible, "gpt-5.4", true);
        assert_eq!(other, Way::Same);
    }

    /// Perplexity takes no unknown field, and searches unless it is told not to, so it is asked by its Responses API
    /// only (maximhq/bifrost#7236).
    #[test]
    fn perplexity_is_asked_by_responses_alone() {
        use Operation::*;
        for operation in [
            Chat,
            Generate,
            OpenAiChat,
            OpenAiResponses,
            AnthropicMessages,
        ] {
            let way = question(
                operation,
                ProviderKind::Perplexity,
                "perplexity/sonar",
                false,
            );
            assert!(
                matches!(way, Way::Across(_, ProviderForm::OpenAiResponses)),
                "{way:?}"
            );
        }
    }
}
