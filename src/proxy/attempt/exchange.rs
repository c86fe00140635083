//! One try of one backend, up to its first content: until then the client has seen nothing, and any
//! failure may be answered with the next candidate.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora::ErrorType;
use pingora::http::{RequestHeader, ResponseHeader};
use tokio::time::{timeout, timeout_at};

use crate::dialect::blame::is_about_model;
use crate::dialect::ollama::{self, Operation};
use crate::dialect::rate_limits::RateLimits;
use crate::fleet::{self, Backend};
use crate::ir::{Class, Dropped, Fault, FaultKind};
use crate::metrics::AttemptOutcome;
use crate::proxy::attempt::reader::{LAST_END, Reader};
use crate::proxy::attempt::upstream_request::Order;
use crate::proxy::ctx::Sending;
use crate::proxy::failure::attempt::{Cause, Setback, Word};
use crate::proxy::failure::deadline::Patience;
use crate::proxy::failure::error_answer::{self, ErrorAnswer};
use crate::proxy::failure::told::{Failure, is_the_operators};
use crate::proxy::heads;
use crate::proxy::offload::{LONG, Turns};
use crate::proxy::prepared::Job;
use crate::proxy::upstream::Upstream;
use crate::proxy::{Gateway, ProviderSide};
use crate::translate::{self, Ending};
use crate::wire::ndjson::BYTE_ORDER_MARK;

/// Bytes of a backend's error answer that are kept to be relayed.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// Bytes of an answer that may come without content: what Ollama's own client accepts as a line.
const MAX_BEGINNING: usize = 8 * 1024 * 1024;
/// How long a backend may take to send the body of its error answer.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// A pooled connection that the backend had closed shows that within a round trip; one that ends later has failed the
/// request.
const STALE_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer is waited for after the backend stopped taking the request's body.
const EARLY_ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// An answer that has begun. Always boxed: by value it would lie in every future that it passes through.
pub(crate) struct Answer {
    pub(crate) upstream: Upstream,
    /// The body as far as it has been read.
    pub(crate) begun: BytesMut,
    /// The body has come to its end.
    pub(crate) ended: bool,
    pub(crate) reader: Reader,
    /// How the body ended, if it has and its reader was told.
    pub(crate) ending: Option<Ending>,
    pub(crate) dropped: Dropped,
    /// What the provider says of its rate limits.
    pub(crate) limits: Option<RateLimits>,
    /// The client gets another format than the backend sent.
    pub(crate) across: bool,
    /// As of its [`Order`].
    pub(crate) streamed: bool,
}

impl Answer {
    /// Whether it has begun and has to be whole before the client gets anything of it.
    pub(crate) fn is_to_be_gathered(&self) -> bool {
        self.streamed && self.reader.gathers() && !self.ended && self.ending.is_none()
    }

    /// The body has come to its end.
    pub(crate) fn conclude(&mut self) {
        let headers = headers_of(&self.upstream);
        let (ending, last) = self.reader.finish(&headers);
        self.begun.extend_from_slice(last);
        self.ending = Some(ending);
    }

    /// The same, where it takes long.
    async fn conclude_aside(&mut self, turns: &Turns) {
        let finishing = self.aside(turns, |reader, headers| {
            let (ending, last) = reader.finish(headers);
            (ending, Bytes::copy_from_slice(last))
        });
        let (ending, last) = finishing.await;
        match self.begun.is_empty() {
            true => self.begun = last.into(),
            false => self.begun.extend_from_slice(&last),
        }
        self.ending = Some(ending);
    }

    /// Lets the reader do something that takes long on another thread.
    async fn aside<T: Send + 'static>(
        &mut self,
        turns: &Turns,
        work: impl FnOnce(&mut Reader, &HeaderMap) -> T + Send + 'static,
    ) -> T {
        let headers = headers_of(&self.upstream).into_owned();
        let mut reader = std::mem::replace(&mut self.reader, Reader::absent());
        let (reader, done) = turns
            .run(move || {
                let done = work(&mut reader, &headers);
                (reader, done)
            })
            .await;
        self.reader = reader;
        done
    }
}

/// Why one exchange over one connection gave no answer.
pub(crate) enum NoAnswer {
    /// The connection came from the pool and the backend had closed it: to be tried again.
    Stale,
    Setback(Setback),
}

