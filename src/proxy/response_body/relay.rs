//! From the first content to the end: whole lines and events pass as they come, while their reader looks for the end, the
//! usage and errors. A stream that breaks ends with an error of its own format; one whose terminator has come is over,
//! whether or not its body is.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use pingora::protocols::http::ServerSession;
use tokio::time::{Sleep, sleep_until};

use crate::fleet::{self, Backend};
use crate::proxy::Gateway;
use crate::proxy::attempt::answer::{BegunAnswer, UpstreamAnswer, headers_of};
use crate::proxy::attempt::reader::{AnswerReader, LAST_END};
use crate::proxy::attempt::upstream_request as order;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::{Failure, Stop};
use crate::proxy::heads;
use crate::proxy::response_body::client::{self, Framing, departed};
use crate::proxy::response_body::head::Head;
use crate::proxy::response_body::hold::Hold;
use crate::proxy::response_body::limits::state_limits;
use crate::proxy::response_body::outgoing::Outgoing;
use crate::proxy::response_body::unsent::Line;
use crate::proxy::upstream::Upstream;
use remuda_formats::client::ErrorStyle;
use remuda_formats::dialect::blame::is_about_request;
use remuda_formats::dialect::ollama::STREAM_BROKEN;
use remuda_formats::dialect::rate_limits::Names;
use remuda_formats::translate::Ending;

/// How long a client that does not read may still begin to once the process ends.
const LAST_WORD: Duration = Duration::from_millis(500);

/// How reading the answer ended.
#[derive(Clone, Copy)]
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

/// Returns in which names a client of another format than the provider's is told its rate limits, if its format has any.
fn limit_names(answer: &UpstreamAnswer, ctx: &Ctx) -> Option<Names> {
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
}

/// What is left of an answer whose head has been read.
struct Rest {
    /// `None` once its server has said everything. Boxed, as a stream holds it for as long as it lasts.
    upstream: Option<Box<Upstream>>,
    reader: AnswerReader,
    /// How the body ended, if its reader was told.
    ending: Option<Ending>,
    /// How reading it ended, once what was held at the server has been given back.
    end: Option<End>,
}

impl Rest {
    fn of(answer: UpstreamAnswer) -> Self {
        Rest {
            upstream: Some(Box::new(answer.upstream)),
            reader: answer.reader,
            ending: answer.ending,
            end: None,
        }
    }
}

/// What an answer is relayed from.
struct Relaying<'a> {
    gateway: &'a Gateway,
    backend: &'a Backend,
    hold: &'a mut Hold,
}

