//! Services: what they are asked, what their answers and their silence mean, and where they are.

use super::*;
use crate::settings::{ProviderKind, Secret};

fn service(kind: ProviderKind, path: &str, addrs: &[SocketAddr]) -> settings::Provider {
    let backends = addrs
        .iter()
        .map(|addr| StaticBackend {
            path: path.into(),
            ..entry(&addr.ip().to_string(), addr.port())
        })
        .collect();
    settings::Provider {
        backends,
        interval: Duration::from_millis(50),
        api_key: Some(Secret::new("hunter2")),
        ..settings::Provider::of_kind(kind.name(), kind)
    }
}

fn own(backend: &Backend, models: &Models, name: &str) -> Option<String> {
    let own = backend.own_name(models.lookup(name)?)?;
    Some(own.to_string())
}

const OPENAI: Mood = Mood::Lists(&[(
    "/base/v1/models",
    r#"{"object":"list","data":[{"id":"GPT-5.4","object":"model","created":7,"owned_by":"openai"}]}"#,
)]);

#[tokio::test]
async fn a_service_is_asked_for_its_models_with_its_key() {
    let server = Fake::start(OPENAI).await;
    let provider = service(ProviderKind::OpenAi, "/base/v1", &[server.addr]);
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    assert_eq!(backend.base_path(), "/base/v1");
    let models = running.fleet.models();
    for name in ["gpt-5.4", "openai/gpt-5.4:latest", "OpenAI/GPT-5.4"] {
        assert_eq!(
            own(&backend, models, name).as_deref(),
            Some("GPT-5.4"),
            "{name}"
        );
    }
    let id = models.lookup("gpt-5.4").unwrap();
    assert!(backend.has(id));
    assert_eq!(
        running.fleet.pick(None, Some(id), &[]).unwrap().id,
        backend.id
    );
    assert_eq!(backend.inventory().sizes().count(), 2);
    let head = &server.requests()[0];
    assert!(head.starts_with("get /base/v1/models http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer hunter2"), "{head}");
}

#[tokio::test]
async fn anthropic_is_asked_page_by_page() {
    let server = Fake::start(Mood::Lists(&[
        (
            "/v1/models?limit=1000",
            r#"{"data":[{"id":"claude-a","created_at":"2026-01-02T03:04:05Z"}],"has_more":true,"last_id":"claude-a"}"#,
        ),
        (
            "/v1/models?limit=1000&after_id=claude%2Da",
            r#"{"data":[{"id":"claude-b"}],"has_more":false,"last_id":"claude-b"}"#,
        ),
    ]))
    .await;
    let provider = service(ProviderKind::Anthropic, "", &[server.addr]);
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    let offers: Vec<_> = backend
        .inventory()
        .offers()
        .iter()
        .map(|offer| (offer.name.to_string(), offer.created))
        .collect();
    let expected = [("claude-a", Some(1_767_323_045)), ("claude-b", None)];
    assert_eq!(
        offers,
        expected.map(|(name, created)| (name.to_owned(), created))
    );
    for head in &server.requests()[..2] {
        assert!(head.contains("x-api-key: hunter2"), "{head}");
        assert!(head.contains("anthropic-version: 2023-06-01"), "{head}");
        assert!(!head.contains("authorization"), "{head}");
    }
}

#[tokio::test]
async fn google_is_asked_page_by_page() {
    let server = Fake::start(Mood::Lists(&[
        (
            "/v1beta/models?pageSize=1000",
            r#"{"models":[{"name":"models/gemini-3.8-flash"}],"nextPageToken":"x/y"}"#,
        ),
        (
            "/v1beta/models?pageSize=1000&pageToken=x%2Fy",
            r#"{"models":[{"name":"models/gemini-4-argon"}]}"#,
        ),
    ]))
    .await;
    let provider = service(ProviderKind::Google, "/v1beta", &[server.addr]);
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    let models = running.fleet.models();
    assert_eq!(
        own(&backend, models, "google/gemini-4-argon").as_deref(),
        Some("gemini-4-argon")
    );
    assert_eq!(backend.inventory().offers().len(), 2);
    let head = &server.requests()[1];
    assert!(head.contains("x-goog-api-key: hunter2"), "{head}");
}

