//! Addresses of a host name, looked up again each round and away from requests; a name server that
//! fails or is slow leaves the last answer in force.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// One host name or address.
pub(super) struct Resolver {
    host: String,
    last: Vec<IpAddr>,
    /// A lookup that may outlast a round.
    pending: Option<JoinHandle<std::io::Result<Vec<IpAddr>>>>,
    failing: bool,
}

impl Resolver {
    pub(super) fn new(host: &str) -> Self {
        let last = host.parse().ok().into_iter().collect();
        Self {
            host: host.to_owned(),
            last,
            pending: None,
            failing: false,
        }
    }

    /// The last answer: addresses of one family, sorted.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.last
    }

    fn start(&mut self) {
        if self.pending.is_none() && self.host.parse::<IpAddr>().is_err() {
            let host = self.host.clone();
            self.pending = Some(tokio::spawn(async move {
                Ok(one_family(
                    lookup_host((host, 0))
                        .await?
                        .map(|addr| addr.ip())
                        .collect(),
                ))
            }));
        }
    }

    async fn settle(&mut self, deadline: Instant) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        let Ok(joined) = timeout_at(deadline, pending).await else {
            self.complain("no answer yet");
            return;
        };
        self.pending = None;
        match joined {
            Ok(Ok(answer)) if !answer.is_empty() => {
                self.failing = false;
                self.last = answer;
            }
            Ok(Ok(_)) => self.complain("no address"),
            Ok(Err(error)) => self.complain(&error.to_string()),
            Err(_) => self.complain("the lookup ended early"),
        }
    }

    fn complain(&mut self, cause: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            let known = self.last.len();
            log::warn!(
                "cannot resolve {}: {cause}; {known} known addresses stay",
                self.host
            );
        }
    }
}

/// Looks all names up again, at once, waiting for `wait` at most.
pub(super) async fn refresh(resolvers: &mut [Resolver], wait: Duration) {
    let deadline = Instant::now() + wait;
    for resolver in resolvers.iter_mut() {
        resolver.start();
    }
    for resolver in resolvers {
        resolver.settle(deadline).await;
    }
}

/// The IPv4 addresses, or the IPv6 ones if there are no others: a server that has both is one
/// backend with its slots, not two.
fn one_family(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    if addresses.iter().any(IpAddr::is_ipv4) {
        addresses.retain(IpAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Every address with the port.
pub(super) fn with_port(addresses: &[IpAddr], port: u16) -> impl Iterator<Item = SocketAddr> {
    addresses.iter().map(move |ip| SocketAddr::new(*ip, port))
}
