//! Goes on with a streamed answer that broke off: another candidate is asked for it, as if the one that broke off had failed
//! before it began. What the client has of the answer is left out of what is told anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::protocols::http::ServerSession;

use crate::fleet::Backend;
use crate::ids::BackendId;
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::BegunAnswer;
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::candidate::Dispatch;
use crate::proxy::dispatch::dispatched::{Dispatched, Following, owned};
use crate::proxy::dispatch::failover::{Conditions, FailedAttempt, NextStep, TriedBackend};
use crate::proxy::dispatch::progress::PlanProgress;
use crate::proxy::failure::Stop;
use crate::proxy::failure::attempt::Cause;
use crate::proxy::failure::deadline::TimeLimit;
use crate::proxy::prepared::{Criteria, ModelRequest, Resuming};
use crate::proxy::request_filter::body_budget::Body;
use crate::settings::Resume;
use remuda_formats::client::Operation;
use remuda_formats::ir::{Class, FaultKind};
use remuda_formats::translate::{ClientForm, Interrupted, can_be_told_again};

/// How often one answer may go on elsewhere.
const MOST: u32 = 8;

/// What it takes to go on with an answer.
pub(crate) struct Resumption {
    progress: PlanProgress,
    criteria: Criteria,
    request: Arc<ModelRequest>,
    total: Option<TimeLimit>,
    /// Who gave the answer so far.
    backend: Arc<Backend>,
    /// How often it may still go on.
    left: u32,
}

/// Returns whether the answer to a request may go on elsewhere if it breaks off: it is a stream of words, and there is
/// somebody else to be asked for it.
pub(super) fn is_possible(
    gateway: &Gateway,
    ctx: &Ctx,
    (operation, body, pinned): (Operation, &Body, Option<BackendId>),
) -> bool {
    let is_chat = || ClientForm::of(operation).is_some_and(|form| !form.embeds());
    gateway.settings.routing.resume != Resume::Off
        && ctx.inbound.streams
        && pinned.is_none()
        && is_chat()
        && gateway.fleet.snapshot().len() > 1
        && body.may_be_kept()
}

impl Dispatch<'_> {
    /// Keeps what it takes to go on with an answer that has begun.
    pub(super) fn resumption(
        self,
        request: Arc<ModelRequest>,
        begun: &BegunAnswer,
    ) -> Box<Resumption> {
        Box::new(Resumption {
            progress: self.progress,
            criteria: self.criteria,
            request,
            total: self.total,
            backend: Arc::clone(&begun.backend),
            left: MOST,
        })
    }

    /// Finds a slot of somebody who may go on, as after a failure of the one that broke off.
    async fn slot_to_go_on(
        &mut self,
        request: &ModelRequest,
        backend: &Backend,
    ) -> Result<Option<Following>, Stop> {
        let failed = FailedAttempt {
            at: TriedBackend::of(backend),
            // It is not asked again, whatever it broke off with.
            cause: &Cause::new(Class::Transient, FaultKind::Timeout),
            took: Duration::ZERO,
        };
        let moment = Conditions {
            now: Instant::now(),
            total: self.total,
            chance: 0.0,
        };
        let routing = &self.gateway.settings.routing;
        let queue = &self.gateway.queue;
        match self
            .progress
            .after_failure(&failed, routing, queue, &moment)
        {
            NextStep::Stop | NextStep::OtherKey | NextStep::Again(_) => return Ok(None),
            NextStep::Replan => self.replan(),
            NextStep::OtherBackend | NextStep::AnyBackend | NextStep::NextProvider => {}
        }
        self.next_slot(request, None).await.map(Some)
    }
}

/// Asks for the rest of an answer that broke off. Returns the answer that goes on, and what it takes to go on once more;
/// `None` if nobody goes on with it.
///
/// # Errors
/// Why nobody could be asked, or that the client has gone.
pub(crate) async fn resume(
    gateway: &Gateway,
    client: &mut ServerSession,
    ctx: &mut Ctx,
    resumption: Box<Resumption>,
    from: &Arc<Interrupted>,
) -> Result<Option<(BegunAnswer, Box<Resumption>)>, Stop> {
    let Resumption {
        mut progress,
        criteria,
        mut request,
        total,
        backend,
        left,
    } = *resumption;
    let operation = request.operation;
    if left == 0 || !can_be_told_again(operation, &request.body.bytes) {
        return Ok(None);
    }
    progress.goes_on(gateway.settings.routing.resume == Resume::Any);
    owned(&mut request).resume = Resuming::From(Arc::clone(from));
    ctx.opening.goes_on();
    let mut dispatch = Dispatch {
        gateway,
        client,
        ctx,
        progress,
        criteria,
        operation,
        total,
    };
    let Some(following) = dispatch.slot_to_go_on(&request, &backend).await? else {
        return Ok(None);
    };
    match dispatch.attempts(&mut request, following).await? {
        Dispatched::Begun(begun) => {
            let mut resumption = dispatch.resumption(request, &begun);
            resumption.left = left - 1;
            Ok(Some((begun, resumption)))
        }
        Dispatched::Failed(_) | Dispatched::Uncounted(_) => Ok(None),
    }
}
