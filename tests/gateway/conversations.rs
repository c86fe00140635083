//! What becomes of a conversation between formats: what of its prompt is kept, where the system speaks, and what nobody but
//! Anthropic is told.

use serde_json::{Value, json};

use crate::across::{KEY, KINDS, SECRET, World};
use crate::support::*;

const BILLING: &str =
    "x-anthropic-billing-header: cc_version=2.1.42; cc_entrypoint=cli; cch=0c3f1;";

/// The long beginning of every prompt.
fn instructions() -> String {
    "Answer every question with care, and say where you are not sure. ".repeat(40)
}

/// Tokens that were written to a cache and read from it.
fn cached(format: Format, usage: &Value) -> (u64, u64) {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap();
    match format {
        Format::Anthropic => (
            count("/cache_creation_input_tokens"),
            count("/cache_read_input_tokens"),
        ),
        _ => (
            count("/prompt_tokens_details/cache_write_tokens"),
            count("/prompt_tokens_details/cached_tokens"),
        ),
    }
}

#[tokio::test]
async fn a_prompt_that_a_client_marks_is_kept_whatever_its_format() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let text = json!([{"type": "text", "text": instructions(), "cache_control": mark}]);
    let user = json!({"role": "user", "content": "Say something."});
    for (format, kind) in [
        (Format::Anthropic, "bedrock"),
        (Format::Chat, "bedrock"),
        (Format::Chat, "anthropic"),
    ] {
        // Nobody else has asked it yet.
        let world = World::start().await;
        let (kind, _) = world
            .providers
            .iter()
            .find(|(one, _)| one.name == kind)
            .unwrap();
        let more = match format {
            Format::Anthropic => json!({"system": text, "messages": [user]}),
            _ => json!({"messages": [{"role": "system", "content": text}, user]}),
        };
        let mut told = Vec::new();
        for _ in 0..2 {
            let reply = world
                .ask_with(format, kind.model, "", false, more.clone())
                .await;
            assert_eq!(
                reply.status,
                200,
                "{format:?} {}: {}",
                kind.name,
                reply.text()
            );
            assert_eq!(reply.header("x-remuda-dropped"), None);
            let usage = reply.json()["usage"].take();
            told.push(cached(format, &usage));
            if format == Format::Anthropic {
                let hour = &usage["cache_creation"]["ephemeral_1h_input_tokens"];
                assert_eq!(hour.as_u64(), told.last().map(|told| told.0), "{usage}");
            }
        }
        let [(written, 0), (0, read)] = told[..] else {
            panic!("{format:?} {}: {told:?}", kind.name)
        };
        assert!(written > 0 && read == written, "{told:?}");
    }
}

/// Every simulated provider refuses turns that stand where they may not.
#[tokio::test]
async fn the_system_may_speak_amid_every_conversation() {
    let world = World::start().await;
    let turns = |late: &str| {
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Good morning."},
            {"role": late, "content": "From now on, be long."},
            {"role": "assistant", "content": "Good morning."},
            {"role": late, "content": "No, be brief."},
            {"role": "user", "content": "Say something."}])
    };
    for (format, kind, simulation) in world.pairs() {
        if (format, kind.name) == (Format::Anthropic, "anthropic") {
            // It passes as it came, and this model does not take it so.
            continue;
        }
        let more = match format {
            Format::Responses => json!({"input": turns("developer")}),
            Format::Anthropic => {
                let mut turns = turns("system");
                turns.as_array_mut().unwrap().remove(0);
                json!({"system": "Be brief.", "messages": turns})
            }
            _ => json!({"messages": turns("system")}),
        };
        let reply = world.ask_with(format, kind.model, "", false, more).await;
        let what = format!("{format:?} to {}: {}", kind.name, reply.text());
        assert_eq!(reply.status, 200, "{what}");
        let stats = simulation.stats().await;
        let last = stats[0].last_request.as_ref().unwrap();
        let body: Value = serde_json::from_str(last.body.as_ref().unwrap()).unwrap();
        let turns = ["messages", "contents", "input"]
            .iter()
            .find_map(|name| body.get(name));
        let turns = turns.unwrap().to_string();
        let place = |words: &str| {
            turns
                .find(words)
                .unwrap_or_else(|| panic!("{words}: {turns}"))
        };
        let first = place("From now on");
        let second = place("No, be brief");
        let answer = turns.rfind("Good morning").unwrap();
        assert!(first < answer && answer < second, "{what}: {turns}");
    }
}

