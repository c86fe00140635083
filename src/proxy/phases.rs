//! Pingora's hooks, and how the stages of a request's way follow one another. All of them run in `request_filter`: Pingora
//! picks a peer before it has read the body and sends the head before the first content, so its own upstream half can
//! neither choose by model nor fail over after a 200. Subrequests can, at the price of a second session, two channels and a
//! task per attempt; `docs/benchmarks.md` has the comparison.

use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::admin;
use crate::metrics::AttemptOutcome;
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::BegunAnswer;
use crate::proxy::ctx::Ctx;
use crate::proxy::dispatch::dispatched::Dispatched;
use crate::proxy::dispatch::resume::Resumption;
use crate::proxy::dispatch::run::run;
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::listener::watch::Watch;
use crate::proxy::local::copies::load_or_unload;
use crate::proxy::local::look_up::look_up;
use crate::proxy::request_filter::body::closing_with_body;
use crate::proxy::request_filter::cors::Sender;
use crate::proxy::request_filter::identify;
use crate::proxy::request_filter::prepare::Next;
use crate::proxy::request_filter::route;
use crate::proxy::response_body::client::{self, Framing};
use crate::proxy::response_body::page::send_page;
use crate::proxy::response_body::relay::Relayed;
use remuda_formats::client::Operation;

/// How long a client that gets no place may take to be told so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pingora's error type for requests that end without a whole answer; it is not logged.
const NOT_ANSWERED: ErrorType = ErrorType::new("NotAnswered");

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        let mut ctx = Ctx::default();
        ctx.inbound.ledger = self.record.ledger.clone();
        ctx
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        _ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        identify::head_is_whole(session);
        let keepalive = self.settings.server.keepalive_timeout.as_secs().max(1);
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(keepalive));
        }
        session.downstream_session.set_pipelining_enabled(true);
        session
            .downstream_session
            .set_write_timeout(Some(self.settings.timeouts.between_chunks));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> pingora::Result<bool> {
        let _in_flight = self.drain.enter();
        let _gauge = self.record.in_flight();
        let framing = identify::framing(session);
        identify::identify(&self.request_ids, session, ctx);
        if self.drain.draining() {
            session.set_keepalive(None);
        }
        let place = self.admit.stream(session, &ctx.inbound);
        let refused = place.is_err();
        let served = match &place {
            Ok(_) => self.serve(session, ctx, &framing).await,
            Err(_) => Err(too_many_streams().into()),
        };
        ctx.settle();
        let stop = match served {
            Ok(()) => return Ok(true),
            Err(stop) => stop,
        };
        match stop {
            Stop::Failure(failure) => {
                let told = self.responder.explain(session, ctx, &framing, failure);
                let told = if refused {
                    // Who has no place does not keep one by not reading that there is none.
                    let told = tokio::time::timeout(FAREWELL, told).await;
                    told.unwrap_or(Err(Stop::ClientGone))
                } else {
                    told.await
                };
                if told.is_ok() {
                    return Ok(true);
                }
                ctx.outcome.status = 499;
            }
            Stop::ClientGone => {
                ctx.outcome.status = 499;
                ctx.outcome.code = Some("client_gone");
            }
            Stop::Broken => ctx.outcome.broken = true,
        }
        // Ends the connection without the terminator that would make the answer look whole.
        Err(Error::new(NOT_ANSWERED))
    }

    /// Is not reached, as every request is answered in `request_filter`.
    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Ctx,
    ) -> pingora::Result<Box<HttpPeer>> {
        Err(Error::new(NOT_ANSWERED))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Ctx,
    ) -> FailToProxy {
        if *error.etype() != NOT_ANSWERED && session.response_written().is_none() {
            ctx.outcome.status = 500;
            if let Ok(mut head) = ResponseHeader::build(500, Some(1)) {
                let _ = head.insert_header(http::header::CONTENT_LENGTH, "0");
                let _ = session.write_response_header(Box::new(head), true).await;
            }
        }
        FailToProxy {
            error_code: ctx.outcome.status,
            can_reuse_downstream: false,
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Ctx) {
        self.record.request(session, ctx);
        if let Some(watch) = Watch::of(session.digest()) {
            watch.expect_head();
        }
    }
}

