//! What clients get to read.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{decoder, encoder, read_whole, write_whole};
use super::{events, reply};
use crate::dialect::exchange::Reply;
use crate::dialect::signature;
use crate::ir::{Assembler, Event, Fault, Finish, Json, Response, Text, ToolNames, Usage};
use crate::preferences::ReasoningField;

fn text(text: &'static str) -> Text<'static> {
    Text::escaped(text)
}

fn streamed(reply: Reply, steps: &[Event<'_>]) -> Vec<Value> {
    let mut encoder = encoder(reply);
    let mut out = Vec::new();
    for step in steps {
        encoder.event(step, &mut out);
    }
    events(&out)
}

fn whole(reply: &Reply, steps: &[Event<'_>]) -> Value {
    let mut assembler = Assembler::default();
    for step in steps {
        assembler.event(step);
    }
    let mut out = Vec::new();
    write_whole(&assembler.finish().unwrap(), reply, &mut out);
    serde_json::from_slice(&out).unwrap()
}

fn chunk(delta: Value, finish: Value) -> Value {
    json!({"id": "chatcmpl-a1", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]})
}

fn role() -> Value {
    chunk(json!({"role": "assistant", "content": ""}), Value::Null)
}

fn start() -> Event<'static> {
    Event::Start {
        id: Some(text("upstream")),
        model: Some(text("other")),
    }
}

fn tool_start(index: usize, id: Option<&'static str>, name: &'static str) -> Event<'static> {
    Event::ToolStart {
        index,
        id: id.map(text),
        name: text(name),
        signature: None,
    }
}

fn arguments(index: usize, fragment: &'static str) -> Event<'static> {
    Event::ToolArguments {
        index,
        fragment: text(fragment),
    }
}

fn finish(reason: Finish) -> Event<'static> {
    Event::Finish { reason, stop: None }
}

fn usage() -> Usage {
    Usage {
        prompt: Some(9),
        cache_read: Some(4),
        output: Some(5),
        reasoning: Some(2),
        ..Usage::default()
    }
}

fn usage_json() -> Value {
    json!({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2}})
}

#[test]
fn text_streams_with_one_role_and_one_end() {
    let steps = [
        start(),
        Event::Text(text("")),
        Event::Text(text(r"a\nb")),
        Event::Usage(usage()),
        finish(Finish::Stop),
        Event::End,
        Event::End,
    ];
    assert_eq!(
        streamed(reply(), &steps),
        [
            role(),
            chunk(json!({"content": "a\nb"}), Value::Null),
            chunk(json!({}), json!("stop")),
            json!("[DONE]")
        ]
    );
    // Without an opening of the provider's the first content brings the role.
    assert_eq!(
        streamed(reply(), &steps[2..])[..2],
        streamed(reply(), &steps)[..2]
    );
}

#[test]
fn usage_comes_last_and_only_if_asked_for() {
    let reply = Reply {
        include_usage: true,
        ..reply()
    };
    let events = streamed(
        reply,
        &[
            Event::Text(text("a")),
            finish(Finish::Length),
            Event::Usage(usage()),
            Event::End,
        ],
    );
    assert!(events[..3].iter().all(|event| event["usage"].is_null()));
    assert!(events[..3].iter().all(|event| event.get("usage").is_some()));
    assert_eq!(events[3]["choices"], json!([]));
    assert_eq!(events[3]["usage"], usage_json());
    assert_eq!(events[4], "[DONE]");
}

