//! The tap on streams as Ollama sends them, cut at every byte.

use proptest::prelude::*;

use super::*;

const CHAT: &[u8] = include_bytes!("../fixtures/chat.ndjson");
const GENERATE: &[u8] = include_bytes!("../fixtures/generate.ndjson");
const PULL: &[u8] = include_bytes!("../fixtures/pull.ndjson");
const OPENAI_CHAT: &[u8] = include_bytes!("../fixtures/openai_chat.sse");
const MESSAGES: &[u8] = include_bytes!("../fixtures/messages.sse");
const RESPONSES: &[u8] = include_bytes!("../fixtures/responses.sse");

/// What a stream of Ollama's tells.
fn metrics() -> Usage {
    Usage {
        prompt_duration: Some(325_953_000),
        output_duration: Some(4_709_213_000),
        load_duration: Some(5_025_959),
        total_duration: Some(5_043_500_667),
        ..tokens()
    }
}

/// What streams of the other formats tell.
fn tokens() -> Usage {
    Usage {
        prompt: Some(26),
        output: Some(4),
        ..Usage::default()
    }
}

/// Everything that a tap says in the end.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    ending: Ending,
    began: Option<Result<(), String>>,
    lines: u64,
    reason: Option<DoneReason>,
    usage: Option<Usage>,
    error: Option<String>,
    mid_line: bool,
}

fn complete(lines: u64, reason: Option<DoneReason>, usage: Option<Usage>) -> Verdict {
    Verdict {
        ending: Ending::Complete,
        began: Some(Ok(())),
        lines,
        reason,
        usage,
        error: None,
        mid_line: false,
    }
}

fn began(tap: &Tap) -> Option<Result<(), String>> {
    Some(match tap.first()? {
        First::Content => Ok(()),
        First::Error { text } => Err(text.to_owned()),
    })
}

fn watch<'a>(
    operation: Operation,
    streaming: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Verdict {
    let mut tap = Tap::new(operation, streaming);
    let mut decided = None;
    for piece in pieces {
        tap.feed(piece);
        let now = began(&tap);
        assert!(
            decided.is_none() || decided == now,
            "a beginning does not change"
        );
        assert!(tap.content_seen() || now != Some(Ok(())));
        decided = now;
    }
    let ending = tap.finish();
    assert_eq!(
        ending == Ending::Complete,
        tap.done() && tap.error().is_none()
    );
    Verdict {
        ending,
        began: began(&tap),
        lines: tap.content_lines(),
        reason: tap.done_reason(),
        usage: tap.usage(),
        error: tap.error().map(str::to_owned),
        mid_line: tap.mid_line(),
    }
}

/// Checks the verdict on the whole, on every cut in two, on three-byte pieces and on single bytes.
fn check(operation: Operation, streaming: bool, stream: &[u8], expected: &Verdict) {
    let watch = |pieces: Vec<&[u8]>| watch(operation, streaming, pieces);
    assert_eq!(watch(vec![stream]), *expected);
    for cut in 0..=stream.len() {
        assert_eq!(
            watch(vec![&stream[..cut], &stream[cut..]]),
            *expected,
            "cut at {cut}"
        );
    }
    assert_eq!(watch(stream.chunks(3).collect()), *expected);
    assert_eq!(watch(stream.chunks(1).collect()), *expected);
}

#[test]
fn whole_streams_are_complete_with_their_usage() {
    use Operation::*;
    let stop = Some(DoneReason::Stop);
    let length = Some(DoneReason::Length);
    for (operation, stream, lines, reason, usage) in [
        (Chat, CHAT, 4, stop, Some(metrics())),
        (Generate, GENERATE, 3, length, Some(metrics())),
        (Pull, PULL, 6, None, None),
        (OpenAiChat, OPENAI_CHAT, 4, None, Some(tokens())),
        (AnthropicMessages, MESSAGES, 2, None, Some(tokens())),
        (OpenAiResponses, RESPONSES, 1, None, Some(tokens())),
    ] {
        check(operation, true, stream, &complete(lines, reason, usage));
    }
}

