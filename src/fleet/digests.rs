//! One name, other weights: which digests the servers of a provider have under one name, and which of them counts.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::ids::{BackendId, ModelId};
use crate::settings::DigestRule;

use super::Inventory;

/// What a server has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDigest {
    pub model: ModelId,
    /// Hex, without `sha256:`.
    pub digest: String,
    pub modified_at: Option<SystemTime>,
}

/// The servers that have one digest under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestHolders {
    pub digest: String,
    pub servers: Vec<BackendId>,
    /// The latest time at which one of them has got it.
    pub modified_at: Option<SystemTime>,
}

/// Returns what a server has under each name, as far as it tells digests.
pub fn listed_digests(inventory: &Inventory) -> Vec<ListedDigest> {
    let models = inventory.models.iter();
    let told = models.filter(|(_, entry)| !entry.digest.is_empty());
    told.map(|(model, entry)| ListedDigest {
        model: *model,
        digest: entry.digest.clone(),
        modified_at: entry.modified_at,
    })
    .collect()
}

/// Returns who has which digest under each name, in the order of the servers.
pub fn digest_holders<'a>(
    servers: impl Iterator<Item = (BackendId, &'a [ListedDigest])>,
) -> BTreeMap<ModelId, Vec<DigestHolders>> {
    let mut all: BTreeMap<ModelId, Vec<DigestHolders>> = BTreeMap::new();
    for (id, listed) in servers {
        for one in listed {
            let holders = all.entry(one.model).or_default();
            match holders.iter_mut().find(|known| known.digest == one.digest) {
                Some(known) => {
                    known.servers.push(id);
                    known.modified_at = known.modified_at.max(one.modified_at);
                }
                None => holders.push(DigestHolders {
                    digest: one.digest.clone(),
                    servers: vec![id],
                    modified_at: one.modified_at,
                }),
            }
        }
    }
    all
}

/// Returns the digest that requests are sent to; `None` where any will do.
pub fn chosen_digest(rule: DigestRule, holders: &[DigestHolders]) -> Option<&DigestHolders> {
    let newest = |one: &&DigestHolders| (one.modified_at, one.servers.len(), one.digest.clone());
    let most = |one: &&DigestHolders| (one.servers.len(), one.modified_at, one.digest.clone());
    match rule {
        DigestRule::Any => None,
        DigestRule::Same => holders.iter().max_by_key(most),
        DigestRule::Newest => holders.iter().max_by_key(newest),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn holders(all: &[(&str, u32, u64)]) -> Vec<DigestHolders> {
        let one = |(digest, servers, at): &(&str, u32, u64)| DigestHolders {
            digest: (*digest).to_owned(),
            servers: (0..*servers).map(BackendId).collect(),
            modified_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(*at)),
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn most_servers_decide_or_the_latest_change() {
        for (all, same, newest) in [
            (&[("a", 1, 5)][..], "a", "a"),
            (&[("a", 2, 5), ("b", 1, 9)], "a", "b"),
            (&[("a", 1, 9), ("b", 2, 5)], "b", "a"),
            (&[("a", 1, 5), ("b", 1, 9)], "b", "b"),
            (&[("a", 1, 9), ("b", 1, 9)], "b", "b"),
            (&[("b", 2, 9), ("a", 1, 9)], "b", "b"),
        ] {
            let all = holders(all);
            let digest = |rule| chosen_digest(rule, &all).map(|one| &*one.digest);
            assert_eq!(digest(DigestRule::Same), Some(same), "{all:?}");
            assert_eq!(digest(DigestRule::Newest), Some(newest), "{all:?}");
            assert_eq!(digest(DigestRule::Any), None);
        }
    }

    #[test]
    fn holders_are_gathered_by_name_and_digest() {
        let listed = |model, digest: &str| ListedDigest {
            model: ModelId(model),
            digest: digest.to_owned(),
            modified_at: None,
        };
        let servers = [
            vec![listed(0, "a"), listed(1, "c")],
            vec![listed(0, "b")],
            vec![listed(0, "a")],
        ];
        let servers = (0..).map(BackendId).zip(servers.iter().map(Vec::as_slice));
        let all = digest_holders(servers);
        let of = |model| -> Vec<(&str, &[BackendId])> {
            let holders = all[&ModelId(model)].iter();
            holders
                .map(|one| (&*one.digest, &one.servers[..]))
                .collect()
        };
        assert_eq!(
            of(0),
            [
                ("a", &[BackendId(0), BackendId(2)][..]),
                ("b", &[BackendId(1)])
            ]
        );
        assert_eq!(of(1), [("c", &[BackendId(0)][..])]);
    }
}
