//! Requests that load or unload a model and ask for nothing else. They take no slot, whatever their route: what unloads is
//! about every copy of the model, and what loads is answered by a server that has it in memory, if there is one.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora_proxy::Session;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admin::Page;
use crate::fleet::Backend;
use crate::ids::ModelId;
use crate::proxy::Gateway;
use crate::proxy::attempt::copy_contract::{fitted, truncation};
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::dispatch::prompt_needs::PromptNeeds;
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::local::each_server::{Answer, Work, collect, summary};
use crate::proxy::prepared::{ModelRequest, Prepared, Resuming};
use crate::proxy::response_body::client::{Framing, departed};
use crate::proxy::response_body::downstream::Downstream;
use crate::proxy::response_body::page::send_page;
use remuda_formats::dialect::ollama::LoadOrUnload;

/// How long it is waited for that copies are gone whose servers have taken the request to unload them. A copy that serves
/// somebody goes when that has ended, which is not waited for any longer.
const UNLOADED_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at whether a model has left a memory, which no server tells by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The copies that a plan's servers hold of the model that a request is about.
struct Copies<'g> {
    gateway: &'g Gateway,
    progress: PlanProgress,
}

/// Answers a request that loads or unloads a model of Ollama servers.
///
/// # Errors
/// The failure that the client is to be told instead, or why it cannot be told anything.
pub(crate) async fn load_or_unload(
    gateway: &Gateway,
    session: &mut Session,
    ctx: &mut Ctx,
    framing: &Framing,
    (prepared, what): (Prepared, LoadOrUnload),
) -> Result<(), Stop> {
    let Prepared {
        operation,
        body,
        wanted,
        plan,
        priority,
        pinned,
        ..
    } = prepared;
    let copies = Copies {
        gateway,
        progress: PlanProgress::new(plan, priority, pinned),
    };
    let request = ModelRequest {
        operation,
        body,
        has_body: true,
        streams: false,
        wanted: Some(wanted),
        wary: false,
        context: None,
        resume: Resuming::Never,
    };
    let page = match what {
        LoadOrUnload::Unload => copies.unload(session, ctx, &request).await?,
        LoadOrUnload::Load => copies.load(session, ctx, request).await?,
    };
    send_page(session, ctx, framing, page).await
}

