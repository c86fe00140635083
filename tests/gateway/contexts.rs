//! The copy that a server has in its memory serves requests as it is: neither do their contexts and options make the server
//! load the model anew, nor is a prompt shortened that its client wants whole.

use serde_json::{Value, json};

use super::support::{
    Asked, Config, Format, Gateway, Reply, Simulation, Step, Upstream, chat, get, json as answer,
    post,
};

/// What the scripted servers have in memory, with that context.
fn loaded(context: u32) -> String {
    format!(
        r#"{{"models":[{{"name":"scripted:latest","model":"scripted:latest","size":1000,"digest":"aa","expires_at":"2318-01-02T03:04:05Z","size_vram":1000,"context_length":{context}}}]}}"#
    )
}

/// What they have on disk, trained for that context, so that no larger copy can be loaded.
fn stored(context: u32) -> String {
    format!(
        r#"{{"models":[{{"name":"scripted:latest","model":"scripted:latest","modified_at":"2026-01-02T03:04:05Z","size":1000,"digest":"aa","details":{{"family":"llama","context_length":{context}}}}}]}}"#
    )
}

fn body_of(asked: &Asked) -> Value {
    serde_json::from_slice(&asked.body).unwrap()
}

/// A word of an answer from a prompt of so many tokens.
fn said(asked: &Asked, prompt: u32) -> Vec<Step> {
    let answer_field = if asked.head.contains("/api/chat") {
        json!({"message": {"role": "assistant", "content": "word"}})
    } else {
        json!({"response": "word"})
    };
    let mut line = json!({"model": "scripted", "created_at": "2026-01-02T03:04:05Z", "done": true, "done_reason": "stop",
        "total_duration": 4, "load_duration": 1, "prompt_eval_count": prompt, "prompt_eval_duration": 1, "eval_count": 1, "eval_duration": 1});
    for (name, value) in answer_field.as_object().unwrap() {
        line[name] = value.clone();
    }
    let mut reply = answer(200, &line.to_string());
    if body_of(asked)["stream"] != json!(false) {
        reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{line}\n",
            line.to_string().len() + 1
        )
        .into_bytes();
    }
    vec![Step::Send(reply)]
}

/// A server whose copy has `context`, and which takes or shortens prompts as Ollama does: a token for every five bytes.
async fn server(context: u32) -> Upstream {
    let (tags, ps) = (stored(context), loaded(context));
    Upstream::listing(["0.33.0", &tags, &ps], move |asked| {
        let tokens = u32::try_from(asked.body.len() / 5).unwrap();
        if tokens <= context {
            return said(asked, tokens);
        }
        if body_of(asked)["truncate"] == json!(false) {
            let inner = json!({"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": tokens, "n_ctx": context,
                "message": format!("request ({tokens} tokens) exceeds the available context size ({context} tokens), try increasing it")}});
            let told = json!({"error": inner.to_string()});
            return vec![Step::Send(answer(400, &told.to_string()))];
        }
        said(asked, context / 2 + 3)
    })
    .await
}

fn config(servers: &[&Upstream]) -> Config {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    Config::over(&addresses).set("provider.max_concurrent_per_backend", "8")
}

/// A text that the scripted servers count as about so many tokens.
fn long(tokens: usize) -> String {
    "word ".repeat(tokens)
}

fn ask(route: &str, text: &str) -> String {
    let body = match route {
        "/api/generate" => json!({"model": "scripted", "prompt": text, "stream": false}),
        "/v1/messages" => {
            json!({"model": "scripted", "max_tokens": 64, "messages": [{"role": "user", "content": text}]})
        }
        "/v1/responses" => json!({"model": "scripted", "input": text}),
        _ => {
            json!({"model": "scripted", "stream": false, "messages": [{"role": "user", "content": text}]})
        }
    };
    body.to_string()
}

async fn asked_in(gateway: &Gateway, route: &str, text: &str) -> Reply {
    post(gateway.address, route, &ask(route, text)).await
}

