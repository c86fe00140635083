//! The tables of docs/failures.md, row by row, and what the machine decides beyond them.

use super::*;
use crate::ids::ModelId;
use crate::proxy::failure::attempt::AttemptError;
use crate::proxy::failure::deadline::TOTAL;
use crate::routing::{Plan, PlanStep};
use NextStep::*;
use remuda_formats::ir::Fault;

const PAGE: &str = include_str!("../../../../docs/failures.md");

/// Returns the rows of the page's table whose head is this, without the head.
fn table_of_page(head: &str) -> Vec<Vec<&'static str>> {
    let (_, table) = PAGE.split_once(head).expect("the page has the table");
    let rows = table.lines().skip(2);
    let rows = rows.take_while(|row| row.starts_with('|'));
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect();
    rows.map(cells).collect()
}

/// Providers of the tests: the one that is asked first, and another that has the same model.
fn providers() -> (ProviderId, ProviderId) {
    (ProviderId::at(0), ProviderId::at(1))
}

/// A fleet as the tests want it: its members with the models that each has, and the providers that cannot be asked.
#[derive(Default)]
struct Scene {
    members: Vec<(FleetMember, ModelId)>,
    shut: Vec<ProviderId>,
}

impl FleetView for Scene {
    fn members(&self, model: Option<ModelId>) -> Vec<FleetMember> {
        let all = self.members.iter();
        let having = all.filter(|(_, has)| model.is_none_or(|model| model == *has));
        having.map(|(member, _)| *member).collect()
    }

    fn is_open(&self, provider: ProviderId, _wanted: &StepModel) -> bool {
        !self.shut.contains(&provider)
    }
}

impl Scene {
    /// Makes a backend of the first provider, and one of the second with the same model.
    fn of_two() -> Scene {
        let (first, second) = providers();
        Scene {
            members: vec![
                (member(0, first), ModelId(1)),
                (member(1, second), ModelId(1)),
            ],
            shut: Vec::new(),
        }
    }

    /// Makes a scene where nobody else has the model.
    fn of_one() -> Scene {
        let mut scene = Scene::of_two();
        scene.members.truncate(1);
        scene
    }
}

fn member(id: u32, provider: ProviderId) -> FleetMember {
    FleetMember {
        id: BackendId(id),
        provider,
        healthy: true,
    }
}

/// Makes the progress of a plan of two steps, each on one provider.
fn progress() -> PlanProgress {
    let (first, second) = providers();
    let step = |provider| PlanStep {
        model: StepModel::Listed(ModelId(1)),
        providers: vec![provider],
        equal: false,
        reserve: false,
        max_wait: None,
    };
    let plan = Plan {
        steps: vec![step(first), step(second)],
        model: None,
    };
    PlanProgress::new(plan, 0, None)
}

/// Returns the first provider's backend, of a fleet with further servers or of a service with one address.
fn tried(fleet: bool) -> TriedBackend {
    TriedBackend {
        backend: member(0, providers().0),
        fleet,
        addresses: fleet,
        keys: 0,
    }
}

fn moment() -> Conditions {
    Conditions {
        now: Instant::now(),
        total: None,
        chance: 1.0,
    }
}

/// Decides for an attempt that failed after a second.
fn follows(
    progress: &mut PlanProgress,
    at: TriedBackend,
    cause: &Cause,
    routing: &Routing,
    scene: &Scene,
) -> NextStep {
    let took = SECOND;
    let failed = FailedAttempt { at, cause, took };
    progress.after_failure(&failed, routing, scene, &moment())
}

/// What the table of the page says of a class.
struct Row {
    class: &'static str,
    follows: &'static str,
    holds: fn(),
}

