//! What an answer's head says of the limits of the client's key.

use std::sync::Arc;

use crate::access::ClientKey;
use crate::proxy::response_body::head::Head;
use remuda_formats::client::ErrorStyle;
use remuda_formats::dialect::rate_limits::{Names, is_of_limits};

/// Tells a client how much of its key's limits is left, in place of what a provider says of its own limits.
pub(crate) fn state_limits(key: Option<&Arc<ClientKey>>, style: ErrorStyle, head: &mut Head) {
    let Some((standing, now)) = key.and_then(|key| key.standing()) else {
        return;
    };
    let of_provider = head.fields().keys().filter(|name| is_of_limits(name));
    let of_provider: Vec<_> = of_provider.cloned().collect();
    for name in of_provider {
        head.remove(&name);
    }
    let names = match style {
        ErrorStyle::Anthropic => Names::Anthropic,
        ErrorStyle::Ollama | ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => Names::OpenAi,
    };
    standing.write(names, now, |name, value| head.set(name, value));
}
