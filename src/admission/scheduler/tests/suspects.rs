//! Copies that hang: found by two requests in a row that are late, left alone, unloaded, tried, and back.

use super::*;

/// As [`Fleet::with`], where somebody can heal.
fn healable(loaded: &[&[ModelId]]) -> Fleet {
    let mut fleet = Fleet::with(loaded);
    fleet.scheduler.own_loads(fleet.now);
    fleet
}

impl Fleet {
    fn late(&mut self, ticket: Ticket) {
        self.scheduler.late(self.now, ticket);
        self.settle();
    }

    fn content(&mut self, ticket: Ticket) {
        self.scheduler.loaded(self.now, ticket);
        self.settle();
    }

    fn recalled(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.recalls)
    }

    fn begun_heals(&mut self) -> Vec<HealBegun> {
        std::mem::take(&mut self.heals)
    }

    fn healed(&mut self, heal: Ticket) {
        self.scheduler.healed(self.now, heal, answered(0.0));
        self.settle();
    }

    fn heal_failed(&mut self, heal: Ticket) {
        self.scheduler.heal_failed(self.now, heal);
        self.settle();
    }

    /// The conditions of the copies of A, by backend.
    fn conditions(&self) -> Vec<(BackendId, Condition)> {
        let copies = self.scheduler.copies(self.now);
        let mut of_a: Vec<_> = copies
            .filter(|copy| copy.model == A)
            .map(|copy| (copy.backend, copy.condition))
            .collect();
        of_a.sort_by_key(|(backend, _)| *backend);
        of_a
    }

    /// Two requests for A on the backend are late, one after the other. Returns the second, which is still there.
    fn hangs(&mut self, on: BackendId) -> Ticket {
        let first = self.arrive(request(A));
        self.late(first);
        self.scheduler.cancel(self.now, first);
        self.settle();
        let second = self.arrive(request(A));
        assert_eq!(self.started(), [(first, on, false), (second, on, false)]);
        self.late(second);
        second
    }
}

/// What happens to one of three requests on a copy, in turn.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Late,
    /// It shows content, and is answered.
    Answered,
    /// Its client leaves before it has shown anything.
    Left,
}

#[test]
fn two_late_requests_without_content_in_between_make_a_copy_suspect() {
    use Fate::*;
    for (fates, suspect) in [
        (vec![Late], false),
        (vec![Answered, Late], false),
        (vec![Late, Answered, Late], false),
        (vec![Late, Late], true),
        (vec![Late, Left, Late], true),
        (vec![Answered, Late, Late], true),
    ] {
        let mut fleet = healable(&[&[A]]);
        for fate in &fates {
            let ticket = fleet.arrive(request(A));
            match fate {
                Late => fleet.late(ticket),
                Answered => fleet.content(ticket),
                Left => {}
            }
            match fate {
                Answered => fleet.complete(ticket),
                Late | Left => {
                    fleet.scheduler.cancel(fleet.now, ticket);
                    fleet.settle();
                }
            }
        }
        assert_eq!(fleet.begun_heals().len(), usize::from(suspect), "{fates:?}");
    }
}

#[test]
fn one_request_that_is_late_twice_is_one() {
    let mut fleet = healable(&[&[A]]);
    let ticket = fleet.arrive(request(A));
    fleet.late(ticket);
    fleet.late(ticket);
    assert_eq!(fleet.recalled(), []);
    assert_eq!(fleet.conditions(), [(id(0), Condition::Well)]);
}

#[test]
fn nothing_starts_on_a_suspect_copy_and_those_on_it_are_recalled() {
    let mut fleet = healable(&[&[A, B], &[]]);
    let hanging = fleet.hangs(id(0));
    assert_eq!(fleet.recalled(), [hanging]);
    assert_eq!(fleet.conditions(), [(id(0), Condition::Suspect)]);
    // It counts as absent: another server loads the model, and this one serves its others.
    let waits = fleet.arrive(request(A));
    assert_eq!(fleet.started(), []);
    let loads = std::mem::take(&mut fleet.loads);
    assert_eq!((loads.len(), loads[0].1, loads[0].2), (1, id(1), A));
    assert_eq!(fleet.begun_heals(), []);
    fleet.retry(hanging).unwrap();
    let heals = fleet.begun_heals();
    assert_eq!(heals.len(), 1);
    assert_eq!((heals[0].1, heals[0].2, heals[0].3), (id(0), A, true));
    assert_eq!(fleet.conditions(), [(id(0), Condition::Healing)]);
    let other = fleet.arrive(request(B));
    assert_eq!(fleet.started(), [(other, id(0), false)]);
    fleet.scheduler.load_done(fleet.now, loads[0].0);
    fleet.settle();
    assert_eq!(fleet.started(), [(hanging, id(1), false)]);
    fleet.complete(hanging);
    assert_eq!(fleet.started(), [(waits, id(1), false)]);
}

#[test]
fn a_copy_that_has_been_healed_serves_again() {
    let mut fleet = healable(&[&[A]]);
    let hanging = fleet.hangs(id(0));
    fleet.scheduler.cancel(fleet.now, hanging);
    fleet.settle();
    fleet.started();
    let waits = fleet.arrive(request(A));
    // A probe meanwhile finds it in memory, which says nothing.
    fleet.observe(0, &[A, B, C], &[A]);
    assert_eq!(fleet.started(), []);
    let heals = fleet.begun_heals();
    fleet.pass(8.0);
    fleet.healed(heals[0].0);
    assert_eq!(fleet.started(), [(waits, id(0), false)]);
    assert_eq!(fleet.conditions(), [(id(0), Condition::Well)]);
    assert!(!fleet.scheduler.is_wary());
}

