//! The command line: one file a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod check;
#[cfg(feature = "sim")]
mod demo;
mod explain;
mod health;
mod key;
mod listener;
mod log;
mod reach;
mod route;
mod serve;
mod server;
mod signals;
#[cfg(feature = "sim")]
pub mod sim;
mod spending;
mod target;
mod usage;
#[cfg(any(test, not(feature = "sim")))]
mod without_simulator;
mod workers;

#[cfg(not(feature = "sim"))]
use without_simulator::{demo, sim};

/// One stable address in front of Ollama servers and cloud providers
///
/// Remuda finds the servers, keeps track of which models each has loaded, and sends every request to the one that will
/// answer soonest; requests for other providers are translated to their formats. `remuda demo` shows this without a server.
#[derive(Parser)]
#[command(name = "remuda", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Sim(Box<sim::SimArgs>),
    Check(check::CheckArgs),
    Health(health::HealthArgs),
    Route(route::RouteArgs),
    Explain(explain::ExplainArgs),
    Key(key::KeyArgs),
    Usage(usage::UsageArgs),
}

/// Parses the command line and runs the subcommand that it names.
pub fn run() -> ExitCode {
    match CommandLine::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Route(args) => route::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Usage(args) => usage::run(&args),
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
