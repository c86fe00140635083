//! Answers: fixtures, every split, what breaks.

use proptest::prelude::*;

use super::*;
use crate::ir::Assembler;

const TEXT: &str = include_str!("../fixtures/text.sse");
const CALLS: &str = include_str!("../fixtures/calls.sse");
const BLOCKED: &str = include_str!("../fixtures/blocked.sse");
const BROKEN: &str = include_str!("../fixtures/broken.sse");
const FAILED: &str = include_str!("../fixtures/failed.sse");

/// What a stream says, whole and cut at every byte.
fn at_every_split(stream: &str) -> Vec<String> {
    let bytes = stream.as_bytes();
    let whole = read_stream(&[bytes]);
    for cut in 0..=bytes.len() {
        assert_eq!(read_stream(&[&bytes[..cut], &bytes[cut..]]), whole, "{cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read_stream(&single), whole);
    let crlf = stream.replace('\n', "\r\n");
    assert_eq!(read_stream(&[crlf.as_bytes()]), whole);
    whole
}

#[test]
fn text_and_thoughts_stream() {
    assert_eq!(
        at_every_split(TEXT),
        [
            "start r1 gemini-3.8-flash",
            "usage 9 None None None",
            "thinking Let me greet",
            "usage 9 None 7 5",
            "thinking  them.",
            "text Grüß ",
            "usage 9 None 9 5",
            "text Gott 🌍\n",
            "usage 11 3 25 20",
            "text signature gemini-text:EqQBCg==",
            "finish Stop",
            "end",
        ]
    );
}

#[test]
fn a_signature_is_told_before_the_text_of_its_part() {
    const STREAM: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hello\",\"thoughtSignature\":\"Uw==\"}]},\"finishReason\":\"STOP\"}]}\n\n";
    let mut told = at_every_split(STREAM);
    told.retain(|event| event.starts_with("text"));
    assert_eq!(told, ["text signature gemini-text:Uw==", "text Hello"]);
}

/// Nobody can be called by it, so that the answer is none.
#[test]
fn a_call_without_a_name_is_a_failure() {
    for name in ["\"\"", "\" \"", "null"] {
        let body = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}},{{"functionCall":{{"name":{name},"args":{{}}}}}},{{"functionCall":{{"name":"f"}}}}]}},"finishReason":"STOP"}}]}}"#
        );
        let told = at_every_split(&format!("data: {body}\n\n"));
        assert!(
            told.iter().all(|event| !event.starts_with("call")),
            "{told:?}"
        );
        assert!(told.last().unwrap().starts_with("failed"), "{told:?}");
    }
}

#[test]
fn calls_come_whole_with_their_signatures_and_own_names() {
    assert_eq!(
        at_every_split(CALLS),
        [
            "start r2 gemini-3.8-flash",
            "usage 40 None None None",
            r#"call 0 c1 get_weather {"city":"Oslo","days":[1,2]} CiQB"#,
            "usage 40 None 12 None",
            "call 1 - 9lives {} -",
            "call 2 - weather now {} -",
            "finish ToolCalls",
            "end",
        ]
    );
}

#[test]
fn a_blocked_prompt_is_a_filtered_answer() {
    assert_eq!(
        at_every_split(BLOCKED),
        [
            "start r3 gemini-3.8-flash",
            "usage 7 None None None",
            "refusal The provider blocked the prompt (PROHIBITED_CONTENT).",
            "finish Filtered",
            "end",
        ]
    );
}

#[test]
fn a_bare_error_ends_a_stream() {
    assert_eq!(
        at_every_split(BROKEN),
        [
            "start r4 gemini-3.8-flash",
            "text Hel",
            r#"failed Capacity Overloaded The model is overloaded } "now"."#,
        ]
    );
    let array = BROKEN
        .replace("\n{\n", "\n[{\n")
        .replace("\n}\n", "\n}\n]\n");
    assert_eq!(read_stream(&[array.as_bytes()]), at_every_split(BROKEN));
}