#[test]
fn interleaved_calls_have_an_index_each() {
    let events = streamed(
        reply(),
        &[
            Event::Text(text("x")),
            tool_start(0, Some("c0"), "f"),
            tool_start(1, None, "g"),
            arguments(1, r#"{\"b\""#),
            arguments(0, ""),
            arguments(1, ":2}"),
            Event::ToolEnd { index: 0 },
            Event::ToolEnd { index: 1 },
            Event::ToolCall {
                index: 2,
                id: Some(text("c2")),
                name: text("h"),
                arguments: Json::trusted("{\"c\":\"<\"}"),
                signature: None,
            },
            tool_start(3, Some("c3"), "i"),
            finish(Finish::ToolCalls),
            Event::End,
        ],
    );
    let deltas: Vec<_> = events[2..]
        .iter()
        .map(|event| event["choices"][0]["delta"]["tool_calls"][0].clone())
        .collect();
    let begun = |index: usize, id: &str, name: &str, arguments: &str| {
        json!({"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}})
    };
    let more =
        |index: usize, fragment: &str| json!({"index": index, "function": {"arguments": fragment}});
    assert_eq!(
        deltas[..8],
        [
            begun(0, "c0", "f", ""),
            begun(1, "call_a1_1", "g", ""),
            more(1, "{\"b\""),
            more(1, ":2}"),
            // A call without arguments has an empty object of them.
            more(0, "{}"),
            begun(2, "c2", "h", "{\"c\":\"<\"}"),
            begun(3, "c3", "i", ""),
            more(3, "{}"),
        ]
    );
    assert_eq!(events[10], chunk(json!({}), json!("tool_calls")));
    assert_eq!(events[11], "[DONE]");
}

/// Clients read reasoning under `reasoning` or `reasoning_content` (vllm-project/vllm#27755).
#[test]
fn reasoning_has_the_names_that_are_set() {
    for (field, names) in [
        (
            ReasoningField::Both,
            &["reasoning", "reasoning_content"][..],
        ),
        (ReasoningField::Reasoning, &["reasoning"]),
        (ReasoningField::ReasoningContent, &["reasoning_content"]),
    ] {
        let mut expected = json!({});
        for name in names {
            expected[name] = json!("hm");
        }
        let reply = Reply {
            reasoning_field: field,
            ..reply()
        };
        let steps = [
            Event::Thinking(text("hm")),
            finish(Finish::Stop),
            Event::End,
        ];
        let events = streamed(reply.clone(), &steps);
        assert_eq!(events[1], chunk(expected.clone(), Value::Null));
        let message = &whole(&reply, &steps)["choices"][0]["message"];
        for name in ["reasoning", "reasoning_content"] {
            assert_eq!(message.get(name), expected.get(name), "{name}");
        }
    }
}

#[test]
fn signatures_reach_the_client() {
    let steps = [
        Event::Thinking(text("hm")),
        Event::Signature {
            data: text("s"),
            redacted: false,
            id: None,
        },
        Event::Signature {
            data: text("d"),
            redacted: true,
            id: None,
        },
        Event::ToolStart {
            index: 0,
            id: Some(text("c")),
            name: text("f"),
            signature: Some(text("g")),
        },
        finish(Finish::ToolCalls),
        Event::End,
    ];
    let events = streamed(reply(), &steps);
    let details = |event: &Value| event["choices"][0]["delta"]["reasoning_details"].clone();
    assert_eq!(
        details(&events[2]),
        json!([{"type": "reasoning.text", "signature": "s", "index": 0}])
    );
    assert_eq!(
        details(&events[3]),
        json!([{"type": "reasoning.encrypted", "data": "d", "index": 1}])
    );
    let id = events[4]["choices"][0]["delta"]["tool_calls"][0]["id"]
        .as_str()
        .unwrap();
    let (own, found) = signature::unpack(Text::plain(id));
    assert_eq!((own.as_escaped(), found), ("c", Some(text("g"))));

    let message = &whole(&reply(), &steps)["choices"][0]["message"];
    assert_eq!(
        message["reasoning_details"],
        json!([{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0},
            {"type": "reasoning.encrypted", "data": "d", "index": 1}])
    );
    assert_eq!(message["tool_calls"][0]["id"], id);
}

#[test]
fn a_failure_is_the_last_event() {
    let fault = Fault::incomplete();
    let failed = || Event::Failed(Cow::Borrowed(&fault));
    let error = json!({"error": {"message": "the provider's answer broke off before its end",
        "type": "server_error", "param": null, "code": null}});
    let events = streamed(
        reply(),
        &[Event::Text(text("a")), failed(), Event::End, failed()],
    );
    assert_eq!(events.len(), 3);
    assert_eq!(events[2], error);
    assert_eq!(
        streamed(reply(), &[failed(), Event::Text(text("a"))]),
        [error]
    );
}

#[test]
fn every_ending_has_its_word() {
    for (reason, word) in [
        (Finish::Stop, "stop"),
        (Finish::Length, "length"),
        (Finish::ContextFull, "length"),
        (Finish::ToolCalls, "tool_calls"),
        (Finish::Filtered, "content_filter"),
        (Finish::Load, "stop"),
        (Finish::Unload, "stop"),
    ] {
        let steps = [finish(reason), Event::End];
        assert_eq!(streamed(reply(), &steps)[1], chunk(json!({}), json!(word)));
        assert_eq!(whole(&reply(), &steps)["choices"][0]["finish_reason"], word);
    }
}

#[test]
fn sources_and_logprobs_stand_beside_the_text() {
    let log = r#"[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}]"#;
    let found = r#"[{"url":"https://a","title":"A"},{"title":"B"},{"url":"https:\/\/c"}]"#;
    let steps = [
        Event::Text(text("a")),
        Event::Logprobs(Json::trusted(log)),
        Event::Sources(Json::trusted(found)),
        finish(Finish::Stop),
        Event::End,
    ];
    let events = streamed(reply(), &steps);
    let log: Value = serde_json::from_str(log).unwrap();
    let found: Value = serde_json::from_str(found).unwrap();
    assert_eq!(
        events[2]["choices"][0]["logprobs"],
        json!({"content": log, "refusal": null})
    );
    assert_eq!(events[3]["citations"], json!(["https://a", "https://c"]));
    assert_eq!(events[3]["search_results"], found);
    let body = whole(&reply(), &steps);
    assert_eq!(body["choices"][0]["logprobs"]["content"], log);
    assert_eq!(body["citations"], json!(["https://a", "https://c"]));
    assert_eq!(body["search_results"], found);
}

#[test]
fn a_whole_answer_has_every_field() {
    let steps = [
        start(),
        Event::Text(text("a")),
        Event::Text(text(r#"\"b\""#)),
        Event::Usage(usage()),
        finish(Finish::Stop),
        Event::End,
    ];
    assert_eq!(
        whole(&reply(), &steps),
        json!({"id": "chatcmpl-a1", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "a\"b\"", "refusal": null},
                "logprobs": null, "finish_reason": "stop"}],
            "usage": usage_json()})
    );
}

#[test]
fn calls_and_refusals_leave_no_empty_text() {
    let steps = [
        tool_start(0, Some("c"), "f"),
        arguments(0, r#"{\"a\":"#),
        finish(Finish::Length),
        Event::End,
    ];
    let message = &whole(&reply(), &steps)["choices"][0]["message"];
    assert_eq!(message["content"], Value::Null);
    // As the model wrote it, though it is broken.
    assert_eq!(
        message["tool_calls"],
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}}])
    );
    let steps = [
        Event::Refusal(text("no")),
        finish(Finish::Filtered),
        Event::End,
    ];
    let message = &whole(&reply(), &steps)["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["refusal"]),
        (&Value::Null, &json!("no"))
    );
    assert_eq!(
        streamed(reply(), &steps)[1],
        chunk(json!({"refusal": "no"}), Value::Null)
    );
    let nothing = whole(&reply(), &[finish(Finish::Stop), Event::End]);
    assert_eq!(nothing["choices"][0]["message"]["content"], "");
}

