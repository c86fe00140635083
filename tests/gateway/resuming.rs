//! Streams that break off and go on elsewhere: the client reads one answer, every word of it once.

use serde_json::{Value, json};

use super::support::{
    Config, Connection, Gateway, Piece, STREAM_HEAD, Simulation, Step, Upstream, chat, chunk,
    eventually, post,
};

/// Tokens of the answers that are cut at every one of them.
const TOKENS: u64 = 60;

/// What a client speaks.
#[derive(Clone, Copy, Debug)]
struct Api {
    path: &'static str,
    /// Where a stream's events have their text.
    text: &'static str,
    /// How a stream ends that is whole.
    end: &'static str,
}

const CHAT: Api = Api {
    path: "/api/chat",
    text: "/message/content",
    end: r#""done":true"#,
};
const GENERATE: Api = Api {
    path: "/api/generate",
    text: "/response",
    end: r#""done":true"#,
};
const OPENAI_CHAT: Api = Api {
    path: "/v1/chat/completions",
    text: "/choices/0/delta/content",
    end: "data: [DONE]",
};
const COMPLETIONS: Api = Api {
    path: "/v1/completions",
    text: "/choices/0/text",
    end: "data: [DONE]",
};
const RESPONSES: Api = Api {
    path: "/v1/responses",
    text: "/delta",
    end: "response.completed",
};
const MESSAGES: Api = Api {
    path: "/v1/messages",
    text: "/delta/text",
    end: "message_stop",
};

impl Api {
    fn ask(self, model: &str, text: &str) -> String {
        let messages = json!([{"role": "user", "content": text}]);
        let mut body = match self.path {
            "/api/generate" | "/v1/completions" => json!({"prompt": text}),
            "/v1/responses" => json!({"input": text}),
            _ => json!({"messages": messages}),
        };
        if self.path != "/v1/responses" && self.path.starts_with("/v1") {
            body["max_tokens"] = 500.into();
        }
        body["model"] = model.into();
        body["stream"] = true.into();
        body.to_string()
    }

    /// The text of a stream, and whether it ended as one that is whole.
    fn read(self, body: &str) -> (String, bool) {
        let mut text = String::new();
        let mut last = "";
        for line in body.lines().filter(|line| !line.is_empty()) {
            let is_data = line.starts_with('{') || line.starts_with("data: ");
            if !is_data {
                continue;
            }
            last = line;
            let data = line.strip_prefix("data: ").unwrap_or(line);
            let Ok(event) = serde_json::from_str::<Value>(data) else {
                assert_eq!(data, "[DONE]", "{body}");
                continue;
            };
            assert!(event["error"].is_null(), "{self:?}: {body}");
            let is_delta = event["type"]
                .as_str()
                .is_none_or(|kind| kind.ends_with("delta"));
            if is_delta {
                let piece = event.pointer(self.text).and_then(Value::as_str);
                text += piece.unwrap_or_default();
            }
        }
        (text, last.contains(self.end))
    }
}

/// Two providers that say the same; the first is asked first.
struct World {
    /// The first and the second.
    servers: [Simulation; 2],
    gateway: Gateway,
    model: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Fleets,
    Services,
}

impl World {
    async fn start(kind: Kind, set: impl FnOnce(Config) -> Config) -> Self {
        Self::with_seeds(kind, ["0", "0"], set).await
    }

    async fn with_seeds(kind: Kind, seeds: [&str; 2], set: impl FnOnce(Config) -> Config) -> Self {
        let tokens = TOKENS.to_string();
        let start = |seed| {
            let mut arguments = vec!["--seed", seed, "--answer-tokens", &tokens];
            match kind {
                Kind::Fleets => arguments.extend(["--loaded", "llama3.2"]),
                Kind::Services => arguments.extend(["--dialect", "openai", "--models", "gpt-4.1"]),
            }
            Simulation::start(1, &arguments)
        };
        let servers = seeds.map(start);
        let entries = ["a", "b"].into_iter().zip(&servers).map(|(name, server)| {
            let address = server.servers[0];
            match kind {
                Kind::Fleets => json!({"name": name, "backends": [format!("http://{address}")],
                    "interval": "50ms", "max_concurrent_per_backend": 4}),
                Kind::Services => json!({"name": name, "kind": "openai_compatible",
                    "base_url": format!("http://{address}/v1"), "api_key": "sim-key",
                    "models": ["gpt-4.1"]}),
            }
            .to_string()
        });
        let config = Config::of(entries)
            .set("routing.strategy", "failover")
            .set("routing.breaker", "{ enabled: false }");
        let gateway = Gateway::over(&set(config), 2).await;
        Self {
            servers,
            gateway,
            model: match kind {
                Kind::Fleets => "llama3.2",
                Kind::Services => "gpt-4.1",
            },
        }
    }

