//! From the first content to the end: bytes pass as they come, while a tap looks for the proper end
//! and the usage. A stream that breaks ends with an error of its own format.

use std::future::Future;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::time::{Sleep, sleep_until};

use super::Gateway;
use super::attempt::{Answer, Job};
use super::client::{self, Framing, departed};
use super::ctx::Ctx;
use super::failure::Stop;
use super::heads;
use super::outgoing::{Outgoing, Unit};
use super::upstream::Upstream;
use crate::dialect::ollama::{self, Ending, ErrorStyle, STREAM_BROKEN, Tap};

/// A piece this large is written as it is rather than gathered.
const LARGE: usize = 16 * 1024;

/// How reading the answer ended.
enum End {
    /// Its proper end.
    Whole,
    /// The backend broke it off; the text says how.
    Broken(&'static str),
    /// The gateway ended it; the text says why.
    Cut(&'static str),
}

/// A relayed answer, and whether it came to its proper end.
pub(super) struct Relayed {
    pub(super) complete: bool,
    pub(super) load_duration: Option<Duration>,
}

impl Gateway {
    /// Sends an answer that has begun to the client, to its end.
    ///
    /// # Errors
    /// [`Stop::ClientGone`], or [`Stop::Broken`] when an answer that is no stream broke off.
    pub(super) async fn relay(
        &self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        framing: &Framing,
        job: &Job,
        mut answer: Box<Answer>,
        deadline: Option<Instant>,
    ) -> Result<Relayed, Stop> {
        let head = self
            .answer_head(answer.upstream.head().ok_or(Stop::Broken)?, ctx, framing)
            .map_err(|_| Stop::Broken)?;
        let unit = match job.operation.framing() {
            _ if !answer.tap.streams() => Unit::Body,
            ollama::Framing::Sse => Unit::Event,
            _ => Unit::Line,
        };
        ctx.outcome.status = head.status.as_u16();
        client::write_head(client, head).await?;
        let mut outgoing = Outgoing::new(unit);
        outgoing.push(&answer.begun);
        answer.begun = bytes::BytesMut::new();
        let end = if answer.ended {
            End::Whole
        } else {
            self.pump(client, ctx, &mut answer, &mut outgoing, deadline)
                .await?
        };
        let ending = answer.tap.finish();
        self.note(ctx, &answer.tap);
        let result = conclude(client, ctx, job, unit, &mut outgoing, &end, ending).await;
        if matches!(end, End::Whole) {
            // Boxed, as its future is larger than that of the stream.
            Box::pin(answer.upstream.release()).await;
        }
        result.map(|complete| Relayed {
            complete,
            load_duration: ctx
                .outcome
                .usage
                .map(|usage| Duration::from_nanos(usage.load_duration)),
        })
    }

    fn note(&self, ctx: &mut Ctx, tap: &Tap) {
        ctx.outcome.usage = tap.usage();
        ctx.outcome.content_lines = tap.content_lines();
    }

    fn answer_head(
        &self,
        answer: &ResponseHeader,
        ctx: &Ctx,
        framing: &Framing,
    ) -> pingora::Result<ResponseHeader> {
        let mut head = heads::downstream_response(
            answer,
            framing.version,
            &framing.method,
            &ctx.inbound.request_id,
        )?;
        if self.settings.server.expose_backend {
            if let Some(backend) = &ctx.attempt.backend {
                head.insert_header(heads::X_REMUDA_BACKEND, &**backend)?;
            }
            head.insert_header(
                heads::X_REMUDA_ATTEMPTS,
                HeaderValue::from(ctx.attempt.number),
            )?;
        }
        Ok(head)
    }

    /// Moves pieces until the answer ends, the client leaves, or a bound is reached.
    async fn pump(
        &self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        answer: &mut Answer,
        outgoing: &mut Outgoing,
        deadline: Option<Instant>,
    ) -> Result<End, Stop> {
        let pause = self.settings.timeouts.between_chunks;
        let mut last = Instant::now();
        let bound =
            |last: Instant| deadline.map_or(last + pause, |deadline| deadline.min(last + pause));
        let silence = sleep_until(bound(last).into());
        let cut = self.drain.cut();
        tokio::pin!(silence, cut);
        send(client, ctx, outgoing).await?;
        loop {
            let Answer { upstream, tap, .. } = &mut *answer;
            tokio::select! {
                biased;
                piece = upstream.read_piece() => match piece {
                    Ok(Some(piece)) => {
                        tap.feed(piece);
                        last = Instant::now();
                        if piece.len() >= LARGE && !tap.streams() {
                            ctx.outcome.bytes += piece.len() as u64;
                            client::write_piece(client, piece).await?;
                        } else {
                            outgoing.push(piece);
                        }
                    }
                    Ok(None) => return Ok(End::Whole),
                    Err(_) => return Ok(End::Broken(STREAM_BROKEN)),
                },
                () = departed(client) => return Err(Stop::ClientGone),
                () = &mut silence => match overdue(silence.as_mut(), bound(last)) {
                    true if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                        return Ok(End::Cut("the answer took longer than the setting timeouts.total"));
                    }
                    true => return Ok(End::Broken("the backend paused for longer than the setting timeouts.between_chunks")),
                    false => continue,
                },
                () = &mut cut => return Ok(End::Cut("the gateway is shutting down")),
            }
            let end = gather(upstream, tap, outgoing).await;
            send(client, ctx, outgoing).await?;
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }
}

/// Takes what has already arrived, so that a burst leaves in one write. Gives the end if it is among it.
async fn gather(upstream: &mut Upstream, tap: &mut Tap, outgoing: &mut Outgoing) -> Option<End> {
    while !outgoing.enough() {
        if upstream.done() {
            return Some(End::Whole);
        }
        let arrived = std::future::poll_fn(|context| {
            let reading = std::pin::pin!(upstream.read_piece());
            Poll::Ready(match reading.poll(context) {
                Poll::Ready(Ok(Some(piece))) => {
                    tap.feed(piece);
                    outgoing.push(piece);
                    Arrived::Piece
                }
                Poll::Ready(Ok(None)) => Arrived::End(End::Whole),
                Poll::Ready(Err(_)) => Arrived::End(End::Broken(STREAM_BROKEN)),
                Poll::Pending => Arrived::Nothing,
            })
        });
        match arrived.await {
            Arrived::Piece => {}
            Arrived::Nothing => return None,
            Arrived::End(end) => return Some(end),
        }
    }
    None
}

/// What a read that must not wait found.
enum Arrived {
    Piece,
    Nothing,
    End(End),
}

/// Whether `bound` has passed; otherwise the timer is set to it. The timer is not moved with every
/// piece, which would cost more than the piece.
fn overdue(timer: std::pin::Pin<&mut Sleep>, bound: Instant) -> bool {
    if bound <= Instant::now() {
        return true;
    }
    timer.reset(bound.into());
    false
}

async fn send(
    client: &mut ServerSession,
    ctx: &mut Ctx,
    outgoing: &mut Outgoing,
) -> Result<(), Stop> {
    let ready = outgoing.ready();
    if !ready.is_empty() {
        ctx.outcome.bytes += ready.len() as u64;
        client::write_piece(client, ready).await?;
        outgoing.sent();
    }
    Ok(())
}

/// Ends the client's answer. Returns whether it is whole.
async fn conclude(
    client: &mut ServerSession,
    ctx: &mut Ctx,
    job: &Job,
    unit: Unit,
    outgoing: &mut Outgoing,
    end: &End,
    ending: Ending,
) -> Result<bool, Stop> {
    let text = match end {
        End::Whole if ending != Ending::Incomplete => {
            outgoing.end();
            send(client, ctx, outgoing).await?;
            client::finish(client).await?;
            ctx.outcome.broken = ending == Ending::Error && ctx.outcome.status == 200;
            return Ok(ending == Ending::Complete);
        }
        // The last line or event has come, and nothing after it: only the transport's own end is missing.
        End::Broken(_)
            if unit != Unit::Body && ending != Ending::Incomplete && outgoing.is_whole() =>
        {
            client::finish(client).await?;
            ctx.outcome.broken = ending == Ending::Error;
            return Ok(ending == Ending::Complete);
        }
        End::Whole => STREAM_BROKEN,
        End::Broken(text) | End::Cut(text) => text,
    };
    ctx.outcome.broken = true;
    ctx.outcome.cut = matches!(end, End::Cut(_));
    ctx.outcome.code = Some("broken_stream");
    if unit == Unit::Body {
        return Err(Stop::Broken);
    }
    // Whatever stopped inside a line was never sent, unless it was too large to be held.
    let last = ErrorStyle::of(job.operation).stream_end(502, text, outgoing.inside());
    ctx.outcome.bytes += last.len() as u64;
    client::write_piece(client, &last).await?;
    client::finish(client).await?;
    Ok(false)
}
