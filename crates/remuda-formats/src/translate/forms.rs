//! The one table of formats: which functions of which dialect read and write each.

use std::borrow::Cow;

use http::HeaderMap;

use crate::dialect::exchange::{ProviderRequest, Reply, Target};
use crate::dialect::ollama::Operation;
use crate::dialect::{anthropic, bedrock, google, ollama, openai};
use crate::ir::{
    ChatRequest, Decode, EmbedRequest, Embeddings, Encode, Event, Fault, FaultKind, Refused,
    Response, ToolNames, Usage,
};
use crate::wire::json::tidied;
use crate::wire::units::StreamUnit;

/// A format that clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientForm {
    OllamaChat,
    OllamaGenerate,
    OllamaEmbed,
    OllamaEmbeddings,
    OpenAiChat,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiResponses,
    AnthropicMessages,
}

/// A format that providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderForm {
    OllamaChat,
    OllamaGenerate,
    OllamaEmbed,
    OpenAiChat,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiResponses,
    AnthropicMessages,
    GoogleContent,
    GoogleEmbed,
    BedrockConverse,
    BedrockEmbed,
}

impl ClientForm {
    /// `None` for operations that are never translated.
    pub fn of(operation: Operation) -> Option<Self> {
        Some(match operation {
            Operation::Chat => ClientForm::OllamaChat,
            Operation::Generate => ClientForm::OllamaGenerate,
            Operation::Embed => ClientForm::OllamaEmbed,
            Operation::Embeddings => ClientForm::OllamaEmbeddings,
            Operation::OpenAiChat => ClientForm::OpenAiChat,
            Operation::OpenAiCompletions => ClientForm::OpenAiCompletions,
            Operation::OpenAiEmbeddings => ClientForm::OpenAiEmbeddings,
            Operation::OpenAiResponses => ClientForm::OpenAiResponses,
            Operation::AnthropicMessages => ClientForm::AnthropicMessages,
            _ => return None,
        })
    }

    pub fn embeds(self) -> bool {
        matches!(
            self,
            ClientForm::OllamaEmbed | ClientForm::OllamaEmbeddings | ClientForm::OpenAiEmbeddings
        )
    }

    /// Of the answer.
    pub fn content_type(self, streams: bool) -> &'static str {
        match self {
            _ if !streams => "application/json; charset=utf-8",
            ClientForm::OllamaChat | ClientForm::OllamaGenerate => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }
}

impl ProviderForm {
    /// What its streams are made of, if it is lines of text.
    pub fn unit(self) -> Option<StreamUnit> {
        match self {
            ProviderForm::OllamaChat | ProviderForm::OllamaGenerate => Some(StreamUnit::Line),
            ProviderForm::OpenAiChat
            | ProviderForm::OpenAiCompletions
            | ProviderForm::OpenAiResponses
            | ProviderForm::AnthropicMessages
            | ProviderForm::GoogleContent => Some(StreamUnit::Event),
            _ => None,
        }
    }

    /// Of Ollama's own API.
    pub fn is_ollamas(self) -> bool {
        matches!(
            self,
            ProviderForm::OllamaChat | ProviderForm::OllamaGenerate | ProviderForm::OllamaEmbed
        )
    }
}

pub(super) fn read_chat(client: ClientForm, body: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    match client {
        ClientForm::OllamaChat => ollama::chat::read_chat(body),
        ClientForm::OllamaGenerate => ollama::generate::read_chat(body),
        ClientForm::OpenAiChat => openai::chat::read_chat(body),
        ClientForm::OpenAiCompletions => openai::completions::read_chat(body),
        ClientForm::OpenAiResponses => openai::responses::read_chat(body),
        ClientForm::AnthropicMessages => anthropic::read_chat(body),
        ClientForm::OllamaEmbed | ClientForm::OllamaEmbeddings | ClientForm::OpenAiEmbeddings => {
            Err(Refused::new("embeddings are no chat"))
        }
    }
}

