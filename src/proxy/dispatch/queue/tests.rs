//! Where a step may be taken, by providers that rest, and what is told of a wait in vain. The services are ports of this machine
//! that take connections and say nothing, which is all that is asked of a service without a list of models.

use std::net::TcpListener;

use super::*;
use crate::admission::{Policy, Providers};
use crate::fleet::{AttemptResult, Attempted, Backend};
use crate::routing::{Plan, PlanStep};
use crate::settings::{self, ProviderKind, StaticBackend};

const SECOND: Duration = Duration::from_secs(1);

/// The queue of a gateway, with the ports of its services.
struct World {
    queue: SlotQueue,
    _ports: Vec<TcpListener>,
}

/// A service that has the model `m`.
fn service(name: &str, port: u16) -> settings::Provider {
    let backend = StaticBackend {
        tls: false,
        host: "127.0.0.1".into(),
        port,
        path: "".into(),
        weight: None,
        cost: None,
        max_concurrent: None,
        vram: None,
    };
    settings::Provider {
        backends: vec![backend],
        list_models: false,
        models: vec!["m".into()],
        ..settings::Provider::of_kind(name, ProviderKind::OpenAiCompatible)
    }
}

impl World {
    /// Makes a world of services that are all healthy.
    async fn of(names: &[&str], routing: settings::Routing) -> World {
        let listen = |_| TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let ports: Vec<TcpListener> = names.iter().map(listen).collect();
        let services = names.iter().zip(&ports).map(|(name, port)| {
            let address = port.local_addr().expect("it listens");
            service(name, address.port())
        });
        let world = World::over(services.collect(), routing, ports);
        world.queue.fleet.refresh().await;
        let snapshot = world.queue.fleet.snapshot();
        assert_eq!(snapshot.len(), names.len());
        assert!(snapshot.iter().all(|backend| backend.healthy()));
        world
    }

    fn over(
        providers: Vec<settings::Provider>,
        routing: settings::Routing,
        ports: Vec<TcpListener>,
    ) -> World {
        let settings = Settings {
            server: Default::default(),
            access: Default::default(),
            providers,
            routing,
            timeouts: Default::default(),
            queue: Default::default(),
            monitoring: Default::default(),
            usage: Default::default(),
        };
        let fleet = Fleet::guarded(
            &settings.providers,
            &settings.timeouts,
            &settings.routing,
            Vec::new(),
        );
        let fleet = fleet.expect("the settings are sound");
        let dispatcher = Dispatcher::new(Policy::from(&settings.queue));
        World {
            queue: SlotQueue::new(dispatcher, fleet, Arc::new(settings)),
            _ports: ports,
        }
    }

    fn backend(&self, provider: usize) -> Arc<Backend> {
        let snapshot = self.queue.fleet.snapshot();
        let mut all = snapshot.iter();
        let found = all.find(|backend| backend.provider.id == ProviderId::at(provider));
        Arc::clone(found.expect("every service has one backend"))
    }

    /// Lets a service ask for a pause before it takes requests for `m` again.
    fn limits(&self, provider: usize, pause: Duration) {
        let attempted = Attempted {
            key: 0,
            model: ModelKey::of("m"),
            name: "m",
            started: Instant::now(),
            further: false,
            result: AttemptResult::RateLimited { pause: Some(pause) },
            limits: None,
        };
        let backend = self.backend(provider);
        self.queue.fleet.attempted(&backend, &attempted);
    }

    fn listed(&self) -> ModelId {
        let model = self.queue.fleet.models().lookup("m");
        model.expect("the services have it")
    }

    /// Returns where the first step may be taken now.
    fn now(&self, progress: &mut PlanProgress) -> Option<Scope> {
        match self.queue.availability(progress, 0) {
            Availability::Now(scope) => Some(scope),
            Availability::From(..) | Availability::Never => None,
        }
    }
}

fn progress(model: StepModel) -> PlanProgress {
    let step = PlanStep {
        model,
        providers: Vec::new(),
        equal: false,
        reserve: false,
        max_wait: None,
    };
    let plan = Plan {
        steps: vec![step],
        model: None,
    };
    PlanProgress::new(plan, 0, None)
}

fn named() -> PlanProgress {
    progress(StepModel::Named("m".into()))
}

/// Returns which of these many providers a scope has.
fn held(scope: &Scope, count: usize) -> Vec<usize> {
    let all = ProviderId::first(count);
    let held = all.filter(|provider| scope.providers.hold(*provider));
    held.map(ProviderId::position).collect()
}

#[tokio::test]
async fn a_provider_that_rests_is_passed_over_while_another_is_open() {
    let world = World::of(&["one", "two"], settings::Routing::default()).await;
    let scope = world.now(&mut named()).expect("both are open");
    assert_eq!(scope.providers, Providers::All);
    assert_eq!(scope.as_of, Some(world.queue.dispatcher.closings()));
    world.limits(0, 60 * SECOND);
    let mut progress = named();
    let scope = world.now(&mut progress).expect("the second is open");
    assert_eq!(held(&scope, 2), [1]);
    assert!(progress.reasons.is_empty(), "nobody was asked in vain");
}

