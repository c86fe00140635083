//! Joining and leaving.

use super::*;
use crate::fleet::discovery::Discovery;

#[tokio::test]
async fn a_server_in_the_range_joins_with_what_it_has() {
    let server = Fake::start(Mood::Has(&["llama3.2:latest", "Qwen3:8b"])).await;
    let mut running = Running::start(&[scanning(server.addr)]);
    assert_eq!(running.next().await, Event::Joined(server.addr));
    assert_eq!(running.next().await, Event::Probed(BackendId(0)));

    let fleet = &running.fleet;
    let backend = fleet.backend(BackendId(0)).unwrap();
    assert_eq!(*backend.name, *server.addr.to_string());
    assert!(backend.healthy());
    let inventory = backend.inventory();
    let llama = fleet.models().lookup("LLAMA3.2").unwrap();
    let qwen = fleet.models().lookup("qwen3:8b").unwrap();
    assert!(inventory.has(llama) && inventory.has(qwen));
    assert!(inventory.has_loaded(llama) && !inventory.has_loaded(qwen));
    assert_eq!(inventory.version, "0.33.0");
    assert_eq!(inventory.model(qwen).unwrap().name, "Qwen3:8b");

    assert_eq!(fleet.pick(None, Some(qwen), &[]).unwrap().id, backend.id);
    assert!(fleet.pick(None, Some(qwen), &[backend.id]).is_none());
}

#[tokio::test]
async fn a_server_that_starts_later_joins() {
    let silent = Fake::start(Mood::Silent).await;
    let addr = silent.stop().await;
    let mut running = Running::start(&[scanning(addr)]);
    let server = Fake::start_at(addr, Mood::Has(&["llama3.2"])).await;
    assert_eq!(running.next().await, Event::Joined(server.addr));
}

