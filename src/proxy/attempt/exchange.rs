//! One backend that is asked: the request is sent there, and sent again where a pooled connection was closed or without what
//! was refused, until the answer begins or the backend has failed. Who waits for it attends to the client, so that several
//! can be asked at the same time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use pingora::protocols::http::ServerSession;

use crate::fleet::Backend;
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::begin::{NoAnswer, attempt};
use crate::proxy::attempt::upstream_request::{RequestSource, UpstreamRequest};
use crate::proxy::attempt::upstreams::Upstreams;
use crate::proxy::ctx::{Ctx, Sending};
use crate::proxy::failure::attempt::{AttemptError, Cause, ClientError, Unanswered};
use crate::proxy::failure::deadline::{Deadline, TimeLimit};
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::offload::LONG;
use crate::proxy::prepared::ModelRequest;
use crate::proxy::response_body::downstream::Downstream;
use remuda_formats::ir::{Class, FaultKind, Mend};

/// Pooled connections that may turn out to be closed before an attempt counts as failed.
const STALE_CONNECTIONS: u32 = 3;

/// One try over one connection.
type Pending<'g> = Pin<Box<dyn Future<Output = Came> + Send + 'g>>;

/// How a try ended.
pub(crate) type Came = Result<Box<UpstreamAnswer>, NoAnswer>;

/// A backend that is asked.
pub(crate) struct UpstreamExchange<'g> {
    gateway: &'g Gateway,
    pub(crate) backend: Arc<Backend>,
    pub(crate) request: Arc<ModelRequest>,
    /// The backend has all of the request.
    sent: Arc<AtomicBool>,
    /// The first content will be seen before the answer is whole.
    pub(crate) visible: bool,
    key: usize,
    until: Option<TimeLimit>,
    /// The deadline of all tries at the backend together; `None` before the first.
    deadline: Option<Deadline>,
    stale: u32,
    /// What the request is sent without, once the backend has refused it for that.
    mend: Option<Mend>,
    /// That refusal, until it is known whether anything can be left out.
    refused: Option<Unanswered>,
    pending: Option<Pending<'g>>,
}

impl<'g> UpstreamExchange<'g> {
    /// Makes an exchange that has not begun. `key` is the position of the provider's key that is used, `until` limits the
    /// request, and `sent` is set once the backend has all of it.
    pub(crate) fn new(
        gateway: &'g Gateway,
        (request, backend): (Arc<ModelRequest>, &Arc<Backend>),
        key: usize,
        until: Option<TimeLimit>,
        sent: Arc<AtomicBool>,
    ) -> Self {
        Self {
            gateway,
            backend: Arc::clone(backend),
            request,
            sent,
            visible: false,
            key,
            until,
            deadline: None,
            stale: 0,
            mend: None,
            refused: None,
            pending: None,
        }
    }

