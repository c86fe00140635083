//! Who waits, in which order, for how long, and what those are told who wait in vain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::support::{
    Config, Connection, Gateway, Reply, Simulation, Step, Upstream, assert_median, chat,
    eventually, join_all, json, post, private_host, request,
};

/// A server of one slot, and a gateway; every request waits at the server until the gate lets it through.
struct Gated {
    upstream: Upstream,
    gateway: Gateway,
    gate: Arc<Semaphore>,
}

impl Gated {
    async fn start(config: impl FnOnce(Config) -> Config) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let answer = json(200, r#"{"message":{"content":"hi"},"done":true}"#);
        let own = gate.clone();
        let upstream =
            Upstream::start(move |_| vec![Step::Until(own.clone()), Step::Send(answer.clone())])
                .await;
        let config = config(Config::over(&[upstream.address]));
        let gateway = Gateway::over(&config, 1).await;
        Self {
            upstream,
            gateway,
            gate,
        }
    }

    /// Sends a request with a name and a priority, and waits until `queued` wait.
    async fn enter(&self, name: &str, priority: Option<&str>, queued: usize) -> JoinHandle<Reply> {
        let (address, name) = (self.gateway.address, name.to_owned());
        let priority = priority.map(str::to_owned);
        let task = tokio::spawn(async move {
            let mut headers = vec![("X-Name", &*name)];
            headers.extend(priority.as_deref().map(|value| ("X-Priority", value)));
            let body = chat("scripted", "hi", r#","stream":false"#);
            request(address, "POST", "/api/chat", &headers, body.as_bytes()).await
        });
        match queued {
            0 => drop(self.upstream.asked_for(0).await),
            queued => {
                let depth = queued as f64;
                self.gateway
                    .metric_is("remuda_queue_depth", &[], depth)
                    .await;
            }
        }
        task
    }

    /// The names in the order in which their requests reached the server.
    fn order(&self) -> Vec<String> {
        let asked = self.upstream.asked();
        asked
            .iter()
            .map(|asked| asked.header("x-name").unwrap().to_owned())
            .collect()
    }

    /// Lets `count` requests through, one after another.
    async fn serve(&self, count: usize) {
        let before = self.upstream.asked().len() - 1;
        for number in 0..count {
            self.gate.add_permits(1);
            if number + 1 < count {
                self.upstream.asked_for(before + number + 1).await;
            }
        }
    }
}

#[tokio::test]
async fn priority_goes_first_and_then_arrival() {
    let gated = Gated::start(|config| config).await;
    let entries = [
        ("running", None),
        ("low 1", Some("low")),
        ("normal 1", None),
        ("low 2", Some("low")),
        ("normal 2", Some("normal")),
        ("high 1", Some("high")),
        ("7", Some("7")),
        ("-7", Some("-7")),
        ("normal 3", Some("0")),
        ("high 2", Some("high")),
    ];
    let mut tasks = Vec::new();
    for (queued, (name, priority)) in entries.iter().enumerate() {
        tasks.push(gated.enter(name, *priority, queued).await);
    }
    gated.serve(entries.len()).await;
    for task in tasks {
        assert_eq!(task.await.unwrap().status, 200);
    }
    let order = gated.order();
    let place = |name: &str| order.iter().position(|own| own == name).unwrap();
    for pair in [
        "running", "high 1", "high 2", "normal 1", "normal 2", "normal 3", "low 1", "low 2",
    ]
    .windows(2)
    {
        assert!(place(pair[0]) < place(pair[1]), "{order:?}");
    }
    // A number is a priority of its own: above or below normal.
    assert!(place("7") < place("normal 1"), "{order:?}");
    assert!(place("-7") > place("normal 3"), "{order:?}");
    gated.gateway.idle().await;
}

#[tokio::test]
async fn a_full_queue_answers_in_ollamas_words() {
    let gated = Gated::start(|config| config.set("queue.size", 2)).await;
    let mut tasks = Vec::new();
    for queued in 0..3 {
        tasks.push(gated.enter("fits", None, queued).await);
    }
    let began = Instant::now();
    let reply = post(
        gated.gateway.address,
        "/api/chat",
        &chat("scripted", "hi", ""),
    )
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "it waited");
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.text(),
        r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#
    );
    let after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!(after >= 1);
    gated.serve(3).await;
    for task in tasks {
        assert_eq!(task.await.unwrap().status, 200);
    }
    gated.gateway.idle().await;
}

