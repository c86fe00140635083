//! Answers as OpenAI and Perplexity send them, at every split.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{decoder, encoder, read_whole, write_whole};
use super::{reply, shown};
use crate::ir::{Assembler, Event, ToolNames};

/// As OpenAI streams: with names.
pub(super) fn named(events: &[Value]) -> Vec<u8> {
    let mut stream = String::new();
    for (number, event) in events.iter().enumerate() {
        let mut event = event.clone();
        event["sequence_number"] = number.into();
        let name = event["type"].as_str().unwrap();
        stream.push_str(&format!("event: {name}\ndata: {event}\n\n"));
    }
    stream.into_bytes()
}

/// As Perplexity does: without.
pub(super) fn nameless(events: &[Value]) -> Vec<u8> {
    let stream: String = events
        .iter()
        .map(|event| format!("data: {event}\r\n\r\n"))
        .collect();
    stream.into_bytes()
}

pub(super) fn pieces(pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = decoder(ToolNames::default());
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut |event| events.push(shown(&event)));
    }
    decoder.finish(&mut |event| events.push(shown(&event)));
    events.retain(|event| event != "ping");
    events
}

/// The events of a stream, the same at every split; pings left out.
pub(super) fn events(stream: &[u8]) -> Vec<String> {
    let at_once = pieces(&[stream]);
    for at in 0..stream.len() {
        assert_eq!(pieces(&[&stream[..at], &stream[at..]]), at_once, "at {at}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(pieces(&bytes), at_once);
    at_once
}

pub(super) fn whole(body: &Value) -> Vec<String> {
    let mut events = Vec::new();
    read_whole(
        body.to_string().as_bytes(),
        &ToolNames::default(),
        &mut |event| events.push(shown(&event)),
    );
    events.retain(|event| event != "ping");
    events
}

pub(super) fn begun() -> Value {
    json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt", "status": "in_progress", "output": [],
        "usage": null, "error": null}})
}

pub(super) fn usage() -> Value {
    json!({"input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0}, "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 50})
}

pub(super) fn ended(status: &str, output: Value) -> Value {
    json!({"type": format!("response.{status}"), "response": {"id": "resp_1", "model": "gpt", "status": status,
        "error": null, "incomplete_details": null, "output": output, "usage": usage()}})
}

pub(super) fn item(kind: &str, place: u64, item: &Value) -> Value {
    json!({"type": format!("response.output_item.{kind}"), "output_index": place, "item": item})
}

pub(super) fn delta(kind: &str, id: &str, place: u64, delta: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "item_id": id, "output_index": place, "content_index": 0,
        "summary_index": 0, "delta": delta, "obfuscation": "x1"})
}

pub(super) fn called(id: &str, call_id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function_call", "status": "completed", "call_id": call_id, "name": name,
        "arguments": arguments})
}

pub(super) fn reasoned(summary: &[&str]) -> Value {
    let summary: Vec<_> = summary
        .iter()
        .map(|text| json!({"type": "summary_text", "text": text}))
        .collect();
    json!({"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": "gAAA=="})
}

pub(super) fn said(text: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]})
}

pub(super) const USAGE: &str = "usage 30 10 - 20 5 -";

/// Reasoning in two parts, then text.
fn thoughtful() -> Vec<Value> {
    let part = |kind: &str, index: u64| {
        json!({"type": format!("response.reasoning_summary_part.{kind}"), "item_id": "rs_1", "output_index": 0,
        "summary_index": index, "part": {"type": "summary_text", "text": ""}})
    };
    let thought = |index: u64, text: &str| {
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0,
        "summary_index": index, "delta": text})
    };
    vec![
        begun(),
        json!({"type": "response.in_progress", "response": {"id": "resp_1", "model": "gpt"}}),
        item("added", 0, &reasoned(&[])),
        part("added", 0),
        thought(0, "Let me "),
        thought(0, "see."),
        json!({"type": "response.reasoning_summary_text.done", "item_id": "rs_1", "output_index": 0, "summary_index": 0,
            "text": "Let me see."}),
        part("done", 0),
        part("added", 1),
        thought(1, "Yes."),
        part("done", 1),
        item("done", 0, &reasoned(&["Let me see.", "Yes."])),
        item(
            "added",
            1,
            &json!({"id": "msg_1", "type": "message", "content": []}),
        ),
        json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 1, "content_index": 0,
            "part": {"type": "output_text", "text": ""}}),
        delta("output_text", "msg_1", 1, "Grüße"),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 1, "delta": "!",
            "logprobs": [{"token": "!", "logprob": -0.1}]}),
        json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 1, "text": "Grüße!"}),
        json!({"type": "response.content_part.done", "item_id": "msg_1", "output_index": 1,
            "part": {"type": "output_text", "text": "Grüße!"}}),
        item("done", 1, &said("Grüße!")),
        ended(
            "completed",
            json!([reasoned(&["Let me see.", "Yes."]), said("Grüße!")]),
        ),
    ]
}

