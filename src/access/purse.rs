//! One key's budget: what it has spent here and elsewhere, and what is set aside for its requests in flight, so that many
//! at once spend no more than one after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::{Clock, Millis};
use super::refusal::Refusal;
use super::spending::{Spending, Together, begins_anew};
use crate::ids::KeyId;
use crate::settings::{Budget, Period};

/// Billionths of a dollar in a millionth.
const NANOS: u64 = 1_000;
/// A cent: to refuse what costs less is not worth it, where it is the last that a budget pays for.
const CENT: u64 = 10_000_000;
/// How long a request waits for what is set aside for others. A client that sends its next request when it has read the
/// last byte of an answer may be faster than the gateway, which still has that answer to account, and than the word of it
/// to other gateways.
const MOMENT: Duration = Duration::from_millis(250);
/// Exchanges after which a gateway knows for sure what others have set aside: each takes so small a part of what is left
/// until then that all of them together take no more than that.
const UNHEARD: u64 = 3;

/// What a request may cost, in billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of its prompt.
    pub surely: u64,
    /// With the longest answer that is to be expected.
    pub at_most: u64,
}

/// What a gateway has told others of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// Millionths of a US dollar.
    pub(super) spent: u64,
    /// The same, for requests in flight.
    pub(super) aside: u64,
}

/// The budget of one key, if it has one.
pub(super) struct Purse {
    key: KeyId,
    budget: Option<Budget>,
    /// Set aside here, in billionths of a dollar.
    aside: Mutex<u64>,
    freed: Notify,
    /// What the budget's period has cost at all gateways.
    together: Together,
    /// Set aside at the others, in millionths.
    aside_elsewhere: AtomicU64,
    /// What the others were told last.
    told: Mutex<Statement>,
    gateways: AtomicU64,
    clock: Arc<Clock>,
    spending: Arc<dyn Spending>,
}

impl Purse {
    pub(super) fn new(
        key: KeyId,
        budget: Option<Budget>,
        clock: Arc<Clock>,
        spending: Arc<dyn Spending>,
    ) -> Purse {
        Purse {
            key,
            budget,
            aside: Mutex::default(),
            freed: Notify::new(),
            together: Together::default(),
            aside_elsewhere: AtomicU64::new(0),
            told: Mutex::default(),
            gateways: AtomicU64::new(1),
            clock,
            spending,
        }
    }

    pub(super) fn has_budget(&self) -> bool {
        self.budget.is_some()
    }

    /// That the budget is not used up.
    ///
    /// # Errors
    /// [`Refusal::Budget`].
    pub(super) fn is_open(&self) -> Result<(), Refusal> {
        let Some(Budget { micro_usd, per }) = self.budget else {
            return Ok(());
        };
        match self.spent_in(per) < micro_usd {
            true => Ok(()),
            false => Err(self.used_up(micro_usd, per)),
        }
    }

    /// Sets `cost` aside for a request for which `held` is already, and gives what is set aside for it then. Requests in
    /// flight and this one fit into what is left, each with the longest answer that is to be expected; one alone is let
    /// through if its prompt fits, give or take a cent, so that what is left is of use.
    ///
    /// # Errors
    /// Why it is refused; what was held stays so.
    pub(super) async fn set_aside(&self, held: u64, cost: Cost) -> Result<u64, Refusal> {
        let until = tokio::time::Instant::now() + MOMENT;
        loop {
            let freed = self.freed.notified();
            let refusal = match self.try_set_aside(held, cost) {
                Ok(held) => return Ok(held),
                Err(refusal) => refusal,
            };
            if !matches!(refusal, Refusal::SetAside { .. })
                || tokio::time::timeout_at(until, freed).await.is_err()
            {
                return Err(refusal);
            }
        }
    }

