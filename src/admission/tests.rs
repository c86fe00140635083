//! The dispatcher under tasks that come, wait, give up and run, on real threads and real time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::{
    BackendSpec, Condition, Dispatcher, HealOrder, LoadFault, LoadOrder, LoadRecipe, LoadedModel,
    Loader, Need, NoSlot, Policy, Residency, RunOutcome, StoredModel, Want, Wanted,
};
use crate::ids::{BackendId, ModelId, ProviderId};
use crate::settings::{Placement, SelectorKind, WhenUnhealthy};

const MODEL: ModelId = ModelId(0);

fn want() -> Want {
    Want {
        wanted: Wanted::Model(MODEL),
        priority: 0,
        pinned: None,
        need: Need::default(),
        recipe: None,
    }
}

fn policy(timeout: Duration) -> Policy {
    Policy {
        priorities: true,
        max_in_flight: 0,
        queue_size: 10_000,
        timeout,
        ageing: Duration::from_secs(30),
        aged_share: 0.1,
        when_unhealthy: WhenUnhealthy::Wait,
    }
}

fn dispatcher(backends: u32, slots: u32, timeout: Duration) -> Arc<Dispatcher> {
    let dispatcher = Dispatcher::new(policy(timeout));
    (0..backends).for_each(|order| join(&dispatcher, order, slots));
    dispatcher
}

fn join(dispatcher: &Arc<Dispatcher>, order: u32, slots: u32) {
    let spec = BackendSpec {
        provider: ProviderId::at(0),
        order,
        weight: 1,
        cost: 1.0,
        slots: Some(slots),
        parallel: Some(u32::MAX),
        vram: None,
        selector: SelectorKind::LeastInFlight,
        placement: Placement::WarmOrWait,
        provider_limit: None,
    };
    let loaded = LoadedModel {
        model: MODEL,
        context: None,
        size: 1,
        vram: 1,
        expires_in: Duration::from_secs(300),
    };
    dispatcher.join(BackendId(order), spec);
    let residency = Residency {
        on_disk: &[StoredModel::new(MODEL, 1)],
        loaded: &[loaded],
    };
    dispatcher.observe(BackendId(order), residency);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// What comes of a future that nobody wakes.
fn polled<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_free_slot_is_had_at_once_and_comes_back_on_drop() {
    let dispatcher = dispatcher(1, 1, LONG);
    for _ in 0..3 {
        // No runtime is needed as long as nobody waits.
        let mut acquire = pin!(dispatcher.acquire(want()));
        let Poll::Ready(Ok(mut permit)) = polled(acquire.as_mut()) else {
            panic!("the slot was not free")
        };
        assert_eq!((permit.backend(), permit.cold()), (BackendId(0), false));
        permit.first_content();
        assert_eq!(dispatcher.snapshot().in_flight, 1);
        drop(permit);
        assert_eq!(dispatcher.snapshot().in_flight, 0);
    }
}

#[test]
fn a_waiter_is_woken_by_the_slot() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 1, LONG);
        let first = dispatcher.acquire(want()).await.unwrap();
        let waiting = tokio::spawn({
            let dispatcher = Arc::clone(&dispatcher);
            async move { dispatcher.acquire(want()).await }
        });
        while dispatcher.snapshot().waiting == 0 {
            tokio::task::yield_now().await;
        }
        first.finish(RunOutcome {
            ok: true,
            ..RunOutcome::default()
        });
        let second = waiting.await.unwrap().unwrap();
        assert_eq!(second.backend(), BackendId(0));
    });
}

#[test]
fn a_waiter_is_woken_by_a_backend_that_joins() {
    runtime().block_on(async {
        let dispatcher = dispatcher(0, 0, LONG);
        let waiting = tokio::spawn({
            let dispatcher = Arc::clone(&dispatcher);
            async move {
                dispatcher
                    .acquire(want())
                    .await
                    .map(|permit| permit.backend())
            }
        });
        while dispatcher.snapshot().waiting == 0 {
            tokio::task::yield_now().await;
        }
        join(&dispatcher, 4, 1);
        assert_eq!(waiting.await.unwrap(), Ok(BackendId(4)));
    });
}

