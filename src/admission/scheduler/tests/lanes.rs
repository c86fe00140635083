//! Requests that one copy serves at once: learned, and apart from those of the server's other models.

use super::*;

/// Servers without a bound of their own, whose lanes are learned, and what each of their copies really serves at once.
fn fleet(loaded: &[&[ModelId]]) -> Fleet {
    let mut fleet = Fleet::new(policy());
    for (order, loaded) in (0..).zip(loaded) {
        fleet.join(BackendSpec {
            slots: None,
            parallel: None,
            ..spec(order)
        });
        fleet.observe(order, &[A, B, C], loaded);
    }
    fleet
}

/// Six or fewer clients that always have a request under way, of four seconds each, and what the server does with them.
struct Clients {
    fleet: Fleet,
    asking: usize,
    /// Ticket, when it came to the server, and when it got its slot there.
    there: Vec<(Ticket, Duration, Option<Duration>)>,
}

impl Clients {
    const SERVICE: f64 = 4.0;

    fn of(fleet: Fleet) -> Self {
        Self {
            fleet,
            asking: 0,
            there: Vec::new(),
        }
    }

    /// Goes on for some seconds against a server that serves `truth` at once. Returns how many requests started, and how
    /// many waited inside.
    fn run(&mut self, truth: usize, clients: usize, seconds: u32) -> (usize, usize) {
        let (mut starts, mut waits) = (0, 0);
        for _ in 0..seconds * 10 {
            while self.asking < clients {
                self.fleet.arrive(request(A));
                self.asking += 1;
            }
            let now = self.fleet.now;
            for (ticket, ..) in self.fleet.started() {
                self.there.push((ticket, now, None));
                starts += 1;
            }
            let served = self
                .there
                .iter()
                .filter(|(.., slot)| slot.is_some())
                .count();
            let waiting = self.there.iter_mut().filter(|(.., slot)| slot.is_none());
            for (.., slot) in waiting.take(truth.saturating_sub(served)) {
                *slot = Some(now);
            }
            let ends = |slot: Duration| now >= slot + secs(Self::SERVICE);
            let (ended, left) = std::mem::take(&mut self.there)
                .into_iter()
                .partition(|(.., slot)| slot.is_some_and(ends));
            self.there = left;
            let ended: Vec<_> = ended;
            for (ticket, came, slot) in ended {
                let inside = slot.unwrap() - came;
                waits += usize::from(inside > secs(0.5));
                let outcome = RunOutcome {
                    inside: Some(inside),
                    ..answered(0.0)
                };
                self.fleet.scheduler.complete(now, ticket, outcome);
                self.fleet.settle();
                self.asking -= 1;
            }
            self.fleet.pass(0.1);
        }
        (starts, waits)
    }

    fn lane(&self) -> u32 {
        self.fleet.scheduler.backends[&id(0)].lane(A)
    }
}

#[test]
fn models_of_one_server_have_slots_of_their_own() {
    let mut fleet = fleet(&[&[A, B]]);
    let a = fleet.arrive(request(A));
    let b = fleet.arrive(request(B));
    assert_eq!(fleet.started(), [(a, id(0), false), (b, id(0), false)]);
}

#[test]
fn a_copy_that_serves_four_at_once_is_found_to() {
    let mut clients = Clients::of(fleet(&[&[A]]));
    clients.run(4, 6, 600);
    assert_eq!(clients.lane(), 4);
    let (starts, waits) = clients.run(4, 6, 3600);
    // Nearly all of what four slots can do in an hour, and few tries.
    assert!(starts > 3400, "{starts}");
    assert!(waits < 20, "{waits}");
}

#[test]
fn a_copy_that_serves_one_is_rarely_tried() {
    let mut clients = Clients::of(fleet(&[&[A]]));
    let (starts, waits) = clients.run(1, 3, 4 * 3600);
    assert_eq!(clients.lane(), 1);
    assert!(starts > 3400, "{starts}");
    assert!(waits < 15, "{waits}");
}

#[test]
fn a_copy_that_has_become_narrower_is_found_out() {
    let mut clients = Clients::of(fleet(&[&[A]]));
    clients.run(4, 6, 600);
    assert_eq!(clients.lane(), 4);
    clients.run(2, 6, 600);
    assert!(clients.lane() <= 2);
}

#[test]
fn nobody_is_tried_where_nobody_waits_or_the_number_is_stated() {
    let mut fleet = Fleet::new(policy());
    fleet.join(BackendSpec {
        slots: None,
        parallel: Some(2),
        ..spec(0)
    });
    fleet.observe(0, &[A], &[A]);
    let tickets = [(); 3].map(|()| fleet.arrive(request(A)));
    let started = fleet.started();
    assert_eq!(started.len(), 2);
    fleet.complete(tickets[0]);
    assert_eq!(fleet.started().len(), 1);
}

#[test]
fn the_bound_of_the_whole_server_holds_over_all_models() {
    let mut fleet = Fleet::new(policy());
    fleet.join(BackendSpec {
        slots: Some(2),
        parallel: None,
        vram: Some(30 * GIB),
        ..spec(0)
    });
    fleet.observe(0, &[A, B, C], &[A, B, C]);
    for model in [A, B, C] {
        fleet.arrive(request(model));
    }
    assert_eq!(fleet.started().len(), 2);
}
