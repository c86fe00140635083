//! A server's scheduler: who joins a loaded model, who waits for a load, and what a load waits for.
//!
//! As Ollama's: a request that a loaded copy suits joins it at once and waits for a slot without bound. One that needs
//! a load, a reload or an eviction stands in a bounded line, first come first served, and only the first of it is looked
//! at: what that one waits for, all wait for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Local};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::catalogue::Model;
use super::duration::KeepAlive;
use super::inside::{Inside, parallel};
use super::memory::{Memory, Need, Resident, Tally};
use super::options::Machine;
use super::tuning::{Context, Tuning};

/// How long a server waits for a runner to say that it is there.
const CHECK: Duration = Duration::from_secs(10);

/// The loaded models of one server.
pub(super) struct Runners {
    machine: Machine,
    memory: Mutex<Memory>,
    /// Held by the first of those who need a load.
    line: tokio::sync::Mutex<()>,
    /// Requests in the line, its first included.
    pending: AtomicUsize,
    /// Told when a copy has become idle or has gone.
    freed: Notify,
    /// Until when a runner that does not answer is waited for, or memory that is to come free.
    checking: Mutex<Option<Instant>>,
}

/// What a request wants loaded.
#[derive(Clone)]
pub(super) struct Want {
    pub(super) model: Arc<Model>,
    /// Absent: as it was before, else the machine's.
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) tuning: Tuning,
}

/// What is to go wrong with a load.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mishap {
    /// It takes this much longer.
    pub(super) extra: Duration,
    /// It makes no progress.
    pub(super) stuck: bool,
    /// It ends, after its whole time, in this error.
    pub(super) failure: Option<String>,
}

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The line is full.
    #[error("server busy, please try again.  maximum pending requests exceeded")]
    Busy,
    #[error("timed out waiting for llama-server to start")]
    TimedOut,
    #[error("{0}")]
    Failed(String),
}

/// A loaded model as `/api/ps` shows it.
pub(super) struct Loaded {
    pub(super) model: Arc<Model>,
    pub(super) size: u64,
    pub(super) size_vram: u64,
    pub(super) context_length: u32,
    pub(super) expires_at: DateTime<Local>,
}

/// What a request finds that needs no load.
enum Found {
    Fits(Lease),
    /// A copy that would do, but does not say that it is there.
    Silent,
    Nothing,
}