#[tokio::test]
async fn contexts_in_turn_do_not_make_the_server_load_anew() {
    let server = server(4096).await;
    let gateway = Gateway::over(&config(&[&server]), 1).await;
    let stated = [None, Some(4096), Some(8192), Some(16384)];
    for turn in 0..16 {
        let options = stated[turn % 4].map(|context| json!({"num_ctx": context, "seed": 7}));
        let mut body = json!({"model": "scripted", "stream": false, "messages": [{"role": "user", "content": "hi"}]});
        if let Some(options) = options {
            body["options"] = options;
        }
        let reply = post(gateway.address, "/api/chat", &body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 16);
    for (turn, one) in asked.iter().enumerate() {
        let body = body_of(one);
        assert_eq!(body["options"]["num_ctx"], 4096, "turn {turn}: {body}");
        let seed = body["options"].get("seed").is_some();
        assert_eq!(seed, turn % 4 > 0, "{body}");
    }
    for route in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
        let reply = asked_in(&gateway, route, "hi").await;
        assert_eq!(reply.status, 200, "{route} {}", reply.text());
        let body = body_of(server.asked().last().unwrap());
        assert_eq!(body["options"]["num_ctx"], 4096, "{route}: {body}");
    }
}

#[tokio::test]
async fn a_body_that_states_the_context_of_the_copy_passes_as_it_came() {
    let server = server(4096).await;
    let gateway = Gateway::over(&config(&[&server]), 1).await;
    let body =
        r#"{ "model":"scripted", "prompt":"hi" , "stream":false, "options" : {"num_ctx": 4096 }}"#;
    // Until answers of the model are known to be quick, they are asked for as a stream.
    let body = body.replace("false", "true");
    assert_eq!(
        post(gateway.address, "/api/generate", &body).await.status,
        200
    );
    let asked = server.asked();
    assert_eq!(asked[0].body, body.as_bytes(), "{asked:?}");
}

#[tokio::test]
async fn options_that_only_tune_are_left_out_unless_they_are_to_pass() {
    for (how, kept) in [("pin", false), ("pass", true)] {
        let server = server(4096).await;
        let config = config(&[&server]).set("provider.options", how);
        let gateway = Gateway::over(&config, 1).await;
        for fields in [
            json!({}),
            json!({"shift": false}),
            json!({"options": {"num_thread": 2}}),
            json!({"options": {"num_batch": 64, "temperature": 0.5}}),
            json!({"options": {"num_gpu": 1, "main_gpu": 0, "use_mmap": false}}),
            json!({"shift": false, "options": {"num_thread": 3}}),
            json!({}),
        ] {
            let mut body = json!({"model": "scripted", "prompt": "hi", "stream": true});
            for (name, value) in fields.as_object().unwrap() {
                body[name] = value.clone();
            }
            let reply = post(gateway.address, "/api/generate", &body.to_string()).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            let sent = body_of(server.asked().last().unwrap());
            for name in ["num_thread", "num_batch", "num_gpu", "main_gpu", "use_mmap"] {
                let stated = kept && !body["options"][name].is_null();
                assert_eq!(
                    !sent["options"][name].is_null(),
                    stated,
                    "{how} {name}: {sent}"
                );
            }
            let shift = kept && !body["shift"].is_null();
            assert_eq!(!sent["shift"].is_null(), shift, "{how}: {sent}");
            assert_eq!(
                sent["options"]["temperature"],
                body["options"]["temperature"]
            );
        }
    }
}

#[tokio::test]
async fn a_prompt_that_no_context_holds_is_refused_in_the_clients_words() {
    let server = server(4096).await;
    let gateway = Gateway::over(&config(&[&server]), 1).await;
    for (route, told) in [
        ("/v1/chat/completions", "context_length_exceeded"),
        ("/v1/responses", "context_length_exceeded"),
        ("/v1/messages", "prompt is too long: "),
    ] {
        let reply = asked_in(&gateway, route, &long(54_020)).await;
        assert_eq!(reply.status, 400, "{route} {}", reply.text());
        assert!(reply.text().contains(told), "{route} {}", reply.text());
    }
    let anthropic = asked_in(&gateway, "/v1/messages", &long(54_020)).await;
    let words = anthropic.json()["error"]["message"].to_string();
    assert!(words.contains("> 4096 maximum"), "{words}");
    gateway.idle().await;
}

