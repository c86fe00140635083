//! Answers that pass, of every form, cut at every byte.

use memchr::memmem;
use proptest::prelude::*;

use super::super::answer::Ending;
use super::*;
use crate::client::ErrorStyle;
use crate::dialect::ollama::STREAM_BROKEN;
use crate::ir::{Class, FaultKind};

const CHAT: &[u8] = include_bytes!("../../dialect/ollama/fixtures/chat.ndjson");
const GENERATE: &[u8] = include_bytes!("../../dialect/ollama/fixtures/generate.ndjson");
const PULL: &[u8] = include_bytes!("../../dialect/ollama/fixtures/pull.ndjson");
const OPENAI_CHAT: &[u8] = include_bytes!("../../dialect/ollama/fixtures/openai_chat.sse");
const MESSAGES: &[u8] = include_bytes!("../../dialect/ollama/fixtures/messages.sse");
const RESPONSES: &[u8] = include_bytes!("../../dialect/ollama/fixtures/responses.sse");

/// Everything that a reader says in the end, and what passed.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    ending: Ending,
    /// Whether it had begun before its body ended.
    begun: bool,
    /// Whether it was over before its body ended.
    over: bool,
    units: u64,
    malformed: u64,
    usage: Option<Usage>,
    fault: Option<(Class, FaultKind)>,
    passed: String,
}

fn begun(operation: Operation, streaming: bool, kind: &str) -> Passing {
    let mut passing = Passing::new(operation, streaming);
    passing.begin(true, Some(kind.as_bytes()));
    passing
}

fn watch_with<'a>(mut passing: Passing, pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut passed = Vec::new();
    for piece in pieces {
        passed.extend_from_slice(passing.feed(piece));
    }
    let (has_begun, over) = (passing.begun(), passing.over());
    let (ending, last) = passing.finish();
    passed.extend_from_slice(last);
    assert_eq!(ending == Ending::Failed, passing.fault().is_some());
    assert!(passing.over());
    Verdict {
        ending,
        begun: has_begun,
        over,
        units: passing.content_units(),
        malformed: passing.malformed(),
        usage: passing.usage(),
        fault: passing.fault().map(|fault| (fault.class, fault.kind)),
        passed: String::from_utf8_lossy(&passed).into_owned(),
    }
}

fn watch(operation: Operation, streaming: bool, body: &[u8]) -> Verdict {
    watch_with(begun(operation, streaming, "application/json"), [body])
}

