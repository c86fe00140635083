//! What servers leave out of a response's events, say twice, or say in other words.

use serde_json::{Value, json};

use super::super::decoder;
use super::provider_reads::{
    USAGE, begun, called, delta, ended, events, item, named, nameless, pieces, reasoned, said,
    whole,
};
use super::shown;
use crate::ir::ToolNames;

/// What is told between the beginning and the counts.
fn middle(stream: &[Value]) -> Vec<String> {
    let told = events(&named(stream));
    let (first, rest) = told.split_first().unwrap();
    assert_eq!(first, "start resp_1 gpt", "{told:?}");
    let end = rest.len().saturating_sub(3);
    assert_eq!(rest[end..], [USAGE, "finish Stop", "end"], "{told:?}");
    rest[..end].to_vec()
}

/// All that tells a text, of which any one is enough.
fn tellings_of_text() -> Vec<Vec<Value>> {
    let message = json!({"id": "msg_1", "type": "message", "content": []});
    let deltas = [
        delta("output_text", "msg_1", 0, "a"),
        delta("output_text", "msg_1", 0, "b"),
    ];
    let text = json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": "ab"});
    let part = json!({"type": "response.content_part.done", "item_id": "msg_1", "output_index": 0, "content_index": 0,
        "part": {"type": "output_text", "text": "ab"}});
    let done = item("done", 0, &said("ab"));
    let repeated = ended("completed", json!([said("ab")]));
    let added = item("added", 0, &message);
    let bare = ended("completed", json!([]));
    vec![
        vec![added.clone(), text.clone(), bare.clone()],
        vec![added.clone(), part.clone(), bare.clone()],
        vec![added.clone(), done.clone(), bare.clone()],
        vec![added.clone(), repeated.clone()],
        vec![text.clone(), part.clone(), done.clone(), repeated.clone()],
        vec![added, text, part, done, repeated.clone()],
        [&deltas[..], &[bare]].concat(),
        [&deltas[..], &[repeated]].concat(),
    ]
}

#[test]
fn a_text_is_told_once_wherever_it_stands() {
    for telling in tellings_of_text() {
        let stream = [&[begun()], &telling[..]].concat();
        let text: String = middle(&stream)
            .iter()
            .map(|event| event.strip_prefix("text ").unwrap())
            .collect();
        assert_eq!(text, "ab", "{telling:?}");
    }
}

#[test]
fn arguments_are_told_once_wherever_they_stand() {
    let added = item("added", 0, &called("fc_1", "c", "f", ""));
    let deltas = [
        delta("function_call_arguments", "fc_1", 0, "{\"a\""),
        delta("function_call_arguments", "fc_1", 0, ":1}"),
    ];
    let whole = called("fc_1", "c", "f", "{\"a\":1}");
    let arguments = json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0,
        "arguments": "{\"a\":1}"});
    let object = json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0,
        "arguments": {"a": 1}});
    let done = item("done", 0, &whole);
    let repeated = ended("completed", json!([whole]));
    let bare = ended("completed", json!([]));
    let telling = |events: &[&Value]| events.iter().map(|event| (*event).clone()).collect();
    let tellings: Vec<Vec<Value>> = vec![
        telling(&[&added, &arguments, &bare]),
        telling(&[&added, &object, &bare]),
        telling(&[&added, &done, &bare]),
        telling(&[&added, &repeated]),
        telling(&[&repeated]),
        telling(&[&done, &bare]),
        telling(&[&done, &repeated]),
        telling(&[&item("added", 0, &whole), &bare]),
        telling(&[&added, &added, &deltas[0], &deltas[1], &done, &repeated]),
        telling(&[
            &item("added", 0, &whole),
            &deltas[0],
            &deltas[1],
            &done,
            &repeated,
        ]),
        // Deltas without what says that they are done.
        telling(&[&added, &deltas[0], &deltas[1], &bare]),
        telling(&[&added, &deltas[0], &deltas[1], &repeated]),
        telling(&[&added, &deltas[0], &deltas[1], &arguments, &done, &repeated]),
    ];
    for telling in tellings {
        let told = middle(&[&[begun()], &telling[..]].concat());
        assert_eq!(told[0], "call 0 c f -", "{telling:?}");
        assert_eq!(told.last().unwrap(), "end of 0", "{telling:?}");
        let arguments: String = told[1..told.len() - 1]
            .iter()
            .map(|event| event.strip_prefix("arguments 0 ").unwrap())
            .collect();
        assert_eq!(arguments, "{\"a\":1}", "{telling:?}");
    }
}