#[test]
fn a_stream_cut_before_its_terminator_is_never_complete() {
    use Operation::*;
    for (operation, stream, terminator) in [
        // Without its last newline, a whole object has still come.
        (Chat, CHAT, CHAT.len() - 1),
        (Generate, GENERATE, GENERATE.len() - 1),
        (Pull, PULL, PULL.len() - 1),
        (OpenAiChat, OPENAI_CHAT, OPENAI_CHAT.len()),
        (AnthropicMessages, MESSAGES, MESSAGES.len()),
        (OpenAiResponses, RESPONSES, RESPONSES.len()),
    ] {
        for cut in 0..=stream.len() {
            let verdict = watch(operation, true, [&stream[..cut]]);
            let expected = if cut >= terminator {
                Ending::Complete
            } else {
                Ending::Incomplete
            };
            assert_eq!(verdict.ending, expected, "{operation:?} cut at {cut}");
            assert_eq!(verdict.error, None);
        }
    }
}

#[test]
fn inside_a_line_or_an_event_is_told_from_between_two() {
    for cut in 1..=CHAT.len() {
        let verdict = watch(Operation::Chat, true, [&CHAT[..cut]]);
        assert_eq!(verdict.mid_line, CHAT[cut - 1] != b'\n', "{cut}");
    }
    for cut in 2..=MESSAGES.len() {
        let verdict = watch(Operation::AnthropicMessages, true, [&MESSAGES[..cut]]);
        assert_eq!(
            verdict.mid_line,
            !MESSAGES[..cut].ends_with(b"\n\n"),
            "{cut}"
        );
    }
}

#[test]
fn an_error_as_the_first_line_is_a_failed_beginning() {
    use Operation::*;
    let text = "model runner has unexpectedly stopped: \"oom\"";
    for (operation, streaming, stream) in [
        (
            Chat,
            true,
            "{\"error\":\"model runner has unexpectedly stopped: \\\"oom\\\"\"}\n",
        ),
        (
            Generate,
            true,
            " { \"error\" : \"model runner has unexpectedly stopped: \\\"oom\\\"\" }",
        ),
        (
            Chat,
            false,
            "{\"error\":\"model runner has unexpectedly stopped: \\\"oom\\\"\"}",
        ),
        (
            OpenAiChat,
            true,
            "data: {\"error\":{\"type\":\"x\",\"message\":\"model runner has unexpectedly stopped: \\\"oom\\\"\"}}\n\n",
        ),
        (
            OpenAiChat,
            true,
            "{\"error\":{\"message\":\"model runner has unexpectedly stopped: \\\"oom\\\"\",\"code\":null}}",
        ),
        (
            AnthropicMessages,
            true,
            "event: error\r\ndata: {\"type\":\"error\",\"error\":{\"message\":\"model runner has unexpectedly stopped: \\\"oom\\\"\"}}\r\n\r\n",
        ),
    ] {
        for pieces in [
            vec![stream.as_bytes()],
            stream.as_bytes().chunks(1).collect(),
        ] {
            let verdict = watch(operation, streaming, pieces);
            assert_eq!(verdict.began, Some(Err(text.to_owned())), "{stream}");
            assert_eq!((verdict.ending, verdict.lines), (Ending::Error, 0));
        }
    }
}

#[test]
fn an_error_after_content_is_an_ending() {
    let mut stream = CHAT[..CHAT.len() - 320].to_vec();
    stream.truncate(memchr::memrchr(b'\n', &stream).unwrap() + 1);
    stream.extend_from_slice(b"{\"error\":\"an error was encountered\"}\n");
    let expected = Verdict {
        ending: Ending::Error,
        began: Some(Ok(())),
        lines: 3,
        reason: None,
        usage: None,
        error: Some("an error was encountered".to_owned()),
        mid_line: false,
    };
    check(Operation::Chat, true, &stream, &expected);

    let pull = b"{\"status\":\"pulling manifest\"}\n{\"error\":\"pull model manifest: file does not exist\"}\n";
    let verdict = watch(Operation::Pull, true, [&pull[..]]);
    assert_eq!(
        (verdict.ending, verdict.began),
        (Ending::Error, Some(Ok(())))
    );
}

