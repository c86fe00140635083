//! Sends the loads that the scheduler orders, and tells how they end; what heals copies goes the same way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use prometheus::IntGauge;
use tokio::runtime::Handle;

use crate::admission::{HealOrder, LoadFault, LoadOrder, LoadRecipe, LoadTicket, Loader};
use crate::fleet::{self, Backend, Fleet};
use crate::ids::ModelId;
use crate::metrics::Metrics;
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::loading::load_request::LoadRequest;
use crate::proxy::upstream::Upstream;
use remuda_formats::dialect::ollama;
use remuda_formats::ir::{Fault, FaultKind};

/// Bytes that are read of an answer: it holds a few fields, or an error.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends loads to Ollama servers, each in a task of its own.
pub(crate) struct ModelLoader(Arc<Parts>);

/// What all loads share.
pub(super) struct Parts {
    pub(super) fleet: Arc<Fleet>,
    upstreams: Arc<Upstreams>,
    pub(super) metrics: Arc<Metrics>,
    /// How long a load may take.
    pub(super) budget: Duration,
}

impl ModelLoader {
    pub(crate) fn new(
        fleet: &Arc<Fleet>,
        upstreams: &Arc<Upstreams>,
        metrics: &Arc<Metrics>,
        budget: Duration,
    ) -> ModelLoader {
        ModelLoader(Arc::new(Parts {
            fleet: Arc::clone(fleet),
            upstreams: Arc::clone(upstreams),
            metrics: Arc::clone(metrics),
            budget,
        }))
    }
}

impl Loader for ModelLoader {
    fn load(&self, order: LoadOrder) {
        // Outside of a task nothing can be sent; the order then counts as failed.
        if let Ok(runtime) = Handle::try_current() {
            let parts = Arc::clone(&self.0);
            runtime.spawn(async move { parts.carry_out(order).await });
        }
    }

    fn heal(&self, order: HealOrder) {
        if let Ok(runtime) = Handle::try_current() {
            let parts = Arc::clone(&self.0);
            runtime.spawn(async move { parts.heal(order).await });
        }
    }
}

/// Why a load, or what heals a copy, has come to nothing.
pub(super) enum Failed {
    /// The server could not be reached, or has broken off.
    Server(fleet::RequestOutcome),
    /// The server does not answer any more, which others have told already.
    Silent,
    /// The server has answered that it could not.
    Model(LoadFault),
    /// The server has answered that the request is wrong.
    Request(LoadFault),
    /// It has taken longer than it may.
    Late(Duration),
}

impl Failed {
    pub(super) fn fault(self) -> LoadFault {
        let (status, text): (_, Arc<str>) = match self {
            Failed::Model(fault) | Failed::Request(fault) => return fault,
            Failed::Server(outcome) => (None, outcome.to_string().into()),
            Failed::Silent => (None, "the server does not answer any more".into()),
            Failed::Late(budget) => {
                let seconds = budget.as_secs_f64();
                (None, format!("it took longer than {seconds} s").into())
            }
        };
        LoadFault { status, text }
    }
}

impl Parts {
    async fn carry_out(&self, order: LoadOrder) {
        let LoadOrder {
            backend,
            model,
            context,
            recipe,
            ticket,
        } = order;
        let Some(server) = self.fleet.backend(backend) else {
            return;
        };
        let provider = &[&*server.provider.name];
        let asked = &self.metrics.upstream.cold_loads;
        asked.with_label_values(provider).inc();
        let metrics = &self.metrics.loads;
        let _running = Running::begin(metrics.running.with_label_values(provider));
        let started = Instant::now();
        log::debug!("loading a model at {}, context {context:?}", server.name);
        match self.load(&server, model, context, &recipe, &ticket).await {
            Ok(()) => {
                let seconds = started.elapsed().as_secs_f64();
                let times = metrics.seconds.with_label_values(provider);
                times.observe(seconds);
                // What the copy's context is, is known before anybody starts on it.
                self.fleet.probe(&server).await;
                ticket.done();
            }
            Err(failed) => {
                metrics.failures.with_label_values(provider).inc();
                if let Failed::Server(outcome) = &failed {
                    self.fleet.report(server.id, *outcome);
                }
                let is_stuck = matches!(failed, Failed::Late(_));
                let fault = failed.fault();
                log::warn!(
                    "a model could not be loaded at {}: {}",
                    server.name,
                    fault.text
                );
                if is_stuck {
                    ticket.stuck(fault);
                } else {
                    ticket.failed(fault);
                }
            }
        }
    }

    async fn load(
        &self,
        server: &Arc<Backend>,
        model: ModelId,
        context: Option<u32>,
        recipe: &LoadRecipe,
        ticket: &LoadTicket,
    ) -> Result<(), Failed> {
        // While it answers nobody else, it is not taken to be down.
        let _serving = server.begin();
        let loading = async {
            let loaded = self.load_somehow(server, model, context, recipe).await;
            match loaded {
                Err(Failed::Request(_) | Failed::Model(_)) => match ticket.without_stated() {
                    Some(context) => self.load_somehow(server, model, context, recipe).await,
                    None => loaded,
                },
                loaded => loaded,
            }
        };
        tokio::select! {
            biased;
            loaded = tokio::time::timeout(self.budget, loading) => {
                loaded.map_err(|_| Failed::Late(self.budget))?
            }
            () = server.silenced() => Err(Failed::Silent),
        }
    }

