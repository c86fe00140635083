//! The fleet: what is done to several servers of a simulation at once.

use std::sync::Arc;

use super::fault::Fault;
use super::server::Server;

/// All servers of one simulation.
pub(super) struct Fleet {
    pub(super) servers: Vec<Arc<Server>>,
}

impl Fleet {
    /// Returns the servers on `ports`; no port is all servers.
    pub(super) fn chosen(&self, ports: &[u16]) -> Vec<&Arc<Server>> {
        self.servers
            .iter()
            .filter(|server| ports.is_empty() || ports.contains(&server.address.port()))
            .collect()
    }

    /// Makes a fault happen on the servers that it is for.
    pub(super) fn inject(&self, fault: &Fault) {
        for server in &self.servers {
            if fault.is_for_port(server.address.port()) {
                server.inject(fault.clone());
            }
        }
    }
}
