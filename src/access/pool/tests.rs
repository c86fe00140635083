use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::meter::Meter;
use super::super::rate::{RatePeriod, RateUnit};
use super::*;

const LIMIT: u64 = 100;
const START: Millis = 1_700_000_000_000;
const MINUTE: Millis = 60_000;

/// One limit at the server, as `exchange.lua` has it.
#[derive(Default)]
struct Server {
    there: Vec<usize>,
    amounts: BTreeMap<(Slice, usize), u64>,
    held: BTreeMap<usize, (Slice, u64)>,
    own: BTreeMap<usize, u64>,
    /// How far each has heard; `None`: it goes on with its share.
    heard: BTreeMap<usize, Option<Heard>>,
    joined: u64,
    given: u64,
}

impl Server {
    fn exchange(&mut self, me: usize, ask: &Ask, acts: bool) -> Told {
        for (slice, amount) in &ask.amounts {
            self.amounts.insert((*slice, me), *amount);
        }
        self.held.insert(me, (ask.current, ask.held));
        let there = |who: &usize| *who == me || self.there.contains(who);
        self.amounts.retain(|(slice, _), _| *slice >= ask.oldest);
        self.held.retain(|_, (slice, _)| *slice >= ask.oldest);
        self.heard.retain(|who, _| there(who));
        self.own.retain(|who, _| there(who));
        let holding = |(who, _): &(&usize, &(Slice, u64))| **who != me && there(who);
        let held = self.held.iter().filter(holding).map(|(_, (_, held))| held);
        let mut told = Told {
            granted: 0,
            gateways: 1,
            known: true,
            joins: false,
            held: held.sum(),
            heard: Heard::default(),
            others: Vec::new(),
        };
        let others = self.amounts.iter().filter(|((_, who), _)| *who != me);
        told.others = others.map(|((slice, _), sum)| (*slice, *sum)).collect();
        let gone = self.held.iter().filter(|(who, _)| !there(who));
        told.others.extend(gone.map(|(_, held)| *held));
        if !acts {
            self.heard.insert(me, None);
            return told;
        }
        told.joins = self.heard.get(&me).is_none_or(Option::is_none);
        self.joined += u64::from(told.joins);
        let others_given = |who| self.given - self.own.get(&who).copied().unwrap_or(0);
        let mut behind = 0;
        for (who, heard) in self.heard.iter().filter(|(who, _)| **who != me) {
            told.gateways += 1;
            match heard {
                Some(heard) if heard.joined == self.joined => {
                    behind = behind.max(others_given(*who) - heard.given);
                }
                _ => told.known = false,
            }
        }
        told.heard = Heard {
            joined: self.joined,
            given: others_given(me),
        };
        let held: u64 = self.held.values().map(|(_, held)| held).sum();
        let total = self.amounts.values().sum::<u64>() + held;
        let mut most = LIMIT.saturating_sub(total);
        if told.gateways > 1 {
            most = most.min(margin(LIMIT).saturating_sub(behind));
        }
        if told.known {
            told.granted = ask.want.min(most);
        }
        self.held.insert(me, (ask.current, ask.held + told.granted));
        self.given += told.granted;
        *self.own.entry(me).or_default() += told.granted;
        self.heard.insert(me, Some(ask.heard));
        told
    }
}

/// How far a gateway is with the server, as `exchange.rs` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// It has no connection.
    Away,
    /// It has told what it counted.
    Told,
    /// All that were there have.
    Gathered,
}

struct Gateway {
    meter: Meter,
    contact: Contact,
    /// It has found the server at some time.
    came: bool,
    runs: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Wait(Millis),
    Request {
        who: usize,
        amount: u64,
        gives_back: bool,
    },
    /// As many as pass, after so many wait for a lease.
    Flood {
        who: usize,
        wanted: u64,
    },
    Exchange(usize),
    /// The server has heard, and the gateway hears nothing.
    Unanswered(usize),
    Dies {
        forgets: bool,
    },
    Revives,
    Comes,
    Ends(usize),
    /// One that has ended is no longer waited for.
    Forget(usize),
}

struct World {
    server: Server,
    up: bool,
    gateways: Vec<Gateway>,
    now: Millis,
    /// When, how much, and by whom.
    taken: Vec<(Millis, u64, usize)>,
}

