//! A limit that several gateways count together, as one of them sees it.
//!
//! A gateway asks the server for a part of what is left before it lets anything through, and lets through what it was
//! given without asking again: a lease. The server adds up what all have let through and what they hold, and gives no
//! more than is left. Every fortieth of a second a gateway tells what it has used, gives back what it will not need, and
//! asks for what its clients seem to want next. So only a request that finds the lease used up waits for the server.
//!
//! While the server is away, each of `n` gateways continues with its share of what was left when it last heard: it lets
//! through `(limit - margin - known) / n`, where `known` runs out of the window as it would have. What others were given
//! since it heard is missing there. So the server gives no more than `margin` that some other has not said that it heard
//! of, nor anything before all know of each other. Then `known` is at least what counts less `margin`, each share at most
//! `(limit - what counts) / n`, and all of them together no more than what is left.
//!
//! A server that comes back may have forgotten everything, and a gateway that comes may be unknown to others: each tells
//! all that it counted, gives up its share, and gets nothing until the others have heard of it.

use std::time::Duration;

use super::clock::Millis;
use super::window::{Slice, Window};

/// A gateway keeps this part of a limit between requests, so that its next client need not wait for the server.
const KEPT: u64 = 50;
/// Exchanges without a request after which it gives that back.
const PATIENCE: u32 = 100;
/// The margin is this part of a limit, rounded up; `exchange.lua` reckons with the same.
const MARGIN: u64 = 8;

/// Gateways that count together at most, whatever a server says.
const MOST_GATEWAYS: u64 = 10_000;

/// What a gateway knows of a limit that it shares.
#[derive(Debug)]
pub(super) struct Pool {
    /// What the others had let through or held when they last said so.
    pub(super) others: Window,
    /// What they held, which is in `others` in that slice. They may use it later than that.
    held: (Slice, u64),
    /// May be let through without asking.
    lease: u64,
    /// Until then: others count it as of the slice in which it was last told.
    lease_ends: Millis,
    /// Let through since the last exchange.
    demand: u64,
    /// Not let through since, for want of a lease.
    unmet: u64,
    /// Left when last heard of; `None` before that.
    free: Option<u64>,
    /// Gateways when last heard of, this one among them.
    gateways: u64,
    place: Place,
    /// How far it has heard.
    heard: Heard,
    /// The first slice whose amount the server does not know.
    untold: Slice,
    /// There is something to tell or to ask.
    stirs: bool,
    /// Clients have used it since the last exchange, or others would want to know for another reason.
    used: bool,
    /// Exchanges since the last request.
    idle: u32,
    /// Since the server is away: what was let through.
    alone: Option<Window>,
    length: Duration,
    late: u64,
}

/// A gateway's place among those that count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It has not found the server yet, and takes itself for the only one.
    Apart,
    /// It has told what it let through, and some may not know of it: without the server it lets nothing through, but
    /// from that moment on, if it had a share before.
    Joining(Option<Millis>),
    /// All know of it.
    Joined,
}

/// How far a gateway has heard, in the server's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// How often gateways had joined.
    pub(super) joined: u64,
    /// What others had been given.
    pub(super) given: u64,
}

/// What a gateway tells the server of one limit, and asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// The amount that is asked for, in units of the limit.
    pub(super) want: u64,
    /// The lease.
    pub(super) held: u64,
    pub(super) heard: Heard,
    pub(super) current: Slice,
    /// The first slice that counts.
    pub(super) oldest: Slice,
    /// What was let through.
    pub(super) amounts: Vec<(Slice, u64)>,
    /// How long an amount counts.
    pub(super) memory: Duration,
    /// Whether others would want to know.
    pub(super) used: bool,
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) granted: u64,
    /// This one among them.
    pub(super) gateways: u64,
    /// Whether all others know how things stand.
    pub(super) known: bool,
    /// Whether this gateway was new to the server.
    pub(super) joins: bool,
    /// Leases of the others.
    pub(super) held: u64,
    pub(super) heard: Heard,
    /// What the others have let through, by slices.
    pub(super) others: Vec<(Slice, u64)>,
}

/// Returns the part of a limit that is left over for what a gateway has not heard of.
fn margin(limit: u64) -> u64 {
    limit.div_ceil(MARGIN)
}

impl Pool {
    pub(super) fn new(length: Duration, late: u64) -> Pool {
        Pool {
            others: Window::new(length, late),
            held: (Slice(0), 0),
            lease: 0,
            lease_ends: 0,
            demand: 0,
            unmet: 0,
            free: None,
            gateways: 1,
            place: Place::Apart,
            heard: Heard::default(),
            untold: Slice(0),
            stirs: false,
            used: false,
            idle: 0,
            alone: None,
            length,
            late,
        }
    }

    pub(super) fn lease_holds(&self, now: Millis, amount: u64) -> bool {
        self.alone.is_none() && self.lease >= amount && now < self.lease_ends
    }

    pub(super) fn must_lease(&self) -> bool {
        self.alone.is_none()
    }

    /// Returns what `amount` counts with all that it stands for: what was let through since the server went away, and
    /// `amount`, once more for each of the other gateways, which do the same.
    pub(super) fn weight(&mut self, now: Millis, limit: u64, amount: u64) -> u64 {
        let Some(alone) = &mut self.alone else {
            return 0;
        };
        match self.place {
            Place::Apart => return 0,
            Place::Joining(from) if from.is_none_or(|from| now < from) => return limit,
            _ => {}
        }
        match self.gateways.saturating_sub(1) {
            0 => 0,
            others => {
                let same = (alone.used(now) + amount).saturating_mul(others);
                same.saturating_add(margin(limit))
            }
        }
    }

