//! Who is a member: Pingora's `ServiceDiscovery` for the named backends and the port range of one
//! provider.
//!
//! Named ones are members, healthy or not, for as long as their name resolves to them. Ports of the
//! range that are no members are probed, all at once; a member stays until it has vanished. The
//! services of a cloud provider are members at one address each: see `settling.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::Result;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::{Backend as Target, Extensions};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::backend::Backend;
use super::endpoint::{Endpoint, EndpointOrigin};
use super::health::AT_ONCE;
use super::inventory::Inventory;
use super::members::Members;
use super::miss::Miss;
use super::provider::{Provider, UnresolvedHost};
use super::question::{Prober, Question};
use super::resolve::{Resolver, refresh, with_port};
use super::settling::Settling;
use super::trouble::Trouble;

pub(super) struct Discovery {
    provider: Arc<Provider>,
    members: Arc<Members>,
    prober: Arc<Prober>,
    /// The hosts of `backends` in their order, then those of `discover`.
    pub(super) hosts: Mutex<Vec<Resolver>>,
}

/// Addresses that may be members, as names resolve now.
struct Places {
    /// Position in `backends`, and whether the name has this address alone.
    listed: BTreeMap<SocketAddr, (usize, bool)>,
    range_hosts: Vec<IpAddr>,
}

impl Discovery {
    pub(super) fn new(provider: Arc<Provider>, members: Arc<Members>, prober: Arc<Prober>) -> Self {
        let settings = &provider.settings;
        let hosts = settings.backends.iter().map(|entry| &*entry.host);
        let hosts = hosts.chain(settings.discover.iter().map(|range| &*range.host));
        let hosts = Mutex::new(hosts.map(Resolver::new).collect());
        Self {
            provider,
            members,
            prober,
            hosts,
        }
    }

    async fn places(&self) -> Places {
        let settings = &self.provider.settings;
        let mut hosts = self.hosts.lock().await;
        refresh(&mut hosts, settings.probe_timeout).await;
        self.note_unresolved(&hosts);
        for (position, host) in hosts.iter_mut().enumerate() {
            if self.is_hopeless(EndpointOrigin::Listed(position)) {
                host.turn();
            }
        }
        let (named, range) = hosts.split_at(settings.backends.len());
        let mut listed = BTreeMap::new();
        for (position, (entry, host)) in settings.backends.iter().zip(named).enumerate() {
            let alone = host.addresses().len() == 1;
            for addr in with_port(host.addresses(), entry.port) {
                listed.entry(addr).or_insert((position, alone));
            }
        }
        let range_hosts = range
            .iter()
            .flat_map(Resolver::addresses)
            .copied()
            .collect();
        Places {
            listed,
            range_hosts,
        }
    }

    /// Returns whether nobody answers at the addresses of one name, and has not for a while.
    fn is_hopeless(&self, origin: EndpointOrigin) -> bool {
        let members = self.members.of(&self.provider);
        let mut mine = members
            .iter()
            .filter(|backend| backend.origin == origin)
            .peekable();
        mine.peek().is_some() && mine.all(|backend| is_hopeless(backend))
    }

    fn note_unresolved(&self, hosts: &[Resolver]) {
        let settings = &self.provider.settings;
        let failing = hosts.iter().enumerate().filter_map(|(position, host)| {
            let trouble = host.failing()?.clone();
            let name = match settings.backends.get(position) {
                Some(entry) => format!("{}:{}", host.host(), entry.port),
                None => host.host().to_owned(),
            };
            Some(UnresolvedHost { name, trouble })
        });
        let several = |host: &Resolver| host.all().len() > 1;
        let several = hosts.iter().any(several);
        self.provider.several.store(several, Ordering::Release);
        self.provider.set_unresolved(failing.collect());
    }

    fn in_range(&self, places: &Places, addr: SocketAddr) -> bool {
        let range = self.provider.settings.discover.as_ref();
        range.is_some_and(|range| range.ports.contains(&addr.port()))
            && places.range_hosts.contains(&addr.ip())
    }

    fn stays(&self, places: &Places, backend: &Backend) -> bool {
        match (backend.origin, places.listed.get(&backend.addr)) {
            (EndpointOrigin::Listed(was), Some((is, _))) => was == *is,
            (EndpointOrigin::Discovered, None) => {
                let limit = self.provider.settings.misses;
                let busy = backend.in_flight() > 0;
                self.in_range(places, backend.addr)
                    && !backend.vitals().vanished(busy, limit, Instant::now())
            }
            _ => false,
        }
    }

    /// Lets those go that are no members any more; returns all addresses that were taken.
    fn part(&self, places: &Places) -> HashSet<SocketAddr> {
        let members = self.members.of(&self.provider);
        for backend in &members {
            if !self.stays(places, backend) {
                self.members.leave(backend);
            }
        }
        members.iter().map(|backend| backend.addr).collect()
    }

