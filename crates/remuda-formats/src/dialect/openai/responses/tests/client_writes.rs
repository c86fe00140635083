//! Answers as clients read them: every stream is taken in as a client would, by the ids of its items.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{encoder, write_whole};
use super::reply;
use crate::ir::{Assembler, Class, Event, Fault, FaultKind, Finish, Json, Text, Usage};

fn text(text: &str) -> Text<'_> {
    Text::plain(text)
}

fn start(index: usize, name: &'static str) -> Event<'static> {
    Event::ToolStart {
        index,
        id: None,
        name: Text::escaped(name),
        signature: None,
    }
}

fn arguments(index: usize, fragment: &'static str) -> Event<'static> {
    Event::ToolArguments {
        index,
        fragment: Text::plain(fragment),
    }
}

fn finish(reason: Finish) -> Event<'static> {
    Event::Finish { reason, stop: None }
}

fn stream(events: &[Event<'_>]) -> Vec<u8> {
    let mut encoder = encoder(reply());
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    out
}

/// The data of the events, whose names and numbers must be right.
fn data(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).unwrap();
    assert!(text.is_empty() || text.ends_with("\n\n"));
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .filter(|event| !event.starts_with(':'))
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(data["type"], name.strip_prefix("event: ").unwrap());
            data
        })
        .collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    events
}

fn kinds(stream: &[u8]) -> Vec<String> {
    let data = data(stream);
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    data.iter()
        .map(|event| kind(event).replace("response.", ""))
        .collect()
}

/// What a client makes of a stream, without looking at its last event, which must say the same. Returns that one's
/// response.
#[expect(
    clippy::too_many_lines,
    reason = "it has an arm for each kind of event"
)]
fn taken_in(stream: &[u8]) -> Value {
    let mut events = data(stream);
    let last = events.pop().unwrap();
    assert_eq!(events.remove(0)["type"], "response.created");
    assert_eq!(events.remove(0)["type"], "response.in_progress");
    let mut items: BTreeMap<u64, Value> = BTreeMap::new();
    let mut done: BTreeMap<u64, Value> = BTreeMap::new();
    for event in events {
        let place = event["output_index"].as_u64().unwrap();
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(place, items.len() as u64, "dense and in order");
                items.insert(place, event["item"].clone());
                continue;
            }
            "response.output_item.done" => {
                let (item, mut told) = (&event["item"], items[&place].clone());
                for varies in ["status", "encrypted_content"] {
                    if let Some(value) = item.get(varies) {
                        told[varies] = value.clone();
                    }
                }
                assert_eq!(*item, told);
                assert!(done.insert(place, item.clone()).is_none());
                continue;
            }
            _ => {}
        }
        assert!(!done.contains_key(&place));
        let item = items.get_mut(&place).expect("announced before");
        assert_eq!(item["id"], event["item_id"]);
        let part = |item: &Value, list: &str, index: &str| {
            let index = event[index].as_u64().unwrap() as usize;
            assert_eq!(index + 1, item[list].as_array().unwrap().len());
            index
        };
        match event["type"].as_str().unwrap() {
            "response.content_part.added" => {
                let parts = item["content"].as_array_mut().unwrap();
                assert_eq!(event["content_index"], parts.len());
                parts.push(event["part"].clone());
            }
            "response.reasoning_summary_part.added" => {
                let parts = item["summary"].as_array_mut().unwrap();
                assert_eq!(event["summary_index"], parts.len());
                parts.push(event["part"].clone());
            }
            "response.output_text.delta" => {
                let at = part(item, "content", "content_index");
                add(&mut item["content"][at]["text"], &event["delta"]);
                let logged = event["logprobs"].as_array().unwrap().clone();
                let all = item["content"][at]["logprobs"].as_array_mut().unwrap();
                all.extend(logged);
            }
            "response.refusal.delta" => {
                let at = part(item, "content", "content_index");
                add(&mut item["content"][at]["refusal"], &event["delta"]);
            }
            "response.reasoning_summary_text.delta" => {
                let at = part(item, "summary", "summary_index");
                add(&mut item["summary"][at]["text"], &event["delta"]);
            }
            "response.function_call_arguments.delta" => {
                add(&mut item["arguments"], &event["delta"]);
            }
            "response.output_text.annotation.added" => {
                let at = part(item, "content", "content_index");
                let all = item["content"][at]["annotations"].as_array_mut().unwrap();
                assert_eq!(event["annotation_index"], all.len());
                all.push(event["annotation"].clone());
            }
            "response.output_text.done" => {
                let at = part(item, "content", "content_index");
                assert_eq!(item["content"][at]["text"], event["text"]);
                assert_eq!(item["content"][at]["logprobs"], event["logprobs"]);
            }
            "response.refusal.done" => {
                let at = part(item, "content", "content_index");
                assert_eq!(item["content"][at]["refusal"], event["refusal"]);
            }
            "response.content_part.done" => {
                let at = part(item, "content", "content_index");
                assert_eq!(item["content"][at], event["part"]);
            }
            "response.reasoning_summary_text.done" => {
                let at = part(item, "summary", "summary_index");
                assert_eq!(item["summary"][at]["text"], event["text"]);
            }
            "response.reasoning_summary_part.done" => {
                let at = part(item, "summary", "summary_index");
                assert_eq!(item["summary"][at], event["part"]);
            }
            "response.function_call_arguments.done" => {
                assert_eq!(item["arguments"], event["arguments"]);
            }
            other => panic!("{other}"),
        }
    }
    let response = last["response"].clone();
    if last["type"] != "response.failed" {
        assert_eq!(done.len(), items.len(), "every item is ended");
    }
    let told: Vec<_> = done.into_values().collect();
    assert_eq!(response["output"], Value::Array(told));
    response
}