impl From<Setback> for NoAnswer {
    fn from(setback: Setback) -> Self {
        NoAnswer::Setback(setback)
    }
}

/// Why a connection gave no head.
enum NoHead {
    /// It came from the pool and the backend had closed it.
    Stale,
    Broken,
}

impl Gateway {
    /// Sends the request to `backend` and waits for the first content, as long as its `patience` lasts. Its client is
    /// attended by whoever waits for this.
    pub(crate) async fn attempt(
        &self,
        sending: Sending,
        job: Arc<Job>,
        backend: Arc<Backend>,
        order: Order,
        patience: Patience,
    ) -> Result<Box<Answer>, NoAnswer> {
        let side = &self.upstreams[backend.provider.id];
        let trying = async {
            let beginning = begin(side, &job, &backend, order, sending);
            match tokio::time::timeout_at(patience.at().into(), beginning).await {
                Ok(begun) => begun,
                Err(_) => Err(match patience {
                    Patience::Server(_) => Setback::timed_out(),
                    Patience::Request(bound) => Setback::Overdue(bound),
                }
                .into()),
            }
        };
        tokio::select! {
            biased;
            begun = trying => begun,
            // Boxed: hardly ever of use.
            () = Box::pin(backend.silenced()) => Err(Setback::silence().into()),
        }
    }
}

async fn begin(
    side: &ProviderSide,
    job: &Job,
    backend: &Backend,
    order: Order,
    sending: Sending,
) -> Result<Box<Answer>, NoAnswer> {
    let mut upstream = side
        .connections
        .open(backend)
        .await
        .map_err(|_| Setback::connect_failed())?;
    let Order {
        head,
        body,
        more,
        reader,
        dropped,
        across,
        streamed,
    } = order;
    match exchange(&mut upstream, head, &body, Some(sending)).await {
        Ok(()) => {
            drop(body);
            let mut answer = Box::new(Answer {
                upstream,
                begun: BytesMut::new(),
                ended: false,
                reader,
                ending: None,
                dropped,
                limits: None,
                across,
                streamed,
            });
            match beginning(&mut answer, side, job, backend, more).await {
                Ok(()) => {
                    if !backend.provider.settings.kind.is_fleet() {
                        let headers = headers_of(&answer.upstream);
                        answer.limits = RateLimits::read(&headers, SystemTime::now());
                    }
                    Ok(answer)
                }
                Err(setback) => {
                    job.bill(answer.reader.usage());
                    side.malformed.inc_by(answer.reader.malformed());
                    Err(setback.into())
                }
            }
        }
        Err(NoHead::Stale) => Err(NoAnswer::Stale),
        Err(NoHead::Broken) => Err(Setback::reset().into()),
    }
}

/// All of the answer that comes before the client is told anything.
async fn beginning(
    answer: &mut Answer,
    side: &ProviderSide,
    job: &Job,
    backend: &Backend,
    more: Vec<(RequestHeader, Bytes)>,
) -> Result<(), Setback> {
    first_content(answer, job, backend).await?;
    for (head, body) in more {
        Box::pin(next_part(answer, side, job, backend, head, &body)).await?;
    }
    conclude_early(answer, side).await;
    judge_beginning(answer, job, backend)
}

/// Sends the request, says when all of it has been, and reads the head of its answer.
async fn exchange(
    upstream: &mut Upstream,
    head: RequestHeader,
    body: &Bytes,
    sending: Option<Sending>,
) -> Result<(), NoHead> {
    let began = Instant::now();
    let broken = |upstream: &Upstream| {
        if upstream.reused && began.elapsed() < STALE_WITHIN {
            NoHead::Stale
        } else {
            NoHead::Broken
        }
    };
    if upstream.send(head, body).await.is_err() {
        // A backend may answer (413, 503) without taking the whole body.
        let answered = tokio::time::timeout(EARLY_ANSWER_TIMEOUT, upstream.read_head()).await;
        return match answered {
            Ok(Ok(_)) => Ok(()),
            _ => Err(broken(upstream)),
        };
    }
    if let Some(sending) = sending {
        sending.done();
    }
    match upstream.read_head().await {
        Ok(_) => Ok(()),
        // A server that closed an idle connection answers what comes after by FIN or by RST.
        Err(error) => match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::ReadError => Err(broken(upstream)),
            _ => Err(NoHead::Broken),
        },
    }
}

