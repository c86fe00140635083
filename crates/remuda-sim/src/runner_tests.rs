//! The scheduler under a paused clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Room for two models of 10 bytes, of which a load takes a second.
fn runners(change: impl FnOnce(&mut Machine)) -> Arc<Runners> {
    let mut machine = Machine {
        vram: 23,
        load: crate::LoadTime::Fixed(SECOND),
        ..Machine::default()
    };
    change(&mut machine);
    Arc::new(Runners::new(machine))
}

fn want(name: &str) -> Want {
    Want {
        model: Arc::new(Model::parse(&format!("{name}=10")).unwrap()),
        keep_alive: None,
        tuning: Tuning::default(),
    }
}

/// A request for `name` with options.
fn tuned(name: &str, change: impl FnOnce(&mut Tuning)) -> Want {
    let mut want = want(name);
    change(&mut want.tuning);
    want
}

fn kept(name: &str, seconds: u32) -> Want {
    Want {
        keep_alive: Some(KeepAlive::For(seconds * SECOND)),
        ..want(name)
    }
}

fn names(runners: &Runners) -> Vec<String> {
    let mut names: Vec<String> = runners
        .loaded()
        .iter()
        .map(|loaded| loaded.model.name.base().to_owned())
        .collect();
    names.sort();
    names
}

async fn hold(runners: &Arc<Runners>, want: &Want) -> Lease {
    runners.acquire(want, Mishap::default).await.unwrap()
}

/// Has one request answered, which takes no time but for the load; returns how long that took.
async fn run(runners: &Arc<Runners>, want: &Want) -> Duration {
    let start = Instant::now();
    let lease = hold(runners, want).await;
    drop(lease.inside.slot().await);
    start.elapsed()
}

fn spawn(runners: &Arc<Runners>, want: Want) -> tokio::task::JoinHandle<Duration> {
    let runners = runners.clone();
    tokio::spawn(async move { run(&runners, &want).await })
}

#[tokio::test(start_paused = true)]
async fn a_cold_model_loads_once() {
    let runners = runners(|_| {});
    assert_eq!(run(&runners, &want("a")).await, SECOND);
    assert_eq!(run(&runners, &want("a")).await, Duration::ZERO);
    assert_eq!(runners.tally().loads, 1);
}

