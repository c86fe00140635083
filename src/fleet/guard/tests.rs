//! The guard as a whole, by a clock that the test turns.

use proptest::prelude::*;

use super::*;
use crate::settings::{Provider, ProviderKind, Secret};
use remuda_formats::dialect::rate_limits::{Allowance, RateLimits};

const A: ModelKey = ModelKey(1);
const B: ModelKey = ModelKey(2);

struct World {
    guard: Guard,
    now: Instant,
    changes: Vec<Change>,
}

impl World {
    fn new(keys: usize) -> Self {
        let mut provider = Provider::of_kind("openai", ProviderKind::OpenAi);
        let mut secrets = (0..keys).map(|number| Secret::new(&format!("key-{number}")));
        provider.api_key = secrets.next();
        provider.api_keys = secrets.collect();
        let now = Instant::now();
        Self {
            guard: Guard::new(&provider, &Routing::default(), now),
            now,
            changes: Vec::new(),
        }
    }

    fn note(&mut self, key: usize, model: ModelKey, result: AttemptResult) {
        self.told(key, model, result, None);
    }

    fn told(
        &mut self,
        key: usize,
        model: ModelKey,
        result: AttemptResult,
        limits: Option<&RateLimits>,
    ) {
        let attempted = Attempted {
            key,
            model,
            name: if model == A { "a" } else { "b" },
            started: self.now,
            further: false,
            result,
            limits,
        };
        let changes = &mut self.changes;
        self.guard
            .note(&attempted, 1, 1.0, self.now, |change| changes.push(change));
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        let changes = &mut self.changes;
        self.guard.tick(self.now, |change| changes.push(change));
    }

    fn unavailable(&self, model: ModelKey) -> Option<u64> {
        let unavailable = self.guard.unavailable(Some(model), self.now)?;
        Some((unavailable.until() - self.now).as_secs())
    }
}

fn limited(seconds: u64) -> AttemptResult {
    AttemptResult::RateLimited {
        pause: Some(Duration::from_secs(seconds)),
    }
}

fn served() -> AttemptResult {
    AttemptResult::Served {
        latency: Duration::from_millis(300),
        streamed: true,
    }
}

#[test]
fn failures_close_a_provider_and_trials_open_it_again() {
    let mut world = World::new(1);
    for failure in 0..10 {
        world.note(0, [A, B][failure % 2], AttemptResult::Failed);
    }
    assert_eq!(world.unavailable(A), Some(5));
    assert_eq!(
        world
            .guard
            .unavailable(None, world.now)
            .map(|why| why.until()),
        Some(world.now + Duration::from_secs(5))
    );
    assert_eq!(world.guard.limit(world.now), Some(0));
    assert_eq!(world.guard.status(world.now).breaker, BreakerState::Open);
    world.pass(5);
    assert_eq!(
        (world.unavailable(A), world.guard.limit(world.now)),
        (None, Some(1))
    );
    for _ in 0..3 {
        world.note(0, A, served());
    }
    assert_eq!(world.guard.limit(world.now), Some(3));
    world.pass(30);
    assert_eq!(world.guard.limit(world.now), None);
    world
        .changes
        .retain(|change| !matches!(change, Change::Model(_)));
    assert!(matches!(
        world.changes[..],
        [
            Change::Opened {
                cause: OpenCause::InARow(5),
                sole: None,
                ..
            },
            Change::HalfOpen,
            Change::Closed
        ]
    ));
}

