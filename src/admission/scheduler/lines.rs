//! Who waits: one line per thing that is waited for, in the order in which those in it may start.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use ahash::AHashMap;

use super::need::Class;
use super::types::{Arrival, Providers, Scope, Ticket, Wanted};
use crate::ids::{BackendId, ModelId, ProviderId};

/// The credit for which one that has aged is let to the front.
const WHOLE: u32 = 1_000_000;

/// What the requests of one line can start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LineKey {
    Any,
    /// Those of one class of need.
    Model(ModelId, Class),
    Pinned(BackendId),
    Unlisted,
}

impl From<&Arrival> for LineKey {
    fn from(arrival: &Arrival) -> Self {
        match (arrival.pinned, arrival.wanted) {
            (Some(backend), _) => Self::Pinned(backend),
            (None, Wanted::Any) => Self::Any,
            (None, Wanted::Model(model)) => Self::Model(model, Class::of(arrival.need.tokens)),
            (None, Wanted::Unlisted) => Self::Unlisted,
        }
    }
}

impl LineKey {
    pub(super) fn model(self) -> Option<ModelId> {
        match self {
            Self::Model(model, _) => Some(model),
            Self::Any | Self::Pinned(_) | Self::Unlisted => None,
        }
    }
}

/// A place in line: those who were let to the front for their age, then priority, then arrival. As places are compared all the
/// time, it is one number: not at the front, the priority turned round since the highest goes first, the ticket, and whether
/// it has waited for so long that it may be let to the front, which orders nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u128);

impl Place {
    fn new(waiter: &Waiter, aged: bool) -> Self {
        let priority = i64::from(i32::MAX) - i64::from(waiter.arrival.priority);
        let order = u128::from(!waiter.ahead) << 32 | u128::from(priority.unsigned_abs());
        Self(order << 65 | u128::from(waiter.ticket.0) << 1 | u128::from(aged))
    }

    /// Whether it is before those of lower priorities than this.
    fn goes_first(&self, priority: i32) -> bool {
        let lowest = i64::from(i32::MAX) - i64::from(priority);
        self.0 >> 65 <= 1 << 32 | u128::from(lowest.unsigned_abs())
    }

    /// It has waited for so long that it may be let to the front.
    pub(super) fn aged(&self) -> bool {
        self.0 & 1 > 0
    }
}

/// A request that waits, or has waited and may have to again.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) arrival: Arrival,
    /// When it arrived first: ageing counts from here.
    pub(super) arrived: Duration,
    /// When it began to wait this time.
    pub(super) since: Duration,
    pub(super) deadline: Duration,
    /// Where it may run; the backends that it has been tried on are excluded.
    pub(super) scope: Scope,
    /// It has been tried, and is no longer to be turned away for others.
    pub(super) retried: bool,
    /// It was let to the front for its age, and stays there.
    pub(super) ahead: bool,
}

impl Waiter {
    pub(super) fn line(&self) -> LineKey {
        LineKey::from(&self.arrival)
    }

    /// Whether it may run on that backend of that provider.
    pub(super) fn may_use(&self, provider: ProviderId, id: BackendId) -> bool {
        self.scope.providers.hold(provider) && !self.scope.excluded.contains(&id)
    }

    /// Whether it may run wherever others in its line may.
    pub(super) fn goes_anywhere(&self) -> bool {
        self.scope.providers == Providers::All && self.scope.excluded.is_empty()
    }

    /// The tokens that the context of its copy has to hold.
    pub(super) fn tokens(&self) -> u32 {
        self.arrival.need.tokens
    }
}

/// What a waiter's alarm means.
#[derive(Debug)]
pub(super) enum Alarm {
    /// It has just aged: it goes to the front as soon as its turn comes among those who have.
    Aged(LineKey),
    /// It has waited as long as it may and has left its line.
    Expired(Waiter),
}

/// All lines.
#[derive(Debug)]
pub(super) struct Lines {
    ageing: Duration,
    /// What a start adds to `credit`.
    share: u32,
    /// [`WHOLE`] lets one that has aged to the front.
    credit: u32,
    /// Those who have aged and are not at the front yet, by priority, oldest first.
    aged: BTreeMap<i32, BTreeSet<Ticket>>,
    /// All who wait for the first time, by priority.
    classes: BTreeMap<i32, BTreeSet<Ticket>>,
    lines: AHashMap<LineKey, BTreeMap<Place, Waiter>>,
    /// Those that somebody waits in, in order.
    order: BTreeSet<LineKey>,
    places: AHashMap<Ticket, (LineKey, Place)>,
    /// How many wait for each model.
    by_model: AHashMap<ModelId, usize>,
    /// The first of each line.
    heads: BTreeSet<(Place, LineKey)>,
    /// The next time at which each waiter's standing changes.
    alarms: BTreeSet<(Duration, Ticket)>,
}

