//! Answers in both directions, and the traps that others fell into.

use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::exchange::Reply;
use crate::ir::{
    Assembler, Class, Event, Fault, FaultKind, Finish, Json, Response, ResponseItem, Text,
    ToolNames, Usage,
};

fn reply() -> Reply {
    Reply {
        model: Text::escaped("m:latest"),
        id: "r1".into(),
        created: SystemTime::now(),
        ..Reply::sample()
    }
}

/// Which operation an answer is one of.
fn form_of(answer: &[u8]) -> Api {
    match memchr::memmem::find(answer, b"\"response\"") {
        Some(_) => Api::Generate,
        None => Api::Chat,
    }
}

/// The events of an answer that comes in `pieces`.
fn decoded(pieces: &[&[u8]]) -> Vec<Event<'static>> {
    decoded_as(form_of(&pieces.concat()), pieces)
}

fn decoded_as(form: Api, pieces: &[&[u8]]) -> Vec<Event<'static>> {
    let mut decoder = decoder(form, ToolNames::default());
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut |event| events.push(owned(event)));
    }
    decoder.finish(&mut |event| events.push(owned(event)));
    events
}

fn whole(body: &str) -> Vec<Event<'static>> {
    whole_as(form_of(body.as_bytes()), body)
}

fn whole_as(form: Api, body: &str) -> Vec<Event<'static>> {
    let mut events = Vec::new();
    let mut emit = |event: Event<'_>| events.push(owned(event));
    read_whole(form, body.as_bytes(), &ToolNames::default(), &mut emit);
    events
}

