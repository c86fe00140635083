//! The simulated Ollama server: a faithful stand-in for GPU servers, in this process or as `remuda sim`.
//! With a `provider`, the same servers play a cloud provider instead.
//!
//! One simulation is many servers, a port each, with models, VRAM, speed and faults of their own. Nothing here is
//! used by the gateway itself.

mod answer;
mod ask;
mod base64;
mod body;
mod catalogue;
mod chance;
mod control;
mod duration;
mod embed;
mod fault;
mod fault_form;
mod generation;
mod gojson;
mod link;
mod listing;
mod manage;
mod names;
mod native;
mod openai;
mod openai_voice;
mod options;
mod prose;
mod provider;
mod reply;
mod routes;
mod runner;
mod schema;
mod server;
mod speech;
mod stats;
mod strike;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

pub use catalogue::{BadModel, Model};
pub use duration::KeepAlive;
pub use fault::{At, Failure, Fault, Harm};
pub use fault_form::BadFault;
pub use options::{LoadTime, Machine, Options};
pub use provider::{Dialect, Setup};
pub use stats::{LastRequest, Stats};

use control::Fleet;
use server::Server;

/// Starts all servers of a simulation on the current tokio runtime; they listen when this returns.
///
/// Fails if an address cannot be had.
pub async fn start(options: Options) -> io::Result<Running> {
    let mut servers = Vec::with_capacity(options.ports.len());
    for (index, port) in options.ports.iter().enumerate() {
        let address = SocketAddr::new(options.host, *port);
        let models = match options.models.len() {
            0 => &[],
            lists => options.models[index % lists].as_slice(),
        };
        let provider = options.provider.as_ref();
        let provider = provider.and_then(|setup| setup.build(&options.machine));
        let server = Server::start(address, models, options.machine.clone(), provider)?;
        for name in &options.loaded {
            if let Some(name) = names::Name::parse(name) {
                server.preload(&name);
            }
        }
        servers.push(server);
    }
    let fleet = Arc::new(Fleet { servers });
    for server in &fleet.servers {
        server.join(&fleet);
    }
    for fault in &options.faults {
        fleet.inject(fault);
    }
    let control = match options.control {
        Some(address) => Some(control::listen(fleet.clone(), address).await?),
        None => None,
    };
    Ok(Running { fleet, control })
}

/// A simulation that runs; its servers die when this is dropped.
pub struct Running {
    fleet: Arc<Fleet>,
    control: Option<(SocketAddr, tokio::task::JoinHandle<()>)>,
}

impl Running {
    /// Where the servers listen, in the order of the ports that were asked for.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.fleet
            .servers
            .iter()
            .map(|server| server.address)
            .collect()
    }

    /// Where the control routes listen, if they were asked for.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(|(address, _)| *address)
    }

    /// What the servers have seen, in their order.
    pub fn stats(&self) -> Vec<Stats> {
        self.fleet
            .servers
            .iter()
            .map(|server| server.stats())
            .collect()
    }

    /// Makes a fault happen on the servers that it is for.
    pub fn inject(&self, fault: &Fault) {
        self.fleet.inject(fault);
    }

    /// Kills server number `index` with its connections and loaded models; returns when its port refuses.
    ///
    /// # Panics
    /// If there is no such server.
    pub async fn kill(&self, index: usize) {
        self.fleet.servers[index].die().await;
    }

    /// Brings server number `index` up again, if it is down.
    ///
    /// # Panics
    /// If there is no such server.
    pub fn revive(&self, index: usize) -> io::Result<()> {
        self.fleet.servers[index].open()
    }

    /// Forgets faults and counters and brings all servers up.
    pub fn reset(&self) -> io::Result<()> {
        self.fleet.servers.iter().try_for_each(Server::reset)
    }

    /// Ends all servers; returns when their ports refuse.
    pub async fn stop(self) {
        for server in &self.fleet.servers {
            server.end();
            server.die().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.control {
            task.abort();
        }
        for server in &self.fleet.servers {
            server.end();
        }
    }
}

/// SHA-256 in lower-case hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
