//! `remuda check`: says whether a configuration is good, what of it is not as usual, and what may not have been meant.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::reach;
use crate::config::{self, LoadedSettings, Problem};
use crate::settings::Settings;

/// Validate the configuration, and print what of it differs from the defaults, with secrets masked
///
/// Each mistake is reported with its file, line, key and remedy, and makes the exit code 1. Warnings come last; with
/// --reach, the verdict follows the answers.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// The configuration [default: ./remuda.yaml, else /etc/remuda/remuda.yaml, else ~/.optillm/proxy_config.yaml, else the
    /// environment alone]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the whole configuration as it will be used, as YAML
    #[arg(long)]
    print: bool,

    /// Print the JSON Schema of configurations, which lets editors complete and check them
    #[arg(long, conflicts_with_all = ["config", "print", "reach"])]
    schema: bool,

    /// Ask every provider once, as the gateway would, and print what each answers; the exit code is 1 unless all of
    /// them answer and accept their keys
    #[arg(long)]
    reach: bool,

    /// How long to wait for all answers, with --reach
    #[arg(long, value_name = "DURATION", default_value = "15s", requires = "reach", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    if args.schema {
        return match io::stdout().write_all(config::schema().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("remuda check: {error}");
                ExitCode::FAILURE
            }
            _ => ExitCode::SUCCESS,
        };
    }
    match config::load(args.config.as_deref()) {
        Ok(loaded) => match print(&loaded, args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            // As in `remuda check | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("remuda check: {error}");
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

/// Returns whether all is well.
fn print(loaded: &LoadedSettings, args: &CheckArgs) -> io::Result<bool> {
    let (source, settings) = (&loaded.source, &loaded.settings);
    let mut out = io::stdout().lock();
    let mut well = true;
    if args.print {
        let ok = if args.reach { "The" } else { "OK: the" };
        writeln!(out, "# {ok} effective configuration, from {source}.")?;
        out.write_all(config::to_yaml(settings).as_bytes())?;
    } else if !args.reach {
        writeln!(
            out,
            "OK: {source} is a good configuration, {}.",
            sum(settings)
        )?;
    }
    if args.reach {
        // It may take its time.
        out.flush()?;
        let reached = reach::reach(settings, args.timeout).map_err(io::Error::other)?;
        // Beside a configuration that may be piped into a file, it is a comment.
        let mark = if args.print { "# " } else { "" };
        if args.print {
            writeln!(out, "{mark}")?;
        }
        for line in reached.text.lines() {
            writeln!(out, "{mark}{line}")?;
        }
        well = reached.well;
        let sum = sum(settings);
        if well {
            writeln!(
                out,
                "{mark}\n{mark}OK: {source} is a good configuration, {sum}, and all of the above answers as it should."
            )?
        } else {
            writeln!(
                out,
                "{mark}\n{mark}FAILED: {source} is a good configuration, {sum}, but not all of the above answers as it should."
            )?
        }
    } else if !args.print {
        let differences = config::differences(settings);
        if differences.is_empty() {
            writeln!(out, "\nEverything is as by default.")?
        } else {
            writeln!(
                out,
                "\nWhat differs from the defaults (--print shows the rest too):\n\n{}",
                differences.trim_end()
            )?
        }
    }
    out.flush()?;
    warn(&loaded.warnings);
    Ok(well)
}

/// Prints the warnings last, where they are seen.
fn warn(warnings: &[Problem]) {
    for warning in warnings {
        eprintln!("{warning} (warning)");
    }
}

/// Returns what a reader looks for first.
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