#[test]
fn each_class_of_the_page_is_followed_by_what_the_page_says() {
    let rows = [
        Row {
            class: "permanent",
            follows: "the client gets the error at once",
            holds: || {
                for kind in [
                    FaultKind::InvalidRequest,
                    FaultKind::TooLarge,
                    FaultKind::ContentFilter,
                ] {
                    for fleet in [true, false] {
                        let fault = Fault::new(Class::Permanent, kind, "no");
                        let error = AttemptError::of_provider(&fault, "p", fleet, None);
                        assert!(matches!(error, AttemptError::Final { .. }), "{kind:?}");
                    }
                }
            },
        },
        Row {
            class: "route: the request",
            follows: "one more attempt, at another server or provider; no server is marked",
            holds: || {
                for (kind, status) in [
                    (FaultKind::InvalidRequest, 500),
                    (FaultKind::Unsupported, 501),
                ] {
                    for (fleet, other) in [(true, AnyBackend), (false, NextProvider)] {
                        let cause = cause(Class::Route, kind, Some(status));
                        let (routing, scene) = (Routing::default(), Scene::of_two());
                        let mut progress = progress();
                        let once = follows(&mut progress, tried(fleet), &cause, &routing, &scene);
                        assert_eq!(once, other, "{cause:?}");
                        let twice = follows(&mut progress, tried(fleet), &cause, &routing, &scene);
                        assert_eq!(twice, Stop, "{cause:?}");
                        let fault = Fault::new(Class::Route, kind, "no");
                        assert_eq!(reported(&fault, fleet), None);
                    }
                }
            },
        },
        Row {
            class: "route",
            follows: "another provider; the same one is not asked again",
            holds: || {
                for (kind, status) in [
                    (FaultKind::Credentials, 401),
                    (FaultKind::Billing, 402),
                    (FaultKind::Credentials, 403),
                    (FaultKind::ModelNotFound, 404),
                    (FaultKind::Unsupported, 400),
                ] {
                    let cause = cause(Class::Route, kind, Some(status));
                    for scene in [Scene::of_one(), Scene::of_two()] {
                        let mut progress = progress();
                        let routing = Routing::default();
                        let next = follows(&mut progress, tried(false), &cause, &routing, &scene);
                        assert_eq!(next, NextProvider, "{cause:?}");
                        assert_eq!(progress.closed(), [providers().0]);
                    }
                }
            },
        },
        Row {
            class: "route: context",
            follows: "a model with a larger context, or one whose context is not known",
            holds: || {
                let cause = cause(Class::Route, FaultKind::ContextLength, Some(400));
                let (routing, scene) = (Routing::default(), Scene::of_two());
                let mut progress = progress();
                let next = follows(&mut progress, tried(false), &cause, &routing, &scene);
                assert_eq!(next, NextProvider);
                let room = |progress: &PlanProgress, context| progress.has_room(10_000, || context);
                assert!(room(&progress, Some(1)));
                progress.too_long_for = Some(8_192);
                for (context, has_room) in [
                    (Some(4_096), false),
                    (Some(8_192), false),
                    (Some(16_384), true),
                    (None, true),
                ] {
                    assert_eq!(room(&progress, context), has_room, "{context:?}");
                }
                // How much the first one holds is not known, so the prompt's own length counts.
                progress.too_long_for = Some(0);
                for (context, has_room) in [(Some(8_192), false), (Some(16_384), true)] {
                    assert_eq!(room(&progress, context), has_room, "{context:?}");
                }
            },
        },
        Row {
            class: "capacity",
            follows: "another provider at once, and this one after the pause that it asks for",
            holds: || {
                for (cause, alone) in [
                    (asks_for(3), Again(3 * SECOND)),
                    (
                        cause(Class::Capacity, FaultKind::Overloaded, Some(503)),
                        Again(SECOND),
                    ),
                    (
                        cause(Class::Capacity, FaultKind::Overloaded, Some(529)),
                        Again(SECOND),
                    ),
                ] {
                    let routing = Routing::default();
                    for (scene, next) in [(Scene::of_two(), NextProvider), (Scene::of_one(), alone)]
                    {
                        let mut progress = progress();
                        let follows =
                            follows(&mut progress, tried(false), &cause, &routing, &scene);
                        assert_eq!(follows, next, "{cause:?}");
                    }
                }
            },
        },
        Row {
            class: "transient",
            follows: "another attempt",
            holds: || {
                for (kind, status) in [
                    (FaultKind::Server, Some(408)),
                    (FaultKind::Server, Some(409)),
                    (FaultKind::Server, Some(500)),
                    (FaultKind::Server, Some(502)),
                    (FaultKind::Timeout, Some(504)),
                    (FaultKind::Incomplete, None),
                    (FaultKind::Timeout, None),
                ] {
                    let cause = cause(Class::Transient, kind, status);
                    for (fleet, other) in [(true, AnyBackend), (false, NextProvider)] {
                        let (routing, scene) = (Routing::default(), Scene::of_two());
                        let next = follows(&mut progress(), tried(fleet), &cause, &routing, &scene);
                        assert_eq!(next, other, "{cause:?}");
                    }
                }
            },
        },
        Row {
            class: "overdue",
            follows: "the client gets a 504; no server is marked",
            holds: || {
                let now = Instant::now();
                let limit = TimeLimit::after(now, TOTAL, Some(SECOND)).expect("it is stated");
                let error = AttemptError::from(limit);
                assert!(matches!(error, AttemptError::Overdue { .. }));
                assert_eq!(limit.failure().status, 504);
            },
        },
    ];
    let of_page = table_of_page("| Class | Examples | What follows |");
    let of_page: Vec<_> = of_page.iter().map(|row| (row[0], row[2])).collect();
    let of_test: Vec<_> = rows.iter().map(|row| (row.class, row.follows)).collect();
    assert_eq!(of_page, of_test);
    for row in rows {
        (row.holds)();
    }
}

