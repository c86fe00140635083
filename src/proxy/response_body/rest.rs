//! What is left of an answer whose head has been read, and what is held at its server until that has said everything.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use pingora::protocols::http::ServerSession;

use crate::fleet::Backend;
use crate::proxy::attempt::answer::{UpstreamAnswer, headers_of};
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::Stop;
use crate::proxy::response_body::client;
use crate::proxy::response_body::end::{End, early, is_success, last_words, note_end};
use crate::proxy::response_body::hold::Hold;
use crate::proxy::response_body::interruption::{Interruption, is_of_any, tell_end};
use crate::proxy::response_body::outgoing::Outgoing;
use crate::proxy::response_body::responder::Responder;
use crate::proxy::upstream::Upstream;
use remuda_formats::dialect::ollama::STREAM_BROKEN;
use remuda_formats::translate::{Ending, Interrupted};

/// An answer whose head has been read, from its first content to its end.
pub(super) struct Rest<'a> {
    pub(super) responder: &'a Responder,
    pub(super) backend: &'a Backend,
    /// What goes back once the server has said everything.
    hold: &'a mut Hold,
    /// `None` once its server has said everything. Boxed, as a stream holds it for as long as it lasts.
    pub(super) upstream: Option<Box<Upstream>>,
    pub(super) reader: AnswerReader,
    /// What its client gets next.
    pub(super) outgoing: Outgoing,
    /// Until when all of it may last.
    pub(super) deadline: Option<Instant>,
    /// How the body ended, if its reader was told.
    ending: Option<Ending>,
    /// How reading it ended, once what was held at the server has been given back.
    pub(super) end: Option<End>,
}

impl<'a> Rest<'a> {
    /// Takes an answer that has begun, and what came of it.
    pub(super) fn of(
        answer: UpstreamAnswer,
        responder: &'a Responder,
        (backend, hold): (&'a Backend, &'a mut Hold),
        deadline: Option<Instant>,
    ) -> Self {
        let mut outgoing = Outgoing::default();
        outgoing.push(&answer.begun);
        Rest {
            responder,
            backend,
            hold,
            upstream: Some(Box::new(answer.upstream)),
            reader: answer.reader,
            outgoing,
            deadline,
            ending: answer.ending,
            end: None,
        }
    }

    /// Returns how an answer ends of which nothing more is wanted. `ended` says that its body has come.
    pub(super) fn at_once(&self, ended: bool) -> Option<End> {
        if ended {
            Some(End::Whole)
        } else {
            early(&self.reader)
        }
    }

    /// Notes that the server has said everything: what was held there goes back, and what the client still gets is put to
    /// what is on its way.
    pub(super) async fn conclude(&mut self, ctx: &mut Ctx, end: End) {
        let (ending, end) = self.last_words(end);
        self.ending = Some(ending);
        self.end = Some(end);
        note_end(ctx, &self.reader, (ending, end));
        self.responder.count_malformed(ctx, &self.reader);
        let whole = ending == Ending::Complete && is_success(ctx.outcome.status);
        let usage = self.reader.usage();
        self.hold.give_back(whole, usage.as_ref());
        self.responder.learn(ctx, usage.as_ref());
        self.responder
            .note_broken(ctx, self.backend, self.hold.ttft);
        if let Some(upstream) = self.upstream.take()
            && matches!(end, End::Whole | End::Over)
            && !self.reader.cut()
        {
            // Boxed, as its future is larger than that of the stream.
            Box::pin(upstream.let_end()).await;
        }
    }

    fn last_words(&mut self, end: End) -> (Ending, End) {
        if let Some(ending) = self.ending {
            return (ending, end);
        }
        let headers = || match &self.upstream {
            Some(upstream) => headers_of(upstream),
            None => Cow::Owned(HeaderMap::new()),
        };
        last_words(&mut self.reader, headers, end, &mut self.outgoing)
    }

    /// Returns the answer as its client has it, if it broke off by no will of the gateway's and may go on elsewhere.
    pub(super) fn interrupted(&self) -> Option<Interrupted> {
        let text = match self.end? {
            End::Broken(text) => text,
            End::Whole | End::Told { cut: false } if self.ending == Some(Ending::Failed) => {
                STREAM_BROKEN
            }
            _ => return None,
        };
        if self.reader.fault().is_some_and(is_of_any) {
            return None;
        }
        self.reader.interrupted(text)
    }

    /// Keeps of an answer that broke off what ends it if nobody goes on with it.
    pub(super) fn interruption(self, from: Interrupted) -> Interruption {
        Interruption {
            from: Arc::new(from),
            reader: self.reader,
            end: self.end,
        }
    }

    /// Sends what is ready.
    ///
    /// # Errors
    /// [`Stop::ClientGone`].
    pub(super) async fn flush(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<(), Stop> {
        let ready = self.outgoing.take();
        ctx.outcome.bytes += ready.len() as u64;
        client::write_piece(client, &ready).await
    }

    /// Ends the client's answer. Returns whether it is whole.
    ///
    /// # Errors
    /// [`Stop::Broken`] where the client cannot be told that something is missing, and [`Stop::ClientGone`].
    pub(super) async fn finish(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<bool, Stop> {
        if self.ending == Some(Ending::Failed) {
            tell_end(&mut self.reader, &mut self.end, &mut self.outgoing);
        }
        self.flush(client, ctx).await?;
        if self.end.is_some_and(End::is_untold) {
            // Of one body: what is missing of it cannot be told within it.
            return Err(Stop::Broken);
        }
        client::finish(client).await?;
        Ok(self.ending == Some(Ending::Complete))
    }
}
