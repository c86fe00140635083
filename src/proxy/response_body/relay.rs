//! From the first content to the end: whole lines and events pass as they come, while their reader looks for the end, the
//! usage and errors. A stream that breaks ends with an error of its own format; one whose terminator has come is over,
//! whether or not its body is.

use std::future::Future;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use http::header::{CONTENT_TYPE, HeaderValue};
use pingora::protocols::http::ServerSession;
use tokio::time::{Sleep, sleep_until};

use crate::dialect::blame::is_about_request;
use crate::dialect::ollama::{ErrorStyle, STREAM_BROKEN};
use crate::dialect::rate_limits::Names;
use crate::fleet::Backend;
use crate::proxy::Gateway;
use crate::proxy::attempt::exchange::{Answer, headers_of};
use crate::proxy::attempt::reader::{LAST_END, Reader};
use crate::proxy::attempt::upstream_request as order;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::told::{Failure, Stop};
use crate::proxy::heads;
use crate::proxy::request_filter::admit::state_limits;
use crate::proxy::response_body::client::{self, Framing, departed};
use crate::proxy::response_body::head::Head;
use crate::proxy::response_body::outgoing::Outgoing;
use crate::proxy::upstream::Upstream;
use crate::translate::Ending;

/// A piece this large is written as it is rather than gathered.
const LARGE: usize = 16 * 1024;