/// The verdict on a stream, which is the same on every cut in two, on three-byte pieces and on single bytes.
fn stream(operation: Operation, stream: &[u8]) -> Verdict {
    let passing = || begun(operation, true, "text/event-stream");
    let whole = watch_with(passing(), [stream]);
    for cut in 0..=stream.len() {
        let (first, second) = stream.split_at(cut);
        assert_eq!(
            watch_with(passing(), [first, second]),
            whole,
            "cut at {cut}"
        );
    }
    assert_eq!(watch_with(passing(), stream.chunks(3)), whole);
    assert_eq!(watch_with(passing(), stream.chunks(1)), whole);
    whole
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn data(data: &str) -> String {
    format!("data: {data}\n\n")
}

fn event(name: &str, json: &str) -> String {
    format!("event: {name}\n{}", data(json))
}

#[test]
fn whole_streams_pass_untouched_and_tell_their_usage() {
    use Operation::*;
    let tokens = Usage {
        prompt: Some(26),
        output: Some(4),
        ..Usage::default()
    };
    let metrics = Usage {
        prompt_duration: Some(325_953_000),
        output_duration: Some(4_709_213_000),
        load_duration: Some(5_025_959),
        total_duration: Some(5_043_500_667),
        ..tokens
    };
    for (operation, bytes, units, usage) in [
        (Chat, CHAT, 4, Some(metrics)),
        (Generate, GENERATE, 2, Some(metrics)),
        (Pull, PULL, 7, None),
        (OpenAiChat, OPENAI_CHAT, 2, Some(tokens)),
        (AnthropicMessages, MESSAGES, 2, Some(tokens)),
        (OpenAiResponses, RESPONSES, 1, Some(tokens)),
    ] {
        let verdict = stream(operation, bytes);
        let expected = Verdict {
            ending: Ending::Complete,
            begun: true,
            over: true,
            units,
            malformed: 0,
            usage,
            fault: None,
            passed: text(bytes),
        };
        assert_eq!(verdict, expected, "{operation:?}");
    }
}

/// The last byte without which a stream is not complete.
#[test]
fn a_stream_cut_before_its_end_is_never_complete() {
    use Operation::*;
    for (operation, bytes, last) in [
        // Without its last newline, a whole object has still come.
        (Chat, CHAT, "}"),
        (Generate, GENERATE, "}"),
        (Pull, PULL, "}"),
        (AnthropicMessages, MESSAGES, "{\"type\":\"message_stop\"}"),
        (OpenAiResponses, RESPONSES, "}}}"),
    ] {
        let end = memmem::rfind(bytes, last.as_bytes()).unwrap() + last.len();
        for cut in 0..=bytes.len() {
            let kind = "text/event-stream";
            let verdict = watch_with(begun(operation, true, kind), [&bytes[..cut]]);
            let complete = verdict.ending == Ending::Complete;
            assert_eq!(complete, cut >= end, "{operation:?} cut at {cut}");
            let is_known = memmem::find(&bytes[..cut], b"}\n").is_some();
            let garbled = Some((Class::Transient, FaultKind::Garbled));
            assert!(
                !is_known || verdict.fault != garbled,
                "{operation:?} cut at {cut}"
            );
            // What is cut within its first line or event may be anything.
            if !complete && verdict.fault != garbled {
                assert_eq!(
                    verdict.fault,
                    Some((Class::Transient, FaultKind::Incomplete))
                );
                assert!(verdict.passed.contains(STREAM_BROKEN), "{}", verdict.passed);
            }
        }
    }
}

#[test]
fn a_chat_that_ends_after_its_reason_is_complete_and_gets_its_terminator() {
    let content = data(r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}"#);
    let reason = data(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#);
    let usage = data(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#);
    for more in ["", &usage] {
        let bytes = format!("{content}{reason}{more}");
        let verdict = stream(Operation::OpenAiChat, bytes.as_bytes());
        assert_eq!(verdict.ending, Ending::Complete);
        assert_eq!(verdict.passed, format!("{bytes}data: [DONE]\n\n"));
    }
    let verdict = stream(Operation::OpenAiChat, content.as_bytes());
    assert_eq!(verdict.ending, Ending::Failed);
    assert!(!verdict.passed.contains("[DONE]"), "{}", verdict.passed);
    let completion = data(r#"{"choices":[{"text":"Hi","finish_reason":"stop"}]}"#);
    let verdict = stream(Operation::OpenAiCompletions, completion.as_bytes());
    assert_eq!(verdict.passed, format!("{completion}data: [DONE]\n\n"));
}

/// A piece of each form, as servers write it, and errors in each.
const SPOKEN: [(Operation, &str); 6] = [
    (
        Operation::OpenAiChat,
        "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\n",
    ),
    (
        Operation::OpenAiCompletions,
        "data: {\"choices\": [{\"text\": \"Hi\"}]}\n\n",
    ),
    (
        Operation::OpenAiResponses,
        "event: response.output_text.delta\ndata: {\"delta\": \"Hi\", \"type\": \"response.output_text.delta\"}\n\n",
    ),
    (
        Operation::AnthropicMessages,
        "event: content_block_delta\ndata: {\"delta\": {\"text\": \"Hi\", \"type\": \"text_delta\"}, \"index\": 0, \"type\": \"content_block_delta\"}\n\n",
    ),
    (
        Operation::Chat,
        "{\"done\": false, \"message\": {\"content\": \"Hi\"}}\n",
    ),
    (
        Operation::Generate,
        "{ \"response\" : \"Hi\" , \"done\" : false }\n",
    ),
];

fn errors_of(operation: Operation) -> Vec<String> {
    use Operation::*;
    let errors: &[&str] = match operation {
        OpenAiChat | OpenAiCompletions => &[
            "data: {\"error\":{\"message\":\"full\"}}\n\n",
            "data: { \"id\": \"x\", \"choices\": [], \"error\": { \"message\": \"full\" } }\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n",
            "data: {\"object\": \"error\", \"message\": \"full\", \"code\": 500}\n\n",
            "event: error\ndata: {\"message\":\"full\"}\n\n",
        ],
        OpenAiResponses => &[
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"full\"}\n\n",
            "data: {\"message\": \"full\", \"type\": \"error\"}\n\n",
            "data: {\"response\":{\"status\":\"failed\",\"error\":{\"message\":\"full\"}},\"type\":\"response.failed\"}\n\n",
            "data: {\"error\":{\"message\":\"full\"}}\n\n",
        ],
        AnthropicMessages => &[
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"full\"}}\n\n",
            "data: { \"error\": {\"message\": \"full\", \"type\": \"api_error\"}, \"type\": \"error\" }\n\n",
        ],
        _ => &[
            "{\"error\":\"full\"}\n",
            "{ \"model\" : \"m\", \"error\" : \"full\" }\n",
            "{\"error\":{\"message\":\"full\"}}\n",
        ],
    };
    errors.iter().map(|&error| error.to_owned()).collect()
}

#[test]
fn an_error_is_one_however_it_is_written() {
    for (operation, content) in SPOKEN {
        for error in errors_of(operation) {
            let verdict = stream(operation, error.as_bytes());
            assert!(!verdict.begun && verdict.over, "{operation:?} {error}");
            assert_eq!(
                (verdict.ending, verdict.units),
                (Ending::Failed, 0),
                "{error}"
            );
            assert_ne!(verdict.fault.unwrap().1, FaultKind::Incomplete, "{error}");
            let later = format!("{content}{error}");
            let verdict = stream(operation, later.as_bytes());
            assert!(verdict.begun && verdict.over, "{operation:?} {error}");
            assert_eq!(
                (verdict.ending, verdict.units),
                (Ending::Failed, 1),
                "{error}"
            );
            // Whoever reads what passed finds it failed, and told where libraries look for it.
            let told = &verdict.passed[content.len()..];
            assert!(
                told::is_told(operation, told.as_bytes()),
                "{error} as {told}"
            );
            assert_eq!(
                stream(operation, verdict.passed.as_bytes()).ending,
                Ending::Failed
            );
        }
    }
}

/// A server that fails after it has opened the stream has not answered: another may.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn opening_events_are_no_content_however_they_are_written() {
    use Operation::*;
    let chat = |delta: &str| {
        data(&format!(
            r#"{{"choices": [{{"delta": {delta}, "index": 0}}]}}"#
        ))
    };
    let openings = [
        (OpenAiChat, chat(r#"{"role": "assistant"}"#)),
        (OpenAiChat, chat(r#"{"content": "", "role":"assistant"}"#)),
        (
            OpenAiChat,
            chat(r#"{"role":"assistant","content":null,"refusal":null}"#),
        ),
        (OpenAiChat, chat("{}")),
        (
            OpenAiChat,
            data(r#"{"choices":[],"prompt_filter_results":[]}"#),
        ),
        (OpenAiChat, ": OPENROUTER PROCESSING\n\n".to_owned()),
        (
            OpenAiCompletions,
            data(r#"{"choices": [{"text": "", "index": 0}]}"#),
        ),
        (
            AnthropicMessages,
            event(
                "message_start",
                r#"{"message": {"id": "m"}, "type": "message_start"}"#,
            ),
        ),
        (AnthropicMessages, event("ping", r#"{"type": "ping"}"#)),
        (
            AnthropicMessages,
            event(
                "content_block_start",
                r#"{"content_block": {"type": "text", "text": ""}, "index": 0, "type": "content_block_start"}"#,
            ),
        ),
        (
            OpenAiResponses,
            event(
                "response.created",
                r#"{"response": {"id": "r"}, "type": "response.created"}"#,
            ),
        ),
        (
            OpenAiResponses,
            event(
                "response.in_progress",
                r#"{"type": "response.in_progress"}"#,
            ),
        ),
        (
            Chat,
            "{\"message\": {\"role\": \"assistant\", \"content\": \"\"}, \"done\": false}\n"
                .to_owned(),
        ),
    ];
    for (operation, opening) in openings {
        let mut passing = begun(operation, true, "text/event-stream");
        assert_eq!(text(passing.feed(opening.as_bytes())), opening);
        assert!(!passing.begun(), "{operation:?} {opening}");
        let (_, content) = SPOKEN
            .iter()
            .find(|(other, _)| *other == operation)
            .unwrap();
        passing.feed(content.as_bytes());
        assert!(passing.begun(), "{operation:?} {opening}");
        assert_eq!(passing.content_units(), 1);
    }
}

#[test]
fn a_stream_is_over_with_its_terminator_and_what_follows_is_not_passed() {
    use Operation::*;
    for (operation, bytes) in [
        (Chat, CHAT),
        (Generate, GENERATE),
        (Pull, PULL),
        (OpenAiChat, OPENAI_CHAT),
        (AnthropicMessages, MESSAGES),
        (OpenAiResponses, RESPONSES),
    ] {
        let mut passing = begun(operation, true, "text/event-stream");
        let longer = [bytes, b"data: {\"late\":1}\n\n{\"late\":1}\n"].concat();
        assert_eq!(text(passing.feed(&longer)), text(bytes), "{operation:?}");
        assert!(passing.over());
        assert!(passing.feed(b"data: more\n\n").is_empty());
        assert_eq!(passing.finish(), (Ending::Complete, &[][..]));
    }
}

#[test]
fn what_cannot_be_read_is_left_out_and_counted_while_the_stream_goes_on() {
    for (operation, content) in SPOKEN {
        let end = match operation {
            Operation::OpenAiChat | Operation::OpenAiCompletions => "data: [DONE]\n\n",
            Operation::OpenAiResponses => {
                "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n"
            }
            Operation::AnthropicMessages => {
                "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
            }
            _ => "{\"done\":true}\n",
        };
        for broken in ["{\"half\":", "no json", "[1,", "{\"a\":1}}"] {
            let bad = match ErrorStyle::of(operation) {
                ErrorStyle::Ollama => format!("{broken}\n"),
                _ => data(broken),
            };
            let verdict = stream(
                operation,
                format!("{content}{bad}{content}{end}").as_bytes(),
            );
            assert_eq!(verdict.ending, Ending::Complete, "{operation:?} {bad}");
            assert_eq!(verdict.passed, format!("{content}{content}{end}"), "{bad}");
            assert_eq!((verdict.malformed, verdict.units), (1, 2), "{bad}");
            let verdict = stream(operation, format!("{content}{bad}").as_bytes());
            assert_eq!(verdict.ending, Ending::Failed, "{operation:?} {bad}");
        }
    }
}

#[test]
fn text_that_is_no_utf_8_passes_as_it_came() {
    let line = b"{\"message\":{\"content\":\"\xff\xfe\"},\"done\":false}\n{\"done\":true}\n";
    let mut passing = begun(Operation::Chat, true, "application/x-ndjson");
    assert_eq!(passing.feed(line), line);
    assert_eq!((passing.malformed(), passing.content_units()), (0, 1));
}

#[test]
fn an_event_that_is_no_utf_8_is_left_out_and_such_a_body_is_none() {
    let good = data(r#"{"choices":[{"delta":{"content":"Hi"}}]}"#);
    let bad = b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n";
    let end = b"data: [DONE]\n\n";
    let verdict = stream(
        Operation::OpenAiChat,
        &[good.as_bytes(), bad, good.as_bytes(), end].concat(),
    );
    assert_eq!((verdict.malformed, verdict.units), (1, 2));
    assert_eq!(verdict.passed, format!("{good}{good}data: [DONE]\n\n"));
    let body = b"{\"choices\":[{\"message\":{\"content\":\"\xff\"},\"finish_reason\":\"stop\"}]}";
    let verdict = watch(Operation::OpenAiChat, false, body);
    let garbled = Some((Class::Transient, FaultKind::Garbled));
    assert_eq!((verdict.ending, verdict.fault), (Ending::Failed, garbled));
}

#[test]
fn a_body_passes_without_its_byte_order_mark() {
    for (operation, body) in ANSWERS {
        let verdict = watch(operation, false, format!("\u{feff}{body}").as_bytes());
        assert_eq!(verdict.ending, Ending::Complete, "{operation:?}");
        assert_eq!(verdict.passed, body);
    }
}

#[test]
fn lines_of_a_chat_that_say_nothing_are_left_out() {
    for (operation, content) in &SPOKEN[4..] {
        for nothing in ["{}\n", "{\"model\":\"m\",\"done\":false}\n"] {
            let text = format!("{content}{nothing}{{\"done\":true}}\n");
            let verdict = stream(*operation, text.as_bytes());
            assert_eq!((verdict.malformed, verdict.units), (1, 1));
            assert_eq!(verdict.passed, text.replace(nothing, ""));
        }
    }
}

#[test]
fn events_get_the_names_that_their_libraries_look_for() {
    let stop = r#"{"type":"message_stop"}"#;
    let (_, content) = SPOKEN[3];
    let (_, nameless) = content.split_once('\n').unwrap();
    let verdict = stream(
        Operation::AnthropicMessages,
        format!("{nameless}event: message\n{}", data(stop)).as_bytes(),
    );
    let named = format!("{content}{}", event("message_stop", stop));
    assert_eq!((verdict.ending, verdict.passed), (Ending::Complete, named));
}

#[test]
fn calls_that_a_library_would_join_get_numbers_of_their_own() {
    let call = |number: u64, id: &str| {
        data(&format!(
            r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":{number},"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}}}}]}}"#
        ))
    };
    let end = format!(
        "{}data: [DONE]\n\n",
        data(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#)
    );
    let expected = format!("{}{}{end}", call(0, "a"), call(1, "b"));
    for second in [0, 1] {
        let sent = format!("{}{}{end}", call(0, "a"), call(second, "b"));
        let verdict = stream(Operation::OpenAiChat, sent.as_bytes());
        assert_eq!(verdict.passed, expected);
        assert_eq!(verdict.ending, Ending::Complete);
    }
}

/// What a stream whose body stays open gives when nothing comes any more.
fn settled(operation: Operation, sent: &str) -> Option<String> {
    let mut passing = begun(operation, true, "text/event-stream");
    let mut passed = passing.feed(sent.as_bytes()).to_vec();
    passed.extend_from_slice(passing.settle()?);
    assert!(passing.over());
    Some(text(&passed))
}

#[test]
fn a_terminator_without_its_own_end_ends_a_stream() {
    for (operation, content) in SPOKEN {
        let (end, ends): (String, &[&str]) = match operation {
            Operation::OpenAiResponses => (
                event(
                    "response.completed",
                    r#"{"type":"response.completed","response":{"status":"completed"}}"#,
                ),
                &["\n\n", "\n"],
            ),
            Operation::AnthropicMessages => (
                event("message_stop", r#"{"type":"message_stop"}"#),
                &["\n\n", "\n"],
            ),
            Operation::Chat | Operation::Generate => ("{\"done\":true}".to_owned(), &[""]),
            _ => ("data: [DONE]\n\n".to_owned(), &["\n\n", "\n"]),
        };
        let all = format!("{content}{end}");
        for missing in ends {
            let sent = all.strip_suffix(missing).unwrap();
            assert_eq!(settled(operation, sent), Some(all.clone()), "{sent}");
        }
        assert_eq!(settled(operation, content), None, "{operation:?}");
        let cut = &all[..all.trim_end().len() - 1];
        assert_eq!(settled(operation, cut), None, "{cut}");
    }
    // A reason to end, and then silence.
    let reason = data(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#);
    let sent = format!("{}{reason}", SPOKEN[0].1);
    let expected = format!("{sent}data: [DONE]\n\n");
    assert_eq!(settled(Operation::OpenAiChat, &sent), Some(expected));
}

#[test]
fn token_counts_that_nobody_asked_for_are_left_out() {
    let content = data(r#"{"choices":[{"delta":{"content":"Hi"}}],"usage":null}"#);
    let reason = data(r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#);
    let usage = data(r#"{"usage": {"prompt_tokens":3,"completion_tokens":1}, "choices": [ ]}"#);
    let all = format!("{content}{reason}{usage}data: [DONE]\n\n");
    for size in 1..=all.len() {
        let mut passing = Passing::new(Operation::OpenAiChat, true).uncounted();
        passing.begin(true, None);
        let verdict = watch_with(passing, all.as_bytes().chunks(size));
        assert_eq!(verdict.passed, format!("{content}{reason}data: [DONE]\n\n"));
        assert_eq!(verdict.usage.unwrap().output, Some(1));
    }
}

const ANSWERS: [(Operation, &str); 12] = [
    (
        Operation::OpenAiChat,
        r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":4}}"#,
    ),
    (
        Operation::OpenAiCompletions,
        r#"{"choices":[{"text":"Hi","finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":4}}"#,
    ),
    (
        Operation::OpenAiResponses,
        r#"{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}],"usage":{"input_tokens":26,"output_tokens":4}}"#,
    ),
    (
        Operation::AnthropicMessages,
        r#"{"id":"m","type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":26,"output_tokens":4}}"#,
    ),
    (
        Operation::Chat,
        r#"{"message":{"content":"Hi"},"done":true,"prompt_eval_count":26,"eval_count":4}"#,
    ),
    (
        Operation::Generate,
        r#"{"response":"Hi","done":true,"prompt_eval_count":26,"eval_count":4}"#,
    ),
    (
        Operation::Embed,
        r#"{"embeddings":[[0.5]],"prompt_eval_count":26}"#,
    ),
    (Operation::Embeddings, r#"{"embedding":[0.5]}"#),
    (
        Operation::OpenAiEmbeddings,
        r#"{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":26,"total_tokens":26}}"#,
    ),
    (
        Operation::OpenAiImages,
        r#"{"created":1,"data":[{"b64_json":"aGk="}]}"#,
    ),
    (Operation::AnthropicCountTokens, r#"{"input_tokens":26}"#),
    (Operation::AudioTranscriptions, r#"{"text":"Hi"}"#),
];

#[test]
fn a_whole_answer_is_held_until_it_is_what_was_asked_for() {
    for (operation, body) in ANSWERS {
        let mut passing = begun(operation, false, "application/json");
        for piece in body.as_bytes().chunks(5) {
            assert!(passing.feed(piece).is_empty(), "{operation:?}");
        }
        assert!(!passing.begun() && passing.holds());
        let verdict = watch(operation, false, body.as_bytes());
        assert_eq!(verdict.ending, Ending::Complete, "{operation:?}");
        assert_eq!(verdict.passed, body);
        if body.contains("26") && operation != Operation::AnthropicCountTokens {
            assert_eq!(
                verdict.usage.and_then(|usage| usage.prompt),
                Some(26),
                "{body}"
            );
        }
        let pretty = body.replace(':', " :\n ");
        assert_eq!(
            watch(operation, false, pretty.as_bytes()).ending,
            Ending::Complete
        );
        for cut in 0..body.len() {
            let verdict = watch(operation, false, &body.as_bytes()[..cut]);
            assert_eq!(verdict.ending, Ending::Failed, "{operation:?} cut at {cut}");
        }
    }
}

#[test]
fn what_is_not_of_the_form_that_was_asked_for_is_no_answer() {
    for (operation, body) in ANSWERS {
        let events = data(body);
        for wrong in [
            r#"{"ok":true}"#,
            "<html><body>Sign in</body></html>",
            "[]",
            "\"text\"",
            &format!("{body}}}"),
            &format!("{body}{body}"),
            &events,
            "",
            "  ",
        ] {
            let is_text = operation == Operation::AudioTranscriptions
                && !wrong.starts_with('{')
                && !wrong.trim().is_empty();
            let verdict = watch_with(begun(operation, false, "text/plain"), [wrong.as_bytes()]);
            let expected = if is_text {
                Ending::Complete
            } else {
                Ending::Failed
            };
            assert_eq!(verdict.ending, expected, "{operation:?} {wrong}");
        }
        for error in [
            r#"{"error":{"message":"full"}}"#,
            r#"{ "id": "x", "error": {"message": "full"} }"#,
        ] {
            let verdict = watch(operation, false, error.as_bytes());
            assert_eq!(verdict.ending, Ending::Failed, "{operation:?} {error}");
            let kind = verdict.fault.unwrap().1;
            assert!(
                !matches!(kind, FaultKind::Garbled | FaultKind::Incomplete),
                "{operation:?} {error} is {kind:?}"
            );
        }
    }
}

/// What has the names of an answer and holds none; a translation judges alike.
const NO_ANSWERS: [(Operation, &str); 27] = {
    use Operation::*;
    [
        (OpenAiChat, r#"{"choices":[]}"#),
        (OpenAiChat, r#"{"choices":[],"usage":{"prompt_tokens":26}}"#),
        (OpenAiChat, r#"{"choices":[1]}"#),
        (OpenAiChat, r#"{"choices":[{}]}"#),
        (OpenAiChat, r#"{"choices":[{"message":{}}]}"#),
        (
            OpenAiChat,
            r#"{"choices":[{"message":{"content":"Hi"}},{}]}"#,
        ),
        (OpenAiChat, r#"{"choices":[{"message":{"novel":""}}]}"#),
        (
            OpenAiChat,
            r#"{"choices":[{"text":"Hi","finish_reason":"stop"}]}"#,
        ),
        (OpenAiCompletions, r#"{"choices":[]}"#),
        (OpenAiCompletions, r#"{"choices":[{}]}"#),
        (
            OpenAiCompletions,
            r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}"#,
        ),
        (OpenAiResponses, r#"{"output":[]}"#),
        (OpenAiResponses, r#"{"status":"completed","output":[1]}"#),
        (OpenAiResponses, r#"{"status":"completed","output":[{}]}"#),
        (
            OpenAiResponses,
            r#"{"status":"completed","output":[{"type":"message","content":null}]}"#,
        ),
        (
            AnthropicMessages,
            r#"{"type":"message","content":[1],"stop_reason":"end_turn"}"#,
        ),
        (
            AnthropicMessages,
            r#"{"type":"message","content":[{}],"stop_reason":"end_turn"}"#,
        ),
        (
            AnthropicMessages,
            r#"{"type":"message","content":[{"type":"text"}],"stop_reason":"end_turn"}"#,
        ),
        (AnthropicMessages, r#"{"content":[]}"#),
        (Chat, r#"{"response":"Hi","done":true}"#),
        (Generate, r#"{"message":{"content":"Hi"},"done":true}"#),
        (OpenAiImages, r#"{"created":1}"#),
        (OpenAiImages, r#"{"created":1,"data":[]}"#),
        (OpenAiImages, r#"{"created":1,"data":[1]}"#),
        (AnthropicCountTokens, r#"{"input_tokens":null}"#),
        (AudioTranscriptions, r#"{"ok":true}"#),
        (AudioTranscriptions, r#"{"text":null}"#),
    ]
};

#[test]
fn what_has_the_names_of_an_answer_and_holds_none_is_no_answer() {
    for (operation, body) in NO_ANSWERS {
        let verdict = watch(operation, false, body.as_bytes());
        let garbled = Some((Class::Transient, FaultKind::Garbled));
        assert_eq!(verdict.fault, garbled, "{operation:?} {body}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn an_answer_has_as_many_vectors_as_were_asked_for() {
    use Operation::*;
    let verdict = |operation, request: &str, body: &str| {
        let passing = Passing::new(operation, false).answering(request.as_bytes());
        let mut passing = passing;
        passing.begin(true, Some(b"application/json"));
        watch_with(passing, [body.as_bytes()]).ending == Ending::Complete
    };
    for (operation, request, good, bad) in [
        (
            Embed,
            r#"{"input":"hi"}"#,
            r#"{"embeddings":[[0.5, 1]]}"#,
            &[
                r#"{"embeddings":[]}"#,
                r#"{"embeddings":[[]]}"#,
                r#"{"embeddings":[[0.5],[0.5]]}"#,
                r#"{"embeddings":[null]}"#,
                r#"{"embeddings":[["a"]]}"#,
                r#"{"embeddings":0.5}"#,
            ][..],
        ),
        (
            Embed,
            r#"{"input":["a","b"]}"#,
            r#"{"embeddings":[ [0.5] , [-0.5] ]}"#,
            &[r#"{"embeddings":[[0.5]]}"#],
        ),
        (
            Embed,
            r#"{"input":[]}"#,
            r#"{"model":"m","embeddings":[]}"#,
            &[r#"{"embeddings":[[0.5]]}"#],
        ),
        (
            Embeddings,
            r#"{"prompt":"hi"}"#,
            r#"{"embedding":[0.5]}"#,
            &[r#"{"embedding":[]}"#, r#"{"embedding":["a"]}"#],
        ),
        (
            Embeddings,
            r#"{"prompt":""}"#,
            r#"{"embedding":[]}"#,
            &[r#"{"embedding":null}"#],
        ),
        (
            OpenAiEmbeddings,
            r#"{"input":["a","b"]}"#,
            r#"{"data":[{"embedding":[0.5]},{"embedding":"AAAA"}]}"#,
            &[
                r#"{"data":[]}"#,
                r#"{"data":[{"embedding":[0.5]}]}"#,
                r#"{"data":[{"embedding":[0.5]},{"embedding":[]}]}"#,
                r#"{"data":[{"embedding":[0.5]},{"embedding":""}]}"#,
                r#"{"data":[{"embedding":[0.5]},1]}"#,
            ],
        ),
        (
            OpenAiEmbeddings,
            r#"{"input":[1,2,3]}"#,
            r#"{"data":[{"embedding":[0.5]}]}"#,
            &[r#"{"data":[{"embedding":[0.5]},{"embedding":[0.5]}]}"#],
        ),
    ] {
        assert!(verdict(operation, request, good), "{request} {good}");
        for bad in bad {
            assert!(!verdict(operation, request, bad), "{request} {bad}");
        }
    }
}

/// Few libraries read it over, so that it does not pass.
#[test]
fn a_byte_order_mark_is_left_out() {
    for (operation, bytes) in [
        (Operation::Chat, CHAT),
        (Operation::Generate, GENERATE),
        (Operation::Pull, PULL),
        (Operation::OpenAiChat, OPENAI_CHAT),
        (Operation::AnthropicMessages, MESSAGES),
        (Operation::OpenAiResponses, RESPONSES),
    ] {
        let marked = ["\u{feff}".as_bytes(), bytes].concat();
        assert_eq!(
            stream(operation, &marked),
            stream(operation, bytes),
            "{operation:?}"
        );
    }
    for (operation, body) in ANSWERS {
        let marked = format!("\u{feff}{body}");
        let verdict = watch(operation, false, marked.as_bytes());
        assert_eq!((verdict.ending, &*verdict.passed), (Ending::Complete, body));
        // A stream of one line, without its end.
        if operation == Operation::Chat {
            assert_eq!(watch(operation, true, marked.as_bytes()).passed, body);
        }
    }
}

/// Its framing may be open for as long as its server likes.
#[test]
fn a_whole_answer_is_over_with_its_value() {
    for (operation, body) in ANSWERS {
        let mut passing = begun(operation, false, "application/json");
        for (at, byte) in body.as_bytes().iter().enumerate() {
            assert!(!passing.nearly_over(), "{operation:?} {at}");
            assert!(passing.settle().is_none() && passing.holds());
            passing.feed(std::slice::from_ref(byte));
        }
        assert!(passing.nearly_over(), "{operation:?}");
        assert_eq!(text(passing.settle().unwrap()), body);
        assert!(passing.over() && passing.fault().is_none(), "{operation:?}");
        assert_eq!(passing.finish(), (Ending::Complete, &[][..]));
    }
}

#[test]
fn a_prompt_that_was_only_rendered_is_what_was_asked_for() {
    let body = r#"{"model":"m","message":{"role":"","content":""},"done":false,"_debug_info":{"rendered_template":"x"}}"#;
    for streaming in [true, false] {
        let verdict = watch(Operation::Chat, streaming, body.as_bytes());
        assert_eq!((verdict.ending, &*verdict.passed), (Ending::Complete, body));
        let cut = watch(
            Operation::Chat,
            streaming,
            &body.as_bytes()[..body.len() - 1],
        );
        assert_eq!(cut.ending, Ending::Failed);
    }
}

/// Nothing in it can be read, but it is of the form that was asked for: its client may know better.
#[test]
fn an_answer_that_is_empty_or_unknown_passes() {
    use Operation::*;
    for (operation, body) in [
        (
            OpenAiChat,
            r#"{"choices":[{"message":{"novel":1}}],"usage":{"prompt_tokens":26,"completion_tokens":99}}"#,
        ),
        (
            OpenAiResponses,
            r#"{"id":"x","status":"completed","output":[],"usage":{"input_tokens":26}}"#,
        ),
        (
            AnthropicMessages,
            r#"{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":26}}"#,
        ),
    ] {
        let verdict = watch(operation, false, body.as_bytes());
        assert_eq!((verdict.ending, &*verdict.passed), (Ending::Complete, body));
        assert_eq!(verdict.usage.unwrap().prompt, Some(26), "{body}");
        let failed = body.replacen('{', r#"{"error":{"message":"full"},"#, 1);
        assert_eq!(
            watch(operation, false, failed.as_bytes()).ending,
            Ending::Failed,
            "{failed}"
        );
    }
}

#[test]
fn a_response_in_the_background_is_what_was_asked_for() {
    for (body, ending) in [
        (
            r#"{"id":"r","background":true,"status":"queued","output":[]}"#,
            Ending::Complete,
        ),
        (
            r#"{"id":"r","status":"in_progress","output":[],"background":true}"#,
            Ending::Complete,
        ),
        (
            r#"{"id":"r","background":false,"status":"queued","output":[]}"#,
            Ending::Failed,
        ),
        (
            r#"{"id":"r","background":true,"status":"failed","error":{"message":"no"}}"#,
            Ending::Failed,
        ),
        (
            r#"{"id":"r","background":true,"status":"queued""#,
            Ending::Failed,
        ),
    ] {
        let verdict = watch(Operation::OpenAiResponses, false, body.as_bytes());
        assert_eq!(verdict.ending, ending, "{body}");
    }
}

#[test]
fn one_body_is_no_stream() {
    for (operation, body) in &ANSWERS[..4] {
        for body in [
            (*body).to_owned(),
            body.replace(',', ",\n"),
            format!("{body}\n"),
        ] {
            let verdict = watch(*operation, true, body.as_bytes());
            assert_eq!(
                (verdict.ending, verdict.begun),
                (Ending::Failed, false),
                "{operation:?} {body}"
            );
        }
    }
    for page in ["<html>\n<body>Sign in</body>\n</html>\n", "{\"ok\":true}"] {
        for (operation, _) in SPOKEN {
            let verdict = watch(operation, true, page.as_bytes());
            assert_eq!(
                (verdict.ending, verdict.begun),
                (Ending::Failed, false),
                "{page}"
            );
        }
    }
    // Ollama's lines are objects: a load, or an answer in one, is a stream of one line.
    for (operation, body) in [
        ANSWERS[4],
        ANSWERS[5],
        (
            Operation::Generate,
            r#"{"model":"m","response":"","done":true,"done_reason":"load"}"#,
        ),
    ] {
        let verdict = watch(operation, true, body.as_bytes());
        assert_eq!(verdict.ending, Ending::Complete, "{body}");
        assert_eq!(verdict.passed, body);
    }
}

#[test]
fn what_is_too_large_to_be_held_passes() {
    let mut body = b"{\"embeddings\":[[0.25".to_vec();
    body.extend(b",0.25".repeat(MAX_HELD / 5));
    body.extend_from_slice(b"]],\"prompt_eval_count\":3}");
    let mut passing = begun(Operation::Embed, false, "application/json");
    let mut passed = Vec::new();
    for piece in body.chunks(65_536) {
        passed.extend_from_slice(passing.feed(piece));
        assert!(!passing.begun() || !passing.holds());
    }
    assert_eq!(passing.finish(), (Ending::Complete, &[][..]));
    assert_eq!(passing.usage().unwrap().prompt, Some(3));
    assert!(passed == body);
}

#[test]
fn a_line_too_long_to_be_held_passes_and_what_breaks_it_is_told_apart() {
    let mut passing = begun(Operation::Chat, true, "application/x-ndjson");
    let piece = vec![b'x'; 1 << 20];
    let mut passed = 0;
    for _ in 0..10 {
        passed += passing.feed(&piece).len();
    }
    assert_eq!(passed, 10 << 20);
    assert_eq!(passing.break_off("gone"), b"\n{\"error\":\"gone\"}\n");
}

/// Whatever a stream was doing when it broke, its end is read as an error and not as an end.
#[test]
fn ends_of_broken_streams_are_understood() {
    for (operation, content) in SPOKEN {
        let whole = format!("{content}{content}");
        for cut in 0..whole.len() {
            let mut passing = begun(operation, true, "text/event-stream");
            let mut sent = passing.feed(&whole.as_bytes()[..cut]).to_vec();
            sent.extend_from_slice(passing.break_off("no \"more\""));
            let mut client = begun(operation, true, "text/event-stream");
            client.feed(&sent);
            assert_eq!(client.finish().0, Ending::Failed, "{operation:?} {cut}");
            let failing = text(client.failing());
            assert!(
                failing.contains(r#"no \"more\""#),
                "{operation:?} {cut}: {failing}"
            );
        }
    }
}

#[test]
fn an_error_answer_passes_unread() {
    let mut passing = Passing::new(Operation::Chat, true);
    passing.begin(false, Some(b"application/json"));
    assert_eq!(passing.feed(b"{\"error\":"), b"{\"error\":");
    assert!(passing.begun() && !passing.streams() && passing.fault().is_none());
    assert_eq!(passing.finish().0, Ending::Complete);
}

proptest! {
    #[test]
    fn any_split_of_any_mix_gives_the_same(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "{\"response\":\"a\",\"done\":false}\n", "{\"done\":true,\"eval_count\":3}\n", "\n", "\r\n",
                "{\"error\":\"e\"}\n", "{\"error\":\"\"}\n", "{\"error\"", "{\"err", "junk\n", "{\"status\":\"success\"}\n",
                "data: {\"error\":{}}\n", "data: {\"choices\":[{\"text\":\"a\"}]}\n\n", "data: {\"usage\":{\"prompt_tokens\":1}}\n\n",
                "data: [DONE]\n", "event: x\n", "data: {\"type\":\"message_stop\"}\n\n", "data: {\"half\n\n", ": c\n\n",
            ]),
            0..6,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        operation in prop::sample::select(vec![
            Operation::Chat, Operation::Pull, Operation::OpenAiChat, Operation::AnthropicMessages, Operation::Embed,
            Operation::OpenAiResponses, Operation::OpenAiCompletions, Operation::AudioTranscriptions,
        ]),
        streaming in any::<bool>(),
    ) {
        let bytes = parts.concat().into_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        let passing = || begun(operation, streaming, "text/event-stream");
        prop_assert_eq!(watch_with(passing(), pieces), watch_with(passing(), [&bytes[..]]));
    }

    #[test]
    fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..40) {
        for operation in [Operation::Chat, Operation::OpenAiChat, Operation::AnthropicMessages, Operation::Pull] {
            watch_with(begun(operation, true, "x"), bytes.chunks(size));
        }
    }
}