#[tokio::test]
async fn a_prompt_that_may_fit_is_tried_and_told_by_its_server() {
    let server = server(4096).await;
    let gateway = Gateway::over(&config(&[&server]), 1).await;
    // About 4,000 tokens as the server counts, and more by the first estimate.
    let reply = asked_in(&gateway, "/v1/chat/completions", &long(3_900)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = asked_in(&gateway, "/v1/chat/completions", &long(4_600)).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(
        reply.text().contains("context_length_exceeded"),
        "{}",
        reply.text()
    );
    let sent = body_of(server.asked().last().unwrap());
    assert_eq!(sent["truncate"], false, "{sent}");
}

#[tokio::test]
async fn a_long_prompt_goes_to_the_copy_that_holds_it() {
    let (small, large) = (server(4096).await, server(131_072).await);
    let gateway = Gateway::over(&config(&[&small, &large]), 2).await;
    for route in [
        "/v1/chat/completions",
        "/v1/messages",
        "/api/chat",
        "/api/generate",
    ] {
        let reply = asked_in(&gateway, route, &long(54_020)).await;
        assert_eq!(reply.status, 200, "{route} {}", reply.text());
    }
    let long = |server: &Upstream| {
        let asked = server.asked().into_iter();
        asked.filter(|asked| asked.body.len() > 200_000).count()
    };
    assert_eq!((long(&small), long(&large)), (0, 4));
    for one in large.asked() {
        assert_eq!(body_of(&one)["options"]["num_ctx"], 131_072);
    }
}

#[tokio::test]
async fn a_client_of_ollamas_may_have_its_prompt_shortened_and_is_told_so() {
    let server = server(4096).await;
    let gateway = Gateway::over(&config(&[&server]), 1).await;
    let reply = asked_in(&gateway, "/api/generate", &long(54_020)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["prompt_eval_count"], 2051);
    assert_eq!(reply.header("x-remuda-truncated"), Some("prompt"));
    gateway
        .metric_is(
            "remuda_cut_prompts_total",
            &[("remuda_provider", "test")],
            1.0,
        )
        .await;
    let short = asked_in(&gateway, "/api/generate", "hi").await;
    assert_eq!(short.header("x-remuda-truncated"), None);
    // Who forbids it is told as by the server.
    let body =
        json!({"model": "scripted", "prompt": long(54_020), "stream": false, "truncate": false});
    let refused = post(gateway.address, "/api/generate", &body.to_string()).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let inner: Value = serde_json::from_str(refused.json()["error"].as_str().unwrap()).unwrap();
    assert_eq!(inner["error"]["n_ctx"], 4096, "{inner}");
    let page = get(gateway.admin, "/metrics").await;
    assert!(page.text().contains("remuda_cut_prompts_total"));
}

#[tokio::test]
async fn the_operator_decides_what_becomes_of_long_prompts() {
    for (truncate, route, status) in [
        ("never", "/api/generate", 400),
        ("never", "/api/chat", 400),
        ("as_client", "/v1/chat/completions", 200),
        ("as_client", "/v1/messages", 200),
    ] {
        let server = server(4096).await;
        let config = config(&[&server]).set("routing.truncate", truncate);
        let gateway = Gateway::over(&config, 1).await;
        let reply = asked_in(&gateway, route, &long(54_020)).await;
        assert_eq!(reply.status, status, "{truncate} {route} {}", reply.text());
    }
}

/// A simulated cloud provider with one model, and an entry of `providers` for it.
fn cloud(model: &str) -> (Simulation, String) {
    let models = ["--dialect", "openai", "--models", model];
    let cloud = Simulation::start(1, &[&models[..], &["--answer-tokens", "3"]].concat());
    let url = format!("http://{}/v1", cloud.servers[0]);
    let entry = json!({"name": "cloud", "kind": "openai_compatible", "base_url": url, "api_key": "sim-key"});
    (cloud, entry.to_string())
}

/// An entry of `providers` for an Ollama server.
fn own(address: std::net::SocketAddr) -> String {
    json!({"name": "own", "kind": "ollama", "backends": [format!("http://{address}")], "interval": "1h"}).to_string()
}

async fn completed(cloud: &Simulation) -> u64 {
    cloud.stats().await[0].completed
}

#[tokio::test]
async fn a_prompt_that_is_too_long_for_the_fleet_goes_to_a_service_with_room() {
    let server = server(4096).await;
    let (cloud, entry) = cloud("gpt-4.1");
    let config = Config::of([own(server.address), entry])
        .set(
            "routing.models",
            "{ scripted: { overflow: [cloud/gpt-4.1] } }",
        )
        .set(
            "routing.aliases",
            "{ either: [own/scripted, cloud/gpt-4.1] }",
        );
    let gateway = Gateway::over(&config, 2).await;
    let mut expected = 0;
    for model in ["scripted", "either"] {
        for format in [Format::Ollama, Format::Chat] {
            for streamed in [false, true] {
                for (text, by_cloud) in [("hi".to_owned(), false), (long(54_020), true)] {
                    let body = format.ask(model, &text, streamed, json!({}));
                    let reply = post(gateway.address, format.path(), &body).await;
                    let case = format!("{model} {format:?} {streamed} {by_cloud}");
                    assert_eq!(reply.status, 200, "{case} {}", reply.text());
                    let whole = !streamed || format.read(&reply.body).success;
                    assert!(whole, "{case} {}", reply.text());
                    assert_eq!(reply.header("x-remuda-truncated"), None, "{case}");
                    expected += u64::from(by_cloud);
                    assert_eq!(completed(&cloud).await, expected, "{case}");
                }
            }
        }
    }
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.body.len() < 10_000));
    gateway.idle().await;
}

