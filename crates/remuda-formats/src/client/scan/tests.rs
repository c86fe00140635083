//! The scan against examples, against a slow reading of the same rules, and against hostile bodies.

use proptest::prelude::*;
use serde_json::Value;

use memchr::memmem;

use super::*;
use crate::client::{replace_model, set_stream};
use Operation::*;

const JSON_OPERATIONS: [Operation; 17] = [
    Show,
    Generate,
    Chat,
    Embed,
    Embeddings,
    Pull,
    Push,
    Create,
    Copy,
    Delete,
    OpenAiChat,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiResponses,
    OpenAiImages,
    OpenAiImageEdits,
    AnthropicMessages,
];

fn scan(operation: Operation, body: &str) -> RequestFacts<'_> {
    scan_request(operation, body.as_bytes()).unwrap()
}

fn refusal(operation: Operation, body: impl AsRef<[u8]>) -> String {
    scan_request(operation, body.as_ref())
        .unwrap_err()
        .to_string()
}

#[test]
fn a_chat_is_read_in_one_pass() {
    let body = r#" {"model":"qwen3:8b","messages":[{"role":"user","content":"{\"model\":\"x\"}"}],
        "stream" : false, "tools":[{"type":"function"}],"format":{"type":"object"},"think":"high",
        "options":{"stream":true,"model":"y"},"keep_alive":"5m"} {"model":"after"}"#;
    let facts = scan(Chat, body);
    assert_eq!(facts.model, "qwen3:8b");
    assert!(matches!(facts.model, Cow::Borrowed(_)));
    assert_eq!(
        facts.model_span.unwrap().of(body.as_bytes()),
        b"\"qwen3:8b\""
    );
    assert_eq!(facts.stream, Some(false));
    assert_eq!(facts.stream_span.unwrap().of(body.as_bytes()), b"false");
    assert!(facts.tools && facts.format && facts.think && facts.has_fields);
    assert!(!facts.images && !facts.empty_input && !facts.keep_alive_zero);
    assert!(!facts.streams(Chat));
}

