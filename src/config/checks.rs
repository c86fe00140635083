//! What no single key can be wrong about: names that clash, addresses that meet, and budgets that nothing is held against.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::reader::Reader;
use crate::settings::{Provider, Settings};

pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let listen = settings.server.listen;
    if settings
        .server
        .admin
        .is_some_and(|admin| same_listener(listen, admin))
    {
        let what =
            format!("is the address of server.listen, {listen}; choose another port, or off");
        reader.section("server").problem("admin", what);
    }
    let mut names = HashSet::new();
    let mut backends = HashMap::new();
    for (index, provider) in settings.providers.iter().enumerate() {
        // Requests may name a provider in any case. A name that is empty was reported when it was read.
        if !provider.name.is_empty() && !names.insert(provider.name.to_ascii_lowercase()) {
            let what = format!(
                "a provider named {:?} is already there; choose another name",
                provider.name
            );
            reader
                .section("providers")
                .item(index)
                .problem("name", what);
        }
        check_own_address(listen, index, provider, reader);
        check_shared(&mut backends, index, provider, reader);
    }
    check_budgets(settings, reader);
}

/// Warns of budgets where no usage is counted that they could be held against.
fn check_budgets(settings: &Settings, reader: &mut Reader<'_>) {
    let mut keys = settings.access.keys.iter();
    let Some(key) = keys.find(|key| key.limits.budget.is_some()) else {
        return;
    };
    let mut at = reader.section("usage");
    if !settings.usage.enabled {
        let what = format!("has to be true for the budget of key {:?}", key.name);
        at.problem("enabled", what);
    } else if settings.usage.path.is_none() {
        let what = format!(
            "is not set, so what key {:?} has spent of its budget is forgotten when the gateway is started anew",
            key.name
        );
        at.warning("path", what);
    }
}

/// Returns whether two listeners cannot both be bound; port 0 is any free one.
fn same_listener(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && overlap
}

/// Reports a backend that is the gateway itself, which would send every request in a circle.
fn check_own_address(
    listen: SocketAddr,
    index: usize,
    provider: &Provider,
    reader: &mut Reader<'_>,
) {
    let remedy = "choose another port for server.listen (PROXY_PORT), or for the Ollama server (OLLAMA_HOST)";
    let mut at = reader.section("providers");
    let mut at = at.item(index);
    if let Some(range) = &provider.discover
        && range.ports.contains(&listen.port())
        && is_own(listen, &range.host)
    {
        let what = format!("the range holds the gateway's own address {listen}; {remedy}");
        at.section("discover").problem("ports", what);
    }
    for backend in &provider.backends {
        if backend.port == listen.port() && is_own(listen, &backend.host) {
            let what = format!(
                "{}:{} is the gateway's own address; {remedy}",
                backend.host, backend.port
            );
            at.problem("backends", what);
        }
    }
}

/// Returns whether a connection to `host` on the listener's port reaches this gateway, as far as the text tells without
/// asking the resolver.
fn is_own(listen: SocketAddr, host: &str) -> bool {
    let Ok(address) = host.parse::<IpAddr>() else {
        return host == "localhost" && (listen.ip().is_unspecified() || listen.ip().is_loopback());
    };
    // `[::]` takes connections of both families, `0.0.0.0` only its own.
    let reached = listen.is_ipv6() || address.is_ipv4();
    match listen.ip() {
        ip if ip.is_unspecified() => reached && (address.is_loopback() || address.is_unspecified()),
        ip => address == ip || (address.is_unspecified() && ip.is_loopback() && reached),
    }
}

/// Reports a server that stands twice in one provider, and warns of one in two, which gets the slots of both.
fn check_shared<'a>(
    seen: &mut HashMap<(&'a str, u16), usize>,
    index: usize,
    provider: &'a Provider,
    reader: &mut Reader<'_>,
) {
    for backend in &provider.backends {
        let name = format!("{}:{}", backend.host, backend.port);
        let mut at = reader.section("providers");
        let mut at = at.item(index);
        match seen.insert((&backend.host, backend.port), index) {
            Some(other) if other == index => {
                at.problem("backends", format!("{name} is listed twice; remove one"));
            }
            // Two keys of one service are two providers at one address.
            Some(_) if provider.kind.is_fleet() => {
                let what = format!("{name} is in another provider too, and gets the slots of both");
                at.warning("backends", what);
            }
            _ => {}
        }
    }
}
