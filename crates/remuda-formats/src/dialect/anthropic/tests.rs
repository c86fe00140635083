use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::exchange::{Reply, Target};
use crate::dialect::turns::Amid;
use crate::facts::Facts;
use crate::ir::{
    Assembler, Class, Event, FaultKind, Finish, Format, Part, Response, ResponseItem, Role, Text,
    Thinking, ToolChoice, ToolNames,
};
use crate::provider::{ProviderKind, ProviderProfile};

mod servers;

const STREAM: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\"model\":\"claude-x\",\"content\":[],\"usage\":{\"input_tokens\":12,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm \\u00e4\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"EqQB\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"xyz\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"text_delta\",\"text\":\"Grüße \\\"du\\\"\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\":\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":3}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":4,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"now\",\"input\":{}}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":4}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":0,\"output_tokens\":40,\"output_tokens_details\":{\"thinking_tokens\":20}}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn reply() -> Reply {
    Reply {
        model: Text::escaped("anthropic/claude-x"),
        id: "0a1b".into(),
        ..Reply::sample()
    }
}

/// What a stream that comes in these pieces says.
fn read(pieces: &[&[u8]]) -> Result<Response, crate::ir::Fault> {
    let mut decoder = decoder(ToolNames::default());
    let mut assembler = Assembler::default();
    for piece in pieces {
        decoder.feed(piece, &mut |event| assembler.event(&event));
    }
    decoder.finish(&mut |event| assembler.event(&event));
    assembler.finish()
}

/// The same stream, read and written again.
fn rewritten(stream: &[u8]) -> String {
    let mut decoder = decoder(ToolNames::default());
    let mut encoder = encoder(reply());
    let mut out = Vec::new();
    decoder.feed(stream, &mut |event| encoder.event(&event, &mut out));
    decoder.finish(&mut |event| encoder.event(&event, &mut out));
    String::from_utf8(out).unwrap()
}

fn provider() -> ProviderProfile<'static> {
    ProviderProfile::of_kind("anthropic", ProviderKind::Anthropic)
}

fn written(body: &Value, model: &str) -> (Value, Vec<&'static str>) {
    let body = body.to_string();
    let request = read_chat(body.as_bytes()).unwrap();
    let facts = Facts::bundled();
    let provider = provider();
    let target = Target {
        model,
        facts: facts.find(ProviderKind::Anthropic, model),
        provider,
        stream: false,
    };
    let outgoing = write_chat(request, &target).unwrap();
    let dropped = outgoing.dropped.fields().to_vec();
    (serde_json::from_slice(&outgoing.body).unwrap(), dropped)
}

