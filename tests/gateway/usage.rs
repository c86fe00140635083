//! What answers cost: counted right whatever formats meet, kept over restarts and crashes, and shown.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::*;

const KEY: &str = "sim-key";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Prices of the tests' own, so that no provider's new list breaks them: US dollars per million tokens.
const PRICES: &str = "
models:
  - { match: claude-opus-5, like: claude-opus-5, price: { rates: { input: 5, output: 25, cached: 0.5, cache_write: 6.25 } } }
  - { match: gpt-4.1, like: gpt-4.1, price: { rates: { input: 2, output: 8, cached: 0.5 } } }
";

/// A kind of provider, and a model of it.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    model: &'static str,
}

const OLLAMA: Kind = Kind {
    name: "ollama",
    model: "llama3.2",
};
const ANTHROPIC: Kind = Kind {
    name: "anthropic",
    model: "claude-opus-5",
};
const OPENAI: Kind = Kind {
    name: "openai",
    model: "gpt-4.1",
};
const GOOGLE: Kind = Kind {
    name: "google",
    model: "gemini-3.5-flash",
};
const BEDROCK: Kind = Kind {
    name: "bedrock",
    model: "us.anthropic.claude-haiku-4-5-20251001-v1:0",
};
const OPENROUTER: Kind = Kind {
    name: "openrouter",
    model: "openai/gpt-5.5",
};
const PERPLEXITY: Kind = Kind {
    name: "perplexity",
    model: "perplexity/sonar",
};

impl Kind {
    fn simulation(self, arguments: &[&str]) -> Simulation {
        let mut all = vec!["--models", self.model];
        if self.name != "ollama" {
            all.extend(["--dialect", self.name]);
        }
        all.extend(arguments);
        Simulation::start(1, &all)
    }

    /// An entry of `providers` under `name`.
    fn entry(self, name: &str, simulation: &Simulation) -> String {
        let url = format!("http://{}", simulation.servers[0]);
        let mut entry = json!({"name": name, "kind": self.name});
        match self.name {
            "ollama" => {
                entry["backends"] = json!([url]);
                entry["interval"] = "200ms".into();
            }
            "bedrock" => {
                entry["base_url"] = url.clone().into();
                entry["region"] = "us-east-1".into();
                entry["control_url"] = url.into();
                entry["access_key"] = "AKIDEXAMPLE".into();
                entry["secret_key"] = SECRET.into();
            }
            name => {
                let path = match name {
                    "openai" | "perplexity" => "/v1",
                    "openrouter" => "/api/v1",
                    _ => "",
                };
                entry["base_url"] = format!("{url}{path}").into();
                entry["api_key"] = KEY.into();
            }
        }
        if self.name != "ollama" {
            entry["models"] = json!([self.model]);
        }
        entry.to_string()
    }
}

/// A gateway over one provider of each of `kinds`, with a folder for its files.
struct World {
    folder: tempfile::TempDir,
    providers: Vec<(Kind, Simulation)>,
    config: Config,
    gateway: Gateway,
}