#[test]
fn thoughts_and_refusals_are_told_once_wherever_they_stand() {
    let thought = json!({"type": "response.reasoning_summary_text.done", "item_id": "rs_1", "output_index": 0,
        "summary_index": 0, "text": "t"});
    let own = json!({"type": "response.reasoning_text.done", "item_id": "rs_1", "output_index": 0,
        "content_index": 0, "text": "t"});
    let done = item("done", 0, &reasoned(&["t"]));
    let bare = ended("completed", json!([]));
    for telling in [
        vec![thought.clone(), done.clone(), bare.clone()],
        vec![own, done.clone(), bare.clone()],
        vec![done.clone(), bare],
        vec![thought, ended("completed", json!([reasoned(&["t"])]))],
        vec![done, ended("completed", json!([reasoned(&["t"])]))],
    ] {
        let told = middle(&[&[begun()], &telling[..]].concat());
        assert_eq!(
            told,
            ["thinking t", "signature gAAA== false rs_1"],
            "{telling:?}"
        );
    }
    let refused = json!({"type": "response.refusal.done", "item_id": "msg_1", "output_index": 0, "refusal": "no"});
    let stream = [begun(), refused, ended("completed", json!([]))];
    assert_eq!(middle(&stream), ["refusal no"]);
}

/// What is told of one kind, joined.
fn joined(told: &[String], prefix: &str) -> String {
    let pieces = told.iter().filter_map(|event| event.strip_prefix(prefix));
    pieces.collect()
}

#[test]
fn a_call_whose_pieces_are_its_beginning_is_told_whole() {
    let added = item("added", 0, &called("fc_1", "c", "f", ""));
    let half = delta("function_call_arguments", "fc_1", 0, "{\"a\"");
    let whole = called("fc_1", "c", "f", "{\"a\":\"\u{e9}\"}");
    let arguments = json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0,
        "arguments": "{\"a\":\"\u{e9}\"}"});
    let torn = item("done", 0, &called("fc_1", "c", "f", "{\"a\":"));
    let done = item("done", 0, &whole);
    let repeated = ended("completed", json!([whole]));
    let bare = ended("completed", json!([]));
    for telling in [
        vec![&half, &arguments, &bare],
        vec![&half, &done, &bare],
        vec![&half, &repeated],
        vec![&half, &arguments, &done, &repeated],
        vec![&half, &torn, &repeated],
        vec![&torn, &repeated],
    ] {
        let stream: Vec<Value> = [&begun(), &added]
            .into_iter()
            .chain(telling)
            .cloned()
            .collect();
        let told = middle(&stream);
        assert_eq!(
            joined(&told, "arguments 0 "),
            "{\"a\":\"\u{e9}\"}",
            "{told:?}"
        );
        assert_eq!(told.last().unwrap(), "end of 0", "{told:?}");
    }
    let custom = |input: &str| json!({"type": "custom_tool_call", "id": "ct_1", "call_id": "c", "name": "f", "input": input});
    let stream = [
        begun(),
        item("added", 0, &custom("")),
        delta("custom_tool_call_input", "ct_1", 0, "a\n"),
        item("done", 0, &custom("a\n\"b\"")),
        bare,
    ];
    let told = joined(&middle(&stream), "arguments 0 ");
    let read: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(read["input"], "a\n\"b\"");
}

#[test]
fn a_call_that_is_told_in_two_ways_is_none_unless_its_pieces_are_whole() {
    let stream = |pieces: &str, whole: &str| {
        named(&[
            begun(),
            item("added", 0, &called("fc_1", "c", "f", "")),
            delta("function_call_arguments", "fc_1", 0, pieces),
            item("done", 0, &called("fc_1", "c", "f", whole)),
            ended("completed", json!([called("fc_1", "c", "f", whole)])),
        ])
    };
    for (pieces, whole) in [("{\"x\":1", "{\"y\":1}"), ("{}", "{\"y\":1}"), ("x", "{}")] {
        let told = events(&stream(pieces, whole));
        assert!(told.last().unwrap().starts_with("failed"), "{told:?}");
    }
    for (pieces, whole) in [("{\"x\":1}", "{\"x\": 1}"), ("{}", ""), ("{ }", "{}")] {
        let told = events(&stream(pieces, whole));
        assert_eq!(told.last().unwrap(), "end", "{told:?}");
        assert_eq!(joined(&told, "arguments 0 "), pieces);
    }
}

