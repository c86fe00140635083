//! Counting together with other gateways, through a Redis or Valkey server: forty times a second, and at once when a
//! request waits, whatever has changed is told and leases are asked for, in one round trip. Where the server is away,
//! each limit goes on with this gateway's share of what was left, until it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ahash::{AHashMap, AHashSet};
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use prometheus::IntGauge;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, Script, Value};

use super::bell::Bell;
use super::clock::{Clock, Millis};
use super::key::ClientKey;
use super::limits::Question;
use super::meter::{Span, Unit};
use super::pool::Told;
use super::spending::begins_anew;
use super::window::Slice;
use crate::settings::{Period, Shared};

/// Between two exchanges, if there is anything to say.
const EVERY: Duration = Duration::from_millis(25);
/// Between two looks at what others do. When the server goes away, no gateway knows less than was so this long ago.
const LOOK: Duration = Duration::from_millis(100);
/// How long those are waited for that were there before the server went away.
const GATHER: Duration = Duration::from_secs(2);
/// A gateway that was not heard of for so long is gone.
const GONE: Millis = 5_000;
/// Milliseconds by which the clocks of gateways may differ.
const SPARE: Millis = 500;
/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_millis(300);
/// How long a connection may take, and between two tries.
const CONNECT: Duration = Duration::from_millis(500);
/// How long the sum of a budget is kept that no longer grows: longer than any month.
const KEEP: u64 = 40 * 24 * 3600;

/// The task that exchanges counts.
pub struct Exchange {
    client: Client,
    prefix: Arc<str>,
    /// This gateway, among those that count together.
    me: String,
    script: Script,
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
    /// Up to when it is known which keys others use.
    until: Millis,
    gateways: u64,
    /// Whether all have told what they had counted while the server was away.
    gathered: bool,
    /// Of each key with a budget, what was last told.
    budgets: AHashMap<usize, Spent>,
    /// Keys that others have used lately.
    busy: AHashSet<usize>,
}

/// What a budget's period has cost at this gateway since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    /// When the period ends; 0 for one that does not.
    period: Millis,
    /// What it had cost when the gateway started, which others know of already.
    before: u64,
    since: u64,
}

/// What the answers of a round are to.
enum Topic {
    Limit { key: usize, place: usize },
    Budget { key: usize, since: u64 },
    Nothing,
    Time,
    Gateways,
    Busy,
}

impl Exchange {
    pub(super) fn new(
        shared: &Shared,
        keys: Vec<Arc<ClientKey>>,
        bell: Arc<Bell>,
        clock: Arc<Clock>,
        away: IntGauge,
    ) -> Result<Exchange, RedisError> {
        Ok(Exchange {
            client: Client::open(shared.url.expose())?,
            prefix: Arc::clone(&shared.prefix),
            me: format!("{:016x}", rand::random::<u64>()),
            script: Script::new(include_str!("exchange.lua")),
            keys,
            bell,
            clock,
            away,
            told_away: AtomicBool::new(false),
        })
    }

