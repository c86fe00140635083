//! Failures between formats: whatever a simulated provider does, every client is told in its own format, and what
//! can be told by another provider is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

/// What simulated providers expect.
pub(crate) const KEY: &str = "sim-key";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A kind of provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) model: &'static str,
    /// The status of its overload, and what that comes to.
    overloaded: (u16, u16),
    /// Whether `Retry-After` is all that it says of when to come back.
    says_when: bool,
}

pub(crate) const KINDS: [Kind; 4] = [
    Kind {
        name: "anthropic",
        model: "claude-opus-5",
        overloaded: (529, 503),
        says_when: true,
    },
    Kind {
        name: "openai",
        model: "gpt-4.1",
        overloaded: (503, 503),
        // Its other header fields say it in milliseconds.
        says_when: false,
    },
    Kind {
        name: "google",
        model: "gemini-3.5-flash",
        overloaded: (503, 503),
        says_when: false,
    },
    Kind {
        name: "bedrock",
        model: "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        overloaded: (503, 503),
        says_when: false,
    },
];

impl Kind {
    pub(crate) fn simulation(self, arguments: &[&str]) -> Simulation {
        let mut all = vec!["--dialect", self.name, "--models", self.model];
        all.extend(arguments);
        Simulation::start(1, &all)
    }

    /// An entry of `providers`.
    pub(crate) fn entry(
        self,
        name: &str,
        simulation: &Simulation,
        key: &str,
        secret: &str,
    ) -> String {
        let url = format!("http://{}", simulation.servers[0]);
        let mut entry = json!({"name": name, "kind": self.name, "models": [self.model]});
        entry["base_url"] = match self.name {
            "openai" => format!("{url}/v1").into(),
            _ => url.clone().into(),
        };
        if self.name == "bedrock" {
            entry["region"] = "us-east-1".into();
            entry["control_url"] = url.into();
            entry["access_key"] = "AKIDEXAMPLE".into();
            entry["secret_key"] = secret.into();
        } else {
            entry["api_key"] = key.into();
        }
        entry.to_string()
    }
}

/// A simulated provider of each kind, under the name of its kind.
pub(crate) struct World {
    pub(crate) providers: Vec<(Kind, Simulation)>,
    pub(crate) gateway: Gateway,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(&[], |config| config).await
    }

    pub(crate) async fn with(arguments: &[&str], set: impl FnOnce(Config) -> Config) -> Self {
        let start = |kind: Kind| (kind, kind.simulation(arguments));
        let providers: Vec<_> = KINDS.into_iter().map(start).collect();
        let entries: Vec<_> = providers
            .iter()
            .map(|(kind, simulation)| kind.entry(kind.name, simulation, KEY, SECRET))
            .collect();
        let gateway = Gateway::over(&set(Config::of(entries)), KINDS.len()).await;
        Self { providers, gateway }
    }

    /// Every client's format with every provider.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Format, Kind, &Simulation)> {
        let each = |format| {
            let providers = self.providers.iter();
            providers.map(move |(kind, simulation)| (format, *kind, simulation))
        };
        Format::ALL.into_iter().flat_map(each)
    }

    pub(crate) async fn ask(&self, format: Format, model: &str, stream: bool) -> Reply {
        self.ask_with(format, model, "Say something.", stream, json!({}))
            .await
    }

    pub(crate) async fn ask_with(
        &self,
        format: Format,
        model: &str,
        text: &str,
        stream: bool,
        more: Value,
    ) -> Reply {
        let body = format.ask(model, text, stream, more);
        post(self.gateway.address, format.path(), &body).await
    }

    /// What every client gets of every provider while it answers with the status of `fault`.
    async fn refused(&self, fault: impl Fn(Kind) -> Value, check: impl Fn(Format, Kind, &Reply)) {
        for (kind, simulation) in &self.providers {
            simulation.fault(0, &fault(*kind).to_string()).await;
        }
        for (format, kind, _) in self.pairs() {
            for stream in [false, true] {
                let reply = self.ask(format, kind.model, stream).await;
                eprintln!(
                    "{format:?} to {}: {} {}",
                    kind.name,
                    reply.status,
                    reply.text()
                );
                assert!(!format.message(&reply).is_empty());
                check(format, kind, &reply);
            }
        }
        self.gateway.idle().await;
    }
}

fn status(status: u16) -> Value {
    json!({"kind": "status", "status": status, "route": "inference"})
}

