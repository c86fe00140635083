//! The head of an answer that is relayed: what of the backend's passes, and what the gateway says besides.

use std::time::SystemTime;

use http::header::{CONTENT_TYPE, HeaderValue};

use crate::proxy::attempt::answer::UpstreamAnswer;
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::attempt::upstream_request::dropped_field;
use crate::proxy::ctx::Ctx;
use crate::proxy::heads;
use crate::proxy::response_body::client::Framing;
use crate::proxy::response_body::head::Head;
use crate::proxy::response_body::limits::state_limits;
use crate::proxy::response_body::responder::Responder;
use remuda_formats::client::ErrorStyle;
use remuda_formats::dialect::rate_limits::Names;
use remuda_formats::translate::Ending;

impl Responder {
    /// Makes the head of an answer with how its body is framed; `None` if the backend's head is not there yet.
    pub(super) fn framed_head(
        &self,
        answer: &UpstreamAnswer,
        ctx: &Ctx,
        framing: &Framing,
    ) -> Option<Head> {
        let mut head = self.answer_head(answer, ctx, framing)?;
        let streams = answer.reader.streams();
        if answer.reader.composes() && answer.ending == Some(Ending::Complete) && !streams {
            // Nothing is to come any more: the answer leaves in one write.
            heads::state_length(&mut head, answer.begun.len());
        } else if streams {
            // What broke off may go on.
            let known = answer.ending.filter(|_| !answer.reader.may_go_on());
            let known = known.map(|_| answer.begun.len());
            heads::unstate_length(&mut head, known, framing.version, &framing.method);
        }
        Some(head)
    }

    /// Makes the head of an answer; `None` if the backend's is not there yet.
    fn answer_head(&self, answer: &UpstreamAnswer, ctx: &Ctx, framing: &Framing) -> Option<Head> {
        let of_backend = answer.upstream.head()?;
        let request_id = &ctx.inbound.request_id;
        let mut head = match &answer.reader {
            AnswerReader::Across(translation) if answer.across => heads::translated_response(
                translation.content_type(),
                framing.version,
                &framing.method,
                request_id,
            ),
            _ => heads::downstream_response(
                of_backend,
                self.is_service(ctx),
                framing.version,
                &framing.method,
                request_id,
            ),
        };
        if let Some(kind) = answer.reader.content_type().filter(|_| !answer.across) {
            head.set(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let style = ctx.inbound.operation.map(ErrorStyle::of);
        let names = style.filter(|_| answer.across).and_then(limit_names);
        if let (Some(limits), Some(names)) = (&answer.limits, names) {
            limits.write(names, SystemTime::now(), |name, value| {
                head.set(name, value)
            });
        }
        // A client's own limits are nearer to it.
        if let Some(style) = style {
            state_limits(ctx.inbound.key.as_ref(), style, &mut head);
        }
        if let Some(dropped) = dropped_field(&answer.dropped) {
            head.set(heads::X_REMUDA_DROPPED, dropped);
        }
        if let (Some(lesson), Some(usage)) = (&ctx.attempt.prompt, answer.reader.usage())
            && usage.prompt.is_some_and(|tokens| lesson.is_cut(tokens))
        {
            head.set(
                heads::X_REMUDA_TRUNCATED,
                HeaderValue::from_static("prompt"),
            );
        }
        if self.settings.server.expose_backend {
            let backend = ctx.attempt.backend.as_deref();
            if let Some(backend) = backend.and_then(|name| HeaderValue::try_from(name).ok()) {
                head.set(heads::X_REMUDA_BACKEND, backend);
            }
            head.set(heads::X_REMUDA_ATTEMPTS, ctx.attempt.number.into());
        }
        Some(head)
    }
}

/// Returns by which names a client of another format than the provider's is told the provider's rate limits; `None` if the
/// client's format has none.
fn limit_names(style: ErrorStyle) -> Option<Names> {
    match style {
        ErrorStyle::Ollama => None,
        ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => Some(Names::OpenAi),
        ErrorStyle::Anthropic => Some(Names::Anthropic),
    }
}
