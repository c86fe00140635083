//! That the work of a translation grows as what is translated, whatever a client or a server makes many of: four times as
//! much takes about four times the CPU time of this thread, whatever else the machine does.

use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::{Value, json};

mod doors;

use super::answer::Translation;
use super::bounds;
use super::forms::{ClientForm, ProviderForm, chats};
use super::order::{TranslatedRequest, Translating, order};
use crate::dialect::exchange::{ProviderRequest, Reply, Target};
use crate::facts::Facts;
use crate::ir::Refused;
use crate::preferences::Fidelity;
use crate::provider::{ProviderKind, ProviderProfile};

/// A form of a provider of some kind, and a model there.
type To = (ProviderForm, ProviderKind, &'static str);

const CHATS: [To; 6] = [
    (
        ProviderForm::AnthropicMessages,
        ProviderKind::Anthropic,
        "claude-opus-4-5",
    ),
    (
        ProviderForm::BedrockConverse,
        ProviderKind::Bedrock,
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    ),
    (
        ProviderForm::GoogleContent,
        ProviderKind::Google,
        "gemini-3.5-flash",
    ),
    (ProviderForm::OpenAiChat, ProviderKind::OpenAi, "gpt-4.1"),
    (
        ProviderForm::OpenAiResponses,
        ProviderKind::OpenAi,
        "gpt-5.4",
    ),
    (ProviderForm::OllamaChat, ProviderKind::Ollama, "llama3.2"),
];

fn ordered(
    client: ClientForm,
    body: &str,
    (form, kind, model): To,
) -> Result<TranslatedRequest, Refused> {
    let facts = Facts::bundled();
    let provider = ProviderProfile::of_kind("p", kind);
    let target = Target {
        model,
        facts: facts.find(kind, model),
        provider,
        stream: false,
    };
    let translating = Translating {
        client,
        form,
        body: body.as_bytes(),
        streams: false,
        gathered: false,
        fidelity: Fidelity::Lenient,
        mend: None,
        spare: &[],
    };
    order(&translating, target, Reply::sample())
}

/// Returns what this thread has computed for, as far as the system tells.
fn computed(since: Instant) -> Duration {
    // So that the account is brought up to date.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    told.filter(|nanos| *nanos > 0)
        .map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// Returns the least of some tries.
fn cost(work: &dyn Fn()) -> Duration {
    let try_once = |_| {
        let since = Instant::now();
        let before = computed(since);
        work();
        computed(since).saturating_sub(before)
    };
    (0..2).map(try_once).min().unwrap_or_default()
}

/// Quadratic work would be sixteen times as much.
fn assert_linear(what: &str, many: usize, work: &dyn Fn(usize)) {
    let (one, four) = (cost(&|| work(many)), cost(&|| work(4 * many)));
    assert!(
        four < one * 10 + Duration::from_millis(3),
        "{what}: {many} took {one:?}, four times as many {four:?}"
    );
}

fn list(many: usize, item: impl Fn(usize) -> String) -> String {
    let items: Vec<String> = (0..many).map(item).collect();
    format!("[{}]", items.join(","))
}

/// Names whose first letters are the same, and which differ in what no provider takes.
fn alike(number: usize) -> String {
    let letters = ['.', ':', '/', '+'];
    let end: String = (0..6)
        .map(|place| letters[number >> (2 * place) & 3])
        .collect();
    format!("{}{end}", "x".repeat(50))
}

/// Names that become others' by being made fit, each another one.
fn shadowing(number: usize) -> String {
    match number % 2 {
        0 => format!("{}_{:04}", "x".repeat(59), number / 2),
        _ => format!("{}.{:04}", "x".repeat(59), number / 2),
    }
}

fn long(number: usize) -> String {
    format!("{}{number}", "x".repeat(64))
}

fn tool(name: &str) -> String {
    format!(
        r#"{{"type":"function","function":{{"name":"{name}","parameters":{{"type":"object"}}}}}}"#
    )
}

#[test]
fn tools_whose_names_have_to_be_told_apart() {
    for name in [alike, shadowing, long] {
        for to in CHATS {
            assert_linear(&format!("tools for {to:?}"), 250, &|many| {
                let tools = list(many, |number| tool(&name(number)));
                let messages = r#"[{"role":"user","content":"q"}]"#;
                let body = format!(r#"{{"model":"m","messages":{messages},"tools":{tools}}}"#);
                assert!(ordered(ClientForm::OpenAiChat, &body, to).is_ok());
                let functions = list(many, |number| format!(r#"{{"name":"{}"}}"#, name(number)));
                let body =
                    format!(r#"{{"model":"m","messages":{messages},"functions":{functions}}}"#);
                assert!(ordered(ClientForm::OpenAiChat, &body, to).is_ok());
                let allowed = format!(
                    r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"auto","tools":{tools}}}}}"#
                );
                let body = format!(
                    r#"{{"model":"m","messages":{messages},"tools":{tools},"tool_choice":{allowed}}}"#
                );
                assert!(ordered(ClientForm::OpenAiChat, &body, to).is_ok());
            });
        }
    }
}

/// Returns a conversation in OpenAI's format: many calls in one turn or each in its own, answered from the last to the
/// first.
fn called(many: usize, together: bool, name: fn(usize) -> String) -> String {
    let call = |number: usize| {
        let name = name(number);
        format!(
            r#"{{"id":"c{number}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}"#
        )
    };
    let result =
        |number: usize| format!(r#"{{"role":"tool","tool_call_id":"c{number}","content":"r"}}"#);
    let turn = |calls: String| format!(r#"{{"role":"assistant","tool_calls":{calls}}}"#);
    let mut messages = vec![r#"{"role":"user","content":"q"}"#.to_owned()];
    if together {
        messages.push(turn(list(many, call)));
    } else {
        messages.extend((0..many).flat_map(|number| {
            let system = r#"{"role":"system","content":"s"}"#.to_owned();
            [turn(format!("[{}]", call(number))), system]
        }));
    }
    messages.extend((0..many).rev().map(result));
    format!(r#"{{"model":"m","messages":[{}]}}"#, messages.join(","))
}

#[test]
fn calls_and_results_of_a_history() {
    for name in [|_| "f".to_owned(), shadowing] {
        for together in [true, false] {
            for to in CHATS {
                let what = format!("calls for {to:?}, together: {together}");
                assert_linear(&what, 500, &|many| {
                    let body = called(many, together, name);
                    assert!(ordered(ClientForm::OpenAiChat, &body, to).is_ok());
                });
            }
        }
    }
}

#[test]
fn an_answer_with_many_calls() {
    let clients = [
        ClientForm::OllamaChat,
        ClientForm::OpenAiChat,
        ClientForm::OpenAiResponses,
        ClientForm::AnthropicMessages,
    ];
    let piece = |number: usize, text: &str| {
        format!(
            r#"data: {{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":{number},{text}}}]}}}}]}}"#
        )
    };
    for client in clients {
        for streams in [true, false] {
            assert_linear(&format!("answers for {client:?}"), 900, &|many| {
                let start = |at| {
                    let text = format!(r#""id":"c{at}","function":{{"name":"f","arguments":""}}"#);
                    piece(at, &text)
                };
                let arguments = |at| piece(at, r#""function":{"arguments":"{}"}"#);
                let mut lines: Vec<String> = (0..many).map(start).collect();
                lines.extend((0..many).rev().map(arguments));
                lines.push(
                    r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#
                        .to_owned(),
                );
                lines.push("data: [DONE]\n\n".to_owned());
                let mut outgoing = ProviderRequest::default();
                let mut translation = Translation::chat(
                    chats(client, ProviderForm::OpenAiChat),
                    Reply::sample(),
                    &mut outgoing,
                    true,
                    streams,
                );
                let mut told = translation.feed(lines.join("\n\n").as_bytes()).len();
                told += translation.finish(&HeaderMap::new()).1.len();
                assert!(translation.fault().is_none() && told > many * 20);
            });
        }
    }
}

/// Each event's item is found among all that were told, however the event says which it is.
#[test]
fn a_response_with_many_items() {
    let event = |kind: &str, item: Value| {
        let mut event = item;
        event["type"] = json!(format!("response.{kind}"));
        format!("data: {event}\n\n")
    };
    // By ids, by places, by ids that are new with every event, and by one id of all calls.
    for how in ["ids", "places", "other ids", "one call id"] {
        assert_linear(&format!("items told by {how}"), 900, &|many| {
            let place = |event: &mut Value, at: usize| {
                if how != "ids" {
                    event["output_index"] = json!(at);
                }
            };
            let call_id = |at: usize| match how {
                "one call id" => "c".to_owned(),
                _ => format!("c{at}"),
            };
            let id = |at: usize, turn: usize| match how {
                "ids" => json!(format!("f{at}")),
                "other ids" => json!(format!("f{at}-{turn}")),
                _ => Value::Null,
            };
            let call = |at: usize, turn: usize| {
                json!({"type": "function_call", "id": id(at, turn), "call_id": call_id(at), "name": "f",
                    "arguments": if turn == 0 { "" } else { "{}" }})
            };
            let mut text = String::new();
            for at in 0..many {
                let mut added = json!({"item": call(at, 0)});
                place(&mut added, at);
                text += &event("output_item.added", added);
            }
            for at in (0..many).rev() {
                let mut delta = json!({"item_id": id(at, 1), "delta": "{}"});
                place(&mut delta, at);
                text += &event("function_call_arguments.delta", delta);
            }
            for at in 0..many {
                let mut done = json!({"item": call(at, 2)});
                place(&mut done, at);
                text += &event("output_item.done", done);
            }
            let output: Vec<Value> = (0..many).map(|at| call(at, 3)).collect();
            let response = json!({"id": "r", "status": "completed", "output": output});
            text += &event("completed", json!({"response": response}));
            let mut outgoing = ProviderRequest::default();
            let (client, form) = (ClientForm::OpenAiChat, ProviderForm::OpenAiResponses);
            let reply = Reply::sample();
            let mut translation =
                Translation::chat(chats(client, form), reply, &mut outgoing, true, true);
            let told = translation.feed(text.as_bytes());
            let calls = memchr::memmem::find_iter(told, b"\"name\":\"f\"").count();
            assert!(translation.fault().is_none());
            assert_eq!(calls, many, "{how}");
        });
    }
}

/// A stream that is put together ends with an error where it is larger than a whole answer may be.
#[test]
fn a_whole_answer_that_comes_as_a_stream_without_an_end() {
    let mut outgoing = ProviderRequest::default();
    let (client, form) = (ClientForm::AnthropicMessages, ProviderForm::OllamaChat);
    let mut translation = Translation::chat(
        chats(client, form),
        Reply::sample(),
        &mut outgoing,
        true,
        false,
    );
    let text = "x".repeat(1 << 20);
    let line = format!("{{\"message\":{{\"content\":\"{text}\"}},\"done\":false}}\n");
    let fed = (0..200).take_while(|_| {
        translation.feed(line.as_bytes());
        translation.fault().is_none()
    });
    assert_eq!(fed.count(), 95);
    let fault = translation.fault().unwrap();
    assert!(fault.message.contains("larger than this gateway reads"));
}

/// Calls beyond what any model makes are an error, and cost no more than to be read.
#[test]
fn an_answer_with_too_many_calls() {
    assert_linear("too many calls", 5000, &|many| {
        let mut outgoing = ProviderRequest::default();
        let (client, form) = (ClientForm::AnthropicMessages, ProviderForm::OpenAiChat);
        let reply = Reply::sample();
        let mut translation =
            Translation::chat(chats(client, form), reply, &mut outgoing, false, false);
        let calls = list(many, |at| {
            format!(r#"{{"id":"c{at}","function":{{"name":"f","arguments":"{{}}"}}}}"#)
        });
        let message = format!(r#"{{"role":"assistant","tool_calls":{calls}}}"#);
        let body = format!(
            r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":"tool_calls"}}]}}"#
        );
        translation.feed(body.as_bytes());
        translation.finish(&HeaderMap::new());
        assert!(translation.fault().is_some());
    });
}

/// The cost of a piece of the answer is that of the piece, not of what is looked for.
#[test]
fn long_stop_strings() {
    for (stop, said) in [("a", "a"), ("a", "b"), ("ab", "ab")] {
        assert_linear("stop strings", 1000, &|many| {
            let stop = format!("{}c", stop.repeat(many));
            let mut outgoing = ProviderRequest {
                stop: vec![stop],
                ..ProviderRequest::default()
            };
            let (client, form) = (ClientForm::OpenAiChat, ProviderForm::OllamaChat);
            let reply = Reply::sample();
            let mut translation =
                Translation::chat(chats(client, form), reply, &mut outgoing, true, true);
            let line = format!("{}\n", json!({"message": {"content": said}, "done": false}));
            for _ in 0..many {
                translation.feed(line.as_bytes());
            }
        });
    }
}

#[test]
fn what_is_too_much_is_refused_with_its_field() {
    let refused = |body: Value, to: To| {
        let refused = ordered(ClientForm::OpenAiChat, &body.to_string(), to).err();
        refused.map(|refused| (refused.param, refused.text.into_owned()))
    };
    let hello = json!([{"role": "user", "content": "q"}]);
    let many = |count: usize| -> Vec<Value> {
        let tool = |at| json!({"type": "function", "function": {"name": format!("f{at}")}});
        (0..count).map(tool).collect()
    };
    for to in CHATS {
        let asked = |tools| json!({"model": "m", "messages": hello, "tools": tools});
        assert_eq!(refused(asked(many(bounds::TOOLS)), to), None);
        let (field, text) = refused(asked(many(bounds::TOOLS + 1)), to).unwrap();
        assert_eq!(field, Some("tools"), "{text}");
        assert!(text.contains("2049 tools; 2048 are the most"), "{text}");
        let asked = |stop: Vec<String>| json!({"model": "m", "messages": hello, "stop": stop});
        let short: Vec<String> = (0..=bounds::STOPS).map(|at| format!("s{at}")).collect();
        assert_eq!(refused(asked(short[1..].to_vec()), to), None);
        let (field, _) = refused(asked(short), to).unwrap();
        assert_eq!(field, Some("stop"));
        let (field, _) = refused(asked(vec!["x".repeat(bounds::STOP_BYTES + 1)]), to).unwrap();
        assert_eq!(field, Some("stop"));
    }
    let texts: Vec<Value> = (0..=bounds::PARTS)
        .map(|_| json!({"type": "text", "text": "x"}))
        .collect();
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": texts}]});
    assert_eq!(refused(asked, CHATS[0]).unwrap().0, Some("messages"));
}

#[test]
fn inputs_of_embeddings_are_bounded() {
    let titan = (
        ProviderForm::BedrockEmbed,
        ProviderKind::Bedrock,
        "amazon.titan-embed-text-v2:0",
    );
    let gemini = (
        ProviderForm::GoogleEmbed,
        ProviderKind::Google,
        "gemini-embedding-001",
    );
    let ollama = (
        ProviderForm::OllamaEmbed,
        ProviderKind::Ollama,
        "nomic-embed-text",
    );
    for to in [titan, gemini, ollama] {
        let ask = |many: usize| {
            let body = json!({"model": "m", "input": vec!["x"; many]}).to_string();
            ordered(ClientForm::OpenAiEmbeddings, &body, to)
                .map(|_| ())
                .map_err(|refused| refused.param)
        };
        assert_eq!(ask(crate::ir::MOST_INPUTS), Ok(()));
        assert_eq!(ask(crate::ir::MOST_INPUTS + 1), Err(Some("input")));
    }
}