#[test]
fn an_error_event_ends_a_stream() {
    assert_eq!(
        at_every_split(FAILED),
        [
            "start r5 gemini-3.8-flash",
            "text Hel",
            "failed Capacity RateLimit Quota exceeded.",
        ]
    );
}

#[test]
fn a_stream_that_breaks_off_never_looks_complete() {
    let last = TEXT.rfind("data:").unwrap();
    for end in 0..TEXT.len() {
        let Some(stream) = TEXT.get(..end) else {
            continue;
        };
        let events = read_stream(&[stream.as_bytes()]);
        // The last event is whole without the blank line after it.
        let is_whole = end >= TEXT.trim_end().len();
        assert_eq!(events.last().unwrap() == "end", is_whole, "{end}");
        if end <= last {
            let failed = events.last().unwrap();
            let incomplete =
                "failed Transient Incomplete the provider's answer broke off before its end";
            assert!(
                failed == incomplete || failed.contains("Garbled"),
                "{failed}"
            );
        }
    }
    let bare = BROKEN.trim_end().strip_suffix('}').unwrap();
    let events = read_stream(&[bare.as_bytes()]);
    assert!(
        events
            .last()
            .unwrap()
            .starts_with("failed Transient Incomplete")
    );
}

#[test]
fn what_is_no_stream_of_events_is_garbled() {
    for stream in [
        "<html>\n",
        "data: <html>\n\n",
        "data: {\"candidates\":7}\n\n",
        "data: \"x\"\n\n",
        "\"a\n",
        "}\n",
    ] {
        let mut events = read_stream(&[stream.as_bytes()]);
        events.retain(|event| event != "Malformed");
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(
            events[0].starts_with("failed Transient Garbled"),
            "{events:?}"
        );
    }
    let endless = "{\n".repeat(40_000);
    assert!(read_stream(&[endless.as_bytes()])[0].starts_with("failed Transient Garbled"));
    assert_eq!(read_stream(&[b""])[0].split(' ').next(), Some("failed"));
}

#[test]
fn another_terminator_is_passed_over() {
    let stream = format!("{TEXT}data: [DONE]\n\n");
    assert_eq!(read_stream(&[stream.as_bytes()]), at_every_split(TEXT));
}

/// A stream of pieces with these candidates.
fn said(candidates: &[&str]) -> String {
    let pieces = candidates
        .iter()
        .map(|candidate| format!("data: {{ \"candidates\" : [{candidate}] }}\n\n"));
    pieces.collect()
}

const HI: &str = r#"{"content":{"parts":[{"text":"hi"}]}}"#;
const STOPPED: &str = r#"{"content":{"parts":[]},"finishReason":"STOP"}"#;

#[test]
fn what_cannot_be_read_is_passed_over_if_something_follows() {
    for odd in [
        "data: x",
        "data: []",
        "data: {\"candidates\":7}",
        "data: {\"cand",
        "nonsense",
    ] {
        let odd = format!("{odd}\n\n");
        assert_eq!(
            at_every_split(&(said(&[HI]) + &odd + &said(&[HI, STOPPED]))),
            [
                "start - -",
                "text hi",
                "Malformed",
                "text hi",
                "finish Stop",
                "end"
            ]
        );
        let events = at_every_split(&(said(&[HI, STOPPED]) + &odd));
        assert_eq!(
            events.last().unwrap(),
            "failed Transient Incomplete the provider's answer broke off before its end"
        );
    }
}

#[test]
fn what_comes_after_a_reason_is_told_and_the_last_reason_counts() {
    let length = r#"{"finishReason":"MAX_TOKENS"}"#;
    let stream = said(&[HI, STOPPED, HI, length, STOPPED]);
    let expected = ["start - -", "text hi", "text hi", "finish Length", "end"];
    assert_eq!(at_every_split(&stream), expected);
    // Where another terminator has come nothing more is waited for.
    let mut events = Vec::new();
    let mut decoder = decoder(names());
    let stream = stream + "data: [DONE]\n\n";
    decoder.feed(stream.as_bytes(), &mut |event| events.push(shown(&event)));
    assert_eq!(events, expected);
}