impl World {
    fn new() -> World {
        World {
            server: Server::default(),
            up: true,
            gateways: Vec::new(),
            now: START,
            taken: Vec::new(),
        }
    }

    fn come(&mut self) {
        self.gateways.push(Gateway {
            meter: Meter::new(RateUnit::Requests, RatePeriod::Minute, LIMIT, true),
            contact: Contact::Away,
            came: false,
            runs: true,
        });
    }

    /// Some gateways that know each other.
    fn of(count: usize) -> World {
        let mut world = World::new();
        (0..count).for_each(|_| world.come());
        world.settle();
        world
    }

    /// Everyone hears of everyone.
    fn settle(&mut self) {
        for _ in 0..6 {
            (0..self.gateways.len()).for_each(|who| self.exchange(who, true));
        }
    }

    /// All that were there have told what they counted since the server was away.
    fn gathered(&self) -> bool {
        let mut were = self.gateways.iter().filter(|one| one.runs && one.came);
        were.all(|one| one.contact != Contact::Away)
    }

    fn exchange(&mut self, who: usize, answered: bool) {
        if !self.gateways[who].runs {
            return;
        }
        if !self.up {
            self.lose(who);
            return;
        }
        let acts = match self.gateways[who].contact {
            Contact::Away => false,
            Contact::Told => self.gathered(),
            Contact::Gathered => true,
        };
        let Gateway {
            meter,
            contact,
            came,
            ..
        } = &mut self.gateways[who];
        let pool = meter.pool.as_mut().unwrap();
        let ask = pool.ask(self.now, LIMIT, &mut meter.window, acts);
        let told = self.server.exchange(who, &ask, acts);
        if !self.server.there.contains(&who) {
            self.server.there.push(who);
        }
        if acts {
            (*contact, *came) = (Contact::Gathered, true);
        } else {
            *contact = Contact::Told;
        }
        if !answered {
            self.lose(who);
        } else if acts {
            pool.told(self.now, LIMIT, &mut meter.window, &told);
        }
    }

    fn lose(&mut self, who: usize) {
        let gateway = &mut self.gateways[who];
        gateway.contact = Contact::Away;
        // One that has never found the server takes itself for the only one, which is not what is shown here.
        if gateway.came {
            gateway.meter.pool.as_mut().unwrap().lost(self.now);
        }
    }

    fn request(&mut self, who: usize, amount: u64, gives_back: bool) -> bool {
        let (now, gateway) = (self.now, &mut self.gateways[who]);
        if !gateway.runs || gateway.meter.check(now, amount).is_err() {
            return false;
        }
        let slice = gateway.meter.take(now, amount);
        if gives_back {
            gateway.meter.correct(slice, amount, 0)
        } else {
            self.taken.push((now, amount, who))
        }
        true
    }

    /// A request that waits for a lease, and all hear of it.
    fn pass(&mut self, who: usize) -> bool {
        let passes = self.request(who, 1, false) || {
            self.exchange(who, true);
            self.request(who, 1, false)
        };
        self.settle();
        passes
    }

    fn last_minute(&self) -> u64 {
        let counts = |at: Millis| at + MINUTE > self.now;
        let minute = self.taken.iter().rev().take_while(|(at, _, _)| counts(*at));
        minute.map(|(_, amount, _)| amount).sum()
    }