    async fn run(&self) {
        let mut before = Seen::default();
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
        self.script.load_async(&mut connection).await?;
        // Slices are numbered by the server's clock, so it has to be known before the first is told.
        let time: (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        self.clock.set(millis(time));
        Ok(connection)
    }

    /// Exchanges until something goes wrong.
    async fn talk(&self, mut connection: MultiplexedConnection, before: &mut Seen) -> RedisError {
        let mut seen = Seen {
            budgets: std::mem::take(&mut before.budgets),
            ..Seen::default()
        };
        let began = Instant::now();
        // Whatever was counted while there was no server.
        self.keys.iter().for_each(|key| key.limits().stir());
        let error = loop {
            if let Err(error) = self.round(&mut connection, &mut seen).await {
                break error;
            }
            if !seen.gathered {
                seen.gathered = seen.gateways >= before.gateways || began.elapsed() >= GATHER;
                if seen.gathered {
                    self.found(&seen);
                    continue;
                }
            }
            self.bell.answer();
            let _ = tokio::time::timeout(EVERY, self.bell.rung()).await;
        };
        seen.gateways = seen.gateways.max(before.gateways);
        *before = seen;
        error
    }

    /// The server has what all gateways have counted.
    fn found(&self, seen: &Seen) {
        self.keys.iter().for_each(|key| key.limits().stir());
        self.away.set(0);
        if self.told_away.swap(false, Ordering::Relaxed) {
            let count = seen.gateways;
            log::info!("shared limits: the server is back; {count} gateways count together");
        }
    }

    /// One round trip, if there is anything to say.
    async fn round(
        &self,
        connection: &mut MultiplexedConnection,
        seen: &mut Seen,
    ) -> Result<(), RedisError> {
        let mut pipeline = Pipeline::new();
        let mut topics = Vec::new();
        let now = self.clock.now();
        let mut news = false;
        let looks = seen.looked.is_none_or(|looked| looked.elapsed() >= LOOK);
        // How many share what is left has to be known as well as what is left.
        pipeline.cmd("ZCARD").arg(self.name("gateways"));
        topics.push(Topic::Gateways);
        if looks {
            seen.looked = Some(Instant::now());
            self.look(&mut pipeline, &mut topics, now, seen.until);
            news = true;
        }
        for (index, key) in self.keys.iter().enumerate() {
            if seen.busy.contains(&index) {
                key.limits().stir();
            }
            let asks = key.limits().asks(now, looks);
            let (spent, is_new) = self.spent(index, now, seen);
            news |= !asks.is_empty() || spent.is_some();
            if is_new || asks.iter().any(|(_, question)| question.ask.used) {
                let busy = pipeline.cmd("ZADD").arg(self.name("busy"));
                busy.arg(now).arg(&*key.name);
                topics.push(Topic::Nothing);
            }
            for (place, question) in asks {
                pipeline.add_command(self.ask(key, &question, seen.gathered));
                topics.push(Topic::Limit { key: index, place });
            }
            if let Some(spent) = spent {
                self.tell_spent(&mut pipeline, &mut topics, index, spent);
            }
        }
        seen.busy.clear();
        if !news {
            return Ok(());
        }
        // After what was counted, so that whoever is there has told it.
        pipeline
            .cmd("ZADD")
            .arg(self.name("gateways"))
            .arg(now)
            .arg(&self.me);
        topics.push(Topic::Nothing);
        let answers: Vec<Value> = pipeline.query_async(connection).await?;
        for (topic, answer) in topics.into_iter().zip(answers) {
            self.take_in(topic, answer, seen)?;
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
        remove(pipeline, self.name("busy"), now.saturating_sub(2 * GONE));
        let busy = pipeline.cmd("ZRANGEBYSCORE").arg(self.name("busy"));
        busy.arg(until).arg("+inf");
        topics.extend([Topic::Time, Topic::Nothing, Topic::Nothing, Topic::Busy]);
    }

    /// `gathered`: others have told what they counted, so that it is known what is left.
    fn ask(&self, key: &ClientKey, question: &Question, gathered: bool) -> Cmd {
        let unit = match question.unit {
            Unit::Requests => "requests",
            Unit::Tokens => "tokens",
        };
        let span = match question.span {
            Span::Minute => "minute",
            Span::Day => "day",
        };
        let ask = &question.ask;
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(self.script.get_hash())
            .arg(1)
            .arg(self.name(&format!("{}:{unit}:{span}", key.name)))
            .arg(&self.me)
            .arg(ask.current.0)
            .arg(ask.oldest.0)
            .arg(question.limit)
            .arg(if gathered { ask.want } else { 0 })
            .arg(u64::try_from(ask.memory.as_millis()).unwrap_or(u64::MAX));
        for (slice, amount) in &ask.amounts {
            command.arg(slice.0).arg(*amount);
        }
        command
    }

    /// What a key's budget has cost here, if that is news or others may have news; and whether it is news.
    fn spent(&self, index: usize, now: Millis, seen: &mut Seen) -> (Option<Spent>, bool) {
        let Some((per, total)) = self.keys[index].spent() else {
            return (None, false);
        };
        let period = begins_anew(per, now).unwrap_or(0);
        let known = seen.budgets.get(&index).copied();
        let before = match known {
            Some(known) if known.period == period => known.before,
            // It began anew while this gateway ran.
            Some(_) => 0,
            None => total,
        };
        let spent = Spent {
            period,
            before,
            since: total.saturating_sub(before),
        };
        let is_new = known != Some(spent);
        if !is_new && !seen.busy.contains(&index) {
            return (None, false);
        }
        seen.budgets.insert(index, spent);
        (Some(spent), is_new)
    }

    fn tell_spent(
        &self,
        pipeline: &mut Pipeline,
        topics: &mut Vec<Topic>,
        index: usize,
        spent: Spent,
    ) {
        let key = &self.keys[index].name;
        let name = self.name(&format!("{key}:budget:{}", spent.period));
        pipeline
            .cmd("HSET")
            .arg(&name)
            .arg(&self.me)
            .arg(spent.since);
        topics.push(Topic::Nothing);
        if self.keys[index]
            .spent()
            .is_some_and(|(per, _)| per != Period::Total)
        {
            pipeline.cmd("EXPIRE").arg(&name).arg(KEEP);
            topics.push(Topic::Nothing);
        }
        pipeline.cmd("HVALS").arg(&name);
        topics.push(Topic::Budget {
            key: index,
            since: spent.since,
        });
    }

    fn take_in(&self, topic: Topic, answer: Value, seen: &mut Seen) -> Result<(), RedisError> {
        match topic {
            Topic::Nothing => {}
            Topic::Limit { .. } if !seen.gathered => {}
            Topic::Limit { key, place } => {
                let numbers: Vec<u64> = redis::from_redis_value(answer)?;
                let (granted, others) = numbers.split_first().unwrap_or((&0, &[]));
                let pairs = others.chunks_exact(2).map(|pair| (Slice(pair[0]), pair[1]));
                let told = Told {
                    granted: *granted,
                    others: pairs.collect(),
                    gateways: seen.gateways,
                };
                self.keys[key].limits().told(self.clock.now(), place, &told);
            }
            Topic::Budget { key, since } => {
                let sums: Vec<u64> = redis::from_redis_value(answer)?;
                let together = sums.iter().fold(0_u64, |sum, one| sum.saturating_add(*one));
                self.keys[key].learn_spent(together.max(since));
            }
            Topic::Time => {
                self.clock.set(millis(redis::from_redis_value(answer)?));
            }
            Topic::Gateways => seen.gateways = redis::from_redis_value(answer)?,
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

    fn lost(&self, error: &RedisError) {
        self.keys.iter().for_each(|key| key.limits().lost());
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

/// Of seconds and microseconds, as the server tells the time.
fn millis((seconds, micros): (u64, u64)) -> Millis {
    seconds * 1000 + micros / 1000
}

#[async_trait]
impl BackgroundService for Exchange {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            // Requests that are still in flight are counted here alone.
            _ = shutdown.changed() => {}
        }
    }
}