impl Gateway {
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
        let mut outgoing = Outgoing::default();
        outgoing.push(&answer.begun);
        let ended = answer.ended;
        let mut rest = Rest::of(*answer);
        let mut relaying = Relaying {
            gateway: self,
            backend: &backend,
            hold: &mut hold,
        };
        let at_once = if ended {
            Some(End::Whole)
        } else {
            early(&rest.reader)
        };
        if let Some(end) = at_once {
            relaying.conclude(ctx, &mut rest, end, &mut outgoing).await;
        }
        match ctx.opening.head_is_sent()? {
            false => client::write_head(client, head, ctx.inbound.allow_origin.as_ref()).await?,
            true if !streams => return Err(no_stream().into()),
            true => {}
        }
        if rest.end.is_none() {
            let pumped = relaying.pump(client, ctx, &mut rest, &mut outgoing, deadline);
            match pumped.await {
                // Where it could not be said at once.
                Ok(end) if rest.end.is_none() => {
                    relaying.conclude(ctx, &mut rest, end, &mut outgoing).await;
                }
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
        let result = finish(client, ctx, &mut outgoing, &mut rest).await;
        ctx.outcome.whole = matches!(result, Ok(true));
        let refused = !ok_status(ctx.outcome.status);
        result.map(|complete| Relayed {
            complete: complete && !refused,
            refused,
        })
    }

    /// Counts an answer that broke off, and has the backend probed anew.
    fn note_broken(&self, ctx: &Ctx, backend: &Backend, ttft: Duration) {
        if ctx.outcome.broken {
            self.metrics
                .upstream
                .broken_streams
                .with_label_values(&[&*backend.provider.name])
                .inc();
            if !ctx.outcome.cut && !ctx.outcome.blameless {
                self.fleet.report(backend.id, fleet::RequestOutcome::Reset);
                let started = ctx
                    .outcome
                    .first_content
                    .and_then(|at| at.checked_sub(ttft));
                if let (Some(started), false) = (started, backend.provider.settings.kind.is_fleet())
                {
                    let called = ctx.attempt.called.as_deref();
                    self.fleet.broke(backend, called, started);
                }
            }
        }
    }

    fn count_malformed(&self, ctx: &Ctx, reader: &AnswerReader) {
        if let Some(provider) = ctx.attempt.provider {
            let side = self.upstreams.side(provider);
            side.malformed.inc_by(reader.malformed());
        }
    }

    fn count_dropped(&self, ctx: &Ctx, answer: &UpstreamAnswer) {
        let provider = ctx.attempt.provider;
        let provider = provider.map(|id| &self.settings.providers[id]);
        let Some(provider) = provider else { return };
        for field in answer.dropped.fields() {
            self.metrics
                .upstream
                .dropped_fields
                .with_label_values(&[&*provider.name, field])
                .inc();
        }
    }

    /// Returns whether the attempt is at a provider that is no fleet.
    pub(crate) fn is_service(&self, ctx: &Ctx) -> bool {
        let provider = ctx.attempt.provider;
        let provider = provider.map(|id| &self.settings.providers[id]);
        provider.is_some_and(|provider| !provider.kind.is_fleet())
    }

    /// Makes the head of an answer with how its body is framed; `None` if the backend's head is not there yet.
    fn framed_head(&self, answer: &UpstreamAnswer, ctx: &Ctx, framing: &Framing) -> Option<Head> {
        let mut head = self.answer_head(answer, ctx, framing)?;
        let streams = answer.reader.streams();
        if answer.reader.composes() && answer.ending == Some(Ending::Complete) && !streams {
            // Nothing is to come any more: the answer leaves in one write.
            heads::state_length(&mut head, answer.begun.len());
        } else if streams {
            let known = answer.ending.map(|_| answer.begun.len());
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
}

impl Relaying<'_> {
    /// Notes that the server has said everything: what was held there goes back, and what the client still gets is put to the
    /// rest.
    async fn conclude(
        &mut self,
        ctx: &mut Ctx,
        rest: &mut Rest,
        mut end: End,
        outgoing: &mut Outgoing,
    ) {
        let ending = last_words(rest, &mut end, outgoing);
        rest.ending = Some(ending);
        rest.end = Some(end);
        note(ctx, &rest.reader);
        self.gateway.count_malformed(ctx, &rest.reader);
        ctx.outcome.said = ending == Ending::Complete;
        ctx.outcome.stopped = rest.reader.cut();
        let succeeded = ok_status(ctx.outcome.status);
        if ending == Ending::Failed && succeeded {
            ctx.outcome.broken = true;
            ctx.outcome.cut = matches!(end, End::Cut(_) | End::Told { cut: true });
            ctx.outcome.code = Some("broken_stream");
        }
        let whole = ending == Ending::Complete && succeeded;
        self.hold.give_back(whole, rest.reader.load_duration());
        self.gateway.note_broken(ctx, self.backend, self.hold.ttft);
        if let Some(upstream) = rest.upstream.take()
            && matches!(end, End::Whole | End::Over)
            && !rest.reader.cut()
        {
            // Boxed, as its future is larger than that of the stream.
            Box::pin(upstream.let_end()).await;
        }
    }

    /// Moves pieces until the answer ends, the client leaves, or a bound is reached.
    async fn pump(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        rest: &mut Rest,
        outgoing: &mut Outgoing,
        deadline: Option<Instant>,
    ) -> Result<End, Stop> {
        let pause = self.backend.provider.timeouts.between_chunks;
        let pause_of = |reader: &mut AnswerReader| {
            if reader.nearly_over() {
                pause.min(LAST_END)
            } else {
                pause
            }
        };
        let mut patience = pause_of(&mut rest.reader);
        let bound = |last: Instant, patience: Duration| {
            let end = last + patience;
            deadline.map_or(end, |deadline| deadline.min(end))
        };
        let cut = self.gateway.drain.cut();
        // Boxed: hardly ever of use.
        let mut frozen = Box::pin(self.backend.frozen());
        tokio::pin!(cut);
        if let Some(end) = self.send(client, ctx, rest, outgoing).await? {
            return Ok(end);
        }
        let mut last = Instant::now();
        let silence = sleep_until(bound(last, patience).into());
        tokio::pin!(silence);
        loop {
            let Rest {
                upstream: Some(upstream),
                reader,
                ..
            } = &mut *rest
            else {
                return Ok(End::Over);
            };
            tokio::select! {
                biased;
                piece = upstream.read_piece() => match piece {
                    Ok(Some(piece)) => {
                        outgoing.push(reader.feed(piece));
                        last = Instant::now();
                    }
                    Ok(None) => return Ok(End::Whole),
                    Err(_) => return Ok(End::Broken(STREAM_BROKEN)),
                },
                () = departed(client) => return Err(Stop::ClientGone),
                () = &mut silence => {
                    if overdue(silence.as_mut(), bound(last, patience)) {
                        return Ok(silent(reader, outgoing, deadline));
                    }
                    continue;
                }
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
            let end = match end {
                None => self.send(client, ctx, rest, outgoing).await?,
                end => end,
            };
            if let Some(end) = end {
                return Ok(end);
            }
            let before = std::mem::replace(&mut patience, pause_of(&mut rest.reader));
            if patience < before {
                silence.as_mut().reset(bound(last, patience).into());
            }
        }
    }

    /// Sends what is ready. While the client does not take it, the answer is read on, as far as there is room; gives its
    /// end if that comes meanwhile.
    async fn send(
        &mut self,
        client: &mut ServerSession,
        ctx: &mut Ctx,
        rest: &mut Rest,
        outgoing: &mut Outgoing,
    ) -> Result<Option<End>, Stop> {
        while !outgoing.ready().is_empty() {
            let line = client::line_of(client);
            let ready = outgoing.take();
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
                    None => {
                        // Boxed: hardly ever of use.
                        let reading = self.read_ahead(writing, ctx, rest, outgoing, line);
                        Box::pin(reading).await?;
                    }
                }
            }
            if rest.end.is_some() {
                return Ok(rest.end);
            }
            outgoing.sent(ready);
        }
        Ok(None)
    }

    /// Reads on while the client is written to.
    async fn read_ahead(
        &mut self,
        mut writing: Pin<&mut impl Future<Output = Result<(), Stop>>>,
        ctx: &mut Ctx,
        rest: &mut Rest,
        outgoing: &mut Outgoing,
        line: Option<Arc<Line>>,
    ) -> Result<(), Stop> {
        let Some(line) = line else {
            return writing.await;
        };
        let mut share = line.share();
        let drain = Arc::clone(&self.gateway.drain);
        let cut = async {
            drain.cut().await;
            tokio::time::sleep(LAST_WORD).await;
        };
        tokio::pin!(cut);
        loop {
            let reading = async {
                match &mut rest.upstream {
                    Some(upstream) if line.has_room_ahead() => upstream.read_piece().await,
                    _ => std::future::pending().await,
                }
            };
            let end = tokio::select! {
                biased;
                written = writing.as_mut() => return written,
                piece = reading => match piece {
                    Ok(Some(piece)) => {
                        let passed = rest.reader.feed(piece);
                        share.grow(passed.len());
                        outgoing.push(passed);
                        early(&rest.reader)
                    }
                    Ok(None) => Some(End::Whole),
                    Err(_) => Some(End::Broken(STREAM_BROKEN)),
                },
                // Nobody reads what could be said of it.
                () = &mut cut => return Err(Stop::Broken),
            };
            if let Some(end) = end {
                self.conclude(ctx, rest, end, outgoing).await;
            }
        }
    }
}

/// Makes the failure for a client that has the head of a stream already.
fn no_stream() -> Failure {
    Failure::new(
        502,
        "no_stream",
        "the backend answered a request for a stream with something else",
    )
}

fn note(ctx: &mut Ctx, reader: &AnswerReader) {
    ctx.outcome.usage = reader.usage();
    ctx.outcome.output_so_far = reader.output_so_far();
    ctx.outcome.content_lines = reader.content_units();
    ctx.outcome.blameless = reader
        .fault()
        .is_some_and(|fault| is_about_request(&fault.message));
}

/// Returns whether the answer is over although its body is not, of which nothing comes any more.
fn settled(reader: &mut AnswerReader, outgoing: &mut Outgoing) -> bool {
    let rest = reader.settle();
    rest.inspect(|rest| outgoing.push(rest)).is_some()
}

/// Returns how an answer ends of which nothing has come for too long.
fn silent(reader: &mut AnswerReader, outgoing: &mut Outgoing, deadline: Option<Instant>) -> End {
    if settled(reader, outgoing) {
        return early(reader).unwrap_or(End::Over);
    }
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return End::Cut("the answer took longer than the setting timeouts.total");
    }
    End::Broken("the backend paused for longer than the setting timeouts.between_chunks")
}