    fn upstreams(&self) -> &'g Arc<Upstreams> {
        &self.gateway.upstreams
    }

    /// Waits for the try to end, and returns how it did. The try goes on if this future is dropped.
    pub(crate) async fn came(&mut self) -> Came {
        let came = match &mut self.pending {
            Some(pending) => pending.as_mut().await,
            None => std::future::pending().await,
        };
        self.pending = None;
        came
    }

    /// Ends the try by closing its connection.
    pub(crate) fn stop(&mut self) {
        self.pending = None;
    }

    /// Sends the request, for the first time or anew.
    ///
    /// # Errors
    /// The reason why the request was not sent.
    pub(crate) async fn launch(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<(), Unanswered> {
        let written = if self.request.body.bytes.len() < LONG {
            let from = RequestSource {
                head: client.req_header(),
                inbound: &ctx.inbound,
                request: &self.request,
                backend: &self.backend,
                key: self.key,
            };
            self.upstreams().write(&from, self.mend)
        } else {
            Box::pin(self.write_aside(client, ctx)).await?
        };
        let written = match (written, self.refused.take()) {
            (Ok(written), None) => written,
            (Ok(written), Some(_)) => {
                self.note_mend(ctx);
                written
            }
            (Err(_), Some(refused)) => return Err(refused),
            (Err(failure), None) => {
                return Err(AttemptError::Retryable {
                    outcome: AttemptOutcome::Refused,
                    report: None,
                    error: Some(ClientError::Failure(failure)),
                    cause: Cause::new(Class::Route, FaultKind::Unsupported),
                }
                .into());
            }
        };
        // What is sent anew has been counted: its first try has come to none of the further calls.
        let is_first = self.stale == 0 && self.mend.is_none();
        if is_first && !written.more.is_empty() {
            let counted = Box::pin(self.gateway.admit.count_calls(ctx, written.more.len())).await;
            counted.map_err(is_final)?;
        }
        self.send(ctx, written);
        Ok(())
    }

    fn send(&mut self, ctx: &Ctx, written: UpstreamRequest) {
        let provider = &self.backend.provider;
        let streamed = written.streamed;
        let deadline = *self
            .deadline
            .get_or_insert_with(|| Deadline::begin(&provider.timeouts, streamed, self.until));
        self.visible = streamed;
        let sending = Sending {
            attempt: Arc::clone(&self.sent),
            grant: ctx.inbound.grant.as_ref().map(|grant| grant.sent()),
        };
        let side = self.gateway.upstreams.side(provider.id);
        let both = (Arc::clone(&self.request), Arc::clone(&self.backend));
        // Boxed: the stream that follows must not carry the state of its beginning.
        self.pending = Some(Box::pin(attempt(side, both, written, sending, deadline)));
    }

    /// Returns the result of a try that has ended; `None` if the request is to be sent once more.
    pub(crate) fn judge(&mut self, came: Came) -> Option<Result<Box<UpstreamAnswer>, Unanswered>> {
        match came {
            Ok(answer) => {
                if let (Some(mend), Some(wanted)) = (self.mend, &self.request.wanted) {
                    let own = self.upstreams().own_name(wanted, &self.backend);
                    let side = self.upstreams().side(self.backend.provider.id);
                    side.refusals.note(&own, mend, Instant::now());
                }
                Some(Ok(answer))
            }
            Err(NoAnswer::Stale) if self.stale < STALE_CONNECTIONS => {
                self.stale += 1;
                None
            }
            Err(NoAnswer::Stale) => Some(Err(AttemptError::reset().into())),
            Err(NoAnswer::Failed(failed)) => match failed.error.mend() {
                // Once: what it says then is what the client is told.
                Some(wrong) if self.mend.is_none() => {
                    (self.mend, self.refused) = (Some(wrong), Some(failed));
                    None
                }
                _ => Some(Err(failed)),
            },
        }
    }

    /// Asks the backend and no other, unless the client leaves first.
    pub(crate) async fn run(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<Box<UpstreamAnswer>, Unanswered> {
        loop {
            self.launch(client, ctx).await?;
            let mut waiting = Downstream {
                client,
                opening: &mut ctx.opening,
                drain: &self.gateway.drain,
            };
            let came = tokio::select! {
                biased;
                came = self.came() => came,
                error = waiting.ends() => return Err(error.into()),
            };
            if let Some(result) = self.judge(came) {
                return result;
            }
        }
    }

    /// Writes a long request on another thread.
    async fn write_aside(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<Result<UpstreamRequest, Box<Failure>>, Unanswered> {
        let (upstreams, backend) = (Arc::clone(self.upstreams()), Arc::clone(&self.backend));
        let (head, inbound) = (client.req_header().clone(), ctx.inbound.of_order());
        let (request, key, mend) = (self.request.to_write(), self.key, self.mend);
        let writing = self.upstreams().offload.run(move || {
            let from = RequestSource {
                head: &head,
                inbound: &inbound,
                request: &request,
                backend: &backend,
                key,
            };
            upstreams.write(&from, mend)
        });
        let mut waiting = Downstream {
            client,
            opening: &mut ctx.opening,
            drain: &self.gateway.drain,
        };
        let written = waiting.unless_ended(writing).await;
        written.map_err(|stop| match stop {
            Stop::Failure(failure) => is_final(failure),
            Stop::ClientGone | Stop::Broken => AttemptError::ClientGone.into(),
        })
    }

    /// Notes that the same backend is sent the request once more, without what it has refused it for.
    fn note_mend(&self, ctx: &mut Ctx) {
        let Some(mend) = self.mend else { return };
        let backend = &self.backend;
        ctx.attempt.number += 1;
        self.upstreams().count(backend, AttemptOutcome::Refused);
        self.upstreams()
            .metrics
            .upstream
            .mended
            .with_label_values(&[&*backend.provider.name, mend.name()])
            .inc();
        log::info!(
            "{} has refused request {:?}, which is sent there once more without {}",
            backend.name,
            ctx.inbound.request_id,
            mend.name()
        );
    }
}

/// Makes the end of an attempt of the gateway's own failure, which no other backend would avoid.
fn is_final(failure: Failure) -> Unanswered {
    AttemptError::Final(ClientError::Failure(Box::new(failure)), None).into()
}
