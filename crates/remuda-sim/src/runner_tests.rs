//! The scheduler under a paused clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn runners(change: impl FnOnce(&mut Machine)) -> Arc<Runners> {
    let mut machine = Machine {
        vram: 20,
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
        context_length: None,
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

async fn run(runners: &Arc<Runners>, want: &Want) -> Duration {
    let start = Instant::now();
    let lease = runners.acquire(want, || Duration::ZERO).await.unwrap();
    drop(lease.slot().await);
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_cold_model_loads_once() {
    let runners = runners(|_| {});
    assert_eq!(run(&runners, &want("a")).await, SECOND);
    assert_eq!(run(&runners, &want("a")).await, Duration::ZERO);
    assert_eq!(runners.tally().loads, 1);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_model_goes() {
    let runners = runners(|_| {});
    for name in ["a", "b", "a", "c"] {
        run(&runners, &want(name)).await;
        tokio::time::advance(SECOND).await;
    }
    assert_eq!(names(&runners), ["a", "c"]);
    assert_eq!(runners.tally().evictions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_waits_for_a_busy_model_to_finish() {
    let runners = runners(|machine| machine.vram = 10);
    let busy = runners
        .acquire(&want("a"), || Duration::ZERO)
        .await
        .unwrap();
    let waiter = tokio::spawn({
        let runners = runners.clone();
        async move { run(&runners, &want("b")).await }
    });
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
        runners.acquire(&wants[0], || Duration::ZERO),
        runners.acquire(&wants[1], || Duration::ZERO),
        runners.acquire(&wants[2], || Duration::ZERO),
    );
    assert!(one.is_ok() && two.is_ok());
    assert!(three.is_err_and(|busy| busy.to_string().contains("again.  maximum")));
    assert!(runners.acquire(&want("a"), || Duration::ZERO).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keep_alive_ends_and_forever_does_not() {
    let runners = runners(|_| {});
    let mut short = want("a");
    short.keep_alive = Some(KeepAlive::For(10 * SECOND));
    let mut forever = want("b");
    forever.keep_alive = Some(KeepAlive::Forever);
    run(&runners, &short).await;
    run(&runners, &forever).await;
    assert_eq!(runners.loaded()[0].expires_in, None);
    tokio::time::advance(8 * SECOND).await;
    assert_eq!(names(&runners), ["a", "b"]);
    run(&runners, &want("a")).await;
    tokio::time::advance(9 * SECOND).await;
    assert_eq!(
        names(&runners),
        ["a", "b"],
        "a request starts the time anew"
    );
    tokio::time::advance(SECOND).await;
    assert_eq!(names(&runners), ["b"]);
    assert_eq!(runners.tally().unloads, 1);
}

#[tokio::test(start_paused = true)]
async fn another_context_length_reloads() {
    let runners = runners(|_| {});
    let mut long = want("a");
    long.context_length = Some(8192);
    run(&runners, &want("a")).await;
    assert_eq!(run(&runners, &long).await, SECOND);
    assert_eq!(runners.loaded()[0].context_length, 8192);
    assert_eq!(names(&runners), ["a"]);
    assert_eq!(runners.tally().loads, 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_gives_its_load_up() {
    let runners = runners(|_| {});
    let wanted = want("a");
    let load = runners.acquire(&wanted, || Duration::ZERO);
    tokio::time::timeout(SECOND / 2, load).await.err().unwrap();
    assert_eq!(names(&runners), [""; 0]);
    assert_eq!(runners.tally().abandoned_loads, 1);
    assert_eq!(run(&runners, &wanted).await, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_model_larger_than_the_vram_is_split() {
    let runners = runners(|machine| machine.vram = 5);
    let lease = runners
        .acquire(&want("a"), || Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(lease.in_vram, 0.5);
    let loaded = &runners.loaded()[0];
    assert_eq!((loaded.size, loaded.size_vram), (10, 5));
}

#[tokio::test(start_paused = true)]
async fn unloading_waits_for_the_last_request() {
    let runners = runners(|_| {});
    let lease = runners
        .acquire(&want("a"), || Duration::ZERO)
        .await
        .unwrap();
    runners.unload(&want("a").model);
    assert_eq!(names(&runners), ["a"]);
    drop(lease);
    assert_eq!(names(&runners), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn slots_are_taken_in_turn() {
    let runners = runners(|_| {});
    let wanted = want("a");
    let first = runners.acquire(&wanted, || Duration::ZERO).await.unwrap();
    let slot = first.slot().await;
    let second = runners.acquire(&wanted, || Duration::ZERO).await.unwrap();
    assert!(tokio::time::timeout(SECOND, second.slot()).await.is_err());
    drop(slot);
    assert!(tokio::time::timeout(SECOND, second.slot()).await.is_ok());
}
