//! The command line: one file a subcommand.

use std::process::ExitCode;

/// Parses the command line and runs the subcommand that it names.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
