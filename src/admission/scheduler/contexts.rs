//! Which context a model is loaded with, and whether there can be one that holds a request.

use super::Scheduler;
use super::backend::Backend;
use super::lines::Waiter;
use super::model::Model;
use super::need::LEAST;
use super::resident::{ANY, Plan};
use super::types::{BerthRule, Need, NoSlot, StoredModel};
use crate::ids::ModelId;

/// What the plan of a load depends on besides its model and who waits for it: servers are much alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    trained: u32,
    automatic: u32,
    /// On disk.
    bytes: u64,
    /// Of the GPUs, where that is stated.
    memory: Option<u64>,
    planned: &'a [u32],
    /// The smallest context that a client has stated and that could not be had.
    overstated: Option<u32>,
}

impl PartialEq for Terms<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.trained == other.trained
            && self.automatic == other.automatic
            && self.bytes == other.bytes
            && self.memory == other.memory
            && self.overstated == other.overstated
            && (std::ptr::eq(self.planned, other.planned) || self.planned == other.planned)
    }
}

impl Backend {
    /// The largest context that the model has here, as far as is known.
    fn trained(&self, model: ModelId) -> u32 {
        self.trained_as(model, self.on_disk.get(&model))
    }

    /// Does what [`Self::trained`] does, where it is known how the model is stored.
    fn trained_as(&self, model: ModelId, stored: Option<&StoredModel>) -> u32 {
        let told = stored.and_then(|stored| stored.trained);
        let seen = self.trained.get(&model).copied();
        told.into_iter().chain(seen).min().unwrap_or(ANY)
    }

    /// What the plan of a load depends on here.
    pub(super) fn terms(&self, model: ModelId) -> Terms<'_> {
        let stored = self.on_disk.get(&model);
        let trained = self.trained_as(model, stored);
        Terms {
            trained,
            automatic: self.automatic(model, trained),
            bytes: stored.map_or(0, |stored| stored.size),
            memory: self.spec.vram,
            planned: stored.map_or(&[], |stored| &stored.contexts),
            overstated: self.overstated.get(&model).copied(),
        }
    }

    /// The context that the model is expected to get here if none is asked for.
    fn automatic(&self, model: ModelId, trained: u32) -> u32 {
        let seen = self.automatic.get(&model).copied();
        seen.unwrap_or(LEAST).min(trained)
    }
}

impl Scheduler {
    /// With which context the model is to be loaded for a request: the smallest planned one that holds it, or one that holds
    /// nearly all requests of the model as they have been. `None`: none holds it.
    pub(super) fn plan(&self, backend: &Backend, model_id: ModelId, need: Need) -> Option<Plan> {
        self.plan_by(backend.terms(model_id), model_id, need)
    }

    /// The same, where it is known what the plan depends on.
    pub(super) fn plan_by(&self, terms: Terms<'_>, model_id: ModelId, need: Need) -> Option<Plan> {
        let Terms {
            trained,
            automatic,
            bytes,
            memory,
            planned,
            overstated,
        } = terms;
        let exactly = |context: u32| Plan {
            context: Some(context),
            tokens: context,
        };
        if !planned.is_empty() {
            let mut planned = planned.iter().map(|context| trained.min(*context));
            return planned.find(|context| *context >= need.tokens).map(exactly);
        }
        let model = self.models.get(&model_id);
        let most = trained.min(memory_holds(memory, bytes, model));
        if need.tokens > most {
            return None;
        }
        let usual = model.and_then(|model| model.needs.usual());
        let least = usual.unwrap_or(0).max(need.tokens);
        let could =
            |stated: &u32| usual.is_none() && overstated.is_none_or(|least| *stated < least);
        let stated = need.stated.filter(could);
        if least <= automatic && stated.is_none() {
            return Some(Plan {
                context: None,
                tokens: automatic,
            });
        }
        let rounded = least.checked_next_power_of_two().unwrap_or(ANY);
        let wished = rounded.max(stated.unwrap_or(0)).max(LEAST);
        Some(exactly(wished.min(most)))
    }

    /// With which context the model would be loaded if the client stated none, where that is not as it is planned.
    pub(super) fn unstated(
        &self,
        backend: &Backend,
        model: ModelId,
        need: Need,
        plan: Plan,
    ) -> Option<Plan> {
        need.stated?;
        let need = Need {
            stated: None,
            ..need
        };
        let unstated = self.plan(backend, model, need);
        unstated.filter(|unstated| *unstated != plan)
    }

    /// The largest request that the backend could serve, by the copy that it has or one that it could load.
    pub(super) fn largest(&self, backend: &Backend, model_id: ModelId) -> u32 {
        if !backend.placed() {
            return ANY;
        }
        let copies = backend.copies().filter(|(held, _)| *held == model_id);
        let sick = backend.sick(model_id).map(|sick| sick.tokens);
        let there = copies.map(|(_, tokens)| tokens).chain(sick).max();
        let there = there.unwrap_or(0);
        let Some(stored) = backend.on_disk.get(&model_id) else {
            return there;
        };
        if stored.berth == BerthRule::Never {
            return there;
        }
        let trained = backend.trained(model_id);
        let could = match stored.contexts.last() {
            Some(planned) => trained.min(*planned),
            None => {
                let model = self.models.get(&model_id);
                trained.min(memory_holds(backend.spec.vram, stored.size, model))
            }
        };
        could.max(there)
    }

    /// Why it makes no sense to wait for a copy, if the request fits none that there could be.
    pub(super) fn too_long(
        &self,
        model_id: ModelId,
        model: &Model,
        waiter: &Waiter,
    ) -> Option<NoSlot> {
        let tokens = waiter.tokens();
        if tokens == 0 || (waiter.goes_anywhere() && model.has_copy_for(tokens)) {
            return None;
        }
        let mut largest = 0;
        for backend in model.on_disk.iter().filter_map(|id| self.backends.get(id)) {
            if waiter.may_use(backend.spec.provider, backend.id) {
                largest = largest.max(self.largest(backend, model_id));
                if largest >= tokens {
                    return None;
                }
            }
        }
        // Where nothing can be loaded at all, the length is not what is in the way.
        (largest > 0).then_some(NoSlot::TooLong { largest })
    }
}

/// The largest context with which a model of so many bytes on disk fits whole into the memory that the operator has stated.
fn memory_holds(memory: Option<u64>, bytes: u64, model: Option<&Model>) -> u32 {
    let most = |vram| model?.footprint.most(bytes, vram);
    // A model that is larger than the memory runs on the CPU in part, whatever its context.
    let most = memory.and_then(most);
    most.map_or(ANY, |most| most.max(LEAST))
}
