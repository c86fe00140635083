//! Answers, streamed and whole.

use super::*;
use crate::wire::eventstream::{self, Frame};
use proptest::prelude::*;

fn event(kind: &str, payload: &str, out: &mut Vec<u8>) {
    let payload = payload.as_bytes();
    eventstream::write(&Frame::Event { kind, payload }, out).unwrap();
}

fn stream(events: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, payload) in events {
        event(kind, payload, &mut out);
    }
    out
}

fn read(pieces: &[&[u8]], names: &ToolNames) -> Vec<String> {
    gathered(|emit| {
        let mut decoder = decoder(names.clone());
        for piece in pieces {
            decoder.feed(piece, emit);
        }
        decoder.finish(emit);
    })
}

/// The events of a stream, which are the same however it is cut.
fn read_at_every_split(stream: &[u8], names: &ToolNames) -> Vec<String> {
    let whole = read(&[stream], names);
    for cut in 0..=stream.len() {
        let pieces = [&stream[..cut], &stream[cut..]];
        assert_eq!(read(&pieces, names), whole, "{cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read(&bytes, names), whole);
    whole
}

/// Thoughts, text, two calls side by side, padding and fields that are new.
const ANSWER: &[(&str, &str)] = &[
    ("messageStart", r#"{"p":"abcdefgh","role":"assistant"}"#),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm \"é"}},"p":"ab"}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"c2ln"}}}"#,
    ),
    ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"redactedContent":"cmVk"}}}"#,
    ),
    ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":2,"delta":{"text":"Ich "}}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":2,"delta":{"text":"\u00e4ndere\n"}}"#,
    ),
    ("contentBlockStop", r#"{"contentBlockIndex":2}"#),
    (
        "contentBlockStart",
        r#"{"contentBlockIndex":3,"start":{"toolUse":{"name":"get_weather","toolUseId":"tooluse_1"}}}"#,
    ),
    (
        "contentBlockStart",
        r#"{"contentBlockIndex":4,"start":{"toolUse":{"name":"now","toolUseId":"tooluse_2"}}}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":""}}}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"city\": \"K"}}}"#,
    ),
    (
        "contentBlockDelta",
        r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"iel\"}"}}}"#,
    ),
    ("contentBlockStop", r#"{"contentBlockIndex":4}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":3}"#),
    ("somethingNew", r#"{"x":[1]}"#),
    (
        "messageStop",
        r#"{"stopReason":"tool_use","additionalModelResponseFields":null}"#,
    ),
    (
        "metadata",
        r#"{"metrics":{"latencyMs":9},"usage":{"cacheReadInputTokens":100,"cacheWriteInputTokens":20,"inputTokens":3,"outputTokens":7,"totalTokens":130}}"#,
    ),
];

#[test]
fn a_stream_is_read_at_every_split() {
    assert_eq!(
        read_at_every_split(&stream(ANSWER), &ToolNames::default()),
        [
            "start",
            r#"thinking hm \"é"#,
            "signature c2ln false",
            "signature cmVk true",
            "text Ich ",
            r"text \u00e4ndere\n",
            "call 0 tooluse_1 get_weather",
            "call 1 tooluse_2 now",
            "arguments 0 ",
            r#"arguments 0 {\"city\": \"K"#,
            r#"arguments 0 iel\"}"#,
            "called 1",
            "called 0",
            "usage Some(123) Some(100) Some(20) Some(7)",
            "finish ToolCalls",
            "end",
        ]
    );
}

const WHOLE: &str = r#"{"additionalModelResponseFields":{"stop_sequence":null},"metrics":{"latencyMs":9},
    "output":{"message":{"role":"assistant","content":[
        {"reasoningContent":{"reasoningText":{"signature":"c2ln","text":"hm \"é"}}},
        {"reasoningContent":{"redactedContent":"cmVk"}},
        {"text":"Ich \u00e4ndere\n"},
        {"toolUse":{"toolUseId":"tooluse_1","name":"get_weather","input":{"city": "Kiel"}}},
        {"toolUse":{"toolUseId":"tooluse_2","name":"now","input":{}}}]}},
    "stopReason":"tool_use",
    "usage":{"cacheReadInputTokens":100,"cacheWriteInputTokens":20,"inputTokens":3,"outputTokens":7,"totalTokens":130}}"#;

#[test]
fn a_whole_answer_says_what_its_stream_says() {
    let names = ToolNames::default();
    let whole = assembled(|emit| read_whole(WHOLE.as_bytes(), &names, emit)).unwrap();
    let streamed = assembled(|emit| {
        let mut decoder = decoder(names.clone());
        decoder.feed(&stream(ANSWER), emit);
        decoder.finish(emit);
    })
    .unwrap();
    assert_eq!(whole.calls().count(), 2);
    for (one, other) in whole.calls().zip(streamed.calls()) {
        assert_eq!((&one.id, &one.name), (&other.id, &other.name));
        assert_eq!(one.arguments(), other.arguments());
    }
    let rest = |response: &Response| {
        let (finish, usage) = (response.finish, response.usage);
        (response.text(), response.thinking(), finish, usage)
    };
    assert_eq!(rest(&whole), rest(&streamed));
}

