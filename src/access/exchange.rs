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
use redis::{AsyncConnectionConfig, Client, RedisError, Value};

use super::bell::Bell;
use super::clock::{Clock, Millis, NoTime};
use super::key::ClientKey;
use super::protocol::{Protocol, Round, Spent, Topic, absurd, millis, told};
use super::purse::Statement;
use super::spending::begins_anew;
use crate::settings::Shared;

/// Between two exchanges, if there is anything to say.
const EVERY: Duration = Duration::from_millis(25);
/// Between two looks at what others do, where they do nothing.
const LOOK: Duration = Duration::from_millis(100);
/// Before it is asked again for what could not be given yet.
const PAUSE: Duration = Duration::from_millis(5);
/// How long those are waited for that were there before the server went away.
const GATHER: Duration = Duration::from_secs(2);
/// Milliseconds by which the clocks of gateways may differ.
const SPARE: Millis = 500;
/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_millis(300);
/// How long a connection may take, and between two tries.
const CONNECT: Duration = Duration::from_millis(500);
/// Meanwhile all is told again.
const REFRESH: Duration = Duration::from_secs(3600);

/// Millionths of a US dollar that no budget's period can have cost: a billion dollars.
const MOST_SPENT: u64 = 1_000_000_000_000_000;

/// The task that exchanges counts.
pub struct Exchange {
    client: Client,
    server: Protocol,
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

/// The gateways that counted together when the server went away, and when that was.
#[derive(Default)]
struct Before {
    gateways: usize,
    lost: Millis,
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
            server: Protocol::new(Arc::clone(&shared.prefix), books),
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
        self.server.load(&mut connection).await?;
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

    /// Notes that the server has what all gateways have counted.
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

    /// Makes one round trip, if there is anything to say.
    async fn round(
        &self,
        connection: &mut MultiplexedConnection,
        seen: &mut Seen,
        lost: Millis,
    ) -> Result<(), RedisError> {
        let mut round = Round::new();
        let now = self.clock.now();
        let due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
        // Others get more only when this gateway has heard of what they got.
        let looks = !seen.gathered || !seen.busy.is_empty() || due(seen.looked, LOOK);
        if looks {
            seen.looked = Some(Instant::now());
            self.server.look(&mut round, now, seen.until);
        }
        if !seen.gathered || due(seen.refreshed, REFRESH) {
            seen.refreshed = Some(Instant::now());
            self.keys.iter().for_each(|key| key.limits().stir());
        }
        for index in 0..self.keys.len() {
            self.tell(index, now, &mut round, seen, looks);
        }
        seen.busy.clear();
        if round.is_empty() {
            return Ok(());
        }
        self.server.sign(&mut round, now);
        for (topic, answer) in round.trip(connection).await? {
            self.take_in(topic, answer, seen, lost)?;
        }
        Ok(())
    }

    /// Tells what one key has used, and asks for what its requests wait for.
    fn tell(&self, index: usize, now: Millis, round: &mut Round, seen: &mut Seen, looks: bool) {
        let key = &self.keys[index];
        if seen.busy.contains(&index) {
            key.limits().stir();
        }
        let asks = key.limits().asks(now, looks, seen.gathered);
        let (spent, is_new) = self.spent(index, seen);
        if is_new || asks.iter().any(|(_, question)| question.ask.used) {
            self.server.name_busy(round, now, key);
        }
        for (place, question) in asks {
            let topic = Topic::Limit {
                key: index,
                place,
                want: question.ask.want,
                acts: seen.gathered,
            };
            round.say(self.server.ask(key, &question, seen.gathered), topic);
        }
        if let Some(spent) = spent {
            let topic = Topic::Budget {
                key: index,
                ends: spent.ends,
                told: spent.statement,
            };
            round.say(self.server.tell_spent(key, spent), topic);
        }
    }

    /// Returns what a key's budget has cost here, if that is news or others may have news; and whether it is news.
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
                self.learn_spent(&self.keys[key], ends, told, &sums)?;
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

    /// Takes in what a budget's period has cost everywhere, in answer to what was told of it here.
    fn learn_spent(
        &self,
        key: &ClientKey,
        ends: Millis,
        told: Statement,
        sums: &[u64],
    ) -> Result<(), RedisError> {
        if sums.iter().any(|sum| *sum > MOST_SPENT) {
            return Err(absurd("it tells of sums that nobody can have spent"));
        }
        let [aside, granted, sums @ ..] = sums else {
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
        key.purse().learn(ends, together, *aside, told);
        if told.claim > 0 {
            key.purse().answer_claim(granted);
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

    /// Notes which gateways are there, and when each was heard of.
    fn meet(&self, gateways: Vec<(String, Millis)>, seen: &mut Seen, lost: Millis) {
        let back = gateways.iter().filter(|(_, heard)| *heard >= lost);
        let others = back.filter(|(name, _)| *name != *self.server.me()).count();
        seen.back = others + 1;
        let mut names: Vec<String> = gateways.into_iter().map(|(name, _)| name).collect();
        if names.iter().all(|name| name != self.server.me()) {
            names.push(self.server.me().to_owned());
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
        self.server.leaves().query_async(&mut connection).await
    }

    fn lost(&self, error: &RedisError) {
        for key in &self.keys {
            key.limits().lost();
            key.purse().share(false);
        }
        self.away.set(1);
        if !self.told_away.swap(true, Ordering::Relaxed) {
            log::warn!(
                "shared limits: the server is away ({error}); this gateway continues with its share of what was left"
            );
        }
        self.bell.answer();
    }
}

/// Returns the time by which accounts are kept.
fn wall_clock() -> Millis {
    let since = crate::clock::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| Millis::try_from(since.as_millis()).unwrap_or(0))
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