/// Judges an answer that was gathered to its end.
pub(crate) async fn end_gathered(
    answer: &mut Answer,
    side: &ProviderSide,
    job: &Job,
    backend: &Backend,
) -> Result<(), Setback> {
    conclude_early(answer, side).await;
    let judged = judge_beginning(answer, job, backend);
    if judged.is_err() {
        job.bill(answer.reader.usage());
        side.malformed.inc_by(answer.reader.malformed());
    }
    judged
}

async fn first_content(answer: &mut Answer, job: &Job, backend: &Backend) -> Result<(), Setback> {
    let upstream = &mut answer.upstream;
    let head = upstream.head().ok_or_else(Setback::reset)?;
    let status = head.status;
    let fleet = backend.provider.settings.kind.is_fleet();
    answer.reader.begin(head);
    if status.is_success() && upstream.is_unreadable() {
        let what = "the provider's answer is packed in a way that was not asked for (Content-Encoding), and is neither gzip nor deflate nor zstd";
        return Err(Setback::of_fault(&Fault::garbled(what), backend));
    }
    if status.is_success() && job.operation.is_inference() && is_page(head) {
        let what = "the provider answered with a page for people: its address is wrong";
        let fault = Fault::new(Class::Route, FaultKind::Garbled, what);
        return Err(Setback::of_fault(&fault, backend));
    }
    if fleet && !answer.across {
        if let Some(setback) = refused(upstream, job, backend, status).await {
            return Err(setback);
        }
        if status.is_client_error() {
            let body = error_body(upstream).await;
            let word = objection(upstream, body, backend, status, job.operation);
            return Err(Setback::Final(word, None));
        }
        if !status.is_success() {
            return Err(provider_refused(answer, backend, status, job.operation).await);
        }
    } else if !status.is_success() {
        return Err(provider_refused(answer, backend, status, job.operation).await);
    }
    read_beginning(answer, job).await
}

/// The next of several requests whose answers belong to the same; the one before was answered whole.
async fn next_part(
    answer: &mut Answer,
    side: &ProviderSide,
    job: &Job,
    backend: &Backend,
    head: RequestHeader,
    body: &Bytes,
) -> Result<(), Setback> {
    let headers = headers_of(&answer.upstream);
    let taken = match answer.reader.held() < LONG {
        true => answer.reader.part(&headers),
        false => {
            drop(headers);
            answer
                .aside(&side.turns, |reader, headers| reader.part(headers))
                .await
        }
    };
    if let Err(fault) = taken {
        return Err(Setback::of_fault(&fault, backend));
    }
    let refused = |_| Setback::connect_failed();
    let next = side.connections.open_new(backend).await.map_err(refused)?;
    let last = std::mem::replace(&mut answer.upstream, next);
    last.let_end().await;
    exchange(&mut answer.upstream, head, body, None)
        .await
        .map_err(|_| Setback::reset())?;
    first_content(answer, job, backend).await
}

/// An answer whose body has come whole is ended here, so that a fault at its end still finds another backend; but not one
/// that has begun and passes, of which the client gets what there is.
async fn conclude_early(answer: &mut Answer, side: &ProviderSide) {
    if answer.ended && (answer.reader.composes() || !answer.reader.begun()) {
        match answer.reader.held() < LONG {
            true => answer.conclude(),
            false => Box::pin(answer.conclude_aside(&side.turns)).await,
        }
    }
}

pub(crate) fn headers_of(upstream: &Upstream) -> Cow<'_, HeaderMap> {
    match upstream.head() {
        Some(head) => Cow::Borrowed(&head.headers),
        None => Cow::Owned(HeaderMap::new()),
    }
}

