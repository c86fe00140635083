//! Counts what requests cost: on instruments and against budgets at once, in the store a moment later.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use log::warn;
use tokio::sync::mpsc;

use super::account::Accounts;
use super::party::Parties;
use super::store::Store;
use super::tag::Tags;
use super::writer::{Held, Item, Message, Writer};
use super::{
    Account, By, Counts, Description, Moment, Party, Since, Spent, StoreError, Table, Tag, Tokens,
    Usd,
};
use crate::ids::{ModelId, ProviderId};
use crate::metrics::Metrics;
use crate::settings;
use remuda_formats::ir;

/// Requests that may wait to be added up; the thread takes them four times a second.
const WAITING: usize = 1 << 16;
/// How long a report or the last commit may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds between two warnings that requests were lost.
const SILENCE: i64 = 60;
/// How long sums are kept where there is no file: the longest month, and a day.
const IN_MEMORY: Duration = Duration::from_secs(32 * 24 * 3600);

/// What one request, or one failed attempt at it, cost.
#[derive(Clone, Copy)]
pub struct Charge<'a> {
    pub account: &'a Arc<Account>,
    /// The key's name.
    pub key: Option<&'a str>,
    pub tag: Option<&'a str>,
    /// `None` if there was no answer, or it told nothing.
    pub usage: Option<&'a ir::Usage>,
    /// Whether it is the request itself, rather than an attempt at it that another one followed.
    pub request: bool,
    /// The client got no whole answer.
    pub failed: bool,
    /// Some of `usage` is an estimate.
    pub estimated: bool,
}

/// The books of one gateway.
pub struct Ledger {
    accounts: Accounts,
    parties: Parties,
    /// Requests without key and tag, which are all of them where neither is used.
    nobody: OnceLock<Arc<Party>>,
    tags: Tags,
    books: u64,
    metrics: Arc<Metrics>,
    channel: mpsc::Sender<Message>,
    writer: Thread,
    warned: AtomicI64,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

/// Why a report could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the thread that keeps usage does not answer")]
    Silent,
}