#[test]
fn a_stream_says_the_same_however_it_is_split() {
    let whole = read(&[STREAM.as_bytes()]).unwrap();
    assert_eq!(whole.thinking().decoded(), "hm ä");
    assert_eq!(whole.text().decoded(), "Grüße \"du\"");
    assert_eq!(whole.finish, Finish::ToolCalls);
    assert_eq!(whole.usage.prompt, Some(17));
    assert_eq!(whole.usage.cache_read, Some(5));
    assert_eq!(whole.usage.output, Some(40));
    assert_eq!(whole.usage.reasoning, Some(20));
    let calls: Vec<_> = whole
        .calls()
        .map(|call| call.arguments().as_str().to_owned())
        .collect();
    assert_eq!(calls, [r#"{"x":1}"#, "{}"]);
    for split in 0..=STREAM.len() {
        let (first, second) = STREAM.as_bytes().split_at(split);
        assert_eq!(read(&[first, second]).unwrap(), whole, "split at {split}");
    }
    let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
    assert_eq!(read(&bytes).unwrap(), whole);
}

#[test]
fn a_stream_that_breaks_off_anywhere_is_no_answer() {
    let last = STREAM.rfind("event: message_stop").unwrap();
    // The very last newline is missing in no answer that matters.
    for cut in 0..last {
        assert!(read(&[&STREAM.as_bytes()[..cut]]).is_err(), "cut at {cut}");
    }
}

#[test]
fn thoughts_signatures_and_calls_are_written_as_they_were_read() {
    let again = rewritten(STREAM.as_bytes());
    let before = read(&[STREAM.as_bytes()]).unwrap();
    let after = read(&[again.as_bytes()]).unwrap();
    assert_eq!(after.items, before.items);
    assert_eq!(after.finish, before.finish);
    assert_eq!(after.usage.prompt, before.usage.prompt);
    assert_eq!(after.usage.output, before.usage.output);
    assert_eq!(after.usage.cache_read, before.usage.cache_read);
    let starts = again.matches("event: content_block_start").count();
    assert_eq!(starts, 5);
    assert_eq!(again.matches("event: content_block_stop").count(), starts);
    assert_eq!(again.matches("event: message_start").count(), 1);
    assert!(again.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
}

/// Blocks of a stream, as `kind:text`, each begun and ended before the next.
fn blocks(stream: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false;
    for event in stream.split("\n\n").filter(|event| !event.is_empty()) {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        match data["type"].as_str().unwrap() {
            "content_block_start" => {
                assert!(!std::mem::replace(&mut open, true), "blocks overlap");
                assert_eq!(data["index"], json!(blocks.len()));
                let block = &data["content_block"];
                let name = block["name"].as_str().unwrap_or_default();
                blocks.push(format!("{}{name}:", block["type"].as_str().unwrap()));
            }
            "content_block_delta" => {
                assert!(open && data["index"] == json!(blocks.len() - 1));
                let delta = data["delta"].as_object().unwrap();
                let text = delta.iter().find(|(name, _)| *name != "type").unwrap().1;
                blocks.last_mut().unwrap().push_str(text.as_str().unwrap());
            }
            "content_block_stop" => assert!(std::mem::replace(&mut open, false)),
            _ => {}
        }
    }
    assert!(!open);
    blocks
}

fn encoded(events: &[Event<'_>]) -> String {
    let mut encoder = encoder(reply());
    let mut out = Vec::new();
    for event in events {
        encoder.event(event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn start(index: usize, name: &'static str) -> Event<'static> {
    Event::ToolStart {
        index,
        id: None,
        name: Text::escaped(name),
        signature: None,
    }
}

fn arguments(index: usize, fragment: &'static str) -> Event<'static> {
    Event::ToolArguments {
        index,
        fragment: Text::escaped(fragment),
    }
}

#[test]
fn calls_that_overlap_become_blocks_one_after_another() {
    let finish = Event::Finish {
        reason: Finish::ToolCalls,
        stop: None,
    };
    let stream = encoded(&[
        Event::Text(Text::escaped("a")),
        start(0, "f"),
        start(1, "g"),
        arguments(1, "{1"),
        arguments(0, "{0"),
        Event::Text(Text::escaped("late")),
        start(2, "h"),
        arguments(1, "}"),
        Event::ToolEnd { index: 1 },
        arguments(0, "}"),
        Event::ToolEnd { index: 0 },
        arguments(2, "{}"),
        finish.clone(),
        Event::End,
    ]);
    assert_eq!(
        blocks(&stream),
        [
            "text:a",
            "tool_usef:{0}",
            "tool_useg:{1}",
            "text:late",
            "tool_useh:{}"
        ]
    );
    assert!(stream.contains("\"stop_reason\":\"tool_use\""));
    let ids: std::collections::HashSet<_> = stream.match_indices("\"id\":\"toolu_").collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_failed_stream_never_looks_complete() {
    let fault = crate::ir::Fault::incomplete();
    let stream = encoded(&[
        Event::Text(Text::escaped("a")),
        Event::Failed(std::borrow::Cow::Borrowed(&fault)),
    ]);
    assert!(
        stream
            .contains("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"")
    );
    assert!(!stream.contains("message_stop") && !stream.contains("message_delta"));
}

/// A refusal without a text has at least the provider's explanation.
#[test]
fn a_refusal_is_explained() {
    let whole = |content: Value| {
        let body = json!({"id": "m", "content": content, "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "explanation": "Not that."}, "usage": {}});
        let mut assembler = Assembler::default();
        let body = body.to_string();
        read_whole(body.as_bytes(), &ToolNames::default(), &mut |event| {
            assembler.event(&event);
        });
        assembler.finish().unwrap()
    };
    let silent = whole(json!([]));
    assert_eq!(silent.finish, Finish::Filtered);
    assert_eq!(silent.text().decoded(), "Not that.");
    let spoken = whole(json!([{"type": "text", "text": "No."}]));
    assert_eq!(spoken.text().decoded(), "No.");

    let stream = |deltas: &str| {
        let delta = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"explanation":"Not that."}},"usage":{"output_tokens":1}}"#;
        let stream = format!(
            "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"m\"}}}}\n\n{deltas}event: message_delta\ndata: {delta}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        );
        read(&[stream.as_bytes()]).unwrap()
    };
    assert_eq!(stream("").text().decoded(), "Not that.");
    let said = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"No.\"}}\n\n";
    assert_eq!(stream(said).text().decoded(), "No.");
}

/// Checks every row of the errors that Anthropic documents (https://docs.claude.com/en/api/errors).
#[test]
fn every_status_of_anthropics_has_its_class() {
    use Class::{Capacity, Permanent, Route, Transient};
    let details = |code: &str| json!({"type": "error", "error": {"type": "rate_limit_error", "message": "m", "details": {"error_code": code}}});
    let said = |text: &str| json!({"type": "error", "error": {"type": "x", "message": text}});
    for (status, body, class, kind) in [
        (
            400,
            said("messages: bad"),
            Permanent,
            FaultKind::InvalidRequest,
        ),
        (
            400,
            said("input length and `max_tokens` exceed context limit: 9 + 9 > 10"),
            Route,
            FaultKind::ContextLength,
        ),
        (
            400,
            said("You have reached your specified API usage spend limit"),
            Route,
            FaultKind::Billing,
        ),
        (
            401,
            said("invalid x-api-key"),
            Route,
            FaultKind::Credentials,
        ),
        (402, said("pay"), Route, FaultKind::Billing),
        (403, said("no"), Route, FaultKind::Credentials),
        (404, said("model: x"), Route, FaultKind::ModelNotFound),
        (
            413,
            said("Request exceeds the maximum size"),
            Permanent,
            FaultKind::TooLarge,
        ),
        (429, said("rate"), Capacity, FaultKind::RateLimit),
        (
            429,
            details("enforced_spend_limit_reached"),
            Route,
            FaultKind::Billing,
        ),
        (500, said("oops"), Transient, FaultKind::Server),
        (503, said("busy"), Capacity, FaultKind::Overloaded),
        (504, said("late"), Transient, FaultKind::Timeout),
        (529, said("Overloaded"), Capacity, FaultKind::Overloaded),
        (302, json!("moved"), Route, FaultKind::Garbled),
        // A message that mentions a rate limit is none: status and code decide (BerriAI/litellm#11455).
        (
            400,
            said("429 rate limit"),
            Permanent,
            FaultKind::InvalidRequest,
        ),
    ] {
        let fault = fault(status, &http::HeaderMap::new(), body.to_string().as_bytes());
        assert_eq!((fault.class, fault.kind), (class, kind), "{status} {body}");
    }
}

#[test]
fn what_an_error_says_is_cleaned_and_what_mends_it_is_known() {
    let error = |text: &str| {
        let body =
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": text}});
        fault(400, &http::HeaderMap::new(), body.to_string().as_bytes())
    };
    let private = error("key sk-ant-abc123 of https://console.anthropic.com is wrong").message;
    assert!(
        !private.contains("sk-ant") && !private.contains("console"),
        "{private}"
    );
    let unsigned = error("messages.1.content.0: Invalid `signature` in `thinking` block");
    assert_eq!(unsigned.mend, Some(crate::ir::Mend::Signatures));
    assert_eq!(error("messages: bad").mend, None);
}

/// Whatever else serves this API says it as its own framework does.
#[test]
fn words_in_other_forms_are_told() {
    for (body, words) in [
        (r#"{"detail":"no"}"#, "no"),
        (r#"{"detail":[{"loc":["body"],"msg":"no"}]}"#, "no"),
        (r#"{"error":"no"}"#, "no"),
        (r#"{"error":["no"]}"#, "no"),
        (r#"{"message":"no"}"#, "no"),
        (r#"{"type":"error","error":{"message":"no"#, "no"),
        ("no\n", "no"),
        (
            "<html>secret</html>",
            "the provider answered with status 400",
        ),
        (r#"{"error":[]}"#, "the provider answered with status 400"),
    ] {
        let fault = fault(400, &http::HeaderMap::new(), body.as_bytes());
        assert_eq!(fault.message, words, "{body}");
    }
}

/// A thought of OpenAI's is no thought of Claude's, though it is signed as well.
#[test]
fn thoughts_that_other_providers_signed_stay_behind() {
    let thought = |signature: &'static str, id: Option<&'static str>| {
        Part::Thought(crate::ir::Thought {
            text: Text::escaped("plan"),
            signature: Some(Text::escaped(signature)),
            redacted: false,
            id: id.map(Text::escaped),
        })
    };
    let parts = vec![
        thought("gAAAA", Some("rs_1")),
        thought("gemini:CiQB", None),
        thought("", None),
        thought("EqQB", None),
    ];
    let mut messages = vec![crate::ir::Message::new(Role::Assistant, parts)];
    turns::arrange(&mut messages, Amid::User);
    assert_eq!(messages[1].parts, [thought("EqQB", None)]);
}

#[test]
fn everything_a_client_may_say_is_read() {
    let body = json!({
        "model": "m", "max_tokens": 100, "stream": true, "system": [{"type":"text","text":"Be brief","cache_control":{"type":"ephemeral"}}],
        "messages": [
            {"role":"user","content":"hi"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"tool_use","id":"t1","name":"f","input":{"x":1}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"42"}],"is_error":true},
                {"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"}}]}
        ],
        "tools": [{"name":"f","description":"d","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}],
        "tool_choice": {"type":"any","disable_parallel_tool_use":true},
        "thinking": {"type":"enabled","budget_tokens":2048}, "stop_sequences":["END"], "metadata":{"user_id":"u"}, "top_k": 40,
        "output_config": {"format":{"type":"json_schema","schema":{"type":"object"}}}
    })
    .to_string();
    let request = read_chat(body.as_bytes()).unwrap();
    assert_eq!(request.messages.len(), 4);
    assert_eq!(request.messages[0].role, Role::System);
    assert!(matches!(&request.messages[2].parts[1], Part::Thought(thought) if thought.redacted));
    let Part::ToolResult(result) = &request.messages[3].parts[0] else {
        panic!("a result")
    };
    assert!(result.is_error);
    assert!(matches!(
        &request.messages[3].parts[1],
        Part::Image(crate::ir::Image::Base64 {
            media_type: crate::ir::MediaType::Png,
            ..
        })
    ));
    assert_eq!(request.tools.len(), 1);
    assert_eq!(request.dropped.fields(), ["tools"]);
    assert_eq!(request.tool_choice, ToolChoice::Required);
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert_eq!(request.thinking, Some(Thinking::Budget(2048)));
    assert!(matches!(request.format, Format::Schema { .. }));
    assert_eq!(request.sampling.top_k, Some(40));
    assert!(read_chat(br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#).is_err());
    assert!(read_chat(br#"{"model":"m","max_tokens":5,"messages":[]}"#).is_err());
}

#[test]
fn trap_31_32_33_turns_are_in_the_order_that_the_provider_takes() {
    let (body, _) = written(
        &json!({"max_tokens": 10, "messages": [
            {"role":"assistant","content":[{"type":"tool_use","id":"bad id!","name":"f","input":{}},{"type":"tool_use","id":"t2","name":"g","input":{}}]},
            {"role":"user","content":"  "},
            {"role":"user","content":[{"type":"text","text":"and?"},{"type":"tool_result","tool_use_id":"t2","content":"two"}]},
            {"role":"system","content":"late"},
        ]}),
        "claude-haiku-4-5",
    );
    assert_eq!(
        body["messages"],
        json!([
            {"role":"user","content":[{"type":"text","text":"Continue."}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"call_ZFNbzrvdzIWMtDP-PIR541g_KLs","name":"f","input":{}},{"type":"tool_use","id":"t2","name":"g","input":{}}]},
            {"role":"user","content":[
                {"type":"tool_result","tool_use_id":"call_ZFNbzrvdzIWMtDP-PIR541g_KLs","is_error":true,"content":[{"type":"text","text":"no result provided"}]},
                {"type":"tool_result","tool_use_id":"t2","content":[{"type":"text","text":"two"}]},
                {"type":"text","text":"and?"},
                {"type":"text","text":"late"}]},
        ])
    );
    assert_eq!(body["system"], Value::Null);
    // Tools that were called are declared, though none is offered.
    assert_eq!(body["tools"][1]["name"], "g");
    assert_eq!(body["tool_choice"], json!({"type":"none"}));
}

#[test]
fn trap_35_36_signed_thoughts_go_back_and_unsigned_ones_are_dropped() {
    let (body, _) = written(
        &json!({"max_tokens": 10, "messages": [
            {"role":"user","content":"q"},
            {"role":"assistant","content":[{"type":"text","text":"a"},{"type":"thinking","thinking":"","signature":"sig"},{"type":"thinking","thinking":"secret","signature":""},{"type":"redacted_thinking","data":"d"}]},
            {"role":"user","content":"q2"},
        ]}),
        "claude-opus-5",
    );
    assert_eq!(
        body["messages"][1]["content"],
        json!([{"type":"text","text":"a"},{"type":"thinking","thinking":"","signature":"sig"},{"type":"redacted_thinking","data":"d"}])
    );
    assert!(!body.to_string().contains("secret"));
}

#[test]
fn models_are_told_to_think_in_the_way_that_each_takes() {
    let ask = |model: &str| {
        let (body, dropped) = written(
            &json!({"max_tokens": 5000, "temperature": 0.5, "thinking":{"type":"enabled","budget_tokens":2048},
                "tools":[{"name":"f","input_schema":{}}], "tool_choice":{"type":"any"},
                "messages":[{"role":"user","content":"q"}]}),
            model,
        );
        (body, dropped)
    };
    let (old, dropped) = ask("claude-haiku-4-5");
    assert_eq!(old["thinking"]["budget_tokens"], 2048);
    assert!(old["max_tokens"].as_u64().unwrap() > 2048 + 4999);
    assert_eq!(dropped, ["tool_choice", "temperature"]);
    assert_eq!(
        old["tools"][0]["input_schema"],
        json!({"type":"object","properties":{}})
    );
    let (new, dropped) = ask("claude-opus-5");
    assert_eq!(new["thinking"]["type"], "adaptive");
    assert_eq!(new["tool_choice"]["type"], "any");
    assert!(new.get("temperature").is_none() && dropped.contains(&"temperature"));
    let (newest, dropped) = ask("claude-opus-5-5");
    assert!(newest.get("tool_choice").is_none() && dropped.contains(&"tool_choice"));
}

#[test]
fn a_prefill_is_continued_only_where_the_model_does_that() {
    let turns = json!({"max_tokens": 10, "messages":[{"role":"user","content":"q"},{"role":"assistant","content":"It is \n"}]});
    let (old, dropped) = written(&turns, "claude-haiku-4-5");
    assert_eq!(old["messages"][1]["content"][0]["text"], "It is");
    assert!(dropped.is_empty());
    let (new, dropped) = written(&turns, "claude-opus-5");
    assert_eq!(new["messages"][2]["role"], "user");
    assert_eq!(dropped, ["prefill"]);
}

#[test]
fn schemas_lose_what_is_refused_and_keep_it_as_words() {
    let (body, _) = written(
        &json!({"max_tokens": 10, "messages":[{"role":"user","content":"q"}], "output_config":{"format":{"type":"json_schema","schema":
            {"type":"object","properties":{"minimum":{"type":"integer","minimum":3,"description":"how many"}},"required":["minimum"]}}}}),
        "claude-opus-5",
    );
    assert_eq!(
        body["output_config"]["format"]["schema"],
        json!({"type":"object","additionalProperties":false,"properties":{"minimum":{"type":"integer","description":"how many (minimum: 3)"}},"required":["minimum"]})
    );
}

#[test]
fn errors_are_sorted_by_what_can_be_done() {
    let fault = |status, body: &str| {
        let fault = fault(status, &http::HeaderMap::new(), body.as_bytes());
        (fault.class, fault.kind)
    };
    let error = |kind: &str, text: &str| {
        json!({"type":"error","error":{"type":kind,"message":text}}).to_string()
    };
    let invalid = |text| error("invalid_request_error", text);
    assert_eq!(
        fault(400, &invalid("messages: bad")),
        (Class::Permanent, FaultKind::InvalidRequest)
    );
    assert_eq!(
        fault(400, &invalid("Your credit balance is too low")),
        (Class::Route, FaultKind::Billing)
    );
    assert_eq!(
        fault(400, &invalid("prompt is too long: 9 tokens > 8")),
        (Class::Route, FaultKind::ContextLength)
    );
    assert_eq!(fault(401, "<html>"), (Class::Route, FaultKind::Credentials));
    assert_eq!(
        fault(529, &error("overloaded_error", "Overloaded")),
        (Class::Capacity, FaultKind::Overloaded)
    );
    let failed = read(&[b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"]);
    assert_eq!(failed.unwrap_err().kind, FaultKind::Overloaded);
}

#[test]
fn a_whole_answer_is_read_and_written() {
    let body = json!({"id":"msg_01","type":"message","role":"assistant","model":"claude-x","content":[
        {"type":"thinking","thinking":"t","signature":"s"},{"type":"text","text":"Hi"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"x":1}}],
        "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":12,"cache_creation_input_tokens":1,"cache_read_input_tokens":2,"output_tokens":40}})
    .to_string();
    let mut assembler = Assembler::default();
    read_whole(body.as_bytes(), &ToolNames::default(), &mut |event| {
        assembler.event(&event);
    });
    let response = assembler.finish().unwrap();
    assert_eq!(response.usage.prompt, Some(15));
    assert!(matches!(response.items[0], ResponseItem::Thought(_)));
    let mut out = Vec::new();
    write_whole(&response, &reply(), &mut out);
    let mut again: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(again["id"], "msg_0a1b");
    assert_eq!(again["model"], "anthropic/claude-x");
    let mut before: Value = serde_json::from_str(&body).unwrap();
    for message in [&mut again, &mut before] {
        let message = message.as_object_mut().unwrap();
        message.remove("id");
        message.remove("model");
    }
    assert_eq!(again, before);
}

proptest! {
    #[test]
    fn no_stream_makes_the_decoder_panic(bytes in any::<Vec<u8>>()) {
        let _ = read(&[&bytes]);
    }

    #[test]
    fn no_spoilt_stream_makes_the_decoder_panic(at in 0..STREAM.len(), byte in any::<u8>()) {
        let mut stream = STREAM.as_bytes().to_vec();
        stream[at] = byte;
        let _ = read(&[&stream]);
    }

    #[test]
    fn no_body_makes_the_reader_panic(body in any::<Vec<u8>>()) {
        let _ = read_chat(&body);
        read_whole(&body, &ToolNames::default(), &mut |_| {});
    }
}