/// Asserts an error of the port-range balancer: the text under both of its keys.
fn assert_refused(reply: &Reply, status: u16, text: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.json()["error"], text);
    assert_eq!(reply.json()["detail"], text);
}

#[tokio::test]
async fn a_wait_that_takes_too_long_ends_in_the_balancers_words() {
    let gated = Gated::start(|config| config.set("queue.timeout", "600ms")).await;
    let first = gated.enter("running", None, 0).await;
    let began = Instant::now();
    let body = chat("scripted", "hi", "");
    let reply = post(gated.gateway.address, "/api/chat", &body).await;
    assert_refused(
        &reply,
        503,
        "Queue timeout waiting for an available backend",
    );
    assert!(reply.header("retry-after").is_some());
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(600), "{waited:?}");
    gated.serve(1).await;
    assert_eq!(first.await.unwrap().status, 200);
    gated.gateway.idle().await;
}

/// An address where nothing listens.
async fn nowhere() -> std::net::SocketAddr {
    (private_host(), 24000).into()
}

#[tokio::test]
async fn without_a_healthy_backend_a_request_waits_or_is_refused() {
    const TEXT: &str = "No healthy Ollama backends available within timeout";
    let body = chat("scripted", "hi", "");
    let config = Config::over(&[nowhere().await]).set("queue.timeout", "600ms");
    let gateway = Gateway::start(&config);
    let began = Instant::now();
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_refused(&reply, 503, TEXT);
    assert!(began.elapsed() >= Duration::from_millis(600));
    drop(gateway);
    let config = Config::over(&[nowhere().await])
        .set("queue.timeout", "1h")
        .set("queue.when_unhealthy", "refuse");
    let gateway = Gateway::start(&config);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_refused(&reply, 503, TEXT);
    assert!(reply.header("retry-after").is_some());
    gateway.idle().await;
}

#[tokio::test]
async fn when_every_attempt_fails_the_text_has_both_keys() {
    let upstream = Upstream::start(|_| vec![Step::Reset]).await;
    let config = Config::over(&[upstream.address]).set("server.expose_backend", "false");
    let gateway = Gateway::over(&config, 1).await;
    let reply = post(gateway.address, "/api/chat", &chat("scripted", "hi", "")).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let told = reply.json();
    assert_eq!(
        told["error"],
        r#"All backend attempts failed. Errors: ["test: broke the connection before its answer"]"#
    );
    // What clients compare.
    assert_eq!(told["detail"], "All backend attempts failed");
}

