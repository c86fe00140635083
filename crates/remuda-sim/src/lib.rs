//! The simulated Ollama server: a faithful stand-in for GPU servers, in this process or as `remuda sim`.
//! With a `provider`, the same servers play a cloud provider instead.
//!
//! One simulation is many servers, a port each, with models, VRAM, speed and faults of their own. Nothing here is
//! used by the gateway itself.

#![cfg_attr(
    test,
    allow(
        clippy::too_many_lines,
        reason = "a test is as long as its table or its story; without tests, the limit holds"
    )
)]

mod admit;
mod answer;
mod ask;
mod base64;
mod body;
mod catalogue;
mod chance;
mod control;
mod digest;
mod duration;
mod embed;
mod fault;
mod fault_form;
mod fleet;
mod generation;
mod gojson;
mod inside;
mod link;
mod listing;
mod manage;
mod memory;
mod messages;
mod messages_voice;
mod names;
mod native;
mod openai;
mod openai_voice;
mod options;
mod origin;
mod percent;
mod prefix;
mod prompt;
mod prose;
mod provider;
mod reply;
mod responses;
mod responses_voice;
mod routes;
mod runner;
mod sabotage;
mod schema;
mod seat;
mod server;
mod speech;
mod stats;
mod strike;
#[cfg(test)]
mod tests;
mod tuning;

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

use fleet::Fleet;
use server::{Front, Server};

/// Starts all servers of a simulation on the current tokio runtime; they listen when this returns.
///
/// Fails if an address cannot be had.
pub async fn start(options: Options) -> io::Result<Running> {
    let mut failed = None;
    let fleet = Arc::new_cyclic(|fleet| {
        let started = start_servers(&options, &routes::front(fleet.clone()));
        let servers = started.unwrap_or_else(|error| {
            failed = Some(error);
            Vec::new()
        });
        Fleet { servers }
    });
    if let Some(error) = failed {
        return Err(error);
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

/// Starts a server for every port, with its models; `front` answers at all of them.
fn start_servers(options: &Options, front: &Front) -> io::Result<Vec<Arc<Server>>> {
    let mut servers = Vec::with_capacity(options.ports.len());
    for (index, port) in options.ports.iter().enumerate() {
        let address = SocketAddr::new(options.host, *port);
        let models = match options.models.len() {
            0 => &[],
            lists => options.models[index % lists].as_slice(),
        };
        let provider = options.provider.as_ref();
        let provider = provider.and_then(|setup| setup.build(&options.machine));
        let machine = options.machine.clone();
        let server = Server::start(address, models, machine, provider, front.clone())?;
        for name in &options.loaded {
            if let Some(name) = names::Name::parse(name) {
                server.preload(&name);
            }
        }
        servers.push(server);
    }
    Ok(servers)
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