pub(super) fn write_chat(
    form: ProviderForm,
    request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    match form {
        ProviderForm::OllamaChat => ollama::chat::write_chat(request, target),
        ProviderForm::OllamaGenerate => ollama::generate::write_chat(request, target),
        ProviderForm::OpenAiChat => openai::chat::write_chat(request, target),
        ProviderForm::OpenAiCompletions => openai::completions::write_chat(request, target),
        ProviderForm::OpenAiResponses => openai::responses::write_chat(request, target),
        ProviderForm::AnthropicMessages => anthropic::write_chat(request, target),
        ProviderForm::GoogleContent => google::write_chat(request, target),
        ProviderForm::BedrockConverse => bedrock::write_chat(request, target),
        ProviderForm::OllamaEmbed
        | ProviderForm::OpenAiEmbeddings
        | ProviderForm::GoogleEmbed
        | ProviderForm::BedrockEmbed => Err(Refused::new("embeddings are no chat")),
    }
}

/// Reads the streamed answer of a chat.
pub(super) fn decoder(form: ProviderForm, names: ToolNames) -> Box<dyn Decode> {
    match form {
        ProviderForm::OllamaGenerate => ollama::generate::decoder(names),
        ProviderForm::OpenAiChat => openai::chat::decoder(names),
        ProviderForm::OpenAiCompletions => openai::completions::decoder(names),
        ProviderForm::OpenAiResponses => openai::responses::decoder(names),
        ProviderForm::AnthropicMessages => anthropic::decoder(names),
        ProviderForm::GoogleContent => google::decoder(names),
        ProviderForm::BedrockConverse => bedrock::decoder(names),
        // Vectors are never streamed.
        ProviderForm::OllamaChat
        | ProviderForm::OllamaEmbed
        | ProviderForm::OpenAiEmbeddings
        | ProviderForm::GoogleEmbed
        | ProviderForm::BedrockEmbed => ollama::chat::decoder(names),
    }
}

/// Reads the whole answer of a chat. One that cannot be read is read once more as the libraries of clients read it, which
/// take more than is JSON.
pub(super) fn read_whole(
    form: ProviderForm,
    body: &[u8],
    names: &ToolNames,
    emit: &mut dyn FnMut(Event<'_>),
) {
    let (mut told, mut malformed, mut failed) = (false, false, None);
    read_strictly(form, body, names, &mut |event| match event {
        Event::Malformed if !told => malformed = true,
        Event::Failed(fault) if !told && is_unreadable(&fault) => failed = Some(fault.into_owned()),
        event => {
            told = true;
            emit(event);
        }
    });
    let Some(fault) = failed else { return };
    match tidied(body) {
        Some(tidied) => read_strictly(form, &tidied, names, emit),
        None => {
            if malformed {
                emit(Event::Malformed);
            }
            emit(Event::Failed(Cow::Owned(fault)));
        }
    }
}

fn is_unreadable(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Garbled | FaultKind::Incomplete)
}

