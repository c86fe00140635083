//! The first slot of a request that the filter phase has prepared, and what its client is told if there is none.

use std::time::Instant;

use pingora::proxy::Session;

use crate::admission::Refusal;
use crate::ids::ProviderId;
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::progress::Trip;
use crate::proxy::failure::told::Stop;
use crate::proxy::prepared::{Billed, Job, Prepared};
use crate::proxy::response_body::client::Framing;

impl Gateway {
    /// Has a request served: waits for a slot, makes attempts until one gives content, and relays that.
    ///
    /// # Errors
    /// What the client is to be told instead, or why it cannot be told anything.
    pub(crate) async fn dispatch(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        prepared: Box<Prepared>,
    ) -> Result<(), Stop> {
        let Prepared {
            operation,
            body,
            ask,
            plan,
            criteria,
            priority,
            pinned,
        } = *prepared;
        let planner = |without: &[ProviderId]| self.planner.plan_without(&criteria, without);
        let not_found = || self.planner.absent(operation, &criteria.model);
        let mut trip = Trip::new(plan, &planner, priority, pinned);
        let began = Instant::now();
        let client = &mut session.downstream_session;
        let admitted = self.board(client, &mut ctx.opening, &mut trip, None).await;
        if !matches!(admitted, Ok(Ok(_))) {
            // Of others their slot tells.
            ctx.outcome.waited += began.elapsed();
        }
        let permit = match admitted? {
            Ok(permit) => permit,
            Err(Refusal::Exhausted) if !trip.reasons.is_empty() => {
                return self.tell_last(session, ctx, framing, trip).await;
            }
            // Nothing has been tried yet: there is no backend of that provider.
            Err(Refusal::Exhausted) => return Err(not_found().into()),
            Err(refusal) => return Err(self.turned_away(&trip, &refusal, not_found).into()),
        };
        let job = Job {
            ask: Some(ask),
            operation,
            body,
            has_body: true,
            streams: ctx.inbound.streams,
            billed: Billed::default(),
            wary: false,
        };
        self.travel(session, ctx, framing, job, trip, permit, not_found())
            .await
    }
}
