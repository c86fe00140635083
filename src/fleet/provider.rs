//! One provider of the configuration, with what all its backends share.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderValue};
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Notify;

use crate::ids::ProviderId;
use crate::settings::{self, ProviderKind, Routing, StaticBackend, Timeouts};
use remuda_formats::dialect::bedrock::sign::Signer;

use super::complaints::Complaints;
use super::endpoint::Endpoint;
use super::error::FleetError;
use super::guard::Guard;
use super::refusal::{Asked, Refusals, Why};
use super::selector::Selector;
use super::statistics::Statistics;
use super::trouble::Trouble;
use super::{authorities, control_plane, credentials};

/// Requests at once on one HTTP/2 connection.
const STREAMS: usize = 100;

/// A provider as the fleet uses it.
pub struct Provider {
    /// Position in the configuration.
    pub id: ProviderId,
    pub name: Arc<str>,
    pub settings: settings::Provider,
    pub selector: &'static Selector,
    /// Where its models are listed, if that is not where they are served.
    pub(super) control: Option<StaticBackend>,
    signer: Option<Signer>,
    pub statistics: Statistics,
    pub(super) complaints: Complaints,
    refusals: Refusals,
    /// Names of its configuration that cannot be resolved.
    unresolved: Mutex<Vec<UnresolvedHost>>,
    /// Whether its backends have been looked for once, to the end.
    pub(super) discovered: AtomicBool,
    /// Whether any of its names has several addresses, so that there is another to go to.
    pub(super) several: AtomicBool,
    /// What holds for requests to it.
    pub timeouts: Timeouts,
    /// The fields for each key; a provider without a key has one set as well.
    fields: Vec<HeaderMap>,
    guard: Guard,
    /// Its limits, or those of its backends, are to change by themselves at another time than before.
    pub(super) stirred: Notify,
    /// When one of its backends is left out although its probes are good.
    pub(super) breaker: settings::Breaker,
    authorities: Option<Arc<CaType>>,
}

/// A name of the configuration that cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedHost {
    /// The name with its port, as a backend would be called.
    pub name: String,
    pub trouble: Trouble,
}

impl Provider {
    pub(super) fn new(
        id: ProviderId,
        settings: &settings::Provider,
        timeouts: &Timeouts,
        routing: &Routing,
    ) -> Result<Self, FleetError> {
        let provider = || Arc::clone(&settings.name);
        let control = control_plane::place(settings);
        for place in settings.backends.iter().chain(&control) {
            let StaticBackend {
                tls, host, port, ..
            } = place;
            if control_plane::is_bare(place) && settings.pool.verify {
                return Err(FleetError::BareAddress {
                    provider: provider(),
                    host: host.clone(),
                });
            }
            host_header(host, *port, *tls).map_err(|_| FleetError::BadHost {
                provider: provider(),
                host: host.clone(),
            })?;
        }
        let authorities = settings.pool.ca_file.as_deref().map(|path| {
            let bad = |cause| FleetError::BadAuthorities {
                provider: provider(),
                path: path.into(),
                cause,
            };
            authorities::load(path).map_err(bad)
        });
        Ok(Self {
            id,
            name: provider(),
            selector: Selector::of(settings.selector),
            settings: settings.clone(),
            control: control.filter(|_| settings.kind == ProviderKind::Bedrock),
            signer: control_plane::signer(settings),
            statistics: Statistics::new(Instant::now()),
            complaints: Complaints::default(),
            refusals: Refusals::default(),
            unresolved: Mutex::default(),
            discovered: AtomicBool::new(false),
            several: AtomicBool::new(false),
            timeouts: settings.timeouts.over(timeouts),
            fields: credentials::fields_of_all(settings).map_err(|_| FleetError::BadKey {
                provider: provider(),
            })?,
            guard: Guard::new(settings, routing, Instant::now()),
            stirred: Notify::new(),
            breaker: routing.breaker.clone(),
            authorities: authorities.transpose()?,
        })
    }

    /// Returns the fields that go with every request to the provider's backends: its key, and what the operator adds.
    /// With several keys, the key is one that has not been refused.
    pub fn fields(&self) -> &HeaderMap {
        self.fields_with(self.guard.accepted_key(Instant::now()))
    }

    /// Returns the fields as [`Self::fields`] does, with the key that [`Guard::pick`] has chosen.
    pub fn fields_with(&self, key: usize) -> &HeaderMap {
        self.fields.get(key).unwrap_or(&self.fields[0])
    }