fn read_strictly(
    form: ProviderForm,
    body: &[u8],
    names: &ToolNames,
    emit: &mut dyn FnMut(Event<'_>),
) {
    match form {
        ProviderForm::OllamaGenerate => ollama::generate::read_whole(body, names, emit),
        ProviderForm::OpenAiChat => openai::chat::read_whole(body, names, emit),
        ProviderForm::OpenAiCompletions => openai::completions::read_whole(body, names, emit),
        ProviderForm::OpenAiResponses => openai::responses::read_whole(body, names, emit),
        ProviderForm::AnthropicMessages => anthropic::read_whole(body, names, emit),
        ProviderForm::GoogleContent => google::read_whole(body, names, emit),
        ProviderForm::BedrockConverse => bedrock::read_whole(body, names, emit),
        ProviderForm::OllamaChat
        | ProviderForm::OllamaEmbed
        | ProviderForm::OpenAiEmbeddings
        | ProviderForm::GoogleEmbed
        | ProviderForm::BedrockEmbed => ollama::chat::read_whole(body, names, emit),
    }
}

/// Writes the streamed answer of a chat.
pub(super) fn encoder(client: ClientForm, reply: Reply) -> Box<dyn Encode> {
    match client {
        ClientForm::OllamaGenerate => ollama::generate::encoder(reply),
        ClientForm::OpenAiChat => openai::chat::encoder(reply),
        ClientForm::OpenAiCompletions => openai::completions::encoder(reply),
        ClientForm::OpenAiResponses => openai::responses::encoder(reply),
        ClientForm::AnthropicMessages => anthropic::encoder(reply),
        ClientForm::OllamaChat
        | ClientForm::OllamaEmbed
        | ClientForm::OllamaEmbeddings
        | ClientForm::OpenAiEmbeddings => ollama::chat::encoder(reply),
    }
}

/// Writes the whole answer of a chat.
pub(super) fn write_whole(
    client: ClientForm,
    response: &Response,
    reply: &Reply,
    out: &mut Vec<u8>,
) {
    match client {
        ClientForm::OllamaGenerate => ollama::generate::write_whole(response, reply, out),
        ClientForm::OpenAiChat => openai::chat::write_whole(response, reply, out),
        ClientForm::OpenAiCompletions => openai::completions::write_whole(response, reply, out),
        ClientForm::OpenAiResponses => openai::responses::write_whole(response, reply, out),
        ClientForm::AnthropicMessages => anthropic::write_whole(response, reply, out),
        ClientForm::OllamaChat
        | ClientForm::OllamaEmbed
        | ClientForm::OllamaEmbeddings
        | ClientForm::OpenAiEmbeddings => ollama::chat::write_whole(response, reply, out),
    }
}

/// The second value: whether the vectors are wanted as base64.
pub(super) fn read_embed(
    client: ClientForm,
    body: &[u8],
) -> Result<(EmbedRequest<'_>, bool), Refused> {
    match client {
        ClientForm::OpenAiEmbeddings => openai::embeddings::read_embed(body),
        ClientForm::OllamaEmbeddings => {
            ollama::embed::read_embed_legacy(body).map(|request| (request, false))
        }
        _ => ollama::embed::read_embed(body).map(|request| (request, false)),
    }
}

pub(super) fn write_embed(
    form: ProviderForm,
    request: EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<ProviderRequest>, Refused> {
    match form {
        ProviderForm::OpenAiEmbeddings => openai::embeddings::write_embed(request, target),
        ProviderForm::GoogleEmbed => google::write_embed(request, target),
        ProviderForm::BedrockEmbed => bedrock::write_embed(request, target),
        _ => ollama::embed::write_embed(request, target),
    }
}

pub(super) fn read_embeddings(
    form: ProviderForm,
    body: &[u8],
    headers: &HeaderMap,
) -> Result<Embeddings, Fault> {
    let read = read_embeddings_strictly(form, body, headers);
    match &read {
        Err(fault) if is_unreadable(fault) => match tidied(body) {
            Some(tidied) => read_embeddings_strictly(form, &tidied, headers),
            None => read,
        },
        _ => read,
    }
}

fn read_embeddings_strictly(
    form: ProviderForm,
    body: &[u8],
    headers: &HeaderMap,
) -> Result<Embeddings, Fault> {
    match form {
        ProviderForm::OpenAiEmbeddings => openai::embeddings::read_embeddings(body, headers),
        ProviderForm::GoogleEmbed => google::read_embeddings(body, headers),
        ProviderForm::BedrockEmbed => bedrock::read_embeddings(body, headers),
        _ => ollama::embed::read_embeddings(body, headers),
    }
}

/// What vectors in OpenAI's format cost, if all are encoded so.
pub(super) fn encoded_as(body: &[u8], base64: bool) -> Option<Usage> {
    openai::embeddings::encoded_as(body, base64)
}

pub(super) fn write_embeddings(
    client: ClientForm,
    embeddings: &Embeddings,
    reply: &Reply,
    out: &mut Vec<u8>,
) {
    match client {
        ClientForm::OpenAiEmbeddings => {
            openai::embeddings::write_embeddings(embeddings, reply, out);
        }
        ClientForm::OllamaEmbeddings => {
            ollama::embed::write_embeddings_legacy(embeddings, reply, out);
        }
        _ => ollama::embed::write_embeddings(embeddings, reply, out),
    }
}

pub use crate::dialect::faults::answered as fault;

/// The form of a chat's answer that passes to clients of the operation; `None` for what is no chat.
pub(super) fn chat_of(operation: Operation) -> Option<ProviderForm> {
    Some(match ClientForm::of(operation)? {
        ClientForm::OllamaChat => ProviderForm::OllamaChat,
        ClientForm::OllamaGenerate => ProviderForm::OllamaGenerate,
        ClientForm::OpenAiChat => ProviderForm::OpenAiChat,
        ClientForm::OpenAiCompletions => ProviderForm::OpenAiCompletions,
        ClientForm::OpenAiResponses => ProviderForm::OpenAiResponses,
        ClientForm::AnthropicMessages => ProviderForm::AnthropicMessages,
        ClientForm::OllamaEmbed | ClientForm::OllamaEmbeddings | ClientForm::OpenAiEmbeddings => {
            return None;
        }
    })
}
