//! In place of OptiLLM's proxy plugin: its file, where it lies, its strategies, its forms and its words.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;
use crate::surroundings::*;

const FILE: &str = ".optillm/proxy_config.yaml";

/// The file of its document, with two providers at the addresses of simulated ones.
fn file(primary: &Simulation, backup: &Simulation, more: &str) -> String {
    let (primary, backup) = (url(primary, "/v1"), url(backup, "/v1"));
    format!(
        "
providers:
  - name: primary
    base_url: {primary}
    api_key: ${{OPENAI_API_KEY}}
    weight: 2
    max_concurrent: 5
    model_map:
      gpt-4: gpt-4-turbo-preview
  - name: backup
    base_url: {backup}
    api_key: ${{OPENAI_API_KEY_BACKUP:-${{OPENAI_API_KEY}}}}
    weight: 1
    max_concurrent: 2
timeouts:
  request: 30
  connect: 5
{more}"
    )
}

struct Proxy {
    primary: Simulation,
    backup: Simulation,
    gateway: Gateway,
}

impl Proxy {
    async fn start(more: &str) -> Self {
        Self::with(more, |file| file, |surroundings| surroundings).await
    }

    async fn with(
        more: &str,
        change: impl FnOnce(String) -> String,
        surround: impl FnOnce(Surroundings) -> Surroundings,
    ) -> Self {
        let primary = provider("openai", "gpt-4-turbo-preview,gpt-4o");
        let backup = provider("openai", "gpt-4,gpt-4o");
        let text = change(file(&primary, &backup, more));
        let providers = text.matches("name: ").count();
        let surroundings = Surroundings::bare()
            .with("HOST", "127.0.0.1")
            .with("OPTILLM_PORT", "0")
            .with("PROXY_ADMIN", "127.0.0.1:0")
            .with("OPENAI_API_KEY", KEY)
            .file(FILE, &text);
        let gateway = surround(surroundings).start();
        gateway
            .metric_is(
                "remuda_backends",
                &[("health", "healthy")],
                providers as f64,
            )
            .await;
        Self {
            primary,
            backup,
            gateway,
        }
    }

    async fn ask(&self, body: &Value) -> Reply {
        ask(&self.gateway, "/v1/chat/completions", body).await
    }

    async fn say(&self, model: &str) -> Value {
        answer(&self.gateway, "/v1/chat/completions", &hello(model)).await
    }

    /// Requests that either has had.
    async fn counts(&self) -> (u64, u64) {
        (asked(&self.primary).await, asked(&self.backup).await)
    }
}

fn hello(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "say ahoy"}]})
}

fn text(said: &Value) -> &str {
    said["choices"][0]["message"]["content"].as_str().unwrap()
}

