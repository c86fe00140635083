//! The wait for a plan, while a provider is about to tell which models it has.

use std::time::Instant;

use pingora_proxy::Session;
use tokio::time::sleep_until;

use crate::admission::{Need, NoSlot, Want, Wanted};
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::{Stop, refused};
use crate::proxy::prepared::Criteria;
use crate::proxy::request_filter::preferences::Preferences;
use crate::proxy::response_body::downstream::Downstream;
use crate::routing::{NoPlan, Plan};
use remuda_formats::client::Operation;

/// Makes the plan for a model that no provider is known to have. The model is waited for while no backend is known, as long as
/// for a slot, and while a provider has not answered its first probe.
///
/// # Errors
/// The failure that the client is told if there is no plan; or [`Stop::ClientGone`] if the client leaves meanwhile.
pub(crate) async fn await_plan(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    operation: Operation,
    criteria: &Criteria,
    preferences: &Preferences,
) -> Result<Plan, Stop> {
    let want = Want {
        wanted: Wanted::Unlisted,
        priority: preferences.priority,
        pinned: preferences.pinned,
        need: Need::default(),
        recipe: None,
    };
    let mut client = Downstream {
        client: &mut session.downstream_session,
        opening: &mut ctx.opening,
        drain: &gateway.drain,
    };
    let deadline = Instant::now() + gateway.settings.queue.timeout;
    let unplanned = |why: &NoPlan| {
        gateway
            .planner
            .unplanned(&gateway.admit, why, operation, criteria)
    };
    loop {
        let mut settling = gateway.fleet.settling();
        match gateway
            .queue
            .await_models(&mut client, want.clone())
            .await?
        {
            NoSlot::UnknownModel => {}
            refusal => {
                let absent = || gateway.planner.absent(operation, &criteria.model);
                return Err(gateway
                    .queue
                    .in_words_for(refused(&refusal, absent), &[])
                    .into());
            }
        }
        // The backend whose first probe ended the wait may be the one that has the model.
        match gateway.planner.plan(criteria) {
            Ok(plan) => return Ok(plan),
            Err(NoPlan::Unknown) if gateway.fleet.is_settling() => {}
            Err(why) => return Err(unplanned(&why).into()),
        }
        let news = async {
            tokio::select! {
                news = settling.changed() => news.is_ok(),
                () = sleep_until(deadline.into()) => false,
            }
        };
        if !client.unless_ended(news).await? {
            return Err(unplanned(&NoPlan::Unknown).into());
        }
    }
}
