//! One entry of `providers:`, a wire format and the backends that speak it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address::BackendUrl;
use super::aws::Aws;
use super::azure::Azure;
use super::backend::{Addresses, Backend};
use super::balance::Balance;
use super::copies::Copies;
use super::credentials::{self, Written};
use super::discover::{Discover, LOCAL};
use super::field::Field;
use super::kind;
use super::pool::Pool;
use super::probes::Probes;
use super::reader::Section;
use super::requests::Requests;
use super::scalar::{Scalar, text};
use super::service::Service;
use super::timeouts::ProviderTimeouts;
use super::yaml::Value;
use crate::settings::{self, ProviderKind, Secret};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Provider {
    name: Field<Name>,
    kind: Field<ProviderKind>,
    discover: Option<Discover>,
    backends: Vec<Option<Backend>>,
    /// Short for one entry of `backends`.
    base_url: Field<BackendUrl>,
    api_key: Field<Secret>,
    api_key_file: Field<PathBuf>,
    api_keys: Vec<Field<Secret>>,
    #[serde(flatten)]
    requests: Requests,
    #[serde(flatten)]
    azure: Azure,
    #[serde(flatten)]
    aws: Aws,
    #[serde(flatten)]
    probes: Probes,
    #[serde(flatten)]
    balance: Balance,
    #[serde(flatten)]
    copies: Copies,
    pool: Pool,
    timeouts: ProviderTimeouts,
}

/// A provider's name goes into headers, metrics and logs.
#[derive(Clone)]
struct Name(String);

impl Scalar for Name {
    fn read(value: &Value) -> Result<Name, String> {
        text(value)
            .filter(|name| (1..=64).contains(&name.len()))
            .filter(|name| {
                name.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            })
            .map(|name| Name(name.into_owned()))
            .ok_or_else(|| "expected a name of up to 64 letters, digits, and - _ .".into())
    }

    fn write(&self) -> Value {
        self.0.as_str().into()
    }
}

impl Provider {
    /// Returns the provider that the environment describes, where the file has none of its name.
    pub(super) fn local() -> Provider {
        Provider {
            discover: Some(Discover::default()),
            ..Provider::known(LOCAL)
        }
    }

    /// Returns a provider that is the service known by its name.
    pub(super) fn known(name: &str) -> Provider {
        Provider {
            name: Name(name.to_owned()).into(),
            ..Provider::default()
        }
    }

    /// Returns a provider with every key, for the list of known ones.
    pub(super) fn template() -> Provider {
        Provider {
            discover: Some(Discover::default()),
            backends: vec![Some(Backend::default())],
            api_keys: vec![Field::Absent],
            requests: Requests::template(),
            azure: Azure::template(),
            copies: Copies::template(),
            ..Provider::default()
        }
    }

    pub(super) fn is_local(&self) -> bool {
        self.name.stated().is_some_and(|name| name.0 == LOCAL)
    }

