//! One key's budget: what it has spent here and elsewhere, and what is set aside for its requests in flight, so that many
//! at once spend no more than one after the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// The cost of its prompt.
    pub surely: u64,
    /// The cost with the longest answer that is to be expected.
    pub at_most: u64,
}

/// What a gateway has told others of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    /// Millionths of a US dollar.
    pub(super) spent: u64,
    /// The same, for requests in flight.
    pub(super) aside: u64,
    /// The same, for a request that may start only if no other is in flight anywhere; 0 if there is none.
    pub(super) claim: u64,
}

/// What is set aside at this gateway.
#[derive(Debug, Default)]
struct Aside {
    /// The sum in billionths of a dollar.
    sum: u64,
    claim: Claim,
    /// Requests that wait, and may have made the claim.
    waiting: usize,
}

/// Whether a request of this gateway may be the only one in flight at all gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Claim {
    #[default]
    None,
    /// The shared server is asked to set this aside, in billionths of a dollar, if nothing is set aside anywhere.
    Made(u64),
    /// It has done so.
    Granted(u64),
}

impl Claim {
    /// Returns the amount that the server has set aside for it, or is asked to.
    fn amount(self) -> u64 {
        match self {
            Claim::None => 0,
            Claim::Made(amount) | Claim::Granted(amount) => amount,
        }
    }
}

/// A request that waits for what others have set aside, until this is dropped.
struct Waiting<'a>(&'a Purse);

impl<'a> Waiting<'a> {
    fn at(purse: &'a Purse) -> Waiting<'a> {
        purse.aside().waiting += 1;
        Waiting(purse)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut aside = self.0.aside();
        aside.waiting -= 1;
        // Nobody is left who could use it.
        if aside.waiting == 0 {
            aside.claim = Claim::None;
        }
    }
}

/// The budget of one key, if it has one.
pub(super) struct Purse {
    key: KeyId,
    budget: Option<Budget>,
    aside: Mutex<Aside>,
    freed: Notify,
    /// What the budget's period has cost at all gateways.
    together: Together,
    /// Set aside at the others, in millionths.
    aside_elsewhere: AtomicU64,
    /// What the others were told last.
    told: Mutex<Statement>,
    gateways: AtomicU64,
    /// Whether the shared server is there, which alone knows whether a request is the only one at all gateways.
    shared: AtomicBool,
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
            shared: AtomicBool::new(false),
            clock,
            spending,
        }
    }

    pub(super) fn has_budget(&self) -> bool {
        self.budget.is_some()
    }

    /// Checks that the budget is not used up.
    ///
    /// # Errors
    /// [`Refusal::Budget`].
    pub(super) fn is_open(&self) -> Result<(), Refusal> {
        let Some(Budget { micro_usd, per }) = self.budget else {
            return Ok(());
        };
        if self.spent_in(per) < micro_usd {
            Ok(())
        } else {
            Err(self.used_up(micro_usd, per))
        }
    }

    /// Sets `cost` aside for a request for which `held` is already, and gives what is set aside for it then. Requests in
    /// flight and this one fit into what is left, each with the longest answer that is to be expected; one that is alone at
    /// all gateways is let through if its prompt fits, give or take a cent, so that what is left is of use.
    ///
    /// # Errors
    /// Why it is refused; what was held stays so.
    pub(super) async fn set_aside(&self, held: u64, cost: Cost) -> Result<u64, Refusal> {
        let until = tokio::time::Instant::now() + MOMENT;
        let _waiting = Waiting::at(self);
        loop {
            let freed = self.freed.notified();
            let refusal = match self.take(held, cost, true) {
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

    /// Does what [`Self::set_aside`] does, without a wait.
    pub(super) fn try_set_aside(&self, held: u64, cost: Cost) -> Result<u64, Refusal> {
        self.take(held, cost, false)
    }

    /// Sets aside as [`Self::try_set_aside`] does. Where the shared server has to say whether the request is alone, it
    /// is asked if the request `waits`.
    fn take(&self, held: u64, cost: Cost, waits: bool) -> Result<u64, Refusal> {
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
        let flying_here = aside.sum.saturating_sub(held);
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
        let is_known =
            || !self.shared.load(Ordering::Relaxed) || matches!(aside.claim, Claim::Granted(_));
        if cost.at_most == 0 || wanted <= left || (alone && is_known()) {
            aside.sum = here;
            // The request is told of itself from now on. One that costs nothing leaves it to others.
            if here > 0 {
                aside.claim = Claim::None;
            }
            return Ok(cost.at_most);
        }
        if alone {
            if waits && aside.claim == Claim::None {
                aside.claim = Claim::Made(cost.at_most);
            }
            return Err(Refusal::SetAside { left: left / NANOS });
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

    /// Returns how much other gateways may take at the same time without knowing of what is set aside here.
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

    /// Raises what was set aside for a request whose answer is longer than was expected.
    pub(super) fn raise(&self, held: u64, to: u64) -> u64 {
        let mut aside = self.aside();
        aside.sum = aside.sum.saturating_sub(held).saturating_add(to);
        to
    }

    /// Frees what was set aside for a request that is over and was accounted.
    pub(super) fn free(&self, held: u64) {
        if held == 0 {
            return;
        }
        let mut aside = self.aside();
        aside.sum = aside.sum.saturating_sub(held);
        drop(aside);
        self.freed.notify_waiters();
    }

    /// Returns the millionths of a dollar that the period has cost, here and elsewhere.
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

    /// Returns the budget's period, if there is a budget, and how it stands here.
    pub(super) fn statement(&self) -> Option<(Period, Statement)> {
        let per = self.budget?.per;
        let (aside, claim) = {
            let aside = self.aside();
            match aside.claim {
                // It stays set aside until the request is told of itself.
                Claim::Granted(amount) => (aside.sum.max(amount), 0),
                claim => (aside.sum, claim.amount()),
            }
        };
        let statement = Statement {
            spent: self.spending.spent(self.key, per),
            aside: aside.div_ceil(NANOS),
            claim: claim.div_ceil(NANOS),
        };
        Some((per, statement))
    }

    /// Notes whether the server has set aside what was claimed; it has not if something is set aside elsewhere.
    pub(super) fn answer_claim(&self, granted: bool) {
        let mut aside = self.aside();
        // It may have been withdrawn meanwhile: the next statement gives it back.
        let Claim::Made(amount) = aside.claim else {
            return;
        };
        aside.claim = if granted {
            Claim::Granted(amount)
        } else {
            Claim::None
        };
        drop(aside);
        self.freed.notify_waiters();
    }

    /// Learns that the others know of `told`, and that the period that ends then has cost `micro_usd` at all gateways
    /// together.
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

    /// Notes whether the shared server is there.
    pub(super) fn share(&self, shared: bool) {
        self.shared.store(shared, Ordering::Relaxed);
        if !shared {
            self.aside().claim = Claim::None;
            self.freed.notify_waiters();
        }
    }

    /// Notes how many gateways count together.
    pub(super) fn among(&self, gateways: usize) {
        let gateways = u64::try_from(gateways).unwrap_or(u64::MAX).max(1);
        self.gateways.store(gateways, Ordering::Relaxed);
        if gateways == 1 {
            self.aside_elsewhere.store(0, Ordering::Relaxed);
        }
    }

    fn aside(&self) -> MutexGuard<'_, Aside> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