fn error(reply: &Reply) -> String {
    reply.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn its_example_is_a_configuration_with_its_defaults() {
    // The example that comes with it, with all that it shows.
    let example = "
providers:
  - { name: openai_primary, base_url: https://api.openai.com/v1, api_key: '${OPENAI_API_KEY}', weight: 3 }
  - name: openai_secondary
    base_url: https://api.openai.com/v1
    api_key: ${OPENAI_API_KEY_2:-${OPENAI_API_KEY}}
    weight: 2
  - name: azure_gpt4
    base_url: ${AZURE_ENDPOINT:-https://your-resource.openai.azure.com}
    api_key: ${AZURE_API_KEY}
    weight: 0
    model_map: { gpt-4: gpt-4-deployment, gpt-3.5-turbo: gpt-35-turbo-deployment }
  - { name: local_llm, base_url: 'http://localhost:8080/v1', api_key: dummy, weight: 1, fallback_only: true }
  - { name: together_ai, base_url: 'https://api.together.xyz/v1', api_key: '${TOGETHER_API_KEY}' }
routing:
  strategy: weighted
  health_check: { enabled: true, interval: 30, timeout: 5 }
monitoring: { log_level: INFO, track_latency: true, track_errors: true }
";
    let keys = ["OPENAI_API_KEY", "AZURE_API_KEY", "TOGETHER_API_KEY"];
    let surroundings = keys
        .iter()
        .fold(Surroundings::bare().file(FILE, example), |all, name| {
            all.with(name, "key")
        });
    let (effective, warnings) = surroundings.check();
    // A weight that is not positive counts as 1, and two entries for one address are worth a word.
    assert!(
        warnings.contains("is not positive and counts as 1"),
        "{warnings}"
    );
    let providers = effective["providers"].as_sequence().unwrap();
    assert_eq!(providers.len(), 5);
    assert_eq!(providers[2]["kind"], "azure");
    assert_eq!(providers[2]["weight"], 1);
    assert_eq!(providers[3]["fallback_only"], true);
    assert_eq!(providers[4]["interval"], "30s");
    assert_eq!(providers[4]["probe_timeout"], "5s");
    assert_eq!(effective["server"]["listen"], "0.0.0.0:8000");
    assert_eq!(effective["queue"]["max_concurrent"], 100);
    assert_eq!(effective["queue"]["timeout"], "1m");
    assert_eq!(effective["timeouts"]["first_byte"], "30s");
    assert_eq!(effective["timeouts"]["connect"], "5s");
    assert_eq!(effective["routing"]["strategy"], "weighted");
    assert_eq!(effective["routing"]["slot_wait"], "500ms");
    // The other spelling of the file's name, and what the program did with a bad file.
    let yml = Surroundings::bare().file(
        ".optillm/proxy_config.yml",
        "providers: [{name: a, base_url: 'http://a/v1'}]",
    );
    assert_eq!(yml.check().0["server"]["listen"], "0.0.0.0:8000");
    let refused = Surroundings::bare()
        .file(FILE, &example.replace("weight: 2", "weight: two"))
        .refused();
    assert!(
        refused.contains("proxy_config.yaml:7: providers[1].weight: "),
        "{refused}"
    );
    let unset = Surroundings::bare().file(FILE, example).refused();
    assert!(
        unset.contains("providers[0].api_key: variable OPENAI_API_KEY is not set"),
        "{unset}"
    );
}

#[tokio::test]
async fn its_page_says_what_works() {
    let proxy = Proxy::start("").await;
    crate::migration::ask_all("optillm-proxy", &proxy.gateway).await;
}

#[tokio::test]
async fn health_says_ok() {
    let probes = "routing: { health_check: { interval: 0.2, timeout: 1 } }\n";
    let proxy = Proxy::start(probes).await;
    proxy.primary.stop(0).await;
    proxy.backup.stop(0).await;
    proxy
        .gateway
        .metric_is("remuda_backends", &[("health", "healthy")], 0.0)
        .await;
    let reply = get(proxy.gateway.address, "/health").await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("ok")));
}

#[tokio::test]
async fn weights_and_the_map_of_models_hold() {
    let proxy = Proxy::start("routing: { strategy: weighted }\n").await;
    const REQUESTS: u64 = 300;
    for _ in 0..REQUESTS {
        assert!(text(&proxy.say("gpt-4").await).contains("ahoy"));
    }
    let (primary, backup) = proxy.counts().await;
    assert_eq!(primary + backup, REQUESTS);
    // Two thirds; four standard deviations are 33.
    assert!((167..=233).contains(&primary), "{primary} of {REQUESTS}");
}

#[tokio::test]
async fn round_robin_takes_turns_and_failover_the_first() {
    let proxy = Proxy::start("routing: { strategy: round_robin }\n").await;
    for _ in 0..10 {
        proxy.say("gpt-4o").await;
    }
    assert_eq!(proxy.counts().await, (5, 5));

    let proxy = Proxy::start("routing: { strategy: failover }\n").await;
    for _ in 0..5 {
        proxy.say("gpt-4o").await;
    }
    assert_eq!(proxy.counts().await, (5, 0));
    proxy.primary.stop(0).await;
    for _ in 0..5 {
        proxy.say("gpt-4o").await;
    }
    assert_eq!(asked(&proxy.backup).await, 5);
}

#[tokio::test]
async fn fallback_only_providers_serve_when_the_others_fail() {
    let fallback = |file: String| file.replace("    max_concurrent: 2", "    fallback_only: true");
    let proxy = Proxy::with("routing: { strategy: weighted }\n", fallback, |all| all).await;
    for _ in 0..10 {
        proxy.say("gpt-4o").await;
    }
    assert_eq!(proxy.counts().await, (10, 0));
    // The original needed the others to be known as unhealthy beforehand.
    proxy
        .primary
        .fault_everywhere(r#"{"kind":"status","status":500,"times":1,"route":"inference"}"#)
        .await;
    proxy.say("gpt-4o").await;
    assert_eq!(asked(&proxy.backup).await, 1);
}

#[tokio::test]
async fn a_full_provider_is_passed_over_after_half_a_second() {
    let one = |file: String| file.replace("max_concurrent: 5", "max_concurrent: 1");
    let proxy = Proxy::with("routing: { strategy: failover }\n", one, |all| all).await;
    proxy
        .primary
        .fault_everywhere(r#"{"kind":"stall","seconds":30,"times":1,"route":"inference"}"#)
        .await;
    let mut busy = Connection::open(proxy.gateway.address).await;
    let body = hello("gpt-4o").to_string();
    busy.request("POST", "/v1/chat/completions", &[], body.as_bytes())
        .await;
    proxy
        .gateway
        .metric_is(
            "remuda_backend_in_flight",
            &[("remuda_provider", "primary")],
            1.0,
        )
        .await;
    let started = Instant::now();
    proxy.say("gpt-4o").await;
    let took = started.elapsed();
    assert_eq!(asked(&proxy.backup).await, 1);
    assert!(took >= Duration::from_millis(450), "{took:?}");
}

#[tokio::test]
async fn an_overloaded_server_says_so_in_its_words() {
    let proxy = Proxy::start("queue: { max_concurrent: 1, timeout: 1 }\n").await;
    for simulation in [&proxy.primary, &proxy.backup] {
        simulation
            .fault_everywhere(r#"{"kind":"stall","seconds":30,"route":"inference"}"#)
            .await;
    }
    let mut busy = Connection::open(proxy.gateway.address).await;
    let body = hello("gpt-4o").to_string();
    busy.request("POST", "/v1/chat/completions", &[], body.as_bytes())
        .await;
    proxy
        .gateway
        .metric_is("remuda_backend_in_flight", &[], 1.0)
        .await;
    let reply = proxy.ask(&hello("gpt-4o")).await;
    assert_eq!(reply.status, 503);
    assert_eq!(
        error(&reply),
        "Request queue timeout after 1s - server overloaded"
    );
}

#[tokio::test]
async fn where_all_fail_it_says_how_each_did() {
    let proxy = Proxy::start("").await;
    // What all say alike is told once, as by one of them; so they differ.
    for (simulation, status) in [(&proxy.primary, 500), (&proxy.backup, 503)] {
        let fault = format!(r#"{{"kind":"status","status":{status},"route":"inference"}}"#);
        simulation.fault_everywhere(&fault).await;
    }
    let reply = proxy.ask(&hello("gpt-4o")).await;
    assert!(reply.status >= 500, "{}", reply.status);
    let text = error(&reply);
    assert!(
        text.starts_with("All providers failed. Errors: ["),
        "{text}"
    );
    assert!(
        text.contains("primary") && text.contains("backup"),
        "{text}"
    );
    assert!(!text.contains(KEY));
    // A client's mistake is told at once, and cuts nobody off.
    proxy.primary.no_faults().await;
    proxy.backup.no_faults().await;
    let bad = json!({"model": "gpt-4o", "messages": "none"});
    assert_eq!(proxy.ask(&bad).await.status, 400);
    assert!(text_is_there(&proxy).await);
}

async fn text_is_there(proxy: &Proxy) -> bool {
    text(&proxy.say("gpt-4o").await).contains("ahoy")
}

#[tokio::test]
async fn clients_need_the_key_where_there_is_one() {
    const CLIENT: &str = "sk-a-key-of-some-length";
    let with_key = |all: Surroundings| all.with("OPTILLM_API_KEY", CLIENT);
    let proxy = Proxy::with("", |file| file, with_key).await;
    let body = hello("gpt-4o").to_string();
    let missing =
        "Invalid Authorization header. Expected format: 'Authorization: Bearer YOUR_API_KEY'";
    for (field, status, expected) in [
        (None, 401, missing),
        (Some("Token abc".to_owned()), 401, missing),
        (Some("Bearer wrong".to_owned()), 401, "Invalid API key"),
        (Some(format!("Bearer {CLIENT}")), 200, ""),
    ] {
        let fields: Vec<(&str, &str)> = field
            .iter()
            .map(|value| ("Authorization", value.as_str()))
            .collect();
        let path = "/v1/chat/completions";
        let reply = request(
            proxy.gateway.address,
            "POST",
            path,
            &fields,
            body.as_bytes(),
        )
        .await;
        assert_eq!(reply.status, status, "{field:?}: {}", reply.text());
        if status == 401 {
            assert_eq!(error(&reply), expected);
        }
    }
    // Probes have no key.
    assert_eq!(get(proxy.gateway.address, "/health").await.status, 200);
}

#[tokio::test]
async fn every_form_of_asking_for_the_proxy_is_one() {
    let proxy = Proxy::start("").await;
    let private = json!({"optillm_approach": "proxy", "mcts_simulations": 2, "mcts_exploration": 0.2, "mcts_depth": 1,
        "best_of_n": 3, "rstar_max_depth": 3, "rstar_num_rollouts": 5, "rstar_c": 1.4});
    let mut forms = vec![hello("proxy-gpt-4o"), hello("gpt-4o"), hello("proxy-gpt-4")];
    let mut flat = hello("gpt-4o");
    for (key, value) in private.as_object().unwrap() {
        flat[key] = value.clone();
    }
    forms.push(flat);
    let mut nested = hello("gpt-4o");
    nested["extra_body"] = private;
    forms.push(nested);
    for body in forms {
        let said = answer(&proxy.gateway, "/v1/chat/completions", &body).await;
        assert!(text(&said).contains("ahoy"), "{body}: {said}");
    }
    assert_eq!(proxy.counts().await.0 + proxy.counts().await.1, 5);
}

#[tokio::test]
async fn approaches_need_a_server_that_has_them() {
    let proxy = Proxy::start("").await;
    let mut wrapped = vec![hello("bon&proxy-gpt-4o")];
    for key in ["proxy_wrap", "wrapped_approach", "wrap"] {
        let mut body = hello("gpt-4o");
        body["optillm_approach"] = "proxy".into();
        body[key] = "moa".into();
        wrapped.push(body);
    }
    for body in &wrapped {
        let reply = proxy.ask(body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(
            error(&reply).contains("approaches: true"),
            "{}",
            error(&reply)
        );
    }
    assert_eq!(proxy.counts().await, (0, 0));

    // An OptiLLM server behind the gateway gets the request as it came.
    let seen = Upstream::start(|asked: &Asked| {
        let body = if asked.head.starts_with("GET ") {
            json!({"object": "list", "data": [{"id": "gpt-4o"}]})
        } else {
            json!({"choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "ahoy"}}]})
        };
        vec![Step::Send(crate::support::json(200, &body.to_string()))]
    })
    .await;
    let address = seen.address;
    let with_server = move |file: String| {
        let entry = format!(
            "  - {{ name: optillm, base_url: 'http://{address}/v1', kind: openai_compatible, approaches: true }}\n"
        );
        file.replace("timeouts:\n", &format!("{entry}timeouts:\n"))
    };
    let proxy = Proxy::with("", with_server, |all| all).await;
    let said = answer(&proxy.gateway, "/v1/chat/completions", &wrapped[0]).await;
    assert_eq!(text(&said), "ahoy");
    let asked = seen.asked();
    let asked = asked
        .iter()
        .find(|asked| asked.head.starts_with("POST "))
        .unwrap();
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body["model"], "bon&proxy-gpt-4o");
    assert_eq!(proxy.counts().await, (0, 0));
}
