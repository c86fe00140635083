//! A streamed answer that broke off after its first content: whoever else may is asked to go on with it, as often as it
//! breaks off; where nobody does, its client is told how it ended.

use std::sync::Arc;

use pingora::protocols::http::ServerSession;

use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::resume::{Resumption, resume};
use crate::proxy::failure::Stop;
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::interruption::Interruption;
use crate::proxy::response_body::relay::Relayed;

/// Somebody has gone on with the answer.
const RESUMED: &str = "resumed";
/// Somebody was asked, and gave another answer.
const DIFFERED: &str = "differed";
/// Nobody could go on with it.
const FAILED: &str = "failed";

impl Gateway {
    /// Has somebody else go on with an answer that broke off.
    ///
    /// # Errors
    /// Why the client did not get all of it.
    pub(super) async fn go_on(
        &self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        framing: &Framing,
        (mut interruption, mut resumption): (Interruption, Box<Resumption>),
    ) -> Result<(), Stop> {
        loop {
            let attempt = ctx.attempt.clone();
            let paid = ctx.paid();
            let from = Arc::clone(&interruption.from);
            let (begun, further) = match resume(self, client, ctx, resumption, &from).await {
                Ok(Some(going_on)) => going_on,
                Ok(None) | Err(Stop::Failure(_) | Stop::Broken) => {
                    // What the request comes to is charged to who gave what there is of it.
                    ctx.restore(attempt);
                    self.record.resumed(FAILED);
                    return interruption.tell(client, ctx).await;
                }
                Err(Stop::ClientGone) => {
                    ctx.restore(attempt);
                    return Err(Stop::ClientGone);
                }
            };
            self.record.charge_interrupted(ctx, &attempt, paid);
            log::info!(
                "request {:?} broke off at {} and goes on at {}",
                ctx.inbound.request_id,
                attempt.backend.as_deref().unwrap_or("-"),
                begun.backend.name
            );
            ctx.outcome.goes_on();
            let relayed = self.relay(client, ctx, framing, begun).await?;
            self.record.resumed(result_of(&relayed));
            match relayed.interruption {
                Some(next) => (interruption, resumption) = (*next, further),
                None => return Ok(()),
            }
        }
    }
}

fn result_of(relayed: &Relayed) -> &'static str {
    if relayed.differs { DIFFERED } else { RESUMED }
}
