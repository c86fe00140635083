//! Reading sums: from the gateway's own connection, or from the file while the gateway writes to it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row as SqlRow};

use super::{PATIENCE, StoreError, schema};
use crate::usage::report::{By, Row, Since, Table};
use crate::usage::{Counts, Tokens, Usd};

/// A file that is only read.
#[derive(Debug)]
pub struct StoreReader {
    connection: Connection,
}

impl StoreReader {
    /// Opens a file of usage to read it.
    ///
    /// # Errors
    /// If there is no such file, or it is none of Remuda's.
    pub fn open(path: &Path) -> Result<StoreReader, StoreError> {
        let told = |objection| schema::told(objection, path);
        // SQLite's own words do not tell that there is no such file.
        let found = std::fs::metadata(path).and_then(|found| {
            if found.is_dir() {
                Err(std::io::ErrorKind::IsADirectory.into())
            } else {
                Ok(())
            }
        });
        found.map_err(|source| StoreError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let reader = StoreReader::with(path, "").map_err(|source| told(source.into()))?;
        match schema::check(&reader.connection) {
            Ok(_) => Ok(reader),
            // Nobody has it open, and this user may not write beside it, which the log ahead of it would need. Then
            // nobody changes it either.
            Err(schema::Objection::Sql(_)) if !beside(path, "-wal").exists() => {
                let reader = StoreReader::with(path, "?immutable=1")
                    .map_err(|source| told(source.into()))?;
                schema::check(&reader.connection).map_err(told)?;
                Ok(reader)
            }
            Err(objection) => Err(told(objection)),
        }
    }

    fn with(path: &Path, parameters: &str) -> rusqlite::Result<StoreReader> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = percent_encoding::percent_encode(
            path.as_os_str().as_encoded_bytes(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        let connection = Connection::open_with_flags(format!("file:{path}{parameters}"), flags)?;
        connection.busy_timeout(PATIENCE)?;
        Ok(StoreReader { connection })
    }

    /// Returns the sums since a moment, by row of `by`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn table(&self, by: By, since: Since) -> Result<Table, StoreError> {
        table(&self.connection, by, since)
    }
}

pub(super) fn beside(path: &Path, end: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

pub(super) fn table(connection: &Connection, by: By, since: Since) -> Result<Table, StoreError> {
    // Both are constants of this program.
    let columns = by.columns().join(", ");
    let sql = format!(
        "SELECT SUM(requests), SUM(failed), SUM(estimated), SUM(unpriced), SUM(input), SUM(cache_read),
            SUM(cache_write), SUM(output), SUM(reasoning), SUM(cost), {columns}
        FROM usage WHERE hour >= ?1 GROUP BY {columns}
        ORDER BY SUM(cost) DESC, SUM(requests) DESC, {columns}"
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([since.hour()], |row| {
        let names = (0..by.columns().len()).map(|column| row.get(NUMBERS + column));
        Ok(Row {
            names: names.collect::<Result<_, _>>()?,
            counts: counts(row)?,
        })
    })?;
    Ok(Table {
        by,
        rows: rows.collect::<Result<_, _>>()?,
    })
}

/// Columns before the names.
const NUMBERS: usize = 10;

fn counts(row: &SqlRow<'_>) -> rusqlite::Result<Counts> {
    Ok(Counts {
        requests: count(row, 0)?,
        failed: count(row, 1)?,
        estimated: count(row, 2)?,
        unpriced: count(row, 3)?,
        tokens: Tokens {
            input: count(row, 4)?,
            cache_read: count(row, 5)?,
            cache_write: count(row, 6)?,
            cache_write_hour: 0,
            output: count(row, 7)?,
            reasoning: count(row, 8)?,
        },
        cost: usd(row, 9)?,
    })
}

fn count(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column)
        .map(|count: i64| count.max(0).unsigned_abs())
}

pub(super) fn usd(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Usd> {
    count(row, column).map(Usd::nanos)
}
