//! One answer in the making: token after token in the model's time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::answer::{Answer, Call, Ending, Piece};
use super::ask::Ask;
use super::catalogue::Model;
use super::fault::At;
use super::link::Wire;
use super::prompt::Read;
use super::seat::{Prefill, RUNNER_DIED, Seat, Visitor, nanoseconds};
use super::stats::End;
use super::strike::Strike;

/// Integer nanoseconds and counts; each is left out when it is 0.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Metrics {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) total_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) prompt_eval_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_eval_cached_count: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) eval_duration: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What happens in an answer, in this order: thinking, content or calls, then one of the last two.
#[derive(Debug)]
pub(super) enum Event {
    Thinking(Cow<'static, str>),
    Content(Cow<'static, str>),
    Calls(Vec<Call>),
    Error(String),
    Done(Done),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) reason: &'static str,
    pub(super) metrics: Metrics,
}

/// An answer with its slot: dropping it frees the slot.
pub(super) struct Generation {
    answer: Answer,
    per_token: Duration,
    decode_began: Instant,
    made: u64,
    metrics: Metrics,
    strike: Strike,
    wire: Wire,
    streams: bool,
    seat: Seat,
    /// The prompt and what has been said to it, which the copy will remember.
    text: String,
}

impl Generation {
    /// Begins an answer to what has been read.
    pub(super) fn new(
        visitor: &Visitor,
        ask: &Ask,
        seat: Seat,
        read: Read,
        prefill: Prefill,
        strike: Strike,
    ) -> Self {
        let server = &visitor.server;
        let machine = &server.machine;
        let mut answer = Answer::new(ask, &read.text, &seat.model, machine);
        if !seat.lease.shifts {
            let context = u64::from(seat.lease.context_length);
            answer.limit(context.saturating_sub(read.tokens));
        }
        Self {
            answer,
            per_token: seat.slowed(server, 1.0, machine.decode_speed),
            decode_began: Instant::now(),
            made: 0,
            metrics: Metrics {
                load_duration: nanoseconds(seat.load),
                prompt_eval_count: read.tokens,
                prompt_eval_cached_count: machine.tells_cached.then_some(prefill.cached),
                prompt_eval_duration: nanoseconds(prefill.time),
                ..Metrics::default()
            },
            strike,
            wire: visitor.wire.clone(),
            streams: ask.stream,
            text: read.text,
            seat,
        }
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.seat.model
    }

    /// What happens next, when it is time for it. After `Done` or `Error` there is nothing more.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            if let Some(message) = self.go_wrong().await {
                self.seat.visit.end(End::Failed);
                return Event::Error(message);
            }
            let piece = match self.answer.next() {
                Ok(piece) => piece,
                Err(ending) => return Event::Done(self.done(ending)),
            };
            match piece {
                Piece::Calls(calls) => return Event::Calls(calls),
                Piece::Quiet => self.token().await,
                Piece::Thinking(text) => {
                    self.token().await;
                    return Event::Thinking(text);
                }
                Piece::Content(text) => {
                    self.text.push_str(&text);
                    self.token().await;
                    return Event::Content(text);
                }
            }
        }
    }

    /// The time that a token takes, by the clock of the whole answer so that it does not drift.
    async fn token(&mut self) {
        self.made += 1;
        self.seat.visit.token();
        if !self.per_token.is_zero() {
            let due = self.per_token.mul_f64(self.made as f64);
            tokio::time::sleep_until(self.decode_began + due).await;
        }
        self.seat.lease.inside.works().await;
    }

    /// Stalls and cuts, where it is time for them; an error line is returned.
    async fn go_wrong(&mut self) -> Option<String> {
        if let Some(found) = self
            .strike
            .stalls
            .iter()
            .position(|(at, _)| self.is_at(*at))
        {
            let (_, time) = self.strike.stalls.swap_remove(found);
            tokio::time::sleep(time).await;
            self.decode_began += time;
        }
        if let Some((at, reset)) = self.strike.cut
            && self.is_at(at)
        {
            // What has been said is sent before the connection ends.
            self.wire.flushed().await;
            self.wire.cut_after(0, reset);
            std::future::pending::<()>().await;
        }
        self.strike
            .error
            .take_if(|(at, _)| *at == At::Tokens(self.made))
            .map(|(_, failure)| failure.message.unwrap_or_else(|| RUNNER_DIED.to_owned()))
    }

    /// Whether the answer has come to this place. The body of a whole answer begins only after its last token.
    fn is_at(&self, at: At) -> bool {
        at == At::Tokens(self.made) || (at == At::Body && self.streams && self.made == 0)
    }

    fn done(&mut self, ending: Ending) -> Done {
        self.seat.lease.inside.remember(&self.text);
        self.seat.visit.end(End::Completed);
        self.metrics.eval_count = self.made;
        self.metrics.eval_duration = nanoseconds(self.decode_began.elapsed());
        self.metrics.total_duration = nanoseconds(self.seat.began.elapsed());
        Done {
            reason: match ending {
                Ending::Stop => "stop",
                Ending::Length => "length",
            },
            metrics: self.metrics,
        }
    }
}
