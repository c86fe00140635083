//! An answer that broke off after its first content: its client is told only when nobody goes on with it.

use std::sync::Arc;

use pingora::protocols::http::ServerSession;

use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::Stop;
use crate::proxy::response_body::client;
use crate::proxy::response_body::end::End;
use crate::proxy::response_body::outgoing::Outgoing;
use remuda_formats::ir::{Class, Fault, FaultKind};
use remuda_formats::translate::Interrupted;

/// An answer that broke off and may go on elsewhere.
pub(crate) struct Interruption {
    /// The answer as its client has it.
    pub(crate) from: Arc<Interrupted>,
    pub(super) reader: AnswerReader,
    pub(super) end: Option<End>,
}

impl Interruption {
    /// Ends the answer, as nobody goes on with it: its client is told how it broke off.
    ///
    /// # Errors
    /// [`Stop::ClientGone`].
    pub(crate) async fn tell(
        mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<(), Stop> {
        let mut outgoing = Outgoing::default();
        tell_end(&mut self.reader, &mut self.end, &mut outgoing);
        let last = outgoing.take();
        ctx.outcome.bytes += last.len() as u64;
        client::write_piece(client, &last).await?;
        client::finish(client).await
    }
}

/// Adds what a client is told of an answer that broke off, as far as it has not been told.
pub(super) fn tell_end(reader: &mut AnswerReader, end: &mut Option<End>, outgoing: &mut Outgoing) {
    outgoing.push(reader.give_up());
    if let Some(End::Broken(text)) = *end
        && reader.streams()
        && reader.fault().is_none()
    {
        outgoing.push(reader.break_off(text));
        *end = Some(End::Told { cut: false });
    }
}

/// Returns whether a fault is one that any other server would have as well: it is about the request.
pub(super) fn is_of_any(fault: &Fault) -> bool {
    fault.class == Class::Permanent
        || matches!(
            fault.kind,
            FaultKind::InvalidRequest | FaultKind::ContextLength | FaultKind::ContentFilter
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_request_is_so_everywhere() {
        for (class, kind, of_any) in [
            (Class::Transient, FaultKind::Incomplete, false),
            (Class::Transient, FaultKind::Server, false),
            (Class::Capacity, FaultKind::Overloaded, false),
            (Class::Route, FaultKind::ContextLength, true),
            (Class::Route, FaultKind::InvalidRequest, true),
            (Class::Permanent, FaultKind::ContentFilter, true),
        ] {
            let fault = Fault::new(class, kind, "no");
            assert_eq!(is_of_any(&fault), of_any, "{fault:?}");
        }
    }
}
