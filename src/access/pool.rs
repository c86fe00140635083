//! A limit that several gateways count together, as one of them sees it.
//!
//! A gateway asks the server for a part of what is left before it lets anything through, and lets through what it was
//! given without asking again: a lease. The server adds up what all have let through and what they hold, and gives no
//! more than is left, so all of them together never exceed the limit. Every tenth of a second a gateway tells what it
//! has used, gives back what it will not need, and asks for what its clients seem to want next. So only a request that
//! finds the lease used up waits for the server.
//!
//! While the server is away, each gateway goes on with its share of what was left when it was last seen: what all had
//! used by then runs out of the window as before, and what it lets through itself since counts once for each gateway.
//! When the server is back, it may have forgotten everything, so leases are asked for only when all have told theirs.

use std::time::Duration;

use super::clock::Millis;
use super::window::{Slice, Window};

/// A gateway keeps this part of a limit between requests, so that its next client need not wait for the server.
const KEPT: u64 = 50;
/// Exchanges without a request after which it gives that back.
const PATIENCE: u32 = 100;
/// While the server is away, this part of a limit is left for what others were given since they were last heard of.
const UNHEARD: u64 = 16;

/// What a gateway knows of a limit that it shares.
#[derive(Debug)]
pub(super) struct Pool {
    /// What the others had let through or held when they last said so.
    pub(super) others: Window,
    /// May be let through without asking.
    lease: u64,
    /// Let through since the last exchange.
    demand: u64,
    /// Not let through since, for want of a lease.
    unmet: u64,
    /// Left when last heard of; `None` before that.
    free: Option<u64>,
    /// Gateways when last heard of, this one among them.
    gateways: u64,
    /// The first slice whose amount the server does not know.
    untold: Slice,
    /// There is something to tell or to ask.
    stirs: bool,
    /// Clients have used it since the last exchange.
    used: bool,
    /// Exchanges since the last request.
    idle: u32,
    /// Since the server is away: what was let through.
    alone: Option<Window>,
    length: Duration,
    late: u64,
}

/// What a gateway tells the server of one limit, and asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// In units of the limit.
    pub(super) want: u64,
    pub(super) current: Slice,
    /// The first slice that counts.
    pub(super) oldest: Slice,
    /// What was let through, and in the current slice what is held besides.
    pub(super) amounts: Vec<(Slice, u64)>,
    /// How long an amount counts.
    pub(super) memory: Duration,
    /// Whether clients have used it since the last exchange, which others want to know.
    pub(super) used: bool,
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) granted: u64,
    /// What the others have, by slices.
    pub(super) others: Vec<(Slice, u64)>,
    pub(super) gateways: u64,
}

impl Pool {
    pub(super) fn new(length: Duration, late: u64) -> Pool {
        Pool {
            others: Window::new(length, late),
            lease: 0,
            demand: 0,
            unmet: 0,
            free: None,
            gateways: 1,
            untold: Slice(0),
            stirs: false,
            used: false,
            idle: 0,
            alone: None,
            length,
            late,
        }
    }

    pub(super) fn lease_holds(&self, amount: u64) -> bool {
        self.alone.is_none() && self.lease >= amount
    }

    pub(super) fn must_lease(&self) -> bool {
        self.alone.is_none()
    }

    /// What `amount` counts besides itself: what was let through since the server went away, and it, once for each of
    /// the other gateways, which do the same.
    pub(super) fn weight(&mut self, now: Millis, limit: u64, amount: u64) -> u64 {
        let others = self.gateways.saturating_sub(1);
        match &mut self.alone {
            Some(alone) if others > 0 => {
                let same = (alone.used(now) + amount).saturating_mul(others);
                same.saturating_add(limit / UNHEARD)
            }
            _ => 0,
        }
    }

    /// A request waits for a lease.
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

    /// Whether there is anything to tell or to ask; with `all`, whether a lease is held too, which is told again.
    pub(super) fn stirs(&self, all: bool) -> bool {
        self.stirs || (all && self.lease > 0)
    }

    /// Others have done something.
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

    /// What is to be told and asked. `own` is what this gateway has let through.
    pub(super) fn ask(&mut self, now: Millis, limit: u64, own: &mut Window) -> Ask {
        let current = own.advance(now);
        self.idle = match self.demand.max(self.unmet) {
            0 => self.idle.saturating_add(1),
            _ => 0,
        };
        let fair = self.free.unwrap_or(limit) / (4 * self.gateways.max(1));
        // As much again as was wanted lately, but no large part of what is left: others should know of it first.
        let next = self.demand.min(fair).max(self.kept(limit));
        self.lease = self.lease.min(next.max(self.unmet));
        let want = next.max(self.unmet) - self.lease;
        let first = self.untold.max(own.oldest());
        let mut amounts: Vec<(Slice, u64)> = first
            .to(current)
            .map(|slice| (slice, own.amount(slice)))
            .collect();
        if let Some((_, last)) = amounts.last_mut() {
            *last += self.lease;
        }
        (self.demand, self.unmet, self.stirs) = (0, 0, false);
        // What is held now is told with its slice, and has to be told anew with the next.
        self.untold = current;
        Ask {
            want,
            current,
            oldest: own.oldest(),
            amounts,
            memory: own.memory(),
            used: std::mem::take(&mut self.used),
        }
    }

