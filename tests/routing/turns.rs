//! Turns, draws and measures are taken among those of one rank: a reserve, or one that is out for a while, has no part in
//! those of the others.

use super::*;

/// Two primaries and a reserve between them, or a third primary.
fn trio(strategy: &str, reserve: bool) -> World {
    let flag = if reserve { ", fallback_only: true" } else { "" };
    let providers = format!(
        "
  - {{ name: a, base_url: 'http://a/v1' }}
  - {{ name: r, base_url: 'http://r/v1'{flag} }}
  - {{ name: b, base_url: 'http://b/v1' }}
"
    );
    World::new(
        &providers,
        &format!("strategy: {strategy}, bundled_rules: false"),
    )
    .has("a", &["m"])
    .has("r", &["m"])
    .has("b", &["m"])
}

/// How often each provider is asked first in so many requests.
fn firsts(world: &World, requests: usize) -> [usize; 3] {
    let mut firsts = [0; 3];
    for _ in 0..requests {
        let plan = world
            .router
            .plan(&PlanRequest::of("m"), Instant::now())
            .unwrap();
        firsts[plan.steps[0].providers[0]] += 1;
    }
    firsts
}

#[test]
fn a_reserve_takes_no_turn_from_the_others() {
    for strategy in ["round_robin", "least_loaded", "fastest_response"] {
        let world = trio(strategy, true);
        assert_eq!(firsts(&world, 600), [300, 0, 300], "{strategy}");
        // The reserve comes last whoever is first.
        let plan = world
            .router
            .plan(&PlanRequest::of("m"), Instant::now())
            .unwrap();
        assert_eq!(plan.steps[2].providers, [ProviderId::at(1)], "{strategy}");
        assert!(plan.steps[2].reserve, "{strategy}");
    }
    let [a, r, b] = firsts(&trio("weighted", true), 1000);
    assert_eq!(r, 0);
    assert!(a.abs_diff(b) <= 10, "{a} : {b}");
    for strategy in ["failover", "cost_optimized"] {
        assert_eq!(firsts(&trio(strategy, true), 6), [6, 0, 0], "{strategy}");
    }
}

#[test]
fn one_that_is_out_for_a_while_takes_no_turn() {
    for strategy in ["round_robin", "least_loaded", "fastest_response"] {
        let world = trio(strategy, false);
        assert_eq!(firsts(&world, 600), [200; 3], "{strategy}");
        world.change(|herd| herd.unavailable = vec![1]);
        assert_eq!(firsts(&world, 600), [300, 0, 300], "{strategy}");
        world.change(|herd| herd.unavailable.clear());
        world.change(|herd| herd.standings[1].healthy = false);
        assert_eq!(firsts(&world, 600), [300, 0, 300], "{strategy}");
    }
    let world = trio("weighted", false);
    world.change(|herd| herd.unavailable = vec![1]);
    let [a, r, b] = firsts(&world, 1000);
    assert_eq!(r, 0);
    assert!(a.abs_diff(b) <= 10, "{a} : {b}");
}

#[test]
fn all_that_are_equal_have_their_share_although_some_only_look() {
    let world = trio("round_robin", true);
    let mut firsts = [0; 3];
    for _ in 0..300 {
        let looks = PlanRequest {
            looks_only: true,
            ..PlanRequest::of("m")
        };
        world.router.plan(&looks, Instant::now()).unwrap();
        world
            .router
            .explain(&PlanRequest::of("m"), Instant::now(), |_| None);
        let plan = world
            .router
            .plan(&PlanRequest::of("m"), Instant::now())
            .unwrap();
        firsts[plan.steps[0].providers[0]] += 1;
    }
    assert_eq!(firsts, [150, 0, 150]);
}

#[test]
fn equals_of_capability_based_leave_the_reserve_out() {
    let world = trio("capability_based", true);
    assert_eq!(world.plan("m").as_deref(), Ok("a+b=m, !r=m"));
}

#[test]
fn an_overflow_follows_the_strategy_too() {
    let providers = "
  - { name: gpus, backends: [gpu1] }
  - { name: a, base_url: 'http://a/v1' }
  - { name: b, base_url: 'http://b/v1' }
";
    let routing = "bundled_rules: false, strategy: round_robin, models: { m: { overflow: [o] } }";
    let world = World::new(providers, routing)
        .has("gpus", &["m"])
        .has("a", &["o"])
        .has("b", &["o"]);
    let mut seconds = [0; 3];
    for _ in 0..10 {
        let plan = world
            .router
            .plan(&PlanRequest::of("m"), Instant::now())
            .unwrap();
        assert!(plan.steps[0].providers.is_empty());
        seconds[plan.steps[1].providers[0]] += 1;
    }
    assert_eq!(seconds, [0, 5, 5]);
}
