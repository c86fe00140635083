//! Servers come and go while requests run: who is known, who is healthy, and who is left alone.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{
    Asked, Config, Connection, Ending, Gateway, STREAM_HEAD, Simulation, Step, Upstream, chat,
    chunk, eventually, get, is_done, json, lines, post, private_host, request,
};

/// The ports of `/__proxy/backends`, with their health.
async fn backends(gateway: &Gateway) -> Vec<(u64, bool)> {
    let reply = get(gateway.address, "/__proxy/backends").await.json();
    let list = reply["backends"].as_array().unwrap();
    list.iter()
        .map(|one| (one["port"].as_u64().unwrap(), one["healthy"] == true))
        .collect()
}

async fn healthy_ports(gateway: &Gateway, ports: &[u64]) {
    eventually(&format!("exactly {ports:?} are healthy"), || async {
        let all = backends(gateway).await;
        let healthy = all.iter().filter(|(_, healthy)| *healthy);
        let healthy: Vec<u64> = healthy.map(|(port, _)| *port).collect();
        if healthy == ports { Ok(()) } else { Err(all) }
    })
    .await;
}

#[tokio::test]
async fn servers_join_and_leave_a_scanned_range() {
    let host = private_host().to_string();
    let arguments = ["--host", &*host, "--loaded", "llama3.2"];
    let sim = Simulation::on("24000-24002", &arguments);
    let config = Config::new().set(
        "provider.discover",
        format!("{{host: {host}, ports: 24000-24199, interval: 200ms, probe_timeout: 2s}}"),
    );
    let gateway = Gateway::start(&config);
    healthy_ports(&gateway, &[24000, 24001, 24002]).await;
    sim.stop(1).await;
    healthy_ports(&gateway, &[24000, 24002]).await;
    let other = Simulation::on("24199", &arguments);
    healthy_ports(&gateway, &[24000, 24002, 24199]).await;
    sim.revive(1).await;
    healthy_ports(&gateway, &[24000, 24001, 24002, 24199]).await;
    drop(other);
    drop(sim);
    healthy_ports(&gateway, &[]).await;
    let last = Simulation::on("24100", &arguments);
    healthy_ports(&gateway, &[24100]).await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert!(is_done(&reply.lines()));
    assert_eq!(last.inferences().await, 1);
    gateway.idle().await;
}

