//! The `remuda` binary: hands the command line to `cli`.

fn main() -> std::process::ExitCode {
    remuda::cli::run()
}