impl World {
    async fn start(kinds: &[Kind], arguments: &[&str], set: impl FnOnce(Config) -> Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prices = folder.path().join("prices.yaml");
        std::fs::write(&prices, PRICES).unwrap();
        let start = |kind: &Kind| (*kind, kind.simulation(arguments));
        let providers: Vec<_> = kinds.iter().map(start).collect();
        let entries = providers
            .iter()
            .map(|(kind, simulation)| kind.entry(kind.name, simulation));
        let config = Config::of(entries)
            .set("routing.models_file", prices.display())
            .set("usage.path", folder.path().join("usage.db").display());
        let config = set(config);
        let gateway = Gateway::over(&config, kinds.len()).await;
        Self {
            folder,
            providers,
            config,
            gateway,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("usage.db")
    }

    async fn ask(&self, format: Format, model: &str, stream: bool, more: Value) -> Reply {
        let body = format.ask(model, "Say something of use.", stream, more);
        let reply = post(self.gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 200, "{format:?} {model}: {}", reply.text());
        reply
    }

    /// The sums of one name, once there are `requests` of it.
    async fn sums(&self, table: &str, name: &str, requests: u64) -> Value {
        sums(&self.gateway, table, name, requests).await
    }
}

/// The row of `/api/usage/{table}` that is called `name`, once it has so many requests: a request is charged right
/// after its last byte has left.
async fn sums(gateway: &Gateway, table: &str, name: &str, requests: u64) -> Value {
    let what = format!("{requests} requests of {table} {name:?}");
    eventually(&what, || async {
        let page = get(gateway.admin, &format!("/api/usage/{table}")).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let column = table.trim_end_matches('s');
        let mut rows = page[table].as_array().unwrap().iter();
        match rows.find(|row| row[column] == name && row["requests"] == requests) {
            Some(row) => Ok(row.clone()),
            None => Err(page),
        }
    })
    .await
}

/// `remuda usage` with these arguments.
fn shown(path: &Path, arguments: &[&str]) -> String {
    let output = Process::remuda()
        .args(["usage", "--path"])
        .arg(path)
        .args(arguments)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn number(row: &Value, name: &str) -> u64 {
    row[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name}: {row}"))
}

/// What an answer that is no stream says of its usage: all of the prompt, and the output.
fn told(format: Format, reply: &Reply) -> (u64, u64) {
    let body = reply.json();
    let usage = &body["usage"];
    let of = |object: &Value, name: &str| object[name].as_u64().unwrap_or(0);
    match format {
        Format::Ollama => (of(&body, "prompt_eval_count"), of(&body, "eval_count")),
        Format::Chat => (of(usage, "prompt_tokens"), of(usage, "completion_tokens")),
        Format::Responses => (of(usage, "input_tokens"), of(usage, "output_tokens")),
        Format::Anthropic => {
            let cached =
                of(usage, "cache_read_input_tokens") + of(usage, "cache_creation_input_tokens");
            (
                of(usage, "input_tokens") + cached,
                of(usage, "output_tokens"),
            )
        }
    }
}

#[tokio::test]
async fn every_format_s_answers_from_every_provider_are_counted() {
    let kinds = [
        OLLAMA, ANTHROPIC, OPENAI, GOOGLE, BEDROCK, OPENROUTER, PERPLEXITY,
    ];
    let world = World::start(&kinds, &[], |config| config).await;
    for (kind, simulation) in &world.providers {
        let model = format!("{}/{}", kind.name, kind.model);
        let (mut requests, mut input, mut output) = (0, 0, 0);
        for format in Format::ALL {
            let what = format!("{format:?} to {}", kind.name);
            let whole = world.ask(format, &model, false, json!({})).await;
            let (prompt, answer) = told(format, &whole);
            assert!(prompt > 0 && answer > 0, "{what}: {}", whole.text());
            requests += 1;
            (input, output) = (input + prompt, output + answer);
            let row = world.sums("providers", kind.name, requests).await;
            assert_eq!(number(&row, "input_tokens"), input, "{what}");
            assert_eq!(number(&row, "output_tokens"), output, "{what}");

            // A stream's client need not ask for the usage. What is made of the same prompt may be longer.
            let made = simulation.stats().await[0].tokens;
            world.ask(format, &model, true, json!({})).await;
            requests += 1;
            let made = simulation.stats().await[0].tokens - made;
            let row = world.sums("providers", kind.name, requests).await;
            input += prompt;
            output += made;
            assert_eq!(number(&row, "input_tokens"), input, "{what}, streamed");
            assert_eq!(number(&row, "output_tokens"), output, "{what}, streamed");
        }
        let row = world.sums("providers", kind.name, requests).await;
        assert_eq!(
            (number(&row, "failed"), number(&row, "estimated")),
            (0, 0),
            "{row}"
        );
        // All of it, as the provider itself has counted.
        assert_eq!(simulation.stats().await[0].tokens, output, "{}", kind.name);
    }
    let free = world.sums("providers", "ollama", 8).await;
    assert_eq!(
        (number(&free, "cost_micro_usd"), number(&free, "unpriced")),
        (0, 0)
    );
}

#[tokio::test]
async fn embeddings_are_counted() {
    let models = "llama3.2,nomic-embed-text";
    let ollama = Simulation::start(1, &["--models", models]);
    let openai = Simulation::start(
        1,
        &["--dialect", "openai", "--models", "text-embedding-3-small"],
    );
    let entries = [
        OLLAMA.entry("ollama", &ollama),
        Kind {
            model: "text-embedding-3-small",
            ..OPENAI
        }
        .entry("openai", &openai),
    ];
    let gateway = Gateway::over(&Config::of(entries), 2).await;
    for (provider, model) in [
        ("ollama", "nomic-embed-text"),
        ("openai", "text-embedding-3-small"),
    ] {
        let body = json!({"model": model, "input": "the quick brown fox"}).to_string();
        let openai = post(gateway.address, "/v1/embeddings", &body).await;
        let tokens = number(&openai.json()["usage"], "prompt_tokens");
        assert!(tokens > 0, "{}", openai.text());
        let row = sums(&gateway, "providers", provider, 1).await;
        assert_eq!(number(&row, "input_tokens"), tokens, "{row}");
        let ollama = post(gateway.address, "/api/embed", &body).await;
        assert_eq!(number(&ollama.json(), "prompt_eval_count"), tokens);
        let row = sums(&gateway, "providers", provider, 2).await;
        assert_eq!(number(&row, "input_tokens"), 2 * tokens, "{row}");
        assert_eq!(
            (number(&row, "output_tokens"), number(&row, "unpriced")),
            (0, 0),
            "{row}"
        );
    }
}

#[tokio::test]
async fn texts_that_are_continued_are_counted_without_a_word_of_it_to_the_client() {
    let kind = Kind {
        model: "gpt-3.5-turbo-instruct",
        ..OPENAI
    };
    let world = World::start(&[kind], &[], |config| config).await;
    let body = json!({"model": kind.model, "prompt": "Once upon a time", "stream": true});
    let reply = post(world.gateway.address, "/v1/completions", &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert!(!reply.text().contains("prompt_tokens"), "{}", reply.text());
    let row = world.sums("models", kind.model, 1).await;
    let made = world.providers[0].1.stats().await[0].tokens;
    assert_eq!(
        (number(&row, "output_tokens"), number(&row, "estimated")),
        (made, 0),
        "{row}"
    );
    assert!(number(&row, "input_tokens") > 0, "{row}");
}

#[tokio::test]
async fn servers_of_one_s_own_cost_what_the_operator_says() {
    let folder = tempfile::tempdir().unwrap();
    let prices = folder.path().join("own.yaml");
    let own = "models: [ { match: \"llama3.2*\", kinds: [ollama], price: { rates: { input: 1, output: 3 } } } ]";
    std::fs::write(&prices, own).unwrap();
    let world = World::start(&[OLLAMA], &[], |config| {
        config.set("routing.models_file", prices.display())
    })
    .await;
    // However a client spells the name, it is one model.
    world
        .ask(Format::Ollama, "llama3.2", false, json!({}))
        .await;
    world
        .ask(Format::Ollama, "LLAMA3.2:latest", false, json!({}))
        .await;
    let row = world.sums("models", "llama3.2:latest", 2).await;
    let cost = number(&row, "input_tokens") + 3 * number(&row, "output_tokens");
    assert_eq!(number(&row, "cost_micro_usd"), cost, "{row}");
}

#[tokio::test]
async fn caches_and_reasoning_are_told_apart_and_have_their_prices() {
    let world = World::start(&[ANTHROPIC], &[], |config| config).await;
    let text = "You are of few words. ".repeat(300);
    let body = |stream: bool| {
        json!({"model": ANTHROPIC.model, "max_tokens": 4000, "stream": stream,
            "system": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "Say something."}]})
        .to_string()
    };
    let mut expected = 0;
    let [mut input, mut read, mut written, mut output] = [0; 4];
    for turn in 0..2 {
        let reply = post(world.gateway.address, "/v1/messages", &body(false)).await;
        let usage = reply.json()["usage"].take();
        let fresh = number(&usage, "input_tokens");
        let cached = number(&usage, "cache_read_input_tokens");
        let stored = number(&usage, "cache_creation_input_tokens");
        let answer = number(&usage, "output_tokens");
        assert!(if turn == 0 { stored > 0 } else { cached > 0 }, "{usage}");
        // In billionths of a dollar.
        expected += fresh * 5_000 + cached * 500 + stored * 6_250 + answer * 25_000;
        input += fresh + cached + stored;
        (read, written, output) = (read + cached, written + stored, output + answer);
    }
    // The tap at a stream finds the same in its first and last events.
    let made = world.providers[0].1.stats().await[0].tokens;
    let before = (input, read, written);
    let reply = post(world.gateway.address, "/v1/messages", &body(true)).await;
    assert_eq!(reply.status, 200);
    let made = world.providers[0].1.stats().await[0].tokens - made;
    let row = world.sums("models", ANTHROPIC.model, 3).await;
    let streamed_read = number(&row, "cached_tokens") - before.1;
    let streamed_input = number(&row, "input_tokens") - before.0;
    assert!(streamed_read > 0 && streamed_input > streamed_read, "{row}");
    assert_eq!(number(&row, "cache_write_tokens"), written, "{row}");
    assert_eq!(number(&row, "output_tokens"), output + made, "{row}");
    expected += (streamed_input - streamed_read) * 5_000 + streamed_read * 500 + made * 25_000;
    assert_eq!(
        number(&row, "cost_micro_usd"),
        (expected + 500) / 1000,
        "{row}"
    );
    let metric = world
        .gateway
        .metric("remuda_cost_usd_total", &[("remuda_provider", "anthropic")])
        .await;
    assert!((metric - expected as f64 / 1e9).abs() < 1e-12, "{metric}");
}

#[tokio::test]
async fn reasoning_is_part_of_the_output() {
    let kind = Kind {
        model: "gpt-5.5",
        ..OPENAI
    };
    let world = World::start(&[kind], &[], |config| config).await;
    let mut reasoning = 0;
    for (requests, format) in [(1, Format::Chat), (2, Format::Responses)] {
        let more = match format {
            Format::Chat => json!({"reasoning_effort": "high"}),
            _ => json!({"reasoning": {"effort": "high"}}),
        };
        let reply = world.ask(format, kind.model, false, more).await;
        let usage = reply.json()["usage"].take();
        let details = match format {
            Format::Chat => &usage["completion_tokens_details"],
            _ => &usage["output_tokens_details"],
        };
        reasoning += number(details, "reasoning_tokens");
        let row = world.sums("models", kind.model, requests).await;
        assert_eq!(number(&row, "reasoning_tokens"), reasoning, "{usage}");
        assert!(number(&row, "output_tokens") > reasoning, "{row}");
    }
    assert!(reasoning > 0);
}

#[tokio::test]
async fn a_stream_that_breaks_has_cost_what_came() {
    let world = World::start(
        &[ANTHROPIC, OPENAI],
        &["--answer-tokens", "600"],
        |config| config,
    )
    .await;
    for (kind, simulation) in &world.providers {
        simulation
            .fault(0, r#"{"kind":"cut","tokens":200,"route":"inference"}"#)
            .await;
        for (requests, format) in (1..).zip(Format::ALL) {
            let what = format!("{format:?} to {}", kind.name);
            let before = match requests {
                1 => 0,
                _ => number(
                    &world.sums("models", kind.model, requests - 1).await,
                    "output_tokens",
                ),
            };
            let reply = world.ask(format, kind.model, true, json!({})).await;
            assert!(!format.read(&reply.body).success, "{what}");
            let row = world.sums("models", kind.model, requests).await;
            let output = number(&row, "output_tokens") - before;
            // An estimate: the words are longer than four letters.
            assert!((100..=400).contains(&output), "{what}: {output} of 200");
            assert_eq!(
                (number(&row, "failed"), number(&row, "estimated")),
                (requests, requests),
                "{what}: {row}"
            );
            assert!(
                number(&row, "input_tokens") >= requests * 5,
                "{what}: {row}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_has_used_what_came() {
    let slow = ["--answer-tokens", "3000", "--decode-speed", "50"];
    let world = World::start(&[OPENAI], &slow, |config| config).await;
    let body = Format::Chat.ask(OPENAI.model, "Say something.", true, json!({}));
    let mut client = Connection::open(world.gateway.address).await;
    client
        .request("POST", "/v1/chat/completions", &[], body.as_bytes())
        .await;
    client.head().await;
    for _ in 0..10 {
        assert!(matches!(client.piece().await, Piece::Bytes(_)));
    }
    drop(client);
    let row = world.sums("models", OPENAI.model, 1).await;
    assert!((5..=100).contains(&number(&row, "output_tokens")), "{row}");
    assert_eq!(
        (number(&row, "failed"), number(&row, "estimated")),
        (1, 1),
        "{row}"
    );
    assert!(number(&row, "cost_micro_usd") > 0, "{row}");
}

#[tokio::test]
async fn what_a_failed_attempt_was_billed_is_counted_beside_the_answer() {
    // It tells what the prompt cost, and breaks down.
    let failing = Upstream::start(|_: &Asked| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let events = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":4000,\"cache_read_input_tokens\":1000,\"output_tokens\":2}}}\n\n\
            event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        vec![Step::Send([head, &*chunk(events.as_bytes()), b"0\r\n\r\n"].concat())]
    })
    .await;
    let simulation = ANTHROPIC.simulation(&[]);
    let first = json!({"name": "first", "kind": "anthropic", "base_url": format!("http://{}", failing.address),
        "api_key": KEY, "models": [ANTHROPIC.model], "list_models": false});
    let entries = [first.to_string(), ANTHROPIC.entry("second", &simulation)];
    let gateway = Gateway::over(&Config::of(entries), 2).await;
    // Whichever of the two is tried first.
    let translated = [Format::Ollama, Format::Chat, Format::Responses];
    for (requests, format) in (1..).zip(translated) {
        let what = format!("{format:?}");
        let before = failing.asked().len();
        let mut asked = 0;
        while failing.asked().len() == before {
            let body = format.ask(ANTHROPIC.model, "Say something.", true, json!({}));
            let reply = post(gateway.address, format.path(), &body).await;
            assert!(format.read(&reply.body).success, "{what}: {}", reply.text());
            asked += 1;
            assert!(asked < 20, "{what}: the failing provider is never asked");
        }
        let row = sums(&gateway, "providers", "first", 0).await;
        assert_eq!(
            number(&row, "input_tokens"),
            5000 * requests,
            "{what}: {row}"
        );
        assert_eq!(
            number(&row, "cached_tokens"),
            1000 * requests,
            "{what}: {row}"
        );
        assert_eq!(number(&row, "output_tokens"), 2 * requests, "{what}: {row}");
        assert!(number(&row, "cost_micro_usd") > 0, "{what}: {row}");
    }
}

#[tokio::test]
async fn a_request_that_gets_no_answer_costs_nothing() {
    let world = World::start(&[OPENAI], &[], |config| {
        config.set("routing.max_retries", 0)
    })
    .await;
    world.providers[0]
        .1
        .fault(0, r#"{"kind":"status","status":500,"route":"inference"}"#)
        .await;
    let body = Format::Ollama.ask(OPENAI.model, "Say something.", false, json!({}));
    assert!(post(world.gateway.address, "/api/chat", &body).await.status >= 500);
    let row = world.sums("providers", "openai", 1).await;
    assert_eq!(
        (number(&row, "failed"), number(&row, "unpriced")),
        (1, 0),
        "{row}"
    );
    assert_eq!(
        (number(&row, "input_tokens"), number(&row, "cost_micro_usd")),
        (0, 0),
        "{row}"
    );
}

#[tokio::test]
async fn tags_come_from_the_header_the_name_the_key_or_the_default() {
    let world = World::start(&[OPENAI, OLLAMA], &[], |config| {
        config
            .set("usage.default_tag", "rest")
            .key("{ name: alice, key: alice-has-this-key-0, tag: of-alice }")
            .key("{ name: bob, key: bob-has-another-one-1 }")
    })
    .await;
    let ask = async |key: &str, tag: Option<&str>, model: &str| {
        let bearer = format!("Bearer {key}");
        let mut fields = vec![("authorization", &*bearer)];
        fields.extend(tag.map(|tag| ("x-proxy-tag", tag)));
        let body = Format::Ollama.ask(model, "hi", false, json!({}));
        request(
            world.gateway.address,
            "POST",
            "/api/chat",
            &fields,
            body.as_bytes(),
        )
        .await
    };
    let (alice, bob) = ("alice-has-this-key-0", "bob-has-another-one-1");
    for (key, tag, model, expected) in [
        (alice, Some("head"), "gpt-4.1@name", "head"),
        (alice, None, "gpt-4.1@name", "name"),
        (alice, None, "openai/gpt-4.1@with-provider", "with-provider"),
        (alice, None, "llama3.2@ollama", "ollama"),
        (alice, None, "llama3.2@spelled:latest", "spelled"),
        (alice, None, "gpt-4.1", "of-alice"),
        (bob, None, "gpt-4.1", "rest"),
    ] {
        let reply = ask(key, tag, model).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        world.sums("tags", expected, 1).await;
    }
    for (_, simulation) in &world.providers {
        let last = simulation.stats().await.remove(0).last_request.unwrap();
        assert!(
            !last
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("x-proxy-tag"))
        );
        if let Some(body) = last.body.filter(|_| last.method == "POST") {
            assert!(!body.contains('@'), "{body}");
        }
    }
    let rows = world.sums("keys", "alice", 6).await;
    assert_eq!(number(&rows, "failed"), 0);
    for bad in ["", "two words", "a/b", "-a", &"x".repeat(65)] {
        let reply = ask(alice, Some(bad), "gpt-4.1").await;
        assert_eq!(reply.status, 400, "{bad:?}");
        assert!(reply.text().contains("X-Proxy-Tag"), "{}", reply.text());
    }
    let metrics = world.gateway.metrics().await;
    let of = |key, tag| {
        metrics.sum(
            "remuda_key_requests_total",
            &[("remuda_key", key), ("remuda_tag", tag)],
        )
    };
    assert_eq!(
        (of("alice", "head"), of("bob", "rest"), of("bob", "head")),
        (1.0, 1.0, 0.0)
    );
    let logged = world.gateway.process.output().join("\n");
    assert!(logged.contains(" key=alice tag=head cost=$0.0"), "{logged}");
    assert!(!logged.contains(alice), "{logged}");
}

#[tokio::test]
async fn sums_and_budgets_outlive_a_restart_and_are_shown() {
    let set = |config: Config| {
        // One answer of ten tokens costs more.
        config
            .key("{ name: alice, key: alice-has-this-key-0, budget: { usd: 0.00001, per: month } }")
            .key("{ name: bob, key: bob-has-another-one-1 }")
    };
    let mut world = World::start(&[OPENAI], &[], set).await;
    let ask = async |gateway: &Gateway, key: &str| {
        let bearer = format!("Bearer {key}");
        let body = Format::Chat.ask(OPENAI.model, "Say something.", false, json!({}));
        let fields = [("authorization", &*bearer)];
        request(
            gateway.address,
            "POST",
            "/v1/chat/completions",
            &fields,
            body.as_bytes(),
        )
        .await
    };
    let (alice, bob) = ("alice-has-this-key-0", "bob-has-another-one-1");
    assert_eq!(ask(&world.gateway, alice).await.status, 200);
    let row = world.sums("keys", "alice", 1).await;
    let cost = number(&row, "cost_micro_usd");
    assert!(cost > 10, "{row}");
    assert_eq!(ask(&world.gateway, alice).await.status, 429);
    assert_eq!(ask(&world.gateway, bob).await.status, 200);
    world.sums("keys", "bob", 1).await;
    world.gateway.process.signal(Signal::SIGTERM);
    assert!(
        world
            .gateway
            .process
            .exit(Duration::from_secs(20))
            .success()
    );
    // It closed its file: nothing is left beside it.
    assert!(!world.folder.path().join("usage.db-wal").exists());

    let gateway = Gateway::over(&world.config, 1).await;
    let again = sums(&gateway, "keys", "alice", 1).await;
    assert_eq!(again, row);
    assert_eq!(ask(&gateway, alice).await.status, 429);
    assert_eq!(ask(&gateway, bob).await.status, 200);
    let bobs = sums(&gateway, "keys", "bob", 2).await;

    let file = world.file();
    let page: Value = serde_json::from_str(&shown(&file, &["--by", "key", "--json"])).unwrap();
    assert_eq!(page["keys"], json!([bobs, row]), "the most expensive first");
    assert_eq!(number(&page["total"], "requests"), 3);
    let csv = shown(&file, &["--by", "key", "--since", "2h", "--csv"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("key,requests,"), "{csv}");
    let input = number(&row, "input_tokens");
    assert!(
        lines[2].starts_with(&format!("alice,1,0,0,0,{input},")),
        "{csv}"
    );
    let text = shown(&file, &[]);
    assert!(
        text.lines().next().unwrap().starts_with("provider/model"),
        "{text}"
    );
    assert!(text.contains("openai/gpt-4.1"), "{text}");
    let all = get(gateway.admin, "/api/usage?since=1h").await.json();
    for table in ["keys", "tags", "models", "providers"] {
        assert!(!all[table].as_array().unwrap().is_empty(), "{all}");
    }
    assert_eq!(
        get(gateway.admin, "/api/usage?since=week").await.status,
        400
    );
    let bearer = format!("Bearer {bob}");
    let fields = [("authorization", &*bearer)];
    let public = request(gateway.address, "GET", "/api/usage", &fields, b"").await;
    assert_eq!(public.status, 404);
}

#[tokio::test]
async fn a_killed_gateway_loses_a_second_at_most() {
    let mut world = World::start(&[OPENAI], &[], |config| config).await;
    let simulation = &world.providers[0].1;
    let body = Format::Chat.ask(OPENAI.model, "Say something.", false, json!({}));
    let address = world.gateway.address;
    // When each answer was there.
    let mut ends = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let replies = join_all((0..8).map(|_| post(address, "/v1/chat/completions", &body))).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        ends.extend(replies.iter().map(|_| Instant::now()));
    }
    let killed = Instant::now();
    world.gateway.process.signal(Signal::SIGKILL);
    world.gateway.process.exit(PATIENCE);
    let page: Value = serde_json::from_str(&shown(&world.file(), &["--json"])).unwrap();
    let kept = number(&page["total"], "requests");
    let old = ends
        .iter()
        .filter(|end| killed - **end > Duration::from_secs(1))
        .count() as u64;
    let all = ends.len() as u64;
    assert!(
        (old..=all).contains(&kept),
        "{kept} of {all}, of which {old} are older than a second"
    );
    assert!(old > 0);
    let output = number(&page["total"], "output_tokens");
    assert_eq!(output % kept, 0, "each answer is the same");
    assert_eq!(simulation.stats().await[0].tokens / all, output / kept);
    // Nothing has to be mended before it goes on.
    let gateway = Gateway::over(&world.config, 1).await;
    assert_eq!(
        post(gateway.address, "/v1/chat/completions", &body)
            .await
            .status,
        200
    );
    sums(&gateway, "providers", "openai", kept + 1).await;
}

#[test]
fn a_file_that_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "a text that somebody wants to keep").unwrap();
    let missing = folder.path().join("missing/usage.db");
    for (path, words) in [
        (&text, "not a file of Remuda's usage"),
        (&missing, "cannot open"),
    ] {
        let config = Config::new()
            .set("provider.backends", "[ http://127.0.0.1:9 ]")
            .set("usage.path", path.display());
        let (mut command, _folder) = Gateway::command(&config);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(
            told.contains("usage.path") && told.contains(words),
            "{told}"
        );
        assert!(told.contains(&*path.to_string_lossy()), "{told}");
    }
    assert_eq!(
        std::fs::read_to_string(&text).unwrap(),
        "a text that somebody wants to keep"
    );
}

#[tokio::test]
async fn nothing_is_counted_where_it_is_off() {
    let world = World::start(&[OPENAI], &[], |config| config.set("usage.enabled", false)).await;
    world
        .ask(Format::Chat, "gpt-4.1@team", false, json!({}))
        .await;
    assert_eq!(get(world.gateway.admin, "/api/usage").await.status, 404);
    assert_eq!(world.gateway.metric("remuda_tokens_total", &[]).await, 0.0);
    assert!(!world.file().exists());
}