fn add(text: &mut Value, delta: &Value) {
    let whole = format!("{}{}", text.as_str().unwrap(), delta.as_str().unwrap());
    *text = whole.into();
}

fn whole(events: &[Event<'_>]) -> Value {
    let mut assembler = Assembler::default();
    for event in events {
        assembler.event(event);
    }
    let mut out = Vec::new();
    write_whole(&assembler.finish().unwrap(), &reply(), &mut out);
    serde_json::from_slice(&out).unwrap()
}

/// Thinking, text and two calls.
fn full() -> Vec<Event<'static>> {
    vec![
        Event::Start {
            id: Some(Text::escaped("x")),
            model: None,
        },
        Event::Thinking(Text::escaped("a")),
        Event::Thinking(Text::escaped("b")),
        Event::Signature {
            data: Text::escaped("sig"),
            redacted: false,
            id: None,
        },
        Event::Text(Text::escaped("x")),
        Event::Text(Text::escaped("\\\"y\\\"")),
        start(0, "f"),
        start(1, "g"),
        arguments(1, "{\"b\":"),
        arguments(0, "{\"a\":1}"),
        arguments(1, "2}"),
        Event::ToolEnd { index: 0 },
        Event::ToolEnd { index: 1 },
        Event::Usage(Usage {
            prompt: Some(9),
            cache_read: Some(4),
            output: Some(5),
            reasoning: Some(2),
            ..Usage::default()
        }),
        finish(Finish::ToolCalls),
        Event::End,
    ]
}