    /// Returns why and since when it refuses the gateway's key, if it does.
    pub fn refusal(&self) -> Option<Trouble> {
        self.refusals.present().map(|(_, trouble)| trouble)
    }

    /// Returns in a few words what [`Self::refusal`] says.
    pub fn refusal_in_short(&self) -> Option<&'static str> {
        self.refusals.present().map(|(why, _)| why.text())
    }

    /// Returns whether the provider gets nothing that nobody lists, as it refuses the gateway's key or its list of
    /// models.
    pub fn repels(&self) -> bool {
        self.refusals.repel()
    }

    /// Returns what the provider's backend of that name does instead of its part, although it answers.
    pub fn complaints(&self, backend: &str) -> Vec<String> {
        self.complaints.present(backend)
    }

    pub(super) fn note_refusal(&self, asked: Asked, why: Why, status: u16) {
        if !self.refusals.note(asked, why, status) {
            return;
        }
        let name = &self.name;
        match why {
            Why::Key => log::warn!(
                "provider {name} refuses the gateway's key, with status {status}; check its key and what that allows"
            ),
            Why::Account => log::warn!(
                "provider {name} refuses the gateway's key for its account, with status {status}; check its payment, its quota and its region"
            ),
            Why::Error => log::warn!(
                "provider {name} answers its list of models with an error, with status {status}; check its address and its key"
            ),
        }
    }

    pub(super) fn settle_refusal(&self, asked: Asked) {
        if self.refusals.settle(asked) {
            log::info!("provider {} takes the gateway's key again", self.name);
        }
    }

    /// Returns the names of its configuration that cannot be resolved at the moment.
    pub fn unresolved(&self) -> Vec<UnresolvedHost> {
        self.names().clone()
    }

    pub(super) fn set_unresolved(&self, unresolved: Vec<UnresolvedHost>) {
        *self.names() = unresolved;
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Vec<UnresolvedHost>> {
        self.unresolved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the guard, which keeps the provider from being asked in vain.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Returns what signs each request where a signature takes the place of a key, as for Bedrock without a bearer key.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Returns the endpoint at `addr`, found by scanning.
    pub(super) fn discovered(&self, addr: SocketAddr) -> Endpoint {
        let host = address_header(addr, false);
        Endpoint {
            name: addr.to_string().into(),
            addr,
            tls: false,
            host,
            path: "".into(),
            peer: self.peer(addr, false, ""),
        }
    }

    /// Returns the endpoint for an entry of `backends` that resolved to `addr`; `alone` if it has one address only, so
    /// that its name tells it from the others.
    pub(super) fn listed(
        &self,
        entry: &settings::StaticBackend,
        addr: SocketAddr,
        alone: bool,
    ) -> Endpoint {
        let name = if alone && entry.host.parse::<IpAddr>().is_err() {
            format!("{}:{}", entry.host, entry.port).into()
        } else {
            addr.to_string().into()
        };
        let host = host_header(&entry.host, entry.port, entry.tls)
            .expect("hosts are checked when the provider is made");
        let peer = self.peer(addr, entry.tls, &entry.host);
        Endpoint {
            name,
            addr,
            tls: entry.tls,
            host,
            path: Arc::clone(&entry.path),
            peer,
        }
    }

    fn peer(&self, addr: SocketAddr, tls: bool, host: &str) -> Arc<HttpPeer> {
        let pool = &self.settings.pool;
        // An empty name would switch certificate checks off without a word.
        let sni = if tls { host.to_owned() } else { String::new() };
        let mut peer = HttpPeer::new(addr, tls, sni);
        // Providers may name the same address with different credentials.
        peer.group_key = self.id.position() as u64;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.idle_timeout = Some(pool.idle_timeout);
        options.verify_cert = pool.verify;
        options.verify_hostname = pool.verify;
        options.alpn = if tls && pool.http2 {
            ALPN::H2H1
        } else {
            ALPN::H1
        };
        options.max_h2_streams = STREAMS;
        options.ca.clone_from(&self.authorities);
        Arc::new(peer)
    }
}

fn host_header(host: &str, port: u16, tls: bool) -> Result<HeaderValue, InvalidHeaderValue> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(address_header(SocketAddr::new(ip, port), tls)),
        Err(_) if port == default_port(tls) => HeaderValue::from_str(host),
        Err(_) => HeaderValue::from_str(&format!("{host}:{port}")),
    }
}

