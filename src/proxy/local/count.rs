//! How many tokens a message has, where the provider of its model counts in a format of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_proxy::Session;

use crate::admin::{self, Page};
use crate::fleet::{ModelKey, Provider};
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::begin::ask_aside;
use crate::proxy::ctx::{Ctx, Inbound};
use crate::proxy::failure::Stop;
use crate::proxy::response_body::downstream::Downstream;
use crate::routing::Plan;
use remuda_formats::dialect::exchange::Target;
use remuda_formats::translate;

/// A counter that takes longer is not waited for, as an estimate is had at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns what the provider's own counter says of the body; `None` if it has none, or gives no number.
///
/// # Errors
/// If the client leaves meanwhile.
pub(crate) async fn counted(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    plan: &Plan,
    body: &[u8],
) -> Result<Option<Page>, Stop> {
    let Some((provider, own)) = gateway.planner.service_of(plan) else {
        return Ok(None);
    };
    let inbound = &ctx.inbound;
    let asking = ask_counter(gateway, session, inbound, (&provider, &own), body);
    let Some((backend, asking)) = asking else {
        return Ok(None);
    };
    ctx.attempt.number += 1;
    ctx.attempt.backend = Some(backend);
    ctx.attempt.provider = Some(provider.id);
    let mut client = Downstream {
        client: &mut session.downstream_session,
        opening: &mut ctx.opening,
        drain: &gateway.drain,
    };
    let answer = client.unless_ended(asking).await?;
    let count = answer.and_then(|answer| translate::counted(provider.settings.kind, &answer));
    gateway.upstreams.side(provider.id).count(match count {
        Some(_) => AttemptOutcome::Ok,
        None => AttemptOutcome::Refused,
    });
    Ok(count.map(admin::counted_tokens))
}

/// Returns the name of the backend that is asked, and the answer to come; `None` if nobody can be asked.
fn ask_counter<'g>(
    gateway: &'g Gateway,
    session: &Session,
    inbound: &Inbound,
    (provider, own): (&'g Provider, &str),
    body: &[u8],
) -> Option<(Arc<str>, impl Future<Output = Option<Bytes>> + use<'g>)> {
    let backend = gateway.fleet.pick(Some(provider), None, &[])?;
    let target = Target {
        model: own,
        facts: gateway.upstreams.facts_of(&backend, own),
        provider: provider.settings.profile(),
        stream: false,
    };
    let outgoing = translate::counting(body, &target)?;
    let key = provider
        .guard()
        .pick(ModelKey::of(own), 1, Instant::now())
        .ok()?;
    let head = session.req_header();
    let head = gateway
        .upstreams
        .head_to(head, inbound, (&backend, key), &outgoing)
        .ok()?;
    let side = gateway.upstreams.side(provider.id);
    let name = Arc::clone(&backend.name);
    let asking = async move {
        let body = Bytes::from(outgoing.body);
        let answer = ask_aside(side, &backend, head, &body);
        tokio::time::timeout(PATIENCE, answer).await.ok()?
    };
    Some((name, asking))
}