#[test]
fn giving_up_leaves_the_queue_at_once() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 1, LONG);
        let running = dispatcher.acquire(want()).await.unwrap();
        {
            let mut waiting = pin!(dispatcher.acquire(want()));
            assert!(polled(waiting.as_mut()).is_pending());
            assert_eq!(dispatcher.snapshot().waiting, 1);
        }
        assert_eq!(dispatcher.snapshot().waiting, 0);
        drop(running);
        assert_eq!(dispatcher.snapshot().in_flight, 0);
    });
}

#[test]
fn giving_up_after_the_grant_gives_the_slot_back() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 1, LONG);
        let running = dispatcher.acquire(want()).await.unwrap();
        {
            let mut waiting = pin!(dispatcher.acquire(want()));
            assert!(polled(waiting.as_mut()).is_pending());
            drop(running);
            assert_eq!(dispatcher.snapshot().in_flight, 1);
        }
        assert_eq!(dispatcher.snapshot().in_flight, 0);
    });
}

#[test]
fn waiting_ends_with_the_timeout() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 1, Duration::from_millis(30));
        let _running = dispatcher.acquire(want()).await.unwrap();
        let (first, second) = tokio::join!(dispatcher.acquire(want()), dispatcher.acquire(want()));
        for refusal in [first.unwrap_err(), second.unwrap_err()] {
            assert!(matches!(refusal, NoSlot::TimedOut { healthy: true, .. }));
        }
        // The timer has ended with the last waiter and starts again with the next.
        let again = dispatcher.acquire(want()).await.unwrap_err();
        assert!(matches!(again, NoSlot::TimedOut { healthy: true, .. }));
    });
}

#[test]
fn the_timer_outlives_the_runtime_that_it_was_started_on() {
    let dispatcher = dispatcher(1, 1, Duration::from_millis(30));
    let other = runtime();
    let running = other.block_on(dispatcher.acquire(want())).unwrap();
    let gone = other.spawn({
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.acquire(want()).await.map(drop) }
    });
    other.block_on(async {
        while dispatcher.snapshot().waiting == 0 {
            tokio::task::yield_now().await;
        }
    });
    drop(gone);
    drop(other);
    assert_eq!(dispatcher.snapshot().waiting, 0);
    let refusal = runtime().block_on(dispatcher.acquire(want())).unwrap_err();
    assert!(matches!(refusal, NoSlot::TimedOut { .. }));
    drop(running);
}

#[test]
fn a_retry_goes_elsewhere_until_all_are_tried() {
    runtime().block_on(async {
        let dispatcher = dispatcher(2, 1, LONG);
        let first = dispatcher.acquire(want()).await.unwrap();
        assert_eq!(first.backend(), BackendId(0));
        let second = first.retry().await.unwrap();
        assert_eq!(second.backend(), BackendId(1));
        assert_eq!(second.retry().await.unwrap_err(), NoSlot::Exhausted);
        assert_eq!(dispatcher.snapshot().in_flight, 0);
    });
}

#[test]
fn a_retry_that_is_never_awaited_gives_the_slot_back() {
    runtime().block_on(async {
        let dispatcher = dispatcher(2, 1, LONG);
        let permit = dispatcher.acquire(want()).await.unwrap();
        drop(permit.retry());
        assert_eq!(dispatcher.snapshot().in_flight, 0);
    });
}

#[test]
fn an_unknown_model_is_refused_at_once() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 1, LONG);
        for wanted in [Wanted::Model(ModelId(9)), Wanted::Unlisted] {
            let refusal = dispatcher
                .acquire(Want { wanted, ..want() })
                .await
                .unwrap_err();
            assert_eq!(refusal, NoSlot::UnknownModel);
        }
    });
}