#[test]
fn failures_of_one_model_leave_the_others_asked() {
    let name = |change: &Change| match change {
        Change::Opened { sole, .. } => sole.as_deref().map(str::to_owned),
        _ => None,
    };
    let mut world = World::new(1);
    for _ in 0..10 {
        world.note(0, A, AttemptResult::TimedOut);
    }
    // It is shown as open, as nothing else has been tried, and yet another model is.
    assert_eq!(world.guard.status(world.now).breaker, BreakerState::Open);
    assert!(world.guard.status(world.now).sole);
    assert_eq!(
        world.changes.iter().map(name).collect::<Vec<_>>(),
        [Some("a".into())]
    );
    assert_eq!(
        (world.unavailable(A), world.unavailable(B)),
        (Some(5), None)
    );
    assert!(world.guard.unavailable(None, world.now).is_none());
    assert_eq!(world.guard.limit(world.now), None);
    // A request that has waited for a slot meanwhile is not sent either.
    assert!(matches!(
        world.guard.pick(A, 1, world.now),
        Err(Unavailable::Open { of_model: true, .. })
    ));
    assert_eq!(world.guard.pick(B, 1, world.now), Ok(0));
    let models = world.guard.models(world.now);
    assert_eq!((models.len(), &*models[0].name), (1, "a"));
    // One failure of another is not yet the provider's, and an answer shows that it is not.
    world.note(0, B, AttemptResult::Failed);
    assert_eq!(world.unavailable(B), None);
    world.note(0, B, served());
    assert_eq!(world.guard.status(world.now).breaker, BreakerState::Closed);
    assert_eq!(
        (world.unavailable(A), world.unavailable(B)),
        (Some(5), None)
    );
    assert_eq!(world.changes.last(), Some(&Change::Closed));
}

#[test]
fn a_provider_with_one_model_in_use_is_left_alone_and_comes_back() {
    let mut world = World::new(1);
    for _ in 0..5 {
        world.note(0, A, AttemptResult::Failed);
    }
    for pause in [5, 10, 20, 20] {
        assert_eq!(world.unavailable(A), Some(pause));
        world.pass(pause);
        assert_eq!(world.guard.pick(A, 1, world.now), Ok(0));
        assert!(world.guard.pick(A, 1, world.now).is_err(), "one at a time");
        world.note(0, A, AttemptResult::Failed);
    }
    world.pass(20);
    for _ in 0..3 {
        assert_eq!(world.guard.pick(A, 1, world.now), Ok(0));
        world.note(0, A, served());
    }
    assert_eq!(world.guard.status(world.now).breaker, BreakerState::Closed);
    assert_eq!(world.guard.limit(world.now), Some(3), "it is not overrun");
    assert!(world.guard.models(world.now).is_empty());
}

#[test]
fn what_fails_for_several_models_is_the_providers() {
    let mut world = World::new(1);
    for _ in 0..5 {
        world.note(0, A, AttemptResult::Failed);
    }
    for _ in 0..2 {
        assert_eq!(world.unavailable(B), None);
        world.note(0, B, AttemptResult::Failed);
    }
    assert_eq!(world.guard.limit(world.now), Some(0));
    assert_eq!(
        (world.unavailable(A), world.unavailable(B)),
        (Some(5), Some(5))
    );
    // A refused key is no model's fault.
    let mut world = World::new(1);
    for _ in 0..5 {
        world.note(0, A, AttemptResult::Refused);
    }
    assert_eq!(world.unavailable(B), Some(5));
}

#[test]
fn a_rate_limit_is_its_models_and_no_failure() {
    let mut world = World::new(1);
    for _ in 0..50 {
        world.note(0, A, limited(7));
    }
    assert_eq!(world.guard.status(world.now).breaker, BreakerState::Closed);
    assert_eq!(
        (world.unavailable(A), world.unavailable(B)),
        (Some(7), None)
    );
    assert!(world.guard.unavailable(None, world.now).is_none());
    world.pass(7);
    assert_eq!(world.unavailable(A), None);
    assert_eq!(world.guard.pick(A, 1, world.now), Ok(0));
}

#[test]
fn with_several_keys_the_others_go_on() {
    let mut world = World::new(3);
    world.note(0, A, limited(7));
    world.note(1, A, AttemptResult::Refused);
    assert_eq!(world.unavailable(A), None);
    let picked: Vec<_> = (0..3).map(|_| world.guard.pick(A, 1, world.now)).collect();
    assert_eq!(picked, [Ok(2); 3]);
    let status = world.guard.status(world.now);
    assert_eq!((status.keys, status.keys_set_aside), (3, 1));
    // The last that works is kept, whatever it says.
    world.note(2, B, AttemptResult::Spent);
    world.note(0, B, AttemptResult::Refused);
    assert!(world.guard.pick(B, 1, world.now).is_ok());
}