#[test]
fn errors_in_the_words_of_others_are_errors() {
    for error in [
        r#"{"error":"full"}"#,
        r#"{"detail":"full"}"#,
        r#"{"message":"full"}"#,
    ] {
        let stream = said(&[HI]) + &format!("data: {error}\n\n");
        let expected = "failed Transient Server full";
        assert_eq!(at_every_split(&stream).last().unwrap(), expected);
        assert_eq!(read_body(error), [expected]);
    }
}

fn ended(reason: &str, parts: &str) -> Vec<String> {
    let body = format!(
        r#"{{"candidates":[{{"content":{{"parts":{parts}}},"finishReason":"{reason}"}}]}}"#
    );
    read_body(&body)
}

#[test]
fn every_finish_reason_means_something() {
    let call = r#"[{"functionCall":{"name":"f"}}]"#;
    for (reason, parts, finish) in [
        ("STOP", "[]", "Stop"),
        ("STOP", "null", "Stop"),
        ("STOP", call, "ToolCalls"),
        ("SOMETHING_NEW", call, "ToolCalls"),
        ("OTHER", "[]", "Stop"),
        ("MAX_TOKENS", "[]", "Length"),
        ("MAX_TOKENS", call, "Length"),
        ("CONTINUATION", "[]", "Length"),
        ("SAFETY", "[]", "Filtered"),
        ("RECITATION", "[]", "Filtered"),
        ("LANGUAGE", "[]", "Filtered"),
        ("BLOCKLIST", "[]", "Filtered"),
        ("PROHIBITED_CONTENT", "[]", "Filtered"),
        ("SPII", "[]", "Filtered"),
        ("IMAGE_SAFETY", "[]", "Filtered"),
    ] {
        let events = ended(reason, parts);
        let [.., finished, end] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(
            (finished.as_str(), end.as_str()),
            (format!("finish {finish}").as_str(), "end")
        );
    }
    for reason in [
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    ] {
        let events = ended(reason, "[]");
        assert!(
            events
                .last()
                .unwrap()
                .starts_with("failed Transient Server"),
            "{events:?}"
        );
    }
}

#[test]
fn a_whole_answer_says_what_its_stream_says() {
    let whole = r#"{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"plan","thought":true},{"text":"Hi"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]},"finishReason":"STOP","safetyRatings":[],"groundingMetadata":{}}],
        "usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":5,"thoughtsTokenCount":20,"totalTokenCount":34},"modelVersion":"m","responseId":"abc","futureField":[1]}"#;
    let events = read_body(whole);
    assert_eq!(
        events,
        [
            "start abc m",
            "usage 9 None 25 20",
            "thinking plan",
            "text Hi",
            "Foreign",
            "finish Stop",
            "end"
        ]
    );
    let line: String = whole.lines().collect();
    assert_eq!(read_stream(&[format!("data: {line}").as_bytes()]), events);
}

#[test]
fn a_body_without_an_answer_is_a_failure() {
    for (body, fault) in [
        ("", "Transient Garbled"),
        ("<html>", "Transient Garbled"),
        ("{}", "Transient Incomplete"),
        (r#"{"candidates":[]}"#, "Transient Incomplete"),
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}]}}]}"#,
            "Transient Incomplete",
        ),
        (
            r#"{"error":{"code":500,"message":"m","status":"INTERNAL"}}"#,
            "Transient Server",
        ),
        (
            r#"[{"error":{"code":404,"message":"m","status":"NOT_FOUND"}}]"#,
            "Route ModelNotFound",
        ),
        (r#"{"error":"text"}"#, "Transient Server"),
        (r#"[[{"finishReason":"STOP"}]]"#, "Transient Garbled"),
        (
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{}}]}}]}"#,
            "Transient Garbled",
        ),
    ] {
        let events = read_body(body);
        assert!(
            events
                .last()
                .unwrap()
                .starts_with(&format!("failed {fault}")),
            "{body}: {events:?}"
        );
    }
}