#[test]
fn reasoning_and_text() {
    assert_eq!(
        events(&named(&thoughtful())),
        [
            "start resp_1 gpt",
            "thinking Let me ",
            "thinking see.",
            "thinking \n\n",
            "thinking Yes.",
            "signature gAAA== false rs_1",
            "text Grüße",
            "text !",
            r#"logprobs [{"logprob":-0.1,"token":"!"}]"#,
            USAGE,
            "finish Stop",
            "end",
        ]
    );
}

/// Parallel calls have indexes of their own (BerriAI/litellm#21331), pieces of arguments are found by `item_id` and not
/// by `call_id` (6Kmfi6HP/opencode2api#17), and the last snapshot does not repeat them (lidge-jun/opencodex#363).
#[test]
fn parallel_calls_are_found_by_item_and_their_arguments_come_once() {
    let stream = [
        begun(),
        item("added", 0, &called("fc_1", "call_1", "f", "")),
        item("added", 1, &called("fc_2", "call_2", "g", "")),
        delta("function_call_arguments", "fc_2", 1, "{\"b\":"),
        delta("function_call_arguments", "fc_1", 0, "{\"a\":1}"),
        delta("function_call_arguments", "fc_2", 1, "2}"),
        json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0,
            "arguments": "{\"a\":1}"}),
        item("done", 0, &called("fc_1", "call_1", "f", "{\"a\":1}")),
        item("done", 1, &called("fc_2", "call_2", "g", "{\"b\":2}")),
        // A server that tells a call as a whole.
        item("done", 2, &called("fc_3", "call_3", "h", "{}")),
        ended(
            "completed",
            json!([called("fc_1", "call_1", "f", "{\"a\":1}")]),
        ),
    ];
    assert_eq!(
        events(&named(&stream)),
        [
            "start resp_1 gpt",
            "call 0 call_1 f -",
            "call 1 call_2 g -",
            "arguments 1 {\"b\":",
            "arguments 0 {\"a\":1}",
            "arguments 1 2}",
            "end of 0",
            "end of 1",
            "call 2 call_3 h -",
            "arguments 2 {}",
            "end of 2",
            USAGE,
            "finish Stop",
            "end",
        ]
    );
}

#[test]
fn servers_without_item_ids_go_by_place() {
    let anonymous = |arguments: &str| json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments});
    let stream = [
        item("added", 3, &anonymous("")),
        json!({"type": "response.function_call_arguments.delta", "output_index": 3, "delta": "{\"a\""}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 4, "delta": "lost"}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 3, "delta": ":1}"}),
        item("done", 3, &anonymous("{\"a\":1}")),
        json!({"type": "response.incomplete", "response": {"status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"}}}),
    ];
    assert_eq!(
        events(&named(&stream)),
        [
            "call 0 c f -",
            "arguments 0 {\"a\"",
            "arguments 0 :1}",
            "end of 0",
            "finish Length",
            "end"
        ]
    );
}

#[test]
fn refusals_and_filters() {
    let refused = json!({"id": "msg_1", "type": "message", "content": [{"type": "refusal", "refusal": "I won't."}]});
    let mut end = ended("incomplete", json!([refused]));
    end["response"]["incomplete_details"] = json!({"reason": "content_filter"});
    let stream = [
        begun(),
        delta("refusal", "msg_1", 0, "I won't."),
        item("done", 0, &refused),
        end.clone(),
    ];
    let expected = ["refusal I won't.", USAGE, "finish Filtered", "end"];
    assert_eq!(events(&named(&stream))[1..], expected);
    assert_eq!(whole(&end["response"])[1..], expected);
}

