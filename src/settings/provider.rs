//! One provider: its wire format, its backends, and how they are treated.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remuda_formats::provider::{ChatApi, CopyEdits, ProviderKind, ProviderProfile, SamplingFields};

use super::{Copies, ProviderTimeouts};

/// One entry of `providers`: a wire format and the backends that speak it.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub name: Arc<str>,
    pub kind: ProviderKind,
    /// A range of local ports that is scanned for servers.
    pub discover: Option<PortRange>,
    /// Backends that the operator named.
    pub backends: Vec<StaticBackend>,
    /// Time between two probes of a backend (default 5 s; of a cloud service 60 s).
    pub interval: Duration,
    /// How long a probe may take (default 1 s; of a cloud service 10 s).
    pub probe_timeout: Duration,
    /// Whether it is probed while it is well (default true).
    pub watched: bool,
    /// Missed probes in a row until a backend is unhealthy (default 2). A backend that is serving
    /// a request is never ejected by a probe.
    pub misses: u32,
    /// Requests in flight over the whole provider; `None` is no limit.
    pub max_concurrent: Option<usize>,
    /// Requests in flight per backend (default 1; of a cloud service 100).
    pub max_concurrent_per_backend: u32,
    /// Whether that number holds: a fleet's servers have no bound but that of each of their copies unless it is stated.
    pub bounds_backends: bool,
    pub selector: SelectorKind,
    /// Default [`Placement::WarmOrWait`] for a fleet, [`Placement::Off`] for a cloud service.
    pub placement: Placement,
    /// For the strategy and the selector `weighted`.
    pub weight: u32,
    /// For the strategy `failover`: the lowest goes first; those without go after all that have one, as in the file.
    pub priority: Option<u32>,
    /// Used only where no other provider can serve a request (default false).
    pub fallback_only: bool,
    /// Whether it is an OptiLLM server, which runs the approaches that requests name (default false).
    pub approaches: bool,
    /// Relative price of a request, for the `cost` selector (default 1.0).
    pub cost: f64,
    /// Bytes of GPU memory per backend, where the operator states it; otherwise learned.
    pub vram: Option<u64>,
    pub pool: Pool,
    /// In place of those for all.
    pub timeouts: ProviderTimeouts,
    /// Sent upstream in the field that the kind asks for; for Ollama as `Authorization: Bearer …`,
    /// for servers behind an authenticating proxy.
    pub api_key: Option<Secret>,
    /// Further keys, used in turn with `api_key`.
    pub api_keys: Vec<Secret>,
    /// Models that it serves, in the provider's own names, besides those that it lists itself; of a fleet, the only ones
    /// that are offered, with those of `model_map`.
    pub models: Vec<Arc<str>>,
    /// Names that clients may use, and the provider's own name for each.
    pub model_map: BTreeMap<Arc<str>, Arc<str>>,
    /// Whether to ask the provider which models it has (default true where it can tell).
    pub list_models: bool,
    /// Fields that go with every request, such as OpenRouter's attribution.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    pub chat_api: ChatApi,
    pub sampling: SamplingFields,
    /// For [`ProviderKind::Azure`].
    pub azure: Azure,
    /// For [`ProviderKind::Bedrock`].
    pub aws: Aws,
    /// Context that Ollama backends are asked to load models with (`num_ctx`) when a request comes from another
    /// format; always the same, since every change loads the model anew. `None` leaves it to the server.
    pub num_ctx: Option<u32>,
    /// For [`ProviderKind::Ollama`].
    pub copies: Copies,
}

impl Provider {
    /// Returns a provider with every default of its kind and no backend yet.
    pub fn of_kind(name: &str, kind: ProviderKind) -> Provider {
        let fleet = Provider::named(name);
        if kind.is_fleet() {
            return fleet;
        }
        Provider {
            kind,
            // Azure lists the models of its catalogue, not the deployments that requests name.
            list_models: kind != ProviderKind::Azure,
            interval: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(10),
            max_concurrent_per_backend: 100,
            bounds_backends: true,
            placement: Placement::Off,
            ..fleet
        }
    }