#[test]
fn a_text_whose_pieces_are_its_beginning_is_told_whole() {
    let half = delta("output_text", "msg_1", 0, "a");
    for telling in tellings_of_text().into_iter().take(6) {
        let stream = [&[begun(), half.clone()], &telling[..]].concat();
        assert_eq!(joined(&middle(&stream), "text "), "ab", "{telling:?}");
    }
    // A repetition that is tidied adds nothing.
    for repeated in ["", "A", "b"] {
        let stream = [
            begun(),
            half.clone(),
            ended("completed", json!([said(repeated)])),
        ];
        assert_eq!(middle(&stream), ["text a"], "{repeated}");
    }
    let refused = json!({"type": "response.refusal.done", "item_id": "msg_1", "output_index": 0, "refusal": "no"});
    let stream = [
        begun(),
        delta("refusal", "msg_1", 0, "n"),
        refused,
        ended("completed", json!([])),
    ];
    assert_eq!(joined(&middle(&stream), "refusal "), "no");
}

#[test]
fn a_thought_whose_pieces_are_its_beginning_is_told_whole() {
    let piece = |text: &str| {
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0,
            "summary_index": 0, "delta": text})
    };
    let done = json!({"type": "response.reasoning_summary_text.done", "item_id": "rs_1", "output_index": 0,
        "summary_index": 0, "text": "tu"});
    let bare = ended("completed", json!([]));
    for (telling, expected) in [
        (vec![piece("t"), done, bare.clone()], "tu"),
        (
            vec![
                piece("t"),
                item("done", 0, &reasoned(&["tu"])),
                bare.clone(),
            ],
            "tu",
        ),
        (
            vec![
                piece("t"),
                item("done", 0, &reasoned(&["tu", "v"])),
                bare.clone(),
            ],
            "tu\n\nv",
        ),
        // All parts were told under one number.
        (
            vec![
                piece("t"),
                piece("v"),
                item("done", 0, &reasoned(&["t", "v"])),
                bare,
            ],
            "tv",
        ),
        (
            vec![piece("t"), ended("completed", json!([reasoned(&["tu"])]))],
            "tu",
        ),
    ] {
        let told = middle(&[&[begun()], &telling[..]].concat());
        assert_eq!(joined(&told, "thinking "), expected, "{told:?}");
    }
}

/// Servers that give an item another id with each event, or number all of them 0.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn items_are_known_by_what_can_be_relied_on() {
    let stream = [
        begun(),
        item("added", 0, &called("x1", "c1", "f", "")),
        delta("function_call_arguments", "x2", 0, "{}"),
        item("done", 0, &called("x3", "c1", "f", "{}")),
        item("added", 1, &called("x4", "c2", "g", "")),
        delta("function_call_arguments", "x5", 1, "{}"),
        item("done", 1, &called("x6", "c2", "g", "{}")),
        delta("output_text", "x7", 2, "hi"),
        item("done", 2, &said("hi")),
        ended(
            "completed",
            json!([
                called("x8", "c1", "f", "{}"),
                called("x9", "c2", "g", "{}"),
                said("hi")
            ]),
        ),
    ];
    let expected = [
        "call 0 c1 f -",
        "arguments 0 {}",
        "end of 0",
        "call 1 c2 g -",
        "arguments 1 {}",
        "end of 1",
        "text hi",
    ];
    assert_eq!(middle(&stream), expected);
    let stream = [
        begun(),
        item("added", 0, &called("a", "c1", "f", "")),
        item("added", 0, &called("b", "c2", "g", "")),
        delta("function_call_arguments", "a", 0, "{\"x\":"),
        delta("function_call_arguments", "b", 0, "{}"),
        delta("function_call_arguments", "a", 0, "1}"),
        item("done", 0, &called("a", "c1", "f", "{\"x\":1}")),
        item("done", 0, &called("b", "c2", "g", "{}")),
        ended("completed", json!([])),
    ];
    assert_eq!(
        middle(&stream),
        [
            "call 0 c1 f -",
            "call 1 c2 g -",
            "arguments 0 {\"x\":",
            "arguments 1 {}",
            "arguments 0 1}",
            "end of 0",
            "end of 1",
        ]
    );
    // Neither ids nor places.
    let stream = [
        begun(),
        json!({"type": "response.output_text.delta", "delta": "a"}),
        json!({"type": "response.output_text.delta", "delta": "b"}),
        json!({"type": "response.output_text.done", "text": "ab"}),
        json!({"type": "response.output_item.done", "item": {"type": "message", "content": [{"type": "output_text", "text": "ab"}]}}),
        ended("completed", json!([said("ab")])),
    ];
    assert_eq!(middle(&stream), ["text a", "text b"]);
}

