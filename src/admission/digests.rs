//! Which models of which servers requests are kept from, as their provider wants one digest only: decided as probes come in, so
//! that no request pays for it.

use ahash::{AHashMap, AHashSet};

use crate::fleet::{ListedDigest, chosen_digest, digest_holders};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::settings::DigestRule;

/// What the servers of providers with such a rule have listed.
#[derive(Debug, Default)]
pub(super) struct Digests {
    servers: AHashMap<BackendId, Lister>,
}

#[derive(Debug)]
struct Lister {
    provider: ProviderId,
    rule: DigestRule,
    listed: Vec<ListedDigest>,
    /// Models that it has with another digest than the chosen one.
    out: AHashSet<ModelId>,
}

impl Digests {
    /// A server has listed its models. Returns whom to tell: this server, and the others for which something else holds from now
    /// on; first those that serve more than before, so that no model is left without a server in between.
    pub(super) fn list(
        &mut self,
        id: BackendId,
        provider: ProviderId,
        rule: DigestRule,
        listed: Vec<ListedDigest>,
    ) -> Vec<BackendId> {
        let known = self.servers.get_mut(&id);
        if known.is_some_and(|known| known.listed == listed) {
            return vec![id];
        }
        let lister = Lister {
            provider,
            rule,
            listed,
            out: AHashSet::new(),
        };
        self.servers.insert(id, lister);
        let (more, fewer) = self.decide(provider);
        let own = Some(id).filter(|id| !fewer.contains(id));
        more.into_iter().chain(own).chain(fewer).collect()
    }

    /// A server has left. Returns what [`Self::list`] does, of the others.
    pub(super) fn leave(&mut self, id: BackendId) -> Vec<BackendId> {
        let Some(lister) = self.servers.remove(&id) else {
            return Vec::new();
        };
        let (more, fewer) = self.decide(lister.provider);
        more.into_iter().chain(fewer).collect()
    }

    /// Returns whether requests for the model are kept from that server.
    pub(super) fn keeps_out(&self, id: BackendId, model: ModelId) -> bool {
        let lister = self.servers.get(&id);
        lister.is_some_and(|lister| lister.out.contains(&model))
    }

    /// Decides which digests count. Returns the servers that serve more from now on, and those that serve fewer.
    fn decide(&mut self, provider: ProviderId) -> (Vec<BackendId>, Vec<BackendId>) {
        let mut mine: Vec<_> = self
            .servers
            .iter()
            .filter(|(_, lister)| lister.provider == provider)
            .map(|(id, lister)| (*id, &lister.listed[..]))
            .collect();
        mine.sort_unstable_by_key(|(id, _)| *id);
        let all = digest_holders(mine.into_iter());
        let (mut more, mut fewer) = (Vec::new(), Vec::new());
        let mine = self.servers.iter_mut();
        for (id, lister) in mine.filter(|(_, lister)| lister.provider == provider) {
            let is_other = |one: &&ListedDigest| {
                let chosen = all.get(&one.model);
                let chosen = chosen.and_then(|holders| chosen_digest(lister.rule, holders));
                chosen.is_some_and(|chosen| chosen.digest != one.digest)
            };
            let out = lister.listed.iter().filter(is_other);
            let out: AHashSet<ModelId> = out.map(|one| one.model).collect();
            if out == lister.out {
                continue;
            }
            if lister.out.is_subset(&out) {
                fewer.push(*id);
            } else {
                more.push(*id);
            }
            lister.out = out;
        }
        more.sort_unstable();
        fewer.sort_unstable();
        (more, fewer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const M: ModelId = ModelId(0);

    /// Says that a server has this digest since that second.
    fn list(
        digests: &mut Digests,
        id: u32,
        rule: DigestRule,
        (digest, at): (&str, u64),
    ) -> Vec<u32> {
        let listed = ListedDigest {
            model: M,
            digest: digest.to_owned(),
            modified_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
        };
        let changed = digests.list(BackendId(id), ProviderId::at(0), rule, vec![listed]);
        changed.into_iter().map(|id| id.0).collect()
    }

    fn out(digests: &Digests) -> Vec<u32> {
        let ids = (0..5).filter(|id| digests.keeps_out(BackendId(*id), M));
        ids.collect()
    }

    #[test]
    fn the_digest_of_most_servers_counts_until_more_have_another() {
        let mut digests = Digests::default();
        let same = DigestRule::Same;
        assert_eq!(list(&mut digests, 0, same, ("a", 1)), [0]);
        assert_eq!(list(&mut digests, 1, same, ("a", 1)), [1]);
        assert_eq!(list(&mut digests, 2, same, ("b", 9)), [2]);
        assert_eq!(out(&digests), [2]);
        // As many have the newer one: whoever serves more is told first.
        assert_eq!(list(&mut digests, 3, same, ("b", 8)), [2, 3, 0, 1]);
        assert_eq!(out(&digests), [0, 1]);
        assert_eq!(list(&mut digests, 3, same, ("b", 8)), [3]);
        let changed = digests.leave(BackendId(3));
        assert_eq!(changed, [0, 1, 2].map(BackendId));
        assert_eq!(out(&digests), [2]);
    }

    #[test]
    fn the_newest_digest_counts_however_few_have_it() {
        let mut digests = Digests::default();
        let newest = DigestRule::Newest;
        for id in 0..3 {
            list(&mut digests, id, newest, ("a", 1));
        }
        assert_eq!(list(&mut digests, 3, newest, ("b", 2)), [3, 0, 1, 2]);
        assert_eq!(out(&digests), [0, 1, 2]);
        // A server that gets the newer one serves again, which it is told itself.
        assert_eq!(list(&mut digests, 0, newest, ("b", 3)), [0]);
        assert_eq!(out(&digests), [1, 2]);
    }

    #[test]
    fn providers_do_not_count_for_each_other() {
        let mut digests = Digests::default();
        for id in 0..2 {
            list(&mut digests, id, DigestRule::Same, ("a", 1));
        }
        let listed = ListedDigest {
            model: M,
            digest: "b".to_owned(),
            modified_at: None,
        };
        let other = ProviderId::at(1);
        let changed = digests.list(BackendId(3), other, DigestRule::Same, vec![listed]);
        assert_eq!((changed, out(&digests)), (vec![BackendId(3)], vec![]));
    }
}
