//! From a request on the wire to a provider's reply: faults, time, and counters.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::RETRY_AFTER;
use hyper::http::request::Parts;
use tokio::time::Instant;

use super::super::body::{Body, Lines};
use super::super::fault::At;
use super::super::link::Wire;
use super::super::reply;
use super::super::sabotage::{go_wrong, hold_back};
use super::super::server::Server;
use super::super::stats::{End, Visit};
use super::super::strike::{Status, Strike};
use super::Provider;
use super::exchange::{Content, Failed, Piece, Reply, Request, Work};

/// Answers one request to a simulated provider.
pub(crate) async fn answer(
    provider: Arc<dyn Provider>,
    server: Arc<Server>,
    wire: Wire,
    head: Parts,
    body: Bytes,
) -> reply::Reply {
    let request = Request {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.clone(),
        body: body.clone(),
        number: server.counters.number(),
        now: chrono::Utc::now().timestamp(),
    };
    let strike = server.faults.strike(&request.path);
    let route = format!("{} {}", request.method, request.path);
    server.counters.saw(route, head, body);
    go_wrong(&wire, &strike).await;
    let reply = match &strike.status {
        Some(status) => error_status(&*provider, &request, status),
        None => provider.answer(&request),
    };
    let Some(work) = reply.work else {
        return send(reply, wire, &strike);
    };
    let mut run = Run {
        provider,
        request,
        visit: server.counters.visit(),
        server,
        wire,
        strike,
        began: Instant::now(),
        made: 0,
        sent: 0,
        ends: false,
    };
    run.begin(work).await;
    if matches!(reply.content, Content::Whole(_)) {
        return run.whole(reply, work).await;
    }
    let (head, pieces) = parts(reply);
    response(head, Body::flow(|lines| run.stream(pieces, lines)))
}

fn error_status(provider: &dyn Provider, request: &Request, status: &Status) -> Reply {
    let failed = Failed {
        status: status.status,
        message: status.failure.message.clone(),
        code: status.failure.code.clone(),
        retry_after: status.retry_after.clone(),
    };
    let reply = match &status.body {
        None => provider.refuse(request, &failed),
        Some(body) => {
            let kind = if body.trim_start().starts_with('<') {
                "text/html"
            } else {
                "application/json"
            };
            Reply::whole(status.status, kind, body.clone())
        }
    };
    match &status.retry_after {
        Some(value) if provider.says_retry_after() => reply.with(RETRY_AFTER.as_str(), value),
        _ => reply,
    }
}

/// Returns a whole reply, at once or held back by a fault.
fn send(reply: Reply, wire: Wire, strike: &Strike) -> reply::Reply {
    let pause = strike.stall(At::Body);
    let cut = strike.cut.filter(|(at, _)| *at == At::Body);
    let (head, pieces) = parts(reply);
    let bytes: Vec<&[u8]> = pieces.iter().map(|piece| &piece.bytes[..]).collect();
    let response = response(head, Body::whole(bytes.concat()));
    if pause.is_none() && cut.is_none() {
        return response;
    }
    let cut = cut.map(|(_, reset)| (wire, reset));
    hold_back(response, pause.unwrap_or_default(), cut)
}

/// Returns the head of a reply, and its body in pieces.
fn parts(reply: Reply) -> (hyper::Response<()>, Vec<Piece>) {
    let mut head = hyper::Response::new(());
    *head.status_mut() = reply.status;
    *head.headers_mut() = reply.headers;
    let pieces = match reply.content {
        Content::Whole(bytes) => vec![Piece::new(bytes, 0)],
        Content::Stream(pieces) => pieces,
    };
    (head, pieces)
}

fn response(head: hyper::Response<()>, body: Body) -> reply::Reply {
    head.map(|()| body)
}

/// How an answer comes to its end before it is complete.
enum Break {
    Failed(Failed),
    /// Without a word.
    Silence,
}

