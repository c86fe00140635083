//! One backend that is asked: the request is sent there, and sent again where a pooled connection was closed or without what
//! was refused, until the answer begins or the backend has failed. Who waits for it attends to the client, so that several
//! can be asked at the same time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use pingora::proxy::Session;

use crate::fleet::Backend;
use crate::ir::{Class, FaultKind, Mend};
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::exchange::{Answer, NoAnswer};
use crate::proxy::attempt::upstream_request::Order;
use crate::proxy::ctx::{Ctx, Sending};
use crate::proxy::failure::attempt::{Cause, Setback, Word};
use crate::proxy::failure::deadline::{Bound, Patience};
use crate::proxy::failure::told::{Failure, Stop};
use crate::proxy::offload::LONG;
use crate::proxy::prepared::Job;

/// Pooled connections that may turn out to be closed before an attempt counts as failed.
const STALE_CONNECTIONS: u32 = 3;

/// One exchange with a backend.
type Exchange<'g> = Pin<Box<dyn Future<Output = Result<Box<Answer>, NoAnswer>> + Send + 'g>>;

/// How an exchange ended.
pub(crate) type Came = Result<Box<Answer>, NoAnswer>;

/// A backend that is asked.
pub(crate) struct Lane<'g> {
    pub(crate) backend: Arc<Backend>,
    pub(crate) job: Arc<Job>,
    /// The backend has all of the request.
    sent: Arc<AtomicBool>,
    /// The first content will be seen before the answer is whole.
    pub(crate) visible: bool,
    key: usize,
    until: Option<Bound>,
    /// One for all that is sent to the backend.
    patience: Option<Patience>,
    stale: u32,
    /// What the request is sent without, once it was refused for that.
    mend: Option<Mend>,
    /// That refusal, until it is known whether anything can be left out.
    refused: Option<Setback>,
    exchange: Option<Exchange<'g>>,
}

impl<'g> Lane<'g> {
    /// `key` is that of its provider's keys, `until` bounds the request, and in `sent` it is noted that the backend has all of
    /// it.
    pub(crate) fn new(
        backend: &Arc<Backend>,
        job: Arc<Job>,
        key: usize,
        until: Option<Bound>,
        sent: Arc<AtomicBool>,
    ) -> Self {
        Self {
            backend: Arc::clone(backend),
            job,
            sent,
            visible: false,
            key,
            until,
            patience: None,
            stale: 0,
            mend: None,
            refused: None,
            exchange: None,
        }
    }

    /// How the exchange ended. Dropping this future ends nothing.
    pub(crate) async fn came(&mut self) -> Came {
        let came = match &mut self.exchange {
            Some(exchange) => exchange.as_mut().await,
            None => std::future::pending().await,
        };
        self.exchange = None;
        came
    }

    /// Ends the exchange, and with it the connection.
    pub(crate) fn stop(&mut self) {
        self.exchange = None;
    }
}

