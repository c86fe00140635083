//! What servers make of OpenAI's format: how they tell failures, the end, and calls.

use super::*;

/// The events after the beginning.
fn after_start(text: &str) -> Vec<String> {
    let events = stream(text);
    assert_eq!(events[0], "start c m", "{events:?}");
    events[1..].to_vec()
}

/// However it is written: where the error stands, what stands before it, and where white space is.
#[test]
fn a_failure_is_known_by_what_it_says() {
    for data in [
        r#"{"error":{"message":"full","code":503}}"#,
        r#"{ "error" : { "message" : "full", "code" : 503 } }"#,
        r#"{"id":"c","choices":[],"error":{"message":"full","code":503}}"#,
        r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"code":503,"message":"full"}}"#,
        r#"{"choices":[{"index":0,"finish_reason":"error","error":{"code":503,"message":"full"}}]}"#,
        r#"{"object":"error","message":"full","type":"Overloaded","param":null,"code":503}"#,
        r#"{"object": "error", "choices": [], "message": "full", "code": 503}"#,
        r#"{"type":"error","message":"full","code":503}"#,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"full"}}"#,
        r#"{"message":"full","code":503}"#,
        r#"{"error":true,"message":"full","code":503}"#,
        r#"{"success":false,"errors":[{"code":503,"message":"full"}]}"#,
        r#"[{"error":{"message":"full","code":503}}]"#,
    ] {
        let expected = "failed Capacity Overloaded full";
        let event = format!("data: {data}\n\n");
        assert_eq!(stream(&event).last().unwrap(), expected, "{data}");
        let middle = chunks(&[HI]) + &event + "data: [DONE]\n\n";
        assert_eq!(after_start(&middle), ["text hi", expected], "{data}");
        // Without `data:`, over several lines, as some break in.
        let bare = chunks(&[HI]) + &data.replace(',', ",\n") + "\n";
        assert_eq!(after_start(&bare), ["text hi", expected], "{data}");
        assert_eq!(whole(data).last().unwrap(), expected, "{data}");
    }
    for data in [
        r#"{"detail":"full"}"#,
        r#"{"detail":[{"msg":"full","loc":["body"]}]}"#,
        r#"{"error":"full"}"#,
        r#"{"message":"full"}"#,
        r#"{"id":"c","choices":null,"message":"full"}"#,
    ] {
        let expected = "failed Transient Server full";
        assert_eq!(stream(&format!("data: {data}\n\n")), [expected], "{data}");
        assert_eq!(whole(data), [expected], "{data}");
    }
    for (name, data) in [("error", "full"), ("error", "\"full\"")] {
        let event = format!("event: {name}\ndata: {data}\n\n");
        assert_eq!(stream(&event), ["failed Transient Server full"], "{data}");
    }
    for reason in ["error", "ERROR", "abort"] {
        let choice = format!(r#"{{"delta":{{}},"finish_reason":"{reason}"}}"#);
        let events = after_start(&chunks(&[HI, &choice, STOP]));
        assert!(
            events[1].starts_with("failed Transient Server"),
            "{events:?}"
        );
    }
}

