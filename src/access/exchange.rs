//! Counting together with other gateways, through a Redis or Valkey server: forty times a second, and at once when a
//! request waits, whatever has changed is told and leases are asked for, in one transaction. Where the server is away,
//! each limit goes on with this gateway's share of what was left, until it is back and has heard of all that were there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use ahash::{AHashMap, AHashSet};
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use prometheus::IntGauge;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, Script, Value};

use super::bell::Bell;
use super::clock::{Clock, Millis, NoTime};
use super::key::ClientKey;
use super::limits::Question;
use super::pool::{Heard, Told};
use super::purse::Statement;
use super::rate::{RatePeriod, RateUnit};
use super::spending::begins_anew;
use super::window::Slice;
use crate::settings::{Period, Shared};

/// How limits are counted, and what budgets' periods have cost, at the server.
const COUNTS: &str = include_str!("exchange.lua");
const BUDGETS: &str = include_str!("spent.lua");
/// Between two exchanges, if there is anything to say.
const EVERY: Duration = Duration::from_millis(25);
/// Between two looks at what others do, where they do nothing.
const LOOK: Duration = Duration::from_millis(100);
/// Before it is asked again for what could not be given yet.
const PAUSE: Duration = Duration::from_millis(5);
/// How long those are waited for that were there before the server went away.
const GATHER: Duration = Duration::from_secs(2);
/// A gateway that was not heard of for so long is gone. Until then, the others get no more than it may go without
/// knowing of.
const GONE: Millis = 2_000;
/// How long it is known which keys others have used lately.
const BUSY: Millis = 10_000;
/// Milliseconds by which the clocks of gateways may differ.
const SPARE: Millis = 500;
/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_millis(300);
/// How long a connection may take, and between two tries.
const CONNECT: Duration = Duration::from_millis(500);
/// How long the sum of a budget is kept that no longer grows: longer than any month.
const KEEP: u64 = 40 * 24 * 3600;
/// How long what was counted is kept, beyond the time for which it counts, as a gateway is known by it.
const QUIET: Duration = Duration::from_secs(24 * 3600);
/// Meanwhile all is told again.
const REFRESH: Duration = Duration::from_secs(3600);

/// Millionths of a US dollar that no budget's period can have cost: a billion dollars.
const MOST_SPENT: u64 = 1_000_000_000_000_000;

/// The task that exchanges counts.
pub struct Exchange {
    client: Client,
    prefix: Arc<str>,
    /// This gateway, among those that count together.
    me: String,
    /// The books of this gateway.
    books: String,
    counts: Script,
    budgets: Script,
    keys: Vec<Arc<ClientKey>>,
    bell: Arc<Bell>,
    clock: Arc<Clock>,
    away: IntGauge,
    /// Whether it was said that the server is away.
    told_away: AtomicBool,
}

/// What this gateway has seen of one connection's time.
#[derive(Default)]
struct Seen {
    looked: Option<Instant>,
    /// When all limits were told last.
    refreshed: Option<Instant>,
    /// Up to when it is known which keys others use.
    until: Millis,
    /// All that are there.
    gateways: Vec<String>,
    /// Those that were heard of since the server was away.
    back: usize,
    /// Whether all have told what they had counted while the server was away.
    gathered: bool,
    /// A limit gave less than was asked for.
    short: bool,
    /// What was last told of each key with a budget.
    budgets: AHashMap<usize, Spent>,
    /// Keys that others have used lately.
    busy: AHashSet<usize>,
}

/// What a budget's period has cost, as this gateway's books have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    period: Period,
    /// When the period ends; the end of time for one that does not.
    ends: Millis,
    statement: Statement,
}

/// The gateways that counted together when the server went away, and when that was.
#[derive(Default)]
struct Before {
    gateways: usize,
    lost: Millis,
}

