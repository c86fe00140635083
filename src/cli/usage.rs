//! `remuda usage`: what answers have cost, from the file that the gateway writes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::config;
use crate::usage::{By, Moment, Reader, Since, StoreError, Table, numbers};

/// Where a systemd service keeps it; see `conf/remuda.service`.
const OF_THE_SERVICE: &str = "/var/lib/remuda/usage.db";

/// Show what answers have cost: tokens and US dollars by key, tag, model or provider
///
/// Reads the file of usage.path, while the gateway runs or not. Sums are kept by the hour, in UTC.
#[derive(Args)]
pub(super) struct UsageArgs {
    /// What to add up by
    #[arg(long, value_enum, default_value = "model")]
    by: Name,

    /// How far back to look, such as 7d or 12h; default: as far as there is anything
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,

    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// As CSV
    #[arg(long)]
    csv: bool,

    /// The configuration that says where the file is [default: ./remuda.yaml, else
    /// /etc/remuda/remuda.yaml, else the environment alone]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The file itself, whatever the configuration says
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    Key,
    Tag,
    Model,
    Provider,
}

impl From<Name> for By {
    fn from(name: Name) -> By {
        match name {
            Name::Key => By::Key,
            Name::Tag => By::Tag,
            Name::Model => By::Model,
            Name::Provider => By::Provider,
        }
    }
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("{0}")]
    Config(config::Report),
    #[error(
        "no file keeps the usage: usage.path is not set, and there is no {OF_THE_SERVICE}; a gateway without a file \
         tells its usage at /api/usage of its admin listener"
    )]
    Nowhere,
    #[error("--since: {0}; write it as 7d or 12h")]
    Since(#[from] humantime::DurationError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

pub(super) fn run(args: &UsageArgs) -> ExitCode {
    match show(args) {
        Ok(()) => ExitCode::SUCCESS,
        // As in `remuda usage | head`.
        Err(UsageError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("remuda usage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(args: &UsageArgs) -> Result<(), UsageError> {
    let since = match &args.since {
        Some(text) => Since::parse(text, Moment::now())?,
        None => Since::EVER,
    };
    let table = Reader::open(&file(args)?)?.table(args.by.into(), since)?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &object(&table, since)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if args.csv {
        out.write_all(table.csv().as_bytes())?;
    } else {
        out.write_all(table.text().as_bytes())?;
    }
    Ok(())
}

/// As a page of `/api/usage`.
fn object(table: &Table, since: Since) -> Value {
    json!({
        "since": since.shown(),
        "total": numbers(&table.total()),
        format!("{}s", table.by.name()): table.json(),
    })
}

fn file(args: &UsageArgs) -> Result<PathBuf, UsageError> {
    if let Some(path) = &args.path {
        return Ok(path.clone());
    }
    let loaded = config::load(args.config.as_deref()).map_err(UsageError::Config)?;
    let of_the_service = || {
        let path = Path::new(OF_THE_SERVICE);
        path.exists().then(|| path.to_owned())
    };
    let path = loaded.settings.usage.path;
    path.or_else(of_the_service).ok_or(UsageError::Nowhere)
}
