//! From the first content to the end: whole lines and events pass as they come, while their reader looks for the end, the
//! usage and errors. A stream that breaks ends with an error of its own format; one whose terminator has come is over,
//! whether or not its body is.

use std::time::Duration;

use pingora::protocols::http::ServerSession;

use crate::fleet::{self, Backend};
use crate::proxy::attempt::answer::{BegunAnswer, UpstreamAnswer};
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::response_body::client::{self, Framing};
use crate::proxy::response_body::end::{is_success, note};
use crate::proxy::response_body::interruption::Interruption;
use crate::proxy::response_body::responder::Responder;
use crate::proxy::response_body::rest::Rest;
use remuda_formats::ir::Usage;

/// A relayed answer, and whether it came to its proper end.
pub(crate) struct Relayed {
    pub(crate) complete: bool,
    /// The backend's own refusal, which the client got as it was.
    pub(crate) refused: bool,
    /// The server has given another answer than the one that was to go on.
    pub(crate) differs: bool,
    /// The answer broke off, and may go on elsewhere: its client has not been told.
    pub(crate) interruption: Option<Box<Interruption>>,
}

impl Responder {
    /// Sends an answer that has begun to the client, to its end. What is held at its server goes back as soon as that has
    /// said everything.
    ///
    /// # Errors
    /// [`Stop::ClientGone`], or [`Stop::Broken`] when an answer that is no stream broke off.
    pub(crate) async fn relay(
        &self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        framing: &Framing,
        begun: BegunAnswer,
    ) -> Result<Relayed, Stop> {
        let BegunAnswer {
            mut answer,
            backend,
            mut hold,
            deadline,
        } = begun;
        if answer.ended && answer.ending.is_none() {
            answer.conclude();
        }
        let head = self.framed_head(&answer, ctx, framing);
        let head = head.ok_or(Stop::Broken)?;
        self.count_dropped(ctx, &answer);
        let streams = answer.reader.streams();
        ctx.outcome.status = head.status.as_u16();
        // What is known of the usage if the client is gone already.
        note(ctx, &answer.reader);
        let ended = answer.ended;
        let mut rest = Rest::of(*answer, self, (&backend, &mut hold), deadline);
        if let Some(end) = rest.at_once(ended) {
            rest.conclude(ctx, end).await;
        }
        if !ctx.opening.head_is_sent()? {
            client::write_head(client, head, ctx.inbound.allow_origin.as_ref()).await?;
        } else if !streams {
            return Err(no_stream().into());
        }
        if rest.end.is_none() {
            match rest.pump(client, ctx).await {
                // Where it could not be said at once.
                Ok(end) if rest.end.is_none() => rest.conclude(ctx, end).await,
                Ok(_) => {}
                Err(stop) => {
                    if rest.end.is_none() {
                        note(ctx, &rest.reader);
                        self.count_malformed(ctx, &rest.reader);
                    }
                    return Err(stop);
                }
            }
        }
        if let Some(from) = rest.interrupted() {
            rest.flush(client, ctx).await?;
            return Ok(Relayed {
                complete: false,
                refused: false,
                differs: false,
                interruption: Some(Box::new(rest.interruption(from))),
            });
        }
        let differs = rest.reader.differs();
        let result = rest.finish(client, ctx).await;
        ctx.outcome.whole = matches!(result, Ok(true));
        let refused = !is_success(ctx.outcome.status);
        result.map(|complete| Relayed {
            complete: complete && !refused,
            refused,
            differs,
            interruption: None,
        })
    }

    /// Counts an answer that broke off, and has the backend probed anew.
    pub(super) fn note_broken(&self, ctx: &Ctx, backend: &Backend, ttft: Duration) {
        if !ctx.outcome.broken {
            return;
        }
        self.metrics
            .upstream
            .broken_streams
            .with_label_values(&[&*backend.provider.name])
            .inc();
        if ctx.outcome.cut || ctx.outcome.blameless {
            return;
        }
        self.fleet.report(backend.id, fleet::RequestOutcome::Reset);
        let first_content = ctx.attempt.first_content;
        let started = first_content.and_then(|at| at.checked_sub(ttft));
        if let Some(started) = started
            && !backend.provider.settings.kind.is_fleet()
        {
            let called = ctx.attempt.called.as_deref();
            self.fleet.broke(backend, called, started);
        }
    }

    /// Learns how many tokens a prompt has, and counts one that its server has shortened.
    pub(super) fn learn(&self, ctx: &Ctx, usage: Option<&Usage>) {
        let tokens = usage.and_then(|usage| usage.prompt);
        let (Some(lesson), Some(tokens)) = (&ctx.attempt.prompt, tokens) else {
            return;
        };
        let (cut, is_news) = lesson.learn(tokens);
        let Some(provider) = self.provider_of(ctx).filter(|_| cut) else {
            return;
        };
        let counter = &self.metrics.upstream.cut_prompts;
        counter.with_label_values(&[&*provider.name]).inc();
        if is_news {
            log::warn!(
                "a server of {} has shortened a prompt to {tokens} tokens; more such prompts for its model are only counted",
                provider.name
            );
        }
    }

    /// Counts the lines and events of an answer that could not be read.
    pub(super) fn count_malformed(&self, ctx: &Ctx, reader: &AnswerReader) {
        if let Some(provider) = ctx.attempt.provider {
            let side = self.upstreams.side(provider);
            side.malformed.inc_by(reader.malformed());
        }
    }

    /// Counts the fields of a request that its provider could not be told.
    fn count_dropped(&self, ctx: &Ctx, answer: &UpstreamAnswer) {
        let Some(provider) = self.provider_of(ctx) else {
            return;
        };
        for field in answer.dropped.fields() {
            self.metrics
                .upstream
                .dropped_fields
                .with_label_values(&[&*provider.name, field])
                .inc();
        }
    }
}

/// Makes the failure for a client that has the head of a stream already.
fn no_stream() -> Failure {
    Failure::new(
        502,
        "no_stream",
        "the backend was asked for a stream and answered with something else",
    )
}