    fn step(&mut self, step: &Step) {
        let count = self.gateways.len();
        match *step {
            Step::Wait(time) => self.now += time,
            Step::Request {
                who,
                amount,
                gives_back,
            } => {
                self.request(who % count, amount, gives_back);
            }
            Step::Flood { who, wanted } => {
                if !self.request(who % count, wanted, false) {
                    self.exchange(who % count, true);
                }
                while self.request(who % count, 1, false) {}
            }
            Step::Exchange(who) => self.exchange(who % count, true),
            Step::Unanswered(who) => self.exchange(who % count, false),
            Step::Dies { forgets } => {
                self.up = false;
                if forgets {
                    self.server = Server::default();
                    // Nobody is left to tell.
                    self.taken.retain(|(_, _, who)| self.gateways[*who].runs);
                }
            }
            Step::Revives => {
                // Everyone finds out that it was away, as the connections are gone.
                if !self.up {
                    (0..count).for_each(|who| self.lose(who));
                }
                self.up = true;
            }
            Step::Comes if count < 6 => self.come(),
            Step::Comes => {}
            Step::Ends(who) => {
                // What it let through without the server ends with it.
                let gateway = &mut self.gateways[who % count];
                gateway.runs &= !self.up || gateway.contact != Contact::Gathered;
            }
            Step::Forget(who) => {
                if !self.gateways[who % count].runs {
                    self.server.there.retain(|there| *there != who % count);
                }
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0_usize..6;
    let time = prop_oneof![4 => 0_u64..200, 2 => 200_u64..3000, 1 => 3000_u64..70_000];
    let step = prop_oneof![
        4 => time.prop_map(Step::Wait),
        20 => (who.clone(), 1_u64..9, any::<bool>()).prop_map(|(who, amount, gives_back)| {
            Step::Request { who, amount, gives_back }
        }),
        10 => (who.clone(), 1_u64..60).prop_map(|(who, wanted)| Step::Flood { who, wanted }),
        20 => who.clone().prop_map(Step::Exchange),
        1 => who.clone().prop_map(Step::Unanswered),
        3 => any::<bool>().prop_map(|forgets| Step::Dies { forgets }),
        3 => Just(Step::Revives),
        1 => Just(Step::Comes),
        1 => who.clone().prop_map(Step::Ends),
        2 => who.prop_map(Step::Forget),
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes in whichever order: gateways come and end, each asks when it does, answers are lost, the server
    /// goes away at any time, with or without what it knew, and comes back. No minute holds more than the limit.
    #[test]
    fn no_minute_holds_more_than_the_limit(count in 1_usize..4, steps in steps()) {
        let mut world = World::of(count);
        for step in &steps {
            world.step(step);
            let sum = world.last_minute();
            prop_assert!(sum <= LIMIT, "{sum}");
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// What was taken, given back or held does not stand in the way for longer than it counts.
    #[test]
    fn all_of_the_limit_can_be_used_again(count in 1_usize..4, steps in steps()) {
        let mut world = World::of(count);
        steps.iter().for_each(|step| world.step(step));
        world.step(&Step::Revives);
        for who in 0..world.gateways.len() {
            world.step(&Step::Ends(who));
            world.step(&Step::Forget(who));
        }
        let fresh = world.gateways.len();
        world.come();
        world.come();
        world.now += 2 * MINUTE;
        world.settle();
        let mut passed = 0;
        for _ in 0..LIMIT + 20 {
            passed += u64::from(world.pass(fresh));
        }
        prop_assert_eq!(passed, LIMIT);
    }

    /// Without the server, the gateways together let through what was left, but for the margin and what does not divide.
    #[test]
    fn shares_are_of_use(count in 1_usize..4, before in 0_u64..90) {
        let mut world = World::of(count);
        let mut passed = 0;
        for _ in 0..before {
            passed += u64::from(world.pass(0));
        }
        prop_assert_eq!(passed, before);
        world.step(&Step::Dies { forgets: true });
        (0..count).for_each(|who| world.exchange(who, true));
        for _ in 0..LIMIT {
            for who in 0..count {
                passed += u64::from(world.request(who, 1, false));
            }
        }
        let margin = if count > 1 { margin(LIMIT) } else { 0 };
        let least = (LIMIT - margin).saturating_sub(count as u64 * (1 + LIMIT / KEPT));
        prop_assert!((least..=LIMIT).contains(&passed), "{passed}");
    }
}

#[test]
fn one_that_joins_gets_nothing_before_all_others_know() {
    let mut world = World::of(2);
    world.come();
    world.exchange(2, true);
    world.exchange(2, true);
    assert!(!world.request(2, 1, false));
    world.exchange(0, true);
    world.exchange(2, true);
    assert!(
        !world.request(2, 1, false),
        "the second has not heard of it"
    );
    // Nor has it a share.
    world.step(&Step::Dies { forgets: true });
    world.exchange(2, true);
    assert!(!world.request(2, 1, false));
    world.step(&Step::Revives);
    world.settle();
    assert!(world.pass(2));
}

#[test]
fn a_lease_ends_soon_after_it_was_told() {
    let mut world = World::of(2);
    assert!(!world.request(0, 5, false));
    world.exchange(0, true);
    world.now = world.now / 1000 * 1000 + 999;
    assert!(world.gateways[0].meter.check(world.now, 5).is_ok());
    world.now += 501;
    assert!(world.gateways[0].meter.check(world.now, 5).is_err());
}
