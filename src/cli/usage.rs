//! `remuda usage`: what answers have cost, from the file that the gateway writes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::target::{AskError, Pages, Target, TargetArgs, refusal};
use crate::config;
use crate::usage::{By, Moment, Since, StoreError, StoreReader, Table, numbers};

/// Where a systemd service keeps it; see `conf/remuda.service`.
const OF_THE_SERVICE: &str = "/var/lib/remuda/usage.db";

/// Show what answers have cost: tokens and US dollars by key, tag, model or provider
///
/// Reads the file at usage.path, whether the gateway runs or not. If the configuration names none, or with --url, it asks
/// the running gateway. Sums are kept by the hour, in UTC.
#[derive(Args)]
pub(super) struct UsageArgs {
    /// What to add up by
    #[arg(long, value_enum, default_value = "model")]
    by: Name,

    /// How far back to look, such as 7d or 12h [default: everything that is kept]
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,

    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print CSV
    #[arg(long)]
    csv: bool,

    /// Read this file, whatever the configuration says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "url"])]
    path: Option<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,
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
        "no file keeps the usage (usage.path is not set, and there is no {OF_THE_SERVICE}), and a gateway that could tell did not: {0}"
    )]
    Nowhere(AskError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}: the answer makes no sense; is this the admin listener of Remuda?")]
    Senseless(Target),
    #[error("{0}")]
    Refused(String),
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
    let (table, shown) = match file(args)? {
        Some(file) => {
            let table = StoreReader::open(&file)?.table(args.by.into(), since)?;
            let shown = object(&table, since);
            (table, shown)
        }
        None => asked(args)?,
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &shown).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if args.csv {
        out.write_all(table.csv().as_bytes())?;
    } else {
        out.write_all(table.text().as_bytes())?;
    }
    Ok(())
}

/// Returns the table as a page of `/api/usage`.
fn object(table: &Table, since: Since) -> Value {
    json!({
        "since": since.shown(),
        "total": numbers(&table.total()),
        format!("{}s", table.by.name()): table.json(),
    })
}

/// Returns the file that keeps the usage; `None` where the gateway is to be asked.
fn file(args: &UsageArgs) -> Result<Option<PathBuf>, UsageError> {
    if args.path.is_some() || args.target.url.is_some() {
        return Ok(args.path.clone());
    }
    let glance = config::glance(args.target.config.as_deref()).map_err(UsageError::Config)?;
    if let Some(problem) = glance.problem_with("usage.path", "USAGE_PATH") {
        return Err(UsageError::Config(problem.clone().into()));
    }
    let of_the_service = || {
        let path = Path::new(OF_THE_SERVICE);
        path.exists().then(|| path.to_owned())
    };
    Ok(glance.settings.usage.path.or_else(of_the_service))
}

/// Returns the table as the running gateway has it, and its page.
fn asked(args: &UsageArgs) -> Result<(Table, Value), UsageError> {
    let by = By::from(args.by);
    let since = args.since.as_deref().map(|since| {
        let since = utf8_percent_encode(since, NON_ALPHANUMERIC);
        format!("?since={since}")
    });
    let path = format!("/api/usage/{}s{}", by.name(), since.unwrap_or_default());
    let asked = args.target.ask(Pages::Admin, &path);
    let (target, answer) = asked.map_err(|error| match args.target.url {
        Some(_) => UsageError::Ask(error),
        None => UsageError::Nowhere(error),
    })?;
    if answer.status != 200 {
        let refused = refusal(&answer.body).map(UsageError::Refused);
        return Err(refused.unwrap_or(UsageError::Senseless(target)));
    }
    let page: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let read = page.and_then(|page| {
        let table = Table::of_json(by, page.get(format!("{}s", by.name()))?)?;
        Some((table, page))
    });
    read.ok_or(UsageError::Senseless(target))
}
