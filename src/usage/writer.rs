//! The one thread that keeps sums: takes what requests put into the channel, adds it up for a moment, and commits.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use log::{error, info};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::store::{Names, Store, StoreError};
use super::{Account, By, Counts, Moment, Party, Since, Table};
use crate::clock;
use crate::metrics::Metrics;

/// What is gathered in this time is committed at once; so a crash loses no more.
const GATHER: Duration = Duration::from_millis(250);
/// Between two attempts to write where the file cannot be written.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two complaints about that.
const SILENCE: Duration = Duration::from_secs(60);
/// Distinct rows that are held while the file cannot be written; what comes on top is lost, and counted.
const MOST_HELD: usize = 50_000;
/// Rows that are kept where there is no file; the oldest hours go first.
const MOST_IN_MEMORY: i64 = 200_000;

/// How long nothing is removed after the clock has leapt.
const DOUBT: Duration = Duration::from_secs(24 * 3600);

/// What the thread is told.
pub(super) enum Message {
    Add(Item),
    /// Answered once all that came before is committed.
    Table(By, Since, SyncSender<Result<Table, StoreError>>),
    /// Ends the thread; answered once all that came before is committed and the file is closed.
    Close(SyncSender<()>),
}

/// One request.
pub(super) struct Item {
    pub(super) hour: i64,
    pub(super) party: Arc<Party>,
    pub(super) account: Arc<Account>,
    pub(super) counts: Counts,
}

pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    /// Hours that rows are kept; `None`: for ever.
    pub(super) retention: Option<i64>,
    pub(super) in_memory: bool,
    pub(super) held: Held,
    pub(super) tidied: Option<i64>,
    pub(super) complained: Option<Instant>,
    /// Who waits for the end.
    pub(super) closing: Option<SyncSender<()>>,
}

/// Sums that are not written yet.
#[derive(Default)]
pub(super) struct Held {
    /// The counts by hour, party and account.
    rows: AHashMap<(i64, u32, u32), Item>,
}

impl Held {
    /// Adds an item, and returns whether there was room.
    fn add(&mut self, item: Item) -> bool {
        let key = (item.hour, item.party.id, item.account.id);
        if let Some(row) = self.rows.get_mut(&key) {
            row.counts.add(&item.counts);
            return true;
        }
        if self.rows.len() >= MOST_HELD {
            return false;
        }
        self.rows.insert(key, item);
        true
    }
}

impl Writer {
    /// Writes what the ledger sends until the ledger is gone.
    pub(super) fn run(mut self, mut channel: Receiver<Message>) {
        self.tidy();
        while let Some(first) = self.next(&mut channel) {
            self.take(first);
            let until = Instant::now() + GATHER;
            while self.drain(&mut channel) {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // Requests do not wake this thread; who waits for an answer does.
                std::thread::park_timeout(left);
            }
            self.commit();
            if self.closing.is_some() {
                break;
            }
            self.tidy();
        }
        self.commit();
        // The last connection to leave writes the log ahead into the file and removes it.
        drop(self.store);
        if let Some(waiting) = self.closing {
            let _ = waiting.send(());
        }
    }

    /// Waits for the next message; `None` at the end. What could not be written is tried again meanwhile.
    fn next(&mut self, channel: &mut Receiver<Message>) -> Option<Message> {
        while !self.held.rows.is_empty() {
            match channel.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => std::thread::park_timeout(AGAIN),
            }
            self.commit();
        }
        channel.blocking_recv()
    }

    /// Takes what is there; false at the end, and when told to end.
    fn drain(&mut self, channel: &mut Receiver<Message>) -> bool {
        loop {
            match channel.try_recv() {
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => return self.closing.is_none(),
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Add(item) => {
                if !self.held.add(item) {
                    self.metrics.usage.lost.inc();
                }
            }
            // Who asked may have given up.
            Message::Table(by, since, answer) => {
                self.commit();
                let _ = answer.send(self.store.table(by, since));
            }
            Message::Close(answer) => self.closing = Some(answer),
        }
    }

    fn commit(&mut self) {
        if self.held.rows.is_empty() {
            return;
        }
        let rows = self.held.rows.values().map(|item| {
            let names = Names {
                hour: item.hour,
                key: &item.party.key,
                tag: &item.party.tag,
                provider: &item.account.provider,
                model: &item.account.model,
            };
            (names, &item.counts)
        });
        match self.store.add(rows) {
            Ok(()) => {
                self.held.rows.clear();
                if self.complained.take().is_some() {
                    info!("usage is written again");
                }
            }
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &StoreError) {
        self.metrics.usage.write_errors.inc();
        if self.complained.is_some_and(|last| last.elapsed() < SILENCE) {
            return;
        }
        self.complained = Some(Instant::now());
        error!("usage cannot be written, and is held in memory meanwhile: {error}");
    }

    /// Forgets what is too old, once an hour and at the start.
    fn tidy(&mut self) {
        let now = Moment::now().hour();
        if self.tidied == Some(now) {
            return;
        }
        self.tidied = Some(now);
        let mut tidied = match self.retention {
            // By a clock that has leapt, everything may seem to be old.
            Some(_) if clock::has_leapt(DOUBT) => Ok(()),
            Some(hours) => self.store.forget_before(now - hours).map(|_| ()),
            None => Ok(()),
        };
        if self.in_memory && tidied.is_ok() {
            tidied = self.store.keep_at_most(MOST_IN_MEMORY, now);
        }
        if let Err(error) = tidied {
            error!("old usage cannot be removed: {error}");
        }
    }
}