#[tokio::test(start_paused = true)]
async fn two_names_for_the_same_weights_are_one_copy() {
    let runners = runners(|_| {});
    let one = want("a");
    let other = Want {
        model: Arc::new(one.model.made_into(&want("b").model.name)),
        ..one.clone()
    };
    assert_ne!(one.model.digest, other.model.digest);
    run(&runners, &one).await;
    assert_eq!(run(&runners, &other).await, Duration::ZERO);
    assert_eq!(names(&runners), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn each_other_set_of_options_reloads() {
    let runners = runners(|_| {});
    let plain = want("a");
    let changes: [fn(&mut Tuning); 5] = [
        |tuning| tuning.num_ctx = Some(8_192),
        |tuning| tuning.num_batch = Some(64),
        |tuning| tuning.num_thread = Some(2),
        |tuning| tuning.shift = Some(false),
        |tuning| tuning.draft_num_predict = Some(2),
    ];
    for change in changes {
        let other = tuned("a", change);
        assert_eq!(run(&runners, &plain).await, SECOND);
        assert_eq!(run(&runners, &other).await, SECOND, "{:?}", other.tuning);
        assert_eq!(run(&runners, &other).await, Duration::ZERO);
    }
    assert_eq!(runners.tally().loads, 10);
    assert_eq!(names(&runners), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn who_states_no_context_cannot_join_a_copy_with_a_stated_one() {
    let runners = runners(|_| {});
    run(&runners, &want("a")).await;
    assert_eq!(runners.loaded()[0].context_length, 4_096);
    let same = tuned("a", |tuning| tuning.num_ctx = Some(4_096));
    assert_eq!(run(&runners, &same).await, Duration::ZERO);
    let large = tuned("a", |tuning| tuning.num_ctx = Some(1_000_000));
    assert_eq!(run(&runners, &large).await, SECOND);
    assert_eq!(runners.loaded()[0].context_length, 32_768, "as trained");
    run(&runners, &same).await;
    assert_eq!(run(&runners, &want("a")).await, SECOND, "the trap");
}

#[tokio::test(start_paused = true)]
async fn a_reload_waits_for_all_that_run_and_those_that_fit_still_join() {
    let runners = runners(|_| {});
    let first = hold(&runners, &want("a")).await;
    let reload = spawn(&runners, tuned("a", |tuning| tuning.num_ctx = Some(8_192)));
    tokio::time::sleep(3 * SECOND).await;
    let second = hold(&runners, &want("a")).await;
    drop(first);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(runners.loaded()[0].context_length, 4_096);
    drop(second);
    assert_eq!(reload.await.unwrap(), 6 * SECOND);
    assert_eq!(runners.loaded()[0].context_length, 8_192);
}

#[tokio::test(start_paused = true)]
async fn a_reload_of_a_busy_model_holds_up_the_load_of_another() {
    let runners = runners(|_| {});
    let busy = hold(&runners, &want("a")).await;
    let reload = spawn(&runners, tuned("a", |tuning| tuning.num_thread = Some(1)));
    tokio::task::yield_now().await;
    let other = spawn(&runners, want("b"));
    tokio::time::sleep(7 * SECOND).await;
    assert_eq!(names(&runners), ["a"]);
    drop(busy);
    assert_eq!(reload.await.unwrap(), 8 * SECOND);
    assert_eq!(other.await.unwrap(), 9 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn loads_come_one_at_a_time_in_the_order_of_their_requests() {
    let runners = runners(|_| {});
    run(&runners, &want("warm")).await;
    let (one, two) = (spawn(&runners, want("a")), spawn(&runners, want("b")));
    tokio::time::sleep(SECOND / 2).await;
    // Behind the load of another model, though its own is already under way.
    let again = spawn(&runners, want("a"));
    assert_eq!(run(&runners, &want("warm")).await, Duration::ZERO);
    assert_eq!(
        names(&runners),
        ["warm"],
        "what is being loaded is not told"
    );
    assert_eq!(one.await.unwrap(), SECOND);
    assert_eq!(two.await.unwrap(), 2 * SECOND);
    assert_eq!(again.await.unwrap(), 2 * SECOND - SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn the_idle_model_with_the_shortest_keep_alive_goes() {
    let runners = runners(|_| {});
    run(&runners, &kept("a", 100)).await;
    run(&runners, &kept("b", 50)).await;
    run(&runners, &want("b")).await;
    run(&runners, &want("c")).await;
    assert_eq!(names(&runners), ["a", "c"], "not the least recently used");
    // The machine's five minutes are longer than a hundred seconds.
    run(&runners, &want("d")).await;
    assert_eq!(names(&runners), ["c", "d"]);
    assert_eq!(runners.tally().evictions, 2);
}

#[tokio::test(start_paused = true)]
async fn who_looks_at_the_runners_during_an_eviction_waits_until_the_memory_is_free() {
    let runners = runners(|machine| machine.eviction_time = 3 * SECOND);
    for name in ["a", "b"] {
        assert_eq!(run(&runners, &want(name)).await, SECOND, "there is room");
    }
    let start = Instant::now();
    let load = spawn(&runners, want("c"));
    tokio::task::yield_now().await;
    runners.settle().await;
    assert_eq!(start.elapsed(), 3 * SECOND);
    assert_eq!(load.await.unwrap(), 4 * SECOND);
    runners.settle().await;
    assert_eq!(start.elapsed(), 4 * SECOND, "it is over");
}

#[tokio::test(start_paused = true)]
async fn of_equal_keep_alives_the_path_decides() {
    let runners = runners(|_| {});
    run(&runners, &want("a")).await;
    run(&runners, &want("b")).await;
    run(&runners, &want("c")).await;
    let mut blobs = ["a", "b"].map(|name| (want(name).model.blob.clone(), name));
    blobs.sort();
    assert_eq!(names(&runners), [blobs[1].1, "c"]);
}

#[tokio::test(start_paused = true)]
async fn where_none_is_idle_the_one_with_the_shortest_keep_alive_is_waited_for() {
    let runners = runners(|_| {});
    let short = hold(&runners, &kept("a", 10)).await;
    let long = hold(&runners, &kept("b", 100)).await;
    let load = spawn(&runners, want("c"));
    tokio::time::sleep(SECOND).await;
    drop(long);
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        names(&runners),
        ["a", "b"],
        "another that is idle does not do"
    );
    drop(short);
    assert_eq!(load.await.unwrap(), 3 * SECOND);
    assert_eq!(names(&runners), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn so_many_models_are_loaded_at_most() {
    let runners = runners(|machine| machine.vram = 1 << 20);
    for name in ["a", "b", "c", "d"] {
        run(&runners, &want(name)).await;
    }
    assert_eq!(names(&runners).len(), 3);
    assert_eq!(runners.tally().evictions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_needs_a_fifth_of_the_free_memory_to_spare() {
    for (vram, loaded) in [(22, 1), (23, 2)] {
        let runners = runners(|machine| machine.vram = vram);
        run(&runners, &want("a")).await;
        run(&runners, &want("b")).await;
        assert_eq!(names(&runners).len(), loaded, "{vram} bytes");
        assert!(runners.loaded().iter().all(|copy| copy.size_vram == 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_waits_for_a_busy_model_to_finish() {
    let runners = runners(|machine| machine.vram = 10);
    let busy = hold(&runners, &want("a")).await;
    let waiter = spawn(&runners, want("b"));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(names(&runners), ["a"]);
    drop(busy);
    assert_eq!(waiter.await.unwrap(), 6 * SECOND);
    assert_eq!(names(&runners), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn requests_for_one_cold_model_share_its_load() {
    let runners = runners(|machine| machine.parallel = 2);
    let wanted = want("a");
    let (one, two) = tokio::join!(run(&runners, &wanted), run(&runners, &wanted));
    assert_eq!((one, two), (SECOND, SECOND));
    assert_eq!(runners.tally().loads, 1);
}

#[tokio::test(start_paused = true)]
async fn the_line_for_loads_is_bounded() {
    let runners = runners(|machine| machine.max_queue = 1);
    let wants = [want("a"), want("b"), want("c")];
    let (one, two, three) = tokio::join!(
        runners.acquire(&wants[0], Mishap::default),
        runners.acquire(&wants[1], Mishap::default),
        runners.acquire(&wants[2], Mishap::default),
    );
    assert!(one.is_ok() && two.is_ok());
    assert!(three.is_err_and(|busy| busy.to_string().contains("again.  maximum")));
    assert!(runners.acquire(&want("a"), Mishap::default).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keep_alive_ends_and_forever_does_not() {
    let runners = runners(|_| {});
    let forever = Want {
        keep_alive: Some(KeepAlive::Forever),
        ..want("b")
    };
    run(&runners, &kept("a", 10)).await;
    run(&runners, &forever).await;
    let years = (runners.loaded()[0].expires_at - Local::now()).num_days() / 365;
    assert_eq!(years, 292);
    tokio::time::advance(8 * SECOND).await;
    assert_eq!(names(&runners), ["a", "b"]);
    run(&runners, &want("a")).await;
    tokio::time::advance(9 * SECOND).await;
    assert_eq!(
        names(&runners),
        ["a", "b"],
        "a request starts the time anew, and one that states none leaves it as it was"
    );
    tokio::time::advance(SECOND).await;
    assert_eq!(names(&runners), ["b"]);
    assert_eq!(runners.tally().unloads, 1);
}

#[tokio::test(start_paused = true)]
async fn the_clock_starts_when_the_last_request_ends_and_only_then_it_is_told() {
    let runners = runners(|_| {});
    let told = || runners.loaded()[0].expires_at;
    run(&runners, &kept("a", 10)).await;
    let (before, lease) = (told(), hold(&runners, &kept("a", 5)).await);
    let second = hold(&runners, &want("a")).await;
    assert_eq!(told(), before);
    tokio::time::advance(60 * SECOND).await;
    assert_eq!((names(&runners), told()), (vec!["a".to_owned()], before));
    drop(lease);
    tokio::time::advance(60 * SECOND).await;
    drop(second);
    assert_ne!(told(), before);
    tokio::time::advance(4 * SECOND).await;
    assert_eq!(names(&runners), ["a"]);
    tokio::time::advance(SECOND).await;
    assert!(names(&runners).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_its_load_and_the_next_begins_anew() {
    let runners = runners(|_| {});
    let load = {
        let runners = runners.clone();
        tokio::spawn(async move { run(&runners, &want("a")).await })
    };
    tokio::task::yield_now().await;
    let waits = spawn(&runners, want("a"));
    tokio::time::sleep(SECOND * 3 / 4).await;
    load.abort();
    assert!(load.await.unwrap_err().is_cancelled());
    assert_eq!(waits.await.unwrap(), SECOND * 7 / 4);
    let tally = runners.tally();
    assert_eq!((tally.loads, tally.abandoned_loads), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_model_larger_than_the_vram_is_split() {
    let runners = runners(|machine| machine.vram = 5);
    let lease = hold(&runners, &want("a")).await;
    assert_eq!(lease.in_vram, 0.5);
    let loaded = &runners.loaded()[0];
    assert_eq!((loaded.size, loaded.size_vram), (10, 5));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_kept_off_the_gpu_needs_no_vram() {
    let runners = runners(|machine| machine.vram = 12);
    let busy = hold(&runners, &want("a")).await;
    let on_cpu = tuned("b", |tuning| tuning.num_gpu = Some(0));
    assert_eq!(run(&runners, &on_cpu).await, SECOND);
    let sizes: Vec<u64> = runners.loaded().iter().map(|copy| copy.size_vram).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 10);
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn an_automatic_context_steps_down_once_where_it_does_not_fit() {
    let runners = runners(|machine| {
        machine.vram = 24 << 30;
        machine.parallel = 4;
    });
    let model = Arc::new(Model::parse("qwen3:8b").unwrap());
    let want = |num_ctx| Want {
        model: model.clone(),
        keep_alive: None,
        tuning: Tuning {
            num_ctx,
            ..Tuning::default()
        },
    };
    // Four slots of 32,768 tokens with 147,456 bytes each, and 5.2 GB of weights: 24.5 GB of 25.8 GB.
    run(&runners, &want(None)).await;
    assert_eq!(runners.loaded()[0].context_length, 32_768);
    assert_eq!(runners.loaded()[0].size_vram, runners.loaded()[0].size);
    let large = run_with(22 << 30, &want(Some(32_768))).await;
    assert_eq!((large.context_length, large.size_vram), (32_768, 22 << 30));
    let small = run_with(23 << 30, &want(None)).await;
    assert_eq!((small.context_length, small.size_vram), (4_096, small.size));
}

/// What one request loads on a machine with five slots and so much VRAM.
async fn run_with(vram: u64, want: &Want) -> Loaded {
    let runners = runners(|machine| {
        machine.vram = vram;
        machine.parallel = 5;
    });
    run(&runners, want).await;
    runners.loaded().remove(0)
}

#[tokio::test(start_paused = true)]
async fn unloading_waits_for_the_last_request_and_new_ones_still_join() {
    let runners = runners(|_| {});
    let lease = hold(&runners, &want("a")).await;
    runners.unload(&want("a").model);
    let joined = hold(&runners, &want("a")).await;
    drop(lease);
    assert_eq!(names(&runners), ["a"]);
    drop(joined);
    assert_eq!(names(&runners), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn unloading_does_nothing_to_a_load() {
    let runners = runners(|_| {});
    let load = spawn(&runners, want("a"));
    tokio::time::sleep(SECOND / 2).await;
    runners.unload(&want("a").model);
    assert_eq!(load.await.unwrap(), SECOND);
    assert_eq!(names(&runners), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn slots_are_taken_in_turn() {
    let runners = runners(|_| {});
    let wanted = want("a");
    let first = hold(&runners, &wanted).await;
    let slot = first.inside.slot().await;
    let second = hold(&runners, &wanted).await;
    let waits = tokio::time::timeout(SECOND, second.inside.slot()).await;
    assert!(waits.is_err());
    drop(slot);
    let has = tokio::time::timeout(SECOND, second.inside.slot()).await;
    assert!(has.is_ok());
}

#[tokio::test(start_paused = true)]
async fn each_model_has_slots_of_its_own() {
    let runners = runners(|_| {});
    let (one, other) = (
        hold(&runners, &want("a")).await,
        hold(&runners, &want("b")).await,
    );
    let _slot = one.inside.slot().await;
    let has = tokio::time::timeout(SECOND, other.inside.slot()).await;
    assert!(has.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_costs_its_whole_time_each_time() {
    let runners = runners(|_| {});
    for _ in 0..2 {
        let start = Instant::now();
        let broken = || Mishap {
            failure: Some("error loading model".into()),
            ..Mishap::default()
        };
        let error = runners.acquire(&want("a"), broken).await.err().unwrap();
        assert_eq!(error.to_string(), "error loading model");
        assert_eq!(start.elapsed(), SECOND);
    }
    let tally = runners.tally();
    assert_eq!(
        (tally.loads, tally.failed_loads, tally.abandoned_loads),
        (0, 2, 0)
    );
    assert_eq!(run(&runners, &want("a")).await, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_does_not_move_is_given_up_and_the_next_goes_on() {
    let runners = runners(|machine| machine.load_timeout = 300 * SECOND);
    let stuck = tokio::spawn({
        let runners = runners.clone();
        async move {
            let mishap = || Mishap {
                stuck: true,
                ..Mishap::default()
            };
            let error = runners.acquire(&want("a"), mishap).await.err();
            error.map(|error| error.to_string())
        }
    });
    tokio::task::yield_now().await;
    let next = spawn(&runners, want("b"));
    let text = "timed out waiting for llama-server to start".to_owned();
    assert_eq!(stuck.await.unwrap(), Some(text));
    assert_eq!(next.await.unwrap(), 301 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_runner_is_noticed_killed_and_loaded_anew() {
    let runners = runners(|_| {});
    let lease = hold(&runners, &want("a")).await;
    lease.inside.freeze();
    drop(lease);
    let request = spawn(&runners, want("a"));
    tokio::task::yield_now().await;
    let start = Instant::now();
    runners.settle().await;
    assert_eq!(start.elapsed(), CHECK, "whoever looks at the runners waits");
    // It is looked for twice: by the request, and when the request has its turn.
    assert_eq!(request.await.unwrap(), 2 * CHECK + SECOND);
    assert_eq!(run(&runners, &want("a")).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_the_prompts() {
    let runners = runners(|_| {});
    let prompt = "Tell me of horses. ".repeat(10);
    let lease = hold(&runners, &want("a")).await;
    lease.inside.remember(&prompt);
    drop(lease);
    let cached = async |want: &Want| hold(&runners, want).await.inside.remembered(&prompt);
    assert!(cached(&want("a")).await > 40);
    assert_eq!(cached(&tuned("a", |t| t.num_thread = Some(1))).await, 0);
}
