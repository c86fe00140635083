//! The one table of formats: which functions of which dialect read and write each.

use std::borrow::Cow;

use http::HeaderMap;

use crate::dialect::exchange::{Outgoing, Reply, Target};
use crate::dialect::ollama::Operation;
use crate::dialect::{anthropic, bedrock, google, ollama, openai};
use crate::ir::{
    ChatRequest, Decode, EmbedRequest, Embeddings, Encode, Event, Fault, FaultKind, Refused,
    Response, ToolNames, Usage,
};
use crate::wire::json::tidied;
use crate::wire::units::Unit;

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
pub enum Form {
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

impl Form {
    /// What its streams are made of, if it is lines of text.
    pub fn unit(self) -> Option<Unit> {
        match self {
            Form::OllamaChat | Form::OllamaGenerate => Some(Unit::Line),
            Form::OpenAiChat
            | Form::OpenAiCompletions
            | Form::OpenAiResponses
            | Form::AnthropicMessages
            | Form::GoogleContent => Some(Unit::Event),
            _ => None,
        }
    }

    /// Of Ollama's own API.
    pub fn is_ollamas(self) -> bool {
        matches!(
            self,
            Form::OllamaChat | Form::OllamaGenerate | Form::OllamaEmbed
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
    form: Form,
    request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<Outgoing, Refused> {
    match form {
        Form::OllamaChat => ollama::chat::write_chat(request, target),
        Form::OllamaGenerate => ollama::generate::write_chat(request, target),
        Form::OpenAiChat => openai::chat::write_chat(request, target),
        Form::OpenAiCompletions => openai::completions::write_chat(request, target),
        Form::OpenAiResponses => openai::responses::write_chat(request, target),
        Form::AnthropicMessages => anthropic::write_chat(request, target),
        Form::GoogleContent => google::write_chat(request, target),
        Form::BedrockConverse => bedrock::write_chat(request, target),
        Form::OllamaEmbed | Form::OpenAiEmbeddings | Form::GoogleEmbed | Form::BedrockEmbed => {
            Err(Refused::new("embeddings are no chat"))
        }
    }
}

/// Reads the streamed answer of a chat.
pub(super) fn decoder(form: Form, names: ToolNames) -> Box<dyn Decode> {
    match form {
        Form::OllamaGenerate => ollama::generate::decoder(names),
        Form::OpenAiChat => openai::chat::decoder(names),
        Form::OpenAiCompletions => openai::completions::decoder(names),
        Form::OpenAiResponses => openai::responses::decoder(names),
        Form::AnthropicMessages => anthropic::decoder(names),
        Form::GoogleContent => google::decoder(names),
        Form::BedrockConverse => bedrock::decoder(names),
        // Vectors are never streamed.
        Form::OllamaChat
        | Form::OllamaEmbed
        | Form::OpenAiEmbeddings
        | Form::GoogleEmbed
        | Form::BedrockEmbed => ollama::chat::decoder(names),
    }
}

/// Reads the whole answer of a chat. One that cannot be read is read once more as the libraries of clients read it, which
/// take more than is JSON.
pub(super) fn read_whole(
    form: Form,
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

fn read_strictly(form: Form, body: &[u8], names: &ToolNames, emit: &mut dyn FnMut(Event<'_>)) {
    match form {
        Form::OllamaGenerate => ollama::generate::read_whole(body, names, emit),
        Form::OpenAiChat => openai::chat::read_whole(body, names, emit),
        Form::OpenAiCompletions => openai::completions::read_whole(body, names, emit),
        Form::OpenAiResponses => openai::responses::read_whole(body, names, emit),
        Form::AnthropicMessages => anthropic::read_whole(body, names, emit),
        Form::GoogleContent => google::read_whole(body, names, emit),
        Form::BedrockConverse => bedrock::read_whole(body, names, emit),
        Form::OllamaChat
        | Form::OllamaEmbed
        | Form::OpenAiEmbeddings
        | Form::GoogleEmbed
        | Form::BedrockEmbed => ollama::chat::read_whole(body, names, emit),
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
    form: Form,
    request: EmbedRequest<'_>,
    target: &Target<'_>,
) -> Result<Vec<Outgoing>, Refused> {
    match form {
        Form::OpenAiEmbeddings => openai::embeddings::write_embed(request, target),
        Form::GoogleEmbed => google::write_embed(request, target),
        Form::BedrockEmbed => bedrock::write_embed(request, target),
        _ => ollama::embed::write_embed(request, target),
    }
}

pub(super) fn read_embeddings(
    form: Form,
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
    form: Form,
    body: &[u8],
    headers: &HeaderMap,
) -> Result<Embeddings, Fault> {
    match form {
        Form::OpenAiEmbeddings => openai::embeddings::read_embeddings(body, headers),
        Form::GoogleEmbed => google::read_embeddings(body, headers),
        Form::BedrockEmbed => bedrock::read_embeddings(body, headers),
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
pub(super) fn chat_of(operation: Operation) -> Option<Form> {
    Some(match ClientForm::of(operation)? {
        ClientForm::OllamaChat => Form::OllamaChat,
        ClientForm::OllamaGenerate => Form::OllamaGenerate,
        ClientForm::OpenAiChat => Form::OpenAiChat,
        ClientForm::OpenAiCompletions => Form::OpenAiCompletions,
        ClientForm::OpenAiResponses => Form::OpenAiResponses,
        ClientForm::AnthropicMessages => Form::AnthropicMessages,
        ClientForm::OllamaEmbed | ClientForm::OllamaEmbeddings | ClientForm::OpenAiEmbeddings => {
            return None;
        }
    })
}