/// One answer on its way out.
struct Run {
    provider: Arc<dyn Provider>,
    request: Request,
    server: Arc<Server>,
    wire: Wire,
    strike: Strike,
    visit: Visit,
    began: Instant,
    /// Tokens that have been made.
    made: u64,
    /// Pieces that have been sent.
    sent: u64,
    /// Whether the last piece is next.
    ends: bool,
}

impl Run {
    /// Reads the prompt, which takes its time.
    async fn begin(&mut self, work: Work) {
        self.visit.begin();
        let machine = &self.server.machine;
        let time = machine.time(work.prompt_tokens as f64, machine.prompt_speed);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        self.began = Instant::now();
    }

    async fn stream(mut self, pieces: Vec<Piece>, lines: Lines) {
        let count = pieces.len() as u64;
        for piece in pieces {
            self.ends = self.sent + 1 == count;
            if let Some(broken) = self.go_wrong(true).await {
                self.visit.end(End::Failed);
                if let Break::Failed(failed) = broken {
                    let bytes = self.provider.break_off(&self.request, &failed, self.sent);
                    // No receiver, no client: there is nobody to tell.
                    let _ = lines.send(bytes).await;
                }
                return;
            }
            self.tokens(piece.tokens).await;
            if lines.send(piece.bytes).await.is_err() {
                return;
            }
            self.sent += 1;
        }
        self.visit.end(End::Completed);
    }

    async fn whole(mut self, reply: Reply, work: Work) -> reply::Reply {
        let mut broken = self.go_wrong(false).await;
        for _ in 0..work.answer_tokens {
            if broken.is_some() {
                break;
            }
            self.tokens(1).await;
            broken = self.go_wrong(false).await;
        }
        let reply = match broken {
            Some(Break::Failed(failed)) => {
                self.visit.end(End::Failed);
                self.provider.fail_whole(&self.request, &failed)
            }
            // A whole answer has no last line that could be missing.
            Some(Break::Silence) | None => {
                self.visit.end(End::Completed);
                reply
            }
        };
        send(reply, self.wire, &self.strike)
    }

    /// The time that tokens take, by the clock of the whole answer so that it does not drift.
    async fn tokens(&mut self, count: u64) {
        for _ in 0..count {
            self.visit.token();
        }
        self.made += count;
        let machine = &self.server.machine;
        let due = machine.time(self.made as f64, machine.decode_speed);
        if count > 0 && !due.is_zero() {
            tokio::time::sleep_until(self.began + due).await;
        }
    }

    /// Stalls and cuts, where it is time for them; returns how the answer ends, if it does here.
    async fn go_wrong(&mut self, streams: bool) -> Option<Break> {
        if let Some(found) = self
            .strike
            .stalls
            .iter()
            .position(|(at, _)| self.is_at(*at, streams))
        {
            let (_, time) = self.strike.stalls.swap_remove(found);
            tokio::time::sleep(time).await;
            self.began += time;
        }
        if let Some((at, reset)) = self.strike.cut
            && self.is_at(at, streams)
        {
            // What has been said is sent before the connection ends.
            if streams {
                self.wire.flushed().await;
            }
            self.wire.cut_after(0, reset);
            std::future::pending::<()>().await;
        }
        if let Some((at, failure)) = &self.strike.error
            && self.is_at(*at, streams)
        {
            return Some(Break::Failed(Failed {
                status: 500,
                message: failure.message.clone(),
                code: failure.code.clone(),
                retry_after: None,
            }));
        }
        let end = self.strike.end?;
        self.is_at(end, streams).then_some(Break::Silence)
    }

    /// Returns whether the answer has come to this place. A piece of several tokens may pass it.
    fn is_at(&self, at: At, streams: bool) -> bool {
        match at {
            At::Tokens(tokens) => tokens <= self.made,
            At::Events(events) => !streams || events <= self.sent,
            At::Last => !streams || self.ends,
            At::Body => streams,
            At::Head | At::Bytes(_) => false,
        }
    }
}