#[test]
fn what_is_used_up_is_not_asked_for() {
    let mut world = World::new(1);
    let limits = RateLimits {
        tokens: Allowance {
            limit: Some(60_000),
            remaining: Some(0),
            reset: Some(Duration::from_secs(60)),
        },
        ..RateLimits::default()
    };
    world.told(0, A, served(), Some(&limits));
    assert!(world.guard.unavailable(Some(A), world.now).is_some());
    let resting = world.guard.pick(A, 2_000, world.now).unwrap_err();
    assert_eq!(resting.until(), world.now + Duration::from_secs(2));
    world.pass(2);
    assert_eq!(world.guard.pick(A, 2_000, world.now), Ok(0));
}

#[test]
fn an_overload_rests_only_as_long_as_the_provider_says() {
    let mut world = World::new(1);
    world.note(0, A, AttemptResult::Overloaded { pause: None });
    assert_eq!(world.unavailable(A), None);
    let pause = Some(Duration::from_secs(3));
    world.note(0, A, AttemptResult::Overloaded { pause });
    assert_eq!(world.unavailable(A), Some(3));
}

#[test]
fn a_model_that_fails_beside_others_is_the_only_one_that_is_left_alone() {
    let mut world = World::new(1);
    for _ in 0..5 {
        assert_eq!(world.unavailable(A), None);
        world.note(0, A, AttemptResult::Failed);
        world.note(0, B, served());
    }
    assert_eq!(
        (world.unavailable(A), world.unavailable(B)),
        (Some(5), None)
    );
    assert_eq!(world.guard.status(world.now).breaker, BreakerState::Closed);
    assert_eq!(world.guard.limit(world.now), None);
    world.pass(5);
    assert_eq!(world.unavailable(A), None);
    // The first that comes tries it, the others go elsewhere meanwhile.
    assert_eq!(world.guard.pick(A, 1, world.now), Ok(0));
    assert!(world.unavailable(A).is_some());
    for _ in 0..3 {
        world.note(0, A, served());
        assert_eq!(world.unavailable(A), None);
    }
    assert!(!world.guard.troubled());
}

proptest! {
    /// Whatever happens: a provider that is said to be unavailable is told until when, that time comes, and then it
    /// can be asked again.
    #[test]
    fn nothing_is_shut_out_for_ever(
        events in proptest::collection::vec((0usize..3, 0u8..7, 0u64..20, 0u64..10, any::<bool>()), 1..150),
    ) {
        let mut world = World::new(3);
        for (key, event, pause, pass, other) in events {
            world.pass(pass);
            let pause = Some(Duration::from_secs(pause)).filter(|pause| pause.as_secs() > 2);
            let result = match event {
                0 | 1 => served(),
                2 => AttemptResult::Failed,
                3 => AttemptResult::RateLimited { pause },
                4 => AttemptResult::Overloaded { pause },
                5 => AttemptResult::Refused,
                _ => AttemptResult::TimedOut,
            };
            world.note(key, if other { B } else { A }, result);
            let status = world.guard.status(world.now);
            prop_assert_eq!(world.guard.limit(world.now) == Some(0), status.open.is_some() && !status.sole);
            // What is open for one model alone keeps no other from being asked.
            if status.sole {
                prop_assert!(status.breaker != BreakerState::Closed);
                let open = [A, B].map(|model| matches!(
                    world.guard.unavailable(Some(model), world.now),
                    Some(Unavailable::Open { of_model: false, .. })
                ));
                prop_assert_eq!(open, [false, false]);
            }
        }
        for model in [A, B] {
            let mut waits = 0;
            while let Some(unavailable) = world.guard.unavailable(Some(model), world.now) {
                prop_assert!(unavailable.until() > world.now);
                world.now = unavailable.until();
                let changes = &mut world.changes;
                world.guard.tick(world.now, |change| changes.push(change));
                waits += 1;
                prop_assert!(waits < 10);
            }
            prop_assert!(world.guard.pick(model, 1, world.now).is_ok());
        }
        prop_assert_ne!(world.guard.limit(world.now), Some(0));
    }
}