    /// Notes that a request waits for a lease.
    pub(super) fn starve(&mut self, amount: u64) {
        self.unmet = self.unmet.saturating_add(amount);
        (self.used, self.stirs) = (true, true);
    }

    pub(super) fn taken(&mut self, now: Millis, slice: Slice, amount: u64) {
        self.demand = self.demand.saturating_add(amount);
        match &mut self.alone {
            Some(alone) => {
                alone.add(now, amount);
            }
            None => self.lease = self.lease.saturating_sub(amount),
        }
        self.changed(slice);
    }

    pub(super) fn changed(&mut self, slice: Slice) {
        self.untold = self.untold.min(slice);
        (self.used, self.stirs) = (true, true);
    }

    /// Returns whether there is anything to tell or to ask; with `all`, whether a lease is held too, which is told
    /// again.
    pub(super) fn stirs(&self, all: bool) -> bool {
        self.stirs || (all && self.lease > 0)
    }

    /// Notes that others have counted something.
    pub(super) fn stir(&mut self) {
        self.stirs = true;
    }

    fn kept(&self, limit: u64) -> u64 {
        if self.idle > PATIENCE {
            return 0;
        }
        let fair = self.free.unwrap_or(0) / (4 * self.gateways.max(1));
        (limit / KEPT).min(fair)
    }

    /// Returns what is to be told and asked. `own` is what this gateway has let through; `acts` says that it goes by
    /// the answer, rather than on with its share.
    pub(super) fn ask(&mut self, now: Millis, limit: u64, own: &mut Window, acts: bool) -> Ask {
        let current = own.advance(now);
        if acts {
            self.join();
        }
        self.idle = match self.demand.max(self.unmet) {
            0 => self.idle.saturating_add(1),
            _ => 0,
        };
        let fair = self.free.unwrap_or(limit) / (4 * self.gateways.max(1));
        // As much again as was wanted lately, but no large part of what is left: others should know of it first.
        let next = self.demand.min(fair).max(self.kept(limit));
        let held = self.lease.min(next.max(self.unmet));
        // Others think that it is used until they hear of it.
        self.used |= held < self.lease;
        self.lease = held;
        // Half a slice is left of the one by which a lease may be used late, for clocks that differ.
        self.lease_ends = own.end(current) + own.end(Slice(0)) / 2;
        let want = if acts {
            next.max(self.unmet) - self.lease
        } else {
            0
        };
        let first = self.untold.max(own.oldest());
        let amounts = first.to(current).map(|slice| (slice, own.amount(slice)));
        let amounts = amounts.collect();
        (self.demand, self.unmet, self.stirs) = (0, 0, false);
        self.untold = current;
        Ask {
            want,
            held,
            heard: self.heard,
            current,
            oldest: own.oldest(),
            amounts,
            memory: own.memory(),
            used: std::mem::take(&mut self.used),
        }
    }

    /// Gives up the share, as others reckon without it from now on, whether the answer arrives or not.
    fn join(&mut self) {
        match self.place {
            Place::Apart => self.place = Place::Joining(None),
            Place::Joined if self.alone.is_some() => self.place = Place::Joining(Some(Millis::MAX)),
            Place::Joined | Place::Joining(_) => {}
        }
        if self.alone.take().is_some() {
            self.heard = Heard::default();
        }
    }

    /// Takes in the server's answer, to one that acts on it.
    pub(super) fn told(&mut self, now: Millis, limit: u64, own: &mut Window, told: &Told) {
        if told.joins && self.place == Place::Joined {
            self.place = Place::Joining(Some(Millis::MAX));
        }
        if told.known {
            self.place = Place::Joined;
        }
        // It is asked again until all know of it.
        self.stirs |= self.place != Place::Joined;
        self.lease = self.lease.saturating_add(told.granted);
        self.gateways = told.gateways.clamp(1, MOST_GATEWAYS);
        self.heard = told.heard;
        let mut others = Window::new(self.length, self.late);
        let current = others.advance(now);
        for (slice, amount) in &told.others {
            others.add_to(*slice, (*amount).min(limit));
        }
        let held = told.held.min(limit);
        others.add_to(current, held);
        self.held = (current, held);
        self.others = others;
        let taken = own.used(now).saturating_add(self.others.used(now));
        let taken = taken.saturating_add(self.lease);
        self.free = Some(limit.saturating_sub(taken));
    }

    /// Notes that the clock was set by `ahead` milliseconds.
    pub(super) fn shift(&mut self, ahead: i64) {
        let before = self.others.advance(0);
        self.others.shift(ahead);
        let after = self.others.advance(0);
        self.held.0 = Slice((self.held.0.0 + after.0).saturating_sub(before.0));
        if let Some(alone) = &mut self.alone {
            alone.shift(ahead);
        }
        self.lease_ends = self.lease_ends.saturating_add_signed(ahead);
        // The server has it under other numbers.
        self.untold = Slice(0);
        self.stirs = true;
    }

    /// Notes that the server does not answer.
    pub(super) fn lost(&mut self, now: Millis) {
        if self.alone.is_none() {
            let alone = Window::new(self.length, self.late);
            if let Place::Joining(Some(from)) = &mut self.place {
                // By then, nothing counts that was let through before.
                let memory = Millis::try_from(alone.memory().as_millis());
                *from = now.saturating_add(memory.unwrap_or(Millis::MAX));
            }
            self.alone = Some(alone);
            // Others may have used until now what they held.
            let (slice, held) = std::mem::replace(&mut self.held, (Slice(0), 0));
            self.others.give_back(slice, held);
            let current = self.others.advance(now);
            self.others.add_to(current, held);
        }
        // It is in what the others count as used.
        self.lease = 0;
        // When it is back, it may have forgotten everything.
        self.untold = Slice(0);
        self.stirs = true;
    }
}

#[cfg(test)]
mod tests;