/// A message after one that was told is another.
#[test]
fn each_message_of_several_is_told() {
    let other = json!({"id": "msg_2", "type": "message", "content": [{"type": "output_text", "text": "two"}]});
    let stream = [
        begun(),
        delta("output_text", "msg_1", 0, "one"),
        item("done", 0, &said("one")),
        ended("completed", json!([said("one"), other])),
    ];
    assert_eq!(middle(&stream), ["text one", "text two"]);
}

#[test]
fn custom_calls_are_calls_of_a_function_of_one_string() {
    let custom = |input: &str| json!({"id": "ct_1", "type": "custom_tool_call", "call_id": "c", "name": "patch", "input": input});
    let added = item("added", 0, &custom(""));
    let input = "*** \"é\"\n";
    let deltas = [
        delta("custom_tool_call_input", "ct_1", 0, "*** \"é"),
        delta("custom_tool_call_input", "ct_1", 0, "\"\n"),
    ];
    let written = json!({"type": "response.custom_tool_call_input.done", "item_id": "ct_1", "output_index": 0, "input": input});
    let done = item("done", 0, &custom(input));
    let bare = ended("completed", json!([]));
    for telling in [
        vec![
            added.clone(),
            deltas[0].clone(),
            deltas[1].clone(),
            bare.clone(),
        ],
        vec![
            added.clone(),
            deltas[0].clone(),
            deltas[1].clone(),
            written.clone(),
            done.clone(),
            bare.clone(),
        ],
        vec![added.clone(), written, bare.clone()],
        vec![added, done.clone(), bare.clone()],
        vec![done, bare],
        vec![ended("completed", json!([custom(input)]))],
    ] {
        let told = middle(&[&[begun()], &telling[..]].concat());
        assert_eq!(told[0], "call 0 c patch -", "{telling:?}");
        assert_eq!(told.last().unwrap(), "end of 0", "{telling:?}");
        let arguments: String = told[1..told.len() - 1]
            .iter()
            .map(|event| event.strip_prefix("arguments 0 ").unwrap())
            .collect();
        assert_eq!(arguments, r#"{"input":"*** \"é\"\n"}"#, "{telling:?}");
    }
}

/// By the event's name where the data does not say it, and by the data where there is no name.
#[test]
fn what_has_happened_is_known_by_either_word() {
    let nothing = ended("incomplete", json!([]));
    let stream = "event: response.created\ndata: {\"response\":{\"id\":\"r\",\"model\":\"m\"}}\n\n\
        event: response.output_text.delta\ndata: { \"delta\" : \"hi\" }\n\n\
        event: response.incomplete\ndata: {\"response\":{}}\n\n";
    let told = events(stream.as_bytes());
    assert_eq!(told, ["start r m", "text hi", "finish Length", "end"]);
    assert_eq!(
        events(&nameless(std::slice::from_ref(&nothing))),
        events(&named(&[nothing]))
    );
}

#[test]
fn failures_are_known_by_what_they_say() {
    let expected = "failed Capacity Overloaded full";
    for error in [
        json!({"error": {"message": "full", "code": 503}}),
        json!({"type": "error", "code": 503, "message": "full"}),
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "full"}}),
        json!({"type": "response.failed", "response": {"id": "r", "error": {"code": 503, "message": "full"}}}),
        json!({"object": "error", "message": "full", "code": 503}),
        json!({"message": "full", "code": 503}),
    ] {
        assert_eq!(
            events(&nameless(std::slice::from_ref(&error)))
                .last()
                .unwrap(),
            expected,
            "{error}"
        );
        let spaced = format!("data: {}\n\n", error.to_string().replace(':', " : "));
        assert_eq!(
            events(spaced.as_bytes()).last().unwrap(),
            expected,
            "{error}"
        );
        let bare = [&nameless(&[begun()]), error.to_string().as_bytes(), b"\n"].concat();
        if error["type"].is_null() {
            assert_eq!(events(&bare).last().unwrap(), expected, "{error}");
            assert_eq!(whole(&error).last().unwrap(), expected, "{error}");
        }
    }
    assert_eq!(
        whole(&json!({"detail": "full"})),
        ["failed Transient Server full"]
    );
}