#[test]
fn slots_hold_under_many_threads_and_nothing_is_lost() {
    const BACKENDS: u32 = 4;
    const SLOTS: u32 = 3;
    let dispatcher = dispatcher(BACKENDS, SLOTS, LONG);
    let in_use: Arc<[AtomicU32]> = (0..BACKENDS).map(|_| AtomicU32::new(0)).collect();
    let runtime = Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..2_000_u32)
        .map(|number| {
            let (dispatcher, in_use) = (Arc::clone(&dispatcher), Arc::clone(&in_use));
            runtime.spawn(async move {
                let mut permit = dispatcher.acquire(want()).await.unwrap();
                for attempt in 0.. {
                    let slot = &in_use[permit.backend().0 as usize];
                    assert!(slot.fetch_add(1, Ordering::SeqCst) < SLOTS);
                    tokio::task::yield_now().await;
                    permit.first_content();
                    slot.fetch_sub(1, Ordering::SeqCst);
                    if attempt > 0 || number % 3 > 0 {
                        break;
                    }
                    permit = permit.retry().await.unwrap();
                }
                if number % 2 == 0 {
                    permit.finish(RunOutcome {
                        ok: true,
                        ..RunOutcome::default()
                    });
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    let snapshot = dispatcher.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.waiting), (0, 0));
    assert!(snapshot.warm_starts >= 2_000);
}

/// Keeps what it is asked for.
#[derive(Default)]
struct Orders(
    std::sync::Mutex<Vec<LoadOrder>>,
    std::sync::Mutex<Vec<HealOrder>>,
);

impl Loader for Orders {
    fn load(&self, order: LoadOrder) {
        self.0.lock().unwrap().push(order);
    }

    fn heal(&self, order: HealOrder) {
        self.1.lock().unwrap().push(order);
    }
}

/// Loads, and heals nothing.
struct LoadsOnly;

impl Loader for LoadsOnly {
    fn load(&self, order: LoadOrder) {
        order.ticket.done();
    }
}

#[test]
fn a_copy_that_hangs_is_healed_once_its_requests_have_been_called_back() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 2, LONG);
        let orders = Arc::new(Orders::default());
        dispatcher.set_loader(orders.clone());
        let first = dispatcher.acquire(want()).await.unwrap();
        let second = dispatcher.acquire(want()).await.unwrap();
        first.late();
        {
            let mut recalled = pin!(second.recalled());
            assert!(polled(recalled.as_mut()).is_pending());
            second.late();
            recalled.await;
        }
        first.recalled().await;
        let condition = |dispatcher: &Dispatcher| dispatcher.copies()[0].condition;
        assert_eq!(condition(&dispatcher), Condition::Suspect);
        assert!(matches!(first.retry().await, Err(NoSlot::Exhausted)));
        drop(second);
        let order = orders.1.lock().unwrap().pop().unwrap();
        assert_eq!((order.backend, order.model), (BackendId(0), MODEL));
        assert!(order.unload);
        let mut waiting = pin!(dispatcher.acquire(want()));
        assert!(polled(waiting.as_mut()).is_pending());
        order.ticket.done(RunOutcome::default());
        let permit = waiting.await.unwrap();
        assert_eq!(condition(&dispatcher), Condition::Well);
        // It is another request, which nobody has called back.
        let mut recalled = pin!(permit.recalled());
        assert!(polled(recalled.as_mut()).is_pending());
    });
}

#[test]
fn a_first_content_in_between_clears_a_copy_of_one_late_request() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 3, LONG);
        dispatcher.set_loader(Arc::new(Orders::default()));
        let first = dispatcher.acquire(want()).await.unwrap();
        let mut second = dispatcher.acquire(want()).await.unwrap();
        let third = dispatcher.acquire(want()).await.unwrap();
        first.late();
        second.first_content();
        third.late();
        assert_eq!(dispatcher.copies()[0].condition, Condition::Well);
        first.late();
        assert_eq!(dispatcher.copies()[0].condition, Condition::Suspect);
    });
}

#[test]
fn a_loader_that_cannot_heal_tells_the_failure() {
    runtime().block_on(async {
        let dispatcher = dispatcher(1, 2, LONG);
        dispatcher.set_loader(Arc::new(LoadsOnly));
        let first = dispatcher.acquire(want()).await.unwrap();
        let second = dispatcher.acquire(want()).await.unwrap();
        first.late();
        second.late();
        drop(first);
        drop(second);
        let refusal = dispatcher.acquire(want()).await.unwrap_err();
        assert!(matches!(refusal, NoSlot::CannotLoad { .. }));
    });
}

