//! The command line: one file a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod demo;
mod health;
mod log;
mod serve;
mod server;
pub mod sim;

/// One stable address for a fleet of Ollama servers.
///
/// Remuda finds the servers, keeps track of which models each has loaded, and sends every request
/// to the one that will answer soonest.
#[derive(Parser)]
#[command(name = "remuda", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::CheckArgs),
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Health(health::HealthArgs),
    Sim(Box<sim::SimArgs>),
}

/// Parses the command line and runs the subcommand that it names.
pub fn run() -> ExitCode {
    match CommandLine::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Sim(args) => sim::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
