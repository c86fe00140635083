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

/// Servers and providers of the demo.
const SIMULATED: u64 = 11;

/// A running demo.
pub(crate) struct Demo {
    /// `host:port` of the client listener.
    pub(crate) clients: String,
    /// `host:port` of the admin listener.
    pub(crate) admin: String,
    /// What it printed: an address, and what to try.
    pub(crate) introduction: Vec<String>,
    _running: Running,
}

impl Demo {
    /// Starts the demo and waits until all that it simulates is found.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (running, mut lines) =
            Running::start(remuda(directory.path()).stderr(Stdio::null()).args([
                "demo",
                "--listen=127.0.0.1:0",
                "--admin=127.0.0.1:0",
            ]));
        let introduction: Vec<String> = lines
            .by_ref()
            .take_while(|line| !line.starts_with("Ctrl-C"))
            .collect();
        // The rest of its output must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address_after = |start: &str, end: &str| {
            let mut found = introduction.iter().filter(|line| line.contains(end));
            let (_, rest) = found.next().unwrap().split_once(start).unwrap();
            rest.split([',', '/']).next().unwrap().to_owned()
        };
        let demo = Self {
            clients: address_after("listens on http://", "listens on"),
            admin: address_after("curl http://", "/metrics"),
            introduction,
            _running: running,
        };
        let started = Instant::now();
        while demo.healthy() < SIMULATED {
            assert!(started.elapsed() < PATIENCE, "the demo is not ready");
        }
        demo
    }

    /// How many it has found; 0 while it does not answer.
    fn healthy(&self) -> u64 {
        let url = format!("http://{}/__proxy/health", self.clients);
        let Output { stdout, .. } = Command::new("curl").args(["-s", &url]).output().unwrap();
        let health = serde_json::from_slice::<serde_json::Value>(&stdout).unwrap_or_default();
        health["healthy_backends"].as_u64().unwrap_or(0)
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
