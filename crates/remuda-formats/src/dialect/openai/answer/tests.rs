//! Answers as servers really send them, at every split.

use proptest::prelude::*;
use serde_json::json;

use super::{Api, decoder, read_whole};
use crate::ir::{Class, Event, FaultKind, Text, ToolNames};

mod servers;

/// An event as one line.
fn shown(event: &Event<'_>) -> String {
    fn or_dash(text: &Option<Text<'_>>) -> String {
        text.as_ref()
            .map_or("-".into(), |text| text.decoded().into_owned())
    }
    match event {
        Event::Start { id, model } => format!("start {} {}", or_dash(id), or_dash(model)),
        Event::Thinking(text) => format!("thinking {}", text.decoded()),
        Event::Signature { data, redacted, id } => {
            format!("signature {} {redacted} {}", data.decoded(), or_dash(id))
        }
        Event::TextSignature(data) => format!("text signature {}", data.decoded()),
        Event::Text(text) => format!("text {}", text.decoded()),
        Event::Refusal(text) => format!("refusal {}", text.decoded()),
        Event::ToolStart {
            index, id, name, ..
        } => {
            format!("call {index} {} {}", or_dash(id), name.decoded())
        }
        Event::ToolArguments { index, fragment } => {
            format!("arguments {index} {}", fragment.decoded())
        }
        Event::ToolEnd { index } => format!("end {index}"),
        Event::ToolCall { index, .. } => format!("whole {index}"),
        Event::Logprobs(array) => format!("logprobs {}", array.as_str()),
        Event::Sources(array) => format!("sources {}", array.as_str()),
        Event::Usage(usage) => format!(
            "usage {}/{}",
            usage.prompt.unwrap_or(0),
            usage.output.unwrap_or(0)
        ),
        Event::Finish { reason, stop } => format!("finish {reason:?} {}", or_dash(stop)),
        Event::End => "end".into(),
        Event::Failed(fault) => format!(
            "failed {:?} {:?} {}",
            fault.class, fault.kind, fault.message
        ),
        Event::Ping => "ping".into(),
        Event::Malformed => "malformed".into(),
        Event::Served { tier, fingerprint } => format!(
            "served {} {}",
            tier.as_ref().map_or("-", Text::as_escaped),
            fingerprint.as_ref().map_or("-", Text::as_escaped)
        ),
        Event::Foreign => "foreign".into(),
        Event::Reframed => "reframed".into(),
    }
}

fn pieces(pieces: &[&[u8]], names: ToolNames) -> Vec<String> {
    pieces_of(Api::Chat, pieces, names)
}

fn pieces_of(api: Api, pieces: &[&[u8]], names: ToolNames) -> Vec<String> {
    let mut decoder = decoder(api, names);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut |event| events.push(shown(&event)));
    }
    decoder.finish(&mut |event| events.push(shown(&event)));
    events
}

/// The events of a stream, the same at every split; pings left out.
fn stream(text: &str) -> Vec<String> {
    let text = text.as_bytes();
    let mut whole = pieces(&[text], ToolNames::default());
    for cut in 0..=text.len() {
        let halves = pieces(&[&text[..cut], &text[cut..]], ToolNames::default());
        assert_eq!(halves, whole, "cut at {cut}");
    }
    let bytes: Vec<_> = text.chunks(1).collect();
    assert_eq!(pieces(&bytes, ToolNames::default()), whole);
    whole.retain(|event| event != "ping");
    whole
}

/// A stream of these choices' deltas, without an ending.
fn chunks(deltas: &[&str]) -> String {
    deltas
        .iter()
        .map(|delta| format!("data: {{\"id\":\"c\",\"model\":\"m\",\"choices\":[{delta}]}}\n\n"))
        .collect()
}

fn whole(body: &str) -> Vec<String> {
    whole_of(Api::Chat, body)
}

fn whole_of(api: Api, body: &str) -> Vec<String> {
    let mut events = Vec::new();
    read_whole(api, body.as_bytes(), &ToolNames::default(), &mut |event| {
        events.push(shown(&event));
    });
    events
}

const STOP: &str = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
const HI: &str = r#"{"index":0,"delta":{"content":"hi"},"finish_reason":null}"#;
const BROKE_OFF: &str =
    "failed Transient Incomplete the provider's answer broke off before its end";