/// Returns what the fleet is told of a backend whose answer is that fault.
fn reported(fault: &Fault, fleet: bool) -> Option<fleet::RequestOutcome> {
    match AttemptError::of_provider(fault, "p", fleet, Some(500)) {
        AttemptError::Retryable { report, .. } => report,
        _ => None,
    }
}

#[test]
fn each_strategy_of_the_page_asks_whom_the_page_says() {
    let failed = cause(Class::Transient, FaultKind::Server, Some(500));
    let same = [
        Again(SECOND),
        Again(2 * SECOND),
        Again(4 * SECOND),
        NextProvider,
    ];
    let rows: [(&str, &str, Fallback, &[NextStep]); 4] = [
        ("`none`", "no other provider", Fallback::None, &[Stop]),
        (
            "`next_available`",
            "the next provider of the plan",
            Fallback::NextAvailable,
            &[NextProvider],
        ),
        (
            "`retry_same`",
            "the same provider, up to `routing.retry.attempts` times, then the next of the plan",
            Fallback::RetrySame,
            &same,
        ),
        (
            "`best_alternative`",
            "the provider that the routing strategy chooses now, without those that have failed",
            Fallback::BestAlternative,
            &[Replan],
        ),
    ];
    let of_page = table_of_page("| Strategy | Who is asked |");
    let of_page: Vec<_> = of_page.iter().map(|row| (row[0], row[1])).collect();
    let of_test: Vec<_> = rows.iter().map(|(name, who, ..)| (*name, *who)).collect();
    assert_eq!(of_page, of_test);
    for (name, _, fallback, all) in rows {
        let mut progress = progress();
        let (routing, scene) = (with(fallback), Scene::of_two());
        for next in all {
            let follows = follows(&mut progress, tried(false), &failed, &routing, &scene);
            assert_eq!(follows, *next, "{name}");
        }
        let is_left = !matches!(all.last(), Some(Again(_)));
        assert_eq!(
            progress.closed().contains(&providers().0),
            is_left,
            "{name}"
        );
    }
}