/// What the answers of a round are to.
enum Topic {
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

impl Exchange {
    pub(super) fn new(
        shared: &Shared,
        books: u64,
        keys: Vec<Arc<ClientKey>>,
        bell: Arc<Bell>,
        clock: Arc<Clock>,
        away: IntGauge,
    ) -> Result<Exchange, RedisError> {
        Ok(Exchange {
            client: Client::open(shared.url.expose())?,
            prefix: Arc::clone(&shared.prefix),
            me: format!("{:016x}", rand::random::<u64>()),
            books: format!("{books:016x}"),
            counts: Script::new(COUNTS),
            budgets: Script::new(BUDGETS),
            keys,
            bell,
            clock,
            away,
            told_away: AtomicBool::new(false),
        })
    }

    async fn run(&self) {
        let mut before = Before::default();
        loop {
            let error = match self.connect().await {
                Ok(connection) => self.talk(connection, &mut before).await,
                Err(error) => error,
            };
            self.lost(&error);
            tokio::time::sleep(CONNECT).await;
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        for (script, text) in [(&self.counts, COUNTS), (&self.budgets, BUDGETS)] {
            // Not by the library, which panics where the server names another hash than its own.
            let mut load = redis::cmd("SCRIPT");
            let hash: String = load
                .arg("LOAD")
                .arg(text)
                .query_async(&mut connection)
                .await?;
            if hash != script.get_hash() {
                return Err(absurd("it names a script otherwise than it is"));
            }
        }
        // Slices are numbered by the server's clock, so it has to be known before the first is told.
        let time: (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        self.keep_time(time)?;
        Ok(connection)
    }

    /// Exchanges until something goes wrong.
    async fn talk(&self, mut connection: MultiplexedConnection, before: &mut Before) -> RedisError {
        let mut seen = Seen::default();
        let began = Instant::now();
        loop {
            if let Err(error) = self.round(&mut connection, &mut seen, before.lost).await {
                if seen.gathered {
                    before.gateways = seen.gateways.len();
                }
                before.lost = self.clock.now().saturating_add(SPARE);
                return error;
            }
            if !seen.gathered {
                seen.gathered = seen.back >= before.gateways || began.elapsed() >= GATHER;
                if seen.gathered {
                    self.found(&seen);
                    continue;
                }
            }
            self.bell.answer();
            if std::mem::take(&mut seen.short) {
                tokio::time::sleep(PAUSE).await;
            }
            let _ = tokio::time::timeout(EVERY, self.bell.rung()).await;
        }
    }

    /// The server has what all gateways have counted.
    fn found(&self, seen: &Seen) {
        for key in &self.keys {
            key.limits().stir();
            key.purse().share(true);
        }
        self.away.set(0);
        if self.told_away.swap(false, Ordering::Relaxed) {
            let count = seen.gateways.len();
            log::info!("shared limits: the server is back; {count} gateways count together");
        }
    }

    /// One round trip, if there is anything to say.
    async fn round(
        &self,
        connection: &mut MultiplexedConnection,
        seen: &mut Seen,
        lost: Millis,
    ) -> Result<(), RedisError> {
        // As a whole: who tells of its limits is known as a gateway in the same moment.
        let mut pipeline = Pipeline::new();
        pipeline.atomic();
        let mut topics = Vec::new();
        let now = self.clock.now();
        let mut news = false;
        let due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
        // Others get more only when this gateway has heard of what they got.
        let looks = !seen.gathered || !seen.busy.is_empty() || due(seen.looked, LOOK);
        if looks {
            seen.looked = Some(Instant::now());
            self.look(&mut pipeline, &mut topics, now, seen.until);
            news = true;
        }
        if !seen.gathered || due(seen.refreshed, REFRESH) {
            seen.refreshed = Some(Instant::now());
            self.keys.iter().for_each(|key| key.limits().stir());
        }
        for (index, key) in self.keys.iter().enumerate() {
            if seen.busy.contains(&index) {
                key.limits().stir();
            }
            let asks = key.limits().asks(now, looks, seen.gathered);
            let (spent, is_new) = self.spent(index, seen);
            news |= !asks.is_empty() || spent.is_some();
            if is_new || asks.iter().any(|(_, question)| question.ask.used) {
                let busy = pipeline.cmd("ZADD").arg(self.name("busy"));
                busy.arg(now).arg(&*key.name);
                topics.push(Topic::Nothing);
            }
            for (place, question) in asks {
                pipeline.add_command(self.ask(key, &question, seen.gathered));
                topics.push(Topic::Limit {
                    key: index,
                    place,
                    want: question.ask.want,
                    acts: seen.gathered,
                });
            }
            if let Some(spent) = spent {
                pipeline.add_command(self.tell_spent(key, spent));
                topics.push(Topic::Budget {
                    key: index,
                    ends: spent.ends,
                    told: spent.statement,
                });
            }
        }
        seen.busy.clear();
        if !news {
            return Ok(());
        }
        pipeline
            .cmd("ZADD")
            .arg(self.name("gateways"))
            .arg(now)
            .arg(&self.me);
        topics.push(Topic::Nothing);
        let answers: Vec<Value> = pipeline.query_async(connection).await?;
        for (topic, answer) in topics.into_iter().zip(answers) {
            self.take_in(topic, answer, seen, lost)?;
        }
        Ok(())
    }

    /// Asks for the time and which keys others use, and forgets who is gone.
    fn look(&self, pipeline: &mut Pipeline, topics: &mut Vec<Topic>, now: Millis, until: Millis) {
        let remove = |pipeline: &mut Pipeline, name: String, before: Millis| {
            let command = pipeline.cmd("ZREMRANGEBYSCORE");
            command.arg(name).arg("-inf").arg(before);
        };
        pipeline.cmd("TIME");
        remove(pipeline, self.name("gateways"), now.saturating_sub(GONE));
        remove(pipeline, self.name("busy"), now.saturating_sub(BUSY));
        let gateways = pipeline.cmd("ZRANGE").arg(self.name("gateways"));
        gateways.arg(0).arg(-1).arg("WITHSCORES");
        let busy = pipeline.cmd("ZRANGEBYSCORE").arg(self.name("busy"));
        busy.arg(until).arg("+inf");
        topics.extend([Topic::Time, Topic::Nothing, Topic::Nothing]);
        topics.extend([Topic::Gateways, Topic::Busy]);
    }

    /// `acts`: others have told what they counted, so that it is known what is left.
    fn ask(&self, key: &ClientKey, question: &Question, acts: bool) -> Cmd {
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

    /// What a key's budget has cost here, if that is news or others may have news; and whether it is news.
    fn spent(&self, index: usize, seen: &mut Seen) -> (Option<Spent>, bool) {
        let ends = |per| begins_anew(per, wall_clock()).unwrap_or(Millis::MAX);
        let key = &self.keys[index];
        let Some((period, statement)) = key.purse().statement() else {
            return (None, false);
        };
        let spent = Spent {
            period,
            ends: ends(period),
            statement,
        };
        // What one period has cost never counts for the next: the sum was asked for in the one that is told.
        let again = key.purse().statement().map(|(_, again)| again.spent);
        if again != Some(statement.spent) || ends(period) != spent.ends {
            return (None, false);
        }
        // A claim that was refused is made again.
        let is_new = statement.claim > 0 || seen.budgets.get(&index) != Some(&spent);
        if !is_new && !seen.busy.contains(&index) {
            return (None, false);
        }
        seen.budgets.insert(index, spent);
        (Some(spent), is_new)
    }

    fn tell_spent(&self, key: &ClientKey, spent: Spent) -> Cmd {
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

    fn take_in(
        &self,
        topic: Topic,
        answer: Value,
        seen: &mut Seen,
        lost: Millis,
    ) -> Result<(), RedisError> {
        match topic {
            Topic::Nothing | Topic::Limit { acts: false, .. } => {}
            Topic::Limit {
                key, place, want, ..
            } => {
                let told = told(&redis::from_redis_value::<Vec<u64>>(answer)?);
                if told.granted > want {
                    return Err(absurd("it gives more than it was asked for"));
                }
                seen.short |= told.granted < want;
                self.keys[key].limits().told(self.clock.now(), place, &told);
            }
            Topic::Budget { key, ends, told } => {
                let sums: Vec<u64> = redis::from_redis_value(answer)?;
                if sums.iter().any(|sum| *sum > MOST_SPENT) {
                    return Err(absurd("it tells of sums that nobody can have spent"));
                }
                let [aside, granted, sums @ ..] = &sums[..] else {
                    return Err(absurd("it does not tell what is set aside of a budget"));
                };
                let together = sums.iter().fold(0_u64, |sum, one| sum.saturating_add(*one));
                let granted = *granted == 1;
                let aside_here = if granted {
                    told.aside.max(told.claim)
                } else {
                    told.aside
                };
                let told = Statement {
                    aside: aside_here,
                    ..told
                };
                let purse = self.keys[key].purse();
                purse.learn(ends, together, *aside, told);
                if told.claim > 0 {
                    purse.answer_claim(granted);
                }
            }
            Topic::Time => {
                self.keep_time(redis::from_redis_value(answer)?)?;
            }
            Topic::Gateways => self.meet(redis::from_redis_value(answer)?, seen, lost),
            Topic::Busy => {
                let names: Vec<String> = redis::from_redis_value(answer)?;
                let named = |key: &Arc<ClientKey>| names.iter().any(|name| **name == *key.name);
                let busy = self.keys.iter().enumerate().filter(|(_, key)| named(key));
                seen.busy = busy.map(|(index, _)| index).collect();
                // With some time to spare, as several clocks are concerned.
                seen.until = self.clock.now().saturating_sub(SPARE);
            }
        }
        Ok(())
    }

    /// Goes with the server's clock, if that can be right.
    fn keep_time(&self, time: (u64, u64)) -> Result<(), RedisError> {
        let ahead = self.clock.differs(millis(time)).map_err(|NoTime| {
            absurd("its clock has leapt; if it is right now, start this gateway anew")
        })?;
        // In this order, no window is ever found to be long past.
        let shift = || self.keys.iter().for_each(|key| key.limits().shift(ahead));
        if ahead > 0 {
            shift();
        }
        self.clock.step(ahead);
        if ahead < 0 {
            shift();
        }
        Ok(())
    }

    /// The gateways that are there, and when each was heard of.
    fn meet(&self, gateways: Vec<(String, Millis)>, seen: &mut Seen, lost: Millis) {
        let back = gateways.iter().filter(|(_, heard)| *heard >= lost);
        let others = back.filter(|(name, _)| *name != self.me).count();
        seen.back = others + 1;
        let mut names: Vec<String> = gateways.into_iter().map(|(name, _)| name).collect();
        if !names.contains(&self.me) {
            names.push(self.me.clone());
        }
        names.sort_unstable();
        if names != seen.gateways {
            // Who has come gets nothing before all have heard of it, and who has gone no longer counts.
            for key in &self.keys {
                key.limits().stir();
                key.purse().among(names.len());
            }
            seen.gateways = names;
        }
    }

    /// Says that this gateway goes, so that no other one waits for it.
    async fn leave(&self) -> Result<(), RedisError> {
        let mut connection = self.connect().await?;
        let mut command = redis::cmd("ZREM");
        command.arg(self.name("gateways")).arg(&self.me);
        command.query_async(&mut connection).await
    }

    fn lost(&self, error: &RedisError) {
        for key in &self.keys {
            key.limits().lost();
            key.purse().share(false);
        }
        self.away.set(1);
        if !self.told_away.swap(true, Ordering::Relaxed) {
            log::warn!(
                "shared limits: the server is away ({error}); this gateway goes on with its share of what was left"
            );
        }
        self.bell.answer();
    }

    fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.prefix)
    }
}

/// Reads what `exchange.lua` replies.
fn told(reply: &[u64]) -> Told {
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

/// A server that says what cannot be is no better than one that is away.
fn absurd(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}

/// The time that accounts are kept in.
fn wall_clock() -> Millis {
    let since = crate::clock::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| Millis::try_from(since.as_millis()).unwrap_or(0))
}

/// Converts seconds and microseconds, in which the server tells the time.
fn millis((seconds, micros): (u64, u64)) -> Millis {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

#[async_trait]
impl BackgroundService for Exchange {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            // Requests that are still in flight are counted here alone.
            _ = shutdown.changed() => {
                if let Err(error) = self.leave().await {
                    log::debug!("shared limits: the server was not told that this gateway goes: {error}");
                }
            }
        }
    }
}