#[tokio::test]
async fn streaming_is_refused_in_the_balancers_words() {
    let gated = Gated::start(|config| config.set("server.reject_streaming", "true")).await;
    let body = chat("scripted", "hi", r#","stream":true"#);
    let reply = post(gated.gateway.address, "/api/generate", &body).await;
    assert_refused(
        &reply,
        400,
        "Streaming is not supported by this proxy; use stream=false",
    );
    assert!(gated.upstream.asked().is_empty());
    // An absent `stream` means false, and the backend is told so.
    gated.gate.add_permits(1);
    let reply = post(
        gated.gateway.address,
        "/api/chat",
        &chat("scripted", "hi", ""),
    )
    .await;
    assert_eq!(reply.status, 200);
    let kind = reply.header("content-type").unwrap();
    assert!(kind.starts_with("application/json"), "{kind}");
}

#[tokio::test]
async fn a_waiting_request_starts_on_a_server_that_has_just_joined() {
    let host = private_host();
    let config = Config::new().set(
        "provider.discover",
        format!("{{host: {host}, ports: 24000-24009, interval: 200ms}}"),
    );
    let gateway = Gateway::start(&config);
    let address = gateway.address;
    let waiting =
        tokio::spawn(async move { post(address, "/api/chat", &chat("llama3.2", "hi", "")).await });
    gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
    let sim = Simulation::on("24003", &["--host", &host.to_string()]);
    let up = Instant::now();
    let reply = waiting.await.unwrap();
    eprintln!("served {:.1?} after the server came up", up.elapsed());
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(sim.inferences().await, 1);
    // A second one comes while the first is busy: the next waiter starts there.
    sim.fault(0, r#"{"kind":"stall","seconds":120,"route":"/api/chat"}"#)
        .await;
    let mut busy = Connection::open(address).await;
    let body = chat("llama3.2", "hi", "");
    busy.request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    eventually("the first server is busy", || async {
        if sim.inferences().await == 2 {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
    let waiting =
        tokio::spawn(async move { post(address, "/api/chat", &chat("llama3.2", "hi", "")).await });
    gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
    let second = Simulation::on("24001", &["--host", &host.to_string()]);
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(second.inferences().await, 1);
}

#[tokio::test]
async fn a_freed_slot_goes_to_the_next_at_once() {
    let gated = Gated::start(|config| config).await;
    let mut tasks = Vec::new();
    for queued in 0..10 {
        tasks.push(gated.enter("one", None, queued).await);
    }
    let mut times = Vec::new();
    for number in 1..10 {
        let freed = Instant::now();
        gated.gate.add_permits(1);
        let asked = gated.upstream.asked_for(number).await;
        times.push(asked.at.saturating_duration_since(freed));
    }
    gated.gate.add_permits(1);
    for task in tasks {
        assert_eq!(task.await.unwrap().status, 200);
    }
    assert_median(
        "from one answer to the next request",
        times,
        Duration::from_millis(500),
    );
}

#[tokio::test]
async fn a_warm_backend_is_preferred() {
    let sim = Simulation::start(3, &["--keep-alive", "-1", "--load-time", "300ms"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 3).await;
    // Loaded by somebody else, on the server that a tie would choose last.
    let loaded = post(sim.servers[2], "/api/generate", r#"{"model":"qwen3:8b"}"#).await;
    assert_eq!(loaded.status, 200);
    let label = [("gen_ai_request_model", "qwen3:8b")];
    gateway.metric_is("remuda_models_loaded", &label, 1.0).await;
    for number in 0..5 {
        let body = chat("qwen3:8b", &number.to_string(), "");
        let reply = post(gateway.address, "/api/chat", &body).await;
        let port = sim.servers[2].port().to_string();
        let backend = reply.header("x-remuda-backend").unwrap();
        assert!(backend.ends_with(&port), "{backend}");
    }
    let loads: u64 = sim.stats().await.iter().map(|server| server.loads).sum();
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn those_who_come_during_a_cold_load_share_it() {
    let sim = Simulation::start(2, &["--load-time", "1500ms", "--parallel", "4"]);
    let config = Config::over(&sim.servers).set("provider.max_concurrent_per_backend", 4);
    let gateway = Gateway::over(&config, 2).await;
    let replies =
        join_all((0..4).map(|number| async move { chat("llama3.2", &number.to_string(), "") }))
            .await;
    let replies = join_all(
        replies
            .iter()
            .map(|body| post(gateway.address, "/api/chat", body)),
    )
    .await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    let stats = sim.stats().await;
    let loads: u64 = stats.iter().map(|server| server.loads).sum();
    assert_eq!(loads, 1, "{stats:?}");
}

#[tokio::test]
async fn a_model_that_no_server_has_is_refused_at_once() {
    let gated = Gated::start(|config| config).await;
    let sim = Simulation::start(1, &[]);
    // Even while all are busy.
    let first = gated.enter("running", None, 0).await;
    for (path, body) in [
        ("/api/chat", chat("nosuch", "hi", "")),
        (
            "/api/generate",
            r#"{"model":"nosuch:7b","prompt":"hi"}"#.to_owned(),
        ),
        (
            "/api/embed",
            r#"{"model":"nosuch","input":"hi"}"#.to_owned(),
        ),
        ("/api/show", r#"{"model":"nosuch"}"#.to_owned()),
        ("/v1/chat/completions", chat("nosuch", "hi", "")),
    ] {
        let began = Instant::now();
        let reply = post(gated.gateway.address, path, &body).await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{path}: it waited"
        );
        let direct = post(sim.servers[0], path, &body).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        assert_eq!(reply.status, direct.status, "{path}");
        let mut expected = direct.json();
        if path.starts_with("/v1/") {
            // OpenAI's own code for it, which Ollama leaves out.
            expected["error"]["code"] = "model_not_found".into();
        }
        assert_eq!(reply.json(), expected, "{path}");
    }
    gated.serve(1).await;
    first.await.unwrap();
}