/// Reads until the answer has begun: its first content in a whole line or event, its end, or a fault.
async fn read_beginning(answer: &mut Answer, job: &Job) -> Result<(), Setback> {
    let Answer {
        upstream,
        begun,
        reader,
        ended,
        ..
    } = answer;
    // A look-up is held as well: another server may know better than one that answers with nonsense.
    let waits = job.operation.is_inference() || job.operation == Operation::Show;
    *ended = loop {
        if reader.gathers() && upstream.done() {
            break true;
        }
        let piece = match reader.nearly_over() {
            false => upstream.read_piece().await,
            true => match timeout(LAST_END, upstream.read_piece()).await {
                Ok(piece) => piece,
                Err(_) if reader.is_one_body() => break true,
                // A terminator whose own end does not come is one.
                Err(_) => {
                    let rest = reader.settle().ok_or_else(Setback::timed_out)?;
                    begun.extend_from_slice(rest);
                    break reader.gathers() && reader.fault().is_none();
                }
            },
        };
        match piece {
            Ok(Some(piece)) => {
                begun.extend_from_slice(reader.feed(piece));
                if reader.over() || reader.cut() {
                    // What is gathered is written when its reader is told that this was all.
                    let gathered =
                        reader.composes() && !reader.streams() && reader.fault().is_none();
                    break gathered || (upstream.done() && !reader.composes());
                }
                // Of what is gathered nothing is for the client yet, and what is translated whole begins at its end.
                let gathered = reader.gathers() && (reader.begun() || reader.content_units() > 0);
                if waits && reader.gathers() && !gathered {
                    continue;
                }
                if gathered || (reader.begun() && !begun.is_empty()) || !waits {
                    break upstream.done() && !reader.composes();
                }
                if begun.len() > MAX_BEGINNING {
                    return Err(Setback::reset());
                }
            }
            Ok(None) => break true,
            Err(_) => return Err(Setback::reset()),
        }
    };
    Ok(())
}

/// Whether what came is worth sending. What is not is judged alike whether it would have passed or been translated.
fn judge_beginning(answer: &Answer, job: &Job, backend: &Backend) -> Result<(), Setback> {
    let reader = &answer.reader;
    let Some(fault) = reader.fault() else {
        return Ok(());
    };
    // What was held of an answer that is no stream has been shown to nobody, nor what was translated at once.
    let shown = reader.begun() && reader.streams();
    let is_held = job.operation.is_inference() || job.operation == Operation::Show;
    if !reader.translates() && (shown || !is_held) {
        return Ok(());
    }
    Err(match fault.kind {
        FaultKind::Incomplete => broke_off(answer, fault, backend),
        FaultKind::Garbled => Setback::of_fault(fault, backend),
        _ => only_an_error(answer, fault, backend, job.operation),
    })
}

/// An answer that ended before its content: a 200 without a single line is a runner that died.
fn broke_off(answer: &Answer, fault: &Fault, backend: &Backend) -> Setback {
    match (Setback::reset(), Setback::of_fault(fault, backend)) {
        (
            Setback::Next {
                outcome, report, ..
            },
            Setback::Next { word, cause, .. },
        ) if answer.reader.translates() => Setback::Next {
            outcome,
            report,
            word,
            cause,
        },
        (reset, _) => reset,
    }
}

/// An answer of status 200 that is nothing but an error. If no other candidate does better, the client is told of it as of
/// an error answer: by what can be done about it, and of an Ollama server in its own words.
fn only_an_error(
    answer: &Answer,
    fault: &Fault,
    backend: &Backend,
    operation: Operation,
) -> Setback {
    let fleet = backend.provider.settings.kind.is_fleet();
    match Setback::of_fault(fault, backend) {
        Setback::Next {
            report,
            word,
            cause,
            ..
        } => Setback::Next {
            outcome: AttemptOutcome::ErrorLine,
            // A runner that fails is not its server.
            report: report.filter(|_| !fleet),
            word: match word {
                Some(Word::Failure(failure)) if fleet && !is_the_operators(fault) => {
                    in_place_of_answer(answer, failure, operation)
                }
                word => word,
            },
            cause: match fleet {
                true => cause,
                false => cause.told(StatusCode::OK, &headers_of(&answer.upstream)),
            },
        },
        other => other,
    }
}

/// A server's own error that came under status 200, with the status that it is told with; what was translated has no
/// words in the client's format but the gateway's.
fn in_place_of_answer(
    answer: &Answer,
    failure: Box<Failure>,
    operation: Operation,
) -> Option<Word> {
    let line = Bytes::copy_from_slice(answer.reader.failing().trim_ascii());
    if line.is_empty() {
        return Some(Word::Failure(failure));
    }
    let mut word = error_answer(&answer.upstream, line, operation)?;
    if let Word::Answer(answer) = &mut word {
        let head = &mut answer.head;
        head.set_status(StatusCode::from_u16(failure.status).ok()?)
            .ok()?;
        let json = "application/json; charset=utf-8";
        head.insert_header(header::CONTENT_TYPE, json).ok()?;
        if let Some(seconds) = failure.retry_after {
            head.insert_header(header::RETRY_AFTER, seconds).ok()?;
        }
    }
    Some(word)
}

