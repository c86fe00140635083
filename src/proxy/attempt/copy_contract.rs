//! What is changed in a request to an Ollama server so that the copy in its memory serves it as it is: neither is the model
//! loaded anew for options that make no difference to the answer, nor is a prompt shortened that its client wants whole.

use bytes::Bytes;

use crate::fleet::Backend;
use crate::proxy::attempt::passing::respelled;
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::prepared::{ModelRequest, WantedModel};
use crate::settings::{Routing, RunnerOptions, Truncate};
use remuda_formats::client::{self, ErrorStyle, Operation, Splice};
use remuda_formats::provider::CopyEdits;

/// Returns whether a prompt that is longer than any context is refused or may be shortened.
pub(crate) fn truncation(routing: &Routing, operation: Operation) -> Truncate {
    routing.truncate.unwrap_or(match ErrorStyle::of(operation) {
        ErrorStyle::Ollama => Truncate::AsClient,
        _ => Truncate::Never,
    })
}

impl Upstreams {
    /// Returns the changes to a request for an Ollama server; there are none for any other provider.
    pub(crate) fn copy_edits(&self, request: &ModelRequest, backend: &Backend) -> CopyEdits {
        let settings = &backend.provider.settings;
        if !settings.kind.is_fleet() {
            return CopyEdits::default();
        }
        let truncate = truncation(&self.settings.routing, request.operation);
        CopyEdits {
            context: request.context,
            pins: settings.copies.options == RunnerOptions::Pin,
            whole: truncate == Truncate::Never,
        }
    }
}

/// Returns the body of a request in a server's own format as that server gets it: with its name for the model, and with
/// `edits`. One that needs no change passes as it came.
pub(crate) fn fitted(
    request: &ModelRequest,
    wanted: &WantedModel,
    own: &str,
    edits: CopyEdits,
) -> Bytes {
    let body = &request.body.bytes;
    let Some(members) = wanted.members else {
        return respelled(request.operation, body, wanted, own);
    };
    if client::is_form(request.operation, body) {
        return respelled(request.operation, body, wanted, own);
    }
    let mut splice = Splice::default();
    if let Some(span) = wanted.span.filter(|_| *own != *wanted.asked) {
        splice.replace_by_text(span, own);
    }
    if matches!(
        request.operation,
        Operation::Chat | Operation::Generate | Operation::Embed | Operation::Embeddings
    ) {
        let whole = edits.whole && request.operation != Operation::Embeddings;
        let edits = CopyEdits { whole, ..edits };
        edits.add_to(&mut splice, &wanted.copy, members);
    }
    splice.apply(body).map_or_else(|| body.clone(), Bytes::from)
}
