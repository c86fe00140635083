//! Models of which the servers of one provider have different digests under one name.

use std::cmp::Reverse;

use serde::Serialize;

use super::page::unix;
use crate::access::Visibility;
use crate::fleet::{
    Backend, DigestHolders, ListedDigest, Provider, chosen_digest, digest_holders, listed_digests,
};
use crate::ids::{BackendId, ModelId};

/// Models that are told of one provider.
const MODELS: usize = 100;

/// One of those models.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MixedModel {
    pub(super) name: String,
    digests: Vec<DigestRow>,
}

#[derive(Clone, Debug, Serialize)]
struct DigestRow {
    digest: String,
    servers: Vec<String>,
    /// The latest time at which one of them has got it, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<f64>,
    /// Whether requests are sent to these servers.
    used: bool,
}

impl MixedModel {
    pub(super) fn count(&self) -> usize {
        self.digests.len()
    }
}

/// Returns those models of a provider that `view` shows, by name, and no more than a hundred of them; of each, the digest of most
/// servers first.
pub(super) fn mixed(
    provider: &Provider,
    backends: &[&Backend],
    view: Visibility<'_>,
) -> Vec<MixedModel> {
    if !provider.settings.kind.is_fleet() {
        return Vec::new();
    }
    let listed: Vec<(BackendId, Vec<ListedDigest>)> = backends
        .iter()
        .map(|backend| (backend.id, listed_digests(&backend.inventory())))
        .collect();
    let all = digest_holders(listed.iter().map(|(id, listed)| (*id, &listed[..])));
    let mixed = all.into_iter().filter(|(_, holders)| holders.len() > 1);
    let name = |model: ModelId| {
        let mut all = backends.iter();
        all.find_map(|backend| Some(backend.inventory().model(model)?.name.clone()))
    };
    let mut rows: Vec<MixedModel> = mixed
        .filter_map(|(model, holders)| {
            let name = name(model)?;
            let shown = view.shows(&provider.name, &[&name]);
            shown.then(|| MixedModel {
                name,
                digests: digests(provider, backends, &holders),
            })
        })
        .collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows.truncate(MODELS);
    rows
}

fn digests(
    provider: &Provider,
    backends: &[&Backend],
    holders: &[DigestHolders],
) -> Vec<DigestRow> {
    let chosen = chosen_digest(provider.settings.copies.digest, holders);
    let server = |id: &BackendId| {
        let found = backends.iter().find(|backend| backend.id == *id);
        found.map(|backend| backend.name.to_string())
    };
    let mut holders: Vec<_> = holders.iter().collect();
    holders.sort_by_key(|one| (Reverse(one.servers.len()), Reverse(one.modified_at)));
    let rows = holders.into_iter().map(|one| DigestRow {
        digest: one.digest.clone(),
        servers: one.servers.iter().filter_map(server).collect(),
        modified_at: one.modified_at.map(unix),
        used: chosen.is_none_or(|chosen| chosen.digest == one.digest),
    });
    rows.collect()
}