#[test]
fn when_the_time_is_over_nobody_is_asked_whatever_has_failed() {
    use {Class::*, FaultKind::*};
    for cause in [
        cause(Transient, Server, Some(500)),
        cause(Capacity, Overloaded, Some(503)),
        asks_for(3),
        cause(Transient, Timeout, None),
        cause(Route, Credentials, Some(401)),
        cause(Route, ContextLength, Some(400)),
    ] {
        let (routing, scene) = (Routing::default(), Scene::of_one());
        let failed = FailedAttempt {
            at: tried(false),
            cause: &cause,
            took: SECOND,
        };
        let now = Instant::now();
        let late = |limit| Conditions {
            now: now + limit,
            total: TimeLimit::after(now, TOTAL, Some(limit)),
            chance: 1.0,
        };
        let next = progress().after_failure(&failed, &routing, &scene, &late(SECOND));
        assert_eq!(next, Stop, "{cause:?}");
        // All attempts have one time together, from the first on.
        let mut progress = progress();
        progress.begins(now);
        let within = Conditions {
            total: None,
            ..late(routing.retry.within)
        };
        let next = progress.after_failure(&failed, &routing, &scene, &within);
        assert_eq!(next, Stop, "{cause:?}");
    }
}

#[test]
fn a_pause_that_outlasts_the_request_is_not_begun() {
    let (routing, scene, cause) = (Routing::default(), Scene::of_one(), asks_for(3));
    let now = Instant::now();
    for (seconds, next) in [(2, Stop), (3, Stop), (4, Again(3 * SECOND))] {
        let moment = Conditions {
            now,
            total: TimeLimit::after(now, TOTAL, Some(seconds * SECOND)),
            chance: 1.0,
        };
        let failed = FailedAttempt {
            at: tried(false),
            cause: &cause,
            took: SECOND,
        };
        let follows = progress().after_failure(&failed, &routing, &scene, &moment);
        assert_eq!(follows, next, "{seconds} s");
    }
}

#[test]
fn a_provider_whose_breaker_is_open_is_nobody_to_ask_instead() {
    let failed = cause(Class::Transient, FaultKind::Server, Some(500));
    let (routing, mut scene) = (Routing::default(), Scene::of_two());
    scene.shut = vec![providers().1];
    let next = follows(&mut progress(), tried(false), &failed, &routing, &scene);
    assert_eq!(next, Again(SECOND));
    scene.shut.clear();
    scene.members[1].0.healthy = false;
    let next = follows(&mut progress(), tried(false), &failed, &routing, &scene);
    assert_eq!(next, Again(SECOND));
}

#[test]
fn every_key_is_tried_once_and_the_next_provider_has_its_own() {
    let refused = cause(Class::Route, FaultKind::Credentials, Some(401));
    let (routing, scene, mut progress) = (Routing::default(), Scene::of_two(), progress());
    let at = TriedBackend {
        keys: 2,
        ..tried(false)
    };
    for next in [OtherKey, OtherKey, NextProvider, OtherKey] {
        assert_eq!(follows(&mut progress, at, &refused, &routing, &scene), next);
    }
}

#[test]
fn who_is_confined_to_a_provider_without_a_slot_is_let_go() {
    let nobody = NoSlot::Exhausted;
    let (first, _) = providers();
    for (fallback, next) in [
        (Fallback::None, Stop),
        (Fallback::NextAvailable, NextProvider),
        (Fallback::RetrySame, NextProvider),
        (Fallback::BestAlternative, Replan),
    ] {
        let mut free = progress();
        assert_eq!(free.after_refusal(&nobody, fallback), Stop, "{fallback:?}");
        let mut confined = progress();
        confined.confine_to(Some(first));
        let full = NoSlot::QueueFull {
            retry_after: SECOND,
        };
        assert_eq!(
            confined.after_refusal(&full, fallback),
            Stop,
            "{fallback:?}"
        );
        assert_eq!(
            confined.after_refusal(&nobody, fallback),
            next,
            "{fallback:?}"
        );
        let is_let_go = next != Stop;
        assert_eq!(confined.confined_to().is_none(), is_let_go, "{fallback:?}");
        assert_eq!(
            confined.closed().contains(&first),
            is_let_go,
            "{fallback:?}"
        );
    }
}