#[test]
fn a_beginning_is_known_before_its_line_is_whole() {
    let mut tap = Tap::new(Operation::Chat, true);
    tap.feed(b"{\"mod");
    assert_eq!(tap.first(), Some(First::Content));
    let mut tap = Tap::new(Operation::Chat, true);
    tap.feed(b"\n {\"err");
    assert_eq!(tap.first(), None);
    tap.feed(b"ands\":1");
    assert_eq!(tap.first(), Some(First::Content));
    let mut tap = Tap::new(Operation::Chat, true);
    assert_eq!(tap.finish(), Ending::Incomplete);
    assert_eq!(tap.first(), None);
}

#[test]
fn loads_come_as_one_object_whatever_was_asked_for() {
    let load = br#"{"model":"m","created_at":"x","response":"","done":true,"done_reason":"load"}"#;
    for streaming in [true, false] {
        let mut expected = complete(0, Some(DoneReason::Load), None);
        expected.mid_line = streaming;
        check(Operation::Generate, streaming, load, &expected);
    }
}

#[test]
fn whole_bodies_give_their_usage() {
    use Operation::*;
    let done = CHAT[..CHAT.len() - 1]
        .rsplit(|&byte| byte == b'\n')
        .next()
        .unwrap();
    check(
        Chat,
        false,
        done,
        &complete(0, Some(DoneReason::Stop), Some(metrics())),
    );
    let openai = br#"{"id":"x","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":26,"completion_tokens":4}}"#;
    check(
        OpenAiChat,
        false,
        openai,
        &complete(1, None, Some(tokens())),
    );
    let embed = br#"{"model":"m","embeddings":[[0.1]],"total_duration":7,"load_duration":5,"prompt_eval_count":3}"#;
    let usage = Usage {
        total_duration: Some(7),
        load_duration: Some(5),
        prompt: Some(3),
        ..Usage::default()
    };
    check(Embed, true, embed, &complete(1, None, Some(usage)));
    check(
        AudioTranscriptions,
        false,
        b"plain text",
        &complete(1, None, None),
    );
    assert_eq!(watch(Copy, false, []).ending, Ending::Complete);
    assert_eq!(watch(Chat, false, []).ending, Ending::Incomplete);
    for cut in 1..openai.len() {
        assert_eq!(
            watch(OpenAiChat, false, [&openai[..cut]]).ending,
            Ending::Incomplete
        );
    }
}

#[test]
fn a_large_body_is_read_from_its_end_and_not_kept() {
    let mut body = b"{\"model\":\"m\",\"embeddings\":[[0.25".to_vec();
    body.extend(b",0.25".repeat(100_000));
    body.extend_from_slice(b"]],\"total_duration\":7,\"load_duration\":5,\"prompt_eval_count\":3}");
    let usage = Usage {
        total_duration: Some(7),
        load_duration: Some(5),
        prompt: Some(3),
        ..Usage::default()
    };
    for size in [1000, 8192, 65_536, 100_000, 200_000, body.len()] {
        let mut tap = Tap::new(Operation::Embed, false);
        for piece in body.chunks(size) {
            tap.feed(piece);
            let Form::Whole(tail) = &tap.form else {
                panic!()
            };
            assert!(tail.held() <= 2 * (64 << 10));
        }
        assert_eq!(
            (tap.finish(), tap.usage()),
            (Ending::Complete, Some(usage)),
            "{size}"
        );
    }
}

