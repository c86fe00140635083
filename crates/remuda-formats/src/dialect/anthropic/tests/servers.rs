//! What servers make of Anthropic's format: how they tell failures, the end, and blocks.

use super::*;

/// An event as one line.
fn shown(event: &Event<'_>) -> String {
    match event {
        Event::Text(text) => format!("text {}", text.decoded()),
        Event::Thinking(text) => format!("thinking {}", text.decoded()),
        Event::Refusal(text) => format!("refusal {}", text.decoded()),
        Event::Signature { data, redacted, .. } => {
            format!("signature {} {redacted}", data.decoded())
        }
        Event::ToolStart { index, name, .. } => format!("call {index} {}", name.decoded()),
        Event::ToolArguments { index, fragment } => {
            format!("arguments {index} {}", fragment.decoded())
        }
        Event::ToolEnd { index } => format!("end of {index}"),
        Event::Finish { reason, .. } => format!("finish {reason:?}"),
        Event::End => "end".into(),
        Event::Malformed => "malformed".into(),
        Event::Served { .. } => "served".into(),
        Event::Foreign => "foreign".into(),
        Event::Reframed => "reframed".into(),
        Event::Failed(fault) => {
            format!(
                "failed {:?} {:?} {}",
                fault.class, fault.kind, fault.message
            )
        }
        Event::Start { .. } => "start".into(),
        Event::Usage(_) | Event::Ping => String::new(),
        other => format!("{other:?}"),
    }
}

fn pieces(pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = decoder(ToolNames::default());
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut |event| events.push(shown(&event)));
    }
    decoder.finish(&mut |event| events.push(shown(&event)));
    events.retain(|event| !event.is_empty());
    events
}

/// The events of a stream, the same at every split; counts and pings left out.
fn events(stream: &[u8]) -> Vec<String> {
    let whole = pieces(&[stream]);
    for cut in 0..=stream.len() {
        assert_eq!(pieces(&[&stream[..cut], &stream[cut..]]), whole, "{cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(pieces(&bytes), whole);
    whole
}

fn whole(body: &str) -> Vec<String> {
    let mut events = Vec::new();
    read_whole(body.as_bytes(), &ToolNames::default(), &mut |event| {
        events.push(shown(&event));
    });
    events.retain(|event| !event.is_empty());
    events
}

/// A stream of these events, without their names.
fn stream(events: &[Value]) -> Vec<u8> {
    let events = events.iter().map(|event| format!("data: {event}\n\n"));
    events.collect::<String>().into_bytes()
}

fn begun() -> Value {
    json!({"type": "message_start", "message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 3}}})
}

fn text(text: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
}

fn reason(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}})
}

fn stopped() -> Value {
    json!({"type": "message_stop"})
}

const BROKE_OFF: &str =
    "failed Transient Incomplete the provider's answer broke off before its end";

/// What comes between the beginning and the end.
fn middle(between: &[Value]) -> Vec<String> {
    let all = [&[begun()], between, &[reason("end_turn"), stopped()]].concat();
    let told = events(&stream(&all));
    assert_eq!(told[0], "start", "{told:?}");
    assert_eq!(told[told.len() - 2..], ["finish Stop", "end"], "{told:?}");
    told[1..told.len() - 2].to_vec()
}

#[test]
fn names_may_be_missing_on_either_side() {
    let all = [begun(), text("hi"), reason("max_tokens"), stopped()];
    let expected = ["start", "text hi", "finish Length", "end"];
    assert_eq!(events(&stream(&all)), expected);
    let mut named = String::new();
    for mut event in all {
        let kind = event.as_object_mut().unwrap().remove("type").unwrap();
        named += &format!("event: {}\ndata: {event}\n\n", kind.as_str().unwrap());
    }
    assert_eq!(events(named.as_bytes()), expected);
}

#[test]
fn a_failure_is_known_by_what_it_says() {
    for error in [
        r#"{"type":"error","error":{"type":"overloaded_error","message":"full"}}"#,
        r#"{ "request_id" : "r", "error" : { "message" : "full", "type" : "overloaded_error" } }"#,
    ] {
        let expected = "failed Capacity Overloaded full";
        assert_eq!(whole(error), [expected]);
        let begun = stream(&[begun(), text("hi")]);
        for event in [
            format!("data: {error}\n\n"),
            format!("event: error\ndata: {error}\n\n"),
            error.replace(',', ",\n") + "\n",
        ] {
            assert_eq!(
                events(event.as_bytes()).last().unwrap(),
                expected,
                "{event}"
            );
            let told = events(&[&begun, event.as_bytes()].concat());
            assert_eq!(told, ["start", "text hi", expected], "{event}");
        }
    }
    for error in [
        r#"{"error":"full"}"#,
        r#"{"detail":"full"}"#,
        r#"{"message":"full"}"#,
    ] {
        let expected = "failed Transient Server full";
        assert_eq!(whole(error), [expected]);
        assert_eq!(events(format!("data: {error}\n\n").as_bytes()), [expected]);
    }
    assert_eq!(
        events(b"event: error\ndata: full\n\n"),
        ["failed Transient Server full"]
    );
}

#[test]
fn what_opens_an_answer_is_no_content() {
    let opening = [
        begun(),
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}),
    ];
    let mut decoder = decoder(ToolNames::default());
    let mut has_begun = false;
    decoder.feed(&stream(&opening), &mut |event| {
        has_begun |= event.is_content();
    });
    assert!(!has_begun);
    let search = json!({"type": "content_block_start", "index": 1, "content_block":
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}});
    decoder.feed(&stream(&[search]), &mut |event| {
        has_begun |= event.is_content();
    });
    assert!(has_begun);
}