#[test]
fn a_stream_of_openais() {
    let text = concat!(
        r#"data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}"#,
        "\n\n",
        r#"data: {"id":"c1","model":"gpt","choices":[{"index":0,"delta":{"content":"Gr\u00fc\n\"ß\""},"finish_reason":null}],"usage":null}"#,
        "\n\n",
        r#"data: {"id":"c1","model":"gpt","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
        "\n\n",
        r#"data: {"id":"c1","model":"gpt","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}"#,
        "\n\ndata: [DONE]\n\n"
    );
    assert_eq!(
        stream(text),
        [
            "served default -",
            "start c1 gpt",
            "text Grü\n\"ß\"",
            "usage 9/5",
            "finish Stop -",
            "end"
        ]
    );
}

/// Some servers end a stream without `[DONE]` (huggingface/text-generation-inference#2221).
#[test]
fn streams_without_done_end_well() {
    let text = chunks(&[HI, STOP]);
    assert_eq!(
        stream(&text),
        ["start c m", "text hi", "finish Stop -", "end"]
    );
    assert_eq!(stream(text.trim_end()), stream(&text));
}

/// A provider that disconnects in the middle of an answer has failed (Portkey-AI/gateway#1797).
#[test]
fn a_stream_that_breaks_off_failed() {
    assert_eq!(stream(&chunks(&[HI])), ["start c m", "text hi", BROKE_OFF]);
    assert_eq!(stream(""), [BROKE_OFF]);
    assert_eq!(stream(": OPENROUTER PROCESSING\n\n"), [BROKE_OFF]);
    assert_eq!(stream("data: [DONE]\n\n"), [BROKE_OFF]);
}

#[test]
fn done_without_a_reason_ends_what_was_said() {
    let text = chunks(&[HI]) + "data: [DONE]\n\n";
    assert_eq!(
        stream(&text),
        ["start c m", "text hi", "finish Stop -", "end"]
    );
}

/// Azure begins a stream with a chunk that has no choices (streamlit/streamlit#8084).
#[test]
fn azures_chunks_without_choices_pass() {
    let text = concat!(
        r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"delta":{"role":"assistant"},"content_filter_results":{}}],"created":1,"id":"c","model":"m"}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"id":"c","model":"m"}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}],"id":"c","model":"m"}"#,
        "\n\n",
        r#"data: {"choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{"check_offset":1}}],"id":"","model":""}"#,
        "\n\ndata: [DONE]\n\n"
    );
    assert_eq!(
        stream(text),
        ["start c m", "text a", "finish Filtered -", "end"]
    );
}