#[test]
fn names_of_tools_are_the_clients_own_again() {
    let mut names = ToolNames::default();
    let sent = names.sent(&crate::ir::Text::plain("wetter.für"), 64);
    assert_eq!(sent.as_escaped(), "wetter_f_r");
    let start =
        r#"{"contentBlockIndex":0,"start":{"toolUse":{"name":"wetter_f_r","toolUseId":"t"}}}"#;
    let events = read(&[&stream(&[("contentBlockStart", start)])], &names);
    assert_eq!(events[0], "call 0 t wetter.für");
    let whole = WHOLE.replace("get_weather", "wetter_f_r");
    let events = gathered(|emit| read_whole(whole.as_bytes(), &names, emit));
    assert!(events.contains(&r#"call 0 tooluse_1 wetter.für {"city": "Kiel"}"#.to_owned()));
}

/// Nobody can be called by it, so that the answer is none.
#[test]
fn a_call_without_a_name_is_a_failure() {
    for name in ["\"\"", "\" \"", "null"] {
        let start = format!(
            r#"{{"contentBlockIndex":0,"start":{{"toolUse":{{"name":{name},"toolUseId":"t"}}}}}}"#
        );
        let streamed = stream(&[
            ("messageStart", "{}"),
            ("contentBlockStart", &start),
            ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
            ("messageStop", r#"{"stopReason":"tool_use"}"#),
            ("metadata", "{}"),
        ]);
        let body = format!(
            r#"{{"output":{{"message":{{"content":[{{"toolUse":{{"name":{name},"toolUseId":"t"}}}}]}}}},"stopReason":"tool_use"}}"#
        );
        let whole = gathered(|emit| read_whole(body.as_bytes(), &ToolNames::default(), emit));
        for told in [read_at_every_split(&streamed, &ToolNames::default()), whole] {
            assert!(
                told.iter().all(|event| !event.starts_with("call")),
                "{told:?}"
            );
            assert!(told.last().unwrap().starts_with("failed"), "{told:?}");
        }
    }
}

fn stop(reason: &str, fields: &str) -> Vec<String> {
    let payload = format!(r#"{{"stopReason":"{reason}"{fields}}}"#);
    let events = read(
        &[&stream(&[("messageStop", &payload)])],
        &ToolNames::default(),
    );
    let body = format!(
        r#"{{"output":{{"message":{{"role":"assistant","content":[]}}}},"stopReason":"{reason}"{fields}}}"#
    );
    let whole = gathered(|emit| read_whole(body.as_bytes(), &ToolNames::default(), emit));
    assert_eq!(whole[1..], events);
    events
}

#[test]
fn stop_reasons() {
    for (reason, finish) in [
        ("end_turn", "finish Stop"),
        ("tool_use", "finish ToolCalls"),
        ("max_tokens", "finish Length"),
        ("stop_sequence", "finish Stop"),
        ("guardrail_intervened", "finish Filtered"),
        ("content_filtered", "finish Filtered"),
        ("model_context_window_exceeded", "finish ContextFull"),
        ("what_comes_next", "finish Stop"),
    ] {
        assert_eq!(stop(reason, ""), [finish, "end"]);
    }
    for reason in ["malformed_model_output", "malformed_tool_use"] {
        assert!(stop(reason, "")[0].starts_with("failed Transient Server"));
    }
    let fields = r#","additionalModelResponseFields":{"stop_sequence":"EN\"D"}"#;
    assert_eq!(
        stop("stop_sequence", fields),
        [r#"finish Stop EN\"D"#, "end"]
    );
    assert_eq!(stop("end_turn", fields), ["finish Stop", "end"]);
}

#[test]
fn an_answer_is_whole_without_its_metadata_but_not_without_its_stop() {
    let names = ToolNames::default();
    let all = stream(ANSWER);
    let without_metadata = stream(&ANSWER[..ANSWER.len() - 1]);
    let events = read_at_every_split(&without_metadata, &names);
    assert_eq!(events[events.len() - 2..], ["finish ToolCalls", "end"]);
    let without_stop = stream(&ANSWER[..ANSWER.len() - 2]);
    let incomplete = format!("failed Transient Incomplete {}", Fault::incomplete());
    assert_eq!(
        read_at_every_split(&without_stop, &names).last(),
        Some(&incomplete)
    );
    // Cut within the last frame: what is not whole may say anything.
    let events = read(&[&all[..all.len() - 1]], &names);
    assert_eq!(events.last(), Some(&incomplete));
    assert_eq!(read(&[], &names), [incomplete]);
}

#[test]
fn failures_within_a_stream() {
    let start = stream(&ANSWER[..1]);
    let exceptions = [
        ("throttlingException", "Capacity RateLimit slow down"),
        ("validationException", "Permanent InvalidRequest slow down"),
        ("internalServerException", "Transient Server slow down"),
        ("modelStreamErrorException", "Transient Server slow down"),
        (
            "serviceUnavailableException",
            "Capacity Overloaded slow down",
        ),
    ];
    for (kind, expected) in exceptions {
        let mut bytes = start.clone();
        let payload = br#"{"message":"slow down"}"#;
        eventstream::write(&Frame::Exception { kind, payload }, &mut bytes).unwrap();
        // Nothing counts after a failure.
        bytes.extend(stream(&ANSWER[6..8]));
        let events = read_at_every_split(&bytes, &ToolNames::default());
        assert_eq!(events, ["start".to_owned(), format!("failed {expected}")]);
    }
    let mut bytes = start.clone();
    let error = Frame::Error {
        code: "InternalFailure",
        message: "no luck",
    };
    eventstream::write(&error, &mut bytes).unwrap();
    let events = read(&[&bytes], &ToolNames::default());
    assert_eq!(events[1..], ["failed Transient Server no luck"]);
}

#[test]
fn what_is_no_stream_fails() {
    let names = ToolNames::default();
    let events = read_at_every_split(br#"{"message":"The security token is invalid"}"#, &names);
    assert_eq!(events.len(), 1);
    assert!(
        events[0].starts_with("failed Transient Garbled"),
        "{events:?}"
    );
    let broken = stream(&[("contentBlockDelta", r#"{"contentBlockIndex":0"#)]);
    let events = read(&[&broken], &names);
    assert_eq!(events[0], "Malformed");
    assert!(events[1].starts_with("failed Transient Garbled"));
    let events = gathered(|emit| read_whole(b"<html>", &names, emit));
    assert!(events[0].starts_with("failed Transient Garbled") && events.len() == 1);
    let error = br#"{"__type":"ns#ThrottlingException","message":"slow"}"#;
    let events = gathered(|emit| read_whole(error, &names, emit));
    assert_eq!(events, ["failed Capacity RateLimit slow"]);
}

#[test]
fn an_event_that_cannot_be_read_is_passed_over_if_others_follow() {
    let names = ToolNames::default();
    let odd = ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":[]"#);
    let text = (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#,
    );
    let stop = ("messageStop", r#"{"stopReason":"end_turn"}"#);
    let start = ANSWER[0];
    let events = read_at_every_split(&stream(&[start, text, odd, text, stop]), &names);
    assert_eq!(
        events,
        [
            "start",
            "text a",
            "Malformed",
            "text a",
            "finish Stop",
            "end"
        ]
    );
    let events = read(&[&stream(&[start, text, stop, odd])], &names);
    assert!(
        events
            .last()
            .unwrap()
            .starts_with("failed Transient Incomplete"),
        "{events:?}"
    );
}

#[test]
fn what_comes_after_a_stop_is_told_and_the_end_with_the_metadata() {
    let text = (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#,
    );
    let stop = ("messageStop", r#"{"stopReason":"max_tokens"}"#);
    let bytes = stream(&[ANSWER[0], text, stop, text, stop, ANSWER[ANSWER.len() - 1]]);
    let mut decoder = decoder(ToolNames::default());
    let events = gathered(|emit| decoder.feed(&bytes, emit));
    assert_eq!(events[1..3], ["text a", "text a"]);
    // At once, though the body has not ended.
    assert_eq!(events[events.len() - 2..], ["finish Length", "end"]);
}

proptest! {
    #[test]
    fn a_decoder_takes_any_frames(
        frames in prop::collection::vec((0..7_usize, "[{}\":,a-z0-9\\[\\]]{0,40}", 0..20_usize), 0..8),
    ) {
        let kinds = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "x"];
        let mut bytes = Vec::new();
        for (kind, noise, real) in &frames {
            let payload = ANSWER.get(*real).map_or(noise.as_str(), |(_, payload)| payload);
            event(kinds[*kind], payload, &mut bytes);
        }
        let events = read(&[&bytes], &ToolNames::default());
        let ends = events.iter().filter(|event| *event == "end" || event.starts_with("failed")).count();
        prop_assert_eq!(ends, 1);
        let last = events.last().unwrap();
        prop_assert!(last == "end" || last.starts_with("failed"));
    }

    #[test]
    fn an_answer_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(gathered(|emit| read_whole(&bytes, &ToolNames::default(), emit)).len(), 1);
    }
}
