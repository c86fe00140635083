//! Pull, push, create, copy, delete and blobs, where the operator allows them: on the backend that
//! `X-Backend` names, or on every backend that is concerned, with one answer made of theirs.

use std::sync::Arc;

use pingora::protocols::http::ServerSession;
use pingora_proxy::Session;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admin::{self, Page};
use crate::fleet::Backend;
use crate::ids::BackendId;
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::heads;
use crate::proxy::local::each_server::{Event, Work, collect, summary};
use crate::proxy::prepared::{Criteria, ModelRequest, Resuming};
use crate::proxy::request_filter::body::closing_with_body;
use crate::proxy::request_filter::scan;
use crate::proxy::response_body::client::{self, Framing, departed};
use crate::proxy::response_body::head::Head;
use crate::proxy::response_body::page::send_page;
use crate::routing::Plan;
use remuda_formats::client::{AnswerFraming, Operation, is_digest};
use remuda_formats::dialect::ollama::ProgressMerge;

/// Pieces of progress that wait for a slow client, over all backends.
const PROGRESS_QUEUE: usize = 64;

const NO_FLEET: &str =
    "no Ollama server is configured; only the models of Ollama servers can be managed";

impl Gateway {
    /// Answers a request that changes models, or uploads what one is made of.
    #[allow(clippy::too_many_lines, reason = "one arm for each operation")]
    pub(crate) async fn manage(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<(), Stop> {
        let pinned = self
            .planner
            .pinned(&session.req_header().headers, &ctx.inbound)
            .map_err(|failure| closing_with_body(session, failure))?;
        let mut providers = self.fleet.providers();
        // To pull a service's model changes nothing, so it needs no permission; which model it is, the body says.
        let may_be_service = operation == Operation::Pull
            && pinned.is_none()
            && providers.any(|provider| !provider.settings.kind.is_fleet());
        if !may_be_service {
            self.admit.may_manage(session)?;
        }
        self.manageable(session.req_header().uri.path(), operation, pinned)
            .map_err(|failure| closing_with_body(session, failure))?;
        let body = self.admit.body(session).await?;
        let facts = scan::read_small(operation, &body.bytes)?;
        let model = match operation {
            Operation::Copy => facts.source.as_deref().unwrap_or_default(),
            _ => &*facts.model,
        };
        scan::printable(model)?;
        ctx.inbound.asked = (!model.is_empty()).then(|| model.into());
        let others = [&facts.source, &facts.destination];
        let others = others.into_iter().filter_map(Option::as_deref);
        self.admit
            .may_change(&ctx.inbound, [model].into_iter().chain(others))?;
        if may_be_service {
            let plan = self.planner.plan(&Criteria::look(model.into(), None));
            if plan.is_ok_and(|plan| self.is_a_service_s(&plan, model)) {
                let page = admin::pulled(model, facts.streams(operation));
                return send_page(session, ctx, framing, page).await;
            }
            self.admit.may_manage(session)?;
            if !self.has_fleet() {
                return Err(Failure::bad_request(NO_FLEET).into());
            }
        }
        let mut targets = match pinned {
            Some(id) => self.fleet.backend(id).into_iter().collect(),
            None => self.concerned(operation, model)?,
        };
        if let Some(key) = &ctx.inbound.key {
            targets.retain(|backend| key.may_ask(&backend.provider.name));
        }
        if pinned.is_none() {
            match operation {
                Operation::Pull | Operation::Create => self.not_of_one_that_is_down(model)?,
                Operation::Copy => {
                    let to = facts.destination.as_deref().unwrap_or_default();
                    self.not_of_one_that_is_down(to)?;
                }
                _ => {}
            }
        }
        if targets.is_empty() {
            let failure = Failure::no_healthy_backend().retry_after(1);
            return Err(self.queue.in_words_for(failure, &[]).into());
        }
        ctx.inbound.streams = facts.streams(operation);
        let streams = ctx.inbound.streams && operation.framing() == AnswerFraming::Ndjson;
        drop(facts);
        let has_body = !body.bytes.is_empty();
        let request = ModelRequest {
            operation,
            body,
            has_body,
            streams,
            wanted: None,
            wary: false,
            context: None,
            resume: Resuming::Never,
        };
        self.fan_out(session, ctx, framing, &request, &targets)
            .await
    }

    /// Checks that there is a server whose models can be changed: a service's are its own, and what is asked of it is paid for
    /// with the operator's key.
    ///
    /// # Errors
    /// 400.
    fn manageable(
        &self,
        path: &str,
        operation: Operation,
        pinned: Option<BackendId>,
    ) -> Result<(), Failure> {
        let is_blob = matches!(operation, Operation::BlobHead | Operation::BlobPost);
        if is_blob && !operation.argument(path).is_some_and(is_digest) {
            return Err(Failure::bad_request("invalid digest format"));
        }
        let backend = pinned.and_then(|id| self.fleet.backend(id));
        match backend {
            Some(backend) if !backend.provider.settings.kind.is_fleet() => {
                Err(Failure::bad_request(
                    "X-Backend names a service; only the models of Ollama servers can be managed",
                ))
            }
            None if !self.has_fleet() && operation != Operation::Pull => {
                Err(Failure::bad_request(NO_FLEET))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the model is known to be a service's, so that there is nothing to pull. Where there are servers to
    /// pull it, a service that lists nothing is not taken to have everything.
    fn is_a_service_s(&self, plan: &Plan, asked: &str) -> bool {
        let Some((provider, own)) = self.planner.service_of(plan) else {
            return false;
        };
        let aliases = &self.settings.routing.aliases;
        let is_alias = aliases.iter().any(|(alias, _)| **alias == *asked);
        let models = self.fleet.models();
        let listed = [Some(&*own), Some(asked)]
            .into_iter()
            .flatten()
            .filter_map(|name| models.lookup(name))
            .chain(plan.model)
            .any(|model| {
                let snapshot = self.fleet.snapshot();
                let mut mine = snapshot
                    .iter()
                    .filter(|backend| backend.provider.id == provider.id);
                mine.any(|backend| backend.has(model))
            });
        listed || is_alias || !self.has_fleet()
    }

    fn has_fleet(&self) -> bool {
        let mut providers = self.fleet.providers();
        providers.any(|provider| provider.settings.kind.is_fleet())
    }

    /// Checks that no server that is down has the model: what one has is not brought to others, since nobody has asked for
    /// that, only for the model.
    ///
    /// # Errors
    /// 503.
    fn not_of_one_that_is_down(&self, model: &str) -> Result<(), Failure> {
        let mut fleets = self
            .fleet
            .providers()
            .filter(|provider| provider.settings.kind.is_fleet());
        if fleets.any(|provider| self.fleet.is_provider_settling(provider.id)) {
            return Err(Failure::down(
                "not all servers have answered yet, and one of them may have the model; try again",
            ));
        }
        let known = self.fleet.models().lookup(model);
        let is_there = known.is_some_and(|model| {
            let snapshot = self.fleet.snapshot();
            let mut healthy = snapshot.iter().filter(|backend| backend.healthy());
            healthy.any(|backend| backend.has(model))
        });
        let mut fleets = self
            .fleet
            .providers()
            .filter(|provider| provider.settings.kind.is_fleet());
        if !is_there && fleets.any(|provider| self.fleet.is_unknown(provider)) {
            return Err(Failure::down(format!(
                "what a server has that is down is not known yet, and that may be model '{model}'; X-Backend names another to have it there too"
            )));
        }
        match known.and_then(|model| self.fleet.down_with(model)) {
            Some(_) => Err(Failure::down(format!(
                "model '{model}' is on a server that is down; X-Backend names another to have it there too"
            ))),
            None => Ok(()),
        }
    }

    /// Returns the backends that a request without `X-Backend` is about.
    fn concerned(&self, operation: Operation, model: &str) -> Result<Vec<Arc<Backend>>, Failure> {
        let healthy: Vec<Arc<Backend>> = self
            .fleet
            .snapshot()
            .iter()
            .filter(|backend| backend.healthy() && backend.provider.settings.kind.is_fleet())
            .cloned()
            .collect();
        let needs_model = matches!(
            operation,
            Operation::Push | Operation::Copy | Operation::Delete
        );
        if !needs_model || healthy.is_empty() {
            return Ok(healthy);
        }
        let id = self.fleet.models().lookup(model);
        let mut having: Vec<Arc<Backend>> = healthy
            .into_iter()
            .filter(|backend| id.is_some_and(|id| backend.inventory().has(id)))
            .collect();
        if operation == Operation::Push {
            // The registry takes it once.
            having.truncate(1);
        }
        if having.is_empty() {
            return Err(self.planner.absent(operation, model));
        }
        Ok(having)
    }

    /// Sends the request to all `targets` at once, and makes one answer of theirs.
    async fn fan_out(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        request: &ModelRequest,
        targets: &[Arc<Backend>],
    ) -> Result<(), Stop> {
        let (sender, events) = mpsc::channel(PROGRESS_QUEUE);
        let mut working = JoinSet::new();
        for (index, backend) in targets.iter().enumerate() {
            let head = self
                .upstreams
                .upstream_head(
                    session.req_header(),
                    &ctx.inbound,
                    (backend, 0),
                    request.has_body.then_some(request.body.bytes.len()),
                )
                .map_err(|_| Failure::bad_request("the request's head cannot be forwarded"))?;
            let connections = self.upstreams.side(backend.provider.id).connections.clone();
            let work = Work {
                backend: Arc::clone(backend),
                head,
                body: request.body.bytes.clone(),
            };
            working.spawn(work.run(connections, index, sender.clone()));
        }
        drop(sender);
        ctx.attempt.number = 1;
        ctx.attempt.provider = targets.first().map(|backend| backend.provider.id);
        let client = &mut session.downstream_session;
        let names = targets.iter().map(|backend| backend.name.to_string());
        let done = if request.streams {
            stream_progress(client, ctx, framing, ProgressMerge::new(names), events).await
        } else {
            // Dropping `working` when the client has gone ends what the backends do for it.
            tokio::select! {
                biased;
                answers = collect(&mut working) => Ok(Some(summary(targets, answers))),
                () = departed(client) => Err(Stop::ClientGone),
            }
        };
        let page = done?;
        for backend in targets {
            self.fleet.probe(backend).await;
        }
        match page {
            Some(page) => send_page(session, ctx, framing, page).await,
            None => client::finish(&mut session.downstream_session).await,
        }
    }
}

/// Sends merged progress as it comes. The answer is not ended yet when this returns.
async fn stream_progress(
    client: &mut ServerSession,
    ctx: &mut Ctx,
    framing: &Framing,
    mut merge: ProgressMerge,
    mut events: mpsc::Receiver<Event>,
) -> Result<Option<Page>, Stop> {
    let head = progress_head(ctx, framing);
    ctx.outcome.status = 200;
    client::write_head(client, head, ctx.inbound.allow_origin.as_ref()).await?;
    let mut lines = Vec::new();
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = departed(client) => return Err(Stop::ClientGone),
        };
        match event {
            Some(Event::Piece(backend, piece)) => merge.feed(backend, &piece, &mut lines),
            Some(Event::End(backend, failure)) => {
                merge.end(backend, failure.as_deref(), &mut lines)
            }
            None => return Ok(None),
        }
        ctx.outcome.bytes += lines.len() as u64;
        client::write_piece(client, &lines).await?;
        lines.clear();
    }
}

fn progress_head(ctx: &Ctx, framing: &Framing) -> Head {
    let ndjson = "application/x-ndjson";
    let request_id = &ctx.inbound.request_id;
    heads::translated_response(ndjson, framing.version, &framing.method, request_id)
}
