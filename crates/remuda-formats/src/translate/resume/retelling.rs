//! Makes the reader of a second telling of an answer: whatever format it comes in, its client reads on in its own.

use std::sync::Arc;

use super::super::answer::Translation;
use super::super::forms::{ClientForm, ClientFunctions};
use super::interrupted::Interrupted;
use super::sent::Sent;
use crate::client::Operation;
use crate::dialect::exchange::{ProviderRequest, Reply};
use crate::dialect::form::{ClientChat, ProviderChat};
use crate::dialect::ollama;
use crate::ir::{ClientTools, Format, Part, Role};

/// Returns whether a request is one whose answer can be told again: one answer is wanted, of words alone.
pub fn can_be_told_again(operation: Operation, body: &[u8]) -> bool {
    let Some(client) = chat_of(operation) else {
        return false;
    };
    let request = (client.read)(body);
    request.is_ok_and(|request| request.answers.is_none() && request.logprobs.is_none())
}

/// Returns the reader of an answer in the client's own format that goes on where `from` broke off; `body` is the client's
/// request. `None` if the answer of such a request cannot be told again.
pub fn retelling(
    operation: Operation,
    body: &[u8],
    reply: Reply,
    from: &Interrupted,
) -> Option<Box<Translation>> {
    let client = chat_of(operation)?;
    let mut translation = begun(client, client.passing, body, reply)?;
    translation.go_on_from(from);
    Some(Box::new(translation))
}

/// Returns whether the model may write on from the words that were said: it has said nothing else, is not bound to a form, and
/// has nothing to call.
pub fn can_be_written_on(operation: Operation, body: &[u8], sent: &Sent) -> bool {
    let Some(client) = chat_of(operation) else {
        return false;
    };
    (client.read)(body).is_ok_and(|request| {
        let mut messages = request.messages.iter();
        let last = messages.clone().next_back().map(|message| message.role);
        sent.is_words_alone()
            && request.tools.is_empty()
            && request.format == Format::Text
            && last == Some(Role::User)
            && messages.all(|message| message.parts.iter().all(is_text))
    })
}

fn is_text(part: &Part<'_>) -> bool {
    matches!(part, Part::Text(_) | Part::Breakpoint(_))
}

/// Returns the reader of what an Ollama server writes on from the words that were said; otherwise as [`retelling`].
pub fn writing_on(
    operation: Operation,
    body: &[u8],
    reply: Reply,
    from: &Interrupted,
) -> Option<Box<Translation>> {
    let client = chat_of(operation)?;
    let mut translation = begun(client, &ollama::generate::PROVIDER, body, reply)?;
    translation.write_on_from(from);
    Some(Box::new(translation))
}

/// Begins the reader of an answer in `form` to the client's request.
fn begun(
    client: &'static ClientChat,
    form: &'static ProviderChat,
    body: &[u8],
    mut reply: Reply,
) -> Option<Translation> {
    let request = (client.read)(body).ok()?;
    reply.include_usage = request.include_usage;
    reply.functions = request.functions;
    reply.tools = Arc::new(ClientTools::of(&request.special, &request.tools));
    let mut outgoing = ProviderRequest::default();
    Some(Translation::chat(
        (client, form),
        reply,
        &mut outgoing,
        true,
        true,
    ))
}

fn chat_of(operation: Operation) -> Option<&'static ClientChat> {
    match ClientForm::of(operation)?.functions() {
        ClientFunctions::Chat(client) => Some(client),
        ClientFunctions::Embeddings(_) => None,
    }
}