#[test]
fn of_two_that_are_asked_together_the_one_that_fails_is_not_asked_again() {
    let (first, _) = providers();
    let refused = cause(Class::Route, FaultKind::Credentials, Some(401));
    let broken = cause(Class::Transient, FaultKind::Incomplete, None);
    for (fleet, addresses, cause, is_closed) in [
        (true, true, Some(&refused), false),
        (true, false, Some(&broken), false),
        (false, true, Some(&refused), true),
        (false, true, Some(&broken), false),
        (false, false, Some(&broken), true),
        (false, false, None, true),
        (false, true, None, false),
    ] {
        let mut progress = progress();
        let at = TriedBackend {
            addresses,
            ..tried(fleet)
        };
        progress.after_loss(0, &at, cause);
        assert_eq!(
            progress.closed().contains(&first),
            is_closed,
            "{at:?} {cause:?}"
        );
        let step = progress.plan.steps[0].clone();
        assert!(progress.has_tried(&step, at.backend.id));
    }
}

#[test]
fn a_failure_of_one_model_leaves_the_plans_other_models_at_its_provider() {
    let (first, _) = providers();
    let routing = Routing::default();
    for (cause, leaves) in [
        (
            cause(Class::Route, FaultKind::ModelNotFound, Some(404)),
            true,
        ),
        (cause(Class::Transient, FaultKind::Timeout, Some(504)), true),
        (
            cause(Class::Capacity, FaultKind::RateLimit, Some(429)),
            true,
        ),
        (cause(Class::Transient, FaultKind::Timeout, None), false),
        (
            cause(Class::Route, FaultKind::Credentials, Some(401)),
            false,
        ),
    ] {
        let mut progress = progress();
        let [one, other] = [1, 2].map(|model| PlanStep {
            model: StepModel::Listed(ModelId(model)),
            ..progress.plan.steps[0].clone()
        });
        progress.plan.steps = vec![one.clone(), other.clone()];
        let next = follows(
            &mut progress,
            tried(false),
            &cause,
            &routing,
            &Scene::of_one(),
        );
        assert_eq!(next, NextProvider, "{cause:?}");
        assert!(!progress.may_ask(&one, first), "{cause:?}");
        assert_eq!(progress.may_ask(&other, first), leaves, "{cause:?}");
        assert_eq!(
            progress.has_tried(&other, BackendId(0)),
            !leaves,
            "{cause:?}"
        );
        // The last model is the provider's last.
        progress.step = 1;
        follows(
            &mut progress,
            tried(false),
            &cause,
            &routing,
            &Scene::of_one(),
        );
        assert!(progress.closed().contains(&first), "{cause:?}");
    }
}

#[test]
fn who_is_called_back_from_a_copy_may_be_served_anywhere_and_only_so_often() {
    let recalled = AttemptError::recalled();
    let AttemptError::Retryable { report, cause, .. } = recalled else {
        panic!("another server may do better");
    };
    assert_eq!(report, None, "its server is not at fault");
    let (mut progress, routing) = (progress(), Routing::default());
    let scene = Scene::of_one();
    let mut next = || follows(&mut progress, tried(true), &cause, &routing, &scene);
    assert_eq!([next(), next()], [Again(Duration::ZERO); 2]);
    let third = next();
    assert_ne!(third, Again(Duration::ZERO));
    let (server, step) = (member(0, providers().0), &progress.plan.steps[0]);
    assert!(progress.has_tried(step, server.id));
}