#[test]
fn absent_stream_follows_the_operation() {
    for operation in JSON_OPERATIONS {
        assert_eq!(
            scan(operation, "{}").streams(operation),
            operation.streams_by_default()
        );
        assert!(scan(operation, r#"{"stream":true}"#).streams(operation));
        let null = scan(operation, r#"{"stream":true,"stream":null}"#);
        assert!(null.streams(operation), "{operation:?}");
    }
}

#[test]
fn names_of_fields_fold_as_go_folds_them() {
    assert_eq!(
        scan(Chat, r#"{"MODEL":"a","Model":"b","model":"c","mOdEl":"d"}"#).model,
        "d"
    );
    assert_eq!(scan(Chat, r#"{"mode\u006c":"a"}"#).model, "a");
    assert_eq!(scan(Chat, r#"{"\u017ftream":false}"#).stream, Some(false));
    assert_eq!(scan(Chat, "{\"\u{17f}tream\":false}").stream, Some(false));
    assert!(scan(Chat, "{\"\u{212a}eep_alive\":0}").is_unload());
    assert_eq!(
        scan(Chat, r#"{"model ":"a","models":"b","mod":"c"}"#).model,
        ""
    );
}

#[test]
fn what_servers_may_read_differently_is_told() {
    for (body, field) in [
        (r#"{"model":"a","model":"b"}"#, Some("model")),
        (r#"{"model":"a","MODEL":"b"}"#, Some("model")),
        (
            r#"{"model":"a","mode\u006c":"b","model":"a"}"#,
            Some("model"),
        ),
        (r#"{"stream":true,"Stream":false}"#, Some("stream")),
        (r#"{"model":"a","Model":"a"}"#, None),
        (r#"{"model":"a","model":null,"name":"b"}"#, None),
        (r#"{"stream":true,"stream":null,"stream":true}"#, None),
        (r#"{"model":"a","input":{"model":"b"}}"#, None),
    ] {
        assert_eq!(scan(OpenAiChat, body).ambiguous, field, "{body}");
    }
}

#[test]
fn options_that_are_repeated_without_end_are_refused() {
    let body = |times: usize| {
        let options = vec![r#""num_gpu":1"#; times].join(",");
        format!(r#"{{"model":"m","options":{{{options}}}}}"#)
    };
    assert_eq!(scan(Chat, &body(64)).copy.tuning.len(), 64);
    for times in [65, 100_000] {
        let repeated = body(times);
        let refused = scan_request(Chat, repeated.as_bytes());
        assert!(matches!(refused, Err(BadRequest::Repeated)), "{times}");
    }
    let shifts = vec![r#""shift":true"#; 65].join(",");
    let refused = format!(r#"{{"model":"m",{shifts}}}"#);
    let refused = scan_request(Generate, refused.as_bytes());
    assert!(matches!(refused, Err(BadRequest::Repeated)));
}

#[test]
fn null_leaves_a_name_and_clears_a_list() {
    assert_eq!(scan(Chat, r#"{"model":"a","model":null}"#).model, "a");
    assert!(scan(Chat, r#"{"messages":[1],"messages":null}"#).empty_input);
    assert!(!scan(Generate, r#"{"prompt":"p","prompt":null}"#).empty_input);
    assert!(scan(Embed, r#"{"input":"a","input":null}"#).empty_input);
}

#[test]
fn the_old_name_field_counts_where_ollama_reads_it() {
    for operation in [Show, Pull, Push, Create, Delete] {
        assert_eq!(scan(operation, r#"{"name":"old"}"#).model, "old");
        assert_eq!(
            scan(operation, r#"{"model":"new","name":"old"}"#).model,
            "new"
        );
        let body = r#"{"model":"","name":"old"}"#;
        let facts = scan(operation, body);
        assert_eq!(facts.model, "old");
        assert_eq!(facts.model_span.unwrap().of(body.as_bytes()), b"\"old\"");
    }
    assert_eq!(scan(Chat, r#"{"name":"old"}"#).model, "");
}

#[test]
fn loads_and_unloads_are_told_from_work() {
    for (operation, body, empty, unload) in [
        (Generate, r#"{"model":"m"}"#, true, false),
        (
            Generate,
            r#"{"model":"m","prompt":"","keep_alive":0}"#,
            true,
            true,
        ),
        (
            Generate,
            r#"{"model":"m","prompt":"hi","keep_alive":0}"#,
            false,
            false,
        ),
        (Chat, r#"{"messages":[ ],"keep_alive":"0s"}"#, true, true),
        (Chat, r#"{"messages":[{}]}"#, false, false),
        (Embed, r#"{"input":[]}"#, true, false),
        (Embed, r#"{"input":""}"#, true, false),
        (Embed, r#"{"input":["a"]}"#, false, false),
        (Embeddings, r#"{"prompt":""}"#, true, false),
        (Embeddings, r#"{"prompt":"a"}"#, false, false),
        (Generate, r#"{"keep_alive":-1}"#, true, false),
    ] {
        let facts = scan(operation, body);
        assert_eq!(
            (facts.empty_input, facts.is_unload()),
            (empty, unload),
            "{body}"
        );
    }
}

#[test]
fn output_is_bounded_in_each_formats_words() {
    for (operation, body, most) in [
        (AnthropicMessages, r#"{"max_tokens":5}"#, Some(5)),
        (
            OpenAiChat,
            r#"{"model":"m","max_completion_tokens": 7 ,"messages":[{"max_tokens":9}]}"#,
            Some(7),
        ),
        (
            OpenAiResponses,
            r#"{"max_output_tokens":8,"max_tokens":null}"#,
            Some(8),
        ),
        (
            OpenAiChat,
            r#"{"max_completion_tokens":70,"max_tokens":1}"#,
            Some(70),
        ),
        (Chat, r#"{"options":{"seed":1,"num_predict":6}}"#, Some(6)),
        (Generate, r#"{"options":{"num_predict":-1}}"#, None),
        (Generate, r#"{"options":null}"#, None),
        (OpenAiChat, r#"{"options":{"num_predict":6}}"#, None),
        (OpenAiChat, r#"{"max_tokens":"5"}"#, None),
        (
            OpenAiChat,
            r#"{"max_tokens":99999999999999999999999}"#,
            None,
        ),
    ] {
        assert_eq!(scan(operation, body).most_output, most, "{body}");
    }
}

#[test]
fn several_answers_are_seen() {
    for (operation, body, answers) in [
        (OpenAiChat, r#"{"n":3}"#, Some(3)),
        (OpenAiChat, r#"{"n":null}"#, None),
        (OpenAiCompletions, r#"{"best_of":20,"n":2}"#, Some(20)),
        (OpenAiImages, r#"{"n":4}"#, Some(4)),
        (Chat, r#"{"n":4}"#, None),
        (AnthropicMessages, r#"{"n":4}"#, None),
    ] {
        assert_eq!(scan(operation, body).answers, answers, "{body}");
    }
    for (body, prompts) in [
        (r#"{"prompt":["a","b",["c"]]}"#, 3),
        (r#"{"prompt":[[1,2],[3]]}"#, 2),
        (r#"{"prompt":[1,2,3]}"#, 1),
        (r#"{"prompt":[]}"#, 0),
        (r#"{"prompt":"a"}"#, 0),
    ] {
        assert_eq!(scan(OpenAiCompletions, body).prompts, prompts, "{body}");
    }
}

#[test]
fn images_are_seen_where_each_format_puts_them() {
    for (operation, body) in [
        (Generate, r#"{"images":["aGk="]}"#),
        (
            Chat,
            r#"{"messages":[{"images":[]},{"images" : [ "aGk="]}]}"#,
        ),
        (
            OpenAiChat,
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{}}]}]}"#,
        ),
        (
            OpenAiResponses,
            r#"{"input":[{"content":[{"type":"input_image"}]}]}"#,
        ),
        (
            AnthropicMessages,
            r#"{"messages":[{"content":[{"type":"image"}]}]}"#,
        ),
    ] {
        assert!(scan(operation, body).images, "{body}");
    }
    for body in [
        r#"{"messages":[{"images":[]},{"images":null}]}"#,
        r#"{"messages":[{"content":"\"images\":[\"a\"]"}]}"#,
    ] {
        assert!(!scan(Chat, body).images, "{body}");
    }
}

#[test]
fn copies_name_two_models() {
    let facts = scan(Copy, r#"{"source":"a","destination":"b\u0063"}"#);
    assert_eq!(
        (facts.source.as_deref(), facts.destination.as_deref()),
        (Some("a"), Some("bc"))
    );
}

#[test]
fn forms_of_transcriptions_are_read_as_far_as_possible() {
    let form = "--b\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n\
        --b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b--\r\n";
    let facts = scan(AudioTranscriptions, form);
    assert_eq!((&*facts.model, facts.stream), ("whisper", Some(true)));
    assert_eq!(scan(AudioTranscriptions, "no form").model, "");
}

#[test]
fn refusals_have_the_words_of_ollama() {
    for body in ["", " \n\t"] {
        assert_eq!(refusal(Chat, body), "missing request body");
    }
    for (operation, body, words) in [
        (
            Chat,
            r#"{"model":1}"#,
            "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
        ),
        (
            Generate,
            r#"{"stream":"x"}"#,
            "json: cannot unmarshal string into Go struct field GenerateRequest.stream of type bool",
        ),
        (
            Generate,
            r#"{"stream":1,"model":[]}"#,
            "json: cannot unmarshal number into Go struct field GenerateRequest.stream of type bool",
        ),
        (
            Delete,
            r#"{"name":{}}"#,
            "json: cannot unmarshal object into Go struct field DeleteRequest.name of type string",
        ),
        (
            Copy,
            r#"{"source":true}"#,
            "json: cannot unmarshal bool into Go struct field CopyRequest.source of type string",
        ),
        (
            Chat,
            "[]",
            "json: cannot unmarshal array into Go value of type api.ChatRequest",
        ),
        (
            OpenAiChat,
            "\"x\"",
            "json: cannot unmarshal string into Go value of type openai.ChatCompletionRequest",
        ),
        (Chat, r#"{"model":1"#, "unexpected EOF"),
        (
            Chat,
            r#"{"model":1,}"#,
            "invalid character '}' looking for beginning of object key string",
        ),
        (
            Chat,
            "model=x",
            "invalid character 'm' looking for beginning of value",
        ),
        (
            Chat,
            "\u{feff}{}",
            "invalid character 'ï' looking for beginning of value",
        ),
    ] {
        assert_eq!(refusal(operation, body), words, "{body}");
    }
    assert_eq!(scan(Chat, "null").model, "");
}

#[test]
fn hostile_bodies_are_refused_or_passed_but_never_repeated() {
    let deep = format!(r#"{{"secret":{}"#, "[".repeat(1 << 20));
    assert_eq!(refusal(Chat, &deep), "exceeded max depth");
    let huge = format!(
        r#"{{"model":"m","seed":{}e{}}}"#,
        "9".repeat(1 << 16),
        "9".repeat(1 << 10)
    );
    assert_eq!(scan(Chat, &huge).model, "m");
    let bad_utf8 = b"{\"prompt\":\"\xff\xfe\",\"model\":\"a\xff\",\"\xff\":1}";
    let facts = scan_request(Generate, bad_utf8).unwrap();
    assert_eq!((&*facts.model, facts.empty_input), ("a\u{fffd}", false));
    let secret = r#"{"model":"m","prompt":"my secret"#;
    for end in 1..secret.len() {
        assert!(!refusal(Generate, &secret[..end]).contains("secret"));
    }
}

#[test]
fn stream_is_set_in_place_or_put_in_front() {
    for (body, expected) in [
        (r#"{"stream":true}"#, r#"{"stream":false}"#),
        (r#" { }"#, r#" {"stream":false }"#),
        (r#"{"a":1}"#, r#"{"stream":false,"a":1}"#),
        (
            r#"{"stream":true,"STREAM": null }x"#,
            r#"{"stream":true,"STREAM": false }x"#,
        ),
        ("null", "null"),
    ] {
        let facts = scan(Chat, body);
        assert_eq!(set_stream(body.as_bytes(), &facts, false), expected);
    }
}

/// A value that a field may get, and how its text is written.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        Just(Value::from(0.0)),
        "[a-z:\"\\\\é]{0,6}".prop_map(Value::from),
        Just(Value::from("0s")),
        Just(serde_json::json!([])),
        Just(serde_json::json!([{"images": ["x"], "model": "inner", "stream": true}])),
        Just(serde_json::json!({"model": "inner"})),
    ]
}

fn key() -> impl Strategy<Value = String> {
    let names = [
        "model",
        "name",
        "stream",
        "prompt",
        "messages",
        "input",
        "keep_alive",
        "tools",
        "images",
        "format",
        "think",
        "source",
        "destination",
        "response_format",
        "thinking",
        "options",
        "",
    ];
    (prop::sample::select(names.to_vec()), any::<u16>()).prop_map(|(name, capitals)| {
        let letter = |(at, letter): (usize, char)| match capitals >> at & 1 {
            1 => letter.to_ascii_uppercase(),
            _ => letter,
        };
        name.chars().enumerate().map(letter).collect()
    })
}

/// A body with repeated fields, and its pairs.
fn body() -> impl Strategy<Value = (String, Vec<(String, Value)>)> {
    let pair = (key(), value(), "[ \n]{0,2}", any::<bool>());
    prop::collection::vec(pair, 0..8).prop_map(|fields| {
        let write = |(key, value, space, escape): &(String, Value, String, bool)| {
            let key = if *escape {
                key.chars()
                    .map(|letter| format!("\\u{:04X}", letter as u32))
                    .collect()
            } else {
                key.clone()
            };
            format!("{space}\"{key}\"{space}:{space}{value}{space}")
        };
        let text = fields.iter().map(write).collect::<Vec<_>>().join(",");
        let pairs = fields
            .into_iter()
            .map(|(key, value, ..)| (key.to_lowercase(), value))
            .collect();
        (format!("{{{text}}}"), pairs)
    })
}

/// The last value of a field that is not null; `Err` when one has a wrong type.
fn last<'v>(
    pairs: &'v [(String, Value)],
    name: &str,
    right: fn(&Value) -> bool,
) -> Result<Option<&'v Value>, ()> {
    let stated = pairs
        .iter()
        .filter(|(key, value)| key == name && !value.is_null());
    let values: Vec<_> = stated.map(|(_, value)| value).collect();
    if values.iter().all(|value| right(value)) {
        Ok(values.last().copied())
    } else {
        Err(())
    }
}

/// Model and stream by the rules, read from the pairs; nothing where a type is wrong.
fn reference(
    operation: Operation,
    pairs: &[(String, Value)],
) -> Result<(String, Option<bool>), ()> {
    let text = |name| {
        Ok(last(pairs, name, Value::is_string)?
            .and_then(Value::as_str)
            .unwrap_or(""))
    };
    let mut model = text("model")?;
    if matches!(operation, Show | Pull | Push | Create | Delete) {
        let name = text("name")?;
        model = if model.is_empty() { name } else { model };
    }
    if operation == Copy {
        text("source")?;
        text("destination")?;
    }
    let mut stream = last(pairs, "stream", Value::is_boolean)?.and_then(Value::as_bool);
    let last_stream = pairs.iter().rfind(|(key, _)| key == "stream");
    if operation.streams_by_default() && last_stream.is_some_and(|(_, value)| value.is_null()) {
        stream = None;
    }
    Ok((model.to_owned(), stream))
}

proptest! {
    #[test]
    fn agrees_with_a_slow_reading(
        (text, pairs) in body(),
        operation in prop::sample::select(JSON_OPERATIONS.to_vec()),
    ) {
        match (scan_request(operation, text.as_bytes()), reference(operation, &pairs)) {
            (Ok(facts), Ok((model, stream))) => {
                prop_assert_eq!(&facts.model, &model);
                prop_assert_eq!(facts.stream, stream);
                if let Some(span) = facts.model_span {
                    let literal: String = serde_json::from_slice(span.of(text.as_bytes())).unwrap();
                    prop_assert_eq!(literal, model);
                }
            }
            (Err(BadRequest::FieldType { .. }), Err(())) => {}
            (found, expected) => prop_assert!(false, "{text}\n{found:?}\n{expected:?}"),
        }
    }

    #[test]
    fn splices_change_what_they_should_and_nothing_else(
        (text, _) in body(),
        operation in prop::sample::select(JSON_OPERATIONS.to_vec()),
        name in any::<String>(),
        stream in any::<bool>(),
    ) {
        let Ok(facts) = scan_request(operation, text.as_bytes()) else { return Ok(()) };
        let spliced = set_stream(text.as_bytes(), &facts, stream);
        let again = scan_request(operation, &spliced).unwrap();
        prop_assert_eq!(again.stream, Some(stream));
        let same = |facts: &RequestFacts<'_>| {
            (facts.empty_input, facts.keep_alive_zero, facts.tools, facts.images, facts.format, facts.think)
        };
        prop_assert_eq!(same(&again), same(&facts));
        prop_assert_eq!(&again.model, &facts.model);
        if let Some(span) = facts.model_span {
            let spliced = replace_model(operation, text.as_bytes(), span, &name);
            let again = scan_request(operation, &spliced).unwrap();
            if !name.is_empty() {
                prop_assert_eq!(&again.model, &name);
            }
            prop_assert_eq!(same(&again), same(&facts));
            prop_assert_eq!(again.stream, facts.stream);
        }
    }

    #[test]
    fn damaged_bodies_are_refused_exactly_where_serde_json_refuses_them(
        (text, _) in body(),
        at in any::<prop::sample::Index>(),
        damage in any::<u8>(),
        operation in prop::sample::select(JSON_OPERATIONS.to_vec()),
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = damage;
        let mut stream = serde_json::Deserializer::from_slice(&bytes).into_iter::<serde::de::IgnoredAny>();
        let valid = stream.next().is_some_and(|value| value.is_ok());
        let refused = match scan_request(operation, &bytes) {
            Err(BadRequest::Syntax(_) | BadRequest::MissingBody) => true,
            Err(
                BadRequest::FieldType { .. } | BadRequest::BodyType { .. } | BadRequest::Repeated,
            )
            | Ok(_) => false,
        };
        // A number at the top level may be followed by anything, so the two need not agree there.
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            prop_assert_eq!(refused, !valid);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in any::<Vec<u8>>(),
        operation in prop::sample::select(JSON_OPERATIONS.to_vec()),
    ) {
        let _ = scan_request(operation, &bytes);
        let _ = scan_request(AudioTranscriptions, &bytes);
    }
}

#[test]
fn a_model_is_found_in_the_beginning_of_a_body() {
    let body = br#"{"stream":true,"options":{"a":[1]},"Model":"m\"1","messages":[{"role":"us"#;
    let behind = memmem::find(body, b",\"messages").unwrap();
    for end in 0..=body.len() {
        let whole = end >= behind;
        let name = named_early(&body[..end]);
        assert_eq!(name.as_deref(), whole.then_some("m\"1"), "{end}");
    }
    for none in [
        &b""[..],
        b"[]",
        b"{}",
        br#"{"model":1}"#,
        br#"{"model":""}"#,
        b"\xff",
    ] {
        assert_eq!(named_early(none), None);
    }
}