impl Gateway {
    /// Sends the request on `lane`, for the first time or anew.
    ///
    /// # Errors
    /// Why it was not sent.
    pub(crate) async fn launch<'g>(
        &'g self,
        session: &mut Session,
        ctx: &mut Ctx,
        lane: &mut Lane<'g>,
    ) -> Result<(), Setback> {
        let Lane {
            backend, job, key, ..
        } = &*lane;
        let mend = lane.mend;
        let order = match job.body.bytes.len() < LONG {
            true => self.order(session.req_header(), &ctx.inbound, job, backend, *key, mend),
            false => Box::pin(self.order_aside(session, ctx, job, backend, *key, mend)).await?,
        };
        let order = match (order, lane.refused.take()) {
            (Ok(order), None) => order,
            (Ok(order), Some(_)) => {
                self.note_mend(ctx, &lane.backend, mend);
                order
            }
            (Err(_), Some(refused)) => return Err(refused),
            (Err(failure), None) => {
                return Err(Setback::Next {
                    outcome: AttemptOutcome::Refused,
                    report: None,
                    word: Some(Word::Failure(failure)),
                    cause: Cause::new(Class::Route, FaultKind::Unsupported),
                });
            }
        };
        if !order.more.is_empty() {
            let counted = Box::pin(self.count_calls(ctx, order.more.len())).await;
            let word = |failure| Word::Failure(Box::new(failure));
            counted.map_err(|failure| Setback::Final(word(failure), None))?;
        }
        let timeouts = &lane.backend.provider.timeouts;
        let patience = *lane
            .patience
            .get_or_insert_with(|| Patience::begin(timeouts, order.streamed, lane.until));
        lane.visible = order.streamed;
        let sending = Sending {
            attempt: Arc::clone(&lane.sent),
            grant: ctx.inbound.grant.as_ref().map(|grant| grant.sent()),
        };
        let (job, backend) = (Arc::clone(&lane.job), Arc::clone(&lane.backend));
        // Boxed: the stream that follows must not carry the state of its beginning.
        lane.exchange = Some(Box::pin(
            self.attempt(sending, job, backend, order, patience),
        ));
        Ok(())
    }

    /// What an exchange on `lane` came to; `None` if the request is to be sent once more.
    pub(crate) fn judge(
        &self,
        lane: &mut Lane<'_>,
        came: Came,
    ) -> Option<Result<Box<Answer>, Setback>> {
        match came {
            Ok(answer) => {
                if let (Some(mend), Some(ask)) = (lane.mend, &lane.job.ask) {
                    let side = &self.upstreams[lane.backend.provider.id];
                    let own = self.own_name(ask, &lane.backend);
                    side.refusals.note(&own, mend, Instant::now());
                }
                Some(Ok(answer))
            }
            Err(NoAnswer::Stale) if lane.stale < STALE_CONNECTIONS => {
                lane.stale += 1;
                None
            }
            Err(NoAnswer::Stale) => Some(Err(Setback::reset())),
            Err(NoAnswer::Setback(setback)) => match setback.mend() {
                // Once: what it says then is what the client is told.
                Some(wrong) if lane.mend.is_none() => {
                    (lane.mend, lane.refused) = (Some(wrong), Some(setback));
                    None
                }
                _ => Some(Err(setback)),
            },
        }
    }

    /// Asks the backend of `lane` and no other, unless the client leaves first.
    pub(crate) async fn travel_alone<'g>(
        &'g self,
        session: &mut Session,
        ctx: &mut Ctx,
        mut lane: Lane<'g>,
    ) -> Result<Box<Answer>, Setback> {
        loop {
            self.launch(session, ctx, &mut lane).await?;
            let came = tokio::select! {
                biased;
                came = lane.came() => came,
                () = ctx.opening.attend(&mut session.downstream_session) => {
                    return Err(Setback::ClientGone);
                }
                () = self.drain.cut() => return Err(Setback::Cut),
            };
            if let Some(result) = self.judge(&mut lane, came) {
                return result;
            }
        }
    }

    /// As [`Self::order`] for a long body, on another thread.
    async fn order_aside(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        job: &Job,
        backend: &Arc<Backend>,
        key: usize,
        mend: Option<Mend>,
    ) -> Result<Result<Order, Box<Failure>>, Setback> {
        let (gateway, backend) = (self.clone(), Arc::clone(backend));
        let (head, inbound) = (session.req_header().clone(), ctx.inbound.of_order());
        let part = job.of_order();
        let writing = self
            .turns
            .run(move || gateway.order(&head, &inbound, &part, &backend, key, mend));
        let client = &mut session.downstream_session;
        let written = self.unless_ended(client, &mut ctx.opening, writing).await;
        written.map_err(|stop| match stop {
            Stop::Failure(failure) => Setback::Final(Word::Failure(Box::new(failure)), None),
            Stop::ClientGone | Stop::Broken => Setback::ClientGone,
        })
    }

    /// The same backend is sent the request once more, without what it has refused it for.
    fn note_mend(&self, ctx: &mut Ctx, backend: &Backend, mend: Option<Mend>) {
        let Some(mend) = mend else { return };
        ctx.attempt.number += 1;
        self.count(backend, AttemptOutcome::Refused);
        self.metrics
            .mended
            .with_label_values(&[&*backend.provider.name, mend.name()])
            .inc();
        log::info!(
            "refused at {}: request {:?} is sent once more without {}",
            backend.name,
            ctx.inbound.request_id,
            mend.name()
        );
    }
}