#[tokio::test]
async fn a_service_without_a_list_has_the_models_of_the_configuration() {
    for (status, body) in [
        (404, "{}"),
        (405, ""),
        (401, r#"{"error":{"message":"no"}}"#),
        (403, "<html>"),
        (429, "{}"),
        (500, "oops"),
        (200, "<html>"),
    ] {
        let server = Fake::start(Mood::Says(status, body.to_owned())).await;
        let mut provider = service(ProviderKind::OpenAiCompatible, "/v1", &[server.addr]);
        provider.models = vec!["meta-llama/Llama-3.3".into()];
        provider.model_map = [("fast".into(), "accounts/f/models/L".into())].into();
        let mut running = Running::start(&[provider]);
        let backend = running.healthy(server.addr).await;
        let models = running.fleet.models();
        let of = |name| own(&backend, models, name);
        assert_eq!(
            of("meta-llama/llama-3.3").as_deref(),
            Some("meta-llama/Llama-3.3")
        );
        assert_eq!(
            of("FAST").as_deref(),
            Some("accounts/f/models/L"),
            "{status}"
        );
        assert_eq!(of("openai_compatible/fast"), of("fast"));
    }
}

#[tokio::test]
async fn what_a_service_listed_once_stays_while_it_will_not_say() {
    let server = Fake::start(OPENAI).await;
    let provider = service(ProviderKind::OpenAi, "/base/v1", &[server.addr]);
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    for status in [401, 500] {
        server.set(Mood::Says(status, String::new()));
        running.probes(&server, 2).await;
        let id = running.fleet.models().lookup("gpt-5.4").unwrap();
        assert!(backend.healthy() && backend.has(id), "{status}");
    }
    // That it has no list is another matter.
    server.set(Mood::Says(404, String::new()));
    let id = running.fleet.models().lookup("gpt-5.4").unwrap();
    while backend.has(id) {
        running.next().await;
    }
    assert!(backend.healthy());
}

#[tokio::test]
async fn a_service_that_is_not_asked_is_there_if_it_can_be_reached() {
    let server = Fake::start(Mood::Silent).await;
    let mut provider = service(ProviderKind::Azure, "", &[server.addr]);
    provider.azure.deployments = [("my-gpt".into(), "gpt-5.4".into())].into();
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    let models = running.fleet.models();
    assert_eq!(
        own(&backend, models, "azure/gpt-5.4").as_deref(),
        Some("my-gpt")
    );
    assert_eq!(server.requests(), [""; 0]);
    server.stop().await;
    running
        .until(|event| *event == Event::Unhealthy(backend.id))
        .await;
    assert!(!backend.gone());
}

#[tokio::test]
async fn a_service_that_says_nothing_at_all_is_not_healthy() {
    let server = Fake::start(Mood::Silent).await;
    let mut provider = service(ProviderKind::OpenAi, "/base/v1", &[server.addr]);
    provider.probe_timeout = Duration::from_millis(50);
    provider.models = vec!["gpt-5.4".into()];
    let mut running = Running::start(&[provider]);
    let backend = loop {
        let found = running.fleet.snapshot().first().cloned();
        match found {
            Some(backend) if backend.was_probed() => break backend,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(!backend.healthy());
    let trouble = backend.trouble().unwrap().text;
    assert_eq!(trouble, "no answer within 50ms");
    // It is healthy once it answers, and no more once it has fallen silent, without any request.
    server.set(OPENAI);
    running.healthy(server.addr).await;
    server.set(Mood::Silent);
    running
        .until(|event| *event == Event::Unhealthy(backend.id))
        .await;
}

#[tokio::test]
async fn a_service_that_is_slow_to_list_is_healthy() {
    let server = Fake::start(Mood::Slow).await;
    let mut provider = service(ProviderKind::OpenAi, "/v1", &[server.addr]);
    provider.probe_timeout = Duration::from_millis(200);
    provider.models = vec!["gpt-5.4".into()];
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    let id = running.fleet.models().lookup("gpt-5.4").unwrap();
    assert!(backend.has(id));
}

#[tokio::test]
async fn a_failed_request_says_nothing_about_a_service_unless_it_could_not_connect() {
    let server = Fake::start(OPENAI).await;
    let mut provider = service(ProviderKind::OpenAi, "/base/v1", &[server.addr]);
    provider.interval = Duration::from_secs(600);
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    for outcome in [
        RequestOutcome::ServerError,
        RequestOutcome::Reset,
        RequestOutcome::TimedOut,
    ] {
        running.fleet.report(backend.id, outcome);
        assert!(backend.healthy(), "{outcome}");
    }
    running
        .fleet
        .report(backend.id, RequestOutcome::ConnectFailed);
    assert!(!backend.healthy());
    // An early probe finds it again.
    assert_eq!(running.next().await, Event::Unhealthy(backend.id));
    assert_eq!(running.next().await, Event::Probed(backend.id));
    assert!(backend.healthy());
}

#[tokio::test]
async fn each_entry_is_one_backend_even_at_a_shared_address() {
    let any = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 0);
    let server = Fake::start_at(any, OPENAI).await;
    let port = server.addr.port();
    let mut provider = service(ProviderKind::OpenAi, "/base/v1", &[server.addr]);
    provider.backends.push(StaticBackend {
        path: "/base/v1".into(),
        ..entry("localhost", port)
    });
    let mut running = Running::start(&[provider]);
    while running
        .fleet
        .snapshot()
        .iter()
        .filter(|one| one.healthy())
        .count()
        < 2
    {
        running
            .until(|event| matches!(event, Event::Probed(_)))
            .await;
    }
    let members = running.fleet.snapshot();
    let mut names: Vec<&str> = members.iter().map(|one| &*one.name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [server.addr.to_string(), format!("localhost:{port}")]
    );
    // Both take part in the choice.
    let id = running.fleet.models().lookup("gpt-5.4");
    let one = running.fleet.pick(None, id, &[]).unwrap();
    let other = running.fleet.pick(None, id, &[one.id]).unwrap();
    assert_ne!(one.id, other.id);
    // They stay as they are.
    running.probes(&server, 6).await;
    assert!(!one.gone() && !other.gone());
}

#[tokio::test]
async fn a_service_and_a_server_may_have_the_same_model() {
    let ollama = Fake::start(Mood::Has(&["qwen3:8b"])).await;
    let cloud = Fake::start(Mood::Lists(&[(
        "/v1/models",
        r#"{"data":[{"id":"Qwen3:8b"}]}"#,
    )]))
    .await;
    let provider = service(ProviderKind::OpenAiCompatible, "/v1", &[cloud.addr]);
    let mut running = Running::start(&[listing(&[ollama.addr]), provider]);
    while running
        .fleet
        .snapshot()
        .iter()
        .filter(|one| one.healthy())
        .count()
        < 2
    {
        running
            .until(|event| matches!(event, Event::Probed(_)))
            .await;
    }
    let id = running.fleet.models().lookup("qwen3:8b").unwrap();
    let members = running.fleet.snapshot();
    assert!(members.iter().all(|one| one.has(id)));
    let names: Vec<_> = members.iter().map(|one| one.own_name(id)).collect();
    assert_eq!(names, [None, Some("Qwen3:8b".into())]);
}

#[tokio::test]
async fn the_operator_s_names_take_no_place_among_those_that_servers_list() {
    let server = Fake::start(Mood::Has(&["llama3.2:latest", "qwen3:8b"])).await;
    let mut provider = listing(&[server.addr]);
    provider.model_map = [
        ("gpt-4".into(), "llama3.2".into()),
        ("lost".into(), "nowhere".into()),
    ]
    .into();
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(server.addr).await;
    let models = running.fleet.models();
    // Another fleet may mean another model by the same name: the planner resolves it for each.
    assert_eq!(models.lookup("gpt-4"), None);
    assert_eq!(models.lookup("lost"), None);
    assert!(backend.has(models.lookup("llama3.2").unwrap()));
}

/// What Bedrock's control plane answers, which is asked by a signed request.
const BEDROCK: Mood = Mood::Lists(&[
    (
        "/foundation-models",
        r#"{"modelSummaries":[{"modelId":"amazon.nova-micro-v1:0","outputModalities":["TEXT"],
            "inferenceTypesSupported":["ON_DEMAND"]},{"modelId":"a.picture","outputModalities":["IMAGE"]}]}"#,
    ),
    (
        "/inference-profiles?maxResults=1000",
        r#"{"inferenceProfileSummaries":[{"inferenceProfileId":"us.anthropic.claude-v1:0","status":"ACTIVE"}],
            "nextToken":"a=b"}"#,
    ),
    (
        "/inference-profiles?maxResults=1000&nextToken=a%3Db",
        r#"{"inferenceProfileSummaries":[{"inferenceProfileId":"eu.anthropic.claude-v1:0"}]}"#,
    ),
]);

