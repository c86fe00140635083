//! One entry of `backends:`, an address alone or a mapping with what is different about it.

use serde::{Deserialize, Serialize};

use super::address::BackendUrl;
use super::field::Field;
use super::provider;
use super::reader::Section;
use super::scalar::{Count, Weight, Whole};
use super::size::Size;
use crate::settings::StaticBackend;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Backend {
    url: Field<BackendUrl>,
    weight: Field<Weight>,
    cost: Field<f64>,
    max_concurrent: Field<Count<1>>,
    vram: Field<Size>,
}

impl Backend {
    /// `verify` is whether certificates are checked.
    pub(super) fn used(self, mut at: Section<'_, '_>, verify: bool) -> Option<StaticBackend> {
        if !self.url.is_stated() {
            at.problem_here("has no url; add one such as http://gpu1:11434");
        }
        let url = at.stated("url", self.url);
        let weight = provider::weight(&mut at, self.weight);
        let cost = at.stated("cost", self.cost);
        let max_concurrent = at.stated("max_concurrent", self.max_concurrent);
        let vram = at.stated("vram", self.vram);
        let backend = StaticBackend {
            weight,
            cost,
            max_concurrent: max_concurrent.map(|count| count.0),
            vram: vram.map(|size| size.0),
            ..named(&mut at, "url", url?, verify)
        };
        Some(backend)
    }
}

/// A backend of which only the address is known.
pub(super) fn named(
    at: &mut Section<'_, '_>,
    key: &str,
    url: BackendUrl,
    verify: bool,
) -> StaticBackend {
    if verify && url.is_tls_to_address() {
        at.problem(
            key,
            "https to a bare IP address cannot be verified; use the host name of its certificate, or \
             say pool: { verify: false }",
        );
    }
    StaticBackend {
        tls: url.tls,
        host: url.host,
        port: url.port,
        path: "".into(),
        weight: None,
        cost: None,
        max_concurrent: None,
        vram: None,
    }
}

impl From<&StaticBackend> for Backend {
    fn from(used: &StaticBackend) -> Backend {
        let url = BackendUrl {
            tls: used.tls,
            host: used.host.clone(),
            port: used.port,
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