impl Lines {
    /// Those who wait for longer than `ageing` get `share` of the starts, whatever their priority.
    pub(super) fn new(ageing: Duration, share: f64) -> Self {
        Self {
            ageing,
            // The cast saturates.
            share: (share * f64::from(WHOLE)).round() as u32,
            credit: WHOLE,
            aged: BTreeMap::new(),
            classes: BTreeMap::new(),
            lines: AHashMap::new(),
            order: BTreeSet::new(),
            places: AHashMap::new(),
            by_model: AHashMap::new(),
            heads: BTreeSet::new(),
            alarms: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Requests in one line.
    pub(super) fn count(&self, line: LineKey) -> usize {
        self.lines.get(&line).map_or(0, BTreeMap::len)
    }

    /// Requests in all lines of one model.
    pub(super) fn count_for(&self, model: ModelId) -> usize {
        self.by_model.get(&model).copied().unwrap_or(0)
    }

    /// The lines of one model that somebody waits in, least need first.
    pub(super) fn of_model(&self, model: ModelId) -> impl Iterator<Item = LineKey> {
        let all = LineKey::Model(model, Class::LOWEST)..=LineKey::Model(model, Class::HIGHEST);
        // Most models have nobody waiting, and a look into a hash map is cheaper than a descent.
        let any = self.by_model.contains_key(&model);
        let lines = any.then(|| self.order.range(all));
        lines.into_iter().flatten().copied()
    }

    /// Those whom a newcomer of this priority would have before it in the line.
    pub(super) fn before(&self, line: LineKey, priority: i32) -> impl Iterator<Item = &Waiter> {
        let waiters = self.waiters(line);
        waiters
            .take_while(move |(place, _)| place.goes_first(priority))
            .map(|(_, waiter)| waiter)
    }

    pub(super) fn head(&self, line: LineKey) -> Option<Place> {
        self.lines.get(&line)?.keys().next().copied()
    }

    /// The first of each line, first to start first, from behind `cursor` on.
    pub(super) fn heads(
        &self,
        cursor: Option<(Place, LineKey)>,
    ) -> impl Iterator<Item = (Place, LineKey)> {
        let behind = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.heads.range((behind, Bound::Unbounded)).copied()
    }

    /// The lines that somebody waits in.
    pub(super) fn keys(&self) -> impl Iterator<Item = LineKey> {
        self.order.iter().copied()
    }

    /// The line that follows `line` in going round and round those that somebody waits in.
    pub(super) fn after(&self, line: LineKey) -> Option<LineKey> {
        let behind = (Bound::Excluded(line), Bound::Unbounded);
        let next = self.order.range(behind).next();
        next.or_else(|| self.order.first()).copied()
    }

    /// How many lines there are that somebody waits in.
    pub(super) fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// Those who wait in one line, first to start first.
    pub(super) fn waiters(
        &self,
        line: LineKey,
    ) -> impl DoubleEndedIterator<Item = (&Place, &Waiter)> {
        self.lines.get(&line).into_iter().flatten()
    }

    /// Puts it into its line. Gives its place, which is better than that if it is let to the front.
    pub(super) fn insert(&mut self, now: Duration, waiter: Waiter) -> Place {
        let aged = now >= waiter.arrived.saturating_add(self.ageing);
        let (ticket, ahead) = (waiter.ticket, waiter.ahead);
        let priority = waiter.arrival.priority;
        let place = self.put(waiter, aged);
        if aged && !ahead {
            self.aged.entry(priority).or_default().insert(ticket);
        }
        self.let_ahead();
        place
    }

    /// Somebody has started: after so many starts the oldest of those goes to the front who have aged and have to stand
    /// back for others. Without anybody of a higher priority the oldest goes first anyway.
    pub(super) fn count_start(&mut self) {
        self.credit = (self.credit + self.share).min(WHOLE);
        self.let_ahead();
    }

    fn let_ahead(&mut self) {
        if self.credit < WHOLE || self.aged.is_empty() {
            return;
        }
        let Some((highest, _)) = self.classes.last_key_value() else {
            return;
        };
        let outranked = self.aged.range(..highest);
        let oldest = outranked.filter_map(|(_, tickets)| tickets.first()).min();
        let Some(ticket) = oldest.copied() else {
            return;
        };
        self.credit = 0;
        let mut waiter = self.remove(ticket).expect("who has aged waits");
        waiter.ahead = true;
        self.put(waiter, true);
    }

    fn put(&mut self, waiter: Waiter, aged: bool) -> Place {
        let line = waiter.line();
        let place = Place::new(&waiter, aged);
        if !waiter.retried {
            let class = self.classes.entry(waiter.arrival.priority).or_default();
            class.insert(waiter.ticket);
        }
        self.alarms
            .insert((self.alarm(&waiter, aged), waiter.ticket));
        self.places.insert(waiter.ticket, (line, place));
        if let Some(model) = line.model() {
            *self.by_model.entry(model).or_default() += 1;
        }
        let waiters = self.lines.entry(line).or_default();
        let head = waiters.keys().next().copied();
        if head.is_none() {
            self.order.insert(line);
        }
        waiters.insert(place, waiter);
        if head.is_none_or(|head| place < head) {
            if let Some(head) = head {
                self.heads.remove(&(head, line));
            }
            self.heads.insert((place, line));
        }
        place
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Waiter> {
        let (line, place) = self.places.get(&ticket)?;
        self.lines.get(line)?.get(place)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let (line, place) = self.places.remove(&ticket)?;
        let waiters = self.lines.get_mut(&line).expect("a waiter's line exists");
        let waiter = waiters.remove(&place).expect("a waiter is in its place");
        if let Some(model) = line.model()
            && let Entry::Occupied(mut count) = self.by_model.entry(model)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        for classes in [&mut self.classes, &mut self.aged] {
            let Some(class) = classes.get_mut(&waiter.arrival.priority) else {
                continue;
            };
            class.remove(&ticket);
            if class.is_empty() {
                classes.remove(&waiter.arrival.priority);
            }
        }
        let next = waiters.keys().next().copied();
        if next.is_none() {
            self.lines.remove(&line);
            self.order.remove(&line);
        }
        if self.heads.remove(&(place, line))
            && let Some(next) = next
        {
            self.heads.insert((next, line));
        }
        self.alarms
            .remove(&(self.alarm(&waiter, place.aged()), ticket));
        Some(waiter)
    }

    /// Who has to go from a full queue for the one of this priority that came last: the youngest of the lowest
    /// priority, if that is lower and more than `reserve` have a lower one; or, where all up to this priority are no
    /// more than `reserve`, the youngest of the next higher one. Nobody, if the newcomer has to go itself.
    pub(super) fn displaced_by(&self, priority: i32, reserve: usize) -> Option<Ticket> {
        let count = |classes: &mut dyn Iterator<Item = &BTreeSet<Ticket>>| -> usize {
            classes.map(BTreeSet::len).sum()
        };
        let lower = count(&mut self.classes.range(..priority).map(|(_, class)| class));
        let class = if lower > reserve {
            self.classes.values().next()?
        } else if count(&mut self.classes.range(..=priority).map(|(_, class)| class)) <= reserve {
            let above = (Bound::Excluded(priority), Bound::Unbounded);
            self.classes.range(above).next()?.1
        } else {
            return None;
        };
        class.last().copied()
    }

    /// The next alarm that is due, if any.
    pub(super) fn ring(&mut self, now: Duration) -> Option<Alarm> {
        let &(at, ticket) = self.alarms.first()?;
        if at > now {
            return None;
        }
        let waiter = self.remove(ticket).expect("an alarm belongs to a waiter");
        if now >= waiter.deadline {
            return Some(Alarm::Expired(waiter));
        }
        let line = waiter.line();
        self.insert(now, waiter);
        Some(Alarm::Aged(line))
    }

    pub(super) fn next_alarm(&self) -> Option<Duration> {
        self.alarms.first().map(|(at, _)| *at)
    }

    fn alarm(&self, waiter: &Waiter, aged: bool) -> Duration {
        if aged {
            waiter.deadline
        } else {
            waiter
                .deadline
                .min(waiter.arrived.saturating_add(self.ageing))
        }
    }
}
