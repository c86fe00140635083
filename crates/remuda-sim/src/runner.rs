//! A server's VRAM: which models are loaded, who waits for a load, and what is evicted for it.
//!
//! As Ollama's scheduler: a request for a loaded model joins it at once and waits for a slot without bound; one that
//! needs a load stands in a bounded line, and loads happen one at a time in that line's order. Unlike Ollama, a model
//! that has been chosen for eviction takes no new requests, so that a load always gets its turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::catalogue::Model;
use super::duration::KeepAlive;
use super::options::Machine;

/// The loaded models of one server.
pub(super) struct Runners {
    machine: Machine,
    state: Mutex<State>,
    /// Held by the one request that loads.
    line: tokio::sync::Mutex<()>,
    /// Requests in the line, the one that loads included.
    pending: AtomicUsize,
    /// Told when a model has become idle or has gone.
    freed: Notify,
}

#[derive(Default)]
struct State {
    runners: Vec<Runner>,
    next_id: u64,
    tally: Tally,
}

/// What has happened to this server's models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) loads: u64,
    /// Models that went to make room or for another context length.
    pub(super) evictions: u64,
    /// Models that went because their time was over or on request.
    pub(super) unloads: u64,
    /// Loads given up because the client left.
    pub(super) abandoned_loads: u64,
}

struct Runner {
    id: u64,
    model: Arc<Model>,
    context_length: u32,
    size: u64,
    size_vram: u64,
    keep_alive: KeepAlive,
    /// Requests that hold it, waiting or running.
    active: usize,
    loading: bool,
    /// Goes as soon as it is idle, and takes no more requests.
    condemned: bool,
    last_used: Instant,
    slots: Arc<Semaphore>,
}

/// What a request wants loaded.
#[derive(Clone)]
pub(super) struct Want {
    pub(super) model: Arc<Model>,
    /// Absent: as it was before, else the machine's.
    pub(super) keep_alive: Option<KeepAlive>,
    /// Absent: the machine's.
    pub(super) context_length: Option<u32>,
}

/// The line for loads is full.
#[derive(Debug, thiserror::Error)]
#[error("server busy, please try again.  maximum pending requests exceeded")]
pub(super) struct Busy;

/// A loaded model as `/api/ps` shows it.
pub(super) struct Loaded {
    pub(super) model: Arc<Model>,
    pub(super) size: u64,
    pub(super) size_vram: u64,
    pub(super) context_length: u32,
    /// From now; `None` is forever.
    pub(super) expires_in: Option<Duration>,
}

impl Runners {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            state: Mutex::default(),
            line: tokio::sync::Mutex::default(),
            pending: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Joins the model where it is loaded, else waits for a turn and loads it, which takes `extra` longer.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        want: &Want,
        extra: impl FnOnce() -> Duration,
    ) -> Result<Lease, Busy> {
        if let Some(lease) = self.join(want) {
            return Ok(lease);
        }
        let _place = self.enter_line()?;
        let _turn = self.line.lock().await;
        let lease = loop {
            if let Some(lease) = self.join(want) {
                return Ok(lease);
            }
            match self.begin_load(want) {
                Some(lease) => break lease,
                None => self.freed.notified().await,
            }
        };
        tokio::time::sleep(self.machine.load_time(want.model.size) + extra()).await;
        self.finish_load(lease.id);
        Ok(lease)
    }

    /// Loads at once, where there is room: for models that are loaded at the start.
    pub(super) fn preload(self: &Arc<Self>, want: &Want) -> bool {
        let lease = self.begin_load(want);
        if let Some(lease) = &lease {
            self.finish_load(lease.id);
        }
        lease.is_some()
    }

    /// Lets the model go as soon as it is idle.
    pub(super) fn unload(&self, model: &Model) {
        let mut state = self.state();
        for runner in &mut state.runners {
            if runner.model.name == model.name {
                runner.keep_alive = KeepAlive::For(Duration::ZERO);
            }
        }
        state.expire();
        drop(state);
        self.freed.notify_one();
    }

    /// Forgets everything, as a process that has died.
    pub(super) fn clear(&self) {
        self.state().runners.clear();
        self.freed.notify_one();
    }

    /// Loaded models, latest expiry first.
    pub(super) fn loaded(&self) -> Vec<Loaded> {
        let mut loaded: Vec<Loaded> = self.state().runners.iter().map(Runner::show).collect();
        loaded.sort_by_key(|loaded| std::cmp::Reverse(loaded.expires_in.unwrap_or(Duration::MAX)));
        loaded
    }

    pub(super) fn tally(&self) -> Tally {
        self.state().tally
    }

    pub(super) fn reset_tally(&self) {
        self.state().tally = Tally::default();
    }

    fn enter_line(self: &Arc<Self>) -> Result<Place, Busy> {
        // The one that loads has left Ollama's queue, so the line holds one more than that.
        let before = self.pending.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        if before > self.machine.max_queue {
            return Err(Busy);
        }
        Ok(place)
    }

    fn context_length(&self, want: &Want) -> u32 {
        want.context_length
            .filter(|length| *length > 0)
            .unwrap_or(self.machine.context_length)
            .min(want.model.context_length)
    }

    fn join(self: &Arc<Self>, want: &Want) -> Option<Lease> {
        let context_length = self.context_length(want);
        let mut state = self.state();
        let runner = state.runners.iter_mut().find(|runner| {
            runner.model.name == want.model.name
                && runner.context_length == context_length
                && !runner.loading
                && !runner.condemned
        })?;
        runner.active += 1;
        if let Some(keep_alive) = want.keep_alive {
            runner.keep_alive = keep_alive;
        }
        Some(self.lease(runner))
    }

    /// Makes room and starts to load; `None` while what is in the way is busy.
    fn begin_load(self: &Arc<Self>, want: &Want) -> Option<Lease> {
        let context_length = self.context_length(want);
        let cache =
            want.model.cache_per_token * u64::from(context_length) * self.machine.parallel as u64;
        let size = want.model.size + cache;
        let size_vram = size.min(self.machine.vram);
        let mut state = self.state();
        let before = state.keep_alive_of(&want.model);
        if !state.make_room(&want.model, self.machine.vram - size_vram) {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let runner = Runner {
            id,
            model: want.model.clone(),
            context_length,
            size,
            size_vram,
            keep_alive: want
                .keep_alive
                .or(before)
                .unwrap_or(self.machine.keep_alive),
            active: 1,
            loading: true,
            condemned: false,
            last_used: Instant::now(),
            slots: Arc::new(Semaphore::new(self.machine.parallel)),
        };
        let lease = self.lease(&runner);
        state.runners.push(runner);
        Some(lease)
    }

    fn finish_load(&self, id: u64) {
        let mut state = self.state();
        if let Some(runner) = state.runners.iter_mut().find(|runner| runner.id == id) {
            runner.loading = false;
            state.tally.loads += 1;
        }
    }

    fn release(&self, id: u64) {
        let mut state = self.state();
        let Some(at) = state.runners.iter().position(|runner| runner.id == id) else {
            return;
        };
        let runner = &mut state.runners[at];
        runner.active -= 1;
        runner.last_used = Instant::now();
        let (loading, condemned) = (runner.loading, runner.condemned && runner.active == 0);
        if loading {
            state.tally.abandoned_loads += 1;
        } else if condemned {
            state.tally.evictions += 1;
        }
        if loading || condemned {
            state.runners.remove(at);
        }
        drop(state);
        self.freed.notify_one();
    }

    fn lease(self: &Arc<Self>, runner: &Runner) -> Lease {
        Lease {
            runners: self.clone(),
            id: runner.id,
            slots: runner.slots.clone(),
            in_vram: runner.size_vram as f64 / runner.size.max(1) as f64,
        }
    }

    /// The state, without the models whose time is over: nobody can tell that they went late.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire();
        state
    }
}