    /// As [`Self::set_aside`], without a wait.
    pub(super) fn try_set_aside(&self, held: u64, cost: Cost) -> Result<u64, Refusal> {
        let Some(Budget { micro_usd, per }) = self.budget else {
            return Ok(0);
        };
        // What is freed has been accounted before, so this order misses nothing.
        let mut aside = self.aside();
        let spent = self.spent_in(per);
        if spent >= micro_usd {
            return Err(self.used_up(micro_usd, per));
        }
        let left = (micro_usd - spent).saturating_mul(NANOS);
        let flying_here = aside.saturating_sub(held);
        let elsewhere = self
            .aside_elsewhere
            .load(Ordering::Relaxed)
            .saturating_mul(NANOS);
        let flying = flying_here.saturating_add(elsewhere);
        let here = flying_here.saturating_add(cost.at_most);
        let wanted = flying
            .saturating_add(cost.at_most)
            .saturating_add(self.weight(per, here));
        let alone = flying == 0 && cost.surely <= left.saturating_add(CENT);
        if cost.at_most == 0 || wanted <= left || alone {
            *aside = here;
            return Ok(cost.at_most);
        }
        let left = left / NANOS;
        Err(match flying {
            0 => Refusal::TooDear {
                left,
                wanted: cost.surely.div_ceil(NANOS),
            },
            _ => Refusal::SetAside { left },
        })
    }

    /// What other gateways may take at the same time without knowing of what is set aside here, as this one does.
    fn weight(&self, per: Period, here: u64) -> u64 {
        let gateways = self.gateways.load(Ordering::Relaxed);
        if gateways <= 1 {
            return 0;
        }
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.spent.saturating_add(told.aside).saturating_mul(NANOS);
        let own = self.spending.spent(self.key, per).saturating_mul(NANOS);
        let untold = own.saturating_add(here).saturating_sub(told);
        untold.saturating_mul(UNHEARD.saturating_mul(gateways) - 1)
    }

    /// What was set aside for a request is more now, as its answer is longer than was expected.
    pub(super) fn raise(&self, held: u64, to: u64) -> u64 {
        let mut aside = self.aside();
        *aside = aside.saturating_sub(held).saturating_add(to);
        to
    }

    /// A request is over, and was accounted.
    pub(super) fn free(&self, held: u64) {
        if held == 0 {
            return;
        }
        let mut aside = self.aside();
        *aside = aside.saturating_sub(held);
        drop(aside);
        self.freed.notify_waiters();
    }

    /// Millionths of a dollar that the period has cost, here and elsewhere.
    fn spent_in(&self, per: Period) -> u64 {
        let together = self.together.at(self.clock.now());
        let here = self.spending.spent(self.key, per);
        let told = self
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spent;
        // What has been spent here since the others were told is not in their sum.
        let since = match together {
            0 => 0,
            _ => here.saturating_sub(told),
        };
        here.max(together.saturating_add(since))
    }

    fn used_up(&self, micro_usd: u64, per: Period) -> Refusal {
        let now = self.clock.now();
        let anew = begins_anew(per, now);
        let anew = anew.map(|at| (at, Duration::from_millis(at.saturating_sub(now))));
        Refusal::Budget { micro_usd, anew }
    }

    /// The budget's period, if there is a budget, and how it stands here.
    pub(super) fn statement(&self) -> Option<(Period, Statement)> {
        let per = self.budget?.per;
        let aside = self.aside().div_ceil(NANOS);
        let spent = self.spending.spent(self.key, per);
        Some((per, Statement { spent, aside }))
    }

    /// The others know of `told`, and the period that ends then has cost `micro_usd` at all gateways together.
    pub(super) fn learn(
        &self,
        ends: Millis,
        micro_usd: u64,
        aside_elsewhere: u64,
        told: Statement,
    ) {
        self.together.learn(ends, micro_usd);
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        let before = self
            .aside_elsewhere
            .swap(aside_elsewhere, Ordering::Relaxed);
        if aside_elsewhere < before || self.gateways.load(Ordering::Relaxed) > 1 {
            self.freed.notify_waiters();
        }
    }

    /// So many gateways count together.
    pub(super) fn among(&self, gateways: usize) {
        let gateways = u64::try_from(gateways).unwrap_or(u64::MAX).max(1);
        self.gateways.store(gateways, Ordering::Relaxed);
        if gateways == 1 {
            self.aside_elsewhere.store(0, Ordering::Relaxed);
        }
    }

    fn aside(&self) -> MutexGuard<'_, u64> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
