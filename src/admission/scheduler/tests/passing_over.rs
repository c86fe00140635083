//! Backends that have failed requests for one model alone.

use super::*;

impl Fleet {
    /// The running request fails by what is wrong with its model there, and is given up.
    fn fail_of_model(&mut self, ticket: Ticket) {
        self.scheduler.model_failed(self.now, ticket);
        self.scheduler.cancel(self.now, ticket);
        self.settle();
    }

    /// Where a request for the model starts now, which is then given up.
    fn place(&mut self, model: ModelId) -> BackendId {
        let ticket = self.arrive(request(model));
        let started = self.started();
        let (_, backend, _) = started[0];
        self.scheduler.cancel(self.now, ticket);
        self.settle();
        backend
    }
}

#[test]
fn a_backend_is_passed_over_for_one_model_and_longer_each_time() {
    let mut fleet = Fleet::with(&[&[A, B], &[A, B]]);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let ticket = fleet.arrive(request(A));
        assert_eq!(fleet.started(), [(ticket, id(0), false)]);
        fleet.fail_of_model(ticket);
        assert_eq!(fleet.place(B), id(0));
        let mut seconds = 0;
        while fleet.place(A) == id(1) {
            fleet.pass(1.0);
            seconds += 1;
        }
        pauses.push(seconds);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    // One that is answered ends that.
    let ticket = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(ticket, id(0), false)]);
    fleet.complete(ticket);
    let ticket = fleet.arrive(request(A));
    fleet.started();
    fleet.fail_of_model(ticket);
    fleet.pass(5.0);
    assert_eq!(fleet.place(A), id(0));
}

#[test]
fn a_backend_that_fails_serves_where_no_other_could() {
    let mut fleet = Fleet::with(&[&[A], &[A]]);
    let ticket = fleet.arrive(request(A));
    fleet.started();
    fleet.fail_of_model(ticket);
    assert_eq!(fleet.place(A), id(1));
    // It is asked for by name.
    let pinned = Arrival {
        pinned: Some(id(0)),
        ..request(A)
    };
    let ticket = fleet.arrive(pinned);
    assert_eq!(fleet.started(), [(ticket, id(0), false)]);
    fleet.fail_of_model(ticket);
    // Where the other has been tried already, it is better than nobody.
    let scope = Scope {
        excluded: vec![id(1)],
        ..Scope::default()
    };
    let ticket = fleet.scheduler.arrive_within(fleet.now, request(A), scope);
    fleet.settle();
    assert_eq!(fleet.started(), [(ticket.unwrap(), id(0), false)]);
    fleet.complete(ticket.unwrap());
    // The other is down, or fails as well.
    let ticket = fleet.arrive(request(A));
    fleet.started();
    fleet.fail_of_model(ticket);
    fleet.scheduler.unhealthy(fleet.now, id(1));
    assert_eq!(fleet.place(A), id(0));
    fleet.observe(1, &[A, B, C], &[A]);
    let ticket = fleet.arrive(request(A));
    assert_eq!(fleet.started(), [(ticket, id(1), false)]);
    fleet.fail_of_model(ticket);
    assert_eq!(fleet.place(A), id(0));
}

#[test]
fn who_has_failed_requests_may_load_the_model_all_the_same() {
    let mut fleet = Fleet::with(&[&[A]]);
    fleet.scheduler.own_loads(fleet.now);
    let ticket = fleet.arrive(request(A));
    fleet.started();
    fleet.fail_of_model(ticket);
    fleet.observe(0, &[A, B, C], &[]);
    fleet.arrive(request(A));
    assert_eq!(fleet.loads.len(), 1);
}