    /// Returns what a request in this provider's format depends on.
    pub fn profile(&self) -> ProviderProfile<'_> {
        ProviderProfile {
            name: &self.name,
            kind: self.kind,
            chat_api: self.chat_api,
            sampling: self.sampling,
            api_version: self.azure.api_version.as_deref(),
            num_ctx: self.num_ctx,
            copy: CopyEdits::default(),
            is_mistral: !self.kind.is_fleet() && self.is_at("mistral.ai"),
        }
    }

    /// Returns whether one of its backends belongs to this domain.
    fn is_at(&self, domain: &str) -> bool {
        self.backends.iter().any(|backend| {
            let before = backend.host.strip_suffix(domain);
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }

    /// Returns an Ollama provider with every default and no backend yet.
    pub fn named(name: &str) -> Provider {
        Provider {
            name: name.into(),
            kind: ProviderKind::Ollama,
            models: Vec::new(),
            model_map: BTreeMap::new(),
            list_models: true,
            headers: Vec::new(),
            chat_api: ChatApi::Auto,
            sampling: SamplingFields::Standard,
            azure: Azure::default(),
            aws: Aws::default(),
            num_ctx: None,
            copies: Copies::default(),
            discover: None,
            backends: Vec::new(),
            interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(1),
            misses: 2,
            max_concurrent: None,
            max_concurrent_per_backend: 1,
            bounds_backends: false,
            selector: SelectorKind::LeastInFlight,
            placement: Placement::WarmOrWait,
            weight: 1,
            priority: None,
            fallback_only: false,
            approaches: false,
            cost: 1.0,
            vram: None,
            pool: Pool::default(),
            timeouts: ProviderTimeouts::default(),
            api_key: None,
            api_keys: Vec::new(),
            watched: true,
        }
    }
}

/// A credential; only [`Secret::expose`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What only Azure OpenAI needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Azure {
    /// With it, deployments are addressed in the path (`…/openai/deployments/{name}/…?api-version=`); without, the v1
    /// form (`…/openai/v1/…`) is used.
    pub api_version: Option<Arc<str>>,
    /// Deployments and the model that each runs, which their names may hide.
    pub deployments: BTreeMap<Arc<str>, Arc<str>>,
}

/// What only Bedrock needs. With `api_key`, requests carry it as a bearer key and are not signed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aws {
    pub region: Arc<str>,
    pub access_key: Option<Secret>,
    pub secret_key: Option<Secret>,
    pub session_token: Option<Secret>,
    /// Where models are listed, if not at the region's control plane; for tests and private endpoints.
    pub control_url: Option<Arc<str>>,
}

/// `discover:`: which ports to scan.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRange {
    /// A host name or address (default `127.0.0.1`).
    pub host: String,
    pub ports: RangeInclusive<u16>,
}

impl Default for PortRange {
    fn default() -> PortRange {
        PortRange {
            host: Ipv4Addr::LOCALHOST.to_string(),
            ports: 24000..=24100,
        }
    }
}

/// One entry of `backends:`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticBackend {
    pub tls: bool,
    /// A name or an address; an IPv6 address stands without its brackets.
    pub host: String,
    pub port: u16,
    /// What stands before every path; empty, or with a leading and no trailing slash. It holds the version for Google
    /// (`/v1beta`) and the kinds of OpenAI's format (`/v1`, `/openai/v1`; OpenAI, compatible, OpenRouter, Perplexity),
    /// and neither the version nor Azure's `/openai` for the others, whose dialects add them.
    pub path: Arc<str>,
    pub weight: Option<u32>,
    pub cost: Option<f64>,
    pub max_concurrent: Option<u32>,
    pub vram: Option<u64>,
}

/// Upstream connections of one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Idle connections kept (default 128); the process keeps the largest of its providers'.
    pub size: usize,
    /// An idle upstream connection is closed after this (default 60 s).
    pub idle_timeout: Duration,
    /// Offer HTTP/2 by ALPN to TLS backends (default true).
    pub http2: bool,
    /// Check certificates of TLS backends (default true).
    pub verify: bool,
    /// PEM file of the authorities that TLS backends are checked against, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            size: 128,
            idle_timeout: Duration::from_secs(60),
            http2: true,
            verify: true,
            ca_file: None,
        }
    }
}

/// How a backend is chosen among those that may serve at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectorKind {
    LeastInFlight,
    RoundRobin,
    Weighted,
    FastestResponse,
    Cost,
}

/// Whether the residency of models decides where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Warm or wait: by the expected start.
    WarmOrWait,
    /// Plain balancing by the selector.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_never_shows_a_secret() {
        let mut provider = Provider::named("gpus");
        provider.api_key = Some(Secret::new("hunter2"));
        let shown = format!("{provider:?}");
        assert!(shown.contains("Secret(***)"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn mistral_is_known_by_its_domain() {
        for (host, expected) in [
            ("mistral.ai", true),
            ("api.mistral.ai", true),
            ("notmistral.ai", false),
            ("mistral.ai.example", false),
        ] {
            let mut provider = Provider::of_kind("p", ProviderKind::OpenAiCompatible);
            provider.backends = vec![StaticBackend {
                tls: true,
                host: host.to_owned(),
                port: 443,
                path: "/v1".into(),
                weight: None,
                cost: None,
                max_concurrent: None,
                vram: None,
            }];
            assert_eq!(provider.profile().is_mistral, expected, "{host}");
        }
    }
}
