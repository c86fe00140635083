//! What servers write that is not quite of their form: it is read as the libraries of clients read it, in bytes that pass
//! and in a translation.

use http::HeaderMap;

use super::*;
use crate::client::Operation;
use crate::translate::{Ending, Passing};

/// What passes of a stream, how often something was left out, and how it ended.
fn passed(operation: Operation, stream: &str) -> (String, u64, Ending) {
    let mut passing = Passing::new(operation, true);
    passing.begin(true, None);
    let mut text = passing.feed(stream.as_bytes()).to_vec();
    let malformed = passing.malformed();
    let (ending, last) = passing.finish();
    text.extend_from_slice(last);
    (String::from_utf8(text).unwrap(), malformed, ending)
}

fn data(json: &str) -> String {
    format!("data: {json}\n\n")
}

fn chat(content: &str) -> String {
    data(&format!(
        r#"{{"id":"c","choices":[{{"index":0,"delta":{{{content}}}}}]}}"#
    ))
}

const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const PLACE: &str = "{\"message\":{\"role\":\"assistant\",\"content\":\"A\"},\"done\":false}\n";
const DONE: &str = "{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n";
const MESSAGE: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[]}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"A\"}}\n\n";
const MESSAGE_STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[test]
fn what_carries_nothing_is_left_out_of_a_stream_that_passes() {
    let content = chat(r#""content":"A""#);
    for (operation, before, after, nothing) in [
        (
            Operation::OpenAiChat,
            &*content,
            STOP,
            &[
                "data: \n\n",
                "data:\r\n\r\n",
                "event: ping\ndata: {}\n\n",
                "data: {}\n\n",
                "data: {\"foo\":1}\n\n",
                "data: {\"choices\":null}\n\n",
                "id: 5\nretry: 10\n\n",
            ][..],
        ),
        (
            Operation::AnthropicMessages,
            MESSAGE,
            MESSAGE_STOP,
            &[
                "data: \n\n",
                "event: content_block_delta\ndata: \n\n",
                "data: {}\n\n",
            ],
        ),
        (
            Operation::Chat,
            PLACE,
            DONE,
            &[
                "\n",
                " \r\n",
                "{\"foo\":1}\n",
                "{\"message\":null,\"done\":false}\n",
            ],
        ),
        (
            Operation::Pull,
            "{\"status\":\"pulling\"}\n",
            "{\"status\":\"success\"}\n",
            &["\n"],
        ),
    ] {
        for nothing in nothing {
            let (text, _, ending) = passed(operation, &format!("{before}{nothing}{after}"));
            assert_eq!(ending, Ending::Complete, "{nothing:?}");
            assert_eq!(text, format!("{before}{after}"), "{nothing:?}");
        }
    }
}

#[test]
fn what_shows_that_a_server_lives_passes() {
    let content = chat(r#""content":"A""#);
    let role = chat(r#""role":"assistant","content":"""#);
    let azure = data(r#"{"choices":[],"prompt_filter_results":[]}"#);
    for (operation, before, after, between) in [
        (
            Operation::OpenAiChat,
            &*content,
            STOP,
            &[": ping\n\n", "\n", &role, &azure][..],
        ),
        (
            Operation::AnthropicMessages,
            MESSAGE,
            MESSAGE_STOP,
            &["event: ping\ndata: {\"type\":\"ping\"}\n\n", ": ping\n\n"],
        ),
        (
            Operation::Chat,
            PLACE,
            DONE,
            &["{\"message\":{\"content\":\"\"},\"done\":false}\n"],
        ),
    ] {
        for between in between {
            let stream = format!("{before}{between}{after}");
            assert_eq!(passed(operation, &stream), (stream, 0, Ending::Complete));
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn a_member_that_comes_twice_and_what_is_no_number_take_nothing_with_them() {
    let odd = [
        (r#""content":"dup","content":"b""#, "b"),
        (r#""content":"n","x":NaN"#, "n"),
    ];
    for (content, expected) in odd {
        let stream = format!("{}{STOP}", chat(content));
        assert_eq!(
            passed(Operation::OpenAiChat, &stream),
            (stream.clone(), 0, Ending::Complete)
        );
        let text = heard(ClientForm::AnthropicMessages, OTHER, &stream, true);
        assert_eq!(content_of(&text), expected);
    }
    let events = [
        (
            CLAUDE,
            MESSAGE.replace("\"text\":\"A\"", "\"text\":\"x\",\"text\":\"A\"") + MESSAGE_STOP,
        ),
        (
            OLLAMA,
            PLACE.replace("\"content\"", "\"content\":\"x\",\"content\"") + DONE,
        ),
        (
            GEMINI,
            data(
                r#"{"candidates":[{"content":{"parts":[{"text":"x","text":"A"}]},"finishReason":"STOP"}],"avgLogprobs":NaN}"#,
            ),
        ),
        (
            RESPONSES,
            data(
                r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"m","id":"m","content":[{"type":"output_text","text":"A"}]}}"#,
            ) + &data(
                r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#,
            ),
        ),
        (
            RESPONSES,
            data(
                r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"x","text":"A"}]}]}}"#,
            ),
        ),
    ];
    for (to, stream) in events {
        let text = heard(ClientForm::AnthropicMessages, to, &stream, true);
        assert_eq!(content_of(&text), "A", "{stream}");
    }
    for (to, body) in [
        (
            OTHER,
            r#"{"choices":[{"index":0,"message":{"content":"x","content":"A"},"finish_reason":"stop"}]}"#,
        ),
        (
            CLAUDE,
            r#"{"id":"m","id":"m","type":"message","content":[{"type":"text","text":"A"}],"stop_reason":"end_turn"}"#,
        ),
        (
            OLLAMA,
            r#"{"message":{"content":"A"},"eval_count":NaN,"done":true}"#,
        ),
        (
            RESPONSES,
            r#"{"id":"r","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"A"}],"id":"a","id":"b"}]}"#,
        ),
        (
            BEDROCK,
            r#"{"output":{"message":{"role":"assistant","content":[{"text":"x","text":"A"}]}},"stopReason":"end_turn"}"#,
        ),
    ] {
        let mut outgoing = ProviderRequest::default();
        let client = ClientForm::AnthropicMessages;
        let mut translation = Translation::chat(
            chats(client, to.0),
            Reply::sample(),
            &mut outgoing,
            false,
            false,
        );
        translation.feed(body.as_bytes());
        let (ending, text) = translation.finish(&HeaderMap::new());
        assert_eq!(ending, Ending::Complete, "{body}");
        let read: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(read["content"][0]["text"], "A", "{body}");
    }
}

/// The text that a client of Anthropic's hears.
fn content_of(answer: &str) -> String {
    let content = content(answer, true);
    content[0]["text"].as_str().unwrap_or_default().to_owned()
}

/// What ends a stream of a provider whose body stays open: whether all has come, and what the client still gets.
fn settled(to: To, stream: &str) -> (bool, bool) {
    let mut outgoing = ProviderRequest::default();
    let client = ClientForm::AnthropicMessages;
    let mut translation = Translation::chat(
        chats(client, to.0),
        Reply::sample(),
        &mut outgoing,
        true,
        true,
    );
    translation.feed(stream.as_bytes());
    let nearly = translation.nearly_over();
    (nearly, translation.settle().is_some())
}

#[test]
fn a_stream_that_lacks_nothing_but_its_end_is_nearly_over() {
    let piece = |more: &str| {
        data(&format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"A"}}]}}{more}"#
        ))
    };
    let open = piece("}]}");
    let counted = piece(
        r#","finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}"#,
    );
    let uncounted = piece(r#","finishReason":"STOP"}]}"#);
    let usage = data(r#"{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}"#);
    let content = chat(r#""content":"A""#);
    let stop = data(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#);
    let counts = data(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
    for (to, stream, nearly) in [
        (GEMINI, format!("{open}{counted}"), true),
        (GEMINI, format!("{open}{uncounted}{usage}"), true),
        // The usage may come yet.
        (GEMINI, format!("{open}{uncounted}"), false),
        // Models exist that state a reason, and the usage, with every piece.
        (GEMINI, counted.clone(), false),
        (GEMINI, format!("{counted}{counted}"), false),
        (OTHER, format!("{content}{stop}{counts}"), true),
        (OTHER, format!("{content}{stop}"), false),
        (OTHER, format!("{content}{stop}{counts}{content}"), false),
    ] {
        let (is_nearly, settles) = settled(to, &stream);
        assert_eq!(is_nearly, nearly, "{stream}");
        assert!(settles, "{stream}");
    }
    let mut passing = Passing::new(Operation::OpenAiChat, true);
    passing.begin(true, None);
    passing.feed(format!("{content}{stop}{counts}").as_bytes());
    assert!(passing.nearly_over());
    assert_eq!(passing.settle(), Some(&b"data: [DONE]\n\n"[..]));
}

/// Neither is read on to an end that may not come.
#[test]
fn events_in_answer_to_a_whole_request_are_known_by_the_first() {
    for stream in [
        data(r#"{"choices":[]}"#),
        "\u{feff}\r\n: ping\r\n\r\n".to_owned(),
        MESSAGE.to_owned(),
    ] {
        for size in [1, 2, stream.len()] {
            let mut passing = Passing::new(Operation::OpenAiChat, false);
            passing.begin(true, None);
            let mut outgoing = ProviderRequest::default();
            let client = ClientForm::AnthropicMessages;
            let mut translation = Translation::chat(
                chats(client, OTHER.0),
                Reply::sample(),
                &mut outgoing,
                false,
                false,
            );
            for piece in stream.as_bytes().chunks(size) {
                passing.feed(piece);
                translation.feed(piece);
            }
            assert!(passing.over() && passing.fault().is_some(), "{stream}");
            assert!(
                translation.over() && translation.fault().is_some(),
                "{stream}"
            );
        }
    }
    let mut passing = Passing::new(Operation::OpenAiChat, false);
    passing.begin(true, None);
    passing.feed(b"\n\n {\"id\":\n\n");
    assert!(!passing.over());
}