#[test]
fn perplexity_streams_without_names_and_tells_its_sources() {
    let results = json!([{"id": 1, "url": "https://a/1", "title": "A"}]);
    let more = json!([{"id": 2, "url": "https://a/2"}]);
    let search =
        |results: &Value| json!({"type": "search_results", "queries": ["q"], "results": results});
    let stream = [
        begun(),
        json!({"type": "response.reasoning.started", "thought": "I search."}),
        json!({"type": "response.reasoning.search_queries", "queries": ["q"], "thought": null}),
        json!({"type": "response.reasoning.search_results", "results": results}),
        json!({"type": "response.reasoning.stopped", "thought": "Found."}),
        json!({"type": "response.skill.loaded", "name": "x"}),
        item("added", 0, &search(&results)),
        item("done", 0, &search(&results)),
        item("done", 1, &search(&more)),
        delta("output_text", "msg_1", 2, "Yes [1]"),
        item("done", 2, &said("Yes [1]")),
        json!({"type": "response.completed", "response": {"id": "resp_1", "model": "gpt", "status": "completed",
            "output": [search(&results), said("Yes [1]")], "usage": {"input_tokens": 30, "output_tokens": 20,
            "total_tokens": 50, "input_tokens_details": {"cache_read_input_tokens": 10, "cache_creation_input_tokens": 4},
            "cost": {"currency": "USD", "total_cost": 0.0125}}}}),
    ];
    assert_eq!(
        events(&nameless(&stream)),
        [
            "start resp_1 gpt",
            "thinking I search.",
            "thinking \n\n",
            "thinking Found.",
            r#"sources [{"id":1,"title":"A","url":"https://a/1"}]"#,
            r#"sources [{"id":1,"title":"A","url":"https://a/1"},{"id":2,"url":"https://a/2"}]"#,
            "text Yes [1]",
            "usage 30 10 4 20 - 0.0125",
            "finish Stop",
            "end",
        ]
    );
}

#[test]
fn a_last_event_tells_what_was_not_told_before() {
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}",
        "thought_signature": "c2ln"});
    let output = json!([reasoned(&["t"]), said("x"), call]);
    let expected = [
        "start resp_1 gpt",
        "thinking t",
        "signature gAAA== false rs_1",
        "text x",
        "call 0 c f c2ln",
        "arguments 0 {}",
        "end of 0",
        USAGE,
        "finish Stop",
        "end",
    ];
    let end = ended("completed", output);
    assert_eq!(events(&named(&[begun(), end.clone()])), expected);
    assert_eq!(whole(&end["response"]), expected);
    // Servers that answer a stream with a body.
    let reframed = events(end["response"].to_string().as_bytes());
    assert_eq!(reframed[0], "reframed");
    assert_eq!(reframed[1..], expected);
}

/// Perplexity's word for a response that waits for the outcome of a call.
#[test]
fn a_response_that_requires_action_is_whole() {
    let body = json!({"id": "r", "model": "m", "status": "requires_action", "output": [called("fc", "c", "f", "{}")]});
    assert_eq!(
        whole(&body),
        [
            "start r m",
            "call 0 c f -",
            "arguments 0 {}",
            "end of 0",
            "finish Stop",
            "end"
        ]
    );
}

#[test]
fn failures_in_a_stream_and_in_a_whole_answer_of_status_200() {
    let error = json!({"code": "rate_limit_exceeded", "message": "Slow down."});
    let failed = json!({"id": "resp_1", "model": "gpt", "status": "failed", "error": error, "output": [], "usage": null});
    let shown = "failed Capacity RateLimit Slow down.";
    for last in [
        json!({"type": "response.failed", "response": failed}),
        json!({"type": "response.failed", "error": error}),
        json!({"type": "error", "code": "rate_limit_exceeded", "message": "Slow down.", "param": null}),
        json!({"type": "error", "error": error}),
        json!({"error": error}),
    ] {
        let stream = nameless(&[begun(), delta("output_text", "m", 0, "x"), last]);
        assert_eq!(events(&stream), ["start resp_1 gpt", "text x", shown]);
    }
    assert_eq!(whole(&failed).last().unwrap(), shown);
    assert_eq!(whole(&json!({"error": error})), [shown]);
    for status in ["failed", "cancelled"] {
        let body = json!({"id": "r", "status": status, "error": null, "output": [said("x")]});
        let events = whole(&body);
        assert!(
            events.last().unwrap().starts_with("failed Transient"),
            "{events:?}"
        );
        let stream = named(&[json!({"type": format!("response.{status}"), "response": body})]);
        let events = self::events(&stream);
        assert!(
            events.last().unwrap().starts_with("failed Transient"),
            "{events:?}"
        );
    }
}

#[test]
fn an_answer_without_its_end_is_none() {
    let broken = "failed Transient Incomplete the provider's answer broke off before its end";
    let stream = named(&thoughtful());
    for events in 0..20 {
        let mut seen = 0;
        let end = stream
            .windows(2)
            .position(|pair| {
                seen += usize::from(pair == b"\n\n");
                seen > events
            })
            .unwrap();
        let cut = pieces(&[&stream[..end]]);
        match events {
            19 => assert_eq!(
                cut.last().unwrap(),
                "end",
                "the last blank line may be missing"
            ),
            _ => assert_eq!(cut.last().unwrap(), broken),
        }
    }
    assert_eq!(pieces(&[b""]), [broken]);
    assert_eq!(
        whole(&json!({"id": "r", "status": "in_progress", "output": []}))
            .last()
            .unwrap(),
        broken
    );
}