fn owned(event: Event<'_>) -> Event<'static> {
    let text = Text::into_owned;
    match event {
        Event::Start { id, model } => Event::Start {
            id: id.map(text),
            model: model.map(text),
        },
        Event::Thinking(thought) => Event::Thinking(text(thought)),
        Event::Text(said) => Event::Text(text(said)),
        Event::ToolCall {
            index,
            id,
            name,
            arguments,
            signature,
        } => Event::ToolCall {
            index,
            id: id.map(text),
            name: text(name),
            arguments: arguments.into_owned(),
            signature: signature.map(text),
        },
        Event::Logprobs(array) => Event::Logprobs(array.into_owned()),
        Event::Usage(usage) => Event::Usage(usage),
        Event::Finish { reason, stop } => Event::Finish {
            reason,
            stop: stop.map(text),
        },
        Event::End => Event::End,
        Event::Malformed => Event::Malformed,
        Event::Reframed => Event::Reframed,
        Event::Failed(fault) => Event::Failed(std::borrow::Cow::Owned(fault.into_owned())),
        other => panic!("Ollama says nothing like {other:?}"),
    }
}

fn assembled(events: &[Event<'_>]) -> Result<Response, Fault> {
    let mut assembler = Assembler::default();
    for event in events {
        assembler.event(event);
    }
    assembler.finish()
}

/// The lines of an answer, without what differs from run to run; times are checked to be there.
fn encoded(form: Api, events: &[Event<'_>]) -> Vec<Value> {
    let mut encoder = encoder(form, reply());
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| timeless(line.as_bytes())).collect()
}

fn timeless(line: &[u8]) -> Value {
    let mut line: Value = serde_json::from_slice(line).unwrap();
    let Value::Object(fields) = &mut line else {
        panic!("{line}")
    };
    if fields.contains_key("error") {
        return line;
    }
    let created = fields.remove("created_at").unwrap();
    chrono::DateTime::parse_from_rfc3339(created.as_str().unwrap()).unwrap();
    assert!(created.as_str().unwrap().ends_with('Z'));
    if fields["done"] == true {
        assert!(fields.remove("total_duration").unwrap().as_u64() > Some(0));
        fields.remove("prompt_eval_duration");
        let duration = fields.remove("eval_duration");
        if fields.contains_key("eval_count") {
            assert!(duration.unwrap().as_u64() > Some(0));
        }
    }
    line
}

fn text(text: &'static str) -> Text<'static> {
    Text::escaped(text)
}

fn finish(reason: Finish) -> Event<'static> {
    Event::Finish { reason, stop: None }
}

fn usage(prompt: u64, output: u64) -> Event<'static> {
    Event::Usage(Usage {
        prompt: Some(prompt),
        output: Some(output),
        ..Usage::default()
    })
}

fn start(index: usize, id: Option<&'static str>, name: &'static str) -> Event<'static> {
    Event::ToolStart {
        index,
        id: id.map(Text::escaped),
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

const CHAT: &str = r#"{"model":"m","created_at":"2026-01-02T03:04:05.1Z","message":{"role":"assistant","content":"","thinking":"Hm."},"done":false}
{"model":"m","created_at":"2026-01-02T03:04:05.2Z","message":{"role":"assistant","content":"Grüße \"😀\"\n","thinking":"Oh."},"done":false,"logprobs":[{"token":"G","logprob":-0.5,"bytes":[71]}]}

{"model":"m","created_at":"2026-01-02T03:04:05.3Z","message":{"role":"assistant","content":"","tool_calls":[{"id":"call_ab12cd34","function":{"index":0,"name":"f","arguments":{"b":1,"a":[{}]}}}]},"done":false}
{"model":"m","created_at":"2026-01-02T03:04:05.4Z","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"g","arguments":{}}}]},"done":true,"done_reason":"stop","total_duration":50,"load_duration":5,"prompt_eval_count":9,"prompt_eval_duration":10,"eval_count":12,"eval_duration":30}
"#;

#[test]
fn every_split_of_a_stream_gives_the_same_events() {
    let stream = CHAT.as_bytes();
    let expected = decoded(&[stream]);
    for cut in 0..=stream.len() {
        let (one, two) = stream.split_at(cut);
        assert_eq!(decoded(&[one, two]), expected, "{cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(decoded(&bytes), expected);
    assert_eq!(
        expected,
        [
            Event::Start {
                id: None,
                model: Some(text("m"))
            },
            Event::Thinking(text("Hm.")),
            Event::Thinking(text("Oh.")),
            Event::Text(text(r#"Grüße \"😀\"\n"#)),
            Event::Logprobs(Json::trusted(
                r#"[{"token":"G","logprob":-0.5,"bytes":[71]}]"#
            )),
            Event::ToolCall {
                index: 0,
                id: Some(text("call_ab12cd34")),
                name: text("f"),
                arguments: Json::trusted(r#"{"b":1,"a":[{}]}"#),
                signature: None,
            },
            Event::ToolCall {
                index: 1,
                id: None,
                name: text("g"),
                arguments: Json::trusted("{}"),
                signature: None,
            },
            Event::Usage(Usage {
                prompt: Some(9),
                output: Some(12),
                load_duration: Some(5),
                prompt_duration: Some(10),
                output_duration: Some(30),
                total_duration: Some(50),
                ..Usage::default()
            }),
            finish(Finish::Stop),
            Event::End,
        ]
    );
}

#[test]
fn trap_8_calls_before_a_bare_last_line_are_calls() {
    let stream = r#"{"message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]},"done":false}
{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}
"#;
    let response = assembled(&decoded(&[stream.as_bytes()])).unwrap();
    let call = response.calls().next().unwrap();
    assert_eq!(call.arguments().as_str(), r#"{"x":1}"#);
}

#[test]
fn trap_1_a_stream_without_its_last_line_is_a_failure() {
    let lines: Vec<&str> = CHAT.lines().collect();
    let lost = lines[..4].join("\n");
    for cut in 0..=lost.len() {
        let events = decoded(&[&lost.as_bytes()[..cut]]);
        let failed = Event::Failed(std::borrow::Cow::Owned(Fault::incomplete()));
        assert_eq!(events.last(), Some(&failed), "{cut}");
        let lines = encoded(Api::Chat, &events);
        let (last, before) = lines.split_last().unwrap();
        assert_eq!(*last, json!({"error": Fault::incomplete().message}));
        assert!(before.iter().all(|line| line["done"] == false));
    }
}

#[test]
fn trap_1_the_last_line_is_done_with_all_counters() {
    let lines = encoded(
        Api::Chat,
        &[
            Event::Start {
                id: Some(text("x")),
                model: None,
            },
            Event::Ping,
            Event::Text(text("a\\n")),
            finish(Finish::Length),
            usage(7, 3),
            Event::End,
            // Nothing follows.
            Event::End,
            Event::Text(text("b")),
        ],
    );
    assert_eq!(
        lines,
        [
            json!({"model": "m:latest", "message": {"role": "assistant", "content": "a\n"}, "done": false}),
            json!({"model": "m:latest", "message": {"role": "assistant", "content": ""}, "done": true,
                "done_reason": "length", "prompt_eval_count": 7, "eval_count": 3}),
        ]
    );
}

#[test]
fn a_providers_own_times_are_kept() {
    let mut encoder = encoder(Api::Generate, reply());
    let mut out = Vec::new();
    let known = Usage {
        prompt: Some(1),
        output: Some(2),
        load_duration: Some(3),
        prompt_duration: Some(4),
        output_duration: Some(0),
        total_duration: Some(6),
        ..Usage::default()
    };
    for event in [finish(Finish::Stop), Event::Usage(known), Event::End] {
        encoder.event(&event, &mut out);
    }
    let line = String::from_utf8(out).unwrap();
    let expected = r#","response":"","done":true,"done_reason":"stop","total_duration":6,"load_duration":3,"prompt_eval_count":1,"prompt_eval_duration":4,"eval_count":2,"eval_duration":1}"#;
    assert!(line.ends_with(&format!("Z\"{expected}\n")), "{line}");
}

#[test]
fn times_are_those_that_were_seen() {
    let reply = Reply {
        started: Instant::now() - Duration::from_millis(40),
        ..reply()
    };
    let mut encoder = encoder(Api::Chat, reply);
    let mut out = Vec::new();
    encoder.event(&Event::Text(text("a")), &mut out);
    out.clear();
    encoder.event(&usage(1, 1), &mut out);
    encoder.event(&Event::End, &mut out);
    let line: Value = serde_json::from_slice(&out).unwrap();
    let time = |name: &str| line[name].as_u64().unwrap();
    assert!(time("prompt_eval_duration") >= 40_000_000);
    assert!(time("total_duration") >= time("prompt_eval_duration") + time("eval_duration") - 1);
    assert_eq!(time("eval_duration"), 1, "one piece takes no time");
}

#[test]
fn calls_come_whole_when_they_close() {
    let lines = encoded(
        Api::Chat,
        &[
            start(0, Some("a"), "f"),
            start(1, None, "g"),
            arguments(1, r#"{\"x\":\n"#),
            arguments(0, ""),
            arguments(1, r#" \"<\\n\"}"#),
            Event::ToolEnd { index: 1 },
            Event::Text(text("t")),
            start(2, Some("c"), "h"),
            arguments(2, r#"{\"cut"#),
            finish(Finish::Length),
            Event::End,
        ],
    );
    let calls = |calls: Value| json!({"model": "m:latest", "message": {"role": "assistant", "content": "", "tool_calls": calls}, "done": false});
    assert_eq!(
        lines[..4],
        [
            calls(
                json!([{"id": "call_r1_1", "function": {"index": 1, "name": "g", "arguments": {"x": "<\n"}}}])
            ),
            json!({"model": "m:latest", "message": {"role": "assistant", "content": "t"}, "done": false}),
            calls(json!([{"id": "a", "function": {"index": 0, "name": "f", "arguments": {}}}])),
            // Malformed arguments are kept, and do not become `{}` in silence (maximhq/bifrost#1075).
            calls(
                json!([{"id": "c", "function": {"index": 2, "name": "h", "arguments": {"_raw": "{\"cut"}}}])
            ),
        ]
    );
    assert_eq!(lines[4]["done_reason"], "length");
    assert_eq!(lines.len(), 5);
}

#[test]
fn done_reason_of_tool_calls_is_stop() {
    for (reason, word) in [
        (Finish::Stop, "stop"),
        (Finish::ToolCalls, "stop"),
        (Finish::Filtered, "stop"),
        (Finish::Length, "length"),
        (Finish::ContextFull, "length"),
        (Finish::Load, "load"),
        (Finish::Unload, "unload"),
    ] {
        let lines = encoded(Api::Chat, &[finish(reason), Event::End]);
        assert_eq!(lines[0]["done_reason"], word);
    }
}

#[test]
fn whole_calls_keep_their_signature_in_the_id() {
    let call = |id: Option<Text<'static>>| Event::ToolCall {
        index: 0,
        id,
        name: text("f"),
        arguments: Json::trusted("{\n  \"a\": 1\r\n}"),
        signature: Some(text("c2ln")),
    };
    for (id, own) in [(Some(text("x")), "x"), (None, "call_r1_0")] {
        let lines = encoded(Api::Generate, &[call(id), Event::End]);
        let call = &lines[0]["tool_calls"][0];
        assert_eq!(call["function"]["arguments"], json!({"a": 1}));
        let id = Text::plain(call["id"].as_str().unwrap());
        let (id, signature) = crate::dialect::signature::unpack(id);
        assert_eq!((id.as_escaped(), signature), (own, Some(text("c2ln"))));
    }
}

#[test]
fn generate_has_response_in_place_of_message() {
    let lines = encoded(
        Api::Generate,
        &[
            Event::Thinking(text("hm")),
            Event::Thinking(text("")),
            Event::Text(text("a")),
            Event::Refusal(text("no")),
            finish(Finish::Stop),
            Event::End,
        ],
    );
    assert_eq!(
        lines,
        [
            json!({"model": "m:latest", "response": "", "thinking": "hm", "done": false}),
            json!({"model": "m:latest", "response": "a", "done": false}),
            json!({"model": "m:latest", "response": "no", "done": false}),
            json!({"model": "m:latest", "response": "", "done": true, "done_reason": "stop"}),
        ]
    );
}

#[test]
fn logprobs_ride_on_the_next_line_and_none_is_lost() {
    let log =
        |token: &str| Event::Logprobs(Json::trusted(format!("[\n{{\"token\":\"{token}\"}}]")));
    let lines = encoded(
        Api::Chat,
        &[
            log("a"),
            Event::Text(text("a")),
            log("b"),
            Event::Logprobs(Json::trusted("[]")),
            log("c"),
            finish(Finish::Stop),
            Event::End,
        ],
    );
    assert_eq!(lines[0]["logprobs"], json!([{"token": "a"}]));
    assert_eq!(
        lines[1]["logprobs"],
        json!([{"token": "b"}, {"token": "c"}])
    );
    // They are bounded where a model says nothing else.
    let many = vec![log("x"); 4_000];
    let lines = encoded(Api::Chat, &many);
    assert!(lines.len() > 1 && lines.iter().all(|line| line["done"] == false));
}

#[test]
fn text_passes_as_it_came() {
    let mut encoder = encoder(Api::Chat, reply());
    let mut out = Vec::new();
    encoder.event(&Event::Text(Text::plain("<é&😀>")), &mut out);
    let line = String::from_utf8(out).unwrap();
    assert!(
        line.contains(r#""content":"\u003cé\u0026😀\u003e"}"#),
        "{line}"
    );
}

#[test]
fn a_failure_is_an_error_line_and_the_last() {
    let fault = Fault::new(Class::Capacity, FaultKind::Overloaded, "busy \"<now>\"");
    let failed = Event::Failed(std::borrow::Cow::Owned(fault));
    for before in [vec![], vec![start(0, None, "f")]] {
        let events = [before, vec![failed.clone(), Event::End]].concat();
        assert_eq!(
            encoded(Api::Chat, &events),
            [json!({"error": "busy \"<now>\""})]
        );
    }
}

#[test]
fn whole_answers_are_one_object() {
    let response = assembled(&decoded(&[CHAT.as_bytes()])).unwrap();
    let mut out = Vec::new();
    write_whole(Api::Chat, &response, &reply(), &mut out);
    let expected = json!({
        "model": "m:latest",
        "message": {
            "role": "assistant", "content": "Grüße \"😀\"\n", "thinking": "Hm.Oh.",
            "tool_calls": [
                {"id": "call_ab12cd34", "function": {"index": 0, "name": "f", "arguments": {"b": 1, "a": [{}]}}},
                {"id": "call_r1_1", "function": {"index": 1, "name": "g", "arguments": {}}},
            ],
        },
        "done": true, "done_reason": "stop", "load_duration": 5, "prompt_eval_count": 9, "eval_count": 12,
        "logprobs": [{"token": "G", "logprob": -0.5, "bytes": [71]}],
    });
    assert_eq!(timeless(&out), expected);
    // And is read again as it was written.
    let again = assembled(&whole(&String::from_utf8(out).unwrap())).unwrap();
    assert_eq!(again.items.len(), response.items.len());
    assert_eq!(again.text(), response.text());
    assert_eq!(again.thinking(), response.thinking());
    assert_eq!(again.usage, response.usage);
    assert_eq!(again.logprobs, response.logprobs);
}

#[test]
fn whole_answers_are_read_in_every_form() {
    let generate = r#" {"model":"m","response":"hi","thinking":"hm","done":true,"done_reason":"length","context":[1,2],"eval_count":2}
"#;
    let response = assembled(&whole(generate)).unwrap();
    assert_eq!(response.text(), text("hi"));
    assert_eq!(response.thinking(), text("hm"));
    assert_eq!(response.finish, Finish::Length);
    // Over several lines within the object, and as a stream although none was asked for.
    let pretty = serde_json::to_string_pretty(&json!({"response": "hi", "done": true})).unwrap();
    assert_eq!(assembled(&whole(&pretty)).unwrap().text(), text("hi"));
    assert_eq!(assembled(&whole(CHAT)).unwrap().calls().count(), 2);
    for (body, kind) in [
        ("", FaultKind::Incomplete),
        ("{}", FaultKind::Incomplete),
        (r#"{"response":"hi","done":false}"#, FaultKind::Incomplete),
        ("<html>", FaultKind::Garbled),
        (
            r#"{"error":"server busy, please try again"}"#,
            FaultKind::Overloaded,
        ),
    ] {
        assert_eq!(assembled(&whole(body)).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn the_answer_to_a_load_needs_no_newline() {
    let body = r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":""},"done_reason":"load","done":true}"#;
    let response = assembled(&decoded(&[body.as_bytes()])).unwrap();
    assert_eq!((response.finish, response.items.len()), (Finish::Load, 0));
}

#[test]
fn trap_11_text_in_an_unknown_field_is_no_empty_success() {
    let lost = r#"{"message":{"role":"assistant","content":"","output_text":"hi"},"done":false}
{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":9}
"#;
    let fault = assembled(&decoded(&[lost.as_bytes()])).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Garbled);
    assert_eq!(
        assembled(&whole(r#"{"content":"hi","done":true}"#))
            .unwrap_err()
            .kind,
        FaultKind::Garbled
    );
    // Names that are known are read, and an answer may be empty.
    let reasoning = lost.replace("output_text", "reasoning_content");
    let response = assembled(&decoded(&[reasoning.as_bytes()])).unwrap();
    assert_eq!(response.thinking(), text("hi"));
    let empty = lost.replace("\"hi\"", "\"\"");
    assert_eq!(assembled(&decoded(&[empty.as_bytes()])).unwrap().items, []);
}

#[test]
fn trap_5_arguments_are_objects_however_they_come() {
    let call = |arguments: &str| {
        let line = format!(
            r#"{{"message":{{"tool_calls":[{{"function":{{"name":"f","arguments":{arguments}}}}},{{}}]}},"done":true}}"#
        );
        let response = assembled(&whole(&line)).unwrap();
        let ResponseItem::Call(call) = &response.items[0] else {
            panic!("no call")
        };
        call.arguments().as_str().to_owned()
    };
    assert_eq!(call(r#"{"a":1}"#), r#"{"a":1}"#);
    assert_eq!(call(r#""{\"a\":1}""#), r#"{"a":1}"#);
    assert_eq!(call(r#""""#), "{}");
    assert_eq!(call("null"), "{}");
    assert_eq!(call("[1]"), r#"{"_raw":"[1]"}"#);
    assert_eq!(call(r#""{\"a\"""#), r#"{"_raw":"{\"a\""}"#);
}

#[test]
fn names_of_tools_are_the_clients_again() {
    let mut names = ToolNames::default();
    let sent = names.sent(&text("my.tool"), 64);
    let line = format!(
        r#"{{"message":{{"tool_calls":[{{"function":{{"name":"{}"}}}}]}},"done":true}}"#,
        sent.as_escaped()
    );
    let mut events = Vec::new();
    read_whole(Api::Chat, line.as_bytes(), &names, &mut |event| {
        events.push(owned(event));
    });
    let response = assembled(&events).unwrap();
    assert_eq!(response.calls().next().unwrap().name, text("my.tool"));
}

#[test]
fn errors_within_a_stream_end_it() {
    for (error, kind, message) in [
        (r#""boom""#, FaultKind::Server, "boom"),
        (r#"{"message":"boom"}"#, FaultKind::Server, "boom"),
        (r#"{"code":1}"#, FaultKind::Server, "unknown error"),
    ] {
        let stream = format!(
            "{{\"message\":{{\"content\":\"a\"}},\"done\":false}}\n{{\"error\":{error}}}\n{{\"done\":true}}\n"
        );
        let events = decoded(&[stream.as_bytes()]);
        let Some(Event::Failed(fault)) = events.last() else {
            panic!("{events:?}")
        };
        assert_eq!((fault.kind, &*fault.message), (kind, message));
        assert_eq!(events.len(), 3);
    }
    let garbled = decoded(&[
        b"{\"message\":{\"content\":\"\"},\"done\":false}\n",
        b"event: ping\n",
        b"{\"done\":true}\n",
    ]);
    assert_eq!(garbled[1], Event::Malformed);
    assert_eq!(garbled.last(), Some(&Event::End));
}

const HI: &str = r#"{"message":{"role":"assistant","content":"hi"},"done":false}"#;
const DONE: &str = r#"{ "done" : true, "message" : { "content" : "" }, "done_reason" : "stop" }"#;

#[test]
fn a_line_that_cannot_be_read_is_passed_over_if_others_follow() {
    for odd in [
        "x",
        "[]",
        "7",
        "null",
        "{\"message\":7}",
        "{\"mess",
        "\u{fffd}",
        "{\"done\":\"x\"}",
    ] {
        let stream = format!("{HI}\n{odd}\n{HI}\n{DONE}\n");
        let events = decoded(&[stream.as_bytes()]);
        for cut in 0..stream.len() {
            let (one, two) = stream.as_bytes().split_at(cut);
            assert_eq!(decoded(&[one, two]), events, "{cut}");
        }
        assert_eq!(events[2], Event::Malformed, "{odd}");
        assert_eq!(assembled(&events).unwrap().text(), text("hihi"));
        let events = decoded(&[format!("{HI}\n{odd}\n").as_bytes()]);
        assert_eq!(assembled(&events), Err(Fault::incomplete()));
        let events = decoded(&[format!("{odd}\n{odd}\n").as_bytes()]);
        assert_eq!(assembled(&events).unwrap_err().kind, FaultKind::Garbled);
    }
    let mut bytes = format!("{HI}\n").into_bytes();
    bytes.extend_from_slice(b"{\"message\":{\"content\":\"\xff\"},\"done\":false}\n");
    bytes.extend_from_slice(DONE.as_bytes());
    assert_eq!(assembled(&decoded(&[&bytes])).unwrap().text(), text("hi"));
}

#[test]
fn the_end_is_told_when_its_line_is_read() {
    let mut decoder = decoder(Api::Chat, ToolNames::default());
    let mut events = Vec::new();
    let stream = format!("{HI}\n{DONE}\n");
    decoder.feed(stream.as_bytes(), &mut |event| events.push(owned(event)));
    assert_eq!(events.last(), Some(&Event::End));
    events.clear();
    decoder.feed(stream.as_bytes(), &mut |event| events.push(owned(event)));
    decoder.finish(&mut |event| events.push(owned(event)));
    assert_eq!(events, []);
}

#[test]
fn errors_in_the_words_of_others_are_errors() {
    for error in [
        r#"{"error":"full"}"#,
        r#"{ "code" : 1, "error" : { "message" : "full" } }"#,
        r#"{"detail":"full"}"#,
        r#"{"message":"full"}"#,
    ] {
        let message = assembled(&whole(error)).unwrap_err().message;
        assert_eq!(message, "full", "{error}");
        for stream in [format!("{HI}\n{error}\n{DONE}\n"), format!("{HI}\n{error}")] {
            let events = decoded(&[stream.as_bytes()]);
            assert_eq!(assembled(&events).unwrap_err().message, "full", "{error}");
        }
    }
}

#[test]
fn a_whole_body_that_is_no_answer_is_a_failure() {
    for body in [
        r#"{"ok":true}"#,
        "{}",
        "[]",
        "null",
        "<html>\n</html>",
        r#"[{"response":"hi","done":true}]"#,
        "data: {\"response\":\"hi\",\"done\":true}\n\n",
        r#"{"choices":[{"message":{"content":"hi"}}]}"#,
        r#"{"model":"m","done":true}"#,
        r#"{"model":"m","message":null,"done":true}"#,
        r#"{"model":"m","message":{},"done":true}"#,
        r#"{"message":{"tool_calls":[{"function":{"arguments":{}}}]},"done":true}"#,
        r#"{"message":{"tool_calls":[{"function":{"name":null,"arguments":{}}}]},"done":true}"#,
    ] {
        let events = whole(body);
        assert!(assembled(&events).is_err(), "{body}");
        assert!(!events.contains(&Event::Malformed), "{body}");
    }
    let answer = r#"{"response":"hi","done":true}"#;
    for end in 0..answer.len() {
        assert!(assembled(&whole(&answer[..end])).is_err(), "{end}");
    }
    // As lines, although none were asked for.
    assert_eq!(whole(CHAT)[0], Event::Reframed);
}

/// Lines before it do not make the barest line the end of an answer that never was.
#[test]
fn an_end_without_an_answer_is_a_failure() {
    for bare in [
        "",
        "{\"done\":false}\n",
        "{\"model\":\"m\",\"created_at\":\"t\",\"done\":false}\n",
    ] {
        let stream = format!("{bare}{{\"model\":\"m\",\"done\":true,\"done_reason\":\"stop\"}}\n");
        for form in [Api::Chat, Api::Generate] {
            let events = decoded_as(form, &[stream.as_bytes()]);
            let fault = assembled(&events).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Garbled, "{form:?} {stream}");
        }
    }
    let placed = format!("{}\n{{\"done\":true}}\n", HI.replace("hi", ""));
    assert!(assembled(&decoded(&[placed.as_bytes()])).is_ok());
}

/// Whoever reads the operation that was asked for finds nothing in such lines.
#[test]
fn text_where_the_other_operation_has_it_is_no_answer() {
    let chat = "{\"message\":{\"content\":\"hi\"},\"done\":true}\n";
    let generate = "{\"response\":\"hi\",\"done\":true}\n";
    let both = "{\"response\":\"hi\",\"message\":{\"content\":\"hi\"},\"done\":true}\n";
    for (form, line, misplaced) in [
        (Api::Chat, chat, false),
        (Api::Chat, generate, true),
        (Api::Chat, both, false),
        (Api::Generate, generate, false),
        (Api::Generate, chat, true),
        (Api::Generate, both, false),
    ] {
        for events in [decoded_as(form, &[line.as_bytes()]), whole_as(form, line)] {
            match assembled(&events) {
                Ok(response) => assert_eq!((response.text(), misplaced), (text("hi"), false)),
                Err(fault) => assert_eq!((fault.kind, misplaced), (FaultKind::Garbled, true)),
            }
        }
        // An empty place is none either.
        let empty = line.replace("hi", "");
        let events = decoded_as(form, &[empty.as_bytes()]);
        assert_eq!(assembled(&events).is_err(), misplaced, "{form:?} {empty}");
    }
}

#[test]
fn a_line_that_is_too_long_is_a_failure() {
    let piece = vec![b'x'; 1 << 20];
    let pieces = vec![piece.as_slice(); 9];
    let events = decoded(&pieces);
    assert_eq!(events.len(), 1);
    let Event::Failed(fault) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(fault.kind, FaultKind::Garbled);
}

fn any_event() -> impl Strategy<Value = Event<'static>> {
    let text = || ".{0,8}".prop_map(|text| Text::plain(&text).into_owned());
    let name = || "[a-z]{1,4}".prop_map(|name| Text::plain(&name).into_owned());
    prop_oneof![
        text().prop_map(Event::Thinking),
        text().prop_map(Event::Text),
        text().prop_map(Event::Refusal),
        (0..3_usize, proptest::option::of(name()), name()).prop_map(|(index, id, name)| {
            Event::ToolStart {
                index,
                id,
                name,
                signature: None,
            }
        }),
        (0..3_usize, text()).prop_map(|(index, fragment)| Event::ToolArguments {
            index,
            fragment: Text::plain(fragment.as_escaped()).into_owned()
        }),
        (0..3_usize).prop_map(|index| Event::ToolEnd { index }),
        Just(Event::Logprobs(Json::trusted("[{\"token\":\"x\"}]"))),
        Just(Event::Ping),
        Just(usage(1, 2)),
    ]
}

proptest! {
    #[test]
    fn no_answer_makes_the_decoder_panic(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let events = decoded(&pieces);
        prop_assert!(matches!(events.last(), Some(Event::Failed(_) | Event::End)));
        read_whole(Api::Chat, &pieces.concat(), &ToolNames::default(), &mut |_| ());
    }

    #[test]
    fn nothing_like_an_answer_makes_the_decoder_panic(
        lines in proptest::collection::vec(
            r#"\{"(message|response|error|done|tool_calls|logprobs|eval_count)":[{}\[\]",:a-c0-9]{0,12}\}?\n?"#, 0..5),
    ) {
        let stream = lines.concat();
        let whole = decoded(&[stream.as_bytes()]);
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        prop_assert_eq!(decoded(&bytes), whole);
    }

    /// Whatever comes in whatever order, every line is one object, and only the last is done.
    #[test]
    fn every_order_of_events_gives_lines_that_are_read_again(
        events in proptest::collection::vec(any_event(), 0..12),
        form in prop_oneof![Just(Api::Chat), Just(Api::Generate)],
    ) {
        let events = [events, vec![finish(Finish::Stop), Event::End]].concat();
        let mut encoder = encoder(form, reply());
        let mut out = Vec::new();
        for event in &events {
            encoder.event(event, &mut out);
        }
        let said = assembled(&events).unwrap();
        let read = assembled(&decoded(&[&out])).unwrap();
        prop_assert_eq!(read.text().into_decoded(), said.text().into_decoded());
        prop_assert_eq!(read.thinking().into_decoded(), said.thinking().into_decoded());
        let starts = events.iter().filter(|event| matches!(event, Event::ToolStart { .. })).count();
        prop_assert_eq!(read.calls().count(), starts);
        let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let done: Vec<bool> = lines.map(|line| timeless(line)["done"] == true).collect();
        prop_assert_eq!(done.iter().filter(|done| **done).count(), 1);
        prop_assert_eq!(done.last(), Some(&true));
    }
}