#[test]
fn attempts_that_fail_are_repeated_ever_later_and_the_others_are_served_meanwhile() {
    let mut fleet = healable(&[&[A, B]]);
    let hanging = fleet.hangs(id(0));
    fleet.scheduler.cancel(fleet.now, hanging);
    fleet.settle();
    fleet.started();
    for pause in [30, 60, 120, 240, 480, 600, 600] {
        let heals = fleet.begun_heals();
        assert_eq!(heals.len(), 1, "before the pause of {pause} s");
        fleet.pass(3.0);
        fleet.heal_failed(heals[0].0);
        let refusal = fleet.refused(request(A));
        let retry_after = Duration::from_secs(pause);
        assert_eq!(refusal, NoSlot::CannotLoad { retry_after });
        let other = fleet.arrive(request(B));
        assert_eq!(fleet.started(), [(other, id(0), false)]);
        fleet.complete(other);
        fleet.pass(pause as f64 - 1.0);
        assert_eq!(fleet.begun_heals(), []);
        fleet.pass(1.0);
    }
}

#[test]
fn content_that_comes_after_all_clears_the_copy() {
    let mut fleet = healable(&[&[A]]);
    let hanging = fleet.hangs(id(0));
    assert_eq!(fleet.conditions(), [(id(0), Condition::Suspect)]);
    fleet.content(hanging);
    assert_eq!(fleet.conditions(), [(id(0), Condition::Well)]);
    fleet.complete(hanging);
    assert_eq!(fleet.begun_heals(), []);
}

#[test]
fn what_shows_content_is_not_recalled() {
    let mut fleet = Fleet::new(policy());
    fleet.join(BackendSpec {
        slots: Some(3),
        ..spec(0)
    });
    fleet.observe(0, &[A], &[A]);
    fleet.scheduler.own_loads(fleet.now);
    let tickets = [(); 3].map(|()| fleet.arrive(request(A)));
    fleet.late(tickets[0]);
    fleet.content(tickets[1]);
    fleet.late(tickets[0]);
    fleet.late(tickets[2]);
    assert_eq!(fleet.recalled(), [tickets[0], tickets[2]]);
    // The copy is unloaded when the last request has left it.
    for ticket in [tickets[0], tickets[2]] {
        fleet.scheduler.cancel(fleet.now, ticket);
        fleet.settle();
    }
    assert_eq!(fleet.begun_heals(), []);
    fleet.scheduler.cancel(fleet.now, tickets[1]);
    fleet.settle();
    assert_eq!(fleet.begun_heals().len(), 1);
}

#[test]
fn a_load_that_does_not_end_is_cleared_away_before_the_next() {
    let mut fleet = healable(&[&[], &[]]);
    let waits = fleet.arrive(request(A));
    let stuck = std::mem::take(&mut fleet.loads)[0];
    fleet.scheduler.load_stuck(fleet.now, stuck.0);
    fleet.settle();
    let heals = fleet.begun_heals();
    assert_eq!((heals.len(), heals[0].1, heals[0].2), (1, stuck.1, A));
    let elsewhere = std::mem::take(&mut fleet.loads);
    assert_eq!(elsewhere.len(), 1);
    assert_ne!(elsewhere[0].1, stuck.1);
    fleet.healed(heals[0].0);
    assert_eq!(fleet.started(), [(waits, stuck.1, false)]);
}

#[test]
fn a_copy_that_has_left_the_memory_needs_no_healing() {
    let mut fleet = healable(&[&[A]]);
    let hanging = fleet.hangs(id(0));
    // It is still in use, so what the probe says of it is too early.
    fleet.observe(0, &[A, B, C], &[]);
    assert_eq!(fleet.conditions(), [(id(0), Condition::Suspect)]);
    fleet.scheduler.unhealthy(fleet.now, id(0));
    fleet.scheduler.cancel(fleet.now, hanging);
    fleet.settle();
    assert_eq!(fleet.begun_heals(), []);
    // The server has started anew.
    fleet.observe(0, &[A, B, C], &[]);
    assert_eq!(fleet.begun_heals(), []);
    fleet.started();
    fleet.arrive(request(A));
    assert_eq!(fleet.loads.len(), 1);
}

#[test]
fn a_server_that_leaves_takes_its_sick_copies_along() {
    let mut fleet = healable(&[&[A]]);
    let hanging = fleet.hangs(id(0));
    fleet.scheduler.cancel(fleet.now, hanging);
    fleet.settle();
    let heals = fleet.begun_heals();
    fleet.scheduler.leave(fleet.now, id(0));
    fleet.settle();
    assert_eq!(fleet.conditions(), []);
    fleet.healed(heals[0].0);
    fleet.heal_failed(heals[0].0);
    assert!(!fleet.scheduler.is_wary());
    assert!(fleet.scheduler.heals.is_empty() && fleet.scheduler.sick.is_empty());
}

#[test]
fn nobody_is_suspected_where_nobody_can_heal() {
    let mut fleet = Fleet::with(&[&[A]]);
    let hanging = fleet.hangs(id(0));
    assert_eq!(fleet.recalled(), []);
    fleet.scheduler.cancel(fleet.now, hanging);
    fleet.settle();
    assert_eq!(fleet.begun_heals(), []);
}