#[tokio::test]
async fn too_many_requests_are_told_with_the_time_to_wait() {
    let world = World::start().await;
    let fault = |_| {
        let mut fault = status(429);
        fault["retry_after"] = 7.into();
        fault
    };
    // The one kind that says when says it once.
    let first = std::cell::Cell::new(true);
    let check = |format: Format, kind: Kind, reply: &Reply| {
        assert_eq!(reply.status, 429);
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        match kind.says_when {
            true if first.replace(false) => assert_eq!(seconds, 7),
            // Until then it is not asked again.
            true => assert!((1..=7).contains(&seconds)),
            false => assert!((1..=120).contains(&seconds)),
        }
        assert_eq!(reply.header("x-should-retry"), Some("false"));
        let body = reply.json();
        match format {
            Format::Anthropic => assert_eq!(body["error"]["type"], "rate_limit_error"),
            Format::Chat | Format::Responses => {
                assert_eq!(body["error"]["code"], "rate_limit_exceeded");
            }
            Format::Ollama => {}
        }
    };
    world.refused(fault, check).await;
}

#[tokio::test]
async fn overload_is_told_as_such() {
    // Each answer is to be the provider's, not that of a breaker which has seen enough of them.
    let world = World::with(&[], |config| {
        config.set("routing.breaker", "{ enabled: false }")
    })
    .await;
    let check = |format: Format, kind: Kind, reply: &Reply| {
        // Anthropic has a status of its own for it.
        let expected = match (format, kind.overloaded.1) {
            (Format::Anthropic, 503) => 529,
            (_, status) => status,
        };
        assert_eq!(reply.status, expected);
        assert_eq!(reply.header("x-should-retry"), Some("false"));
        if kind.overloaded.1 == 503 {
            assert!(reply.header("retry-after").is_some());
        }
    };
    world.refused(|kind| status(kind.overloaded.0), check).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_the_clients_to_know() {
    let world = World::start().await;
    let fault = |_| {
        let mut fault = status(400);
        fault["message"] = "the answer to that is forty-two".into();
        fault
    };
    let check = |format: Format, _: Kind, reply: &Reply| {
        assert_eq!(reply.status, 400);
        assert!(format.message(reply).contains("forty-two"));
        assert!(reply.header("retry-after").is_none());
    };
    world.refused(fault, check).await;
}

#[tokio::test]
async fn credentials_of_the_gateways_are_none_of_a_clients_business() {
    const WRONG: &str = "wrong-key-4711";
    let start = |kind: Kind| (kind, kind.simulation(&[]));
    let providers: Vec<_> = KINDS.into_iter().map(start).collect();
    let entries = providers
        .iter()
        .map(|(kind, simulation)| kind.entry(kind.name, simulation, WRONG, WRONG));
    let config = Config::of(entries)
        .set("monitoring.log_level", "debug")
        .set("routing.breaker", "{ enabled: false }");
    let gateway = Gateway::over(&config, KINDS.len()).await;
    let world = World { providers, gateway };
    for (format, kind, simulation) in world.pairs() {
        for stream in [false, true] {
            let reply = world.ask(format, kind.model, stream).await;
            assert_eq!(
                reply.status,
                502,
                "{format:?} to {}: {}",
                kind.name,
                reply.text()
            );
            let message = format.message(&reply);
            assert!(message.contains(kind.name), "{message}");
            assert!(message.contains("operator"), "{message}");
            for secret in [WRONG, "4711", "AKID", "x-api-key", "API key", "signature"] {
                assert!(!message.contains(secret), "{message}");
            }
        }
        let stats = simulation.stats().await;
        assert_eq!(stats[0].tokens, 0, "{}", kind.name);
    }
    let told = world.gateway.process.output().join("\n");
    assert!(!told.contains(WRONG), "{told}");
}

/// Every client's stream breaks after some words; its own error ends it, and nothing says that all is well.
async fn streams_break(fault: &Value) {
    let world = World::with(&["--answer-tokens", "600"], |config| config).await;
    for (_, simulation) in &world.providers {
        simulation.fault(0, &fault.to_string()).await;
    }
    let mut expected = 0.0;
    for (format, kind, _) in world.pairs() {
        let what = format!("{format:?} to {}", kind.name);
        let reply = world.ask(format, kind.model, true).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        let said = format.read(&reply.body);
        assert!(!said.words.is_empty(), "{what}: {}", reply.text());
        assert_eq!(said.errors.len(), 1, "{what}: {}", reply.text());
        assert!(!said.success, "{what}: {}", reply.text());
        expected += 1.0;
        world
            .gateway
            .metric_is("remuda_broken_streams_total", &[], expected)
            .await;
    }
    world.gateway.idle().await;
}

#[tokio::test]
async fn an_error_within_a_stream_ends_it_in_the_clients_format() {
    let fault = json!({"kind": "error", "tokens": 5, "route": "inference"});
    streams_break(&fault).await;
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_and_is_counted() {
    let by_tokens = json!({"kind": "cut", "tokens": 5, "route": "inference"});
    streams_break(&by_tokens).await;
    let by_bytes = json!({"kind": "cut", "bytes": 5000, "reset": true, "route": "inference"});
    streams_break(&by_bytes).await;
}

#[tokio::test]
async fn a_stream_without_its_end_is_not_taken_for_a_whole_one() {
    let fault = json!({"kind": "end", "tokens": 5, "route": "inference"});
    streams_break(&fault).await;
}

#[tokio::test]
async fn an_error_before_the_first_word_is_another_providers_turn() {
    for kind in KINDS {
        let simulations = [kind.simulation(&[]), kind.simulation(&[])];
        let entries = ["first", "second"].iter().zip(&simulations);
        let entries = entries.map(|(name, one)| kind.entry(name, one, KEY, SECRET));
        // The first is tried first each time, whatever the two have been measured at.
        let config = Config::of(entries).set("routing.strategy", "failover");
        let gateway = Gateway::over(&config, 2).await;
        let mut moved = 0;
        for format in Format::ALL {
            for failing in &simulations {
                failing
                    .fault(0, r#"{"kind":"error","tokens":0,"route":"inference"}"#)
                    .await;
                // One that has just failed may be left out until a probe has seen it.
                gateway.healthy(2).await;
                let body = format.ask(kind.model, "Say something.", true, json!({}));
                let reply = post(gateway.address, format.path(), &body).await;
                let what = format!("{format:?} to {}: {}", kind.name, reply.text());
                assert_eq!(reply.status, 200, "{what}");
                let said = format.read(&reply.body);
                assert!(said.success, "{what}");
                assert!(said.errors.is_empty(), "{what}");
                assert!(!said.words.is_empty(), "{what}");
                // The client gets one opening, and nothing of the attempt that failed (zirkelc/ai-retry#51).
                let opening = match format {
                    Format::Ollama => "\"done\":true",
                    Format::Chat => "\"role\":\"assistant\"",
                    Format::Responses => "event: response.created",
                    Format::Anthropic => "event: message_start",
                };
                assert_eq!(reply.text().matches(opening).count(), 1, "{what}");
                let attempts = reply.header("x-remuda-attempts").unwrap();
                moved += u32::from(attempts == "2");
                failing.no_faults().await;
            }
        }
        assert!(moved >= 4, "{}: {moved} of 8 had to move", kind.name);
        let failed = [
            &simulations[0].stats().await[0],
            &simulations[1].stats().await[0],
        ]
        .map(|stats| stats.failed);
        assert_eq!(failed[0] + failed[1], u64::from(moved));
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_providers_work() {
    // Ten minutes of words.
    let slow = ["--answer-tokens", "3000", "--decode-speed", "5"];
    let world = World::with(&slow, |config| config).await;
    for (format, kind, simulation) in world.pairs() {
        let before = simulation.stats().await.remove(0);
        let body = format.ask(kind.model, "Say something.", true, json!({}));
        let mut client = Connection::open(world.gateway.address).await;
        client
            .request("POST", format.path(), &[], body.as_bytes())
            .await;
        assert_eq!(client.head().await.status, 200);
        assert!(matches!(client.piece().await, Piece::Bytes(_)));
        drop(client);
        let left = Instant::now();
        eventually(&format!("{format:?}: {} stops", kind.name), || async {
            let now = simulation.stats().await.remove(0);
            if now.active == 0 && now.aborted == before.aborted + 1 {
                Ok(())
            } else {
                Err(now)
            }
        })
        .await;
        // A busy machine is given more than the second that it should take.
        assert!(left.elapsed() < Duration::from_secs(10), "{}", kind.name);
    }
    world.gateway.idle().await;
}

/// What the providers cannot express: format, model, fields, and the name of what is left out.
fn inexpressible() -> [(Format, Kind, Value, &'static str); 7] {
    let [anthropic, openai, google, _] = KINDS;
    [
        (
            Format::Ollama,
            anthropic,
            json!({"options": {"min_p": 0.1}}),
            "min_p",
        ),
        (
            Format::Ollama,
            google,
            json!({"options": {"min_p": 0.1}}),
            "min_p",
        ),
        (Format::Chat, anthropic, json!({"seed": 1}), "seed"),
        (Format::Chat, anthropic, json!({"n": 3}), "n"),
        (Format::Chat, google, json!({"n": 2}), "n"),
        (
            Format::Responses,
            anthropic,
            json!({"text": {"verbosity": "low"}}),
            "text.verbosity",
        ),
        (Format::Anthropic, openai, json!({"top_k": 5}), "top_k"),
    ]
}

#[tokio::test]
async fn what_cannot_be_said_is_left_out_and_told() {
    let world = World::start().await;
    for (format, kind, fields, name) in inexpressible() {
        let reply = world
            .ask_with(format, kind.model, "Say something.", false, fields)
            .await;
        assert_eq!(reply.status, 200, "{format:?}: {}", reply.text());
        assert_eq!(reply.header("x-remuda-dropped"), Some(name), "{format:?}");
        let plain = world.ask(format, kind.model, false).await;
        assert_eq!(plain.header("x-remuda-dropped"), None, "{format:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_where_fidelity_is_strict() {
    let world = World::with(&[], |config| config.set("routing.fidelity", "strict")).await;
    for (format, kind, fields, name) in inexpressible() {
        let reply = world
            .ask_with(format, kind.model, "Say something.", false, fields)
            .await;
        assert_eq!(reply.status, 400, "{format:?}: {}", reply.text());
        let message = format.message(&reply);
        assert!(message.contains(name), "{message}");
        if matches!(format, Format::Chat | Format::Responses) {
            assert_eq!(reply.json()["error"]["param"], name);
        }
        let plain = world.ask(format, kind.model, false).await;
        assert_eq!(plain.status, 200, "{format:?}: {}", plain.text());
    }
}

#[tokio::test]
async fn a_model_goes_by_several_names() {
    let alias = r#"{ swift: "anthropic/claude-opus-5" }"#;
    let world = World::with(&[], |config| config.set("routing.aliases", alias)).await;
    let (kind, simulation) = &world.providers[0];
    for format in Format::ALL {
        for name in [
            "swift",
            "claude-opus-5",
            "anthropic/claude-opus-5",
            "anthropic-claude-opus-5",
        ] {
            let reply = world.ask(format, name, false).await;
            assert_eq!(reply.status, 200, "{format:?} {name}: {}", reply.text());
            assert!(!format.text(&reply).is_empty(), "{}", reply.text());
            let last = simulation.stats().await.remove(0).last_request.unwrap();
            let sent: Value = serde_json::from_str(&last.body.unwrap()).unwrap();
            assert_eq!(sent["model"], kind.model, "{format:?} {name}");
        }
    }
}

#[tokio::test]
async fn a_model_that_nobody_has_is_not_found() {
    let world = World::start().await;
    for format in Format::ALL {
        for stream in [false, true] {
            let reply = world.ask(format, "no-such-model", stream).await;
            assert_eq!(reply.status, 404, "{format:?}: {}", reply.text());
            let message = format.message(&reply);
            assert!(message.contains("no-such-model"), "{message}");
        }
    }
    // Where OpenAI's and Anthropic's clients share a path, each is told in its own format.
    let path = "/v1/models/no-such-model";
    for (fields, format) in [
        (&[][..], Format::Chat),
        (&[("anthropic-version", "2023-06-01")], Format::Anthropic),
    ] {
        let reply = request(world.gateway.address, "GET", path, fields, b"").await;
        assert_eq!(reply.status, 404, "{format:?}: {}", reply.text());
        format.message(&reply);
    }
}

#[tokio::test]
async fn stop_strings_that_a_provider_does_not_take_still_stop() {
    let openai = Kind {
        model: "gpt-5.5",
        ..KINDS[1]
    };
    let simulation = openai.simulation(&[]);
    let entry = openai.entry("openai", &simulation, KEY, SECRET);
    let gateway = Gateway::over(&Config::of([entry]), 1).await;
    let said = "one two three HALT four five";
    for (format, more, reason) in [
        (
            Format::Ollama,
            json!({"options": {"stop": ["never", "HALT"]}}),
            "stop",
        ),
        (
            Format::Anthropic,
            json!({"stop_sequences": ["never", "HALT"]}),
            "stop_sequence",
        ),
    ] {
        let body = format.ask(openai.model, said, false, more.clone());
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 200, "{format:?}: {}", reply.text());
        let text = format.text(&reply);
        assert!(text.contains("three"), "{format:?}: {text}");
        assert!(!text.contains("HALT"), "{format:?}: {text}");
        assert!(!text.contains("four"), "{format:?}: {text}");
        assert_eq!(format.reason(&reply), reason, "{}", reply.text());
        if format == Format::Anthropic {
            assert_eq!(reply.json()["stop_sequence"], "HALT");
        }
        let body = format.ask(openai.model, said, true, more);
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.ending, Ending::Whole, "{format:?}");
        let told = format.read(&reply.body);
        assert!(told.success, "{format:?}: {}", reply.text());
        assert!(told.errors.is_empty(), "{format:?}: {}", reply.text());
        assert!(told.words.contains("three"), "{format:?}: {}", told.words);
        assert!(!told.words.contains("four"), "{format:?}: {}", told.words);
        assert!(reply.text().contains(&format!("\"{reason}\"")));
    }
    gateway.idle().await;
    // An answer that the gateway has ended itself is not broken.
    let broken = gateway.metric("remuda_broken_streams_total", &[]).await;
    assert_eq!(broken, 0.0);
}