#[test]
fn a_stream_has_all_events_in_their_order() {
    let stream = stream(&full());
    assert_eq!(
        kinds(&stream),
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    assert!(!String::from_utf8(stream).unwrap().contains("[DONE]"));
}

#[test]
fn the_last_event_holds_the_whole_response() {
    let response = taken_in(&stream(&full()));
    assert_eq!(
        response,
        json!({"id": "resp_a1", "object": "response", "created_at": 7, "model": "m", "background": false,
            "instructions": null, "max_output_tokens": null, "metadata": {}, "parallel_tool_calls": true,
            "previous_response_id": null, "store": false, "temperature": null, "tool_choice": "auto", "tools": [],
            "top_p": null, "status": "completed", "error": null, "incomplete_details": null,
            "output": [
                {"id": "rs_remuda_a1_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "ab"}],
                    "encrypted_content": "sig"},
                {"id": "msg_a1_1", "type": "message", "status": "completed", "role": "assistant", "content": [
                    {"type": "output_text", "annotations": [], "logprobs": [], "text": "x\"y\""}]},
                {"id": "fc_a1_2", "type": "function_call", "status": "completed", "arguments": "{\"a\":1}",
                    "call_id": "call_a1_0", "name": "f"},
                {"id": "fc_a1_3", "type": "function_call", "status": "completed", "arguments": "{\"b\":2}",
                    "call_id": "call_a1_1", "name": "g"}],
            "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
                "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 14}})
    );
    assert_eq!(response, whole(&full()));
}

#[test]
fn trap_21_items_are_announced_before_deltas_and_places_are_unique() {
    // Calls before the text, and text while a call is open.
    let response = taken_in(&stream(&[
        start(0, "f"),
        Event::Text(text("a")),
        arguments(0, "{}"),
        start(1, "g"),
        Event::Text(text("b")),
        Event::ToolEnd { index: 1 },
        Event::ToolEnd { index: 0 },
        finish(Finish::Stop),
        Event::End,
    ]));
    let types: Vec<_> = response["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        ["function_call", "message", "function_call", "message"]
    );
}

#[test]
fn trap_22_calls_are_always_closed() {
    let response = taken_in(&stream(&[
        start(0, "f"),
        start(1, "g"),
        arguments(1, "{\"a\":"),
        finish(Finish::Length),
        Event::End,
    ]));
    assert_eq!(response["status"], "incomplete");
    assert_eq!(
        response["incomplete_details"],
        json!({"reason": "max_output_tokens"})
    );
    assert_eq!(response["output"][0]["arguments"], "{}");
    assert_eq!(response["output"][1]["arguments"], "{\"a\":");
    assert_eq!(response["output"][1]["status"], "incomplete");
}

#[test]
fn a_whole_call_and_its_signature_are_told() {
    let events = [
        Event::ToolCall {
            index: 0,
            id: Some(text("c1")),
            name: text("f"),
            arguments: Json::trusted(r#"{"a":"ä"}"#),
            signature: Some(text("sig")),
        },
        finish(Finish::ToolCalls),
        Event::End,
    ];
    let response = taken_in(&stream(&events));
    assert_eq!(response["output"][0]["call_id"], "c1__thought__c2ln");
    assert_eq!(response["output"][0]["arguments"], r#"{"a":"ä"}"#);
    assert_eq!(response, whole(&events));
}

#[test]
fn refusals_are_parts_of_their_own() {
    let events = [
        Event::Text(text("Well. ")),
        Event::Refusal(text("I ")),
        Event::Refusal(text("won't.")),
        finish(Finish::Filtered),
        Event::End,
    ];
    let stream = stream(&events);
    assert_eq!(kinds(&stream).last().unwrap(), "incomplete");
    let response = taken_in(&stream);
    assert_eq!(
        response["incomplete_details"],
        json!({"reason": "content_filter"})
    );
    assert_eq!(
        response["output"][0]["content"],
        json!([{"type": "output_text", "annotations": [], "logprobs": [], "text": "Well. "},
            {"type": "refusal", "refusal": "I won't."}])
    );
    assert_eq!(response, whole(&events));
}

#[test]
fn hidden_thoughts_and_lone_signatures_are_items() {
    let events = [
        Event::Thinking(text("t")),
        Event::Signature {
            data: text("hidden"),
            redacted: true,
            id: None,
        },
        Event::Signature {
            data: text("enc"),
            redacted: false,
            id: Some(text("rs_9")),
        },
        Event::Text(text("x")),
        finish(Finish::Stop),
        Event::End,
    ];
    let response = taken_in(&stream(&events));
    assert_eq!(
        response["output"].as_array().unwrap()[..3],
        [
            json!({"id": "rs_remuda_a1_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]}),
            json!({"id": "rs_remuda_hidden_a1_1", "type": "reasoning", "summary": [], "encrypted_content": "hidden"}),
            json!({"id": "rs_9", "type": "reasoning", "summary": [], "encrypted_content": "enc"})
        ]
    );
    assert_eq!(response, whole(&events));
}

#[test]
fn sources_become_citations_of_the_text() {
    let sources = Json::trusted(
        r#"[{"url":"https://a/1","title":"A"},{"url":"https://a/2"},{"title":"no address"}]"#,
    );
    let citation = |url: &str, title: &str| json!({"type": "url_citation", "start_index": 0, "end_index": 0, "url": url, "title": title});
    for events in [
        [
            Event::Sources(sources.clone()),
            Event::Text(text("x")),
            finish(Finish::Stop),
            Event::End,
        ],
        [
            Event::Text(text("x")),
            Event::Sources(sources.clone()),
            finish(Finish::Stop),
            Event::End,
        ],
    ] {
        let response = taken_in(&stream(&events));
        assert_eq!(
            response["output"][0]["content"][0]["annotations"],
            json!([citation("https://a/1", "A"), citation("https://a/2", "")])
        );
        assert_eq!(response, whole(&events));
    }
}

#[test]
fn log_probabilities_stand_with_their_text() {
    let events = [
        Event::Text(text("x")),
        Event::Logprobs(Json::trusted(r#"[{"token":"x","logprob":-0.5}]"#)),
        Event::Text(text("y")),
        Event::Logprobs(Json::trusted("[ ]")),
        // As a provider that writes its bodies for people's eyes has it.
        Event::Logprobs(Json::trusted(
            "[\n  {\n    \"token\": \"y\",\n    \"logprob\": -1\n  }\n]",
        )),
        finish(Finish::Stop),
        Event::End,
    ];
    let response = taken_in(&stream(&events));
    assert_eq!(
        response["output"][0]["content"][0]["logprobs"],
        json!([{"token": "x", "logprob": -0.5}, {"token": "y", "logprob": -1}])
    );
    assert_eq!(response, whole(&events));
}

#[test]
fn an_empty_answer_has_an_empty_text() {
    let events = [finish(Finish::Stop), Event::End];
    let response = taken_in(&stream(&events));
    assert_eq!(response["output"][0]["content"][0]["text"], "");
    assert_eq!(response, whole(&events));
    let cut = [finish(Finish::Length), Event::End];
    assert_eq!(taken_in(&stream(&cut))["output"], json!([]));
}

#[test]
fn nothing_is_said_before_the_first_content() {
    let mut encoder = encoder(reply());
    let mut out = Vec::new();
    encoder.event(
        &Event::Start {
            id: None,
            model: None,
        },
        &mut out,
    );
    encoder.event(&Event::Text(Text::default()), &mut out);
    encoder.event(&Event::Usage(Usage::default()), &mut out);
    assert!(out.is_empty());
    encoder.event(&Event::Ping, &mut out);
    assert_eq!(out, b": ping\n\n");
}

#[test]
fn a_failure_is_an_error_before_the_answer_and_the_responses_own_after() {
    let fault = Fault::new(Class::Capacity, FaultKind::RateLimit, "too \"many\"");
    let failed = || Event::Failed(Cow::Owned(fault.clone()));
    assert_eq!(
        data(&stream(&[failed(), Event::End])),
        [
            json!({"type": "error", "sequence_number": 0, "code": "rate_limit_exceeded",
            "message": "too \"many\"", "param": null})
        ]
    );
    let begun = stream(&[
        Event::Thinking(text("t")),
        Event::Text(text("x")),
        failed(),
        Event::Text(text("never")),
        finish(Finish::Stop),
        Event::End,
    ]);
    let response = taken_in(&begun);
    assert_eq!(data(&begun).last().unwrap()["type"], "response.failed");
    assert_eq!(response["status"], "failed");
    assert_eq!(
        response["error"],
        json!({"code": "rate_limit_exceeded", "message": "too \"many\""})
    );
    assert_eq!(response["output"].as_array().unwrap().len(), 1);
    assert!(!String::from_utf8(begun).unwrap().contains("never"));
}

/// Any order that a decoder may emit.
fn any_events() -> impl Strategy<Value = Vec<Event<'static>>> {
    let step = (0..9u8, "[a\"\\\\é\n]{1,4}", any::<usize>());
    prop::collection::vec(step, 0..24).prop_map(|steps| {
        let mut events = Vec::new();
        let mut open = Vec::new();
        let mut calls = 0;
        for (kind, said, pick) in steps {
            let said = Text::plain(&said).into_owned();
            let some = (!open.is_empty()).then(|| open[pick % open.len()]);
            match (kind, some) {
                (0, _) => events.push(Event::Thinking(said)),
                (1, _) => events.push(Event::Text(said)),
                (2, _) => events.push(Event::Refusal(said)),
                (3, _) => events.push(Event::Signature {
                    data: said,
                    redacted: pick % 2 == 0,
                    id: None,
                }),
                (4, _) => {
                    events.push(start(calls, "f"));
                    open.push(calls);
                    calls += 1;
                }
                (5, _) => {
                    events.push(Event::ToolCall {
                        index: calls,
                        id: Some(said),
                        name: Text::escaped("g"),
                        arguments: Json::trusted(r#"{"a":[1]}"#),
                        signature: None,
                    });
                    calls += 1;
                }
                (6 | 7, Some(index)) => events.push(Event::ToolArguments {
                    index,
                    fragment: said,
                }),
                (8, Some(index)) => {
                    events.push(Event::ToolEnd { index });
                    open.retain(|call| *call != index);
                }
                _ => events.push(Event::Ping),
            }
        }
        events.push(finish(Finish::ToolCalls));
        events.push(Event::End);
        events
    })
}

proptest! {
    #[test]
    fn streams_and_whole_answers_say_the_same(events in any_events()) {
        prop_assert_eq!(taken_in(&stream(&events)), whole(&events));
    }
}