#[tokio::test]
async fn bedrock_s_models_are_listed_by_its_control_plane() {
    let runtime = Fake::start(Mood::Silent).await;
    let control = Fake::start(BEDROCK).await;
    let mut provider = service(ProviderKind::Bedrock, "", &[runtime.addr]);
    provider.api_key = None;
    provider.aws = settings::Aws {
        region: "us-east-1".into(),
        access_key: Some(Secret::new("AKIDEXAMPLE")),
        secret_key: Some(Secret::new("hunter2")),
        session_token: Some(Secret::new("token")),
        control_url: Some(format!("http://{}", control.addr).into()),
    };
    let mut running = Running::start(&[provider]);
    let backend = running.healthy(runtime.addr).await;
    let names: Vec<String> = backend
        .inventory()
        .offers()
        .iter()
        .map(|offer| offer.name.to_string())
        .collect();
    let expected = [
        "amazon.nova-micro-v1:0",
        "us.anthropic.claude-v1:0",
        "eu.anthropic.claude-v1:0",
    ];
    assert_eq!(names, expected);
    for head in &control.requests()[..3] {
        assert!(
            head.contains("authorization: aws4-hmac-sha256 credential=akidexample/"),
            "{head}"
        );
        assert!(head.contains("/us-east-1/bedrock/aws4_request"), "{head}");
        assert!(head.contains("x-amz-security-token: token"), "{head}");
        assert!(!head.contains("hunter2"), "{head}");
    }
    // The list may fail: the service is where it serves.
    control.stop().await;
    running.probes(&runtime, 3).await;
    assert!(backend.healthy());
    assert_eq!(backend.inventory().offers().len(), 3);
    runtime.stop().await;
    running
        .until(|event| *event == Event::Unhealthy(backend.id))
        .await;
}