#[test]
fn log_probabilities_are_written_as_openai_writes_them() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"é"}]},"finishReason":"STOP","logprobsResult":{"topCandidates":[{"candidates":[{"token":"é","tokenId":1,"logProbability":-0.5},{"token":"\"","logProbability":-1}]}],"chosenCandidates":[{"token":"é","tokenId":1,"logProbability":-0.5}]}}]}"#;
    let expected = r#"logprobs [{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[{"token":"é","logprob":-0.5,"bytes":[195,169]},{"token":"\"","logprob":-1,"bytes":[34]}]}]"#;
    assert!(
        read_body(body).iter().any(|event| event == expected),
        "{:?}",
        read_body(body)
    );
    let none = r#"{"candidates":[{"finishReason":"STOP","logprobsResult":{}}]}"#;
    assert_eq!(read_body(none), ["start - -", "finish Stop", "end"]);
}

/// What a client sends back of an answer is what Gemini gave out.
#[test]
fn signatures_come_back_where_they_were() {
    let mut assembler = Assembler::default();
    let mut stream = decoder(ToolNames::default());
    for fixture in [TEXT.trim_end().rsplit_once("data:").unwrap().0, CALLS] {
        stream.feed(fixture.as_bytes(), &mut |event| assembler.event(&event));
    }
    let signed = TEXT.trim_end().rsplit_once("\n\n").unwrap().1;
    stream.feed(format!("{signed}\n\n").as_bytes(), &mut |event| {
        assembler.event(&event);
    });
    stream.finish(&mut |event| assembler.event(&event));
    let response = assembler.finish().unwrap();
    let parts = response.items.into_iter().filter_map(|item| match item {
        crate::ir::ResponseItem::Thought(thought) => Some(Part::Thought(thought)),
        crate::ir::ResponseItem::Text(text) => Some(Part::Text(text)),
        crate::ir::ResponseItem::Call(call) => Some(Part::ToolCall(ToolCall {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments: call.arguments(),
            signature: call.signature,
        })),
        crate::ir::ResponseItem::Refusal(_) => None,
    });
    let request = asking(vec![user("q"), message(Role::Assistant, parts.collect())]);
    let body = written("gemini-3.8-flash", request);
    let model = body["contents"][1]["parts"].as_array().unwrap();
    let signatures: Vec<(&str, Option<&str>)> = model
        .iter()
        .map(|part| {
            let kind = part.as_object().unwrap().keys().next().unwrap();
            (kind.as_str(), part["thoughtSignature"].as_str())
        })
        .collect();
    assert_eq!(
        signatures,
        [
            ("text", None),
            ("functionCall", Some("CiQB")),
            ("functionCall", None),
            ("functionCall", None),
            ("text", Some("EqQBCg==")),
        ]
    );
}

proptest! {
    #[test]
    fn any_split_says_the_same(
        which in 0..5_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let stream = [TEXT, CALLS, BLOCKED, BROKEN, FAILED][which].as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        prop_assert_eq!(read_stream(&pieces), read_stream(&[stream]));
    }

    #[test]
    fn any_bytes_are_read_and_end_once(
        lines in prop::collection::vec(
            "(data: ?)?(\\{|\\[|\"|[a-z:,0-9 ]|\\}|\\]|candidates|parts|text|error|\\n){0,12}\n", 0..8
        ),
        junk in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let stream = [lines.concat().as_bytes(), &junk].concat();
        let events = read_stream(&[&stream]);
        let ends = events.iter().filter(|event| *event == "end" || event.starts_with("failed")).count();
        prop_assert_eq!(ends, 1);
        read_whole(&stream, &ToolNames::default(), &mut |_| {});
        let _ = fault(400, &HeaderMap::new(), &stream);
        let _ = read_embeddings(&stream, &HeaderMap::new());
        let _ = listing::read(&stream);
    }
}