#[tokio::test]
async fn the_line_that_changes_with_every_request_is_anthropics_alone() {
    let answers = [
        (
            "openai",
            "/v1/chat/completions",
            r#"{"id":"c","object":"chat.completion","model":"scripted","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        ),
        (
            "ollama",
            "/api/chat",
            r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"a"},"done":true,"done_reason":"stop","prompt_eval_count":1,"eval_count":1}"#,
        ),
        (
            "anthropic",
            "/v1/messages",
            r#"{"id":"m","type":"message","role":"assistant","model":"scripted","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#,
        ),
    ];
    for (kind, own, answer) in answers {
        let upstream = Upstream::start(move |_: &Asked| vec![Step::Send(json(200, answer))]).await;
        let entry = match kind {
            "openai" => {
                json!({"name": "p", "kind": kind, "base_url": format!("http://{}/v1", upstream.address),
                "api_key": KEY, "models": ["scripted"], "list_models": false})
            }
            "anthropic" => {
                json!({"name": "p", "kind": kind, "base_url": format!("http://{}", upstream.address),
                "api_key": KEY, "models": ["scripted"], "list_models": false})
            }
            _ => {
                json!({"name": "p", "kind": kind, "backends": [format!("http://{}", upstream.address)]})
            }
        };
        let gateway = Gateway::over(&Config::of([entry.to_string()]), 1).await;
        let chat = json!({"model": "scripted", "stream": false, "messages": [
            {"role": "system", "content": format!("{BILLING}\nBe brief.")}, {"role": "user", "content": "Hi"}]});
        let blocks = json!({"model": "scripted", "max_tokens": 9, "system": [
                {"type": "text", "text": BILLING}, {"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": "Hi"}]});
        let mut asks = vec![("/v1/messages", &blocks)];
        if own != "/v1/messages" {
            asks.push((own, &chat));
        }
        for (number, (path, body)) in asks.into_iter().enumerate() {
            let reply = post(gateway.address, path, &body.to_string()).await;
            assert_eq!(reply.status, 200, "{kind} {path}: {}", reply.text());
            let asked = upstream.asked_for(number).await;
            let sent = String::from_utf8(asked.body).unwrap();
            assert!(sent.contains("Be brief."), "{kind} {path}: {sent}");
            assert_eq!(
                sent.contains("billing"),
                kind == "anthropic",
                "{kind} {path}: {sent}"
            );
        }
    }
}

/// A provider that tells at the end what the prompt had: the estimate comes first, and then the truth.
#[tokio::test]
async fn anthropics_clients_hear_at_once_how_long_their_prompt_is() {
    let openai = KINDS[1];
    let simulation = openai.simulation(&[]);
    let entry = openai.entry("openai", &simulation, KEY, SECRET);
    let gateway = Gateway::over(&Config::of([entry]), 1).await;
    let text = instructions();
    let body = Format::Anthropic.ask(openai.model, &text, true, json!({}));
    let reply = post(gateway.address, "/v1/messages", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let usage = |kind: &str, path: &str| {
        let mut events = reply
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        let event = events.find(|event| event.contains(kind)).unwrap();
        let event: Value = serde_json::from_str(event).unwrap();
        event.pointer(path).and_then(Value::as_u64).unwrap()
    };
    let estimate = usage("message_start", "/message/usage/input_tokens");
    assert_eq!(estimate, text.len().div_ceil(4) as u64);
    let truth = usage("message_delta", "/usage/input_tokens");
    assert!(truth > 0 && truth != estimate, "{truth}");
}