#[test]
fn two_servers_that_say_the_same_are_both_acquitted() {
    let error = |text: &'static str| {
        let failure = crate::proxy::failure::Failure::new(500, "provider_error", text);
        ClientError::Failure(Box::new(failure))
    };
    let (sick, other) = (error("exit status 3"), error("out of memory"));
    let server = |id| TriedBackend {
        backend: member(id, providers().0),
        ..tried(true)
    };
    let failed = Some(fleet::RequestOutcome::ServerError);
    let outcome = AttemptOutcome::ServerError;
    let mut progress = progress();
    let mut report = |id, error| progress.report(&server(id), outcome, failed, Some(error));
    let is_failed = |report| matches!(report, Some(HealthReport::Failed(_)));
    assert!(is_failed(report(0, &sick)));
    assert_eq!(report(1, &sick), Some(HealthReport::Acquit(BackendId(0))));
    // The first is acquitted once.
    assert_eq!(report(2, &sick), None);
    assert!(is_failed(report(3, &other)));
    assert!(is_failed(report(4, &sick)));
}

const SECOND: Duration = Duration::from_secs(1);

fn cause(class: Class, kind: FaultKind, status: Option<u16>) -> Cause {
    Cause {
        status,
        ..Cause::new(class, kind)
    }
}

fn asks_for(seconds: u64) -> Cause {
    Cause {
        retry_after: Some(Duration::from_secs(seconds)),
        ..cause(Class::Capacity, FaultKind::RateLimit, Some(429))
    }
}

/// Makes the situation of a service with one address and one key.
fn service(routing: &Routing) -> Situation<'_> {
    Situation {
        routing,
        fleet: false,
        healthy: true,
        addresses: false,
        key: false,
        another: false,
        sibling: false,
        again: 0,
        took: SECOND,
        doubted: false,
        chance: 1.0,
    }
}

fn with(fallback: Fallback) -> Routing {
    Routing {
        fallback,
        ..Routing::default()
    }
}

/// By default: once more at the same place, if nobody else has the model and the failure was quick.
#[test]
fn a_quick_failure_is_tried_once_more_where_nobody_else_has_the_model() {
    let routing = with(Fallback::NextAvailable);
    let now = service(&routing);
    use {Class::*, FaultKind::*};
    for (cause, alone) in [
        (cause(Transient, Server, Some(500)), Again(SECOND)),
        (cause(Transient, Server, Some(502)), Again(SECOND)),
        (cause(Capacity, Overloaded, Some(503)), Again(SECOND)),
        (cause(Capacity, Overloaded, Some(529)), Again(SECOND)),
        (cause(Transient, Incomplete, None), Again(SECOND)),
        // A limit is waited for as long as it was said, if that is not long.
        (asks_for(3), Again(3 * SECOND)),
        (asks_for(10), Again(10 * SECOND)),
        (asks_for(11), NextProvider),
        (cause(Capacity, RateLimit, Some(429)), NextProvider),
        // Silence is not tried again, its own or that of whoever stands behind it.
        (cause(Transient, Timeout, None), NextProvider),
        (cause(Transient, Timeout, Some(504)), NextProvider),
        // What will not pass.
        (cause(Route, Credentials, Some(401)), NextProvider),
        (cause(Route, ContextLength, Some(400)), NextProvider),
        (cause(Route, ModelNotFound, Some(404)), NextProvider),
    ] {
        assert_eq!(next_step(&cause, &now), alone, "{cause:?}");
        let sibling = Situation {
            sibling: true,
            ..now
        };
        assert_eq!(next_step(&cause, &sibling), NextProvider, "{cause:?}");
        let second = Situation { again: 1, ..now };
        assert_eq!(next_step(&cause, &second), NextProvider, "{cause:?}");
    }
    let failed = cause(Transient, Server, Some(500));
    for now in [
        Situation {
            took: 6 * SECOND,
            ..now
        },
        Situation {
            healthy: false,
            ..now
        },
    ] {
        assert_eq!(next_step(&failed, &now), NextProvider);
    }
    let unwilling = Cause {
        again: Some(false),
        ..failed
    };
    assert_eq!(next_step(&unwilling, &now), NextProvider);
    let no_retries = Routing {
        max_retries: 0,
        ..routing.clone()
    };
    assert_eq!(next_step(&failed, &service(&no_retries)), NextProvider);
}

