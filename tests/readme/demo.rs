//! The real binary: run to its end, or running as the demo on ports that the system hands out.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// `remuda` without the environment of whoever runs the tests.
pub(crate) fn remuda(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
    command.current_dir(directory).env_clear();
    command
}

/// What a command that must succeed printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{stderr}");
    String::from_utf8(stdout).unwrap()
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts `command` and gives its standard output line by line.
    pub(crate) fn start(command: &mut Command) -> (Self, impl Iterator<Item = String> + use<>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Self(child), lines.map(Result::unwrap))
    }
}

/// A running demo.
pub(crate) struct Demo {
    /// `host:port` of the client listener.
    pub(crate) clients: String,
    /// `host:port` of the admin listener.
    pub(crate) admin: String,
    _running: Running,
}

impl Demo {
    /// Starts the demo and waits until it is ready.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (running, lines) =
            Running::start(remuda(directory.path()).stderr(Stdio::null()).args([
                "demo",
                "--listen=127.0.0.1:0",
                "--admin=127.0.0.1:0",
            ]));
        let mut addresses = lines.filter_map(|line| {
            let (_, rest) = line.split_once("listens on http://").or(line
                .split_once("curl http://")
                .filter(|(_, rest)| rest.contains("/metrics")))?;
            Some(rest.split([',', '/']).next()?.to_owned())
        });
        let (clients, admin) = (addresses.next().unwrap(), addresses.next().unwrap());
        // The rest of its output must not fill the pipe.
        std::thread::spawn(move || addresses.for_each(drop));
        let url = format!("http://{admin}/health/ready");
        let started = Instant::now();
        while !remuda(directory.path())
            .args(["health", "--url", &url])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
        {
            assert!(started.elapsed() < PATIENCE, "the demo is not ready");
        }
        Self {
            clients,
            admin,
            _running: running,
        }
    }

    /// `text` with the documented ports replaced by those of this demo.
    pub(crate) fn localized(&self, text: &str) -> String {
        text.replace("localhost:11434", &self.clients)
            .replace("localhost:11435", &self.admin)
            .replace("127.0.0.1:11435", &self.admin)
    }

    /// Runs a documented `curl` command line.
    pub(crate) fn curl(&self, line: &str) -> String {
        let strict = format!("curl -sS --fail --max-time {} ", PATIENCE.as_secs());
        let line = self.localized(line).replacen("curl ", &strict, 1);
        succeed(Command::new("sh").args(["-c", &line]))
    }
}