/// A client of 2023 has room for one call.
#[test]
fn functions_are_called_in_the_words_of_2023() {
    let of_2023 = || Reply {
        functions: true,
        ..reply()
    };
    let steps = [
        tool_start(0, Some("a"), "f"),
        tool_start(1, Some("b"), "g"),
        arguments(0, r#"{\"x\":"#),
        arguments(1, "{}"),
        arguments(0, "1}"),
        Event::ToolEnd { index: 0 },
        Event::ToolEnd { index: 1 },
        finish(Finish::ToolCalls),
        Event::End,
    ];
    let function = |call: Value| chunk(json!({ "function_call": call }), Value::Null);
    assert_eq!(
        streamed(of_2023(), &steps),
        [
            role(),
            function(json!({"name": "f", "arguments": ""})),
            function(json!({"arguments": "{\"x\":"})),
            function(json!({"arguments": "1}"})),
            chunk(json!({}), json!("function_call")),
            json!("[DONE]")
        ]
    );
    let answer = whole(&of_2023(), &steps);
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "function_call");
    assert_eq!(
        choice["message"]["function_call"],
        json!({"name": "f", "arguments": "{\"x\":1}"})
    );
    assert_eq!(choice["message"].get("tool_calls"), None);
    assert_eq!(choice["message"]["content"], Value::Null);
}

#[test]
fn a_function_without_arguments_has_an_empty_object() {
    let of_2023 = Reply {
        functions: true,
        ..reply()
    };
    let steps = [
        tool_start(0, None, "now"),
        Event::ToolEnd { index: 0 },
        finish(Finish::ToolCalls),
        Event::End,
    ];
    assert_eq!(
        streamed(of_2023, &steps)[2],
        chunk(json!({"function_call": {"arguments": "{}"}}), Value::Null)
    );
}

/// A piece of an answer.
#[derive(Clone, Debug)]
enum Said {
    Thought(String),
    Text(String),
    /// A call by its name, and the pieces of its arguments; `None` for a call that comes whole.
    Call(String, Option<Vec<String>>),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        "\\PC{1,9}".prop_map(Said::Thought),
        "\\PC{1,9}".prop_map(Said::Text),
        (
            "[a-z_]{1,9}",
            prop::option::of(prop::collection::vec("\\PC{0,9}", 0..4))
        )
            .prop_map(|(name, pieces)| Said::Call(name, pieces)),
    ]
}

