//! A Redis server of a test's own.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::Process;

/// Runs until it is dropped, and keeps nothing.
pub(crate) struct Redis {
    pub(crate) port: u16,
    process: Option<Process>,
}

impl Redis {
    /// `None`, with a word on it, where redis-server is not installed.
    pub(crate) fn start() -> Option<Self> {
        let mut version = Command::new("redis-server");
        version.arg("--version").stdout(Stdio::null());
        if version.status().is_err() {
            eprintln!("redis-server is missing (Debian: redis-server): this is not tested");
            return None;
        }
        // It cannot be told to choose one.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut redis = Self {
            port,
            process: None,
        };
        redis.revive();
        Some(redis)
    }

    /// Starts it again at its port, without what it knew.
    pub(crate) fn revive(&mut self) {
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        command.args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let process = Process::start("redis-server", &mut command);
        process.wait_for("that it is ready", |line| {
            line.contains("Ready to accept connections").then_some(())
        });
        self.process = Some(process);
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/3", self.port)
    }
}
