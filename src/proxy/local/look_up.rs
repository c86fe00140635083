//! Look-ups, `/api/show` and `/v1/models/:model`: from what is known of a service's model, else by any server that has it.

use pingora_proxy::Session;

use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::heads::speaks_anthropic;
use crate::proxy::local::forward::LookUp;
use crate::proxy::local::pages::{KnownModel, ModelQuestion};
use crate::proxy::prepared::{Criteria, WantedModel};
use crate::proxy::request_filter::preferences;
use crate::proxy::request_filter::scan;
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::page::send_page;
use remuda_formats::client::{CopyFacts, Operation};
use remuda_formats::dialect::ollama;

/// Answers a question about one model.
///
/// # Errors
/// The failure that the client is to be told instead, or why it cannot be told anything.
pub(crate) async fn look_up(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    framing: &Framing,
    operation: Operation,
) -> Result<(), Stop> {
    let body = gateway.admit.body(session).await?;
    let facts = scan::read_small(operation, &body.bytes)?;
    let path = session.req_header().uri.path();
    let name = scan::model_of(operation, path, &facts).into_owned();
    let span = facts.model_span;
    drop(facts);
    if name.is_empty() {
        return Err(Failure::bad_request(ollama::MODEL_REQUIRED).into());
    }
    scan::printable(&name)?;
    ctx.inbound.asked = Some(name.as_str().into());
    let criteria = Criteria {
        provider: preferences::provider(&session.req_header().headers)?,
        ..Criteria::look(name.as_str().into(), ctx.inbound.key.clone())
    };
    let planner = &gateway.planner;
    let plan = planner.plan(&criteria);
    let plan = plan.map_err(|why| planner.unplanned(&gateway.admit, &why, operation, &criteria))?;
    ctx.inbound.model = plan.model;
    let asked = ModelQuestion {
        operation,
        anthropic: speaks_anthropic(session.req_header()),
        name: &name,
        plan: &plan,
        key: criteria.key.as_deref(),
    };
    let not_found = || planner.absent(operation, &name);
    if let Some((provider, own)) = planner.service_of(&plan) {
        let page = gateway.pages.of_service(&asked, &provider, &own);
        return send_page(session, ctx, framing, page.ok_or_else(not_found)?).await;
    }
    let model = plan.model.ok_or_else(not_found)?;
    match gateway.pages.of_servers(&asked, model) {
        KnownModel::Page(page) => return send_page(session, ctx, framing, page).await,
        KnownModel::Absent => return Err(not_found().into()),
        KnownModel::AtServers => {}
    }
    let wanted = WantedModel {
        asked: name.as_str().into(),
        untagged: None,
        span,
        model: Some(model),
        own: asked.own_name(),
        tools: false,
        raw: false,
        no_stream_options: None,
        schemas: false,
        members: None,
        copy: CopyFacts::default(),
        most_output: None,
    };
    let servers = planner.servers_of(&plan, model);
    let look_up = LookUp::new(gateway, operation, body, wanted, servers);
    if look_up.next_server().is_none() {
        // Nobody can be asked; of a list there is what was known last.
        let page = gateway.pages.listed(&asked, model);
        return send_page(session, ctx, framing, page.ok_or_else(not_found)?).await;
    }
    look_up.run(session, ctx, framing).await
}
