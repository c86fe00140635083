//! One answer in the making: admission to a model and a slot, then token after token in the model's time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::answer::{Answer, Call, Ending, Piece};
use super::ask::Ask;
use super::catalogue::Model;
use super::duration::KeepAlive;
use super::fault::At;
use super::link::Wire;
use super::names::Name;
use super::reply::Refusal;
use super::runner::{Lease, Want};
use super::server::{OnDisk, Server};
use super::stats::{End, Visit};
use super::strike::Strike;

/// What Ollama says when the process that runs the model is gone.
pub(super) const RUNNER_DIED: &str = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama server logs for details";

/// What a request has come to: the server, the connection, and what is to go wrong.
pub(super) struct Visitor {
    pub(super) server: Arc<Server>,
    pub(super) wire: Wire,
    pub(super) strike: Strike,
}

/// Integer nanoseconds and counts; each is left out when it is 0.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Metrics {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) total_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) prompt_eval_count: u64,
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

/// A model, loaded, and one of its slots.
pub(super) struct Seat {
    pub(super) model: Arc<Model>,
    lease: Lease,
    _slot: OwnedSemaphorePermit,
    pub(super) visit: Visit,
    pub(super) began: Instant,
    pub(super) load: Duration,
}

/// What a request has been admitted to.
pub(super) enum Admitted {
    /// Nothing to say: the model has been loaded or unloaded.
    Loaded(&'static str),
    Speaking(Box<Generation>),
}

impl Visitor {
    /// Finds a model by what the client wrote; `missing` makes the text of the 404.
    pub(super) fn find(
        &self,
        written: &str,
        missing: impl FnOnce(&str) -> String,
    ) -> Result<OnDisk, Refusal> {
        if written.is_empty() {
            return Err(Refusal::not_found(missing(written)));
        }
        let name = Name::parse(written).ok_or_else(|| Refusal::bad("invalid model name"))?;
        self.server
            .model(&name)
            .ok_or_else(|| Refusal::not_found(missing(written)))
    }

    /// Waits for the model, then for one of its slots.
    pub(super) async fn sit(&self, want: Want) -> Result<Seat, Refusal> {
        let began = Instant::now();
        let mut visit = self.server.counters.visit();
        let lease = self.hold(&want, &mut visit).await?;
        let load = began.elapsed();
        let slot = lease.slot().await;
        visit.begin();
        Ok(Seat {
            model: want.model,
            lease,
            _slot: slot,
            visit,
            began,
            load,
        })
    }

    /// Loads a model without a wish for a slot.
    pub(super) async fn load(&self, want: Want) -> Result<(), Refusal> {
        let mut visit = self.server.counters.visit();
        self.hold(&want, &mut visit).await?;
        visit.end(End::Completed);
        Ok(())
    }

    async fn hold(&self, want: &Want, visit: &mut Visit) -> Result<Lease, Refusal> {
        let faults = &self.server.faults;
        self.server
            .runners
            .acquire(want, || faults.slow_load())
            .await
            .map_err(|busy| {
                visit.end(End::Failed);
                Refusal::new(hyper::StatusCode::SERVICE_UNAVAILABLE, busy.to_string())
            })
    }

    /// Reads `tokens` of prompt, which takes its time.
    pub(super) async fn read_prompt(&self, tokens: u64) -> Duration {
        let machine = &self.server.machine;
        let start = Instant::now();
        let time = machine.time(tokens as f64, machine.prompt_speed);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        start.elapsed()
    }

    /// Admits a generate or chat request; returns when the first token can be made.
    pub(super) async fn admit(mut self, ask: &Ask) -> Result<Admitted, Refusal> {
        let model = self
            .find(&ask.model, |name| format!("model '{name}' not found"))?
            .model;
        check_capabilities(ask, &model)?;
        let want = Want {
            model: model.clone(),
            keep_alive: ask.keep_alive,
            context_length: ask.options.context_length,
        };
        if ask.prompt.empty {
            if ask.keep_alive == Some(KeepAlive::For(Duration::ZERO)) {
                self.server.runners.unload(&model);
                return Ok(Admitted::Loaded("unload"));
            }
            self.load(want).await?;
            return Ok(Admitted::Loaded("load"));
        }
        let seat = self.sit(want).await?;
        let prompt_tokens = ask.prompt.tokens();
        let prompt_time = self.read_prompt(prompt_tokens).await;
        let machine = &self.server.machine;
        // What is not in VRAM is read from memory that is about ten times slower.
        let speed = machine.decode_speed * (seat.lease.in_vram + (1.0 - seat.lease.in_vram) * 0.1);
        Ok(Admitted::Speaking(Box::new(Generation {
            answer: Answer::new(ask, &model, machine),
            per_token: machine.time(1.0, speed),
            decode_began: Instant::now(),
            made: 0,
            metrics: Metrics {
                load_duration: nanoseconds(seat.load),
                prompt_eval_count: prompt_tokens,
                prompt_eval_duration: nanoseconds(prompt_time),
                ..Metrics::default()
            },
            strike: std::mem::take(&mut self.strike),
            wire: self.wire.clone(),
            streams: ask.stream,
            seat,
        })))
    }
}

fn check_capabilities(ask: &Ask, model: &Model) -> Result<(), Refusal> {
    let quoted = |verb: &str| Refusal::bad(format!("{:?} does not support {verb}", ask.model));
    let qualified = |capability: &str| {
        Refusal::bad(format!(
            "{} does not support {capability}",
            model.name.qualified()
        ))
    };
    if !model.can("completion") {
        return Err(quoted(ask.manner.verb()));
    }
    if !ask.prompt.tools.is_empty() && !model.can("tools") {
        return Err(qualified("tools"));
    }
    if ask.prompt.suffix && !model.can("insert") {
        return Err(qualified("insert"));
    }
    if ask.prompt.images > 0 && !model.can("vision") {
        return Err(qualified("vision"));
    }
    if ask.think == Some(true) && !model.can("thinking") {
        return Err(quoted("thinking"));
    }
    Ok(())
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
}

impl Generation {
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