/// A provider's error answer: sorted by what it means, told in the client's own format.
async fn provider_refused(
    answer: &mut Answer,
    backend: &Backend,
    status: StatusCode,
    operation: Operation,
) -> Setback {
    let body = error_body(&mut answer.upstream).await;
    let headers = headers_of(&answer.upstream);
    let kind = backend.provider.settings.kind;
    let fault = translate::fault(kind, status.as_u16(), &headers, &body);
    let same = !answer.across && fault.class == Class::Permanent;
    let silent = kind.is_fleet()
        && status.is_client_error()
        && is_blank(&body)
        && !refuses_key(backend, status.as_u16(), &body);
    match error_answer(&answer.upstream, body, operation) {
        // In the client's own format the provider's words are best.
        Some(word) if same => Setback::Final(word, fault.mend),
        _ => match Setback::of_answer(&fault, backend, Some(status.as_u16())) {
            Setback::Next {
                outcome,
                report,
                word,
                cause,
            } => Setback::Next {
                outcome,
                report,
                // Its refusal is of the request, whatever that status says elsewhere.
                word: match &word {
                    Some(Word::Failure(failure)) if silent && failure.status >= 500 => {
                        Some(wordless(backend, status))
                    }
                    _ => word,
                },
                cause: cause.told(status, &headers_of(&answer.upstream)),
            },
            other => other,
        },
    }
}

/// No API answers with HTML; a login page or a portal in between does.
fn is_page(head: &ResponseHeader) -> bool {
    const PAGE: &[u8] = b"text/html";
    head.headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().get(..PAGE.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(PAGE))
}

/// Reads a status that another backend might not give.
async fn refused(
    upstream: &mut Upstream,
    job: &Job,
    backend: &Backend,
    status: StatusCode,
) -> Option<Setback> {
    let model_vanished = status == StatusCode::NOT_FOUND && job.operation.is_inference();
    let of_account = matches!(status.as_u16(), 401..=403);
    let of_server = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    if !(of_server || of_account || model_vanished) {
        return None;
    }
    let body = error_body(upstream).await;
    let headers = headers_of(upstream);
    if of_account {
        let fault = ollama::fault(status.as_u16(), &headers, &body);
        let of_key = is_the_operators(&fault) && refuses_key(backend, status.as_u16(), &body);
        return Some(match Setback::of_answer(&fault, backend, None) {
            Setback::Next {
                outcome,
                report,
                word,
                cause,
            } if of_key => Setback::Next {
                outcome,
                report,
                word,
                cause: cause.told(status, &headers),
            },
            _ => {
                drop(headers);
                Setback::Final(
                    objection(upstream, body, backend, status, job.operation),
                    None,
                )
            }
        });
    }
    let request_fault = status.is_server_error() && ollama::is_request_fault(&body);
    let fault = ollama::fault(status.as_u16(), &headers, &body);
    // The server has read the request, and says that it is at fault, or its model.
    let blameless = matches!(status.as_u16(), 500 | 501) && fault.class == Class::Route;
    let cause = match blameless {
        true => Cause::of_fault(&fault).told(status, &headers),
        false => Cause {
            of_model: status == StatusCode::INTERNAL_SERVER_ERROR && is_about_model(&fault.message),
            ..Cause::of_status(status, &headers)
        },
    };
    drop(headers);
    let answer = match is_blank(&body) {
        true => {
            let status = Some(status.as_u16());
            let failure = Failure::of_server(&fault, &backend.provider.name, status);
            Some(Word::Failure(Box::new(failure)))
        }
        false => error_answer(upstream, body, job.operation),
    };
    match answer {
        Some(word) if request_fault => Some(Setback::Final(word, None)),
        word if status.is_server_error() && !blameless => Some(Setback::Next {
            outcome: AttemptOutcome::ServerError,
            report: (!cause.of_model).then_some(fleet::Outcome::ServerError),
            word,
            cause,
        }),
        word => Some(Setback::Next {
            outcome: AttemptOutcome::Refused,
            report: None,
            word,
            cause,
        }),
    }
}

