//! Pull, push, create, copy, delete and blobs: off unless the operator allows them, and then for the whole fleet as if
//! it were one server.

use serde_json::Value;

use super::support::{
    Config, Connection, Ending, Gateway, Reply, Simulation, eventually, get, post, request,
};

/// Three servers with two models, and a gateway that may manage them.
async fn fleet() -> (Simulation, Gateway) {
    let sim = Simulation::start(
        3,
        &["--models", "llama3.2,qwen3:8b", "--pull-bandwidth", "0"],
    );
    let config = Config::over(&sim.servers)
        .set("server.manage", "true")
        // Only what the gateway does after a change can show it in time.
        .set("provider.interval", "1h");
    let gateway = Gateway::over(&config, 3).await;
    (sim, gateway)
}

/// Names in a server's or the gateway's list.
async fn names(address: std::net::SocketAddr) -> Vec<String> {
    let tags = get(address, "/api/tags").await.json();
    let models = tags["models"].as_array().unwrap();
    let mut names: Vec<String> = models
        .iter()
        .map(|model| model["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

async fn on_every_server(sim: &Simulation, model: &str) -> Vec<bool> {
    let mut has = Vec::new();
    for server in &sim.servers {
        has.push(names(*server).await.contains(&model.to_owned()));
    }
    has
}

fn assert_success(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let lines = reply.lines();
    assert_eq!(lines.last().unwrap()["status"], "success", "{lines:?}");
    let successes = lines.iter().filter(|line| line["status"] == "success");
    assert_eq!(successes.count(), 1, "{lines:?}");
    lines
}

#[tokio::test]
async fn changing_models_is_refused_with_the_remedy_unless_allowed() {
    let sim = Simulation::start(1, &[]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let digest = format!("/api/blobs/sha256:{}", "0".repeat(64));
    for (method, path) in [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", &*digest),
    ] {
        let body = br#"{"model":"llama3.2"}"#;
        let reply = request(gateway.address, method, path, &[], body).await;
        assert_eq!(reply.status, 403, "{path}");
        let text = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains("manage: true"), "{text}");
    }
    let mut client = Connection::open(gateway.address).await;
    client.request("HEAD", &digest, &[], b"").await;
    assert_eq!(client.head().await.status, 403);
    let stats = sim.stats().await;
    let changes = stats[0].requests.keys().filter(|route| {
        ["pull", "push", "create", "copy", "delete", "blobs"]
            .iter()
            .any(|word| route.contains(word))
    });
    assert_eq!(changes.count(), 0, "{stats:?}");
}

#[tokio::test]
async fn a_pull_goes_to_every_server_with_the_progress_of_one() {
    let (sim, gateway) = fleet().await;
    assert_eq!(on_every_server(&sim, "gemma3:latest").await, [false; 3]);
    let reply = post(gateway.address, "/api/pull", r#"{"model":"gemma3"}"#).await;
    let lines = assert_success(&reply);
    assert_eq!(lines[0]["status"], "pulling manifest");
    for step in [
        "pulling manifest",
        "verifying sha256 digest",
        "writing manifest",
    ] {
        let count = lines.iter().filter(|line| line["status"] == step).count();
        assert_eq!(count, 1, "{step}: {lines:?}");
    }
    // Of one layer, the bytes of all servers.
    let layers: Vec<&Value> = lines
        .iter()
        .filter(|line| line["digest"].is_string())
        .collect();
    let mut before = 0;
    for layer in &layers {
        let completed = layer["completed"].as_u64().unwrap_or(0);
        assert!(completed >= before, "progress went back: {lines:?}");
        assert!(completed <= layer["total"].as_u64().unwrap());
        before = completed;
    }
    let last = layers.last().unwrap();
    assert_eq!(last["completed"], last["total"]);
    let size = get(sim.servers[0], "/api/tags").await.json()["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|model| model["name"] == "gemma3:latest")
        .unwrap()["size"]
        .as_u64()
        .unwrap();
    assert_eq!(last["total"].as_u64(), Some(3 * size));
    assert_eq!(on_every_server(&sim, "gemma3:latest").await, [true; 3]);
    assert!(
        names(gateway.address)
            .await
            .contains(&"gemma3:latest".to_owned())
    );
    // And it can be used at once.
    let body = r#"{"model":"gemma3","messages":[{"role":"user","content":"x"}]}"#;
    assert_eq!(post(gateway.address, "/api/chat", body).await.status, 200);
}

#[tokio::test]
async fn a_pull_goes_to_the_one_server_that_is_named() {
    let (sim, gateway) = fleet().await;
    let name = sim.servers[1].to_string();
    let body = br#"{"model":"gemma3"}"#;
    let reply = request(
        gateway.address,
        "POST",
        "/api/pull",
        &[("X-Backend", &name)],
        body,
    )
    .await;
    assert_success(&reply);
    assert_eq!(
        on_every_server(&sim, "gemma3:latest").await,
        [false, true, false]
    );
    let reply = request(
        gateway.address,
        "POST",
        "/api/pull",
        &[("X-Backend", "nowhere:1")],
        body,
    )
    .await;
    assert_eq!(reply.status, 400);
    let text = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("/__proxy/backends"), "{text}");
}

#[tokio::test]
async fn a_pull_of_an_unknown_model_ends_with_an_error_line() {
    let (sim, gateway) = fleet().await;
    let reply = post(gateway.address, "/api/pull", r#"{"model":"no-such-model"}"#).await;
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    let lines = reply.lines();
    assert_eq!(lines[0]["status"], "pulling manifest");
    let error = lines.last().unwrap()["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("pull model manifest: file does not exist"),
        "{error}"
    );
    for server in &sim.servers {
        assert!(error.contains(&server.to_string()), "{error}");
    }
    assert!(lines.iter().all(|line| line["status"] != "success"));
    let body = r#"{"model":"no-such-model","stream":false}"#;
    let reply = post(gateway.address, "/api/pull", body).await;
    assert_eq!(reply.status, 500);
    let error = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("file does not exist"), "{error}");
}

#[tokio::test]
async fn a_pull_that_fails_on_one_server_is_no_success() {
    let (sim, gateway) = fleet().await;
    sim.fault(
        2,
        r#"{"kind":"status","status":500,"body":"{\"error\":\"no space left on device\"}","route":"/api/pull"}"#,
    )
    .await;
    let reply = post(gateway.address, "/api/pull", r#"{"model":"gemma3"}"#).await;
    let lines = reply.lines();
    let error = lines.last().unwrap()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("no space left on device"), "{error}");
    assert!(error.contains(&sim.servers[2].to_string()), "{error}");
    assert!(!error.contains(&sim.servers[0].to_string()), "{error}");
    assert!(lines.iter().all(|line| line["status"] != "success"));
    assert_eq!(
        on_every_server(&sim, "gemma3:latest").await,
        [true, true, false]
    );
    // What the two have is listed, and goes to them.
    assert!(
        names(gateway.address)
            .await
            .contains(&"gemma3:latest".to_owned())
    );
}

#[tokio::test]
async fn a_pull_without_a_stream_is_one_object() {
    let (sim, gateway) = fleet().await;
    let body = r#"{"model":"gemma3","stream":false}"#;
    let reply = post(gateway.address, "/api/pull", body).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text().trim(), r#"{"status":"success"}"#);
    assert_eq!(on_every_server(&sim, "gemma3:latest").await, [true; 3]);
    assert!(
        names(gateway.address)
            .await
            .contains(&"gemma3:latest".to_owned())
    );
}

#[tokio::test]
async fn create_copy_and_delete_change_every_server_and_the_list_at_once() {
    let (sim, gateway) = fleet().await;
    let body = r#"{"model":"mine","from":"llama3.2","system":"be brief"}"#;
    assert_success(&post(gateway.address, "/api/create", body).await);
    assert_eq!(on_every_server(&sim, "mine:latest").await, [true; 3]);
    assert!(
        names(gateway.address)
            .await
            .contains(&"mine:latest".to_owned())
    );

    let body = r#"{"source":"mine","destination":"yours"}"#;
    let reply = post(gateway.address, "/api/copy", body).await;
    assert_eq!(
        (reply.status, reply.body.len()),
        (200, 0),
        "{}",
        reply.text()
    );
    assert_eq!(on_every_server(&sim, "yours:latest").await, [true; 3]);
    assert!(
        names(gateway.address)
            .await
            .contains(&"yours:latest".to_owned())
    );

    let delete = |body: &'static str| {
        request(
            gateway.address,
            "DELETE",
            "/api/delete",
            &[],
            body.as_bytes(),
        )
    };
    let reply = delete(r#"{"model":"mine"}"#).await;
    assert_eq!(
        (reply.status, reply.body.len()),
        (200, 0),
        "{}",
        reply.text()
    );
    assert_eq!(on_every_server(&sim, "mine:latest").await, [false; 3]);
    assert!(
        !names(gateway.address)
            .await
            .contains(&"mine:latest".to_owned())
    );
    let body = r#"{"model":"mine","messages":[]}"#;
    assert_eq!(post(gateway.address, "/api/chat", body).await.status, 404);

    let reply = delete(r#"{"model":"mine"}"#).await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"], "model 'mine:latest' not found");
    let body = r#"{"source":"mine","destination":"x"}"#;
    assert_eq!(post(gateway.address, "/api/copy", body).await.status, 404);
}

#[tokio::test]
async fn a_model_that_some_servers_have_is_deleted_where_it_is() {
    let (sim, gateway) = fleet().await;
    let name = sim.servers[2].to_string();
    let body = br#"{"model":"gemma3"}"#;
    let reply = request(
        gateway.address,
        "POST",
        "/api/pull",
        &[("X-Backend", &name)],
        body,
    )
    .await;
    assert_success(&reply);
    let reply = request(gateway.address, "DELETE", "/api/delete", &[], body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(on_every_server(&sim, "gemma3:latest").await, [false; 3]);
}

#[tokio::test]
async fn blobs_reach_every_server() {
    let (sim, gateway) = fleet().await;
    let content = b"layer".repeat(10_000);
    let digest = remuda_digest(&content);
    let path = format!("/api/blobs/sha256:{digest}");
    let head = |address| {
        let path = path.clone();
        async move {
            let mut client = Connection::open(address).await;
            client.request("HEAD", &path, &[], b"").await;
            client.head().await.status
        }
    };
    assert_eq!(head(gateway.address).await, 404);
    let reply = request(gateway.address, "POST", &path, &[], &content).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    for server in &sim.servers {
        assert_eq!(head(*server).await, 200);
    }
    assert_eq!(head(gateway.address).await, 200);
    let reply = request(gateway.address, "POST", &path, &[], &content).await;
    assert_eq!(reply.status, 200);
    let wrong = format!("/api/blobs/sha256:{}", "0".repeat(64));
    let reply = request(gateway.address, "POST", &wrong, &[], &content).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("digest mismatch"), "{}", reply.text());
}

/// Hexadecimal SHA-256.
fn remuda_digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn a_push_goes_to_one_server_that_has_the_model() {
    let (sim, gateway) = fleet().await;
    assert_success(&post(gateway.address, "/api/push", r#"{"model":"llama3.2"}"#).await);
    let stats = sim.stats().await;
    let pushes = stats
        .iter()
        .filter_map(|one| one.requests.get("POST /api/push"));
    assert_eq!(pushes.sum::<u64>(), 1);
    let reply = post(gateway.address, "/api/push", r#"{"model":"no-such-model"}"#).await;
    assert_eq!(reply.status, 404);
}

/// Pulls take minutes; one whose client has left is given up.
#[tokio::test]
async fn a_client_that_leaves_ends_its_pull() {
    let sim = Simulation::start(2, &["--models", "llama3.2", "--pull-bandwidth", "1MiB"]);
    let config = Config::over(&sim.servers).set("server.manage", "true");
    let gateway = Gateway::over(&config, 2).await;
    for body in [
        r#"{"model":"gemma3"}"#,
        r#"{"model":"gemma3","stream":false}"#,
    ] {
        let mut client = Connection::open(gateway.address).await;
        client
            .request("POST", "/api/pull", &[], body.as_bytes())
            .await;
        eventually("both servers pull", || async {
            let used = gateway.metric("remuda_backend_in_flight", &[]).await;
            if used == 2.0 { Ok(()) } else { Err(used) }
        })
        .await;
        drop(client);
        gateway.idle().await;
    }
    assert_eq!(on_every_server(&sim, "gemma3:latest").await, [false; 2]);
}

/// A service that lists nothing is not known to have anything: the servers pull it.
#[tokio::test]
async fn a_pull_is_not_answered_for_a_service_that_lists_nothing() {
    let sim = Simulation::start(1, &["--models", "llama3.2", "--pull-bandwidth", "0"]);
    let cloud = super::support::Upstream::start(|_| {
        let answer = b"HTTP/1.1 404 Any\r\nContent-Length: 2\r\n\r\n{}";
        vec![super::support::Step::Send(answer.to_vec())]
    })
    .await;
    let config = Config::of([
        format!("{{ name: gpus, backends: [\"http://{}\"] }}", sim.servers[0]),
        format!(
            "{{ name: claude, kind: anthropic, api_key: k, models: [claude-x], base_url: \"http://{}\" }}",
            cloud.address
        ),
        format!(
            "{{ name: other, kind: anthropic, api_key: k, base_url: \"http://{}\" }}",
            cloud.address
        ),
    ])
    .set("server.manage", "true");
    let gateway = Gateway::over(&config, 3).await;
    let reply = post(gateway.address, "/api/pull", r#"{"model":"gemma3"}"#).await;
    assert_success(&reply);
    assert_eq!(on_every_server(&sim, "gemma3:latest").await, [true]);
    let reply = post(gateway.address, "/api/pull", r#"{"model":"claude-x"}"#).await;
    assert!(
        reply.text().contains("requires no download"),
        "{}",
        reply.text()
    );
}

/// What a server has that never answered is not known: it is not brought to others unasked.
#[tokio::test]
async fn a_pull_waits_for_a_server_that_was_never_seen() {
    let sim = Simulation::start(1, &["--models", "llama3.2", "--pull-bandwidth", "0"]);
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = socket.local_addr().unwrap();
    let config = Config::over(&[sim.servers[0], dead]).set("server.manage", "true");
    let gateway = Gateway::over(&config, 1).await;
    for (path, body) in [
        ("/api/pull", r#"{"model":"gemma3"}"#),
        ("/api/create", r#"{"model":"gemma3","from":"llama3.2"}"#),
        (
            "/api/copy",
            r#"{"source":"llama3.2","destination":"gemma3"}"#,
        ),
    ] {
        let reply = post(gateway.address, path, body).await;
        assert_eq!(reply.status, 503, "{path}: {}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{path}");
    }
    assert_eq!(on_every_server(&sim, "gemma3:latest").await, [false]);
    // What is there already is brought up to date.
    let reply = post(gateway.address, "/api/pull", r#"{"model":"llama3.2"}"#).await;
    assert_success(&reply);
    let name = sim.servers[0].to_string();
    let body = br#"{"model":"gemma3"}"#;
    let named = [("X-Backend", &*name)];
    let reply = request(gateway.address, "POST", "/api/pull", &named, body).await;
    assert_success(&reply);
}