#[test]
fn parallel_calls_are_told_apart_by_number() {
    let text = chunks(&[
        r#"{"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}"#,
        r#"{"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{\"y"}}]}}"#,
        r#"{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}},{"index":1,"function":{"arguments":"\":2}"}}]}}"#,
        r#"{"delta":{},"finish_reason":"tool_calls"}"#,
    ]);
    assert_eq!(
        stream(&text),
        [
            "start c m",
            "call 0 a f",
            "call 1 b g",
            "arguments 1 {\"y",
            "arguments 0 {\"x\":1}",
            "arguments 1 \":2}",
            "end 0",
            "end 1",
            "finish ToolCalls -",
            "end"
        ]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn calls_without_proper_numbers_are_told_apart_too() {
    let calls = |deltas: &[&str]| {
        let deltas: Vec<_> = deltas
            .iter()
            .map(|calls| format!(r#"{{"delta":{{"tool_calls":[{calls}]}}}}"#))
            .chain([r#"{"delta":{},"finish_reason":"stop"}"#.to_owned()])
            .collect();
        let deltas: Vec<_> = deltas.iter().map(String::as_str).collect();
        let mut events = stream(&chunks(&deltas));
        events.retain(|event| event.starts_with("call") || event.starts_with("arguments"));
        events
    };
    let expected = [
        "call 0 a f",
        "arguments 0 {}",
        "call 1 b f",
        "arguments 1 {\"x\":1}",
    ];
    // No numbers, all numbered 0, ids repeated.
    for [first, more] in [
        ["", ""],
        ["\"index\":0,", "\"index\":0,"],
        ["\"index\":null,", "\"id\":\"b\","],
    ] {
        let deltas = [
            format!(r#"{{{first}"id":"a","function":{{"name":"f","arguments":"{{}}"}}}}"#),
            format!(r#"{{{first}"id":"b","function":{{"name":"f","arguments":"{{\"x\""}}}}"#),
            format!(r#"{{{more}"function":{{"arguments":":1}}"}}}}"#),
        ];
        let events = calls(&[&deltas[0], &deltas[1], &deltas[2]]);
        assert_eq!(events[..3], expected[..3], "{deltas:?}");
        assert_eq!(events[3..], ["arguments 1 {\"x\"", "arguments 1 :1}"]);
    }
    // No ids: a name begins a call, in one chunk or several.
    let both = r#"{"function":{"name":"f","arguments":{"x":1}}},{"function":{"name":"f","arguments":"{}"}}"#;
    assert_eq!(
        calls(&[both]),
        [
            "call 0 - f",
            "arguments 0 {\"x\":1}",
            "call 1 - f",
            "arguments 1 {}"
        ]
    );
    // The name comes again with every piece.
    assert_eq!(
        calls(&[
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}"#,
            r#"{"index":0,"id":"","function":{"name":"f","arguments":"}"}}"#,
            r#"{"index":0,"id":"a","function":{"name":"f","arguments":" "}}"#,
        ]),
        [
            "call 0 a f",
            "arguments 0 {",
            "arguments 0 }",
            "arguments 0  "
        ]
    );
    // The name comes late.
    assert_eq!(
        calls(&[
            r#"{"index":0,"id":"a","function":{"arguments":"{"}}"#,
            r#"{"index":0,"function":{"name":"f","arguments":"}"}}"#,
        ]),
        ["call 0 a f", "arguments 0 {", "arguments 0 }"]
    );
}

#[test]
fn the_form_of_2023_is_read() {
    let text = chunks(&[
        r#"{"delta":{"role":"assistant","content":null,"function_call":{"name":"f","arguments":""}}}"#,
        r#"{"delta":{"function_call":{"arguments":"{}"}}}"#,
        r#"{"delta":{},"finish_reason":"function_call"}"#,
    ]);
    assert_eq!(
        stream(&text),
        [
            "start c m",
            "call 0 - f",
            "arguments 0 {}",
            "end 0",
            "finish ToolCalls -",
            "end"
        ]
    );
}

#[test]
fn names_of_tools_come_back_as_the_client_wrote_them() {
    let mut names = ToolNames::default();
    let sent = names.sent(&Text::plain("wetter/ort"), 64);
    let delta = format!(
        r#"{{"delta":{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"{}","arguments":"{{}}"}}}}]}},"finish_reason":"tool_calls"}}"#,
        sent.as_escaped()
    );
    let events = pieces(&[chunks(&[&delta]).as_bytes()], names);
    assert_eq!(events[1], "call 0 a wetter/ort");
}

/// vLLM has renamed `reasoning_content` to `reasoning`, and other servers use either (vllm-project/vllm#27755).
#[test]
fn reasoning_is_read_under_both_names() {
    for delta in [
        r#"{"delta":{"reasoning":"hm"}}"#,
        r#"{"delta":{"reasoning_content":"hm"}}"#,
        r#"{"delta":{"reasoning":"hm","reasoning_content":"hm"}}"#,
        r#"{"delta":{"reasoning":"hm","reasoning_content":null,"reasoning_details":[{"type":"reasoning.text","text":"hm"}]}}"#,
        r#"{"delta":{"reasoning_details":[{"type":"reasoning.summary","summary":"hm"}]}}"#,
        r#"{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}}"#,
    ] {
        assert_eq!(
            stream(&chunks(&[delta, HI, STOP]))[1..3],
            ["thinking hm", "text hi"],
            "{delta}"
        );
    }
}

#[test]
fn signatures_of_thoughts_are_read() {
    let text = chunks(&[
        r#"{"delta":{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","index":0}]}}"#,
        r#"{"delta":{"reasoning_details":[{"type":"reasoning.text","signature":"s","index":0},{"type":"reasoning.encrypted","data":"d","index":1}]}}"#,
        r#"{"delta":{"reasoning_details":[{"type":"reasoning.encrypted","data":"e","id":"rs_1"}]}}"#,
        STOP,
    ]);
    assert_eq!(
        stream(&text)[1..5],
        [
            "thinking hm",
            "signature s false -",
            "signature d true -",
            "signature e false rs_1"
        ]
    );
}

/// An empty reason amid a stream counts as none (wicm84266964/Buddy2api#16), and Anthropic's `end_turn` is no reason
/// of OpenAI's (BerriAI/litellm#12481).
#[test]
fn reasons_of_all_kinds_are_known() {
    for (reason, finish) in [
        ("\"stop\"", "Stop"),
        ("\"eos\"", "Stop"),
        ("\"end_turn\"", "Stop"),
        ("\"novel\"", "Stop"),
        ("\"length\"", "Length"),
        ("\"model_length\"", "ContextFull"),
        ("\"tool_calls\"", "ToolCalls"),
        ("\"content_filter\"", "Filtered"),
    ] {
        let both = format!(r#"{{"delta":{{"content":"!"}},"finish_reason":{reason}}}"#);
        assert_eq!(
            stream(&chunks(&[HI, &both])),
            [
                "start c m",
                "text hi",
                "text !",
                &format!("finish {finish} -"),
                "end"
            ]
        );
    }
    let empty = r#"{"delta":{"content":"hi"},"finish_reason":""}"#;
    assert_eq!(
        stream(&chunks(&[empty, HI, STOP]))[1..3],
        ["text hi", "text hi"]
    );
    let met = r#"{"delta":{},"finish_reason":"stop","stop_reason":"END"}"#;
    assert_eq!(stream(&chunks(&[HI, met]))[2], "finish Stop END");
    let number = r#"{"delta":{},"finish_reason":"stop","stop_reason":128001}"#;
    assert_eq!(stream(&chunks(&[HI, number]))[2], "finish Stop -");
}

/// OpenRouter reports a failure amid a stream by the reason `error`
/// (https://openrouter.ai/docs/api-reference/errors).
#[test]
fn openrouters_failure_is_no_stop() {
    let text = concat!(
        ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
        r#"data: {"id":"gen-1","object":"chat.completion.chunk","created":1,"model":"m","provider":"p","choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":null,"native_finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"gen-1","object":"chat.completion.chunk","created":1,"model":"m","error":{"code":502,"message":"Provider disconnected","metadata":{"error_type":"provider_unavailable"}},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
        "\n\ndata: [DONE]\n\n"
    );
    assert_eq!(
        stream(text),
        [
            "start gen-1 m",
            "text a",
            "failed Transient Server Provider disconnected"
        ]
    );
    let bare = r#"{"delta":{"content":""},"finish_reason":"error"}"#;
    assert_eq!(
        stream(&chunks(&[HI, bare]))[2],
        "failed Transient Server the provider reported an error"
    );
}

/// A stream whose first event reports a refusal has failed, although its status is 200 (KarpelesLab/teamclaude#391).
#[test]
fn a_stream_that_is_an_error_failed() {
    let overloaded = "failed Capacity Overloaded full";
    for text in [
        "data: {\"error\":{\"message\":\"full\",\"type\":\"overloaded_error\"}}\n\n",
        "event: error\ndata: {\"message\":\"full\",\"type\":\"overloaded_error\"}\n\n",
        "data: {\"object\":\"error\",\"message\":\"full\",\"code\":503}\n\n",
        "{\"error\":{\"message\":\"full\",\"code\":529}}",
        "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"full\"\n  }\n}\n",
        "data: [{\"error\":{\"message\":\"full\",\"code\":503}}]\n\n",
    ] {
        assert_eq!(stream(text), [overloaded], "{text}");
    }
    assert_eq!(
        stream("<html>gateway</html>")[0],
        "failed Transient Garbled the provider's answer is not a JSON object"
    );
    assert_eq!(
        stream("data: {\"choices\":5}\n\n"),
        [
            "malformed",
            "failed Transient Garbled nothing in the provider's stream can be read"
        ]
    );
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let body =
        r#"{"id":"c","model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    assert_eq!(
        stream(body),
        ["reframed", "start c m", "text hi", "finish Stop -", "end"]
    );
}

/// A stream whose text is in a field that nobody reads must not end as an empty answer (ROCm/FastFlowLM#436).
#[test]
fn text_in_an_unknown_field_is_no_empty_answer() {
    let unknown = r#"{"delta":{"speech":"word"}}"#;
    let mut deltas = vec![unknown; 40];
    deltas.push(STOP);
    assert_eq!(
        stream(&chunks(&deltas)).last().unwrap(),
        "failed Transient Garbled the provider's answer has no text that could be read"
    );
    // An answer may well be empty.
    assert_eq!(
        stream(&chunks(&[unknown, STOP])),
        ["start c m", "finish Stop -", "end"]
    );
    let body = |tokens: u32, reasoning: u32| {
        json!({"choices": [{"message": {"role": "assistant", "speech": "x"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": tokens,
                "completion_tokens_details": {"reasoning_tokens": reasoning}}})
        .to_string()
    };
    assert!(whole(&body(500, 0)).last().unwrap().starts_with("failed"));
    assert_eq!(whole(&body(500, 498)).last().unwrap(), "end");
    assert_eq!(whole(&body(2, 0)).last().unwrap(), "end");
}

#[test]
fn usage_may_come_anywhere() {
    let with = |usage: &str| format!(r#"data: {{"id":"c","choices":[{HI}],"usage":{usage}}}"#);
    let text = [
        with(r#"{"prompt_tokens":3,"completion_tokens":0}"#),
        with(r#"{"prompt_tokens":3,"completion_tokens":1.0}"#),
        with("null"),
        r#"data: {"id":"c","choices":[{"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"cost":0.5}}"#.into(),
    ]
    .join("\n\n");
    assert_eq!(
        stream(&text),
        [
            "start c -",
            "text hi",
            "usage 3/0",
            "text hi",
            "usage 3/1",
            "text hi",
            "usage 3/2",
            "finish Length -",
            "end"
        ]
    );
}

#[test]
fn counts_and_times_of_all_servers_are_read() {
    let mut found = crate::ir::Usage::default();
    let body = r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"cost":0.00125,
            "prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},
            "completion_tokens_details":{"reasoning_tokens":8}},
        "timings":{"prompt_n":9,"prompt_ms":1.5,"predicted_n":12,"predicted_ms":20.25}}"#;
    read_whole(
        Api::Chat,
        body.as_bytes(),
        &ToolNames::default(),
        &mut |event| {
            if let Event::Usage(usage) = event {
                found.update(&usage);
            }
        },
    );
    assert_eq!(
        (
            found.prompt,
            found.cache_read,
            found.cache_write,
            found.output,
            found.reasoning
        ),
        (Some(9), Some(4), Some(2), Some(12), Some(8))
    );
    assert_eq!(found.cost, Some(0.00125));
    assert_eq!(
        (found.prompt_duration, found.output_duration),
        (Some(1_500_000), Some(20_250_000))
    );
}

#[test]
fn whole_answers_are_the_same_events() {
    let body = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant",
        "content":null,"refusal":null,"reasoning_content":"hm","tool_calls":[
            {"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}},
            {"id":"b","type":"function","function":{"name":"g","arguments":"{broken"}}]},
        "finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    assert_eq!(
        whole(body),
        [
            "start c m",
            "thinking hm",
            "call 0 a f",
            "arguments 0 {\"x\": 1}",
            "call 1 b g",
            "arguments 1 {broken",
            "usage 1/2",
            "end 0",
            "end 1",
            "finish ToolCalls -",
            "end"
        ]
    );
    let refusal =
        r#"{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":null}]}"#;
    assert_eq!(
        whole(refusal),
        ["start - -", "refusal no", "finish Stop -", "end"]
    );
}

#[test]
fn whole_failures_are_found() {
    for body in [
        r#"{"choices":[]}"#,
        r#"{"id":"c","choices":[]}"#,
        "{}",
        "[]",
        "",
        "<html>",
        r#"{"error":{"message":"x","code":502}}"#,
        r#"{"choices":[{"message":{"content":""},"finish_reason":"error"}]}"#,
        r#"{"choices":[{"error":{"code":502,"message":"x"},"message":{"content":"half"},"finish_reason":"stop"}]}"#,
        r#"{"detail":"x"}"#,
    ] {
        let events = whole(body);
        let last = events.last().unwrap();
        assert!(last.starts_with("failed"), "{body}: {events:?}");
        assert!(!events.contains(&"end".to_owned()), "{body}");
    }
}

#[test]
fn searches_are_told_once() {
    let text = concat!(
        r#"data: {"id":"c","model":"m","citations":["https://a"],"search_results":[{"url":"https://a","title":"A"}],"choices":[{"delta":{"content":"x"}}]}"#,
        "\n\n",
        r#"data: {"id":"c","model":"m","citations":["https://a"],"search_results":[{"url":"https://a","title":"A"}],"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        "\n\n"
    );
    assert_eq!(
        stream(text)[2..],
        [
            "sources [{\"url\":\"https://a\",\"title\":\"A\"}]",
            "finish Stop -",
            "end"
        ]
    );
    let annotated = r#"{"delta":{"content":"x","annotations":[{"type":"url_citation","url_citation":{"url":"https:\/\/b","title":"B","start_index":0}}]}}"#;
    assert_eq!(
        stream(&chunks(&[annotated, STOP]))[2],
        "sources [{\"url\":\"https:\\/\\/b\",\"title\":\"B\"}]"
    );
}

#[test]
fn logprobs_pass_and_those_of_completions_are_put_in_form() {
    let chat = r#"{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}],"refusal":null}}"#;
    assert_eq!(
        stream(&chunks(&[chat, STOP]))[2],
        r#"logprobs [{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}]"#
    );
    let completion = r#"{"text":"é","logprobs":{"tokens":["é"],"token_logprobs":[-1],"top_logprobs":[{"b":-2.5,"é":-1}],"text_offset":[0]}}"#;
    let completion = chunks(&[completion, r#"{"text":"","finish_reason":"stop"}"#]);
    let told = pieces_of(
        Api::Completions,
        &[completion.as_bytes()],
        ToolNames::default(),
    );
    assert_eq!(
        told[1..3],
        [
            "text é",
            r#"logprobs [{"token":"é","logprob":-1.0,"bytes":[195,169],"top_logprobs":[{"token":"b","logprob":-2.5,"bytes":[98]},{"token":"é","logprob":-1.0,"bytes":[195,169]}]}]"#
        ]
    );
    let none = r#"{"delta":{"content":"a"},"logprobs":{"content":[]}}"#;
    assert_eq!(stream(&chunks(&[none, STOP]))[2], "finish Stop -");
}

/// A character of several bytes may be split over two chunks (katanemo/plano#980).
#[test]
fn characters_survive_any_split() {
    let text = chunks(&[r#"{"delta":{"content":"日本語 🎉 \ud83c\udf89"}}"#, STOP]);
    assert_eq!(stream(&text)[1], "text 日本語 🎉 🎉");
}

#[test]
fn nothing_comes_after_a_failure() {
    let mut decoder = decoder(Api::Chat, ToolNames::default());
    let mut events = Vec::new();
    for piece in [
        "data: {\"error\":\"full\"}\n\n",
        &chunks(&[HI, STOP]),
        "data: [DONE]\n\n",
    ] {
        decoder.feed(piece.as_bytes(), &mut |event| events.push(shown(&event)));
    }
    decoder.finish(&mut |event| events.push(shown(&event)));
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn an_endless_line_is_a_failure() {
    let mut decoder = decoder(Api::Chat, ToolNames::default());
    let mut failed = None;
    let piece = vec![b'x'; 1 << 20];
    decoder.feed(b"data: ", &mut |_| {});
    for _ in 0..64 {
        decoder.feed(&piece, &mut |event| {
            if let Event::Failed(fault) = event {
                failed = Some((fault.class, fault.kind));
            }
        });
    }
    assert_eq!(failed, Some((Class::Transient, FaultKind::Garbled)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(body.len() + 1);
        let events = pieces(&[&body[..cut], &body[cut..]], ToolNames::default());
        let last = events.last().unwrap();
        prop_assert!(last == "end" || last.starts_with("failed"));
        read_whole(Api::Chat, &body, &ToolNames::default(), &mut |_| {});
    }

    /// Whatever is sent in whatever order: one ending, which is the last event, and calls as the contract has them.
    #[test]
    fn events_keep_their_order(deltas in prop::collection::vec(prop::sample::select(vec![
        HI, STOP, r#"{"delta":null}"#, r#"{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"x"}}]}}"#,
        r#"{"delta":{"tool_calls":[{"id":"a","function":{"name":"f"}}]}}"#, r#"{"delta":{"tool_calls":[{}]}}"#,
        r#"{"delta":{"tool_calls":[{"index":0,"function":{"name":"g","arguments":"{}"}}]}}"#, r#"{"message":{"content":[7]}}"#,
        r#"{"delta":{"function_call":{"arguments":"y"}}}"#, r#"{"delta":{"content":7}}"#, r#"{"finish_reason":"error"}"#,
    ]), 0..12)) {
        let events = pieces(&[chunks(&deltas).as_bytes()], ToolNames::default());
        let is_last = |event: &String| event == "end" || event.starts_with("failed");
        prop_assert_eq!(events.iter().filter(|event| is_last(event)).count(), 1);
        prop_assert!(is_last(events.last().unwrap()));
        prop_assert!(events.iter().filter(|event| event.starts_with("finish")).count() <= 1);
        let mut begun = 0;
        for event in &events {
            let mut words = event.split(' ');
            match (words.next().unwrap(), words.next()) {
                ("call", Some(index)) => {
                    prop_assert_eq!(index, begun.to_string());
                    begun += 1;
                }
                ("arguments", Some(index)) => prop_assert!(index.parse::<usize>().unwrap() < begun),
                _ => {}
            }
        }
    }
}