#[tokio::test]
async fn a_service_moves_without_a_moment_of_absence() {
    let one = Fake::start(OPENAI).await;
    let port = one.addr.port();
    let other = Fake::start_at(SocketAddr::new(own_address(), port), OPENAI).await;
    let mut provider = service(ProviderKind::OpenAi, "", &[]);
    provider.backends = vec![StaticBackend {
        path: "/base/v1".into(),
        ..entry("service.invalid", port)
    }];
    let (sender, mut events) = unbounded_channel();
    let observers: Vec<Arc<dyn Observer>> = vec![Arc::new(Reporter(sender))];
    let fleet = Fleet::new(&[provider], &Timeouts::default(), observers).unwrap();
    let prober = Prober::new(Arc::clone(&fleet.models), Vec::new());
    let place = settling::Settling {
        provider: &fleet.managed[0].provider,
        members: &fleet.members,
        prober: &prober,
        position: 0,
    };
    place.settle(&[one.addr.ip()]).await;
    let first = fleet.backend(BackendId(0)).unwrap();
    assert_eq!(*first.name, *format!("service.invalid:{port}"));
    fleet.probe(&first).await;
    // Rotated, or gone with nothing in its place: it stays.
    place.settle(&[other.addr.ip(), one.addr.ip()]).await;
    place.settle(&[]).await;
    let nobody = own_address();
    place.settle(&[nobody]).await;
    // The name is elsewhere now.
    place.settle(&[other.addr.ip()]).await;
    let second = fleet.backend(BackendId(1)).unwrap();
    assert!(first.gone() && second.healthy());
    // Where it is no more, the next address is as good as any.
    let addr = other.stop().await;
    fleet.report(second.id, RequestOutcome::ConnectFailed);
    place.settle(&[addr.ip(), one.addr.ip()]).await;
    assert_eq!(fleet.snapshot()[0].addr, one.addr);

    drop(fleet);
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        told.push(event);
    }
    assert_eq!(
        told,
        [
            Event::Joined(one.addr),
            Event::Probed(first.id),
            Event::Joined(addr),
            Event::Probed(second.id),
            Event::Left(first.id),
            Event::Unhealthy(second.id),
            Event::Left(second.id),
            Event::Joined(one.addr),
        ]
    );
}
