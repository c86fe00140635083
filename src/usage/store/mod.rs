//! The sums in SQLite: rows by hour, key, tag, provider and model, and what each key has spent ever.
//!
//! One thread of the gateway writes; the owner may read the file meanwhile. Write-ahead logging with a sync at every commit:
//! what was committed outlives the process and the machine.

mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use super::report::By;
use super::spent::Sums;
use super::{Counts, Moment, Since, Table, Usd};

pub use read::StoreReader;

/// How long a reader's or another writer's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why sums cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open {}: {source}", path.display())]
    Open {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("cannot open {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write to {}", path.display())]
    ReadOnly { path: PathBuf },
    #[error("{} is not a file of Remuda's usage", path.display())]
    Foreign { path: PathBuf },
    #[error("{} was written by a newer version of Remuda (schema {version}, this one knows {known})", path.display())]
    Newer {
        path: PathBuf,
        version: i64,
        known: i64,
    },
    #[error("{} is damaged: {what}; put it aside, or restore it from a backup", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
}

/// The names that a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Names<'a> {
    pub(super) hour: i64,
    pub(super) key: &'a str,
    pub(super) tag: &'a str,
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
}

/// Makes the file for its owner alone, or closes one that is there to others: who asked for what is nobody's business. What
/// SQLite puts beside it has the same mode. What fails here, SQLite tells.
fn keep_private(path: &Path) {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path);
    let Ok(file) = file else { return };
    if let Ok(found) = file.metadata() {
        let mode = found.permissions().mode();
        if mode & 0o007 != 0 {
            let _ = file.set_permissions(Permissions::from_mode(mode & 0o770));
        }
    }
}

/// A store that is written to.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

impl Store {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// If it cannot be written, is not Remuda's, is newer than this version, or damaged.
    pub(super) fn open(path: &Path) -> Result<Store, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        keep_private(path);
        let connection =
            Connection::open_with_flags(path, flags).map_err(|source| StoreError::Open {
                path: path.to_owned(),
                source,
            })?;
        // SQLite opens a file that it may not write for reading.
        if connection.is_readonly("main")? {
            return Err(StoreError::ReadOnly {
                path: path.to_owned(),
            });
        }
        connection.busy_timeout(PATIENCE)?;
        schema::prepare(&connection).map_err(|error| schema::told(error, path))?;
        Ok(Store { connection })
    }

    /// Sums that end with the process.
    ///
    /// # Errors
    /// If there is no memory.
    pub(super) fn in_memory() -> Result<Store, StoreError> {
        let connection = Connection::open_in_memory()?;
        schema::prepare(&connection).map_err(|error| schema::told(error, Path::new(":memory:")))?;
        Ok(Store { connection })
    }

    /// Adds to rows, all of them or none.
    ///
    /// # Errors
    /// When the file cannot be written; nothing was then.
    pub(super) fn add<'a>(
        &mut self,
        rows: impl Iterator<Item = (Names<'a>, &'a Counts)>,
    ) -> Result<(), StoreError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (names, counts) in rows {
            add(&transaction, &names, counts)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Removes the rows of the hours before `hour`; what keys have spent ever stays.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn forget_before(&mut self, hour: i64) -> Result<usize, StoreError> {
        let removed = self
            .connection
            .execute("DELETE FROM usage WHERE hour < ?1", [hour])?;
        Ok(removed)
    }

    /// Removes the oldest hours until no more than `most` rows are left, but never the hour `now`.
    ///
    /// # Errors
    /// When the rows cannot be read or written.
    pub(super) fn keep_at_most(&mut self, most: i64, now: i64) -> Result<(), StoreError> {
        let count = |connection: &Connection| {
            connection.query_row("SELECT COUNT(*) FROM usage", [], |row| row.get::<_, i64>(0))
        };
        while count(&self.connection)? > most {
            let oldest: i64 =
                self.connection
                    .query_row("SELECT MIN(hour) FROM usage", [], |row| row.get(0))?;
            if oldest >= now {
                return Ok(());
            }
            self.forget_before(oldest + 1)?;
        }
        Ok(())
    }

    /// Returns the number of these books.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn books(&self) -> Result<u64, StoreError> {
        let sql = "SELECT id FROM books";
        let id: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(id.cast_unsigned())
    }

    /// Returns what each key has spent, as of `now`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn spent(&self, now: Moment) -> Result<Vec<(String, Sums)>, StoreError> {
        let sql = "SELECT spent.key, spent.cost,
                (SELECT COALESCE(SUM(cost), 0) FROM usage WHERE hour >= ?1 AND usage.key = spent.key),
                (SELECT COALESCE(SUM(cost), 0) FROM usage WHERE hour >= ?2 AND usage.key = spent.key)
            FROM spent";
        let (day, month) = (now.first_hour_of_day(), now.first_hour_of_month());
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([day, month], |row| {
            let sums = Sums {
                day: (now.day(), read::usd(row, 2)?),
                month: (month, read::usd(row, 3)?),
                total: read::usd(row, 1)?,
            };
            Ok((row.get(0)?, sums))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the sums since a moment, by row of `by`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn table(&self, by: By, since: Since) -> Result<Table, StoreError> {
        read::table(&self.connection, by, since)
    }
}

fn add(transaction: &Transaction<'_>, names: &Names<'_>, counts: &Counts) -> rusqlite::Result<()> {
    let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let tokens = &counts.tokens;
    transaction.prepare_cached(schema::ADD)?.execute(params![
        names.hour,
        names.key,
        names.tag,
        names.provider,
        names.model,
        whole(counts.requests),
        whole(counts.failed),
        whole(counts.estimated),
        whole(counts.unpriced),
        whole(tokens.input),
        whole(tokens.cache_read),
        whole(tokens.cache_write),
        whole(tokens.output),
        whole(tokens.reasoning),
        whole(counts.cost.as_nanos()),
    ])?;
    if !names.key.is_empty() && counts.cost > Usd::ZERO {
        transaction
            .prepare_cached(schema::SPEND)?
            .execute(params![names.key, whole(counts.cost.as_nanos())])?;
    }
    Ok(())
}
