//! What lies in a server's memory: the copies of models, when their time is over, and which of them goes for another.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Local};
use tokio::time::Instant;

use super::catalogue::Model;
use super::duration::KeepAlive;
use super::inside::Inside;
use super::tuning::{Context, Tuning};

/// All copies on one machine; at most one of them is being loaded.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) copies: Vec<Resident>,
    next_id: u64,
    pub(super) tally: Tally,
}

/// What has happened to this server's models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) loads: u64,
    /// Models that went to make room or for other options.
    pub(super) evictions: u64,
    /// Models that went because their time was over or on request.
    pub(super) unloads: u64,
    /// Loads given up because the client left.
    pub(super) abandoned_loads: u64,
    /// Loads that ended in an error.
    pub(super) failed_loads: u64,
}

/// One model in memory, with the options that it was started with.
pub(super) struct Resident {
    pub(super) id: u64,
    pub(super) model: Arc<Model>,
    pub(super) tuning: Tuning,
    pub(super) context: Context,
    pub(super) size: u64,
    pub(super) size_vram: u64,
    pub(super) keep_alive: KeepAlive,
    /// Requests that hold it, waiting or running.
    pub(super) active: usize,
    pub(super) loading: bool,
    /// Somebody waits for it to go, so it does as soon as it is idle.
    pub(super) evicting: bool,
    /// When its last request ended.
    pub(super) idle_since: Instant,
    /// What was told then of when its time is over.
    pub(super) expires_at: Option<DateTime<Local>>,
    pub(super) inside: Arc<Inside>,
}

/// What room a load needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Bytes of VRAM.
    pub(super) vram: u64,
    /// Bytes of VRAM that the machine has.
    pub(super) of: u64,
    /// Models that may be loaded at a time.
    pub(super) most: usize,
}

impl Memory {
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Lets the copies go whose time is over.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        let before = self.copies.len();
        self.copies.retain(|copy| !copy.is_over(now));
        self.tally.unloads += (before - self.copies.len()) as u64;
    }

    /// The copy of a model that is ready: there is one at most, by the blob of its weights.
    pub(super) fn ready(&mut self, model: &Model) -> Option<&mut Resident> {
        let mut copies = self.copies.iter_mut();
        copies.find(|copy| copy.model.blob == model.blob && !copy.loading)
    }

    pub(super) fn by_id(&mut self, id: u64) -> Option<&mut Resident> {
        self.copies.iter_mut().find(|copy| copy.id == id)
    }

    /// Ends one request's hold; true if the copy went with it.
    pub(super) fn release(&mut self, id: u64) -> bool {
        let Some(at) = self.copies.iter().position(|copy| copy.id == id) else {
            return false;
        };
        let copy = &mut self.copies[at];
        copy.active -= 1;
        copy.idle_since = Instant::now();
        copy.expires_at = Some(copy.keep_alive.end());
        let evicted = copy.evicting && copy.active == 0;
        match (copy.loading, evicted) {
            (true, _) => self.tally.abandoned_loads += 1,
            (_, true) => self.tally.evictions += 1,
            _ => return false,
        }
        self.copies.remove(at);
        true
    }

    /// Makes room for `model`: what is in the way goes if it is idle; the error is the id of what has to be waited for.
    ///
    /// An older copy of the model itself is always in the way. Of the others the idle one with the shortest keep-alive
    /// goes first; where none is idle, the one with the shortest is waited for. What is needed has to be within four
    /// fifths of the memory that is free, unless there is nothing else in it.
    pub(super) fn make_room(&mut self, model: &Model, need: Need) -> Result<(), u64> {
        loop {
            let own = |copy: &Resident| copy.model.blob == model.blob;
            let next = match self.copies.iter().position(own) {
                Some(at) => at,
                None if self.has_room(need) => return Ok(()),
                None => self.first_to_go(),
            };
            let copy = &mut self.copies[next];
            if copy.active > 0 {
                copy.evicting = true;
                return Err(copy.id);
            }
            self.copies.remove(next);
            self.tally.evictions += 1;
        }
    }

    fn has_room(&self, need: Need) -> bool {
        let used: u64 = self.copies.iter().map(|copy| copy.size_vram).sum();
        let free = need.of.saturating_sub(used);
        let fits = need.vram == 0 || need.vram as f64 <= free as f64 * 0.8;
        self.copies.is_empty() || (fits && self.copies.len() < need.most)
    }

    /// The position of the copy that goes next; there is one.
    fn first_to_go(&self) -> usize {
        let order = |(_, copy): &(usize, &Resident)| {
            (
                copy.active > 0,
                copy.patience(),
                copy.model.blob.clone(),
                copy.id,
            )
        };
        let copies = self.copies.iter().enumerate();
        copies.min_by_key(order).map_or(0, |(at, _)| at)
    }
}

impl Resident {
    fn is_over(&self, now: Instant) -> bool {
        self.active == 0
            && matches!(self.keep_alive, KeepAlive::For(time) if now >= self.idle_since + time)
    }

    /// The keep-alive that decides who goes first.
    fn patience(&self) -> Duration {
        match self.keep_alive {
            _ if self.evicting => Duration::ZERO,
            KeepAlive::For(time) => time,
            KeepAlive::Forever => Duration::MAX,
        }
    }

    /// When its time is over, as it was when a request ended last; an estimate until the first one does.
    pub(super) fn expires_at(&self) -> DateTime<Local> {
        self.expires_at.unwrap_or_else(|| self.keep_alive.end())
    }
}