/// Servers write an empty value for "no error".
#[test]
fn no_error_is_none_however_it_is_written() {
    for error in ["null", "{}", "{ }", "\"\"", "[]", "false", "0"] {
        let event = format!(r#"data: {{"id":"c","model":"m","error":{error},"choices":[{HI}]}}"#);
        let text = event + "\n\n" + &chunks(&[STOP]);
        assert_eq!(after_start(&text), ["text hi", "finish Stop -", "end"]);
    }
}

/// A role is no content: another backend may still be tried after it.
#[test]
fn a_role_says_nothing_however_it_is_written() {
    for delta in [
        r#"{"role":"assistant","content":""}"#,
        r#"{"role": "assistant", "content": ""}"#,
        r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":null,"function_call":null}"#,
        r#"{"role":"assistant"}"#,
        "{}",
        "{ }",
        "null",
        r#"{"content":"","reasoning":null,"reasoning_content":"","reasoning_details":[],"tool_calls":[],"annotations":[],"audio":null,"images":[ ]}"#,
        r#"{"content":[]}"#,
        r#"{"function_call":{}}"#,
    ] {
        let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#);
        for choice in [&choice, &choice.replace(":null", ":\"\"")] {
            let mut decoder = decoder(Api::Chat, ToolNames::default());
            let mut begun = false;
            decoder.feed(chunks(&[choice]).as_bytes(), &mut |event| {
                begun |= event.is_content();
            });
            assert!(!begun, "{choice}");
        }
    }
}

#[test]
fn the_end_is_told_when_its_event_is_read() {
    let mut decoder = decoder(Api::Chat, ToolNames::default());
    let mut events = Vec::new();
    let text = chunks(&[HI, STOP]);
    decoder.feed(text.as_bytes(), &mut |event| events.push(shown(&event)));
    // Usage may follow, and more of the answer.
    assert_eq!(events, ["start c m", "text hi"]);
    events.clear();
    decoder.feed(b"data:[DONE]\n\n", &mut |event| events.push(shown(&event)));
    assert_eq!(events, ["finish Stop -", "end"]);
    events.clear();
    decoder.feed(text.as_bytes(), &mut |event| events.push(shown(&event)));
    decoder.finish(&mut |event| events.push(shown(&event)));
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn what_comes_after_a_reason_is_told() {
    let length = r#"{"delta":{},"finish_reason":"length"}"#;
    let done = "data: [DONE]\n\n";
    for (deltas, finish) in [
        (vec![HI, STOP, HI, STOP], "Stop"),
        (vec![HI, STOP, HI], "Stop"),
        (vec![HI, STOP, HI, length], "Length"),
        (vec![HI, length, HI, STOP], "Stop"),
        (vec![HI, HI, length, STOP], "Length"),
        (vec![HI, HI, STOP, length, STOP], "Length"),
    ] {
        for end in ["", done] {
            let events = after_start(&(chunks(&deltas) + end));
            let finish = format!("finish {finish} -");
            assert_eq!(events, ["text hi", "text hi", &finish, "end"], "{deltas:?}");
        }
    }
    let call = r#"{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}"#;
    assert_eq!(
        after_start(&chunks(&[HI, STOP, call, STOP]))[1..],
        [
            "call 0 a f",
            "arguments 0 {}",
            "end 0",
            "finish Stop -",
            "end"
        ]
    );
}

/// Bytes that are no UTF-8, no JSON, or JSON of another sort.
#[test]
fn what_cannot_be_read_is_passed_over_if_something_follows() {
    for odd in [
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a",
        "data: nonsense",
        "data: 7",
        "data: null",
        "data: \"x\"",
        "data: []",
        "data: [1]",
        "data: {\"choices\":5}",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":7}}]}",
        "data: {\"choices\":[{\"delta\":\"x\"}]}",
        "upstream timed out",
        "event: odd\ndata: x",
    ] {
        let odd = format!("{odd}\n\n");
        let text = chunks(&[HI]) + &odd + &chunks(&[HI, STOP]);
        assert_eq!(
            after_start(&text),
            ["text hi", "malformed", "text hi", "finish Stop -", "end"],
            "{odd}"
        );
        let text = chunks(&[HI, STOP]) + &odd + "data: [DONE]\n\n";
        assert_eq!(
            after_start(&text),
            ["text hi", "malformed", "finish Stop -", "end"],
            "{odd}"
        );
        for last in [chunks(&[HI]), chunks(&[HI, STOP])] {
            let events = after_start(&(last + &odd));
            assert_eq!(events, ["text hi", "malformed", BROKE_OFF], "{odd}");
        }
    }
    let mut bytes = chunks(&[HI]).into_bytes();
    bytes.extend_from_slice(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xc3\"}}]}\n\n");
    bytes.extend_from_slice(chunks(&[STOP]).as_bytes());
    for cut in 0..bytes.len() {
        let events = pieces(&[&bytes[..cut], &bytes[cut..]], ToolNames::default());
        assert_eq!(
            events[1..],
            ["text hi", "malformed", "finish Stop -", "end"],
            "{cut}"
        );
    }
}

/// Events of other kinds, and fields that are new.
#[test]
fn what_is_new_is_no_mistake() {
    for new in [
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "data: {\"id\":\"c\",\"object\":\"novel\",\"stuff\":[{}]}\n\n",
        "data: {}\n\n",
        "data:\n\n",
        ": keep-alive\n\n",
    ] {
        let text = chunks(&[HI]) + new + &chunks(&[STOP]);
        assert_eq!(
            after_start(&text),
            ["text hi", "finish Stop -", "end"],
            "{new}"
        );
    }
}

#[test]
fn a_whole_body_that_is_no_answer_is_a_failure() {
    let answer = r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
    assert_eq!(whole(answer).last().unwrap(), "end");
    for end in 0..answer.len() {
        let events = whole(&answer[..end]);
        assert!(events[0].starts_with("failed Transient Garbled"), "{end}");
    }
    for body in [
        r#"{"ok":true}"#,
        "{}",
        "[]",
        "null",
        "7",
        "\"hi\"",
        "<!DOCTYPE html>\n<html></html>",
        r#"{"choices":[]}"#,
        r#"{"choices":null}"#,
        r#"{"choices":[{}]}"#,
        r#"{"choices":[{"message":{}}]}"#,
        r#"{"choices":[{"message":{"role":"assistant","content":""}}]}"#,
        r#"[{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}]"#,
        &format!("data: {answer}\n\ndata: [DONE]\n\n"),
        &format!("{answer}{answer}"),
    ] {
        let events = whole(body);
        let last = events.last().unwrap();
        assert!(
            last.starts_with("failed Transient Garbled"),
            "{body}: {events:?}"
        );
    }
}

#[test]
fn sound_and_images_are_content_that_others_are_not_told() {
    for delta in [
        r#"{"delta":{"audio":{"id":"a","data":"AAAA"}}}"#,
        r#"{"delta":{"content":"","images":[{"type":"image_url","image_url":{"url":"data:"}}]}}"#,
    ] {
        let events = after_start(&chunks(&[delta, STOP]));
        assert_eq!(events, ["foreign", "finish Stop -", "end"]);
    }
}

/// The calls of a stream of deltas, one list of calls each.
fn calls(deltas: &[&str]) -> Vec<String> {
    let deltas: Vec<String> = deltas
        .iter()
        .map(|calls| format!(r#"{{"delta":{{"tool_calls":[{calls}]}}}}"#))
        .chain([r#"{"delta":{},"finish_reason":"tool_calls"}"#.to_owned()])
        .collect();
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    let mut events = after_start(&chunks(&deltas));
    assert_eq!(events.pop().unwrap(), "end");
    assert_eq!(events.pop().unwrap(), "finish ToolCalls -");
    events.retain(|event| !event.starts_with("end"));
    events
}

#[test]
fn calls_that_are_all_numbered_0_are_told_apart() {
    // By their ids, by their names, and by their being whole.
    assert_eq!(
        calls(&[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":""}}"#,
            r#"{"index":0,"function":{"arguments":"{\"x\":1}"}}"#,
            r#"{"index":0,"id":"b","function":{"name":"f","arguments":""}}"#,
            r#"{"index":0,"function":{"arguments":"{}"}}"#,
        ]),
        [
            "call 0 a f",
            "arguments 0 {\"x\":1}",
            "call 1 b f",
            "arguments 1 {}"
        ]
    );
    let whole = |name: &str, x: u32| {
        format!(r#"{{"index":0,"function":{{"name":"{name}","arguments":"{{\"x\":\"}}{x}\"}}"}}}}"#)
    };
    assert_eq!(
        calls(&[&whole("f", 1), &whole("g", 2), &whole("g", 3)]),
        [
            "call 0 - f",
            "arguments 0 {\"x\":\"}1\"}",
            "call 1 - g",
            "arguments 1 {\"x\":\"}2\"}",
            "call 2 - g",
            "arguments 2 {\"x\":\"}3\"}"
        ]
    );
}

#[test]
fn what_later_pieces_leave_out_is_known() {
    for more in [
        r#"{"index":0,"id":null,"type":null,"function":{"name":null,"arguments":"{}"}}"#,
        r#"{"index":0,"id":"","function":{"name":"","arguments":"{}"}}"#,
        r#"{"index":0,"function":{"arguments":"{}"}}"#,
        r#"{"function":{"arguments":"{}"}}"#,
        r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":{}}}"#,
    ] {
        let first =
            r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#;
        assert_eq!(
            calls(&[first, more]),
            ["call 0 a f", "arguments 0 {}"],
            "{more}"
        );
    }
    // No arguments at all.
    for function in [
        r#"{"name":"f"}"#,
        r#"{"name":"f","arguments":null}"#,
        r#"{"name":"f","arguments":""}"#,
    ] {
        let call = format!(r#"{{"index":0,"id":"a","function":{function}}}"#);
        assert_eq!(calls(&[&call]), ["call 0 a f"]);
    }
    // The only one, not in a list.
    let text = chunks(&[
        r#"{"delta":{"tool_calls":{"id":"a","function":{"name":"f","arguments":"{}"}}}}"#,
        STOP,
    ]);
    assert_eq!(after_start(&text)[..2], ["call 0 a f", "arguments 0 {}"]);
}

#[test]
fn a_name_may_come_in_pieces() {
    for [second, third] in [
        [r#""name":"weather""#, r#""arguments":"{}""#],
        [r#""name":"weather","arguments":"""#, r#""arguments":"{}""#],
        [r#""name":"weather","arguments":"{""#, r#""arguments":"}""#],
        [
            r#""name":"get_weather""#,
            r#""name":"get_weather","arguments":"{}""#,
        ],
    ] {
        let events = calls(&[
            r#"{"index":0,"id":"a","function":{"name":"get_","arguments":""}}"#,
            &format!(r#"{{"index":0,"function":{{{second}}}}}"#),
            &format!(r#"{{"index":0,"function":{{{third}}}}}"#),
        ]);
        assert_eq!(events[0], "call 0 a get_weather", "{second}");
        let arguments: String = events[1..]
            .iter()
            .map(|event| event.strip_prefix("arguments 0 ").unwrap())
            .collect();
        assert_eq!(arguments, "{}", "{second}");
    }
}

#[test]
fn calls_side_by_side_keep_their_order() {
    assert_eq!(
        calls(&[
            r#"{"index":0,"id":"a","function":{"name":"f"}},{"index":1,"id":"b","function":{"name":"g"}}"#,
            r#"{"index":1,"function":{"arguments":"{\"y\":"}},{"index":0,"function":{"arguments":"{\"x\":"}}"#,
            r#"{"index":0,"function":{"arguments":"1}"}},{"index":1,"function":{"arguments":"2}"}}"#,
        ]),
        [
            "call 0 a f",
            "call 1 b g",
            "arguments 1 {\"y\":",
            "arguments 0 {\"x\":",
            "arguments 0 1}",
            "arguments 1 2}"
        ]
    );
}

/// A call that is never named is no answer that a client could act on.
#[test]
fn a_call_without_a_name_is_a_failure() {
    let nameless = r#"{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":null,"arguments":"{}"}}]}}"#;
    assert_eq!(
        after_start(&chunks(&[nameless, STOP])),
        ["failed Transient Garbled a tool call of the provider's answer has no name"]
    );
}

/// Nor is one of the form of 2023, of which there is one, and none where the object is empty.
#[test]
fn a_function_call_without_a_name_is_a_failure() {
    for name in ["null", "\"\""] {
        for arguments in ["\"\"", "\"{}\"", "{}"] {
            let function = format!(r#"{{"name":{name},"arguments":{arguments}}}"#);
            let body = format!(
                r#"{{"choices":[{{"message":{{"content":null,"function_call":{function}}},"finish_reason":"function_call"}}]}}"#
            );
            assert_eq!(whole(&body).last().unwrap(), NAMELESS, "{body}");
        }
    }
    let delta = |function: &str| format!(r#"{{"delta":{{"function_call":{function}}}}}"#);
    let name = delta(r#"{"name":"f","arguments":""}"#);
    let nameless = delta(r#"{"name":null,"arguments":"{}"}"#);
    assert_eq!(after_start(&chunks(&[&nameless, STOP])), [NAMELESS]);
    // Only the first piece of a call has it.
    assert_eq!(
        after_start(&chunks(&[&name, &nameless, STOP]))[..2],
        ["call 0 - f", "arguments 0 {}"]
    );
    let none =
        r#"{"choices":[{"message":{"content":"hi","function_call":{}},"finish_reason":"stop"}]}"#;
    assert_eq!(whole(none).last().unwrap(), "end");
}

#[test]
fn calls_of_custom_tools_are_calls_of_a_function_of_one_string() {
    let expected = r#"{"input":"*** \"é\"\n"}"#;
    let events = calls(&[
        r#"{"index":0,"id":"a","type":"custom","custom":{"name":"patch","input":""}}"#,
        r#"{"index":0,"custom":{"input":"*** \"é"}}"#,
        r#"{"index":0,"custom":{"input":"\"\n"}}"#,
    ]);
    let arguments: String = events[1..]
        .iter()
        .map(|event| event.strip_prefix("arguments 0 ").unwrap())
        .collect();
    assert_eq!(
        (events[0].as_str(), arguments.as_str()),
        ("call 0 a patch", expected)
    );
    let body = r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","type":"custom","custom":{"name":"patch","input":"*** \"é\"\n"}}]},"finish_reason":"tool_calls"}]}"#;
    let arguments: String = whole(body)
        .iter()
        .filter_map(|event| event.strip_prefix("arguments 0 "))
        .collect();
    assert_eq!(arguments, expected);
}

proptest! {
    /// A stream of events that are spoilt in some places ends once, and properly only if something follows them.
    #[test]
    fn spoilt_events_do_not_confuse_the_others(
        at in 0..400_usize,
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = (chunks(&[HI, HI, HI, STOP]) + "data: [DONE]\n\n").into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let cut = cut.index(bytes.len());
        let events = pieces(&[&bytes[..cut], &bytes[cut..]], ToolNames::default());
        prop_assert_eq!(&events, &pieces(&[&bytes], ToolNames::default()));
        let ends = events.iter().filter(|event| *event == "end" || event.starts_with("failed"));
        prop_assert_eq!(ends.count(), 1);
    }
}

const NAMELESS: &str = "failed Transient Garbled a tool call of the provider's answer has no name";

#[test]
fn an_error_may_be_a_field_of_the_stream() {
    let error = "error: {\"code\":500,\"message\":\"kv cache full\",\"type\":\"server_error\"}\n\n";
    let text = chunks(&[HI]) + error + "data: [DONE]\n\n";
    let events = stream(&text);
    assert_eq!(events[..2], ["start c m", "text hi"]);
    assert!(events[2].ends_with("kv cache full"), "{events:?}");
    assert_eq!(events.len(), 3);
    assert_eq!(stream(error).len(), 1);
    let full = r#"{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}"#;
    assert_eq!(
        stream(&format!("error: {full}\n\n")),
        stream(&format!("data: {{\"error\":{full}}}\n\n"))
    );
    assert!(stream("event: error\n\n")[0].starts_with("failed"));
}

#[test]
fn calls_of_a_whole_answer_are_as_many_as_it_has() {
    let of = |calls: &str| {
        let mut events = whole(&format!(
            r#"{{"choices":[{{"message":{{"content":null,"tool_calls":[{calls}]}},"finish_reason":"tool_calls"}}]}}"#
        ));
        events.remove(0);
        events
    };
    let one = r#"{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}"#;
    let events = of(&format!("{one},{one}"));
    let is_call = |event: &&String| event.starts_with("call");
    assert_eq!(events.iter().filter(is_call).count(), 2, "{events:?}");
    for nameless in [
        r#"{"id":"a","function":{"name":null,"arguments":"{}"}}"#,
        r#"{"function":{"name":null,"arguments":"{}"}}"#,
    ] {
        assert_eq!(of(nameless), ["malformed", NAMELESS]);
    }
}

#[test]
fn half_a_call_is_no_answer_without_a_reason() {
    let half = r#"{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]}}"#;
    let text = chunks(&[half]) + "data: [DONE]\n\n";
    assert_eq!(stream(&text).last().unwrap(), BROKE_OFF);
}

#[test]
fn the_answer_is_the_choice_that_is_numbered_0() {
    let choice = |index: u8, text: &str| {
        format!(r#"{{"index":{index},"delta":{{"content":"{text}"}},"finish_reason":null}}"#)
    };
    let stop = |index: u8| format!(r#"{{"index":{index},"delta":{{}},"finish_reason":"stop"}}"#);
    let both = format!("{},{}", choice(1, "B"), choice(0, "A"));
    let begun = [both.as_str(), &choice(0, "C"), &choice(1, "D"), &stop(0)];
    let told = ["start c m", "text A", "foreign", "text C", "foreign"];
    let broken = stream(&chunks(&begun));
    assert_eq!(broken[..5], told);
    assert_eq!(broken[5..], [BROKE_OFF]);
    let ended = stream(&(chunks(&begun) + &chunks(&[&stop(1)])));
    assert_eq!(ended[..5], told);
    assert_eq!(ended[5..], ["finish Stop -", "end"]);
    let bodies = r#"{"choices":[{"index":1,"message":{"content":"B"},"finish_reason":"stop"},{"index":0,"message":{"content":"A"},"finish_reason":"stop"}]}"#;
    assert!(whole(bodies).contains(&"text A".to_owned()));
    assert!(!whole(bodies).contains(&"text B".to_owned()));
}

#[test]
fn a_choice_of_another_form_is_no_answer() {
    for choice in [
        r#"{"index":0,"message":null,"finish_reason":"stop"}"#,
        r#"{"index":0,"finish_reason":"stop"}"#,
        r#"{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}"#,
        r#"{"index":0,"message":{"content":5},"finish_reason":"stop"}"#,
        "1",
    ] {
        let events = whole(&format!(r#"{{"choices":[{choice}]}}"#));
        assert!(
            events
                .last()
                .unwrap()
                .starts_with("failed Transient Garbled"),
            "{choice}: {events:?}"
        );
    }
}

/// Whoever reads the API that was asked for finds nothing in such an answer.
#[test]
fn text_where_the_other_api_has_it_is_no_answer() {
    let chat = r#"{"index":0,"delta":{"content":"hi"},"finish_reason":null}"#;
    let completion = r#"{"index":0,"text":"hi","finish_reason":null}"#;
    let both = r#"{"index":0,"text":"hi","delta":{"content":"hi"},"finish_reason":null}"#;
    for (api, choice, misplaced) in [
        (Api::Chat, chat, false),
        (Api::Chat, completion, true),
        (Api::Chat, both, false),
        (Api::Completions, completion, false),
        (Api::Completions, chat, true),
        (Api::Completions, both, false),
    ] {
        let text = chunks(&[choice, choice, STOP]);
        let events = pieces_of(api, &[text.as_bytes()], ToolNames::default());
        let count = |what: &str| events.iter().filter(|event| *event == what).count();
        let expected = if misplaced { 0 } else { 2 };
        assert_eq!(count("text hi"), expected, "{api:?} {choice}: {events:?}");
        let fails = |events: &[String]| {
            events
                .last()
                .unwrap()
                .starts_with("failed Transient Garbled")
        };
        assert_eq!(fails(&events), misplaced, "{api:?} {choice}");
        let body = format!(r#"{{"id":"c","choices":[{choice}]}}"#).replace("delta", "message");
        let events = whole_of(api, &body);
        assert_eq!(fails(&events), misplaced, "{api:?} {body}: {events:?}");
        assert_eq!(events.contains(&"end".to_owned()), !misplaced, "{events:?}");
    }
}

#[test]
fn each_choice_of_a_whole_answer_has_its_message() {
    let good = r#"{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}"#;
    for body in [
        r#"{"choices":[1]}"#.to_owned(),
        r#"{"choices":[{}],"usage":{"prompt_tokens":3}}"#.to_owned(),
        r#"{"choices":[],"usage":{"prompt_tokens":3}}"#.to_owned(),
        format!(r#"{{"choices":[{good},{{}}]}}"#),
        format!(r#"{{"choices":[{good},1]}}"#),
    ] {
        for api in [Api::Chat, Api::Completions] {
            let events = whole_of(api, &body);
            let last = events.last().unwrap();
            assert!(
                last.starts_with("failed Transient Garbled"),
                "{api:?} {body}: {events:?}"
            );
        }
    }
}