/// Whether a server of a fleet, or what stands before it, refuses the gateway's own key or account: a client has nothing to
/// do with either. Without a key, a 403 that says nothing is what Ollama answers to a host or an origin.
pub(crate) fn refuses_key(backend: &Backend, status: u16, body: &[u8]) -> bool {
    let settings = &backend.provider.settings;
    let has_key =
        settings.api_key.is_some() || !settings.api_keys.is_empty() || !settings.headers.is_empty();
    match status {
        401 | 402 => true,
        403 => has_key || !is_blank(body),
        _ => false,
    }
}

/// A server's whole answer to a request that it does not take (4xx), in its own words if it has any.
fn objection(
    upstream: &Upstream,
    body: Bytes,
    backend: &Backend,
    status: StatusCode,
    operation: Operation,
) -> Word {
    match is_blank(&body) {
        true => wordless(backend, status),
        false => {
            error_answer(upstream, body, operation).unwrap_or_else(|| wordless(backend, status))
        }
    }
}

/// What is told of a server that answers with a status and nothing else, as Ollama does to a page of a foreign origin.
fn wordless(backend: &Backend, status: StatusCode) -> Word {
    let provider = &backend.provider.name;
    let text =
        format!("provider {provider}: its server answered with status {status}, and nothing else");
    Word::Failure(Box::new(Failure::new(
        status.as_u16(),
        "backend_error",
        text,
    )))
}

fn is_blank(body: &[u8]) -> bool {
    body.trim_ascii().is_empty()
}

/// In the form that the client reads. The body may have been cut to its bound, so its length is stated anew when it is relayed.
fn error_answer(upstream: &Upstream, body: Bytes, operation: Operation) -> Option<Word> {
    let mut head = upstream.head()?.clone();
    head.remove_header(&header::CONTENT_LENGTH);
    let answer = error_answer::for_client(ErrorAnswer { head, body }, operation);
    Some(Word::Answer(Box::new(answer)))
}

/// What a backend says of its failure, as far as it comes in time: some say all of it and leave the body open.
async fn error_body(upstream: &mut Upstream) -> Bytes {
    let deadline = Instant::now() + ERROR_BODY_TIMEOUT;
    let mut body = BytesMut::new();
    while body.len() < MAX_ERROR_BODY {
        let until = match translate::is_whole(&body) {
            true => deadline.min(Instant::now() + LAST_END),
            false => deadline,
        };
        let Ok(Ok(Some(piece))) = timeout_at(until.into(), upstream.read_piece()).await else {
            break;
        };
        let room = MAX_ERROR_BODY - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    if body.starts_with(BYTE_ORDER_MARK) {
        body.advance(BYTE_ORDER_MARK.len());
    }
    body.freeze()
}

/// The body of a short answer of status 200, to a question that no model's work is for.
pub(crate) async fn aside(
    side: &ProviderSide,
    backend: &Backend,
    head: RequestHeader,
    body: &Bytes,
) -> Option<Bytes> {
    let mut upstream = side.connections.open_new(backend).await.ok()?;
    exchange(&mut upstream, head, body, None).await.ok()?;
    let succeeded = upstream.head()?.status == StatusCode::OK;
    let answer = error_body(&mut upstream).await;
    if upstream.done() {
        upstream.release().await;
    }
    succeeded.then_some(answer)
}

impl Gateway {
    /// The head that goes to an Ollama server.
    pub(crate) fn upstream_head(
        &self,
        inbound: &RequestHeader,
        ctx: &crate::proxy::ctx::Inbound,
        content_length: Option<usize>,
        backend: &Backend,
        key: usize,
    ) -> pingora::Result<RequestHeader> {
        let mut head = heads::upstream_request(
            inbound,
            &heads::Rewrite {
                host: &backend.host,
                content_length,
                request_id: &ctx.request_id,
                client: ctx.client,
                forwarded: self.settings.server.forwarded,
            },
        )?;
        for (name, value) in backend.provider.fields_with(key) {
            head.insert_header(name, value)?;
        }
        Ok(head)
    }
}