    /// Has the server load the model, as the request does for which that began. A load is for everybody: what its server finds
    /// wrong with that request is left out, and the server tells its client when the request itself is sent.
    pub(super) async fn load_somehow(
        &self,
        server: &Arc<Backend>,
        model: ModelId,
        context: Option<u32>,
        recipe: &LoadRecipe,
    ) -> Result<(), Failed> {
        let mut loaded = self.ask(server, model, context, recipe).await;
        for plainer in plainer(recipe) {
            if !matches!(loaded, Err(Failed::Request(_))) {
                break;
            }
            loaded = self.ask(server, model, context, &plainer).await;
        }
        loaded
    }

    /// Sends one request that loads the model, and reads its answer.
    async fn ask(
        &self,
        server: &Arc<Backend>,
        model: ModelId,
        context: Option<u32>,
        recipe: &LoadRecipe,
    ) -> Result<(), Failed> {
        let name = self.name(server, model);
        let request = LoadRequest::of(server, &name, context, recipe);
        self.send(server, request).await.map(|_| ())
    }

    /// Returns what the server calls the model.
    pub(super) fn name(&self, server: &Backend, model: ModelId) -> String {
        let inventory = server.inventory();
        let entry = inventory.model(model);
        entry.map_or_else(String::new, |entry| entry.name.clone())
    }

    /// Returns the body of the server's answer to a request.
    pub(super) async fn send(
        &self,
        server: &Arc<Backend>,
        request: pingora::Result<LoadRequest>,
    ) -> Result<Bytes, Failed> {
        let broken = |_| Failed::Server(fleet::RequestOutcome::Reset);
        let (status, headers, body) = self.answer(server, request.map_err(broken)?).await?;
        if status.is_success() && !is_error(&body) {
            return Ok(body);
        }
        // Some say under 200 that they could not.
        let code = if status.is_success() {
            500
        } else {
            status.as_u16()
        };
        let fault = ollama::fault(code, &headers, &body);
        let about_request = matches!(
            fault.kind,
            FaultKind::InvalidRequest | FaultKind::Unsupported
        );
        let told = told(code, &fault);
        Err(if about_request {
            Failed::Request(told)
        } else {
            Failed::Model(told)
        })
    }

    /// Returns the server's answer.
    async fn answer(
        &self,
        server: &Arc<Backend>,
        LoadRequest { head, body }: LoadRequest,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failed> {
        let broken = |_| Failed::Server(fleet::RequestOutcome::Reset);
        let connections = &self.upstreams.side(server.provider.id).connections;
        let mut upstream = connections
            .open_new(server)
            .await
            .map_err(|_| Failed::Server(fleet::RequestOutcome::ConnectFailed))?;
        upstream.send(head, &body).await.map_err(broken)?;
        let head = upstream.read_head().await.map_err(broken)?;
        let (status, headers) = (head.status, head.headers.clone());
        let answer = read(&mut upstream).await.map_err(broken)?;
        upstream.let_end().await;
        Ok((status, headers, answer))
    }
}

/// Returns the recipes that are left where the server finds a request wrong: without the client's options, and as a model that
/// embeds, or that does not, although the client wants the other of it.
fn plainer(recipe: &LoadRecipe) -> impl Iterator<Item = LoadRecipe> {
    let plain = |embeds| LoadRecipe {
        embeds,
        options: None,
    };
    let without = recipe.options.as_ref().map(|_| plain(recipe.embeds));
    without.into_iter().chain([plain(!recipe.embeds)])
}

async fn read(upstream: &mut Upstream) -> pingora::Result<Bytes> {
    let mut answer = BytesMut::new();
    while answer.len() < MAX_ANSWER {
        let Some(piece) = upstream.read_piece().await? else {
            break;
        };
        answer.extend_from_slice(piece);
    }
    Ok(answer.freeze())
}

/// Returns what clients are told, in which neither addresses nor paths of the server are.
fn told(status: u16, fault: &Fault) -> LoadFault {
    let text = match fault.kind {
        FaultKind::Credentials => "the server refuses the gateway's key".into(),
        _ => Arc::from(&*fault.message),
    };
    LoadFault {
        status: Some(status),
        text,
    }
}

/// Returns whether an answer is nothing but an error.
fn is_error(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow, default)]
        error: Option<&'a serde_json::value::RawValue>,
    }
    serde_json::from_slice::<Answer<'_>>(body).is_ok_and(|answer| answer.error.is_some())
}

/// Counts a load while it is under way.
struct Running(IntGauge);

impl Running {
    fn begin(gauge: IntGauge) -> Running {
        gauge.inc();
        Running(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