impl Gateway {
    /// Answers one request: admits it, and has it served by a backend or answers it here.
    ///
    /// # Errors
    /// The failure that the client is to be told instead, or why it cannot be told anything.
    async fn serve(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
    ) -> Result<(), Stop> {
        let server = &self.settings.server;
        let operation = route::route(server, session, &mut ctx.inbound);
        let sender = self.admit.page(session, &mut ctx.inbound);
        self.admit.host(session)?;
        self.admit.address(session, &ctx.inbound)?;
        identify::head_fits(session, server.max_header)?;
        // Boxed, as hardly any request is one of a web page.
        if sender != Sender::Own
            && Box::pin(self.admit.answer_page(session, ctx, framing, &sender)).await?
        {
            return Ok(());
        }
        self.admit.rate(session, &ctx.inbound)?;
        self.admit.key(session, &mut ctx.inbound)?;
        let _share = self.admit.share(&ctx.inbound)?;
        let asks_for_keys = self.admit.asks_for_keys();
        let place = self
            .pages
            .about_itself(session, &ctx.inbound, asks_for_keys)
            .map_err(|failure| closing_with_body(session, failure))?;
        if let Some((route, page)) = place {
            ctx.inbound.route = route;
            return send_page(session, ctx, framing, page).await;
        }
        let operation =
            operation.map_err(|miss| route::missed(server, session, &ctx.inbound, miss))?;
        ctx.inbound.route = operation.name();
        if !operation.is_inference() {
            // Boxed, so that no stream carries the state of what it is not.
            return Box::pin(self.answer_here(session, ctx, framing, operation)).await;
        }
        match self.prepare(session, ctx, framing, operation).await? {
            Next::Page(page) => send_page(session, ctx, framing, page).await,
            Next::Load(prepared, what) => {
                // Boxed, as hardly any request is one.
                Box::pin(load_or_unload(
                    self,
                    session,
                    ctx,
                    framing,
                    (*prepared, what),
                ))
                .await
            }
            Next::Dispatch(prepared) => {
                let client = &mut session.downstream_session;
                match run(self, client, ctx, *prepared).await? {
                    (Dispatched::Begun(begun), resumption) => {
                        self.deliver(session, ctx, framing, (begun, resumption))
                            .await
                    }
                    (Dispatched::Failed(error), _) => {
                        self.responder.tell(session, ctx, framing, error).await
                    }
                    (Dispatched::Uncounted(body), _) => {
                        let page = admin::estimated_tokens(&body);
                        send_page(session, ctx, framing, page).await
                    }
                }
            }
        }
    }

    /// Answers a request that runs no model.
    ///
    /// # Errors
    /// The failure that the client is to be told instead, or why it cannot be told anything.
    async fn answer_here(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        operation: Operation,
    ) -> Result<(), Stop> {
        if operation.is_management() {
            return self.manage(session, ctx, framing, operation).await;
        }
        if matches!(
            operation,
            Operation::Tags | Operation::OpenAiModels | Operation::Ps
        ) {
            client::has_room(&session.downstream_session)?;
        }
        let head = session.req_header();
        match self.pages.of_fleet(head, &ctx.inbound, operation) {
            Some(page) => send_page(session, ctx, framing, page).await,
            None => look_up(self, session, ctx, framing, operation).await,
        }
    }

    /// Relays an answer that has begun, and counts how its attempt ended.
    ///
    /// # Errors
    /// Why the client did not get all of it.
    async fn deliver(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        framing: &Framing,
        (begun, resumption): (BegunAnswer, Option<Box<Resumption>>),
    ) -> Result<(), Stop> {
        let client = &mut session.downstream_session;
        let relayed = self.relay(client, ctx, framing, begun).await?;
        match (relayed.interruption, resumption) {
            // Boxed, as hardly any answer breaks off.
            (Some(interruption), Some(resumption)) => {
                let broken = (*interruption, resumption);
                Box::pin(self.go_on(client, ctx, framing, broken)).await
            }
            (Some(interruption), None) => interruption.tell(client, ctx).await,
            (None, _) => Ok(()),
        }
    }

    /// Relays an answer, to its end or until it breaks off, and counts how its attempt ended.
    ///
    /// # Errors
    /// Why the client did not get all of it.
    pub(super) async fn relay(
        &self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        framing: &Framing,
        begun: BegunAnswer,
    ) -> Result<Relayed, Stop> {
        let upstream = self.upstreams.side(begun.backend.provider.id);
        let relayed = self.responder.relay(client, ctx, framing, begun).await;
        upstream.count(match &relayed {
            Ok(Relayed { refused: true, .. }) => AttemptOutcome::Refused,
            Ok(Relayed { complete: true, .. }) => AttemptOutcome::Ok,
            Ok(Relayed { differs: true, .. }) => AttemptOutcome::Cancelled,
            Err(Stop::ClientGone) => AttemptOutcome::ClientGone,
            Ok(_) | Err(_) => AttemptOutcome::BrokenStream,
        });
        relayed
    }
}

fn too_many_streams() -> Failure {
    let text = "too many requests at once; the limits are the settings server.max_connections and \
                server.max_connections_per_address";
    Failure::new(503, "too_many_streams", text)
        .retry_after(1)
        .closing()
}