impl State {
    fn expire(&mut self) {
        let now = Instant::now();
        let before = self.runners.len();
        self.runners.retain(|runner| !runner.is_over(now));
        self.tally.unloads += (before - self.runners.len()) as u64;
    }

    fn keep_alive_of(&self, model: &Model) -> Option<KeepAlive> {
        self.runners
            .iter()
            .find(|runner| runner.model.name == model.name)
            .map(|runner| runner.keep_alive)
    }

    /// Brings what is loaded down to `limit` bytes, without `model` itself; false while some of it is busy.
    ///
    /// Idle models go first, the one that was used least recently before the others; then busy ones are condemned.
    fn make_room(&mut self, model: &Model, limit: u64) -> bool {
        loop {
            let stale = |runner: &Runner| runner.model.name == model.name;
            let used: u64 = self.runners.iter().map(|runner| runner.size_vram).sum();
            if used <= limit && !self.runners.iter().any(stale) {
                return true;
            }
            let next = self
                .runners
                .iter()
                .enumerate()
                .filter(|(_, runner)| runner.active == 0)
                .min_by_key(|(_, runner)| (!stale(runner), runner.last_used))
                .map(|(at, _)| at);
            match next {
                Some(at) => {
                    self.runners.remove(at);
                    self.tally.evictions += 1;
                }
                None => {
                    self.condemn(model, used.saturating_sub(limit));
                    return false;
                }
            }
        }
    }

    fn condemn(&mut self, model: &Model, mut bytes: u64) {
        self.runners.sort_by_key(|runner| runner.last_used);
        for runner in &mut self.runners {
            if bytes > 0 || runner.model.name == model.name {
                runner.condemned = true;
                bytes = bytes.saturating_sub(runner.size_vram);
            }
        }
    }
}

impl Runner {
    fn is_over(&self, now: Instant) -> bool {
        self.active == 0
            && matches!(self.keep_alive, KeepAlive::For(time) if now >= self.last_used + time)
    }

    fn show(&self) -> Loaded {
        // Busy: its time starts anew when it becomes idle, so this is an estimate, as Ollama's.
        let idle = match self.active {
            0 => self.last_used.elapsed(),
            _ => Duration::ZERO,
        };
        Loaded {
            model: self.model.clone(),
            size: self.size,
            size_vram: self.size_vram,
            context_length: self.context_length,
            expires_in: match self.keep_alive {
                KeepAlive::For(time) => Some(time.saturating_sub(idle)),
                KeepAlive::Forever => None,
            },
        }
    }
}

/// A place in the line for loads, left on drop.
struct Place(Arc<Runners>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request's hold on a loaded model, released on drop.
pub(super) struct Lease {
    runners: Arc<Runners>,
    id: u64,
    slots: Arc<Semaphore>,
    /// The share of the model that is in VRAM.
    pub(super) in_vram: f64,
}

impl Lease {
    /// Waits for one of the model's slots, first come first served.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        self.slots
            .clone()
            .acquire_owned()
            .await
            .expect("slots are never closed")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.runners.release(self.id);
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