#[test]
fn the_end_is_told_when_its_event_is_read() {
    let mut decoder = decoder(ToolNames::default());
    let mut told = Vec::new();
    let open = stream(&[begun(), text("hi"), reason("end_turn")]);
    decoder.feed(&open, &mut |event| told.push(shown(&event)));
    // More of the answer may follow.
    assert!(!told.contains(&"finish Stop".to_owned()));
    told.clear();
    decoder.feed(&stream(&[stopped()]), &mut |event| told.push(shown(&event)));
    assert_eq!(told, ["finish Stop", "end"]);
    told.clear();
    decoder.feed(&open, &mut |event| told.push(shown(&event)));
    decoder.finish(&mut |event| told.push(shown(&event)));
    assert!(told.is_empty());
    // Its terminator is no formality: without it the answer may be short.
    assert_eq!(events(&open).last().unwrap(), BROKE_OFF);
}

#[test]
fn what_comes_after_a_reason_is_told_and_the_last_reason_counts() {
    let told = events(&stream(&[
        begun(),
        text("a"),
        reason("end_turn"),
        text("b"),
        reason("max_tokens"),
        reason("end_turn"),
        stopped(),
    ]));
    assert_eq!(told, ["start", "text a", "text b", "finish Length", "end"]);
}

#[test]
fn what_cannot_be_read_is_passed_over_if_something_follows() {
    for odd in [
        "data: x",
        "data: []",
        "data: 7",
        "data: {\"type\":",
        "data: {\"delta\":{}}",
        "data: {\"type\":\"content_block_delta\"}",
        "data: {\"type\":\"content_block_start\",\"index\":0}",
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":7}}",
        "nonsense",
    ] {
        let begun = stream(&[begun(), text("a")]);
        let odd = format!("{odd}\n\n").into_bytes();
        let rest = stream(&[text("b"), stopped()]);
        assert_eq!(
            events(&[&begun[..], &odd, &rest].concat()),
            [
                "start",
                "text a",
                "malformed",
                "text b",
                "finish Stop",
                "end"
            ]
        );
        assert_eq!(
            events(&[&begun[..], &odd].concat()),
            ["start", "text a", "malformed", BROKE_OFF]
        );
    }
    let new = json!({"type": "novel", "stuff": 1});
    assert_eq!(middle(&[text("a"), new, text("b")]), ["text a", "text b"]);
}

/// A block may be whole in its beginning, in deltas, or in both.
#[test]
fn blocks_are_told_once() {
    let start = |input: Value| {
        json!({"type": "content_block_start", "index": 1, "content_block":
        {"type": "tool_use", "id": "t", "name": "f", "input": input}})
    };
    let delta = |text: &str| {
        json!({"type": "content_block_delta", "index": 1, "delta":
        {"type": "input_json_delta", "partial_json": text}})
    };
    let stop = json!({"type": "content_block_stop", "index": 1});
    let whole = json!({"x": 1});
    for events in [
        vec![
            start(json!({})),
            delta("{\"x\""),
            delta(":1}"),
            stop.clone(),
        ],
        vec![start(json!({})), delta("{\"x\":1}")],
        vec![start(whole.clone()), stop.clone()],
        vec![start(whole.clone())],
        vec![start(whole.clone()), delta(""), stop.clone()],
        vec![start(whole), delta("{\"x\""), delta(":1}"), stop.clone()],
    ] {
        let told = middle(&events);
        assert_eq!(told[0], "call 0 f");
        assert_eq!(told.last().unwrap(), "end of 0", "{told:?}");
        let arguments: String = told[1..told.len() - 1]
            .iter()
            .map(|event| event.strip_prefix("arguments 0 ").unwrap())
            .collect();
        assert_eq!(arguments, "{\"x\":1}", "{events:?}");
    }
    let text = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hi"}});
    assert_eq!(middle(&[text]), ["text hi"]);
    let thought = json!({"type": "content_block_start", "index": 0, "content_block":
        {"type": "thinking", "thinking": "t", "signature": "s"}});
    assert_eq!(middle(&[thought]), ["thinking t", "signature s false"]);
    let message = json!({"type": "message_start", "message": {"id": "m", "content": [{"type": "text", "text": "hi"}]}});
    let told = events(&stream(&[message, stopped()]));
    assert_eq!(told, ["start", "text hi", "finish Stop", "end"]);
}

