//! `remuda serve` with a configuration of the test's own.

use std::net::SocketAddr;

use super::process::Process;
use super::{Config, Metrics, eventually, get};

/// A gateway that runs until it is dropped.
pub(crate) struct Gateway {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) process: Process,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts a gateway; it listens when this returns, its backends may still be unknown.
    pub(crate) fn start(config: &Config) -> Self {
        let (command, folder) = Self::command(config);
        Self::launch(command, folder)
    }

    /// What starts a gateway, and the folder that it needs.
    pub(crate) fn command(config: &Config) -> (std::process::Command, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("remuda.yaml");
        std::fs::write(&path, config.yaml()).unwrap();
        let mut command = Process::remuda();
        command.arg("serve").arg("-c").arg(&path);
        command.current_dir(folder.path());
        command.envs(config.environment.iter().cloned());
        (command, folder)
    }

    /// Starts a gateway by a command of the test's own; `folder` lives as long as it.
    pub(crate) fn launch(mut command: std::process::Command, folder: tempfile::TempDir) -> Self {
        let gateway = Self::begin(&mut command, folder);
        gateway.process.wait_for("that it is ready", |line| {
            let text = line.trim_end().ends_with(" ready");
            (text || line.contains(r#""message":"ready""#)).then_some(())
        });
        gateway
    }

    /// Starts a gateway of which only the addresses are known when this returns.
    pub(crate) fn begin(command: &mut std::process::Command, folder: tempfile::TempDir) -> Self {
        let process = Process::start("remuda serve", command);
        let address = process.wait_for("where it listens", |line| {
            after(line, "listening on http://")
        });
        let admin = process.wait_for("where its admin listens", |line| {
            after(line, "admin on http://")
        });
        Self {
            address,
            admin,
            process,
            _folder: folder,
        }
    }

    /// Starts a gateway and waits until `backends` of its backends are healthy.
    pub(crate) async fn over(config: &Config, backends: usize) -> Self {
        let gateway = Self::start(config);
        gateway.healthy(backends).await;
        gateway
    }

    /// Waits until exactly `count` backends are healthy.
    pub(crate) async fn healthy(&self, count: usize) {
        eventually(&format!("{count} healthy backends"), || async {
            let health = get(self.address, "/__proxy/health").await.json();
            if health["healthy_backends"] == count {
                Ok(())
            } else {
                Err(health)
            }
        })
        .await;
    }

    /// All metrics of now.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(get(self.admin, "/metrics").await.text())
    }

    /// The sum over the series of `name` that carry `labels`; 0 where there is none.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().await.sum(name, labels)
    }

    /// Waits until the metric is `value`.
    pub(crate) async fn metric_is(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        eventually(&format!("{name}{labels:?} = {value}"), || async {
            let now = self.metric(name, labels).await;
            if now == value { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// Waits until nothing is in flight and nothing waits: no slot was leaked.
    pub(crate) async fn idle(&self) {
        for gauge in [
            "remuda_slots_used",
            "remuda_queue_depth",
            "remuda_backend_in_flight",
            "remuda_requests_in_flight",
        ] {
            self.metric_is(gauge, &[], 0.0).await;
        }
    }

    /// Attempts so far that ended in `outcome`.
    pub(crate) async fn attempts(&self, outcome: &str) -> f64 {
        self.metric("remuda_attempts_total", &[("outcome", outcome)])
            .await
    }
}

/// The address that follows `words` in a line.
pub(super) fn after(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    rest.split([' ', '"']).next()?.parse().ok()
}