    /// Reads the provider. `from_environment` says whether the variables of the port range describe this provider too.
    pub(super) fn used(
        mut self,
        mut at: Section<'_, '_>,
        from_environment: bool,
    ) -> settings::Provider {
        if from_environment {
            self.discover.get_or_insert_default();
        }
        let name = self.used_name(&mut at);
        let named = Service::named(&name);
        self.fill_in_address(&mut at, named);
        let kind = self.used_kind(&mut at, &name);
        self.warn_of_idle_keys(&mut at, kind);
        let mut used = settings::Provider::of_kind(&name, kind);
        used.pool = self.pool.used(at.section("pool"));
        let inner = self.discover.as_mut();
        let inner = inner.map(|discover| std::mem::take(&mut discover.probes));
        self.probes
            .used(inner.unwrap_or_default(), &mut at, &mut used);
        self.requests.used(&mut at, &mut used);
        used.azure = self.azure.used(&mut at);
        let scans = self.discover.is_some();
        if scans && !kind.is_fleet() {
            at.problem(
                "discover",
                format!(
                    "finds Ollama servers only; {kind} has a base_url",
                    kind = kind.name()
                ),
            );
        }
        let of_kind = named.filter(|service| service.kind == kind);
        let of_kind = of_kind.or_else(|| Service::of_kind(kind));
        let variables = of_kind.map(|service| service.variables("TIMEOUT"));
        let variables = variables.unwrap_or_default();
        used.timeouts = self.timeouts.used(at.section("timeouts"), &variables);
        let addresses = Addresses {
            kind,
            verify: used.pool.verify,
            service: of_kind,
            scans,
        };
        used.backends = addresses.used(&mut at, self.backends, self.base_url);
        used.discover = self
            .discover
            .map(|discover| discover.used(&mut at.section("discover"), from_environment));
        let key = Written {
            key: self.api_key,
            file: self.api_key_file,
            more: self.api_keys,
        };
        credentials::used(&mut at, key, self.aws, of_kind, &mut used);
        self.balance.used(&mut at, of_kind, &mut used);
        self.copies.used(&mut at, &mut used);
        used
    }

    fn used_name(&mut self, at: &mut Section<'_, '_>) -> String {
        if !self.name.is_stated() {
            at.problem_here("has no name; add one, as in name: gpus");
        }
        let name = at.stated("name", std::mem::take(&mut self.name));
        name.map_or_else(String::new, |name| name.0)
    }

    /// Fills in the address of a service whose variables say that it is elsewhere.
    fn fill_in_address(&mut self, at: &mut Section<'_, '_>, service: Option<&Service>) {
        let open =
            !self.base_url.is_stated() && self.backends.is_empty() && self.discover.is_none();
        if let (true, Some(service)) = (open, service) {
            let names = service.variables("BASE_URL");
            self.base_url = at.stated_or_first("base_url", Field::Absent, &names).into();
        }
    }

    fn used_kind(&mut self, at: &mut Section<'_, '_>, name: &str) -> ProviderKind {
        let listed = self.backends.iter().flatten();
        let listed: Vec<_> = listed.filter_map(Backend::url).collect();
        let scans = self.discover.is_some();
        let inferred = kind::infer(name, scans, self.base_url.stated(), &listed);
        at.stated("kind", std::mem::take(&mut self.kind))
            .unwrap_or(inferred)
    }

    fn warn_of_idle_keys(&self, at: &mut Section<'_, '_>, kind: ProviderKind) {
        let mut idle: Vec<&str> = self.requests.idle_keys(kind).collect();
        idle.extend(self.balance.idle_keys(kind));
        idle.extend(self.copies.idle_keys(kind));
        if kind != ProviderKind::Azure {
            idle.extend(self.azure.stated_keys());
        }
        if kind != ProviderKind::Bedrock {
            idle.extend(self.aws.stated_keys());
        }
        for key in idle {
            at.warning(key, format!("means nothing to the kind {}", kind.name()));
        }
    }
}

impl From<&settings::Provider> for Provider {
    fn from(used: &settings::Provider) -> Provider {
        let probes = Probes::from(used);
        let (discover, probes) = match &used.discover {
            Some(range) => (Some(Discover::from((range, probes))), Probes::default()),
            None => (None, probes),
        };
        Provider {
            name: Name(used.name.to_string()).into(),
            kind: used.kind.into(),
            discover,
            backends: used
                .backends
                .iter()
                .map(|backend| Some(backend.into()))
                .collect(),
            base_url: Field::Absent,
            api_key: used.api_key.clone().into(),
            api_key_file: Field::Absent,
            api_keys: used.api_keys.iter().cloned().map(Field::from).collect(),
            requests: used.into(),
            azure: (&used.azure).into(),
            aws: (&used.aws).into(),
            probes,
            balance: used.into(),
            copies: used.into(),
            pool: (&used.pool).into(),
            timeouts: (&used.timeouts).into(),
        }
    }
}