/// Takes what has already arrived, so that a burst leaves in one write. Gives the end if it is among it.
async fn gather(
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

/// Returns the end of an answer whose body may go on.
fn early(reader: &AnswerReader) -> Option<End> {
    match (reader.fault(), reader.cut()) {
        (Some(_), _) => Some(End::Told { cut: false }),
        (None, true) => Some(End::Enough),
        (None, false) => reader.over().then_some(End::Over),
    }
}

fn ok_status(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// Returns what the reader has to say at the end, and how the answer stands then.
fn last_words(rest: &mut Rest, end: &mut End, outgoing: &mut Outgoing) -> Ending {
    if let Some(ending) = rest.ending {
        return ending;
    }
    let reader = &mut rest.reader;
    match &*end {
        End::Enough | End::Over => return Ending::Complete,
        End::Told { .. } => return Ending::Failed,
        End::Broken(_) | End::Cut(_) if !reader.streams() => return Ending::Failed,
        End::Broken(_) | End::Cut(_) if reader.over() => {
            // Only the transport's own end was missing.
            *end = End::Over;
            return Ending::Complete;
        }
        End::Broken(text) | End::Cut(text) => {
            outgoing.push(reader.break_off(text));
            let cut = matches!(end, End::Cut(_));
            *end = End::Told { cut };
            return Ending::Failed;
        }
        End::Whole => {}
    }
    let headers = match &rest.upstream {
        Some(upstream) => headers_of(upstream),
        None => Cow::Owned(HeaderMap::new()),
    };
    let (ending, last) = reader.finish(&headers);
    outgoing.push(last);
    ending
}

/// What a read that must not wait found.
enum Arrived {
    Piece,
    Nothing,
    End(End),
}

/// Returns whether `bound` has passed; otherwise the timer is set to it. The timer is not moved with every
/// piece, which would cost more than the piece.
fn overdue(timer: std::pin::Pin<&mut Sleep>, bound: Instant) -> bool {
    if bound <= Instant::now() {
        return true;
    }
    timer.reset(bound.into());
    false
}

/// Ends the client's answer. Returns whether it is whole.
async fn finish(
    client: &mut ServerSession,
    ctx: &mut Ctx,
    outgoing: &mut Outgoing,
    rest: &mut Rest,
) -> Result<bool, Stop> {
    let last = outgoing.take();
    ctx.outcome.bytes += last.len() as u64;
    client::write_piece(client, &last).await?;
    if matches!(rest.end, Some(End::Broken(_) | End::Cut(_))) {
        // Of one body: what is missing of it cannot be told within it.
        return Err(Stop::Broken);
    }
    client::finish(client).await?;
    Ok(rest.ending == Some(Ending::Complete))
}