#[test]
fn strategies_differ_in_who_is_next() {
    let failed = cause(Class::Transient, FaultKind::Server, Some(500));
    let stalled = cause(Class::Transient, FaultKind::Timeout, None);
    for (fallback, after_failures, after_silence) in [
        (Fallback::None, [Stop; 4], Stop),
        (Fallback::NextAvailable, [NextProvider; 4], NextProvider),
        (
            Fallback::RetrySame,
            [
                Again(SECOND),
                Again(2 * SECOND),
                Again(4 * SECOND),
                NextProvider,
            ],
            NextProvider,
        ),
        (Fallback::BestAlternative, [Replan; 4], Replan),
    ] {
        let routing = with(fallback);
        let now = Situation {
            sibling: true,
            ..service(&routing)
        };
        for (again, next) in (0..).zip(after_failures) {
            let now = Situation { again, ..now };
            assert_eq!(next_step(&failed, &now), next, "{fallback:?} {again}");
        }
        assert_eq!(next_step(&stalled, &now), after_silence, "{fallback:?}");
    }
}

#[test]
fn within_a_provider_another_address_is_asked_first_and_only_so_often() {
    let failed = cause(Class::Transient, FaultKind::Server, Some(500));
    let refused = cause(Class::Route, FaultKind::Credentials, Some(401));
    for (fallback, first) in [
        (Fallback::None, OtherBackend),
        (Fallback::NextAvailable, AnyBackend),
        (Fallback::RetrySame, AnyBackend),
        (Fallback::BestAlternative, OtherBackend),
    ] {
        let routing = with(fallback);
        for fleet in [true, false] {
            let now = Situation {
                fleet,
                healthy: false,
                addresses: true,
                another: true,
                sibling: true,
                ..service(&routing)
            };
            let last = match fallback {
                Fallback::None => Stop,
                Fallback::BestAlternative => Replan,
                _ => NextProvider,
            };
            for (again, next) in [(0, first), (1, first), (2, last)] {
                let now = Situation { again, ..now };
                assert_eq!(
                    next_step(&failed, &now),
                    next,
                    "{fallback:?} {fleet} {again}"
                );
            }
            // Its addresses share their credentials, servers of a fleet need not.
            let shared = if fleet { first } else { last };
            assert_eq!(next_step(&refused, &now), shared, "{fallback:?} {fleet}");
            let keyed = Situation { key: true, ..now };
            let with_key = if fleet { first } else { OtherKey };
            assert_eq!(
                next_step(&refused, &keyed),
                with_key,
                "{fallback:?} {fleet}"
            );
        }
    }
}

#[test]
fn a_request_at_fault_is_tried_once_more_and_no_further() {
    let routing = with(Fallback::NextAvailable);
    let cause = cause(Class::Route, FaultKind::InvalidRequest, Some(500));
    let now = Situation {
        fleet: true,
        another: true,
        ..service(&routing)
    };
    assert_eq!(next_step(&cause, &now), AnyBackend);
    let again = Situation {
        doubted: true,
        ..now
    };
    assert_eq!(next_step(&cause, &again), Stop);
}

#[test]
fn a_model_that_cannot_be_loaded_is_tried_on_one_more_server() {
    let unloadable = Cause {
        of_model: true,
        ..cause(Class::Transient, FaultKind::Server, Some(500))
    };
    for (fallback, last) in [
        (Fallback::None, Stop),
        (Fallback::NextAvailable, NextProvider),
        (Fallback::BestAlternative, Replan),
    ] {
        let routing = with(fallback);
        let now = Situation {
            fleet: true,
            another: true,
            sibling: true,
            ..service(&routing)
        };
        let first = next_step(&unloadable, &now);
        assert!(matches!(first, OtherBackend | AnyBackend), "{first:?}");
        let again = Situation {
            doubted: true,
            again: 1,
            ..now
        };
        assert_eq!(next_step(&unloadable, &again), last, "{fallback:?}");
    }
}