#[tokio::test]
async fn a_vanished_server_leaves_and_comes_back_as_another() {
    let server = Fake::start(Mood::Has(&["llama3.2"])).await;
    let mut running = Running::start(&[scanning(server.addr)]);
    let first = running.healthy(server.addr).await;
    let addr = server.stop().await;
    running
        .until(|event| *event == Event::Unhealthy(first.id))
        .await;
    running.until(|event| *event == Event::Left(first.id)).await;
    assert!(first.gone() && !first.healthy());
    assert!(running.fleet.backend(first.id).is_none());

    let server = Fake::start_at(addr, Mood::Has(&["llama3.2"])).await;
    let second = running.healthy(server.addr).await;
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn what_is_no_ollama_server_does_not_join() {
    let long = format!(r#"{{"models":[],"pad":"{}"}}"#, "x".repeat(8 << 20));
    let bodies = [
        "<html>",
        "{}",
        r#"{"models":7}"#,
        r#"{"models":[{"size":1}]}"#,
        "",
        &long,
    ];
    for body in bodies {
        let server = Fake::start(Mood::Says(200, body.to_owned())).await;
        let mut running = Running::start(&[scanning(server.addr)]);
        running.probes(&server, 2).await;
        assert!(
            running.fleet.snapshot().is_empty(),
            "{} was believed",
            &body[..body.len().min(40)]
        );
        server.set(Mood::Has(&["llama3.2"]));
        assert_eq!(running.next().await, Event::Joined(server.addr));
        assert!(
            server
                .requests()
                .iter()
                .all(|head| head.contains(&format!("host: {}", server.addr)))
        );
    }
}

#[tokio::test]
async fn named_backends_are_members_before_they_answer() {
    let addr = Fake::start(Mood::Silent).await.stop().await;
    let mut running = Running::start(&[listing(&[addr])]);
    assert_eq!(running.next().await, Event::Joined(addr));
    let backend = running.find(addr).unwrap();
    assert!(!backend.healthy());
    assert!(running.fleet.pick(None, None, &[]).is_none());
    let _server = Fake::start_at(addr, Mood::Has(&["llama3.2"])).await;
    assert_eq!(running.next().await, Event::Probed(backend.id));
    assert_eq!(running.fleet.pick(None, None, &[]).unwrap().id, backend.id);
}

#[tokio::test]
async fn a_name_is_resolved_and_a_name_without_address_does_no_harm() {
    let any = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 0);
    let server = Fake::start_at(any, Mood::Has(&["llama3.2"])).await;
    let port = server.addr.port();
    let backends = vec![entry("nowhere.invalid", 1), entry("localhost", port)];
    let provider = settings::Provider {
        backends,
        ..settings("names")
    };
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    assert_eq!(*backend.name, *format!("localhost:{port}"));
    assert_eq!(backend.host, format!("localhost:{port}"));
    assert_eq!(running.fleet.snapshot().len(), 1);
}

#[tokio::test]
async fn providers_that_share_an_address_have_a_backend_each() {
    let shared = Fake::start(Mood::Has(&["llama3.2"])).await;
    let other = Fake::start(Mood::Has(&["qwen3:8b"])).await;
    let mut providers = [scanning(shared.addr), listing(&[other.addr, shared.addr])];
    providers[1].interval = Duration::from_secs(600);
    let mut running = Running::start(&providers);
    while running
        .fleet
        .snapshot()
        .iter()
        .filter(|backend| backend.healthy())
        .count()
        < 3
    {
        running
            .until(|event| matches!(event, Event::Probed(_)))
            .await;
    }

    let members = running.fleet.snapshot();
    let names: Vec<_> = members
        .iter()
        .map(|backend| (&*backend.provider.name, backend.addr))
        .collect();
    assert_eq!(names[0], ("range", shared.addr));
    assert!(
        names[1..].contains(&("list", shared.addr)) && names[1..].contains(&("list", other.addr))
    );

    let listed = members
        .iter()
        .find(|b| b.addr == shared.addr && b.provider.id == ProviderId::at(1))
        .unwrap();
    running.fleet.report(listed.id, RequestOutcome::ServerError);
    assert!(!listed.healthy() && members[0].healthy());
    let fleet = &running.fleet;
    let list = fleet.provider("list").unwrap();
    assert_eq!(fleet.pick(Some(list), None, &[]).unwrap().addr, other.addr);
    assert!(
        fleet
            .pick(Some(list), fleet.models().lookup("llama3.2"), &[])
            .is_none()
    );
    assert!(fleet.provider("third").is_none());
}

/// Where the first of a name's two families leads nowhere, its server is at the second; one that has been there is waited
/// for.
#[tokio::test]
async fn a_name_of_both_families_is_tried_at_the_second() {
    let live = Fake::start(Mood::Has(&["llama3.2"])).await;
    let port = live.addr.port();
    let provider = settings::Provider {
        backends: vec![entry("both.invalid", port)],
        probe_timeout: Duration::from_secs(2),
        ..settings("both")
    };
    let fleet = Fleet::new(&[provider], &Timeouts::default(), Vec::new()).unwrap();
    let prober = Arc::new(Prober::new(Arc::clone(&fleet.models), Vec::new()));
    let provider = Arc::clone(&fleet.managed[0].provider);
    let discovery = Discovery::new(provider, Arc::clone(&fleet.members), prober);
    let dead = own_address();
    let host = resolve::Resolver::known("both.invalid", dead, live.addr.ip());
    *discovery.hosts.lock().await = vec![host];

    discovery.gather().await;
    let first = Arc::clone(&fleet.snapshot()[0]);
    assert_eq!(first.addr, SocketAddr::new(dead, port));
    assert_eq!(*first.name, *format!("both.invalid:{port}"));
    // It has not been asked yet.
    discovery.gather().await;
    assert!(!first.gone());
    fleet.probe(&first).await;
    discovery.gather().await;
    let second = Arc::clone(&fleet.snapshot()[0]);
    assert_eq!((second.addr, fleet.snapshot().len()), (live.addr, 1));
    fleet.probe(&second).await;
    assert!(second.healthy());
    // It is starting anew.
    fleet.report(second.id, RequestOutcome::ConnectFailed);
    discovery.gather().await;
    assert!(!second.gone());
    let names: Vec<String> = fleet.managed[0]
        .provider
        .unresolved()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, [format!("both.invalid:{port}")]);
}
