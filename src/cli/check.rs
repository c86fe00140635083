//! `remuda check`: says whether a configuration is good, what of it is not as usual, and what may not have been meant.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::{self, Loaded, Problem};
use crate::settings::Settings;

/// Validate the configuration, and print what of it differs from the defaults, with secrets masked
///
/// Every mistake is named with its file, line, key and remedy, and makes the exit code 1. Warnings come last.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// The configuration [default: ./remuda.yaml, else /etc/remuda/remuda.yaml, else ~/.optillm/proxy_config.yaml, else the
    /// environment alone]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the whole configuration as it will be used, as YAML
    #[arg(long)]
    print: bool,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    match config::load(args.config.as_deref()) {
        Ok(loaded) => match print(&loaded, args.print) {
            Ok(()) => ExitCode::SUCCESS,
            // As in `remuda check | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot print the configuration: {error}");
                ExitCode::FAILURE
            }
        },
        Err(report) => {
            eprintln!("{report}");
            warn(&report.warnings);
            ExitCode::FAILURE
        }
    }
}

fn print(loaded: &Loaded, whole: bool) -> io::Result<()> {
    let (source, settings) = (&loaded.source, &loaded.settings);
    let mut out = io::stdout().lock();
    if whole {
        writeln!(out, "# OK: the effective configuration, from {source}.")?;
        out.write_all(config::to_yaml(settings).as_bytes())?;
    } else {
        writeln!(
            out,
            "OK: {source} is a good configuration, {}.",
            sum(settings)
        )?;
        let differences = config::differences(settings);
        match differences.is_empty() {
            true => writeln!(out, "\nEverything else is as by default.")?,
            false => writeln!(
                out,
                "\nWhat differs from the defaults (--print shows the rest too):\n\n{}",
                differences.trim_end()
            )?,
        }
    }
    out.flush()?;
    warn(&loaded.warnings);
    Ok(())
}

/// Last, where they are seen.
fn warn(warnings: &[Problem]) {
    for warning in warnings {
        eprintln!("{warning} (warning)");
    }
}

/// What a reader looks for first.
fn sum(settings: &Settings) -> String {
    let count = |number: usize, what: &str| match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    };
    let listen = settings.server.listen;
    let providers = count(settings.providers.len(), "provider");
    let keys = count(settings.access.keys.len(), "client key");
    format!("with {providers} and {keys}, for clients at {listen}")
}