#[test]
fn what_cannot_be_read_is_passed_over_if_something_follows() {
    for odd in [
        "data: x",
        "data: []",
        "data: {\"type\":",
        "data: {\"delta\":\"x\"}",
        "garbage",
    ] {
        let odd = format!("{odd}\n\n").into_bytes();
        let text = delta("output_text", "m", 0, "x");
        let stream = [
            &named(&[begun(), text.clone()]),
            &odd[..],
            &named(&[ended("completed", json!([]))]),
        ]
        .concat();
        assert_eq!(
            events(&stream),
            [
                "start resp_1 gpt",
                "text x",
                "malformed",
                USAGE,
                "finish Stop",
                "end"
            ]
        );
        let stream = [&named(&[begun(), text])[..], &odd[..]].concat();
        let told = events(&stream);
        assert!(
            told.last()
                .unwrap()
                .starts_with("failed Transient Incomplete"),
            "{told:?}"
        );
    }
}

#[test]
fn an_answer_without_anything_is_none() {
    for body in [
        json!({"status": "completed"}),
        json!({"output": []}),
        json!({"id": "r", "object": "response", "status": "completed", "output": null}),
        json!({"ok": true}),
    ] {
        let told = whole(&body);
        assert!(
            told.last().unwrap().starts_with("failed Transient Garbled"),
            "{told:?}"
        );
    }
    let told = events(&named(&[begun(), ended("completed", json!([]))]));
    assert!(
        told.last().unwrap().starts_with("failed Transient Garbled"),
        "{told:?}"
    );
    // One whose provider says itself that it is complete without anything is an empty answer.
    let told = whole(&json!({"status": "completed", "output": []}));
    assert_eq!(told, ["finish Stop", "end"]);
    // One that was cut short before its first word is an answer.
    let told = events(&named(&[begun(), ended("incomplete", json!([]))]));
    assert_eq!(told.last().unwrap(), "end");
    let words = json!({"status": "completed", "output": [said("hi")]}).to_string();
    for end in 0..words.len() {
        let mut told = Vec::new();
        super::super::read_whole(
            &words.as_bytes()[..end],
            &ToolNames::default(),
            &mut |event| {
                told.push(shown(&event));
            },
        );
        assert!(told[0].starts_with("failed Transient Garbled"), "{end}");
    }
}

/// What a tool of the provider's does is content, though no other format is told.
#[test]
fn hosted_tools_are_content() {
    let search = json!({"id": "ws", "type": "web_search_call", "status": "in_progress"});
    let mut decoder = decoder(ToolNames::default());
    let mut has_begun = false;
    decoder.feed(
        &named(&[begun(), item("added", 0, &search)]),
        &mut |event| {
            has_begun |= event.is_content();
        },
    );
    assert!(has_begun);
    let message = json!({"id": "m", "type": "message", "content": []});
    let reasoning = json!({"id": "r", "type": "reasoning", "summary": []});
    for item in [item("added", 0, &message), item("added", 0, &reasoning)] {
        let told = pieces(&[&named(&[begun(), item])]);
        assert_eq!(told.len(), 2, "{told:?}");
    }
}

#[test]
fn what_is_named_an_error_is_one() {
    for error in [
        "event: error\ndata: boom\n\n",
        "event: error\n\n",
        "event: error\ndata: {\"code\":500,\"message\":\"boom\",\"type\":\"server_error\"}\n\n",
        "error: {\"code\":500,\"message\":\"boom\",\"type\":\"server_error\"}\n\n",
    ] {
        let told = events(&[&nameless(&[begun()])[..], error.as_bytes()].concat());
        assert!(told.last().unwrap().starts_with("failed"), "{told:?}");
        assert!(!told.last().unwrap().contains("Incomplete"), "{told:?}");
    }
}

