//! One entry of `providers:`, a wire format and the backends that speak it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_yaml::Value;

use super::address::BackendUrl;
use super::backend::{self, Backend};
use super::discover::{Discover, LOCAL};
use super::environment::read_secret;
use super::field::Field;
use super::pool::Pool;
use super::probes::Probes;
use super::reader::Section;
use super::scalar::{Choice, Count, Scalar, Weight, Whole, text};
use super::size::Size;
use crate::settings::{self, Placement, ProviderKind, Secret, SelectorKind};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Provider {
    name: Field<Name>,
    kind: Field<ProviderKind>,
    discover: Option<Discover>,
    backends: Vec<Option<Backend>>,
    /// Short for one entry of `backends`.
    base_url: Field<BackendUrl>,
    #[serde(flatten)]
    probes: Probes,
    max_concurrent: Field<Count<0>>,
    max_concurrent_per_backend: Field<Count<1>>,
    selector: Field<SelectorKind>,
    placement: Field<Placement>,
    weight: Field<Weight>,
    cost: Field<f64>,
    vram: Field<Size>,
    pool: Pool,
    api_key: Field<Secret>,
    api_key_file: Field<PathBuf>,
}

/// A provider's name goes into headers, metrics and logs.
pub(super) struct Name(String);

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

impl Scalar for ProviderKind {
    fn read(value: &Value) -> Result<ProviderKind, String> {
        match text(value) {
            Some(text) if text.eq_ignore_ascii_case("ollama") => Ok(ProviderKind::Ollama),
            _ => Err("this version serves Ollama backends only: expected ollama".into()),
        }
    }

    fn write(&self) -> Value {
        self.name().into()
    }
}

impl Choice for SelectorKind {
    const NAMES: &'static [(&'static str, SelectorKind)] = &[
        ("least_in_flight", SelectorKind::LeastInFlight),
        ("round_robin", SelectorKind::RoundRobin),
        ("weighted", SelectorKind::Weighted),
        ("fastest_response", SelectorKind::FastestResponse),
        ("cost", SelectorKind::Cost),
    ];
}

impl Choice for Placement {
    const NAMES: &'static [(&'static str, Placement)] = &[
        ("warm_or_wait", Placement::WarmOrWait),
        ("off", Placement::Off),
        ("false", Placement::Off),
    ];
}

impl Provider {
    /// The provider that the environment describes, where the file has none of its name.
    pub(super) fn local() -> Provider {
        Provider {
            name: Name(LOCAL.to_owned()).into(),
            discover: Some(Discover::default()),
            ..Provider::default()
        }
    }

    /// With every key, for the list of known ones.
    pub(super) fn template() -> Provider {
        Provider {
            discover: Some(Discover::default()),
            backends: vec![Some(Backend::default())],
            ..Provider::default()
        }
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(&self.name, Field::Stated(name) if name.0 == LOCAL)
    }

    /// `from_environment`: whether the variables of the port range describe this provider too.
    pub(super) fn used(
        mut self,
        mut at: Section<'_, '_>,
        from_environment: bool,
    ) -> settings::Provider {
        if !self.name.is_stated() {
            at.problem_here("has no name; add one, as in name: gpus");
        }
        let name = at.stated("name", self.name);
        let default = settings::Provider::named(name.as_ref().map_or("", |name| &name.0));
        let kind = at.stated("kind", self.kind).unwrap_or(default.kind);
        if from_environment {
            self.discover.get_or_insert_default();
        }
        let pool = self.pool.used(at.section("pool"));
        let inner = self
            .discover
            .as_mut()
            .map(|discover| std::mem::take(&mut discover.probes));
        let probes = self
            .probes
            .used(inner.unwrap_or_default(), &mut at, &default);
        let discover = self
            .discover
            .map(|discover| discover.used(&mut at.section("discover"), from_environment));
        let backends = used_backends(&mut at, self.backends, self.base_url, pool.verify);
        if let Some(backends) = &backends
            && backends.is_empty()
            && discover.is_none()
        {
            at.problem_here("has no backends; add discover, backends or base_url");
        }
        settings::Provider {
            name: default.name.clone(),
            kind,
            discover,
            backends: backends.unwrap_or_default(),
            interval: probes.interval,
            probe_timeout: probes.timeout,
            misses: probes.misses,
            max_concurrent: at
                .stated("max_concurrent", self.max_concurrent)
                .map(Whole::size)
                .filter(|limit| *limit > 0),
            max_concurrent_per_backend: at
                .stated_or(
                    "max_concurrent_per_backend",
                    self.max_concurrent_per_backend,
                    "MAX_CONCURRENT_PER_BACKEND",
                )
                .map_or(default.max_concurrent_per_backend, |limit| limit.0),
            selector: at
                .stated("selector", self.selector)
                .unwrap_or(default.selector),
            placement: at
                .stated("placement", self.placement)
                .unwrap_or(default.placement),
            weight: weight(&mut at, self.weight).unwrap_or(default.weight),
            cost: at.stated("cost", self.cost).unwrap_or(default.cost),
            vram: at.stated("vram", self.vram).map(|size| size.0),
            pool,
            api_key: used_key(&mut at, self.api_key, self.api_key_file),
            ..default
        }
    }
}

/// `None` if an entry is wrong, so that an empty list is not reported as well.
fn used_backends(
    at: &mut Section<'_, '_>,
    entries: Vec<Option<Backend>>,
    base_url: Field<BackendUrl>,
    verify: bool,
) -> Option<Vec<settings::StaticBackend>> {
    let mut used = Vec::new();
    if base_url.is_stated() {
        let url = at.stated("base_url", base_url);
        used.push(url.map(|url| backend::named(at, "base_url", url, verify)));
    }
    for (index, entry) in entries.into_iter().enumerate() {
        let mut list = at.section("backends");
        used.push(entry.and_then(|entry| entry.used(list.item(index), verify)));
    }
    used.into_iter().collect()
}

/// A weight that is not positive counts as 1: so files of other balancers mean it.
pub(super) fn weight(at: &mut Section<'_, '_>, field: Field<Weight>) -> Option<u32> {
    let Weight(weight) = at.stated("weight", field)?;
    if weight <= 0.0 {
        at.warning("weight", "is not positive and counts as 1");
        return Some(1);
    }
    Some(weight as u32)
}

fn used_key(at: &mut Section<'_, '_>, key: Field<Secret>, file: Field<PathBuf>) -> Option<Secret> {
    if key.is_stated() && file.is_stated() {
        at.problem(
            "api_key_file",
            "is stated together with api_key; keep one of them",
        );
    }
    let Some(path) = at.stated("api_key_file", file) else {
        return at.secret("api_key", key);
    };
    let text = read_secret(&path)
        .inspect_err(|error| {
            at.problem(
                "api_key_file",
                format!("cannot read {}: {error}", path.display()),
            )
        })
        .ok()?;
    Secret::read(&text.into())
        .inspect_err(|expected| {
            at.problem(
                "api_key_file",
                format!("{expected}; see {}", path.display()),
            )
        })
        .ok()
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
            probes,
            max_concurrent: used.max_concurrent.map(Whole::of).into(),
            max_concurrent_per_backend: Whole(used.max_concurrent_per_backend).into(),
            selector: used.selector.into(),
            placement: used.placement.into(),
            weight: Weight(used.weight.into()).into(),
            cost: used.cost.into(),
            vram: used.vram.map(Size).into(),
            pool: (&used.pool).into(),
            api_key: used.api_key.clone().into(),
            api_key_file: Field::Absent,
        }
    }
}