    /// The server has answered. Whether it was away.
    pub(super) fn told(&mut self, now: Millis, limit: u64, own: &mut Window, told: &Told) {
        self.alone = None;
        self.lease += told.granted;
        self.gateways = told.gateways.max(1);
        let mut others = Window::new(self.length, self.late);
        others.advance(now);
        for (slice, amount) in &told.others {
            others.add_to(*slice, *amount);
        }
        self.others = others;
        let taken = own.used(now) + self.others.used(now) + self.lease;
        self.free = Some(limit.saturating_sub(taken));
    }

    /// The server does not answer.
    pub(super) fn lost(&mut self) {
        if self.alone.is_none() {
            self.alone = Some(Window::new(self.length, self.late));
        }
        // It is in what the others count as used.
        self.lease = 0;
        // When it is back, it may have forgotten everything.
        self.untold = Slice(0);
        self.stirs = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::meter::{Meter, Span, Unit};
    use super::*;

    const LIMIT: u64 = 100;
    const START: Millis = 1_700_000_000_000;

    /// The server, as `exchange.lua` has it.
    #[derive(Default)]
    struct Server(BTreeMap<(Slice, usize), u64>);

    impl Server {
        fn exchange(&mut self, me: usize, gateways: u64, ask: &Ask) -> Told {
            for (slice, amount) in &ask.amounts {
                self.0.insert((*slice, me), *amount);
            }
            self.0.retain(|(slice, _), _| *slice >= ask.oldest);
            let total: u64 = self.0.values().sum();
            let granted = ask.want.min(LIMIT.saturating_sub(total));
            *self.0.entry((ask.current, me)).or_default() += granted;
            let others = self.0.iter().filter(|((_, who), _)| *who != me);
            Told {
                granted,
                others: others
                    .map(|((slice, _), amount)| (*slice, *amount))
                    .collect(),
                gateways,
            }
        }
    }

    fn exchange(server: &mut Server, me: usize, gateways: &mut [Meter], now: Millis) {
        let count = gateways.len() as u64;
        let meter = &mut gateways[me];
        let pool = meter.pool.as_mut().unwrap();
        let ask = pool.ask(now, LIMIT, &mut meter.window);
        let told = server.exchange(me, count, &ask);
        pool.told(now, LIMIT, &mut meter.window, &told);
    }

    proptest! {
        /// However requests fall on the gateways, no minute holds more than the limit as long as they exchange at least
        /// once in a slice; and a lone request passes after one exchange.
        #[test]
        fn gateways_together_stay_within_the_limit(
            steps in proptest::collection::vec((0_u64..900, 0_usize..3, 1_u64..6, any::<bool>()), 1..300),
        ) {
            let meter = || Meter::new(Unit::Requests, Span::Minute, LIMIT, true);
            let mut gateways = vec![meter(), meter(), meter()];
            let mut server = Server::default();
            let mut taken: Vec<(Millis, u64)> = Vec::new();
            let mut now = START;
            for (step, me, amount, gives_back) in steps {
                now += step;
                (0..3).for_each(|each| exchange(&mut server, each, &mut gateways, now));
                if gateways[me].check(now, amount).is_err() {
                    exchange(&mut server, me, &mut gateways, now);
                }
                if gateways[me].check(now, amount).is_ok() {
                    let slice = gateways[me].take(now, amount);
                    match gives_back {
                        true => gateways[me].correct(slice, amount, 0),
                        false => taken.push((now, amount)),
                    }
                }
                let minute = taken.iter().filter(|(at, _)| at + 60_000 > now);
                let sum: u64 = minute.map(|(_, amount)| amount).sum();
                prop_assert!(sum <= LIMIT, "{sum}");
            }
            // Two minutes later nothing that was taken or given back stands in the way.
            now += 120_000;
            if gateways[0].check(now, 1).is_err() {
                exchange(&mut server, 0, &mut gateways, now);
            }
            prop_assert!(gateways[0].check(now, 1).is_ok());
        }

        /// The same while the server is away, from a moment on at which all know how things stand.
        #[test]
        fn shares_stay_within_the_limit_too(
            before in 0_u64..90,
            steps in proptest::collection::vec((0_u64..900, 0_usize..3, 1_u64..6), 1..300),
        ) {
            let meter = || Meter::new(Unit::Requests, Span::Minute, LIMIT, true);
            let mut gateways = vec![meter(), meter(), meter()];
            let mut server = Server::default();
            let mut taken = vec![(START, before)];
            prop_assert!(before == 0 || gateways[0].check(START, before).is_err());
            exchange(&mut server, 0, &mut gateways, START);
            if before > 0 {
                prop_assert!(gateways[0].check(START, before).is_ok());
                gateways[0].take(START, before);
            }
            (0..3).for_each(|each| exchange(&mut server, each, &mut gateways, START));
            for gateway in &mut gateways {
                gateway.pool.as_mut().unwrap().lost();
            }
            let mut now = START;
            for (step, me, amount) in steps {
                now += step;
                if gateways[me].check(now, amount).is_ok() {
                    gateways[me].take(now, amount);
                    taken.push((now, amount));
                }
                let minute = taken.iter().filter(|(at, _)| at + 60_000 > now);
                let sum: u64 = minute.map(|(_, amount)| amount).sum();
                prop_assert!(sum <= LIMIT, "{sum}");
            }
        }
    }
}
