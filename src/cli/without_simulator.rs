//! `remuda demo` and `remuda sim` in a build without the simulator: what is missing, and how to get it.

use std::process::ExitCode;

/// Declares the arguments and the entry point of a subcommand that needs the simulator.
macro_rules! missing {
    ($module:ident, $args:ident, $about:literal) => {
        pub(super) mod $module {
            use std::ffi::OsString;
            use std::process::ExitCode;

            #[doc = $about]
            #[derive(clap::Args, Clone, Debug)]
            pub(in super::super) struct $args {
                /// Arguments are not read in a build without the simulator
                #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
                _arguments: Vec<OsString>,
            }

            pub(in super::super) fn run(_: &$args) -> ExitCode {
                super::fail(stringify!($module))
            }
        }
    };
}

missing!(
    demo,
    DemoArgs,
    "Not in this build: a demonstration with simulated servers"
);
missing!(
    sim,
    SimArgs,
    "Not in this build: simulated Ollama servers and cloud providers"
);

fn fail(command: &str) -> ExitCode {
    eprintln!("{}", explanation(command));
    ExitCode::FAILURE
}

fn explanation(command: &str) -> String {
    format!(
        "remuda {command}: this build of Remuda has no simulator; images and packages leave it out. \
         Run `./remuda.sh {command}` in Remuda's source, or build with `cargo build --release --features sim`."
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    enum Line {
        Demo(demo::DemoArgs),
        Sim(sim::SimArgs),
    }

    #[test]
    fn the_remedy_is_told_whatever_the_arguments_are() {
        for line in [
            "demo",
            "demo --listen 1",
            "sim --ports 24000-24009",
            "sim a -b",
        ] {
            let words = std::iter::once("remuda").chain(line.split(' '));
            let code = match Line::try_parse_from(words).unwrap() {
                Line::Demo(args) => demo::run(&args),
                Line::Sim(args) => sim::run(&args),
            };
            assert_eq!(code, ExitCode::FAILURE, "{line}");
        }
        let told = explanation("demo");
        assert!(told.contains("`./remuda.sh demo`"), "{told}");
        assert!(told.contains("--features sim"), "{told}");
    }
}