#[tokio::test]
async fn a_backend_that_is_serving_is_not_ejected_for_missed_probes() {
    const LINE: &[u8] = b"{\"message\":{\"content\":\"hi\"},\"done\":false}\n";
    const DONE: &[u8] = b"{\"message\":{\"content\":\"\"},\"done\":true}\n";
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let own = gate.clone();
    let upstream = Upstream::start(move |_| {
        let mut first = STREAM_HEAD.to_vec();
        first.extend_from_slice(&chunk(LINE));
        let mut last = chunk(DONE);
        last.extend_from_slice(b"0\r\n\r\n");
        vec![
            Step::Send(first),
            Step::Until(own.clone()),
            Step::Send(last),
        ]
    })
    .await;
    let config = Config::over(&[upstream.address])
        .set("provider.interval", "100ms")
        .set("provider.probe_timeout", "200ms");
    let gateway = Gateway::over(&config, 1).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("scripted", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    client.head().await;
    let mut answer = client.body_until("\n").await;
    upstream.deaf(true);
    let before = upstream.probes();
    // Several times the misses that eject an idle backend.
    eventually("six probes are missed", || async {
        let health = get(gateway.address, "/__proxy/health").await.json();
        assert_eq!(health["healthy_backends"], 1, "a busy backend was ejected");
        let probes = upstream.probes() - before;
        if probes >= 7 { Ok(()) } else { Err(probes) }
    })
    .await;
    gate.add_permits(1);
    let (rest, ending) = client.rest().await;
    answer.extend_from_slice(&rest);
    assert_eq!(ending, Ending::Whole);
    assert!(is_done(&lines(&answer)));
    // Now that it is idle, the same silence counts.
    gateway.healthy(0).await;
    upstream.deaf(false);
    gateway.healthy(1).await;
    gateway.idle().await;
}

#[tokio::test]
async fn a_server_that_dies_under_a_request_is_out_at_once_and_back_after_a_probe() {
    let sim = Simulation::start(2, &["--loaded", "llama3.2", "--keep-alive", "-1"]);
    // The regular probe would take a minute to find out, and another to find it well.
    let config = Config::over(&sim.servers).set("provider.interval", "60s");
    let gateway = Gateway::over(&config, 2).await;
    sim.stop(0).await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert!(is_done(&reply.lines()));
    assert_eq!(reply.header("x-remuda-attempts"), Some("2"));
    let first = u64::from(sim.servers[0].port());
    assert!(backends(&gateway).await.contains(&(first, false)));
    sim.revive(0).await;
    let up = Instant::now();
    gateway.healthy(2).await;
    let after = up.elapsed();
    eprintln!("healthy again {after:.1?} after the server came back");
    assert!(after < Duration::from_secs(20), "{after:?}");
}

/// Two simulated servers, each a process of its own so that one can be stopped, and the first is preferred.
fn apart() -> [Simulation; 2] {
    let mut both =
        [(); 2].map(|()| Simulation::start(1, &["--loaded", "llama3.2", "--keep-alive", "-1"]));
    both.sort_by_key(|one| one.servers[0].port());
    both
}

/// A frozen process: the kernel still accepts its connections.
#[tokio::test]
async fn a_frozen_server_is_found_and_its_request_goes_elsewhere() {
    let [first, second] = apart();
    let addresses = [first.servers[0], second.servers[0]];
    // All as it is by default but the ports.
    let config = addresses
        .into_iter()
        .fold(Config::new(), |config, address| config.backend(address));
    let gateway = Gateway::over(&config, 2).await;
    first
        .fault(0, r#"{"kind":"stall","seconds":3,"route":"/api/chat"}"#)
        .await;
    let asked = Instant::now();
    let body = chat("llama3.2", "hi", "");
    let asking = post(gateway.address, "/api/chat", &body);
    let freezing = async {
        gateway
            .metric_is("remuda_backend_in_flight", &[], 1.0)
            .await;
        first.process.signal(Signal::SIGSTOP);
    };
    let (reply, ()) = tokio::join!(asking, freezing);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-attempts"), Some("2"));
    let took = asked.elapsed();
    eprintln!("answered by the other server after {took:.1?}");
    assert!(took >= Duration::from_secs(9), "{took:?} is too soon");
    let port = u64::from(first.servers[0].port());
    // It is found to be frozen although its request may have been taken elsewhere a moment before.
    gateway.healthy(1).await;
    assert!(
        asked.elapsed() < Duration::from_secs(13),
        "{:?}",
        asked.elapsed()
    );
    let page = get(gateway.address, "/__proxy/backends").await.json();
    let row = page["backends"].as_array().unwrap();
    let row = row.iter().find(|row| row["port"] == port).unwrap();
    assert_eq!(row["healthy"], false, "{row}");
    let cause = row["last_error"].as_str().unwrap();
    assert!(cause.starts_with("no answer within"), "{cause}");
    assert!(row["since"].as_f64().unwrap() > 1e9, "{row}");

    // It is back soon after it goes on.
    first.process.signal(Signal::SIGCONT);
    gateway.healthy(2).await;
    let page = get(gateway.address, "/__proxy/backends").await.json();
    assert!(page["backends"][0].get("last_error").is_none(), "{page}");
    gateway.idle().await;
}

/// A stream that had begun there ends with the error of its format when the server is found frozen, long before its
/// pause is too long.
#[tokio::test]
async fn a_stream_of_a_server_that_freezes_ends_when_that_is_found() {
    let [server, _] = apart();
    let gateway = Gateway::over(&Config::new().backend(server.servers[0]), 1).await;
    let fault = r#"{"kind":"stall","at":"body","tokens":2,"seconds":120,"route":"/api/chat"}"#;
    server.fault(0, fault).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    assert_eq!(client.try_head().await.unwrap().status, 200);
    server.process.signal(Signal::SIGSTOP);
    let frozen = Instant::now();
    let (body, ending) = client.rest().await;
    let took = frozen.elapsed();
    server.process.signal(Signal::SIGCONT);
    eprintln!("ended {took:.1?} after the server froze");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let text = String::from_utf8(body).unwrap();
    assert_eq!(ending, Ending::Whole, "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(r#""error":"the backend does not answer any more"#),
        "{text}"
    );
    gateway.idle().await;
    gateway.healthy(1).await;
}

/// The same for a provider of another kind, which is probed once a minute.
#[tokio::test]
async fn a_frozen_service_is_found_and_its_request_goes_elsewhere() {
    let both =
        [(); 2].map(|()| Simulation::start(1, &["--dialect", "openai", "--models", "gpt-4.1"]));
    let entries = ["first", "second"].iter().zip(&both).map(|(name, sim)| {
        format!(
            "{{ name: {name}, kind: openai, api_key: sim-key, base_url: \"http://{}/v1\" }}",
            sim.servers[0]
        )
    });
    let config = Config::of(entries).set("routing.strategy", "failover");
    let gateway = Gateway::over(&config, 2).await;
    let fault = r#"{"kind":"stall","seconds":3,"route":"inference"}"#;
    both[0].fault(0, fault).await;
    let body = chat("gpt-4.1", "hi", "");
    let asking = post(gateway.address, "/v1/chat/completions", &body);
    let freezing = async {
        gateway
            .metric_is("remuda_backend_in_flight", &[], 1.0)
            .await;
        both[0].process.signal(Signal::SIGSTOP);
    };
    let (reply, ()) = tokio::join!(asking, freezing);
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-remuda-attempts"), Some("2"));
    gateway.healthy(1).await;
    let health = get(gateway.address, "/health").await.json();
    let first = &health["providers"]["first"];
    assert_eq!(first["status"], "error", "{health}");
    let cause = first["last_error"].as_str().unwrap();
    assert!(cause.starts_with("no answer within"), "{cause}");
    both[0].process.signal(Signal::SIGCONT);
    gateway.healthy(2).await;
    gateway.idle().await;
}

/// While a minute lies between two regular probes.
#[tokio::test]
async fn a_request_that_waits_is_served_soon_after_its_server_is_back() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2", "--keep-alive", "-1"]);
    sim.stop(0).await;
    let config = Config::over(&sim.servers).set("provider.interval", "60s");
    let gateway = Gateway::start(&config);
    let missed = |line: &str| line.contains("is not healthy yet").then_some(());
    gateway
        .process
        .wait_for("that the first probe missed", missed);
    let body = chat("llama3.2", "hi", "");
    let waiting = post(gateway.address, "/api/chat", &body);
    let reviving = async {
        gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
        sim.revive(0).await;
        Instant::now()
    };
    let (reply, back) = tokio::join!(waiting, reviving);
    assert!(is_done(&reply.lines()), "{}", reply.text());
    let after = back.elapsed();
    eprintln!("served {after:.1?} after the server came back");
    gateway.idle().await;
}

#[tokio::test]
async fn a_server_without_a_list_of_loaded_models_is_a_server() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    for status in [200, 400, 403, 404, 405, 410, 500, 501, 502, 503] {
        sim.fault(
            0,
            &format!(r#"{{"kind":"status","status":{status},"body":"404 page not found","route":"/api/ps"}}"#),
        )
        .await;
        let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
        let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
        assert!(is_done(&reply.lines()), "{status}: {}", reply.text());
        // Only one that has such a list, and yet does not tell, is worth a word.
        let page = get(gateway.admin, "/api/providers").await.json();
        let told = &page["providers"]["test"]["complaints"];
        match status {
            404 | 405 | 501 => assert!(told.is_null(), "{status}: {told}"),
            _ => {
                let told = told[0].as_str().unwrap();
                assert!(told.contains("/api/ps is answered with"), "{told}");
            }
        }
        sim.no_faults().await;
    }
}

/// A service that accepts requests and says nothing of any, while its list of models is answered.
#[tokio::test]
async fn a_service_that_is_frozen_but_for_its_list_is_left_by_new_requests() {
    let is_list = |asked: &Asked| asked.head.starts_with("GET ");
    let list = || vec![Step::Send(json(200, r#"{"data":[{"id":"m"}]}"#))];
    let stuck = Upstream::start(move |asked| {
        if is_list(asked) {
            list()
        } else {
            vec![Step::Hold]
        }
    })
    .await;
    let answer = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    let event = r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
    let events = format!("data: {event}\n\ndata: [DONE]\n\n");
    let stream = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{events}",
        events.len()
    );
    let well = Upstream::start(move |asked| {
        let streams = String::from_utf8_lossy(&asked.body).contains(r#""stream":true"#);
        match (is_list(asked), streams) {
            (true, _) => list(),
            (false, true) => vec![Step::Send(stream.clone().into_bytes())],
            (false, false) => vec![Step::Send(json(200, answer))],
        }
    })
    .await;
    let entries = [("stuck", &stuck), ("well", &well)].map(|(name, server)| {
        format!(
            "{{ name: {name}, kind: openai_compatible, interval: 300ms, base_url: \"http://{}/v1\" }}",
            server.address
        )
    });
    let config = Config::of(entries)
        .set("routing.strategy", "failover")
        .set("routing.retry", "{ hedge_after: off }")
        .set("routing.breaker", "{ open: 60s }")
        .set("timeouts.first_byte", "1s")
        .set("timeouts.silent", "1s");
    let gateway = Gateway::over(&config, 2).await;
    let chats = |asked: &[Asked]| asked.iter().filter(|one| !is_list(one)).count();
    for number in 0..8 {
        let body = chat("m", "hi", r#","stream":true"#);
        let reply = post(gateway.address, "/v1/chat/completions", &body).await;
        assert!(
            matches!(reply.status, 200 | 504),
            "{number}: {}",
            reply.text()
        );
    }
    let (tried, lists) = (chats(&stuck.asked()), stuck.asked().len());
    assert!((1..=5).contains(&tried), "{tried}");
    // However long its list is answered well.
    eventually("more lists", || async {
        let more = stuck.asked().len();
        if more > lists + 3 { Ok(()) } else { Err(more) }
    })
    .await;
    for _ in 0..3 {
        let asked = Instant::now();
        let body = chat("m", "hi", r#","stream":false"#);
        let reply = post(gateway.address, "/v1/chat/completions", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
    }
    gateway.idle().await;
}

/// What nobody knows of a service is said alike by all that only look.
#[tokio::test]
async fn what_a_service_does_not_tell_is_unknown_on_every_page() {
    let cloud = Upstream::start(|_| vec![Step::Send(json(500, "{}"))]).await;
    let config = Config::of([format!(
        "{{ name: c, kind: openai_compatible, base_url: \"http://{}/v1\" }}",
        cloud.address
    )]);
    let gateway = Gateway::over(&config, 1).await;
    for name in ["c/gg", "gg"] {
        look_at(&gateway, name, 503).await;
    }
}

/// What a service's list lacks is absent for all that only look, unless the configuration names it.
#[tokio::test]
async fn what_a_list_lacks_is_absent_on_every_page() {
    let list = r#"{"data":[{"id":"listed"},{"id":"stated"}]}"#;
    let cloud = Upstream::start(|_| vec![Step::Send(json(200, list))]).await;
    let config = Config::of([format!(
        "{{ name: c, kind: openai_compatible, model_map: {{ mine: hidden }}, base_url: \"http://{}/v1\" }}",
        cloud.address
    )]);
    let gateway = Gateway::over(&config, 1).await;
    for (name, status) in [
        ("c/listed", 200),
        ("listed", 200),
        ("c/mine", 200),
        ("mine", 200),
        ("c/lacking", 404),
        ("lacking", 404),
    ] {
        look_at(&gateway, name, status).await;
    }
}

/// Each page that tells of one model answers with that status.
async fn look_at(gateway: &Gateway, name: &str, status: u16) {
    let show = format!(r#"{{"model":"{name}"}}"#);
    for (method, path, body, fields) in [
        ("POST", "/api/show".to_owned(), &*show, None),
        ("GET", format!("/v1/models/{name}"), "", None),
        (
            "GET",
            format!("/v1/models/{name}"),
            "",
            Some(("anthropic-version", "2023-06-01")),
        ),
    ] {
        let fields: Vec<_> = fields.into_iter().collect();
        let reply = request(gateway.address, method, &path, &fields, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{path} {fields:?}: {}", reply.text());
        let returns = reply.header("retry-after").is_some();
        assert_eq!(returns, status == 503, "{path} {fields:?}");
    }
}

/// A service that falls silent once it is healthy: a request that hears nothing is not left there.
#[tokio::test]
async fn a_service_that_says_nothing_is_left_and_found_again() {
    let other = Simulation::start(1, &["--loaded", "llama3.2", "--keep-alive", "-1"]);
    for list in [true, false] {
        // One that is asked for its list has to answer once to be healthy.
        let quiet = Upstream::start(move |asked| {
            if list && asked.number == 0 {
                vec![Step::Send(json(200, r#"{"data":[{"id":"llama3.2"}]}"#))]
            } else {
                vec![Step::Hold]
            }
        })
        .await;
        let config = Config::of([
            format!(
                "{{ name: cloud, kind: openai_compatible, models: [llama3.2], list_models: {list}, base_url: \"http://{}/v1\" }}",
                quiet.address
            ),
            format!(
                "{{ name: gpus, fallback_only: true, backends: [\"http://{}\"] }}",
                other.servers[0]
            ),
        ]);
        let gateway = Gateway::start(&config);
        gateway.healthy(2).await;
        let body = chat("llama3.2", "hi", "");
        let reply = post(gateway.address, "/v1/chat/completions", &body).await;
        assert_eq!(reply.status, 200, "{list}: {}", reply.text());
        let backend = reply.header("x-remuda-backend");
        assert_eq!(backend, Some(&*other.servers[0].to_string()), "{list}");
        let health = get(gateway.address, "/health").await.json();
        assert_eq!(health["providers"]["cloud"]["status"], "error", "{health}");
        gateway.idle().await;
    }
}

/// What a server has that is down is there all the same: nobody is told that it is not, and nobody brings it elsewhere.
#[tokio::test]
async fn down_is_never_told_as_absent() {
    let both = ["llama3.2", "qwen3:8b"]
        .map(|model| Simulation::start(1, &["--models", model, "--pull-bandwidth", "0"]));
    let [own, other] = &both;
    let addresses = [own.servers[0], other.servers[0]];
    for found_first in [true, false] {
        let config = Config::over(&addresses)
            .set("server.manage", "true")
            .set("queue.when_unhealthy", "refuse");
        if !found_first {
            own.stop(0).await;
        }
        let gateway = Gateway::start(&config);
        gateway.healthy(if found_first { 2 } else { 1 }).await;
        if found_first {
            own.stop(0).await;
            gateway.healthy(1).await;
        }
        let named = r#"{"model":"llama3.2"}"#;
        for (method, path, body) in [
            ("POST", "/api/chat", &*chat("llama3.2", "hi", "")),
            ("POST", "/api/show", named),
            ("GET", "/v1/models/llama3.2", ""),
            (
                "POST",
                "/v1/embeddings",
                r#"{"model":"llama3.2","input":"x"}"#,
            ),
        ] {
            if found_first && path == "/v1/models/llama3.2" {
                continue;
            }
            let reply = request(gateway.address, method, path, &[], body.as_bytes()).await;
            assert_eq!(reply.status, 503, "{path}: {}", reply.text());
            assert!(reply.header("retry-after").is_some(), "{path}");
        }
        // Another name may be there as well, while that server has told nothing.
        let unknown = post(gateway.address, "/api/show", r#"{"model":"unheard-of"}"#).await;
        assert_eq!(unknown.status, if found_first { 404 } else { 503 });
        let tags = get(gateway.address, "/api/tags").await;
        let text = tags.text().to_owned();
        assert!(text.contains("qwen3:8b"), "{text}");
        if found_first {
            assert!(text.contains("llama3.2"), "{text}");
            assert!(tags.header("age").is_some());
            for path in ["/api/pull", "/api/create"] {
                let body = r#"{"model":"llama3.2","from":"qwen3:8b"}"#;
                let reply = post(gateway.address, path, body).await;
                assert_eq!(reply.status, 503, "{path}: {}", reply.text());
                assert!(reply.text().contains("down"), "{path}: {}", reply.text());
            }
            // What nobody has is pulled, and what is asked for by name.
            let pull = post(gateway.address, "/api/pull", r#"{"model":"phi4"}"#).await;
            assert_eq!(pull.status, 200, "{}", pull.text());
            let reply = get(gateway.address, "/v1/models/llama3.2").await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert!(reply.header("age").is_some());
        }
        own.revive(0).await;
        gateway.healthy(2).await;
        let show = post(gateway.address, "/api/show", named).await;
        assert_eq!(show.status, 200, "{}", show.text());
        assert!(
            get(gateway.address, "/api/tags")
                .await
                .header("age")
                .is_none()
        );
    }
}

/// A list that is empty because nobody has answered yet is none.
#[tokio::test]
async fn before_the_first_good_probe_there_is_no_list() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    sim.stop(0).await;
    let gateway = Gateway::start(&Config::over(&sim.servers));
    for (path, version) in [
        ("/api/tags", None),
        ("/api/tags/test", None),
        ("/v1/models", None),
        ("/v1/models", Some(("anthropic-version", "2023-06-01"))),
    ] {
        let fields: Vec<(&str, &str)> = version.into_iter().collect();
        let reply = request(gateway.address, "GET", path, &fields, b"").await;
        assert_eq!(reply.status, 503, "{path}: {}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{path}");
        let error = &reply.json()["error"];
        let text = match path {
            "/v1/models" => error["message"].as_str(),
            _ => error.as_str(),
        };
        assert!(
            text.unwrap().contains("no models are known"),
            "{path}: {error}"
        );
    }
    sim.revive(0).await;
    gateway.healthy(1).await;
    for path in ["/api/tags", "/v1/models"] {
        assert_eq!(get(gateway.address, path).await.status, 200, "{path}");
    }
    drop(gateway);
    // A service whose list cannot be had.
    let cloud = Upstream::start(|_| vec![Step::Send(json(500, "{}"))]).await;
    let config = Config::of([format!(
        "{{ name: cloud, kind: openai_compatible, base_url: \"http://{}/v1\" }}",
        cloud.address
    )]);
    let gateway = Gateway::over(&config, 1).await;
    for path in ["/api/tags", "/v1/models", "/v1/models/anything"] {
        let reply = get(gateway.address, path).await;
        assert_eq!(reply.status, 503, "{path}: {}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{path}");
    }
}

/// A server of a scanned range leaves when it is down; what it had is remembered for a while.
#[tokio::test]
async fn a_server_that_has_left_a_range_is_not_forgotten_at_once() {
    let host = private_host().to_string();
    let own = Simulation::on("24000", &["--host", &*host, "--models", "llama3.2"]);
    let other = Simulation::on("24001", &["--host", &*host, "--models", "qwen3:8b"]);
    let discover = format!("{{host: {host}, ports: 24000-24009, interval: 200ms}}");
    let config = Config::new()
        .set("provider.discover", discover)
        .set("server.manage", "true");
    let gateway = Gateway::start(&config);
    healthy_ports(&gateway, &[24000, 24001]).await;
    own.stop(0).await;
    eventually("it has left", || async {
        let all = backends(&gateway).await;
        if all == [(24001, true)] {
            Ok(())
        } else {
            Err(all)
        }
    })
    .await;
    for path in ["/api/show", "/api/pull"] {
        let reply = post(gateway.address, path, r#"{"model":"llama3.2"}"#).await;
        assert_eq!(reply.status, 503, "{path}: {}", reply.text());
    }
    let tags = get(gateway.address, "/api/tags").await;
    assert!(tags.text().contains("llama3.2"), "{}", tags.text());
    assert_eq!(other.inferences().await, 0);
    own.revive(0).await;
    healthy_ports(&gateway, &[24000, 24001]).await;
    let reply = post(gateway.address, "/api/show", r#"{"model":"llama3.2"}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Time spent on waiting for somebody to be there is time in the queue.
#[tokio::test]
async fn waiting_for_a_healthy_backend_is_queueing_and_its_refusal_names_who_is_missing() {
    let nobody = (private_host(), 24000);
    for (kind, told) in [
        (
            "ollama",
            "No healthy Ollama backends available within timeout",
        ),
        ("openai_compatible", "provider away cannot be reached"),
    ] {
        let base = match kind {
            "ollama" => "",
            _ => "/v1",
        };
        let config = Config::of([format!(
            "{{ name: away, kind: {kind}, {}base_url: \"http://{}:{}{base}\" }}",
            if base.is_empty() { "" } else { "models: [m], " },
            nobody.0,
            nobody.1
        )])
        .set("queue.timeout", "600ms");
        let gateway = Gateway::start(&config);
        let reply = post(gateway.address, "/api/chat", &chat("m", "hi", "")).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.text().contains(told), "{}", reply.text());
        let logged = gateway.process.wait_for("the request", |line| {
            line.contains("/api/chat").then(|| line.to_owned())
        });
        let sum = gateway.metric("remuda_queue_wait_seconds_sum", &[]).await;
        assert!(sum >= 0.6, "{kind}: {sum} {logged}");
    }
}