#[test]
fn what_is_no_answer_is_garbled() {
    for body in ["", "<html>", "[]", "7", "{}", r#"{"choices":[]}"#] {
        let mut events = Vec::new();
        read_whole(body.as_bytes(), &ToolNames::default(), &mut |event| {
            events.push(shown(&event));
        });
        assert!(
            events[0].starts_with("failed Transient Garbled"),
            "{body}: {events:?}"
        );
    }
    for stream in ["data: x\n\n", "data: []\n\n", "data: {\"type\":\n\n"] {
        let events = events(stream.as_bytes());
        assert_eq!(
            events,
            [
                "malformed",
                "failed Transient Garbled nothing in the provider's stream can be read"
            ]
        );
    }
}

#[test]
fn trap_11_an_answer_in_an_unknown_form_is_not_empty_and_well() {
    let mut end = ended("completed", json!([{"type": "novel", "stuff": "x"}]));
    end["response"]["usage"]["output_tokens"] = 40.into();
    let events = whole(&end["response"]);
    assert!(
        events
            .last()
            .unwrap()
            .starts_with("failed Transient Garbled"),
        "{events:?}"
    );
}

#[test]
fn unknown_items_and_events_and_done_are_passed_over() {
    let stream = [
        begun(),
        json!({"type": "response.new.thing", "delta": "no"}),
        item("added", 0, &json!({"type": "novel", "id": "n"})),
        item("done", 0, &json!({"type": "novel", "id": 7})),
        delta("output_text", "m", 1, "x"),
        ended("completed", json!([])),
    ];
    let mut stream = named(&stream);
    stream.extend_from_slice(b"data: [DONE]\n\n");
    assert_eq!(
        events(&stream),
        ["start resp_1 gpt", "text x", USAGE, "finish Stop", "end"]
    );
}

#[test]
fn names_of_tools_come_back_as_the_client_wrote_them() {
    let mut names = ToolNames::default();
    let sent = names
        .sent(&crate::ir::Text::escaped("a.b"), 64)
        .into_owned();
    let mut events = Vec::new();
    let body =
        json!({"status": "completed", "output": [called("fc", "c", sent.as_escaped(), "{}")]});
    read_whole(body.to_string().as_bytes(), &names, &mut |event| {
        events.push(shown(&event));
    });
    assert_eq!(events[0], "call 0 c a.b -");
}

/// What is read from a provider and written to a client keeps all that was said, streamed or whole.
#[test]
fn an_answer_comes_through_in_both_roles() {
    let mut read = decoder(ToolNames::default());
    let mut write = encoder(reply());
    let mut assembler = Assembler::default();
    let mut stream = Vec::new();
    let mut pass = |event: Event<'_>| {
        write.event(&event, &mut stream);
        assembler.event(&event);
    };
    read.feed(&named(&thoughtful()), &mut pass);
    read.finish(&mut pass);
    let again = pieces(&[&stream]);
    let mut body = Vec::new();
    write_whole(&assembler.finish().unwrap(), &reply(), &mut body);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        whole(&body),
        [
            "start resp_a1 m",
            "thinking Let me see.\n\nYes.",
            "signature gAAA== false rs_1",
            "text Grüße!",
            r#"logprobs [{"logprob":-0.1,"token":"!"}]"#,
            USAGE,
            "finish Stop",
            "end"
        ]
    );
    let text = |events: &[String], kind: &str| -> String {
        events
            .iter()
            .filter_map(|event| event.strip_prefix(kind))
            .collect()
    };
    assert_eq!(text(&again, "text "), "Grüße!");
    assert_eq!(text(&again, "thinking "), "Let me see.\n\nYes.");
    assert_eq!(again.last().unwrap(), "end");
}

proptest! {
    #[test]
    fn nothing_panics(bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
        let at = at.index(bytes.len() + 1);
        pieces(&[&bytes[..at], &bytes[at..]]);
        read_whole(&bytes, &ToolNames::default(), &mut |_| {});
    }

    #[test]
    fn no_event_panics(kind in "(response\\.)?(output_item|reasoning_summary_part|function_call_arguments|completed|failed|error)(\\.(added|done|delta))?",
        item in "(message|function_call|reasoning|search_results)", raw in "(null|7|\"x\"|\\[\\]|\\[7\\]|\\{\\}|\\[\\{\\}\\])") {
        let stream = format!("data: {{\"type\":\"{kind}\",\"output_index\":{raw},\"delta\":{raw},\"item\":{{\"type\":\"{item}\",\
            \"id\":{raw},\"name\":\"f\",\"content\":{raw},\"summary\":{raw},\"results\":{raw},\"arguments\":{raw}}},\"response\":{raw}}}\n\n");
        let events = pieces(&[stream.as_bytes()]);
        let last = events.last().unwrap();
        prop_assert!(last == "end" || last.starts_with("failed"), "{last}");
    }
}