    /// Probes each free address of the range; those that are Ollama servers join at once.
    async fn scan(&self, places: &Places, taken: &HashSet<SocketAddr>) {
        let ports = self
            .provider
            .settings
            .discover
            .iter()
            .flat_map(|range| range.ports.clone());
        let free = ports
            .flat_map(|port| with_port(&places.range_hosts, port))
            .filter(|addr| !taken.contains(addr) && !places.listed.contains_key(addr));
        let mut probes = JoinSet::new();
        for addr in free {
            if probes.len() >= AT_ONCE {
                self.welcome(probes.join_next().await);
            }
            let endpoint = self.provider.discovered(addr);
            let (provider, prober) = (Arc::clone(&self.provider), Arc::clone(&self.prober));
            probes.spawn(async move { meet(&provider, &prober, endpoint).await });
        }
        while let Some(met) = probes.join_next().await {
            self.welcome(Some(met));
        }
    }

    fn welcome(&self, met: Option<Joined>) {
        if let Some(Ok(Ok((endpoint, inventory)))) = met {
            self.members.join(
                &self.provider,
                endpoint,
                EndpointOrigin::Discovered,
                Some(inventory),
            );
        }
    }
}

type Joined = Result<Result<(Endpoint, Inventory), Miss>, tokio::task::JoinError>;

async fn meet(
    provider: &Provider,
    prober: &Prober,
    endpoint: Endpoint,
) -> Result<(Endpoint, Inventory), Miss> {
    let inventory = prober.probe(&Question::first(&endpoint, provider)).await?;
    Ok((endpoint, inventory))
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> Result<(BTreeSet<Target>, HashMap<u64, bool>)> {
        if self.provider.settings.kind.is_fleet() {
            self.gather().await
        } else {
            self.settle().await
        }
        if !self.provider.discovered.swap(true, Ordering::AcqRel) {
            self.members.note_settling();
        }
        let targets = self
            .members
            .of(&self.provider)
            .into_iter()
            .map(target)
            .collect();
        Ok((targets, HashMap::new()))
    }
}

impl Discovery {
    /// Servers: every address is one.
    pub(super) async fn gather(&self) {
        let places = self.places().await;
        // An address that is left now is not taken again in the same round: to Pingora, which
        // compares addresses, it would be the old member still.
        let taken = self.part(&places);
        for (addr, (position, alone)) in &places.listed {
            if !taken.contains(addr) {
                let entry = &self.provider.settings.backends[*position];
                let endpoint = self.provider.listed(entry, *addr, *alone);
                self.members.join(
                    &self.provider,
                    endpoint,
                    EndpointOrigin::Listed(*position),
                    None,
                );
            }
        }
        self.scan(&places, &taken).await;
    }

    /// Services: every entry is one, at one of its addresses.
    async fn settle(&self) {
        let mut hosts = self.hosts.lock().await;
        refresh(&mut hosts, self.provider.settings.probe_timeout).await;
        self.note_unresolved(&hosts);
        for (position, host) in hosts.iter().enumerate() {
            let place = Settling {
                provider: &self.provider,
                members: &self.members,
                prober: &self.prober,
                position,
            };
            place.settle(&host.all()).await;
        }
    }
}

/// Returns whether a backend is waited for: one that was well may be starting anew.
fn is_hopeless(backend: &Backend) -> bool {
    const STARTS: Duration = Duration::from_secs(10);
    let vitals = backend.vitals();
    let down = |trouble: &Trouble| trouble.since.elapsed().is_ok_and(|down| down > STARTS);
    let lost = vitals.trouble().is_some_and(down);
    !vitals.healthy() && backend.was_probed() && (!vitals.known() || lost)
}

/// To Pingora, which compares addresses and weights.
fn target(backend: Arc<Backend>) -> Target {
    let mut ext = Extensions::new();
    let (addr, weight) = (
        PingoraAddr::Inet(identity(&backend)),
        backend.weight as usize,
    );
    ext.insert(backend);
    Target { addr, weight, ext }
}

/// The services of one provider may share an address, as names behind one front do: so their place among the entries
/// is written into the flow label, which an address that nobody connects to has no use for.
fn identity(backend: &Backend) -> SocketAddr {
    match (backend.addr.ip(), backend.origin) {
        (ip, EndpointOrigin::Listed(position)) if !backend.provider.settings.kind.is_fleet() => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let flow =
                u32::try_from(position).expect("a configuration of a few MiB has fewer entries");
            SocketAddrV6::new(ip, backend.port(), flow, 0).into()
        }
        _ => backend.addr,
    }
}