/// How reading the answer ended.
enum End {
    /// Its body's proper end.
    Whole,
    /// Its terminator has come; its body may go on.
    Over,
    /// The backend broke it off; the text says how.
    Broken(&'static str),
    /// The gateway ended it; the text says why.
    Cut(&'static str),
    /// The gateway has all that the client wants of it.
    Enough,
    /// It broke off, and the client's stream already says so.
    Told { cut: bool },
}

/// In which names a client of another format than the provider's is told its rate limits, if its format has any.
fn limit_names(answer: &Answer, ctx: &Ctx) -> Option<Names> {
    let operation = ctx.inbound.operation.filter(|_| answer.across)?;
    match ErrorStyle::of(operation) {
        ErrorStyle::Ollama => None,
        ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => Some(Names::OpenAi),
        ErrorStyle::Anthropic => Some(Names::Anthropic),
    }
}

/// A relayed answer, and whether it came to its proper end.
pub(crate) struct Relayed {
    pub(crate) complete: bool,
    /// The backend's own refusal, which the client got as it was.
    pub(crate) refused: bool,
    pub(crate) load_duration: Option<Duration>,
}

impl Gateway {
    /// Sends an answer that has begun to the client, to its end.
    ///
    /// # Errors
    /// [`Stop::ClientGone`], or [`Stop::Broken`] when an answer that is no stream broke off.
    pub(crate) async fn relay(
        &self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        framing: &Framing,
        mut answer: Box<Answer>,
        deadline: Option<Instant>,
        backend: &Backend,
    ) -> Result<Relayed, Stop> {
        if answer.ended && answer.ending.is_none() {
            answer.conclude();
        }
        let mut head = self
            .answer_head(&answer, ctx, framing)
            .ok_or(Stop::Broken)?;
        self.count_dropped(ctx, &answer);
        let streams = answer.reader.streams();
        if answer.reader.composes() && answer.ending == Some(Ending::Complete) && !streams {
            // Nothing is to come any more: the answer leaves in one write.
            heads::state_length(&mut head, answer.begun.len());
        } else if streams {
            let known = answer.ending.map(|_| answer.begun.len());
            heads::unstate_length(&mut head, known, framing.version, &framing.method);
        }
        ctx.outcome.status = head.status.as_u16();
        // What is known of the usage if the client is gone already.
        note(ctx, &answer.reader);
        match ctx.opening.head_is_sent()? {
            false => client::write_head(client, head, &ctx.inbound.page).await?,
            true if !streams => return Err(no_stream().into()),
            true => {}
        }
        let mut outgoing = Outgoing::default();
        outgoing.push(&answer.begun);
        answer.begun = bytes::BytesMut::new();
        let mut end = if answer.ended {
            End::Whole
        } else if let Some(end) = early(&answer.reader) {
            end
        } else {
            let pumped = self.pump(client, ctx, &mut answer, &mut outgoing, deadline, backend);
            match pumped.await {
                Ok(end) => end,
                Err(stop) => {
                    note(ctx, &answer.reader);
                    self.count_malformed(ctx, &answer.reader);
                    return Err(stop);
                }
            }
        };
        let ending = last_words(&mut answer, &mut end, &mut outgoing);
        note(ctx, &answer.reader);
        self.count_malformed(ctx, &answer.reader);
        let answer_load = answer.reader.load_duration();
        let result = conclude(client, ctx, &mut outgoing, &end, ending).await;
        ctx.outcome.whole = matches!(result, Ok(true));
        ctx.outcome.stopped = answer.reader.cut();
        if matches!(end, End::Whole | End::Over) && !answer.reader.cut() {
            // Boxed, as its future is larger than that of the stream.
            Box::pin(answer.upstream.let_end()).await;
        }
        let refused = !ok_status(ctx.outcome.status);
        result.map(|complete| Relayed {
            complete: complete && !refused,
            refused,
            load_duration: answer_load,
        })
    }

    fn count_malformed(&self, ctx: &Ctx, reader: &Reader) {
        if let Some(provider) = ctx.attempt.provider {
            self.upstreams[provider]
                .malformed
                .inc_by(reader.malformed());
        }
    }

    fn count_dropped(&self, ctx: &Ctx, answer: &Answer) {
        let provider = ctx.attempt.provider;
        let provider = provider.map(|id| &self.settings.providers[id]);
        let Some(provider) = provider else { return };
        for field in answer.dropped.fields() {
            self.metrics
                .dropped_fields
                .with_label_values(&[&*provider.name, field])
                .inc();
        }
    }

    /// `None` if the backend's head is not there yet.
    fn answer_head(&self, answer: &Answer, ctx: &Ctx, framing: &Framing) -> Option<Head> {
        let of_backend = answer.upstream.head()?;
        let request_id = &ctx.inbound.request_id;
        let mut head = match &answer.reader {
            Reader::Across(translation) if answer.across => heads::translated_response(
                translation.content_type(),
                framing.version,
                &framing.method,
                request_id,
            ),
            _ => {
                heads::downstream_response(of_backend, framing.version, &framing.method, request_id)
            }
        };
        if let Some(kind) = answer.reader.content_type().filter(|_| !answer.across) {
            head.set(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let (Some(limits), Some(names)) = (&answer.limits, limit_names(answer, ctx)) {
            limits.write(names, SystemTime::now(), |name, value| {
                head.set(name, value)
            });
        }
        // A client's own limits are nearer to it.
        if let Some(operation) = ctx.inbound.operation {
            let style = ErrorStyle::of(operation);
            state_limits(ctx.inbound.key.as_ref(), style, &mut head);
        }
        if let Some(dropped) = order::dropped_field(&answer.dropped) {
            head.set(heads::X_REMUDA_DROPPED, dropped);
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

    /// Moves pieces until the answer ends, the client leaves, or a bound is reached.
    async fn pump(
        &self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        answer: &mut Answer,
        outgoing: &mut Outgoing,
        deadline: Option<Instant>,
        backend: &Backend,
    ) -> Result<End, Stop> {
        let pause = backend.provider.timeouts.between_chunks;
        let mut last = Instant::now();
        let pause_of = |reader: &mut Reader| match reader.nearly_over() {
            true => pause.min(LAST_END),
            false => pause,
        };
        let mut patience = pause_of(&mut answer.reader);
        let bound = |last: Instant, patience: Duration| {
            let end = last + patience;
            deadline.map_or(end, |deadline| deadline.min(end))
        };
        let silence = sleep_until(bound(last, patience).into());
        let cut = self.drain.cut();
        // Boxed: hardly ever of use.
        let mut frozen = Box::pin(backend.frozen());
        tokio::pin!(silence, cut);
        send(client, ctx, outgoing).await?;
        loop {
            let Answer {
                upstream, reader, ..
            } = &mut *answer;
            tokio::select! {
                biased;
                piece = upstream.read_piece() => match piece {
                    Ok(Some(piece)) => {
                        let streams = reader.streams();
                        let passed = reader.feed(piece);
                        last = Instant::now();
                        if passed.len() >= LARGE && !streams {
                            ctx.outcome.bytes += passed.len() as u64;
                            client::write_piece(client, passed).await?;
                        } else {
                            outgoing.push(passed);
                        }
                    }
                    Ok(None) => return Ok(End::Whole),
                    Err(_) => return Ok(End::Broken(STREAM_BROKEN)),
                },
                () = departed(client) => return Err(Stop::ClientGone),
                () = &mut silence => match overdue(silence.as_mut(), bound(last, patience)) {
                    true if settled(reader, outgoing) => {
                        send(client, ctx, outgoing).await?;
                        return Ok(early(reader).unwrap_or(End::Over));
                    }
                    true if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                        return Ok(End::Cut("the answer took longer than the setting timeouts.total"));
                    }
                    true => return Ok(End::Broken("the backend paused for longer than the setting timeouts.between_chunks")),
                    false => continue,
                },
                () = &mut frozen => return Ok(End::Broken("the backend does not answer any more, neither this request nor any other")),
                () = &mut cut => return Ok(End::Cut("the gateway is shutting down")),
            }
            let end = match early(reader) {
                None => gather(upstream, reader, outgoing).await,
                end => end,
            };
            if let Some(grant) = &mut ctx.inbound.grant {
                grant.note_output(reader.output_so_far());
            }
            send(client, ctx, outgoing).await?;
            if let Some(end) = end {
                return Ok(end);
            }
            let before = std::mem::replace(&mut patience, pause_of(reader));
            if patience < before {
                silence.as_mut().reset(bound(last, patience).into());
            }
        }
    }
}

/// For a client that has the head of a stream already.
fn no_stream() -> Failure {
    Failure::new(
        502,
        "no_stream",
        "the backend answered a request for a stream with something else",
    )
}

fn note(ctx: &mut Ctx, reader: &Reader) {
    ctx.outcome.usage = reader.usage();
    ctx.outcome.output_so_far = reader.output_so_far();
    ctx.outcome.content_lines = reader.content_units();
    ctx.outcome.blameless = reader
        .fault()
        .is_some_and(|fault| is_about_request(&fault.message));
}

/// Whether the answer is over although its body is not, of which nothing comes any more.
fn settled(reader: &mut Reader, outgoing: &mut Outgoing) -> bool {
    let rest = reader.settle();
    rest.inspect(|rest| outgoing.push(rest)).is_some()
}

/// Takes what has already arrived, so that a burst leaves in one write. Gives the end if it is among it.
async fn gather(
    upstream: &mut Upstream,
    reader: &mut Reader,
    outgoing: &mut Outgoing,
) -> Option<End> {
    while !outgoing.enough() {
        if upstream.done() {
            return Some(End::Whole);
        }
        let arrived = std::future::poll_fn(|context| {
            let reading = std::pin::pin!(upstream.read_piece());
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

/// The end of an answer whose body may go on.
fn early(reader: &Reader) -> Option<End> {
    match (reader.fault(), reader.cut()) {
        (Some(_), _) => Some(End::Told { cut: false }),
        (None, true) => Some(End::Enough),
        (None, false) => reader.over().then_some(End::Over),
    }
}

fn ok_status(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// What the reader has to say at the end, and how the answer stands then.
fn last_words(answer: &mut Answer, end: &mut End, outgoing: &mut Outgoing) -> Ending {
    if let Some(ending) = answer.ending {
        return ending;
    }
    match &*end {
        End::Enough | End::Over => return Ending::Complete,
        End::Told { .. } => return Ending::Failed,
        End::Broken(_) | End::Cut(_) if !answer.reader.streams() => return Ending::Failed,
        End::Broken(_) | End::Cut(_) if answer.reader.over() => {
            // Only the transport's own end was missing.
            *end = End::Over;
            return Ending::Complete;
        }
        End::Broken(text) | End::Cut(text) => {
            outgoing.push(answer.reader.break_off(text));
            let cut = matches!(end, End::Cut(_));
            *end = End::Told { cut };
            return Ending::Failed;
        }
        End::Whole => {}
    }
    let headers = headers_of(&answer.upstream);
    let (ending, last) = answer.reader.finish(&headers);
    outgoing.push(last);
    ending
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
    outgoing: &mut Outgoing,
    end: &End,
    ending: Ending,
) -> Result<bool, Stop> {
    let failed = ending == Ending::Failed && ok_status(ctx.outcome.status);
    if failed {
        ctx.outcome.broken = true;
        ctx.outcome.cut = matches!(end, End::Cut(_) | End::Told { cut: true });
        ctx.outcome.code = Some("broken_stream");
    }
    if matches!(end, End::Broken(_) | End::Cut(_)) {
        // Of one body: what is missing of it cannot be told within it.
        return Err(Stop::Broken);
    }
    send(client, ctx, outgoing).await?;
    client::finish(client).await?;
    Ok(ending == Ending::Complete)
}