impl Runners {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            memory: Mutex::default(),
            line: tokio::sync::Mutex::default(),
            pending: AtomicUsize::new(0),
            freed: Notify::new(),
            checking: Mutex::default(),
        }
    }

    /// Joins the model where a copy of it suits, else waits for a turn and loads it, with whatever `mishap` says.
    ///
    /// Dropping the future ends the load that it makes.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        want: &Want,
        mishap: impl FnOnce() -> Mishap,
    ) -> Result<Lease, LoadError> {
        if let Some(lease) = self.join(want).await {
            return Ok(lease);
        }
        let _place = self.enter_line()?;
        let _turn = self.line.lock().await;
        let evictions = self.tally().evictions;
        let lease = loop {
            if let Some(lease) = self.join(want).await {
                return Ok(lease);
            }
            match self.begin_load(want) {
                Ok(lease) => break lease,
                Err(busy) => {
                    while self.memory().by_id(busy).is_some() {
                        self.freed.notified().await;
                    }
                }
            }
        };
        if self.tally().evictions > evictions {
            self.watch_memory().await;
        }
        self.load(lease, mishap()).await
    }

    /// Waits until the memory of what has gone is free; all who look at the runners meanwhile wait as well.
    async fn watch_memory(&self) {
        let time = self.machine.eviction_time;
        if !time.is_zero() && self.machine.vram > 0 {
            let until = Instant::now() + self.machine.sped_up(time.as_secs_f64());
            *lock(&self.checking) = Some(until);
            tokio::time::sleep_until(until).await;
        }
    }

    /// Loads at once, where there is room: for models that are loaded at the start.
    pub(super) fn preload(self: &Arc<Self>, want: &Want) -> bool {
        let lease = self.begin_load(want);
        if let Ok(lease) = &lease {
            self.finish_load(lease.id);
        }
        lease.is_ok()
    }

    /// Lets the copy of a model go as soon as it is idle; one that is being loaded is left alone.
    pub(super) fn unload(&self, model: &Model) {
        let mut memory = self.memory();
        if let Some(copy) = memory.ready(model) {
            copy.keep_alive = KeepAlive::For(Duration::ZERO);
        }
        memory.expire();
        drop(memory);
        self.freed.notify_one();
    }

    /// Forgets everything, as a process that has died.
    pub(super) fn clear(&self) {
        self.memory().copies.clear();
        self.freed.notify_one();
    }

    /// Models that are ready, latest expiry first.
    pub(super) fn loaded(&self) -> Vec<Loaded> {
        let memory = self.memory();
        let ready = memory.copies.iter().filter(|copy| !copy.loading);
        let mut loaded: Vec<Loaded> = ready.map(Loaded::of).collect();
        loaded.sort_by_key(|loaded| std::cmp::Reverse(loaded.expires_at));
        loaded
    }

    /// Waits while a runner that does not answer is being checked, or memory is to come free: all who look at the runners do.
    pub(super) async fn settle(&self) {
        let until = *lock(&self.checking);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.memory().tally
    }

    pub(super) fn reset_tally(&self) {
        self.memory().tally = Tally::default();
    }

    fn enter_line(self: &Arc<Self>) -> Result<Place, LoadError> {
        // The one whose turn it is has left Ollama's queue, so the line holds one more than that.
        let before = self.pending.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        if before > self.machine.max_queue {
            return Err(LoadError::Busy);
        }
        Ok(place)
    }

    /// Joins the copy that suits, if there is one and it says that it is there.
    async fn join(self: &Arc<Self>, want: &Want) -> Option<Lease> {
        match self.find(want) {
            Found::Fits(lease) => Some(lease),
            Found::Nothing => None,
            Found::Silent => {
                let until = Instant::now() + self.machine.sped_up(CHECK.as_secs_f64());
                *lock(&self.checking) = Some(until);
                tokio::time::sleep_until(until).await;
                None
            }
        }
    }

    fn find(self: &Arc<Self>, want: &Want) -> Found {
        let context = want.tuning.context(&want.model, &self.machine);
        let mut memory = self.memory();
        let Some(copy) = memory.ready(&want.model) else {
            return Found::Nothing;
        };
        if context.differs(copy.context) || want.tuning.differs(&copy.tuning, &copy.model) {
            return Found::Nothing;
        }
        if copy.inside.is_frozen() {
            return Found::Silent;
        }
        copy.active += 1;
        if let Some(keep_alive) = want.keep_alive {
            copy.keep_alive = keep_alive;
        }
        Found::Fits(self.lease(copy))
    }

    /// Makes room and starts to load; the error is the id of the busy copy that is in the way.
    fn begin_load(self: &Arc<Self>, want: &Want) -> Result<Lease, u64> {
        let Want { model, tuning, .. } = want;
        let slots = parallel(model, self.machine.parallel);
        let off_the_gpu = tuning.keeps_off_the_gpu() || self.machine.vram == 0;
        let mut context = tuning.context(model, &self.machine);
        let size = |context: Context| {
            model.size + model.cache_per_token * u64::from(context.length) * slots as u64
        };
        let mut memory = self.memory();
        let need = Need {
            vram: if off_the_gpu { 0 } else { size(context) },
            of: self.machine.vram,
            most: self.machine.max_loaded,
        };
        memory.make_room(model, need)?;
        let used: u64 = memory.copies.iter().map(|copy| copy.size_vram).sum();
        let free = if off_the_gpu {
            0
        } else {
            self.machine.vram.saturating_sub(used)
        };
        // Out of memory: the server tries once with less context, if the context is of its own choice.
        if !off_the_gpu && size(context) > free {
            context = context.stepped_down().unwrap_or(context);
        }
        let copy = Resident {
            id: memory.next_id(),
            model: model.clone(),
            tuning: tuning.clone(),
            context,
            size: size(context),
            size_vram: size(context).min(free),
            keep_alive: want.keep_alive.unwrap_or(self.machine.keep_alive),
            active: 1,
            loading: true,
            evicting: false,
            idle_since: Instant::now(),
            expires_at: None,
            inside: Arc::new(Inside::new(model, slots)),
        };
        let lease = self.lease(&copy);
        memory.copies.push(copy);
        Ok(lease)
    }

    async fn load(&self, lease: Lease, mishap: Mishap) -> Result<Lease, LoadError> {
        if mishap.stuck {
            let time = self
                .machine
                .sped_up(self.machine.load_timeout.as_secs_f64());
            tokio::time::sleep(time).await;
            self.fail_load(lease.id);
            return Err(LoadError::TimedOut);
        }
        let time = self.machine.load_time(lease.model.size);
        tokio::time::sleep(time + mishap.extra).await;
        match mishap.failure {
            Some(text) => {
                self.fail_load(lease.id);
                Err(LoadError::Failed(text))
            }
            None => {
                self.finish_load(lease.id);
                Ok(lease)
            }
        }
    }

    fn finish_load(&self, id: u64) {
        let mut memory = self.memory();
        if let Some(copy) = memory.by_id(id) {
            copy.loading = false;
            memory.tally.loads += 1;
        }
    }

    fn fail_load(&self, id: u64) {
        let mut memory = self.memory();
        let before = memory.copies.len();
        memory.copies.retain(|copy| copy.id != id);
        memory.tally.failed_loads += (before - memory.copies.len()) as u64;
    }

    fn release(&self, id: u64) {
        self.memory().release(id);
        self.freed.notify_one();
    }

    fn lease(self: &Arc<Self>, copy: &Resident) -> Lease {
        Lease {
            runners: self.clone(),
            id: copy.id,
            model: copy.model.clone(),
            inside: copy.inside.clone(),
            context_length: copy.context.length,
            shifts: copy.tuning.shifts(&copy.model),
            in_vram: copy.size_vram as f64 / copy.size.max(1) as f64,
        }
    }

    /// The memory, without the models whose time is over: nobody can tell that they went late.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        let mut memory = lock(&self.memory);
        memory.expire();
        memory
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loaded {
    fn of(copy: &Resident) -> Self {
        Self {
            model: copy.model.clone(),
            size: copy.size,
            size_vram: copy.size_vram,
            context_length: copy.context.length,
            expires_at: copy.expires_at(),
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
    model: Arc<Model>,
    pub(super) inside: Arc<Inside>,
    /// Tokens of context of each slot.
    pub(super) context_length: u32,
    /// Whether a long answer pushes the beginning of its prompt out.
    pub(super) shifts: bool,
    /// The share of the model that is in VRAM.
    pub(super) in_vram: f64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.runners.release(self.id);
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