impl Ledger {
    /// Opens the store, loads what keys have spent, and starts the thread that writes.
    ///
    /// # Errors
    /// If the file cannot be used; nothing was started then.
    pub fn open(
        settings: &settings::Usage,
        metrics: &Arc<Metrics>,
        now: Moment,
    ) -> Result<Arc<Ledger>, StoreError> {
        let store = match &settings.path {
            Some(path) => Store::open(path)?,
            None => Store::in_memory()?,
        };
        let in_memory = settings.path.is_none();
        let retention = match settings.retention {
            Some(kept) if in_memory => Some(kept.min(IN_MEMORY)),
            None if in_memory => Some(IN_MEMORY),
            kept => kept,
        };
        let parties = Parties::starting(store.spent(now)?);
        let books = store.books()?;
        let writer = Writer {
            store,
            metrics: Arc::clone(metrics),
            retention: retention.map(hours),
            in_memory,
            held: Held::default(),
            tidied: None,
            complained: None,
            closing: None,
        };
        let (channel, receiver) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("usage".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(StoreError::Thread)?;
        let writer = thread.thread().clone();
        Ok(Arc::new(Ledger::over(
            parties, books, metrics, channel, writer,
        )))
    }

    fn over(
        parties: Parties,
        books: u64,
        metrics: &Arc<Metrics>,
        channel: mpsc::Sender<Message>,
        writer: Thread,
    ) -> Ledger {
        Ledger {
            accounts: Accounts::default(),
            parties,
            nobody: OnceLock::new(),
            tags: Tags::default(),
            books,
            metrics: Arc::clone(metrics),
            channel,
            writer,
            warned: AtomicI64::new(i64::MIN),
        }
    }

    /// Returns the account of a model that the fleet lists, by the provider's position in the configuration. `describe`
    /// is asked once.
    pub fn listed(
        &self,
        provider: ProviderId,
        model: ModelId,
        describe: impl FnOnce() -> Description,
    ) -> Arc<Account> {
        self.accounts
            .listed(provider, model, &self.metrics, describe)
    }

    /// Forgets models that are nowhere any more and whose numbers never come back.
    pub(super) fn forget_models(&self, models: &[ModelId]) {
        self.accounts.forget(models);
    }

    /// Returns the account of a model that a provider has under a name that it does not list.
    pub fn unlisted(
        &self,
        provider: ProviderId,
        name: &str,
        describe: impl FnOnce() -> Description,
    ) -> Arc<Account> {
        self.accounts
            .unlisted(provider, name, &self.metrics, describe)
    }

    /// Returns the shared text of a tag; `other` for one of too many.
    pub fn tag(&self, tag: Tag<'_>) -> Arc<str> {
        self.tags.intern(tag.as_str())
    }

    /// Counts a request or an attempt. Never waits: if the thread that writes cannot keep up, the store misses it, and
    /// `remuda_usage_lost_requests_total` tells. Returns what it cost, if that is known.
    pub fn record(&self, charge: &Charge<'_>, now: Moment) -> Option<Usd> {
        let tokens = charge.usage.map(Tokens::from).unwrap_or_default();
        let answered = !charge.failed || !tokens.is_zero();
        let cost = if answered {
            charge.account.cost(charge.usage, &tokens)
        } else {
            Some(Usd::ZERO)
        };
        let counts = Counts {
            requests: u64::from(charge.request),
            failed: u64::from(charge.request && charge.failed),
            estimated: u64::from(charge.estimated),
            unpriced: u64::from(cost.is_none()),
            tokens,
            cost: cost.unwrap_or_default(),
        };
        let party = self.party(charge.key, charge.tag);
        charge.account.count(&counts);
        charge.account.learn(counts.cost);
        party.count(&counts, now);
        let item = Item {
            hour: now.hour(),
            party,
            account: Arc::clone(charge.account),
            counts,
        };
        if self.channel.try_send(Message::Add(item)).is_err() {
            self.lost(now);
        }
        cost
    }

    fn party(&self, key: Option<&str>, tag: Option<&str>) -> Arc<Party> {
        let of = |key: &str, tag: &str| self.parties.of(key, tag, &self.metrics);
        if key.is_some() || tag.is_some() {
            return of(key.unwrap_or_default(), tag.unwrap_or_default());
        }
        Arc::clone(self.nobody.get_or_init(|| of("", "")))
    }

    fn lost(&self, now: Moment) {
        self.metrics.usage.lost.inc();
        let (now, last) = (now.as_seconds(), self.warned.load(Ordering::Relaxed));
        let due = now.saturating_sub(last) >= SILENCE;
        let exchange = |last| {
            self.warned
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
        };
        if due && exchange(last).is_ok() {
            warn!(
                "usage comes faster than it can be written: requests are missing from it; see remuda_usage_lost_requests_total"
            );
        }
    }

    /// Returns a number that no other gateway's books have; it lasts as long as they do.
    pub fn books(&self) -> u64 {
        self.books
    }

    /// Returns what a key has spent, by its name; the value is kept up to date.
    pub fn spent_by(&self, key: &str) -> Arc<Spent> {
        self.parties.spent_of(key)
    }

    /// Sums with all that was recorded before. Waits for the thread that writes: not for tasks that serve requests.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn table(&self, by: By, since: Since) -> Result<Table, ReportError> {
        let (answer, answered) = sync_channel(1);
        self.tell(Message::Table(by, since, answer))?;
        match answered.recv_timeout(PATIENCE) {
            Ok(table) => Ok(table?),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(ReportError::Silent)
            }
        }
    }

    /// Waits until all that was recorded before is in the store, or cannot be. What is recorded afterwards is lost.
    pub fn close(&self) {
        let (answer, answered) = sync_channel(1);
        if self.tell(Message::Close(answer)).is_ok() {
            let _ = answered.recv_timeout(PATIENCE);
        }
    }

    fn tell(&self, mut message: Message) -> Result<(), ReportError> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            self.writer.unpark();
            match self.channel.try_send(message) {
                Ok(()) => {
                    self.writer.unpark();
                    return Ok(());
                }
                Err(mpsc::error::TrySendError::Full(back)) if std::time::Instant::now() < until => {
                    message = back;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(_) => return Err(ReportError::Silent),
            }
        }
    }
}

/// Returns whole hours, rounded up.
fn hours(kept: Duration) -> i64 {
    i64::try_from(kept.as_secs().div_ceil(3600)).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests;