    /// What the client reads while the first provider has this fault once.
    async fn ask(&self, api: Api, fault: Option<Value>) -> String {
        self.gateway.healthy(2).await;
        if let Some(fault) = fault {
            self.servers[0].fault(0, &fault.to_string()).await;
        }
        let body = api.ask(self.model, "Tell me about herds.");
        let reply = post(self.gateway.address, api.path, &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text().to_owned()
    }

    /// Waits until so many answers that broke off have come to this.
    async fn has(&self, result: &str, times: u64) {
        let (name, labels) = ("remuda_resumed_total", [("result", result)]);
        self.gateway.metric_is(name, &labels, times as f64).await;
    }

    async fn stays_whole_wherever_it_is_cut(self, api: Api) {
        let whole = api.read(&self.ask(api, None).await);
        assert!(whole.1 && whole.0.len() > 100, "{whole:?}");
        for token in 1..TOKENS {
            let fault = json!({"kind": "cut", "tokens": token, "times": 1, "route": "inference"});
            let body = self.ask(api, Some(fault)).await;
            assert_eq!(api.read(&body), whole, "{api:?} at {token}: {body}");
        }
        self.has("resumed", TOKENS - 1).await;
        self.has("failed", 0).await;
        self.gateway.idle().await;
    }
}

macro_rules! whole_wherever_it_is_cut {
    ($($name:ident: $kind:ident $api:ident;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let world = World::start(Kind::$kind, |config| config).await;
                world.stays_whole_wherever_it_is_cut($api).await;
            }
        )*
    };
}

whole_wherever_it_is_cut! {
    a_fleets_chat_is_whole_wherever_it_is_cut: Fleets CHAT;
    a_fleets_generation_is_whole_wherever_it_is_cut: Fleets GENERATE;
    a_fleets_chat_completion_is_whole_wherever_it_is_cut: Fleets OPENAI_CHAT;
    a_fleets_completion_is_whole_wherever_it_is_cut: Fleets COMPLETIONS;
    a_fleets_response_is_whole_wherever_it_is_cut: Fleets RESPONSES;
    a_fleets_message_is_whole_wherever_it_is_cut: Fleets MESSAGES;
    a_services_chat_is_whole_wherever_it_is_cut: Services CHAT;
    a_services_chat_completion_is_whole_wherever_it_is_cut: Services OPENAI_CHAT;
    a_services_response_is_whole_wherever_it_is_cut: Services RESPONSES;
    a_services_message_is_whole_wherever_it_is_cut: Services MESSAGES;
}

#[tokio::test]
async fn an_answer_goes_on_whatever_it_breaks_off_with() {
    for kind in [Kind::Fleets, Kind::Services] {
        let pause = |config: Config| config.set("timeouts.between_chunks", "300ms");
        let world = World::start(kind, pause).await;
        for api in [CHAT, OPENAI_CHAT, MESSAGES] {
            let whole = api.read(&world.ask(api, None).await);
            for mut fault in [
                json!({"kind": "error", "tokens": 9}),
                json!({"kind": "stall", "tokens": 9, "seconds": 600}),
                json!({"kind": "cut", "tokens": 9, "reset": true}),
            ] {
                fault["times"] = 1.into();
                fault["route"] = "inference".into();
                let body = world.ask(api, Some(fault.clone())).await;
                assert_eq!(api.read(&body), whole, "{api:?} {fault}: {body}");
                let says_so = body.contains(": resumed\n\n");
                assert_eq!(says_so, body.contains("data: "), "{body}");
            }
        }
        world.has("resumed", 9).await;
    }
}

