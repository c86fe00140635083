//! What a gateway and the server at which gateways count together say to each other: names, commands and replies.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, Script, Value};

use super::clock::Millis;
use super::key::ClientKey;
use super::limits::Question;
use super::pool::{Heard, Told};
use super::purse::Statement;
use super::rate::{RatePeriod, RateUnit};
use super::window::Slice;
use crate::settings::Period;

/// How limits are counted, and what budgets' periods have cost, at the server.
const COUNTS: &str = include_str!("exchange.lua");
const BUDGETS: &str = include_str!("spent.lua");
/// A gateway that was not heard of for so long is gone. Until then, the others get no more than it may go without
/// knowing of.
const GONE: Millis = 2_000;
/// How long it is known which keys others have used lately.
const BUSY: Millis = 10_000;
/// How long the sum of a budget is kept that no longer grows: longer than any month.
const KEEP: u64 = 40 * 24 * 3600;
/// How long what was counted is kept, beyond the time for which it counts, as a gateway is known by it.
const QUIET: Duration = Duration::from_secs(24 * 3600);

/// What a budget's period has cost, as this gateway's books have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) period: Period,
    /// When the period ends; the end of time for one that does not.
    pub(super) ends: Millis,
    pub(super) statement: Statement,
}

/// What the answers of a round are to.
pub(super) enum Topic {
    Limit {
        key: usize,
        place: usize,
        want: u64,
        acts: bool,
    },
    Budget {
        key: usize,
        ends: Millis,
        told: Statement,
    },
    Nothing,
    Time,
    Gateways,
    Busy,
}

/// What is said in one round trip, with what each answer will be to.
pub(super) struct Round {
    pipeline: Pipeline,
    topics: Vec<Topic>,
}

