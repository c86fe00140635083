//! On which server a request would start, and why there: what the admin listener, the subcommand and the log tell of it.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Config, Gateway, Process, Simulation, chat, get, post};

/// Three servers of which the first alone may load the model, with contexts of 8,192 tokens.
async fn fleet() -> (Simulation, Gateway) {
    let sim = Simulation::start(
        3,
        &["--models", "llama3.2,qwen3:8b", "--answer-tokens", "3"],
    );
    let place = format!(
        r#"[{{ models: "llama*", on: ["{}"], else: never }}]"#,
        sim.servers[0]
    );
    let config = Config::over(&sim.servers)
        .set("provider.place", place)
        .set("provider.contexts", "[8k]")
        .set("monitoring.log_level", "debug");
    let gateway = Gateway::over(&config, 3).await;
    (sim, gateway)
}

async fn told(gateway: &Gateway, query: &str) -> Value {
    let page = get(gateway.admin, &format!("/api/explain?{query}")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()
}

/// Runs the subcommand; returns its exit code and what it prints.
fn explain(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}", gateway.admin);
    let mut command: Command = Process::remuda();
    command.arg("explain").args(arguments).args(["--url", &url]);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn the_answer_has_the_plan_and_at_each_step_the_servers() {
    let (sim, gateway) = fleet().await;
    let first = sim.servers[0].to_string();
    let before = told(&gateway, "model=llama3.2&tokens=100").await;
    let step = &before["steps"][0];
    assert_eq!(step["providers"], json!(["test"]));
    let start = &step["start"];
    assert_eq!(
        (&start["action"], &start["server"]),
        (&json!("load"), &json!(first)),
        "{before}"
    );
    assert_eq!(start["candidates"].as_array().unwrap().len(), 1);
    let candidate = &start["candidates"][0];
    assert_eq!(
        (&candidate["copy"], &candidate["context"]),
        (&json!("on_disk"), &json!(8192))
    );
    assert!(
        candidate["load_seconds"].as_f64().unwrap() >= 1.0,
        "{before}"
    );
    for out in start["out"].as_array().unwrap() {
        assert!(out["why"].as_str().unwrap().contains("a rule of place"));
    }
    assert_eq!(start["out"].as_array().unwrap().len(), 2);
    assert_eq!(step["place"][0]["on"], json!([first]));

    let body = chat("llama3.2", "hi", r#","stream":false"#);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.header("x-remuda-backend"), Some(&*first));
    gateway.idle().await;
    let after = told(&gateway, "model=llama3.2&tokens=100").await;
    let start = &after["steps"][0]["start"];
    assert_eq!(
        (&start["action"], &start["server"]),
        (&json!("start"), &json!(first))
    );
    let candidate = &start["candidates"][0];
    assert_eq!(
        (&candidate["copy"], &candidate["load_seconds"]),
        (&json!("loaded"), &json!(0.0))
    );

    // No context that is planned holds so much.
    let long = told(&gateway, "model=llama3.2&tokens=20000").await;
    let start = &long["steps"][0]["start"];
    assert_eq!(start["action"], "refuse", "{long}");
    assert!(
        start["out"]
            .to_string()
            .contains("its largest context holds 8192 tokens")
    );
    // What is not known has no servers.
    let unknown = told(&gateway, "model=nothing").await;
    assert_eq!(unknown["steps"], json!([]));
    assert_eq!(get(gateway.admin, "/api/explain").await.status, 400);
    // Operators alone are told.
    let public = get(gateway.address, "/api/explain?model=llama3.2").await;
    assert_eq!(public.status, 404);
}

#[tokio::test]
async fn the_subcommand_shows_the_same_in_lines() {
    let (sim, gateway) = fleet().await;
    let (code, text) = explain(
        &gateway,
        &["llama3.2", "--tokens", "100", "--context", "4096"],
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("step 1     llama3.2"), "{text}");
    let first = format!(
        "servers of step 1: load {}, as no copy serves the request",
        sim.servers[0]
    );
    assert!(text.contains(&first), "{text}");
    let out = format!("  {} out: a rule of place", sim.servers[1]);
    assert!(text.contains(&out), "{text}");
    assert!(
        text.contains("  rule of place at test: llama* on "),
        "{text}"
    );
    let (code, text) = explain(&gateway, &["qwen3:8b", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        told["steps"][0]["start"]["candidates"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let (code, text) = explain(&gateway, &["nothing"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("no provider has the model"), "{text}");
}

#[tokio::test]
async fn the_log_says_why_each_request_starts_where_it_does() {
    let (sim, gateway) = fleet().await;
    let first = sim.servers[0];
    for _ in 0..2 {
        let body = chat("llama3.2", "hi", r#","stream":false"#);
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    for action in ["load", "start"] {
        let told = format!("{action} of llama3.2:latest on {first}: ");
        let line = gateway
            .process
            .wait_for(action, |line| line.contains(&told).then(|| line.to_owned()));
        assert!(line.contains(&format!("candidates: {first} ")), "{line}");
        let out = format!("{} (a rule of place", sim.servers[1]);
        assert!(line.contains(&out), "{line}");
    }
}