fn address_header(addr: SocketAddr, tls: bool) -> HeaderValue {
    let text = match addr.ip() {
        ip if addr.port() != default_port(tls) => SocketAddr::new(ip, addr.port()).to_string(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    HeaderValue::from_str(&text).expect("an address is printable")
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::Secret;

    fn backend(tls: bool, host: &str, port: u16) -> StaticBackend {
        let host = host.to_owned();
        StaticBackend {
            tls,
            host,
            port,
            path: "".into(),
            weight: None,
            cost: None,
            max_concurrent: None,
            vram: None,
        }
    }

    fn provider(backends: &[StaticBackend]) -> settings::Provider {
        settings::Provider {
            backends: backends.to_vec(),
            ..settings::Provider::named("gpus")
        }
    }

    fn make(settings: &settings::Provider) -> Result<Provider, FleetError> {
        Provider::new(
            ProviderId::at(3),
            settings,
            &Timeouts::default(),
            &Routing::default(),
        )
    }

    #[test]
    fn peers_carry_the_settings() {
        let entry = backend(true, "gpu1.example", 443);
        let mut settings = provider(std::slice::from_ref(&entry));
        settings.pool.idle_timeout = Duration::from_secs(7);
        let addr = "192.0.2.1:443".parse().unwrap();
        let peer = make(&settings).unwrap().listed(&entry, addr, true).peer;
        assert!(peer.is_tls());
        assert_eq!(peer.sni, "gpu1.example");
        assert_eq!(peer.group_key, 3);
        assert_eq!(peer.options.idle_timeout, Some(Duration::from_secs(7)));
        assert_eq!(
            peer.options.total_connection_timeout,
            Some(Duration::from_secs(5))
        );
        assert!(peer.options.verify_cert && peer.options.verify_hostname);
        assert_eq!(peer.options.alpn.get_max_http_version(), 2);

        settings.pool.http2 = false;
        settings.pool.verify = false;
        let peer = make(&settings).unwrap().listed(&entry, addr, true).peer;
        assert!(!peer.options.verify_cert && !peer.options.verify_hostname);
        assert_eq!(peer.options.alpn.get_max_http_version(), 1);
        let peer = make(&settings).unwrap().discovered(addr).peer;
        assert!(!peer.is_tls() && peer.sni.is_empty());
    }

    #[test]
    fn hosts_and_names_are_those_of_the_configuration() {
        let cases = [
            (false, "gpu1", 11434, true, "gpu1:11434", "gpu1:11434"),
            (false, "gpu1", 11434, false, "gpu1:11434", "192.0.2.1:11434"),
            (true, "gpu1", 443, true, "gpu1", "gpu1:443"),
            (false, "gpu1", 443, true, "gpu1:443", "gpu1:443"),
            (false, "192.0.2.1", 80, true, "192.0.2.1", "192.0.2.1:80"),
            (false, "192.0.2.1", 81, true, "192.0.2.1:81", "192.0.2.1:81"),
        ];
        for (tls, host, port, alone, header, name) in cases {
            let entry = backend(tls, host, port);
            let provider = make(&provider(std::slice::from_ref(&entry))).unwrap();
            let addr = SocketAddr::new("192.0.2.1".parse().unwrap(), port);
            let endpoint = provider.listed(&entry, addr, alone);
            assert_eq!(endpoint.host, header);
            assert_eq!(&*endpoint.name, name);
        }
        assert_eq!(
            host_header("2001:db8::1", 80, false).unwrap(),
            "[2001:db8::1]"
        );
        assert_eq!(
            host_header("2001:db8::1", 81, false).unwrap(),
            "[2001:db8::1]:81"
        );
    }

    #[test]
    fn what_cannot_be_reached_safely_is_refused() {
        let mut settings = provider(&[backend(true, "192.0.2.1", 443)]);
        assert!(matches!(
            make(&settings),
            Err(FleetError::BareAddress { .. })
        ));
        settings.pool.verify = false;
        assert!(make(&settings).is_ok());
        settings.pool.ca_file = Some("/nowhere/ca.pem".into());
        assert!(matches!(
            make(&settings),
            Err(FleetError::BadAuthorities { .. })
        ));
        assert!(matches!(
            make(&provider(&[backend(false, "a\nb", 1)])),
            Err(FleetError::BadHost { .. })
        ));
        let settings = settings::Provider {
            api_key: Some(Secret::new("a\nb")),
            ..provider(&[])
        };
        let Err(error) = make(&settings) else {
            panic!("a key over two lines was taken")
        };
        assert!(!error.to_string().contains("a\nb"));
    }
}
