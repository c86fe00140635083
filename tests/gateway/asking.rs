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
            serde_json::json!({"lama-best": "qwen3:8b"}),
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
