//! The tables, and what a file has to be before it is written to.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::StoreError;

/// In the file's head, so that no other program's database is taken for one of ours: `Rmda`.
pub(super) const APPLICATION: i64 = 0x526D_6461;
/// The version of the tables below.
pub(super) const VERSION: i64 = 2;

/// `cost` is in billionths of a US dollar; `hour` in hours since 1970. An absent key or tag is empty.
const TABLES: &str = "
CREATE TABLE usage (
    hour INTEGER NOT NULL,
    key TEXT NOT NULL,
    tag TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (hour, key, tag, provider, model)
) STRICT, WITHOUT ROWID;
-- What a key has spent ever, however old its rows may become.
CREATE TABLE spent (
    key TEXT NOT NULL PRIMARY KEY,
    cost INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Since version 2: a number that tells these books from those of other gateways.
const BOOKS: &str = "
CREATE TABLE books (
    id INTEGER NOT NULL PRIMARY KEY
) STRICT;
INSERT INTO books VALUES (random());
";

pub(super) const ADD: &str = "
INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests,
    failed = failed + excluded.failed,
    estimated = estimated + excluded.estimated,
    unpriced = unpriced + excluded.unpriced,
    input = input + excluded.input,
    cache_read = cache_read + excluded.cache_read,
    cache_write = cache_write + excluded.cache_write,
    output = output + excluded.output,
    reasoning = reasoning + excluded.reasoning,
    cost = cost + excluded.cost";

pub(super) const SPEND: &str = "
INSERT INTO spent VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cost = cost + excluded.cost";

/// Why a file is not what it has to be.
pub(super) enum Objection {
    Foreign,
    Newer(i64),
    Damaged(String),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Objection {
    fn from(error: rusqlite::Error) -> Objection {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Objection::Foreign,
            Some(ErrorCode::DatabaseCorrupt) => Objection::Damaged(error.to_string()),
            _ => Objection::Sql(error),
        }
    }
}

/// Adds the file's name to an objection.
pub(super) fn told(objection: Objection, path: &Path) -> StoreError {
    let path = path.to_owned();
    match objection {
        Objection::Foreign => StoreError::Foreign { path },
        Objection::Newer(version) => StoreError::Newer {
            path,
            version,
            known: VERSION,
        },
        Objection::Damaged(what) => StoreError::Damaged { path, what },
        Objection::Sql(source) => StoreError::Open { path, source },
    }
}

/// Makes the tables of a new file, and looks through one that has been written to.
pub(super) fn prepare(connection: &Connection) -> Result<(), Objection> {
    let found = check(connection)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -1024;")?;
    let tables = match found {
        None => TABLES,
        Some(VERSION) => return Ok(()),
        Some(_) => "",
    };
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
        PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};
        {tables} {BOOKS}
        COMMIT;"
    ))?;
    Ok(())
}

/// Returns the version of the file's tables; `None` for a new file.
pub(super) fn check(connection: &Connection) -> Result<Option<i64>, Objection> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (application, version) = (
        number("PRAGMA application_id")?,
        number("PRAGMA user_version")?,
    );
    if application == 0 && version == 0 && number("SELECT COUNT(*) FROM sqlite_schema")? == 0 {
        return Ok(None);
    }
    if application != APPLICATION {
        return Err(Objection::Foreign);
    }
    if version > VERSION {
        return Err(Objection::Newer(version));
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match &*found {
        "ok" => Ok(Some(version)),
        what => Err(Objection::Damaged(what.to_owned())),
    }
}
