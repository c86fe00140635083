//! What dispatching a request comes to, and what follows an attempt on the way there.

use std::sync::Arc;

use bytes::Bytes;

use crate::admission::Permit;
use crate::proxy::attempt::answer::BegunAnswer;
use crate::proxy::failure::attempt::ClientError;
use crate::proxy::prepared::ModelRequest;

/// The result of dispatching a request.
pub(crate) enum Dispatched {
    /// An answer has begun.
    Begun(BegunAnswer),
    /// No candidate gave an answer, and this is what the client is told.
    Failed(ClientError),
    /// A provider has no counter of tokens, so that an estimate of the body is the answer.
    Uncounted(Bytes),
}

/// What follows in the loop of attempts.
pub(super) enum Following {
    /// A slot for the next attempt, or the same one anew.
    Slot(Permit),
    /// There is no further attempt.
    End(Dispatched),
}

/// Returns the request to be changed between two attempts; a copy of it, if an attempt that has ended still reads the present
/// one.
pub(super) fn owned(request: &mut Arc<ModelRequest>) -> &mut ModelRequest {
    if Arc::get_mut(request).is_none() {
        *request = Arc::new(request.to_write());
    }
    Arc::get_mut(request).expect("who has just made it is the only one to have it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::prepared::Resuming;
    use crate::proxy::request_filter::body_budget::Body;
    use remuda_formats::client::Operation;

    #[test]
    fn a_request_that_a_failed_attempt_still_reads_is_not_changed() {
        let mut request = Arc::new(ModelRequest {
            operation: Operation::Chat,
            body: Body::unshared(Bytes::from_static(b"{}")),
            has_body: true,
            streams: false,
            wanted: None,
            wary: false,
            context: None,
            resume: Resuming::Never,
        });
        let first = Arc::as_ptr(&request);
        owned(&mut request).wary = true;
        assert_eq!(Arc::as_ptr(&request), first, "nobody else had it");
        let read = Arc::clone(&request);
        owned(&mut request).context = Some(4096);
        assert_eq!((read.context, request.context), (None, Some(4096)));
        assert!(request.wary, "what is known of it stays");
        assert_eq!(request.body.bytes, read.body.bytes);
    }
}