impl Round {
    /// Returns an empty round, which is one transaction: who tells of its limits is known as a gateway in the same moment.
    pub(super) fn new() -> Round {
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        Round {
            pipeline,
            topics: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn say(&mut self, command: Cmd, topic: Topic) {
        self.pipeline.add_command(command);
        self.topics.push(topic);
    }

    /// Sends everything, and returns the answers with their topics.
    ///
    /// # Errors
    /// If the server does not answer, or answers otherwise than it was asked.
    pub(super) async fn trip(
        self,
        connection: &mut MultiplexedConnection,
    ) -> Result<impl Iterator<Item = (Topic, Value)>, RedisError> {
        let answers: Vec<Value> = self.pipeline.query_async(connection).await?;
        Ok(self.topics.into_iter().zip(answers))
    }
}

/// Who this gateway is at the server, and what its commands are.
pub(super) struct Protocol {
    prefix: Arc<str>,
    /// This gateway, among those that count together.
    me: String,
    /// The books of this gateway.
    books: String,
    counts: Script,
    budgets: Script,
}

impl Protocol {
    /// Returns the protocol of a gateway that has just begun to count, with books of this number.
    pub(super) fn new(prefix: Arc<str>, books: u64) -> Protocol {
        Protocol {
            prefix,
            me: format!("{:016x}", rand::random::<u64>()),
            books: format!("{books:016x}"),
            counts: Script::new(COUNTS),
            budgets: Script::new(BUDGETS),
        }
    }

    /// Returns the name of this gateway.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Gives the server the scripts.
    ///
    /// # Errors
    /// If it does not take them, or calls them otherwise than they are.
    pub(super) async fn load(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        for (script, text) in [(&self.counts, COUNTS), (&self.budgets, BUDGETS)] {
            // Not by the library, which panics where the server names another hash than its own.
            let mut load = redis::cmd("SCRIPT");
            let hash: String = load.arg("LOAD").arg(text).query_async(connection).await?;
            if hash != script.get_hash() {
                return Err(absurd("it names a script otherwise than it is"));
            }
        }
        Ok(())
    }

    /// Asks for the time and which keys others have used since `until`, and forgets who is gone.
    pub(super) fn look(&self, round: &mut Round, now: Millis, until: Millis) {
        let remove = |name: &str, before: Millis| {
            let mut command = redis::cmd("ZREMRANGEBYSCORE");
            command.arg(self.name(name)).arg("-inf").arg(before);
            command
        };
        round.say(redis::cmd("TIME"), Topic::Time);
        let gone = now.saturating_sub(GONE);
        round.say(remove("gateways", gone), Topic::Nothing);
        let idle = now.saturating_sub(BUSY);
        round.say(remove("busy", idle), Topic::Nothing);
        let mut gateways = redis::cmd("ZRANGE");
        gateways.arg(self.name("gateways"));
        gateways.arg(0).arg(-1).arg("WITHSCORES");
        round.say(gateways, Topic::Gateways);
        let mut busy = redis::cmd("ZRANGEBYSCORE");
        busy.arg(self.name("busy")).arg(until).arg("+inf");
        round.say(busy, Topic::Busy);
    }

    /// Says that a key is used now, so that others tell of it too.
    pub(super) fn name_busy(&self, round: &mut Round, now: Millis, key: &ClientKey) {
        let mut busy = redis::cmd("ZADD");
        busy.arg(self.name("busy")).arg(now).arg(&*key.name);
        round.say(busy, Topic::Nothing);
    }

    /// Says that this gateway is there.
    pub(super) fn sign(&self, round: &mut Round, now: Millis) {
        let mut gateways = redis::cmd("ZADD");
        gateways.arg(self.name("gateways")).arg(now).arg(&self.me);
        round.say(gateways, Topic::Nothing);
    }

    /// Returns the command that says that this gateway goes.
    pub(super) fn leaves(&self) -> Cmd {
        let mut command = redis::cmd("ZREM");
        command.arg(self.name("gateways")).arg(&self.me);
        command
    }

    /// Returns the question for a share of a limit, with what was used of it here. `acts`: others have told what they
    /// counted, so that it is known what is left.
    pub(super) fn ask(&self, key: &ClientKey, question: &Question, acts: bool) -> Cmd {
        let unit = match question.unit {
            RateUnit::Requests => "requests",
            RateUnit::Tokens => "tokens",
        };
        let span = match question.span {
            RatePeriod::Minute => "minute",
            RatePeriod::Day => "day",
        };
        let ask = &question.ask;
        let kept = u64::try_from((ask.memory + QUIET).as_millis());
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(self.counts.get_hash())
            .arg(2)
            .arg(self.name(&format!("{}:{unit}:{span}", key.name)))
            .arg(self.name("gateways"))
            .arg(&self.me)
            .arg(ask.current.0)
            .arg(ask.oldest.0)
            .arg(question.limit)
            .arg(ask.want)
            .arg(kept.unwrap_or(u64::MAX))
            .arg(u8::from(acts))
            .arg(ask.held)
            .arg(ask.heard.joined)
            .arg(ask.heard.given);
        for (slice, amount) in &ask.amounts {
            command.arg(slice.0).arg(*amount);
        }
        command
    }

    /// Returns the command that tells what a budget's period has cost here.
    pub(super) fn tell_spent(&self, key: &ClientKey, spent: Spent) -> Cmd {
        let (name, kept) = match spent.period {
            Period::Total => ("ever".to_owned(), 0),
            Period::Day | Period::Month => (spent.ends.to_string(), KEEP),
        };
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(self.budgets.get_hash())
            .arg(3)
            .arg(self.name(&format!("{}:budget:{name}", key.name)))
            .arg(self.name(&format!("{}:aside", key.name)))
            .arg(self.name("gateways"))
            .arg(&self.books)
            .arg(spent.statement.spent)
            .arg(kept)
            .arg(&self.me)
            .arg(spent.statement.aside)
            .arg(QUIET.as_secs())
            .arg(spent.statement.claim);
        command
    }

    fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.prefix)
    }
}

/// Reads what `exchange.lua` replies.
pub(super) fn told(reply: &[u64]) -> Told {
    let number = |place: usize| reply.get(place).copied().unwrap_or(0);
    let others = reply.get(7..).unwrap_or_default().chunks_exact(2);
    Told {
        granted: number(0),
        gateways: number(1),
        known: number(2) == 1,
        joins: number(3) == 1,
        held: number(4),
        heard: Heard {
            joined: number(5),
            given: number(6),
        },
        others: others.map(|pair| (Slice(pair[0]), pair[1])).collect(),
    }
}

/// Returns the error for a reply that cannot be right: a server that gives one is no better than one that is away.
pub(super) fn absurd(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}

/// Converts seconds and microseconds, in which the server tells the time.
pub(super) fn millis((seconds, micros): (u64, u64)) -> Millis {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}
