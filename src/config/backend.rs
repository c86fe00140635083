//! Where a provider's backends are: the entries of `backends:`, each an address alone or a mapping with what is
//! different about it, and `base_url`.

use serde::{Deserialize, Serialize};

use super::address::BackendUrl;
use super::balance;
use super::field::Field;
use super::kind::base_path;
use super::reader::Section;
use super::scalar::{Count, Weight, Whole};
use super::service::Service;
use super::size::Size;
use crate::settings::{ProviderKind, StaticBackend};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Backend {
    url: Field<BackendUrl>,
    weight: Field<Weight>,
    cost: Field<f64>,
    max_concurrent: Field<Count<1>>,
    vram: Field<Size>,
}

/// What the provider says that its addresses are read by.
#[derive(Clone, Copy)]
pub(super) struct Addresses<'a> {
    pub(super) kind: ProviderKind,
    /// Whether certificates are checked.
    pub(super) verify: bool,
    /// Whose address serves where none is stated.
    pub(super) service: Option<&'a Service>,
    /// Whether servers are found, so that none need be listed.
    pub(super) scans: bool,
}

impl Addresses<'_> {
    pub(super) fn used(
        self,
        at: &mut Section<'_, '_>,
        entries: Vec<Option<Backend>>,
        base_url: Field<BackendUrl>,
    ) -> Vec<StaticBackend> {
        let mut used = Vec::new();
        let stated = base_url.is_stated() || !entries.is_empty();
        if let Some(url) = at.stated("base_url", base_url) {
            used.extend(self.backend(at, "base_url", url));
        }
        for (index, entry) in entries.into_iter().enumerate() {
            let mut list = at.section("backends");
            used.extend(entry.and_then(|entry| self.entry(list.item(index), entry)));
        }
        if !stated && !self.scans {
            used.extend(self.default(at));
        }
        used
    }

    fn entry(self, mut at: Section<'_, '_>, entry: Backend) -> Option<StaticBackend> {
        if !entry.url.is_stated() {
            at.problem_here("has no url; add one such as http://gpu1:11434");
        }
        let url = at.stated("url", entry.url);
        let weight = balance::weight(&mut at, entry.weight);
        let cost = at.stated("cost", entry.cost);
        let max_concurrent = at.stated("max_concurrent", entry.max_concurrent);
        if entry.vram.is_stated() && !self.kind.is_fleet() {
            at.warning(
                "vram",
                format!("means nothing to the kind {}", self.kind.name()),
            );
        }
        let vram = at.stated("vram", entry.vram);
        Some(StaticBackend {
            weight,
            cost,
            max_concurrent: max_concurrent.map(|count| count.0),
            vram: vram.map(|size| size.0),
            ..self.backend(&mut at, "url", url?)?
        })
    }

    /// Returns a backend of which only the address is known.
    fn backend(
        self,
        at: &mut Section<'_, '_>,
        key: &str,
        url: BackendUrl,
    ) -> Option<StaticBackend> {
        if self.verify && url.is_tls_to_address() {
            at.problem(
                key,
                "https to a bare IP address cannot be verified; use the host name of its certificate, \
                 or say pool: { verify: false }",
            );
        }
        if !url.has_scheme && !self.kind.is_fleet() {
            at.problem(key, "has no scheme; begin it with https:// or http://");
            return None;
        }
        let path = base_path(self.kind, &url)
            .inspect_err(|what| at.problem(key, what))
            .ok()?;
        Some(BackendUrl { path, ..url }.into())
    }

    fn default(self, at: &mut Section<'_, '_>) -> Option<StaticBackend> {
        let known = self.service.map_or("", |service| service.base_url);
        match (self.kind, known) {
            // That of its region, once that is known.
            (ProviderKind::Bedrock, _) => None,
            (ProviderKind::Ollama, "") => {
                at.problem_here("has no backends; add discover, backends or base_url");
                None
            }
            (_, "") => {
                at.problem_here("has no address; add base_url");
                None
            }
            (_, known) => {
                let url = BackendUrl::parse(known).expect("the table's addresses are good");
                self.backend(at, "base_url", url)
            }
        }
    }
}

impl Backend {
    pub(super) fn url(&self) -> Option<&BackendUrl> {
        self.url.stated()
    }
}

impl From<BackendUrl> for StaticBackend {
    fn from(url: BackendUrl) -> StaticBackend {
        StaticBackend {
            tls: url.tls,
            host: url.host,
            port: url.port,
            path: url.path.into(),
            weight: None,
            cost: None,
            max_concurrent: None,
            vram: None,
        }
    }
}

impl From<&StaticBackend> for Backend {
    fn from(used: &StaticBackend) -> Backend {
        let url = BackendUrl {
            tls: used.tls,
            host: used.host.clone(),
            port: used.port,
            path: used.path.to_string(),
            has_scheme: true,
        };
        Backend {
            url: url.into(),
            weight: used.weight.map(|weight| Weight(weight.into())).into(),
            cost: used.cost.into(),
            max_concurrent: used.max_concurrent.map(Whole).into(),
            vram: used.vram.map(Size).into(),
        }
    }
}