#[test]
fn a_loader_is_asked_with_the_recipe_of_who_waits_and_tells_the_end() {
    runtime().block_on(async {
        let dispatcher = empty_handed();
        let orders = Arc::new(Orders::default());
        dispatcher.set_loader(orders.clone());
        let recipe = Arc::new(LoadRecipe {
            embeds: true,
            ..LoadRecipe::default()
        });
        let want = || Want {
            recipe: Some(Arc::clone(&recipe)),
            ..want()
        };
        let mut waiting = pin!(dispatcher.acquire(want()));
        assert!(polled(waiting.as_mut()).is_pending());
        let order = orders.0.lock().unwrap().pop().unwrap();
        assert_eq!((order.backend, order.model), (BackendId(0), MODEL));
        assert_eq!(order.recipe, recipe);
        assert_eq!(dispatcher.loads().len(), 1);
        order.ticket.done();
        let permit = waiting.await.unwrap();
        assert!(!permit.cold());
        drop(permit);
        assert_eq!(dispatcher.loads(), []);
    });
}

#[test]
fn a_load_that_is_given_up_is_a_failure_whose_cause_is_kept() {
    runtime().block_on(async {
        let dispatcher = empty_handed();
        let orders = Arc::new(Orders::default());
        dispatcher.set_loader(orders.clone());
        let want = Want {
            recipe: Some(Arc::default()),
            ..want()
        };
        let mut waiting = pin!(dispatcher.acquire(want.clone()));
        assert!(polled(waiting.as_mut()).is_pending());
        let order = orders.0.lock().unwrap().pop().unwrap();
        let fault = LoadFault {
            status: Some(500),
            text: "error loading model".into(),
        };
        order.ticket.failed(fault.clone());
        assert!(matches!(waiting.await, Err(NoSlot::CannotLoad { .. })));
        assert_eq!(dispatcher.load_fault(MODEL), Some(fault));
        let refusal = dispatcher.acquire(want).await.unwrap_err();
        assert!(matches!(refusal, NoSlot::CannotLoad { .. }));
    });
}

#[test]
fn who_looks_at_what_is_in_memory_looks_again_when_a_load_ends_or_a_probe_is_answered() {
    runtime().block_on(async {
        let dispatcher = empty_handed();
        let orders = Arc::new(Orders::default());
        dispatcher.set_loader(orders.clone());
        let want = Want {
            recipe: Some(Arc::default()),
            ..want()
        };
        let looks = AtomicU32::new(0);
        let until = |count| {
            let looks = &looks;
            dispatcher.until_in_memory(move || {
                let seen = looks.fetch_add(1, Ordering::SeqCst) + 1;
                (seen == count).then_some(seen)
            })
        };
        assert_eq!(until(1).await, 1);
        let mut waiting = pin!(until(4));
        let mut rider = pin!(dispatcher.acquire(want));
        assert!(polled(rider.as_mut()).is_pending());
        for expected in [2, 2] {
            assert!(polled(waiting.as_mut()).is_pending());
            assert_eq!(
                looks.load(Ordering::SeqCst),
                expected,
                "it waits to be told"
            );
        }
        let order = orders.0.lock().unwrap().pop().unwrap();
        order.ticket.done();
        assert!(polled(waiting.as_mut()).is_pending());
        assert_eq!(looks.load(Ordering::SeqCst), 3);
        let residency = Residency {
            on_disk: &[StoredModel::new(MODEL, 1)],
            loaded: &[],
        };
        dispatcher.observe(BackendId(0), residency);
        assert_eq!(waiting.await, 4);
    });
}

/// A dispatcher with one backend that has the model on disk and nothing in memory.
fn empty_handed() -> Arc<Dispatcher> {
    let dispatcher = dispatcher(1, 1, LONG);
    let residency = Residency {
        on_disk: &[StoredModel::new(MODEL, 1)],
        loaded: &[],
    };
    dispatcher.observe(BackendId(0), residency);
    dispatcher
}