#[test]
fn calls_of_one_id_are_several_and_those_without_a_name_failures() {
    let call = called("f1", "a", "f", "{}");
    let told = whole(&ended("completed", json!([call, call]))["response"]);
    let is_call = |event: &&String| event.starts_with("call");
    assert_eq!(told.iter().filter(is_call).count(), 2, "{told:?}");
    let mut call = call;
    call["name"] = json!(null);
    let streamed = events(&nameless(&[
        begun(),
        item("added", 0, &call),
        item("done", 0, &call),
        ended("completed", json!([])),
    ]));
    for told in [
        whole(&ended("completed", json!([call]))["response"]),
        streamed,
    ] {
        assert_eq!(
            told.last().unwrap(),
            "failed Transient Garbled a tool call of the provider's answer has no name"
        );
    }
}

/// Servers exist that give several calls one `call_id`: where they stand, or their own ids, tell them apart.
#[test]
fn calls_of_one_call_id_are_told_apart_in_a_stream() {
    let one = called("fc_1", "c", "f", "");
    let two = called("fc_2", "c", "g", "");
    let bare = ended("completed", json!([]));
    let without_place = |event: Value| {
        let mut event = event;
        event.as_object_mut().unwrap().remove("output_index");
        event
    };
    let telling = [
        item("added", 0, &one),
        item("added", 1, &two),
        // Said once more, it is the same call.
        item("added", 1, &two),
        delta("function_call_arguments", "fc_2", 1, "{\"y\":2}"),
        delta("function_call_arguments", "fc_1", 0, "{\"x\":1}"),
        item("done", 0, &called("fc_1", "c", "f", "{\"x\":1}")),
        item("done", 1, &called("fc_2", "c", "g", "{\"y\":2}")),
        bare,
    ];
    let expected = [
        "call 0 c f -",
        "call 1 c g -",
        "arguments 1 {\"y\":2}",
        "arguments 0 {\"x\":1}",
        "end of 0",
        "end of 1",
    ];
    let of = |telling: Vec<Value>| {
        let mut told = middle(&[&[begun()], &telling[..]].concat());
        told.retain(|event| event != "ping");
        told
    };
    assert_eq!(of(telling.to_vec()), expected);
    assert_eq!(of(telling.map(without_place).to_vec()), expected);
    // One after the other, with the same id.
    let again = called("", "c", "f", "{}");
    let told = of(vec![
        item("added", 0, &called("", "c", "f", "")),
        item("done", 0, &again),
        item("added", 1, &called("", "c", "f", "")),
        item("done", 1, &again),
        ended("completed", json!([again, again])),
    ]);
    let is_call = |event: &&String| event.starts_with("call");
    assert_eq!(told.iter().filter(is_call).count(), 2, "{told:?}");
}

/// Another call with a name does not make up for one that has none.
#[test]
fn one_call_without_a_name_among_others_is_a_failure() {
    let named_call = called("fc_1", "c1", "f", "{}");
    let mut lost = called("fc_2", "c2", "g", "{}");
    lost["name"] = json!("");
    let streamed = events(&nameless(&[
        begun(),
        item("added", 0, &lost),
        item("added", 1, &named_call),
        item("done", 1, &named_call),
        ended("completed", json!([])),
    ]));
    let whole = |items: Value| whole(&ended("completed", items)["response"]);
    for told in [
        streamed,
        whole(json!([lost, named_call])),
        whole(json!([named_call, lost])),
    ] {
        assert!(told.last().unwrap().starts_with("failed"), "{told:?}");
    }
}

#[test]
fn each_item_of_a_whole_response_is_one() {
    for output in [
        json!([1]),
        json!([{}]),
        json!([{"type": null}]),
        json!([{"type": "message", "content": null}]),
        json!([{"type": "message"}]),
        json!([{"type": "message", "content": [1]}]),
        json!([said("hi"), 1]),
    ] {
        let told = whole(&ended("completed", output.clone())["response"]);
        assert!(
            told.last().unwrap().starts_with("failed Transient Garbled"),
            "{output}: {told:?}"
        );
        let told = events(&named(&[begun(), ended("completed", output.clone())]));
        assert!(
            told.last().unwrap().starts_with("failed"),
            "{output}: {told:?}"
        );
    }
}