/// The server is killed with all of its connections while it answers.
#[tokio::test]
async fn an_answer_outlives_its_server() {
    let world = World::start(Kind::Fleets, |config| config).await;
    let whole = CHAT.read(&world.ask(CHAT, None).await);
    let stall = r#"{"kind":"stall","tokens":20,"seconds":600,"times":1,"route":"inference"}"#;
    world.servers[0].fault(0, stall).await;
    let mut client = Connection::open(world.gateway.address).await;
    let body = CHAT.ask(world.model, "Tell me about herds.");
    client
        .request("POST", CHAT.path, &[], body.as_bytes())
        .await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    let mut text = String::new();
    while text.lines().count() < 20 {
        match client.piece().await {
            Piece::Bytes(bytes) => text += std::str::from_utf8(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    world.servers[0].stop(0).await;
    loop {
        match client.piece().await {
            Piece::Bytes(bytes) => text += std::str::from_utf8(&bytes).unwrap(),
            Piece::End => break,
            Piece::Broken => panic!("{text}"),
        }
    }
    assert_eq!(CHAT.read(&text), whole);
    world.gateway.idle().await;
}

#[tokio::test]
async fn another_answer_ends_as_broken() {
    for (kind, apis) in [
        // A server of a fleet writes on from the words of a chat.
        (Kind::Fleets, [GENERATE, COMPLETIONS]),
        (Kind::Services, [CHAT, OPENAI_CHAT]),
    ] {
        let world = World::with_seeds(kind, ["0", "1"], |config| config).await;
        for (times, api) in (1..).zip(apis) {
            world.gateway.healthy(2).await;
            let cut = r#"{"kind":"cut","tokens":40,"times":1,"route":"inference"}"#;
            world.servers[0].fault(0, cut).await;
            let body = api.ask(world.model, "Tell me about herds.");
            let reply = post(world.gateway.address, api.path, &body).await;
            let text = reply.text();
            let last = text.lines().rfind(|line| !line.is_empty()).unwrap();
            assert!(last.contains("error"), "{text}");
            assert!(!text.contains(api.end), "{text}");
            assert_eq!(text.matches("\"error\"").count(), 1, "{text}");
            world.has("differed", times).await;
            // It is no fault of the second's.
            world.gateway.healthy(2).await;
        }
        world.gateway.idle().await;
    }
}

/// A server of a fleet that would give another answer is made to write on from the words that the client has.
#[tokio::test]
async fn a_fleet_writes_on_from_what_was_said() {
    let [first, second] = ["0", "1"];
    let world = World::with_seeds(Kind::Fleets, [first, second], |config| config).await;
    let other = World::with_seeds(Kind::Fleets, [second, first], |config| config).await;
    for (times, api) in (1..).zip([CHAT, OPENAI_CHAT, RESPONSES, MESSAGES]) {
        let (whole, _) = api.read(&world.ask(api, None).await);
        let (rest, _) = api.read(&other.ask(api, None).await);
        assert_ne!(whole, rest);
        let cut = json!({"kind": "cut", "tokens": 20, "times": 1, "route": "inference"});
        let body = world.ask(api, Some(cut)).await;
        let (text, is_whole) = api.read(&body);
        assert!(is_whole, "{api:?}: {body}");
        // What it has not begun itself, the simulated model answers from the beginning.
        let begun = text.strip_suffix(&rest).unwrap_or_else(|| panic!("{text}"));
        assert!(whole.starts_with(begun) && begun.len() > 40, "{text}");
        world.has("resumed", times).await;
        let stats = &world.servers[1].stats().await[0];
        for route in ["POST /api/chat", "POST /api/generate"] {
            assert_eq!(stats.requests[route], times, "{route}");
        }
        if api.path == CHAT.path {
            let last: Value = serde_json::from_str(body.lines().last().unwrap()).unwrap();
            assert_eq!(last["eval_count"], 20 + TOKENS, "{last}");
        }
    }
}

/// A server that does not tell its prompt is asked for the whole answer.
#[tokio::test]
async fn a_server_that_does_not_tell_its_prompt_tells_the_answer_again() {
    let script = |asked: &super::support::Asked| {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        if body["_debug_render_only"] == true {
            assert_eq!(
                (&body["stream"], &body["options"]["num_predict"]),
                (&json!(false), &json!(1))
            );
            let line = format!(r#"{{"model":"scripted",{ONE},"done":true}}"#);
            return vec![Step::Send(super::support::json(200, &line))];
        }
        let line = format!(r#"{{"model":"scripted",{ONE},"done":false}}"#);
        let last = r#"{"model":"scripted","message":{"role":"assistant","content":" two"},"done":true,"done_reason":"stop"}"#;
        let mut steps = broken(&[&line, last]);
        steps.pop();
        steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        steps
    };
    let first = Upstream::start(|_| broken(&[WORD])).await;
    let second = Upstream::start(script).await;
    let entries = ["a", "b"]
        .into_iter()
        .zip([&first, &second])
        .map(|(name, server)| {
            json!({"name": name, "backends": [format!("http://{}", server.address)]}).to_string()
        });
    let config = Config::of(entries).set("routing.strategy", "failover");
    let gateway = Gateway::over(&config, 2).await;
    let reply = post(gateway.address, CHAT.path, &chat("scripted", "hi", "")).await;
    let expected = ("one two".to_owned(), true);
    assert_eq!(CHAT.read(reply.text()), expected, "{}", reply.text());
    assert_eq!(second.asked().len(), 2);
}

const ONE: &str = r#""message":{"role":"assistant","content":"one"}"#;

/// Begins an answer with these lines and breaks off.
fn broken(lines: &[&str]) -> Vec<Step> {
    let mut steps = vec![Step::Send(STREAM_HEAD.to_vec())];
    let lines = lines
        .iter()
        .map(|line| Step::Send(chunk(format!("{line}\n").as_bytes())));
    steps.extend(lines);
    steps.push(Step::Close);
    steps
}

const WORD: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"one"},"done":false}"#;
const CALL: &str = r#"{"model":"scripted","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":false}"#;

#[tokio::test]
async fn nothing_goes_on_after_a_call_nor_where_that_is_off() {
    for (lines, resume, servers_asked) in [
        // The second is asked for its prompt, does not tell it, and breaks off as well.
        (&[WORD][..], "same_model", 3),
        (&[WORD, CALL], "same_model", 1),
        (&[CALL], "same_model", 1),
        (&[WORD], "off", 1),
    ] {
        let script = move |_: &_| broken(lines);
        let servers = [Upstream::start(script).await, Upstream::start(script).await];
        let config =
            Config::over(&[servers[0].address, servers[1].address]).set("routing.resume", resume);
        let gateway = Gateway::over(&config, 2).await;
        let reply = post(gateway.address, "/api/chat", &chat("scripted", "hi", "")).await;
        let told = reply.lines();
        assert_eq!(told.len(), lines.len() + 1, "{told:?}");
        assert!(told[lines.len()]["error"].is_string(), "{told:?}");
        let asked: usize = servers.iter().map(|server| server.asked().len()).sum();
        assert_eq!(asked, servers_asked, "{lines:?} {resume}");
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_meanwhile_leaves_nothing_behind() {
    let first = |asked: &super::support::Asked| {
        if asked.number == 0 {
            broken(&[WORD])
        } else {
            vec![Step::Hold]
        }
    };
    let hold = |_: &super::support::Asked| vec![Step::Hold];
    let servers = [Upstream::start(first).await, Upstream::start(hold).await];
    let entries = ["a", "b"].into_iter().zip(&servers).map(|(name, server)| {
        json!({"name": name, "backends": [format!("http://{}", server.address)]}).to_string()
    });
    let config = Config::of(entries).set("routing.strategy", "failover");
    let gateway = Gateway::over(&config, 2).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("scripted", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    assert_eq!(client.head().await.status, 200);
    assert!(matches!(client.piece().await, Piece::Bytes(_)));
    servers[1].asked_for(0).await;
    drop(client);
    eventually("the second request is given up", || async {
        let left = servers[1].left().len();
        if left == 1 { Ok(()) } else { Err(left) }
    })
    .await;
    gateway.idle().await;
    let gone = gateway.attempts("client_gone").await;
    assert_eq!(gone, 1.0);
}

/// Of a whole answer nothing has been sent when it breaks off.
#[tokio::test]
async fn a_whole_answer_that_breaks_off_is_asked_for_again() {
    for kind in [Kind::Fleets, Kind::Services] {
        let world = World::start(kind, |config| config).await;
        for api in [CHAT, OPENAI_CHAT, RESPONSES, MESSAGES] {
            let body = api
                .ask(world.model, "Tell me about herds.")
                .replace(r#""stream":true"#, r#""stream":false"#);
            let text = async || {
                let reply = post(world.gateway.address, api.path, &body).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
                let value = reply.json();
                let paths = [
                    "/message/content",
                    "/choices/0/message/content",
                    "/output/0/content/0/text",
                    "/content/0/text",
                ];
                let found = paths.iter().find_map(|path| value.pointer(path));
                found.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let whole = text().await;
            assert!(whole.len() > 100, "{whole}");
            for bytes in [1, 300, 400] {
                world.gateway.healthy(2).await;
                let cut = json!({"kind": "cut", "bytes": bytes, "times": 1, "route": "inference"});
                world.servers[0].fault(0, &cut.to_string()).await;
                assert_eq!(text().await, whole, "{api:?} after {bytes} bytes");
            }
        }
    }
}

/// What was paid for is charged: the tokens of the answer that broke off, and of the one that went on.
#[tokio::test]
async fn both_tellings_are_charged_and_the_log_tells_of_them() {
    let world = World::start(Kind::Services, |config| config).await;
    let fault = json!({"kind": "cut", "tokens": 30, "times": 1, "route": "inference"});
    world.ask(OPENAI_CHAT, Some(fault)).await;
    world
        .gateway
        .process
        .wait_for("a line of the access log", |line| {
            line.contains(" resumed=1 ").then_some(())
        });
    let output = async |provider: &str| {
        let labels = [
            ("remuda_provider", provider),
            ("gen_ai_token_type", "output"),
        ];
        world.gateway.metric("remuda_tokens_total", &labels).await
    };
    eventually("both are charged", || async {
        let (first, second) = (output("a").await, output("b").await);
        let both = (25.0..60.0).contains(&first) && second >= 60.0;
        if both { Ok(()) } else { Err((first, second)) }
    })
    .await;
}
