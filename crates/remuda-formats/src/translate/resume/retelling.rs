//! Makes the reader of a second telling of an answer: whatever format it comes in, its client reads on in its own.

use std::sync::Arc;

use super::super::answer::Translation;
use super::super::forms::{ClientForm, ClientFunctions};
use super::interrupted::Interrupted;
use crate::client::Operation;
use crate::dialect::exchange::{ProviderRequest, Reply};
use crate::dialect::form::ClientChat;
use crate::ir::ClientTools;

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
    mut reply: Reply,
    from: &Interrupted,
) -> Option<Box<Translation>> {
    let client = chat_of(operation)?;
    let request = (client.read)(body).ok()?;
    reply.include_usage = request.include_usage;
    reply.functions = request.functions;
    reply.tools = Arc::new(ClientTools::of(&request.special, &request.tools));
    let mut outgoing = ProviderRequest::default();
    let mut translation =
        Translation::chat((client, client.passing), reply, &mut outgoing, true, true);
    translation.go_on_from(from);
    Some(Box::new(translation))
}

fn chat_of(operation: Operation) -> Option<&'static ClientChat> {
    match ClientForm::of(operation)?.functions() {
        ClientFunctions::Chat(client) => Some(client),
        ClientFunctions::Embeddings(_) => None,
    }
}
