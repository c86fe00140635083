//! `remuda check`: says whether a configuration is good, and what it comes to.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::{self, Loaded};

/// Validate the configuration and print what it comes to, with secrets masked
///
/// Every mistake is named with its file, line, key and remedy, and makes the exit code 1.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// The configuration [default: ./remuda.yaml, else /etc/remuda/remuda.yaml, else ~/.optillm/proxy_config.yaml, else the
    /// environment alone]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    match config::load(args.config.as_deref()) {
        Ok(loaded) => match print(&loaded) {
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
            ExitCode::FAILURE
        }
    }
}

fn print(loaded: &Loaded) -> io::Result<()> {
    for warning in &loaded.warnings {
        eprintln!("{warning} (warning)");
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "# The effective configuration, from {}.",
        loaded.source
    )?;
    out.write_all(config::to_yaml(&loaded.settings).as_bytes())
}
