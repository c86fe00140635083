//! Moves pieces from a backend to a client: whole lines and events pass as they come, a burst leaves in one write, and while
//! the client does not read, the answer is read on as far as there is room.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use pingora::protocols::http::ServerSession;
use tokio::time::{Sleep, sleep_until};

use crate::proxy::attempt::patience::Patience;
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::Stop;
use crate::proxy::response_body::client::{self, departed};
use crate::proxy::response_body::end::{End, early, silent};
use crate::proxy::response_body::outgoing::Outgoing;
use crate::proxy::response_body::rest::Rest;
use crate::proxy::response_body::unsent::Line;
use crate::proxy::upstream::Upstream;
use remuda_formats::dialect::ollama::STREAM_BROKEN;

/// How long a client that does not read may still begin to once the process ends.
const LAST_WORD: Duration = Duration::from_millis(500);

const FROZEN: &str = "the backend does not answer any more, neither this request nor any other";
const SHUTTING_DOWN: &str = "the gateway is shutting down";

impl Rest<'_> {
    /// Moves pieces until the answer ends, the client leaves, or a bound is reached.
    ///
    /// # Errors
    /// [`Stop::ClientGone`], or [`Stop::Broken`] for a client that does not read while the process ends.
    pub(super) async fn pump(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<End, Stop> {
        let (backend, responder) = (self.backend, self.responder);
        let cut = responder.drain.cut();
        // Boxed: hardly ever of use.
        let mut frozen = Box::pin(backend.frozen());
        tokio::pin!(cut);
        // What is sent at first does not change how nearly the answer is over.
        let nearly = self.reader.nearly_over();
        if let Some(end) = self.send(client, ctx).await? {
            return Ok(end);
        }
        let pause = backend.provider.timeouts.between_chunks;
        let mut patience = Patience::new(pause, self.deadline, nearly, Instant::now());
        let silence = sleep_until(patience.due().into());
        tokio::pin!(silence);
        loop {
            let Some(upstream) = &mut self.upstream else {
                return Ok(End::Over);
            };
            tokio::select! {
                biased;
                piece = upstream.read_piece() => match piece {
                    Ok(Some(piece)) => {
                        self.outgoing.push(self.reader.feed(piece));
                        patience.heard(Instant::now());
                    }
                    Ok(None) => return Ok(End::Whole),
                    Err(_) => return Ok(End::Broken(STREAM_BROKEN)),
                },
                () = departed(client) => return Err(Stop::ClientGone),
                () = &mut silence => {
                    let now = Instant::now();
                    if is_over(silence.as_mut(), patience.due(), now) {
                        let overdue = self.deadline.is_some_and(|deadline| deadline <= now);
                        return Ok(silent(&mut self.reader, &mut self.outgoing, overdue));
                    }
                    continue;
                }
                () = &mut frozen => return Ok(End::Broken(FROZEN)),
                () = &mut cut => return Ok(End::Cut(SHUTTING_DOWN)),
            }
            let end = match early(&self.reader) {
                None => take_arrived(upstream, &mut self.reader, &mut self.outgoing).await,
                end => end,
            };
            if let Some(grant) = &mut ctx.inbound.grant {
                grant.note_output(self.reader.output_so_far());
            }
            let end = match end {
                None => self.send(client, ctx).await?,
                end => end,
            };
            if let Some(end) = end {
                return Ok(end);
            }
            if patience.nears(self.reader.nearly_over()) {
                silence.as_mut().reset(patience.due().into());
            }
        }
    }

    /// Sends what is ready. While the client does not take it, the answer is read on, as far as there is room. Returns its
    /// end if that comes meanwhile.
    async fn send(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
    ) -> Result<Option<End>, Stop> {
        while !self.outgoing.ready().is_empty() {
            let line = client::line_of(client);
            let ready = self.outgoing.take();
            ctx.outcome.bytes += ready.len() as u64;
            {
                let mut writing = pin!(client::write_piece(client, &ready));
                let written = poll_fn(|context| {
                    Poll::Ready(match writing.as_mut().poll(context) {
                        Poll::Ready(written) => Some(written),
                        Poll::Pending => None,
                    })
                });
                match written.await {
                    Some(written) => written?,
                    // Boxed: hardly ever of use.
                    None => Box::pin(self.read_ahead(writing, ctx, line)).await?,
                }
            }
            if self.end.is_some() {
                return Ok(self.end);
            }
            self.outgoing.sent(ready);
        }
        Ok(None)
    }

    /// Reads on while the client is written to.
    async fn read_ahead(
        &mut self,
        mut writing: Pin<&mut impl Future<Output = Result<(), Stop>>>,
        ctx: &mut Ctx,
        line: Option<Arc<Line>>,
    ) -> Result<(), Stop> {
        let Some(line) = line else {
            return writing.await;
        };
        let mut share = line.share();
        let drain = Arc::clone(&self.responder.drain);
        let cut = async {
            drain.cut().await;
            tokio::time::sleep(LAST_WORD).await;
        };
        tokio::pin!(cut);
        loop {
            let reading = async {
                match &mut self.upstream {
                    Some(upstream) if line.has_room_ahead() => upstream.read_piece().await,
                    _ => std::future::pending().await,
                }
            };
            let end = tokio::select! {
                biased;
                written = writing.as_mut() => return written,
                piece = reading => match piece {
                    Ok(Some(piece)) => {
                        let passed = self.reader.feed(piece);
                        share.grow(passed.len());
                        self.outgoing.push(passed);
                        early(&self.reader)
                    }
                    Ok(None) => Some(End::Whole),
                    Err(_) => Some(End::Broken(STREAM_BROKEN)),
                },
                // Nobody reads what could be said of it.
                () = &mut cut => return Err(Stop::Broken),
            };
            if let Some(end) = end {
                self.conclude(ctx, end).await;
            }
        }
    }
}

/// Takes what has already arrived, so that a burst leaves in one write. Returns the end if it is among it.
async fn take_arrived(
    upstream: &mut Upstream,
    reader: &mut AnswerReader,
    outgoing: &mut Outgoing,
) -> Option<End> {
    while !outgoing.enough() {
        if upstream.done() {
            return Some(End::Whole);
        }
        let arrived = poll_fn(|context| {
            let reading = pin!(upstream.read_piece());
            Poll::Ready(match reading.poll(context) {
                Poll::Ready(Ok(Some(piece))) => {
                    outgoing.push(reader.feed(piece));
                    Arrived::Piece
                }
                Poll::Ready(Ok(None)) => Arrived::End(End::Whole),
                Poll::Ready(Err(_)) => Arrived::End(End::Broken(STREAM_BROKEN)),
                Poll::Pending => Arrived::Nothing,
            })
        });
        match arrived.await {
            Arrived::Piece => {
                if let Some(end) = early(reader) {
                    return Some(end);
                }
            }
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

/// Returns whether `bound` has passed; otherwise the timer is set to it. The timer is not moved with every piece, which
/// would cost more than the piece.
fn is_over(timer: Pin<&mut Sleep>, bound: Instant, now: Instant) -> bool {
    if bound <= now {
        return true;
    }
    timer.reset(bound.into());
    false
}
