//! The one table of formats: each form by its name, and the value of its dialect that reads and writes it.

use std::borrow::Cow;

use http::HeaderMap;

use crate::client::Operation;
use crate::dialect::form::{ClientChat, ClientEmbeddings, ProviderChat, ProviderEmbeddings};
use crate::dialect::{anthropic, bedrock, google, ollama, openai};
use crate::ir::{Embeddings, Event, Fault, FaultKind, ToolNames};
use crate::wire::json::tidied;

pub use crate::dialect::faults::answered as fault;

/// What reads and writes a form of clients.
pub(super) enum ClientFunctions {
    Chat(&'static ClientChat),
    Embeddings(&'static ClientEmbeddings),
}

/// What reads and writes a form of providers.
pub(super) enum ProviderFunctions {
    Chat(&'static ProviderChat),
    Embeddings(&'static ProviderEmbeddings),
}

/// Names the forms of one side, a line for each with the value that it stands for.
macro_rules! forms {
    (
        $(#[$doc:meta])*
        $name:ident, $functions:ident {
            $($form:ident => $kind:ident($value:path),)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($form,)+
        }

        impl $name {
            /// Returns what reads and writes the form.
            pub(super) fn functions(self) -> $functions {
                match self {
                    $($name::$form => $functions::$kind(&$value),)+
                }
            }
        }
    };
}

forms! {
    /// A format that clients speak.
    ClientForm, ClientFunctions {
        OllamaChat => Chat(ollama::chat::CLIENT),
        OllamaGenerate => Chat(ollama::generate::CLIENT),
        OllamaEmbed => Embeddings(ollama::embed::CLIENT),
        OllamaEmbeddings => Embeddings(ollama::embed::LEGACY_CLIENT),
        OpenAiChat => Chat(openai::chat::CLIENT),
        OpenAiCompletions => Chat(openai::completions::CLIENT),
        OpenAiEmbeddings => Embeddings(openai::embeddings::CLIENT),
        OpenAiResponses => Chat(openai::responses::CLIENT),
        AnthropicMessages => Chat(anthropic::CLIENT),
    }
}

forms! {
    /// A format that providers speak.
    ProviderForm, ProviderFunctions {
        OllamaChat => Chat(ollama::chat::PROVIDER),
        OllamaGenerate => Chat(ollama::generate::PROVIDER),
        OllamaEmbed => Embeddings(ollama::embed::PROVIDER),
        OpenAiChat => Chat(openai::chat::PROVIDER),
        OpenAiCompletions => Chat(openai::completions::PROVIDER),
        OpenAiEmbeddings => Embeddings(openai::embeddings::PROVIDER),
        OpenAiResponses => Chat(openai::responses::PROVIDER),
        AnthropicMessages => Chat(anthropic::PROVIDER),
        GoogleContent => Chat(google::CHAT),
        GoogleEmbed => Embeddings(google::EMBEDDINGS),
        BedrockConverse => Chat(bedrock::CHAT),
        BedrockEmbed => Embeddings(bedrock::EMBEDDINGS),
    }
}

/// The content type of whole answers.
pub const WHOLE_TYPE: &str = "application/json; charset=utf-8";

impl ClientForm {
    /// Returns the form of an operation; `None` for operations that are never translated.
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

    /// Returns whether the form asks for vectors.
    pub fn embeds(self) -> bool {
        matches!(self.functions(), ClientFunctions::Embeddings(_))
    }

    /// Returns the content type of an answer.
    pub fn content_type(self, streams: bool) -> &'static str {
        match self.functions() {
            ClientFunctions::Chat(chat) if streams => chat.stream_type,
            ClientFunctions::Chat(_) | ClientFunctions::Embeddings(_) => WHOLE_TYPE,
        }
    }
}

impl ProviderForm {
    /// Returns whether the form is one of Ollama's own API.
    pub fn is_ollamas(self) -> bool {
        matches!(
            self,
            ProviderForm::OllamaChat | ProviderForm::OllamaGenerate | ProviderForm::OllamaEmbed
        )
    }
}

/// Returns what reads a chat's answer that passes to clients of the operation; `None` if the operation is no chat.
pub(super) fn chat_of(operation: Operation) -> Option<&'static ProviderChat> {
    match ClientForm::of(operation)?.functions() {
        ClientFunctions::Chat(chat) => Some(chat.passing),
        ClientFunctions::Embeddings(_) => None,
    }
}

/// Reads the whole answer of a chat. One that cannot be read is read once more as the libraries of clients read it,
/// which take more than is JSON.
pub(super) fn read_whole(
    form: &ProviderChat,
    body: &[u8],
    names: &ToolNames,
    emit: &mut dyn FnMut(Event<'_>),
) {
    let (mut told, mut malformed, mut failed) = (false, false, None);
    (form.read_whole)(body, names, &mut |event| match event {
        Event::Malformed if !told => malformed = true,
        Event::Failed(fault) if !told && is_unreadable(&fault) => failed = Some(fault.into_owned()),
        event => {
            told = true;
            emit(event);
        }
    });
    let Some(fault) = failed else { return };
    match tidied(body) {
        Some(tidied) => (form.read_whole)(&tidied, names, emit),
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

/// Reads an answer of vectors, in the same two ways.
pub(super) fn read_embeddings(
    form: &ProviderEmbeddings,
    body: &[u8],
    headers: &HeaderMap,
) -> Result<Embeddings, Fault> {
    let read = (form.read)(body, headers);
    match &read {
        Err(fault) if is_unreadable(fault) => match tidied(body) {
            Some(tidied) => (form.read)(&tidied, headers),
            None => read,
        },
        _ => read,
    }
}

/// Returns what reads and writes two forms of chats.
#[cfg(test)]
pub(super) fn chats(
    client: ClientForm,
    form: ProviderForm,
) -> (&'static ClientChat, &'static ProviderChat) {
    match (client.functions(), form.functions()) {
        (ClientFunctions::Chat(client), ProviderFunctions::Chat(form)) => (client, form),
        _ => panic!("{client:?} or {form:?} is no chat"),
    }
}