fn events_of(all: &[Said], finish: Finish) -> Vec<Event<'static>> {
    let mut steps = vec![start()];
    let mut ends = Vec::new();
    for said in all {
        let own = |text: &String| Text::plain(text).into_owned();
        let index = ends.len();
        match said {
            Said::Thought(text) => steps.push(Event::Thinking(own(text))),
            Said::Text(text) => steps.push(Event::Text(own(text))),
            Said::Call(name, None) => {
                steps.push(Event::ToolCall {
                    index,
                    id: Some(Text::escaped(format!("c{index}"))),
                    name: own(name),
                    arguments: Json::trusted("{\"a\": [1, \"<\"]}"),
                    signature: None,
                });
                ends.push(None);
            }
            Said::Call(name, Some(pieces)) => {
                steps.push(Event::ToolStart {
                    index,
                    id: Some(Text::escaped(format!("c{index}"))),
                    name: own(name),
                    signature: None,
                });
                for piece in pieces {
                    let fragment = own(piece);
                    steps.push(Event::ToolArguments { index, fragment });
                }
                ends.push(Some(Event::ToolEnd { index }));
            }
        }
    }
    steps.extend(ends.into_iter().flatten());
    steps.push(Event::Usage(usage()));
    steps.push(Event::Finish {
        reason: finish,
        stop: None,
    });
    steps.push(Event::End);
    steps
}

/// What a client understands of an answer.
fn understood(response: &Response) -> (String, String, Vec<[String; 3]>, Finish, Usage) {
    let calls = response.calls().map(|call| {
        let id = call.id.as_ref().unwrap().decoded().into_owned();
        let arguments = Text::escaped(call.argument_text()).decoded().into_owned();
        [id, call.name.decoded().into_owned(), arguments]
    });
    (
        response.text().decoded().into_owned(),
        response.thinking().decoded().into_owned(),
        calls.collect(),
        response.finish,
        response.usage,
    )
}

proptest! {
    /// Whatever is said to a client in this format can be read of it again, streamed at any split and whole.
    #[test]
    fn what_is_written_is_read(all in prop::collection::vec(said(), 0..8),
        finish in prop::sample::select(vec![Finish::Stop, Finish::Length, Finish::ToolCalls, Finish::Filtered]),
        field in prop::sample::select(vec![ReasoningField::Both, ReasoningField::Reasoning, ReasoningField::ReasoningContent]),
        cut in any::<prop::sample::Index>()) {
        let reply = Reply { include_usage: true, reasoning_field: field, ..reply() };
        let steps = events_of(&all, finish);
        let mut assembler = Assembler::default();
        let mut stream = Vec::new();
        let mut encoder = encoder(reply.clone());
        for step in &steps {
            assembler.event(step);
            encoder.event(step, &mut stream);
        }
        let original = assembler.finish().unwrap();

        let cut = cut.index(stream.len());
        let mut streamed = Assembler::default();
        let mut decoder = decoder(ToolNames::default());
        decoder.feed(&stream[..cut], &mut |event| streamed.event(&event));
        decoder.feed(&stream[cut..], &mut |event| streamed.event(&event));
        decoder.finish(&mut |event| streamed.event(&event));
        prop_assert_eq!(understood(&streamed.finish().unwrap()), understood(&original));

        let mut body = Vec::new();
        write_whole(&original, &reply, &mut body);
        let mut whole = Assembler::default();
        read_whole(&body, &ToolNames::default(), &mut |event| whole.event(&event));
        prop_assert_eq!(understood(&whole.finish().unwrap()), understood(&original));
    }
}

#[test]
fn how_the_answer_was_served_is_told() {
    let served = |tier: Option<&'static str>| Event::Served {
        tier: tier.map(Text::escaped),
        fingerprint: Some(Text::escaped("fp_1")),
    };
    let mut encoder = encoder(reply());
    let mut out = Vec::new();
    for event in [
        served(Some("auto")),
        Event::Text(Text::escaped("a")),
        served(Some("flex")),
        served(None),
        Event::Text(Text::escaped("b")),
    ] {
        encoder.event(&event, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let told: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .map(|chunk| {
            (
                chunk["service_tier"].clone(),
                chunk["system_fingerprint"].clone(),
            )
        })
        .collect();
    let both = |tier: &str| (json!(tier), json!("fp_1"));
    assert_eq!(told, [both("auto"), both("auto"), both("flex")]);
}