#[test]
fn hostile_streams_end_nothing_and_cost_nothing() {
    for stream in [
        &b"\xff\xfe\n"[..],
        b"not json\n",
        b"{\"done\":true\n",
        b"{\"done\":\"true\"}\n",
        b"[{\"done\":true}]\n",
        b"{\"message\":{\"done\":true}}\n",
        b"{\"done\":true",
        b"{\"response\":\"\\\"done\\\":true}\",\"done\":false}\n",
    ] {
        assert_eq!(
            watch(Operation::Chat, true, [stream]).ending,
            Ending::Incomplete
        );
    }
    let mut deep = b"{\"a\":".repeat(5000);
    deep.push(b'\n');
    assert_eq!(
        watch(Operation::Chat, true, [&deep[..]]).ending,
        Ending::Incomplete
    );
    let huge =
        b"{\"done\":true,\"eval_count\":1e400,\"prompt_eval_count\":-5,\"load_duration\":1.5e3}\n";
    let usage = watch(Operation::Chat, true, [&huge[..]]).usage.unwrap();
    assert_eq!(
        (usage.output, usage.prompt, usage.load_duration),
        (Some(u64::MAX), Some(0), Some(1500))
    );
}

proptest! {
    #[test]
    fn any_split_of_any_mix_of_lines_gives_the_same(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "{\"response\":\"a\",\"done\":false}\n", "{\"done\":true,\"eval_count\":3}\n", "\n", "\r\n",
                "{\"error\":\"e\"}\n", "{\"error\":\"\"}\n", "{\"error\"", "{\"err", "junk\n", "{\"status\":\"success\"}\n",
                "data: {\"error\":{}}\n", "data: {\"usage\":{\"prompt_tokens\":1}}\n\n", "data: [DONE]\n", "event: x\n",
                "event: message_stop\n",
            ]),
            0..6,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        operation in prop::sample::select(vec![
            Operation::Chat, Operation::Pull, Operation::OpenAiChat, Operation::AnthropicMessages, Operation::Embed,
        ]),
        streaming in any::<bool>(),
    ) {
        let stream = lines.concat().into_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(
            watch(operation, streaming, pieces),
            watch(operation, streaming, [&stream[..]])
        );
    }
}

/// A server that fails after it has opened the stream has not answered: another may.
#[test]
fn opening_events_are_no_content() {
    let chat = |delta: &str| {
        format!(
            "data: {{\"id\":\"1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"
        )
    };
    let cases = [
        (
            Operation::AnthropicMessages,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0}\n\n".to_owned(),
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n".to_owned(),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"full\"}}\n\n",
        ),
        (
            Operation::OpenAiResponses,
            "event: response.created\ndata: {}\n\nevent: response.in_progress\ndata: {}\n\n".to_owned(),
            "event: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n".to_owned(),
            "event: error\ndata: {\"error\":{\"message\":\"full\"}}\n\n",
        ),
        (
            Operation::OpenAiChat,
            "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n".to_owned()
                + &chat("{\"role\":\"assistant\",\"content\":\"\"}"),
            chat("{\"content\":\"a\"}"),
            "data: {\"error\":{\"message\":\"full\"}}\n\n",
        ),
        (
            Operation::OpenAiChat,
            chat("{\"role\":\"assistant\"}"),
            chat("{\"content\":\"\",\"reasoning\":\"hm\"}"),
            "data: {\"error\":{\"message\":\"full\"}}\n\n",
        ),
    ];
    for (operation, opening, content, error) in cases {
        let mut tap = Tap::new(operation, true);
        tap.feed(opening.as_bytes());
        assert_eq!(tap.first(), None, "{operation:?}");
        tap.feed(content.as_bytes());
        assert_eq!(tap.first(), Some(First::Content), "{operation:?}");
        let mut tap = Tap::new(operation, true);
        tap.feed(opening.as_bytes());
        tap.feed(error.as_bytes());
        assert_eq!(
            tap.first(),
            Some(First::Error { text: "full" }),
            "{operation:?}"
        );
    }
}