#[tokio::test]
async fn the_first_to_be_open_again_is_waited_for_if_that_is_soon() {
    for (fallback, pauses, waits) in [
        (Fallback::NextAvailable, [60, 60], None),
        (Fallback::NextAvailable, [60, 5], None),
        // The same provider is worth a longer wait.
        (Fallback::RetrySame, [60, 5], Some(1)),
        (Fallback::RetrySame, [4, 5], Some(0)),
        (Fallback::RetrySame, [60, 60], None),
    ] {
        let routing = settings::Routing {
            fallback,
            ..settings::Routing::default()
        };
        let world = World::of(&["one", "two"], routing).await;
        for (provider, pause) in pauses.iter().enumerate() {
            world.limits(provider, *pause * SECOND);
        }
        let mut progress = named();
        let found = world.queue.availability(&mut progress, 0);
        let said = !progress.reasons.is_empty();
        match (found, waits) {
            (Availability::From(until, scope), Some(provider)) => {
                assert_eq!(held(&scope, 2), [provider], "{fallback:?} {pauses:?}");
                let guard = world
                    .queue
                    .fleet
                    .provider_at(ProviderId::at(provider))
                    .guard();
                let rest = guard.unavailable(Some(ModelKey::of("m")), Instant::now());
                assert_eq!(rest.map(|rest| rest.until()), Some(until));
                assert!(!said, "it is not passed over");
            }
            (Availability::Never, None) => assert!(said, "{fallback:?} {pauses:?}"),
            _ => panic!("{fallback:?} {pauses:?}"),
        }
    }
}

#[tokio::test]
async fn a_request_for_one_backend_waits_for_no_other_provider() {
    let world = World::of(&["one", "two"], settings::Routing::default()).await;
    let mut pinned = named();
    pinned.pinned = Some(world.backend(1).id);
    let scope = world.now(&mut pinned).expect("it is open");
    assert_eq!(held(&scope, 2), [1]);
    world.limits(1, 60 * SECOND);
    assert!(world.now(&mut pinned).is_none());
    assert!(world.now(&mut named()).is_some());
}

#[tokio::test]
async fn only_providers_with_the_listed_model_could_serve_it() {
    let world = World::of(&["one"], settings::Routing::default()).await;
    let one = ProviderId::at(0);
    for (model, could) in [
        (StepModel::Listed(world.listed()), true),
        (StepModel::Listed(ModelId(u32::MAX)), false),
        // A name that nobody lists is for the provider to know.
        (StepModel::Named("other".into()), true),
    ] {
        let progress = progress(model.clone());
        let found = world.queue.could_serve(&progress, 0, one);
        assert_eq!(found, could, "{model:?}");
        let scope = Scope::default();
        assert_eq!(world.queue.is_well(&progress, 0, &scope), could);
    }
}

#[tokio::test]
async fn a_request_that_is_kept_to_a_provider_may_leave_it_unless_there_is_no_fallback() {
    for (fallback, confined, leaves) in [
        (Fallback::NextAvailable, true, true),
        (Fallback::NextAvailable, false, false),
        (Fallback::None, true, false),
    ] {
        let routing = settings::Routing {
            fallback,
            ..settings::Routing::default()
        };
        let world = World::over(vec![service("one", 1)], routing, Vec::new());
        let mut progress = named();
        progress.confine_to(confined.then_some(ProviderId::at(0)));
        let found = world.queue.may_leave(&progress);
        assert_eq!(found, leaves, "{fallback:?} {confined}");
    }
}

#[test]
fn a_wait_in_vain_is_told_in_words_that_fit_who_might_have_served() {
    let gpus = settings::Provider::named("gpus");
    let providers = vec![gpus, service("one", 1), service("two", 2)];
    let world = World::over(providers, settings::Routing::default(), Vec::new());
    let told = |refusal: &NoSlot, providers: &[usize]| {
        let mut progress = named();
        let asked = providers.iter().copied().map(ProviderId::at);
        progress.plan.steps[0].providers = asked.collect();
        let not_found = || Failure::new(404, "model_not_found", "no such model");
        world.queue.turned_away(&progress, refusal, not_found)
    };
    let retry_after = SECOND;
    let full = NoSlot::TimedOut {
        healthy: true,
        retry_after,
    };
    let down = NoSlot::NoHealthyBackend { retry_after };
    let servers = "No healthy Ollama backends available within timeout";
    for (refusal, providers, status, text) in [
        (
            &full,
            &[][..],
            503,
            "Queue timeout waiting for an available backend",
        ),
        (
            &full,
            &[0, 1],
            503,
            "Queue timeout waiting for an available backend",
        ),
        (
            &full,
            &[1, 2],
            503,
            "Request queue timeout after 60s - server overloaded",
        ),
        (&down, &[], 503, servers),
        (&down, &[0], 503, servers),
        (
            &down,
            &[1],
            503,
            "provider one cannot be reached at the moment; /health says why",
        ),
        (
            &down,
            &[1, 2],
            503,
            "none of the providers one, two can be reached at the moment; /health says why",
        ),
        (&NoSlot::UnknownModel, &[1], 404, "no such model"),
        (
            &NoSlot::CannotLoad { retry_after },
            &[0],
            500,
            "the model could not be loaded",
        ),
    ] {
        let failure = told(refusal, providers);
        assert_eq!((failure.status, &*failure.text), (status, text));
        // Clients of the port-range balancer read what that one said of servers.
        let is_balancers = status == 503 && !providers.iter().all(|one| *one > 0);
        let of_servers = is_balancers || (status == 503 && providers.is_empty());
        assert_eq!(failure.detail.is_some(), of_servers, "{text}");
    }
    let long = told(&NoSlot::TooLong { largest: 4096 }, &[0]);
    assert_eq!((long.status, long.code), (400, "context_length"));
}
