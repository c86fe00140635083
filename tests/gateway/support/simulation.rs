//! `remuda sim` and its control routes.

use std::net::SocketAddr;

use serde_json::Value;

use super::gateway::after;
use super::process::Process;
use super::{eventually, get, request};

/// Simulated Ollama servers that run until this is dropped.
pub(crate) struct Simulation {
    /// Where the servers listen, the lowest port first: the order in which a tie is decided.
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) control: SocketAddr,
    pub(crate) process: Process,
    /// Models that are in the servers' memory from the beginning.
    preloaded: u64,
}

/// What one simulated server has seen; see `sim::Stats`.
pub(crate) type Server = remuda_sim::Stats;

impl Simulation {
    /// Starts `count` servers that answer at once unless `arguments` says otherwise.
    pub(crate) fn start(count: usize, arguments: &[&str]) -> Self {
        Self::on(&format!("0x{count}"), arguments)
    }

    /// Starts servers on `ports`, as `--ports` takes them.
    pub(crate) fn on(ports: &str, arguments: &[&str]) -> Self {
        let mut command = Process::remuda();
        command.args(["sim", "--control", "127.0.0.1:0", "--ports", ports]);
        // What a test states goes before these.
        for default in [
            ["--prompt-speed", "0"],
            ["--decode-speed", "0"],
            ["--load-time", "0s"],
        ] {
            if !arguments.contains(&default[0]) {
                command.args(default);
            }
        }
        command.args(arguments);
        let process = Process::start("remuda sim", &mut command);
        let control = process.wait_for("where its control routes are", |line| {
            after(line, "control on http://")
        });
        let mut servers: Vec<SocketAddr> = process
            .output()
            .iter()
            .filter_map(|line| after(line, "listening on http://"))
            .collect();
        servers.sort_by_key(SocketAddr::port);
        let mut flags = arguments.iter().skip_while(|flag| **flag != "--loaded");
        let names = flags.nth(1).map_or(0, |names| names.split(',').count());
        Self {
            preloaded: (names * servers.len()) as u64,
            servers,
            control,
            process,
        }
    }

    /// Makes a fault happen, written as JSON without the port; `server` is an index.
    pub(crate) async fn fault(&self, server: usize, fault: &str) {
        let mut fault: Value = serde_json::from_str(fault).unwrap();
        fault["port"] = self.servers[server].port().into();
        self.command("POST", "/sim/fault", &fault.to_string()).await;
    }

    /// Makes a fault happen on every server.
    pub(crate) async fn fault_everywhere(&self, fault: &str) {
        self.command("POST", "/sim/fault", fault).await;
    }

    pub(crate) async fn no_faults(&self) {
        self.command("DELETE", "/sim/fault", "").await;
    }

    /// Kills a server with its connections; its port refuses when this returns.
    pub(crate) async fn stop(&self, server: usize) {
        self.on_one("/sim/stop", server).await;
    }

    pub(crate) async fn revive(&self, server: usize) {
        self.on_one("/sim/start", server).await;
    }

    /// No faults, counters at 0, all servers up.
    pub(crate) async fn reset(&self) {
        self.command("POST", "/sim/reset", "").await;
    }

    /// What every server has seen.
    pub(crate) async fn stats(&self) -> Vec<Server> {
        let mut all = get(self.control, "/sim/stats").await.json();
        serde_json::from_value(all["servers"].take()).unwrap()
    }

    /// Model requests that all servers together have received, but for the gateway's own, each of which has loaded a model.
    pub(crate) async fn inferences(&self) -> u64 {
        let stats = self.stats().await;
        let loads: u64 = stats.iter().map(|server| server.loads).sum();
        let routes = ["POST /api/chat", "POST /api/generate"];
        stats
            .iter()
            .flat_map(|server| routes.map(|route| server.requests.get(route)))
            .flatten()
            .sum::<u64>()
            .saturating_sub(loads.saturating_sub(self.preloaded))
    }

    /// Closes a server's port to new connections; it refuses when this returns.
    pub(crate) async fn refuse(&self, server: usize) {
        self.fault(server, r#"{"kind":"refuse"}"#).await;
        let port = self.servers[server].port();
        eventually("the port refuses", || async {
            let stats = self.stats().await;
            let listening = stats.iter().any(|one| one.port == port && one.listening);
            if listening { Err(stats) } else { Ok(()) }
        })
        .await;
    }

    async fn on_one(&self, path: &str, server: usize) {
        let body = format!(r#"{{"port":{}}}"#, self.servers[server].port());
        self.command("POST", path, &body).await;
    }

    async fn command(&self, method: &str, path: &str, body: &str) {
        let reply = request(self.control, method, path, &[], body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
}