#[tokio::test]
async fn a_service_without_room_takes_nothing_over() {
    let server = server(4096).await;
    let (cloud, entry) = cloud("gpt-4o");
    let config = Config::of([own(server.address), entry]).set(
        "routing.models",
        "{ scripted: { overflow: [cloud/gpt-4o] } }",
    );
    let gateway = Gateway::over(&config, 2).await;
    for streamed in [false, true] {
        let ask = |format: Format| format.ask("scripted", &long(500_000), streamed, json!({}));
        // Ollama's clients let a server shorten the prompt.
        let (format, path) = (Format::Ollama, Format::Ollama.path());
        let reply = post(gateway.address, path, &ask(format)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(format.read(&reply.body).success, "{}", reply.text());
        let (format, path) = (Format::Chat, Format::Chat.path());
        let reply = post(gateway.address, path, &ask(format)).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        let told = reply.text();
        assert!(told.contains("context_length_exceeded"), "{told}");
    }
    assert_eq!(completed(&cloud).await, 0);
    assert_eq!(server.asked().len(), 2);
    // One that it can hold goes there.
    let body = Format::Chat.ask("scripted", &long(54_020), false, json!({}));
    let reply = post(gateway.address, Format::Chat.path(), &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(completed(&cloud).await, 1);
}

#[tokio::test]
async fn no_larger_copy_is_loaded_for_a_prompt_beyond_every_context() {
    let sim = Simulation::start(1, &["--context-length", "4096", "--answer-tokens", "3"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = long(500_000);
    for (path, status) in [("/api/chat", 200), ("/v1/chat/completions", 400)] {
        let body = json!({"model": "llama3.2", "stream": false, "messages": [{"role": "user", "content": text}]});
        let reply = post(gateway.address, path, &body.to_string()).await;
        assert_eq!(reply.status, status, "{path} {}", reply.text());
        assert_eq!(reply.header("x-remuda-truncated").is_some(), status == 200);
    }
    let stats = sim.stats().await;
    assert_eq!(stats[0].loads, 1, "{stats:?}");
    let ps = get(gateway.address, "/api/ps").await.json();
    assert_eq!(ps["models"][0]["context_length"], 4096, "{ps}");
}
