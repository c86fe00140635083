//! Becoming unhealthy and healthy again.

use super::*;

/// So long that only the first regular probe is seen.
const NEVER: Duration = Duration::from_secs(600);

#[tokio::test]
async fn missed_probes_eject_an_idle_backend_but_never_a_busy_one() {
    let server = Fake::start(Mood::Has(&["llama3.2"])).await;
    let mut running = Running::start(&[listing(&[server.addr])]);
    let backend = running.healthy(server.addr).await;
    let request = backend.begin();
    server.set(Mood::Closes);
    running.probes(&server, 8).await;
    assert!(backend.healthy());

    assert_eq!(backend.in_flight(), 1);
    drop(request);
    running
        .until(|event| *event == Event::Unhealthy(backend.id))
        .await;
    assert!(!backend.healthy());

    server.set(Mood::Has(&["llama3.2"]));
    running
        .until(|event| *event == Event::Probed(backend.id))
        .await;
    assert!(backend.healthy());
    assert!(!backend.gone());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_unhealthy_but_stays() {
    let server = Fake::start(Mood::Has(&["llama3.2"])).await;
    let probe_timeout = Duration::from_millis(200);
    let provider = settings::Provider {
        probe_timeout,
        ..scanning(server.addr)
    };
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    server.set(Mood::Silent);
    running
        .until(|event| *event == Event::Unhealthy(backend.id))
        .await;
    running.probes(&server, 3).await;
    assert!(!backend.healthy() && !backend.gone());

    server.set(Mood::Has(&["phi4"]));
    running
        .until(|event| *event == Event::Probed(backend.id))
        .await;
    assert!(
        backend
            .inventory()
            .has(running.fleet.models().lookup("phi4").unwrap())
    );
}

#[tokio::test]
async fn a_failed_request_ejects_at_once_and_an_early_probe_brings_back() {
    let failures = [
        RequestOutcome::ConnectFailed,
        RequestOutcome::Reset,
        RequestOutcome::TimedOut,
        RequestOutcome::ServerError,
    ];
    for failure in failures {
        let server = Fake::start(Mood::Has(&["llama3.2"])).await;
        let provider = settings::Provider {
            interval: NEVER,
            ..scanning(server.addr)
        };
        let mut running = Running::start(&[provider]);
        let backend = running.healthy(server.addr).await;

        // Also while it serves others.
        let _request = backend.begin();
        running.fleet.report(backend.id, failure);
        assert!(!backend.healthy(), "{failure:?}");
        running
            .until(|event| *event == Event::Unhealthy(backend.id))
            .await;
        assert_eq!(running.next().await, Event::Probed(backend.id));
        assert!(backend.healthy());
    }
}

#[tokio::test]
async fn early_probes_go_on_until_one_is_good() {
    let server = Fake::start(Mood::Has(&["llama3.2"])).await;
    let provider = settings::Provider {
        interval: NEVER,
        ..scanning(server.addr)
    };
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    server.set(Mood::Says(503, "busy".to_owned()));
    running
        .fleet
        .report(backend.id, RequestOutcome::ServerError);
    running.probes(&server, 2).await;
    assert!(!backend.healthy());
    server.set(Mood::Has(&["llama3.2"]));
    running
        .until(|event| *event == Event::Probed(backend.id))
        .await;
    assert!(backend.healthy());
}

#[tokio::test]
async fn answers_are_measured_and_change_no_health() {
    let server = Fake::start(Mood::Has(&["llama3.2"])).await;
    let mut running = Running::start(&[listing(&[server.addr])]);
    let backend = running.healthy(server.addr).await;
    let response_time = Duration::from_millis(1500);
    running
        .fleet
        .report(backend.id, RequestOutcome::Served { response_time });
    let measured = backend.response_time(std::time::Instant::now());
    assert!(
        measured <= response_time && measured > response_time / 2,
        "{measured:?}"
    );
    assert!(backend.healthy());
    // An id that is unknown is let pass.
    running.fleet.report(BackendId(77), RequestOutcome::Reset);
    assert!(backend.healthy());
}

#[tokio::test]
async fn the_version_is_asked_once() {
    let server = Fake::start(Mood::Has(&["llama3.2"])).await;
    let mut running = Running::start(&[listing(&[server.addr])]);
    let backend = running.healthy(server.addr).await;
    running.probes(&server, 3).await;
    let asked = |path: &str| {
        let head = format!("get {path} http/1.1");
        server
            .requests()
            .iter()
            .filter(|request| request.starts_with(&head))
            .count()
    };
    assert_eq!(asked("/api/version"), 1);
    assert!(asked("/api/tags") >= 3 && asked("/api/ps") >= 3);
    // One connection a probe.
    assert!(server.connections() <= asked("/api/tags") + 1);
    assert_eq!(backend.inventory().version, "0.33.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn observers_agree_with_the_fleet_when_requests_and_probes_race() {
    let server = Fake::start(Mood::Has(&["llama3.2"])).await;
    let interval = Duration::from_millis(2);
    let provider = settings::Provider {
        interval,
        ..listing(&[server.addr])
    };
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    let reporters: Vec<_> = (0..4)
        .map(|_| {
            let (fleet, backend) = (Arc::clone(&running.fleet), Arc::clone(&backend));
            std::thread::spawn(move || {
                for _ in 0..50 {
                    while !backend.healthy() {
                        std::thread::yield_now();
                    }
                    fleet.report(backend.id, RequestOutcome::Reset);
                }
            })
        })
        .collect();
    let joined = tokio::task::spawn_blocking(|| reporters.into_iter().try_for_each(|r| r.join()));
    joined.await.unwrap().unwrap();
    running.fleet.report(backend.id, RequestOutcome::Reset);

    let (mut healthy, mut losses) = (true, 0);
    while !(healthy && running.events.is_empty() && backend.healthy()) {
        match running.next().await {
            Event::Unhealthy(_) => {
                assert!(
                    std::mem::replace(&mut healthy, false),
                    "told twice in a row"
                );
                losses += 1;
            }
            Event::Probed(_) => healthy = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(losses >= 50, "{losses}");
}
