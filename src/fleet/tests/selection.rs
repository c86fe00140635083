//! Choosing among members by each selector.

use std::collections::HashSet;

use pingora_load_balancing::selection::{BackendIter, BackendSelection};

use super::*;
use crate::fleet::ranked::Ranked;

/// A fleet of servers behind one listener, on addresses in a row, after one round.
async fn fleet_of(count: u8, selector: &Selector) -> (Fake, Arc<Fleet>) {
    let server = Fake::start_at(([0, 0, 0, 0], 0).into(), Mood::Has(&["llama3.2"])).await;
    let port = server.addr.port();
    let mut backends: Vec<_> = (1..=count)
        .map(|n| entry(&format!("127.0.0.{n}"), port))
        .collect();
    backends[0].weight = Some(2);
    backends[0].cost = Some(3.0);
    let provider = settings::Provider {
        backends,
        selector: selector.kind,
        ..settings("list")
    };
    let fleet = Fleet::new(&[provider], &Timeouts::default(), Vec::new()).unwrap();
    fleet.refresh().await;
    assert!(fleet.snapshot().iter().all(|backend| backend.healthy()));
    (server, fleet)
}

#[tokio::test]
async fn every_selector_goes_through_all_members_from_best_to_worst() {
    for selector in &SELECTORS {
        let (_server, fleet) = fleet_of(5, selector).await;
        let members = fleet.snapshot();
        let _busy = [members[1].begin(), members[1].begin(), members[3].begin()];
        let targets = fleet.managed[0].balancer.backends().get_backend();
        let ranked = Arc::new(Ranked::build_with_config(&targets, &selector));
        let mut ranking = ranked.iter(b"");
        let mut order = Vec::new();
        while let Some(target) = ranking.next() {
            order.push(target.ext.get::<Arc<Backend>>().unwrap().id);
        }
        let now = std::time::Instant::now();
        let mut wanted: Vec<_> = (0..)
            .zip(members.iter())
            .map(|(order, backend)| (selector.standing(&backend.load(order, now)), backend.id))
            .collect();
        wanted.sort_by(|(left, _), (right, _)| left.order(right));
        let wanted: Vec<_> = wanted.into_iter().map(|(_, id)| id).collect();
        assert_eq!(order, wanted, "{}", selector.name);
    }
}

#[tokio::test]
async fn every_selector_finds_what_is_left() {
    for selector in &SELECTORS {
        let (_server, fleet) = fleet_of(3, selector).await;
        let mut tried = Vec::new();
        while let Some(backend) = fleet.pick(None, None, &tried) {
            assert!(!tried.contains(&backend.id));
            tried.push(backend.id);
        }
        assert_eq!(tried.len(), 3, "{}", selector.name);
    }
}

#[tokio::test]
async fn picks_take_turns() {
    let (_server, fleet) = fleet_of(4, Selector::of(SelectorKind::RoundRobin)).await;
    let around = || {
        (0..4)
            .map(|_| fleet.pick(None, None, &[]).unwrap().id)
            .collect::<HashSet<_>>()
    };
    assert_eq!(around().len(), 4);
    assert_eq!(around().len(), 4);

    let (_server, fleet) = fleet_of(2, Selector::of(SelectorKind::Weighted)).await;
    let picked: Vec<_> = (0..6)
        .map(|_| fleet.pick(None, None, &[]).unwrap().weight)
        .collect();
    assert_eq!(picked, [2, 1, 2, 2, 1, 2]);
}

#[tokio::test]
async fn requests_in_flight_end_with_their_guard() {
    let (_server, fleet) = fleet_of(2, Selector::of(SelectorKind::LeastInFlight)).await;
    let first = fleet.pick(None, None, &[]).unwrap();
    let request = first.begin();
    let second = fleet.pick(None, None, &[]).unwrap();
    assert_ne!(first.id, second.id);
    drop(request);
    assert_eq!(fleet.pick(None, None, &[]).unwrap().id, first.id);
}
