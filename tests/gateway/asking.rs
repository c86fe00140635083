//! Subcommands that ask a running gateway, and how they and `serve` are told an address.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{Config, Gateway, Process, Simulation, post};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Process::remuda();
    command.current_dir(folder).args(arguments);
    command.output().unwrap()
}

/// What a command that must succeed prints.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder whose `remuda.yaml` names the gateway's admin listener, and has a variable that only the gateway is given.
fn beside(gateway: &Gateway) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "server: {{ admin: '{}' }}\nproviders: [ {{ name: gpus, backends: [ gpu1 ], api_key: '${{ONLY_THE_GATEWAY_HAS_IT}}' }} ]\n",
        gateway.admin
    );
    std::fs::write(folder.path().join("remuda.yaml"), text).unwrap();
    folder
}

#[tokio::test]
async fn a_port_alone_is_an_address() {
    let sim = Simulation::start(1, &[]);
    let (mut command, folder) = Gateway::command(&Config::over(&sim.servers));
    command.args(["--listen", "0", "--admin", "0"]);
    let gateway = Gateway::launch(command, folder);
    assert!(gateway.address.ip().is_unspecified(), "{}", gateway.address);
    assert!(gateway.admin.ip().is_loopback(), "{}", gateway.admin);
}

#[tokio::test]
async fn the_configuration_says_which_gateway_is_asked() {
    let sim = Simulation::start(1, &["--models", "llama3.2,qwen3:8b"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let folder = beside(&gateway);
    let place = folder.path();
    said(place, &["health"]);
    said(place, &["health", "-c", "remuda.yaml"]);
    let port = gateway.admin.port().to_string();
    for url in [
        port.clone(),
        format!(":{port}"),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/"),
    ] {
        said(place, &["health", "--url", &url]);
        said(place, &["route", "llama3.2", "--url", &url]);
        said(place, &["usage", "--url", &url]);
    }
    said(place, &["health", "--url", &format!("{port}/health/live")]);

    let empty = tempfile::tempdir().unwrap();
    let mut command = Process::remuda();
    let output = command
        .current_dir(&empty)
        .arg("health")
        .env("PROXY_ADMIN", gateway.admin.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    // A named file that says nothing usable of the listener is an error, not a guess.
    std::fs::write(empty.path().join("bad.yaml"), "server: { admin: nowhere }").unwrap();
    let output = run(empty.path(), &["health", "-c", "bad.yaml"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.starts_with("remuda health: bad.yaml:1: server.admin: expected"),
        "{error}"
    );
}

#[tokio::test]
async fn route_tells_what_mattered_and_what_may_have_been_meant() {
    let sim = Simulation::start(
        2,
        &["--models", "llama3.2,qwen3:8b", "--loaded", "llama3.2"],
    );
    let config = Config::over(&sim.servers)
        .set("routing.strategy", "failover")
        .set("provider.priority", 3)
        .set(
            "routing.aliases",
            serde_json::json!({"lama-best": "qwen3:8b", "nowhere": "missing/x"}),
        );
    let gateway = Gateway::over(&config, 2).await;
    let folder = beside(&gateway);
    let told = said(folder.path(), &["route", "llama3.2"]);
    assert!(
        told.contains("loaded on 2 of the 2 servers that have it; priority 3"),
        "{told}"
    );
    let unknown = run(folder.path(), &["route", "lama3.2"]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = String::from_utf8(unknown.stdout).unwrap();
    assert!(told.contains("did you mean llama3.2"), "{told}");
    let json = run(folder.path(), &["route", "lama-bst", "--json"]).stdout;
    let page: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(page["similar"][0], "lama-best", "{page}");
    // What was asked is no answer, even where it is an alias that leads nowhere.
    let json = run(folder.path(), &["route", "nowhere", "--json"]).stdout;
    let page: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(page["similar"], Value::Null, "{page}");
}

/// Without a file, the gateway itself tells, in every form.
#[tokio::test]
async fn usage_is_asked_of_the_gateway_where_no_file_keeps_it() {
    let sim = Simulation::start(1, &["--models", "llama3.2"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let folder = beside(&gateway);
    let body = serde_json::json!({"model": "llama3.2", "prompt": "hi", "stream": false});
    assert_eq!(
        post(gateway.address, "/api/generate", &body.to_string())
            .await
            .status,
        200
    );
    gateway.idle().await;
    let table = said(folder.path(), &["usage", "--since", "1h"]);
    assert!(table.contains("llama3.2"), "{table}");
    let csv = said(folder.path(), &["usage", "--csv", "--by", "provider"]);
    assert!(csv.starts_with("provider,requests,"), "{csv}");
    assert!(csv.lines().nth(1).unwrap().contains(",1,0,"), "{csv}");
    let json = said(folder.path(), &["usage", "--json"]);
    let page: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(page["total"]["requests"], 1, "{page}");
    let output = run(folder.path(), &["usage", "--since", "ever"]);
    assert!(!output.status.success());
}

/// Everybody is asked at once; each says what it has, and nobody a secret.
#[tokio::test]
async fn check_reaches_every_provider() {
    let fleet = [
        ["--models", "llama3.2,qwen3:8b"],
        ["--loaded", "llama3.2"],
        ["--context-length", "4096"],
    ];
    let fleet = Simulation::start(1, fleet.as_flattened());
    let taking = ["--dialect", "anthropic", "--api-key", "right-key"];
    let taking = Simulation::start(1, &taking);
    let refusing = Simulation::start(1, &["--dialect", "openai", "--api-key", "right-key"]);
    let folder = tempfile::tempdir().unwrap();
    let write = |providers: &str, more: &str| {
        let text = format!(
            "server: {{ listen: '127.0.0.1:0', admin: off }}\nproviders:\n\
             \x20 - {{ name: gpus, backends: [ '{}' ] }}\n\
             \x20 - {{ name: claude, kind: anthropic, base_url: 'http://{}', api_key: right-key }}\n{providers}{more}",
            fleet.servers[0], taking.servers[0]
        );
        std::fs::write(folder.path().join("remuda.yaml"), text).unwrap();
    };
    write(
        "",
        "routing: { aliases: { best: claude/claude-opus-5, small: llama3.2 } }\n",
    );
    let told = said(folder.path(), &["check", "--reach"]);
    for line in [
        "OK: remuda.yaml is a good configuration",
        "gpus (ollama): answers",
        "2 models, llama3.2:latest loaded with a context of 4096 tokens",
        "claude (anthropic): answers; key accepted",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    // What it comes to stands behind what it was found by.
    let verdict = |told: &str| told.trim_end().lines().last().map(str::to_owned).unwrap();
    assert!(verdict(&told).starts_with("OK: remuda.yaml"), "{told}");
    assert!(!told.starts_with("OK: "), "{told}");
    let printed = said(folder.path(), &["check", "--reach", "--print"]);
    assert!(
        verdict(&printed).starts_with("# OK: remuda.yaml"),
        "{printed}"
    );
    assert_eq!(printed.matches("OK").count(), 1, "{printed}");

    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = socket.local_addr().unwrap();
    let others = format!(
        "\x20 - {{ name: gpt, kind: openai, base_url: 'http://{}/v1', api_key: wrong-key }}\n\
         \x20 - {{ name: gone, backends: [ '{dead}' ] }}\n",
        refusing.servers[0]
    );
    write(&others, "");
    let output = run(folder.path(), &["check", "--reach"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(verdict(&told).starts_with("FAILED: remuda.yaml"), "{told}");
    assert!(!told.contains("OK"), "{told}");
    for line in [
        "claude (anthropic): answers; key accepted",
        "it refuses the gateway's key: its list of models was answered with status 401",
        "gone (ollama): does not answer",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(
        !told.contains("wrong-key") && !told.contains("right-key"),
        "{told}"
    );

    write(
        "",
        "routing: { aliases: { best: claude/claude-opus-5, nobody: llama99 } }\n",
    );
    let output = run(folder.path(), &["check", "--reach"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(verdict(&told).starts_with("FAILED: remuda.yaml"), "{told}");
    assert!(
        told.contains("routing.aliases.nobody: \"llama99\": no provider has the model"),
        "{told}"
    );
}

/// What answers is not yet a provider: it is said what came in place of its list of models.
#[tokio::test]
async fn check_tells_what_is_answered_in_place_of_a_list() {
    for (status, kind, body, told) in [
        (
            200,
            "text/html",
            "<html>Welcome</html>",
            "what it answered is not a list of models",
        ),
        (
            500,
            "application/json",
            "{}",
            "it answered its list of models with status 500",
        ),
        (
            302,
            "text/html",
            "",
            "its list of models was answered with status 302",
        ),
    ] {
        let upstream = super::support::Upstream::start(move |_| {
            let answer = format!(
                "HTTP/1.1 {status} Any\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            vec![super::support::Step::Send(answer.into_bytes())]
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "providers: [ {{ name: odd, kind: openai, base_url: 'http://{}/v1', api_key: k }} ]\n",
            upstream.address
        );
        std::fs::write(folder.path().join("remuda.yaml"), text).unwrap();
        let path = folder.path().to_owned();
        let asked = move || run(&path, &["check", "--reach", "--timeout", "5s"]);
        let output = tokio::task::spawn_blocking(asked).await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{said}");
        assert!(!said.contains("key accepted"), "{said}");
    }
}

/// A service that accepts connections and says nothing is not waited for.
#[tokio::test]
async fn check_does_not_wait_for_the_silent() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "providers: [ {{ name: silent, kind: openai, base_url: 'http://{}/v1', api_key: k }} ]\n",
        silent.local_addr().unwrap()
    );
    std::fs::write(folder.path().join("remuda.yaml"), text).unwrap();
    let output = run(folder.path(), &["check", "--reach", "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("silent (openai): does not answer"), "{told}");
    assert!(told.contains("no answer within 300ms"), "{told}");
}
