//! Pingora's hooks. The whole journey runs in `request_filter`: Pingora picks a peer before it has
//! read the body and sends the head before the first content, so its own upstream half can neither
//! choose by model nor fail over after a 200. Subrequests can, at the price of a second session, two
//! channels and a task per attempt; `docs/benchmarks.md` has the comparison.

use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use crate::dialect::ollama::{self, ErrorStyle, Operation};
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::told::{Failure, Stop};
use crate::proxy::listener::guarded::Watch;
use crate::proxy::listener::places::{Full, Place};
use crate::proxy::local::pages::speaks_anthropic;
use crate::proxy::request_filter::body;
use crate::proxy::request_filter::hosts;
use crate::proxy::request_filter::scan;
use crate::proxy::response_body::client::{self, Framing};
use crate::translate::ClientForm;

/// How long a client that gets no place may take to be told so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pingora's error type for journeys that end without a whole answer; it is not logged.
const JOURNEY_ENDED: ErrorType = ErrorType::new("JourneyEnded");

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        let mut ctx = Ctx::default();
        ctx.inbound.ledger = self.ledger.clone();
        ctx
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        _ctx: &mut Ctx,
    ) -> pingora::Result<()> {
        hosts::head_is_whole(session);
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
        let _gauge = scan::GaugeGuard::new(&self.metrics.in_flight);
        let framing = scan::framing(session);
        scan::identify(self, session, ctx);
        if self.drain.draining() {
            session.set_keepalive(None);
        }
        let place = self.place_of_stream(session, ctx);
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
                let style = style(session, ctx);
                let form = ctx.inbound.operation.and_then(ClientForm::of);
                let embeds = form.is_some_and(ClientForm::embeds);
                let failure = failure.in_words_of(style, embeds, self.settings.queue.timeout);
                let told = explain(session, ctx, &framing, &failure);
                let told = match refused {
                    // Who has no place does not keep one by not reading that there is none.
                    true => tokio::time::timeout(FAREWELL, told)
                        .await
                        .unwrap_or(Err(Stop::ClientGone)),
                    false => told.await,
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
        Err(Error::new(JOURNEY_ENDED))
    }

    /// Not reached: every request is answered in `request_filter`.
    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Ctx,
    ) -> pingora::Result<Box<HttpPeer>> {
        Err(Error::new(JOURNEY_ENDED))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Ctx,
    ) -> FailToProxy {
        if *error.etype() != JOURNEY_ENDED && session.response_written().is_none() {
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
        self.record(session, ctx);
        if let Some(watch) = Watch::of(session.digest()) {
            watch.expect_head();
        }
    }
}

impl Gateway {
    /// A stream of HTTP/2 takes a place as a connection does: there may be many on one.
    fn place_of_stream(&self, session: &Session, ctx: &Ctx) -> Result<Option<Place>, Full> {
        match session.is_http2() {
            true => self.places.take(ctx.inbound.client).map(Some),
            false => Ok(None),
        }
    }
}

fn too_many_streams() -> Failure {
    let text = "too many requests at once; the limits are the settings server.max_connections and \
                server.max_connections_per_address";
    Failure::new(503, "too_many_streams", text)
        .retry_after(1)
        .closing()
}

fn style(session: &Session, ctx: &Ctx) -> ErrorStyle {
    match ctx.inbound.operation {
        None => ErrorStyle::of_path(session.req_header().uri.path(), speaks_anthropic(session)),
        Some(Operation::OpenAiModels | Operation::OpenAiModel) if speaks_anthropic(session) => {
            ErrorStyle::Anthropic
        }
        Some(operation) => ErrorStyle::of(operation),
    }
}

/// Tells the client what went wrong: by an answer, or, where that has begun, by the last event of the stream.
async fn explain(
    session: &mut Session,
    ctx: &mut Ctx,
    framing: &Framing,
    failure: &Failure,
) -> Result<(), Stop> {
    ctx.outcome.code = Some(failure.code);
    let style = style(session, ctx);
    let client = &mut session.downstream_session;
    if ctx.opening.head_is_sent()? {
        ctx.outcome.status = 200;
        let last = style.stream_end_of(&failure.told(), false);
        ctx.outcome.bytes += last.len() as u64;
        client::write_piece(client, &last).await?;
        return client::finish(client).await;
    }
    ctx.outcome.status = failure.status;
    ctx.outcome.bytes = client::refuse(client, framing, style, failure, &ctx.inbound).await?;
    if failure.close {
        let beginning = body::linger(client).await;
        if ctx.inbound.asked.is_none() && matches!(failure.status, 401 | 404 | 405) {
            let asked = ollama::named_early(&beginning);
            ctx.inbound.asked = asked.map(|name| name.as_ref().into());
        }
    }
    Ok(())
}