impl Copies<'_> {
    /// Unloads the model everywhere, and waits until that is done.
    async fn unload(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        request: &ModelRequest,
    ) -> Result<Page, Stop> {
        let servers = self.servers();
        if servers.is_empty() {
            return Err(self.nobody());
        }
        let page = self.ask_each(session, ctx, request, &servers).await?;
        if (200..300).contains(&page.status) {
            let gone = self.gone_from(&servers);
            let wait = tokio::time::timeout(UNLOADED_WITHIN, gone);
            tokio::select! {
                biased;
                _ = wait => {}
                () = departed(&mut session.downstream_session) => return Err(Stop::ClientGone),
            }
        } else {
            for (_, server) in &servers {
                self.gateway.fleet.probe(server).await;
            }
        }
        Ok(page)
    }

    /// Resolves when none of the servers has its model in memory.
    async fn gone_from(&self, servers: &[(ModelId, Arc<Backend>)]) {
        for (model, server) in servers {
            loop {
                self.gateway.fleet.probe(server).await;
                if !server.healthy() || !server.inventory().has_loaded(*model) {
                    break;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Has a server load the model, or keep it longer: one that has it in memory, or else the one that the scheduler chooses.
    async fn load(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        request: ModelRequest,
    ) -> Result<Page, Stop> {
        let began = Instant::now();
        let Copies { gateway, progress } = self;
        let plan = progress.plan.clone();
        let truncate = truncation(&gateway.settings.routing, request.operation);
        let needs = PromptNeeds::of(&request, truncate, &gateway.token_ratios);
        let waiting = PlanProgress::new(plan, progress.priority, progress.pinned);
        let mut waiting = waiting.needing(needs);
        let mut client = Downstream {
            client: &mut session.downstream_session,
            opening: &mut ctx.opening,
            drain: &gateway.drain,
        };
        let warm = gateway
            .queue
            .dispatcher
            .until_in_memory(|| self.warm_server());
        let slot = gateway.queue.wait_for_slot(&mut client, &mut waiting, None);
        let slot = tokio::select! {
            biased;
            // A copy that is there takes no slot, from the first look on.
            warm = warm => Ok(warm),
            slot = slot => Err(slot),
        };
        ctx.outcome.waited += began.elapsed();
        let permit = match slot {
            Ok(warm) => return self.load_on(session, ctx, request, warm).await,
            Err(slot) => match slot? {
                Ok(permit) => permit,
                Err(refusal) => {
                    let model = request.wanted.as_ref().map_or("", |wanted| wanted.name());
                    let absent = || gateway.planner.absent(request.operation, model);
                    let failure = gateway.queue.turned_away(&waiting, &refusal, absent);
                    return Err(failure.into());
                }
            },
        };
        let model = progress.plan.steps[waiting.step].model.listed();
        let server = gateway.fleet.backend(permit.backend()).zip(model);
        let Some((server, model)) = server else {
            return Err(self.nobody());
        };
        self.load_on(session, ctx, request, (model, server)).await
    }

    /// Sends the request to the server, with the context of the copy that it has, if it has one.
    async fn load_on(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        request: ModelRequest,
        (model, server): (ModelId, Arc<Backend>),
    ) -> Result<Page, Stop> {
        let request = ModelRequest {
            context: server.inventory().context_loaded(model),
            ..request
        };
        let servers = [(model, server)];
        let page = self.ask_each(session, ctx, &request, &servers).await?;
        self.gateway.fleet.probe(&servers[0].1).await;
        Ok(page)
    }

    /// Returns the least busy of the servers that have the model in memory.
    fn warm_server(&self) -> Option<(ModelId, Arc<Backend>)> {
        let servers = self.servers().into_iter();
        let warm = servers.filter(|(model, server)| server.inventory().has_loaded(*model));
        // Of equals the first, as in the file.
        warm.max_by_key(|(_, server)| (Reverse(server.in_flight()), Reverse(server.id)))
    }

    /// Returns the Ollama servers of a plan that are well and have what it is about, with the model that is meant there.
    fn servers(&self) -> Vec<(ModelId, Arc<Backend>)> {
        let Copies { gateway, progress } = self;
        let snapshot = gateway.fleet.snapshot();
        let mut servers: Vec<(ModelId, Arc<Backend>)> = Vec::new();
        for step in &progress.plan.steps {
            let Some(model) = step.model.listed() else {
                continue;
            };
            let meant = snapshot.iter().filter(|server| {
                server.provider.settings.kind.is_fleet()
                    && server.healthy()
                    && server.has(model)
                    && progress.may_ask(step, server.provider.id)
                    && progress.pinned.is_none_or(|pinned| pinned == server.id)
            });
            servers.extend(meant.map(|server| (model, Arc::clone(server))));
        }
        servers
    }

    /// Sends the request to all `servers` at once, each with its own name for the model, and makes one answer of theirs.
    async fn ask_each(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        request: &ModelRequest,
        servers: &[(ModelId, Arc<Backend>)],
    ) -> Result<Page, Stop> {
        // Nobody listens to what is streamed.
        let (sender, _) = mpsc::channel(1);
        let mut working: JoinSet<Answer> = JoinSet::new();
        for (index, (model, server)) in servers.iter().enumerate() {
            let body = self.body_for(request, *model, server);
            let upstreams = &self.gateway.upstreams;
            let head = upstreams.upstream_head(
                session.req_header(),
                &ctx.inbound,
                (server, 0),
                Some(body.len()),
            );
            let work = Work {
                backend: Arc::clone(server),
                head: head.map_err(|_| *Failure::unwritable())?,
                body,
            };
            let connections = upstreams.side(server.provider.id).connections.clone();
            working.spawn(work.run(connections, index, sender.clone()));
        }
        ctx.attempt.number = 1;
        ctx.attempt.provider = servers.first().map(|(_, server)| server.provider.id);
        ctx.attempt.backend = match servers {
            [(_, server)] => Some(Arc::clone(&server.name)),
            _ => None,
        };
        let servers: Vec<_> = servers
            .iter()
            .map(|(_, server)| Arc::clone(server))
            .collect();
        let answers =
            tokio::time::timeout(self.gateway.settings.timeouts.load, collect(&mut working));
        tokio::select! {
            biased;
            answers = answers => match answers {
                Ok(answers) => Ok(summary(&servers, answers)),
                Err(_) => Err(Failure::new(504, "load_timeout", "the server takes longer than timeouts.load").into()),
            },
            () = departed(&mut session.downstream_session) => Err(Stop::ClientGone),
        }
    }

    fn body_for(&self, request: &ModelRequest, model: ModelId, server: &Arc<Backend>) -> Bytes {
        let Some(wanted) = &request.wanted else {
            return request.body.bytes.clone();
        };
        let mut wanted = wanted.clone();
        wanted.model = Some(model);
        // A name of the operator's, or a provider's prefix, is none that the server knows.
        let steps = &self.progress.plan.steps;
        let asked = steps.iter().find(|step| step.model.listed() == Some(model));
        wanted.own = asked.and_then(|step| step.model.own()).cloned();
        let upstreams = &self.gateway.upstreams;
        let own = upstreams.own_name(&wanted, server);
        let edits = upstreams.copy_edits(request, server);
        fitted(request, &wanted, &own, edits)
    }

    fn nobody(&self) -> Stop {
        let failure = Failure::no_healthy_backend().retry_after(1);
        self.gateway.queue.in_words_for(failure, &[]).into()
    }
}
