//! Addresses of a host name, looked up again each round and away from requests; a name server that
//! fails or is slow leaves the last answer in force.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::trouble::Trouble;

/// One host name or address.
pub(super) struct Resolver {
    host: String,
    last: Vec<IpAddr>,
    /// Those of the other family.
    others: Vec<IpAddr>,
    /// The others are used: at the first there was nobody.
    turned: bool,
    /// A lookup that may outlast a round.
    pending: Option<JoinHandle<std::io::Result<[Vec<IpAddr>; 2]>>>,
    /// What was wrong with the last lookup, since the first that failed.
    failing: Option<Trouble>,
}

impl Resolver {
    pub(super) fn new(host: &str) -> Self {
        let last = host.parse().ok().into_iter().collect();
        Self {
            host: host.to_owned(),
            last,
            others: Vec::new(),
            turned: false,
            pending: None,
            failing: None,
        }
    }

    /// Returns the state after an answer.
    #[cfg(test)]
    pub(super) fn known(host: &str, last: IpAddr, other: IpAddr) -> Self {
        Self {
            last: vec![last],
            others: vec![other],
            ..Self::new(host)
        }
    }

    /// Returns the last answer: addresses of one family, sorted.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        if self.turned && !self.others.is_empty() {
            &self.others
        } else {
            &self.last
        }
    }

    /// Returns the addresses of both families, the preferred family first.
    pub(super) fn all(&self) -> Vec<IpAddr> {
        [&*self.last, &*self.others].concat()
    }

    /// From now on [`Self::addresses`] are those of the other family, if there are any.
    pub(super) fn turn(&mut self) {
        self.turned = !self.turned && !self.others.is_empty();
    }

    /// Returns the host as it is written in the configuration.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns why the addresses are not known, or may be out of date.
    pub(super) fn failing(&self) -> Option<&Trouble> {
        self.failing.as_ref()
    }

    fn start(&mut self) {
        if self.pending.is_none() && self.host.parse::<IpAddr>().is_err() {
            let host = self.host.clone();
            self.pending = Some(tokio::spawn(async move {
                Ok(families(
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
            Ok(Ok([first, others])) if !first.is_empty() => {
                self.failing = None;
                self.last = first;
                self.others = others;
            }
            Ok(Ok(_)) => self.complain("no address"),
            Ok(Err(error)) => self.complain(&error.to_string()),
            Err(_) => self.complain("the lookup ended early"),
        }
    }

    fn complain(&mut self, cause: &str) {
        let before = self.failing.take();
        let is_new = before.is_none();
        self.failing = Some(Trouble {
            text: format!("cannot resolve its name: {cause}"),
            since: before.map_or_else(SystemTime::now, |before| before.since),
        });
        if is_new {
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

/// Returns the IPv4 addresses, or the IPv6 ones if there are no others, and those of the other family: a server that
/// has both is one backend with its slots, not two, and at the second if nobody answers at the first.
fn families(mut addresses: Vec<IpAddr>) -> [Vec<IpAddr>; 2] {
    addresses.sort_unstable();
    addresses.dedup();
    let (first, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    if first.is_empty() {
        [others, first]
    } else {
        [first, others]
    }
}

/// Returns every address with the port.
pub(super) fn with_port(addresses: &[IpAddr], port: u16) -> impl Iterator<Item = SocketAddr> {
    addresses.iter().map(move |ip| SocketAddr::new(*ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_dual_stack_server_has_one_address() {
        for (answer, first, others) in [
            (&["::1", "127.0.0.1"][..], &["127.0.0.1"][..], &["::1"][..]),
            (&["::2", "::1", "::2"], &["::1", "::2"], &[]),
            (&["10.0.0.2", "10.0.0.1"], &["10.0.0.1", "10.0.0.2"], &[]),
        ] {
            let mut resolver = Resolver::new("both.example");
            [resolver.last, resolver.others] = families(ips(answer));
            assert_eq!(resolver.addresses(), ips(first));
            assert_eq!(resolver.all(), [ips(first), ips(others)].concat());
            resolver.turn();
            let turned = if others.is_empty() { first } else { others };
            assert_eq!(resolver.addresses(), ips(turned));
            resolver.turn();
            assert_eq!(resolver.addresses(), ips(first));
        }
    }

    #[tokio::test]
    async fn a_failed_lookup_leaves_the_last_answer() {
        let known = ips(&["192.0.2.7"]);
        let mut resolvers = [
            Resolver::new("nowhere.invalid"),
            Resolver::new("192.0.2.8"),
            Resolver::new("localhost"),
        ];
        resolvers[0].last.clone_from(&known);
        // No time to wait for it, then enough.
        refresh(&mut resolvers[..1], Duration::ZERO).await;
        assert_eq!(resolvers[0].addresses(), known);
        refresh(&mut resolvers, Duration::from_secs(60)).await;
        assert!(resolvers[0].failing().is_some() && resolvers[0].pending.is_none());
        assert_eq!(resolvers[0].addresses(), known);
        assert_eq!(resolvers[1].addresses(), ips(&["192.0.2.8"]));
        assert!(resolvers[2].addresses().iter().all(IpAddr::is_loopback));
        assert_eq!(resolvers[2].addresses().len(), 1);
    }
}