#[test]
fn calls_that_overlap_are_told_apart_by_their_blocks() {
    let start = |index: usize, name: &str| {
        json!({"type": "content_block_start", "index": index,
        "content_block": {"type": "tool_use", "id": name, "name": name, "input": {}}})
    };
    let delta = |index: usize, text: &str| {
        json!({"type": "content_block_delta", "index": index,
        "delta": {"type": "input_json_delta", "partial_json": text}})
    };
    let stop = |index: usize| json!({"type": "content_block_stop", "index": index});
    let told = middle(&[
        start(1, "f"),
        start(2, "g"),
        delta(1, "{\"x\":"),
        delta(2, "{}"),
        stop(2),
        delta(1, "1}"),
        stop(1),
    ]);
    assert_eq!(
        told,
        [
            "call 0 f",
            "call 1 g",
            "arguments 0 {\"x\":",
            "arguments 1 {}",
            "end of 1",
            "arguments 0 1}",
            "end of 0"
        ]
    );
}

#[test]
fn a_whole_body_that_is_no_answer_is_a_failure() {
    let answer = r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}"#;
    let expected = ["start", "text hi", "finish Stop", "end"];
    assert_eq!(whole(answer), expected);
    for end in 0..answer.len() {
        assert!(
            whole(&answer[..end])[0].starts_with("failed Transient Garbled"),
            "{end}"
        );
    }
    for body in [
        r#"{"ok":true}"#,
        "{}",
        "[]",
        "null",
        "<html></html>",
        r#"{"content":[]}"#,
        r#"{"content":null,"stop_reason":"end_turn"}"#,
        r#"{"content":"hi","type":"message"}"#,
        &format!("data: {answer}\n\n"),
    ] {
        let told = whole(body);
        assert!(
            told.last().unwrap().starts_with("failed Transient Garbled"),
            "{body}: {told:?}"
        );
    }
    // Claude may well say nothing.
    let silent = r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#;
    assert_eq!(whole(silent), ["start", "finish Stop", "end"]);
    // A body in place of a stream.
    let told = events(answer.as_bytes());
    assert_eq!(
        (told[0].as_str(), &told[1..]),
        ("reframed", &expected.map(String::from)[..])
    );
}

#[test]
fn an_end_alone_is_the_end_of_nothing() {
    let ping = json!({"type": "ping"});
    for all in [
        vec![stopped()],
        vec![ping, stopped()],
        vec![begun(), stopped()],
    ] {
        assert_eq!(events(&stream(&all)).last().unwrap(), BROKE_OFF, "{all:?}");
    }
    let told = events(&stream(&[begun(), text("hi"), stopped()]));
    assert_eq!(told, ["start", "text hi", "finish Stop", "end"]);
}

#[test]
fn calls_without_a_name_are_failures() {
    let block = json!({"type": "tool_use", "id": "a", "name": null, "input": {}});
    let start = json!({"type": "content_block_start", "index": 0, "content_block": block});
    let expected = "failed Transient Garbled a tool call of the provider's answer has no name";
    assert_eq!(
        events(&stream(&[begun(), start, stopped()]))
            .last()
            .unwrap(),
        expected
    );
    let body = json!({"type": "message", "content": [block], "stop_reason": "tool_use"});
    assert_eq!(whole(&body.to_string()).last().unwrap(), expected);
}

#[test]
fn what_is_named_an_error_is_one() {
    for error in [
        "event: error\n\n",
        "event: error\ndata: {\"code\":500,\"message\":\"full\",\"type\":\"server_error\"}\n\n",
        "error: {\"code\":500,\"message\":\"full\",\"type\":\"server_error\"}\n\n",
    ] {
        let all = [&stream(&[begun(), text("hi")])[..], error.as_bytes()].concat();
        let told = events(&all);
        assert!(
            told.last().unwrap().starts_with("failed Transient Server"),
            "{told:?}"
        );
    }
}
