//! Errors as the providers really write them.

use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ir::Class::{self, Capacity, Permanent, Route, Transient};
use crate::ir::FaultKind::{self, *};
use crate::ir::Mend;

fn of(status: u16, body: Value) -> Fault {
    fault(status, &HeaderMap::new(), body.to_string().as_bytes())
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn errors_are_sorted_by_what_can_be_done() {
    let cases: Vec<(u16, Value, Class, FaultKind, &str)> = vec![
        // OpenAI.
        (
            400,
            json!({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages",
            "code": "context_length_exceeded"}}),
            Route,
            ContextLength,
            "too long",
        ),
        (
            400,
            json!({"error": {"message": "no", "type": "invalid_request_error", "param": "temperature",
            "code": "unsupported_value"}}),
            Route,
            Unsupported,
            "no",
        ),
        (
            400,
            json!({"error": {"message": "long text", "type": "invalid_request_error",
            "code": "string_above_max_length"}}),
            Permanent,
            InvalidRequest,
            "long text",
        ),
        (
            400,
            json!({"error": {"message": "bad", "type": "invalid_request_error", "code": null}}),
            Permanent,
            InvalidRequest,
            "bad",
        ),
        (
            401,
            json!({"error": {"message": "Incorrect API key provided: sk-abc123.", "code": "invalid_api_key"}}),
            Route,
            Credentials,
            "Incorrect API key provided: [hidden].",
        ),
        (
            404,
            json!({"error": {"message": "gone", "code": "model_not_found"}}),
            Route,
            ModelNotFound,
            "gone",
        ),
        (
            409,
            json!({"error": {"message": "busy"}}),
            Transient,
            Server,
            "busy",
        ),
        (
            429,
            json!({"error": {"message": "slow", "type": "tokens", "code": "rate_limit_exceeded"}}),
            Capacity,
            RateLimit,
            "slow",
        ),
        (
            429,
            json!({"error": {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}}),
            Route,
            Billing,
            "pay",
        ),
        (
            500,
            json!({"error": {"message": "oops", "type": "server_error"}}),
            Transient,
            Server,
            "oops",
        ),
        (
            504,
            Value::Null,
            Transient,
            FaultKind::Timeout,
            "the provider answered with status 504",
        ),
        // Groq and OpenAI, of one request that is more than a minute's tokens.
        (
            413,
            json!({"error": {"message": "Request too large for model `m`: TPM: Limit 6000, Requested 7000, please reduce your message size",
            "type": "tokens", "code": "rate_limit_exceeded"}}),
            Route,
            TooLarge,
            "Request too large for model `m`: TPM: Limit 6000, Requested 7000, please reduce your message size",
        ),
        (
            429,
            json!({"error": {"message": "Request too large for gpt on tokens per min (TPM): Limit 30000, Requested 40000.",
            "type": "tokens", "param": null, "code": "rate_limit_exceeded"}}),
            Route,
            TooLarge,
            "Request too large for gpt on tokens per min (TPM): Limit 30000, Requested 40000.",
        ),
        (
            429,
            json!({"error": {"message": "Rate limit reached for gpt on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000.",
            "type": "tokens", "param": null, "code": "rate_limit_exceeded"}}),
            Capacity,
            RateLimit,
            "Rate limit reached for gpt on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000.",
        ),
        (
            500,
            json!({"error": {"code": 500, "message": "context shift is disabled; Context size has been exceeded.", "type": "server_error"}}),
            Route,
            ContextLength,
            "context shift is disabled; Context size has been exceeded.",
        ),
        // Azure.
        (
            400,
            json!({"error": {"code": "content_filter", "message": "filtered", "param": "prompt", "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}}}),
            Permanent,
            ContentFilter,
            "filtered",
        ),
        (
            401,
            json!({"error": {"code": "401", "message": "denied"}}),
            Route,
            Credentials,
            "denied",
        ),
        (
            404,
            json!({"error": {"code": "DeploymentNotFound", "message": "none"}}),
            Route,
            ModelNotFound,
            "none",
        ),
        (
            429,
            json!({"error": {"code": "429", "message": "full"}}),
            Capacity,
            RateLimit,
            "full",
        ),
        (
            408,
            json!({"error": {"code": "Timeout", "message": "late"}}),
            Transient,
            FaultKind::Timeout,
            "late",
        ),
        // OpenRouter.
        (
            402,
            json!({"error": {"code": 402, "message": "credits"}, "user_id": "u"}),
            Route,
            Billing,
            "credits",
        ),
        (
            403,
            json!({"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"],
            "flagged_input": "secret words"}}}),
            Permanent,
            ContentFilter,
            "flagged",
        ),
        (
            403,
            json!({"error": {"code": 403, "message": "denied", "metadata": null}}),
            Route,
            Credentials,
            "denied",
        ),
        (
            503,
            json!({"error": {"code": 503, "message": "none meets the routing"}}),
            Capacity,
            Overloaded,
            "none meets the routing",
        ),
        (
            524,
            json!({"error": {"code": 524, "message": "edge"}}),
            Transient,
            FaultKind::Timeout,
            "edge",
        ),
        (
            529,
            json!({"error": {"code": 529, "message": "full", "metadata": {"error_type": "provider_overloaded"}}}),
            Capacity,
            Overloaded,
            "full",
        ),
        // vLLM, new and old.
        (
            400,
            json!({"error": {"message": "This model's maximum context length is 8192 tokens.",
            "type": "BadRequestError", "param": null, "code": 400}}),
            Route,
            ContextLength,
            "This model's maximum context length is 8192 tokens.",
        ),
        (
            400,
            json!({"object": "error", "message": "\"auto\" tool choice requires --enable-auto-tool-choice",
            "type": "BadRequestError", "param": null, "code": 400}),
            Route,
            Unsupported,
            "\"auto\" tool choice requires --enable-auto-tool-choice",
        ),
        (
            404,
            json!({"object": "error", "message": "no such", "type": "NotFoundError", "code": 404}),
            Route,
            ModelNotFound,
            "no such",
        ),
        // llama.cpp.
        (
            400,
            json!({"error": {"code": 400, "message": "the request exceeds the available context size",
            "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}}),
            Route,
            ContextLength,
            "the request exceeds the available context size",
        ),
        // FastAPI, LM Studio, Google's compatible form, and none of them.
        (
            422,
            json!({"detail": [{"type": "missing", "loc": ["body"], "msg": "Field required"}]}),
            Permanent,
            InvalidRequest,
            "Field required",
        ),
        (
            404,
            json!({"detail": "Not Found"}),
            Route,
            ModelNotFound,
            "Not Found",
        ),
        (
            400,
            json!({"error": "plain words"}),
            Permanent,
            InvalidRequest,
            "plain words",
        ),
        (
            503,
            json!([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]),
            Capacity,
            Overloaded,
            "overloaded",
        ),
        (
            302,
            Value::Null,
            Route,
            Server,
            "the provider answered with status 302",
        ),
    ];
    for (status, body, class, kind, message) in cases {
        let fault = of(status, body.clone());
        assert_eq!(
            (fault.class, fault.kind, &*fault.message),
            (class, kind, message),
            "{body}"
        );
    }
}

/// A word that every failure of a server has says less than the status does.
#[test]
fn a_server_error_is_what_its_status_says() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    for word in ["server_error", "server", "InternalServerError"] {
        for (status, class, kind) in [
            (500, Transient, Server),
            (502, Transient, Server),
            (503, Capacity, Overloaded),
            (504, Transient, FaultKind::Timeout),
            (529, Capacity, Overloaded),
            (429, Capacity, RateLimit),
        ] {
            let body = json!({"error": {"message": "x", "type": word, "code": null}}).to_string();
            let fault = fault(status, &headers, body.as_bytes());
            assert_eq!((fault.class, fault.kind), (class, kind), "{status} {word}");
            assert_eq!(fault.retry_after, Some(Duration::from_secs(7)));
        }
    }
}

#[test]
fn an_error_within_an_error_is_found() {
    let runner = json!({"error": {"code": 400, "message": "the request does not fit", "type": "exceed_context_size_error",
        "n_prompt_tokens": 18020, "n_ctx": 2048}});
    let ollama = json!({"error": {"message": runner.to_string(), "type": "invalid_request_error", "param": null,
        "code": null}});
    let openrouter = json!({"error": {"message": "Provider returned error", "code": 400,
        "metadata": {"raw": runner.to_string(), "provider_name": "x"}}});
    let as_object = json!({"error": {"message": "Provider returned error", "code": 400,
        "metadata": {"raw": runner}}});
    for body in [runner, ollama, openrouter, as_object] {
        let fault = of(400, body.clone());
        assert_eq!((fault.class, fault.kind), (Route, ContextLength), "{body}");
        assert_eq!(fault.message, "the request does not fit", "{body}");
        let by = fault.overflow.unwrap();
        assert_eq!((by.input, by.most), (Some(18020), Some(2048)), "{body}");
    }
    let deep = (0..12).fold("x".to_owned(), |inner, _| {
        json!({"error": inner}).to_string()
    });
    assert_eq!(
        fault(400, &HeaderMap::new(), deep.as_bytes()).kind,
        InvalidRequest
    );
}

#[test]
fn a_providers_own_word_is_kept_and_a_status_is_none() {
    let code = |code: Value| {
        of(
            400,
            json!({"error": {"message": "x", "code": code, "param": "input"}}),
        )
    };
    let invalid = code("invalid_value".into());
    assert_eq!(invalid.code.as_deref(), Some("invalid_value"));
    assert_eq!(invalid.param.as_deref(), Some("input"));
    for none in [
        json!(400),
        json!("400"),
        json!(null),
        json!("two words"),
        json!({"a": 1}),
    ] {
        assert_eq!(code(none).code, None);
    }
    let error = json!({"error": {"message": "x", "code": "invalid_api_key", "param": "key"}});
    let ours = of(401, error);
    assert_eq!((ours.code, ours.param), (None, None));
    let body: Value = serde_json::from_slice(&error_body(&invalid)).unwrap();
    assert_eq!(body["error"]["code"], "invalid_value");
}

/// Status and code tell a rate limit, not a phrase in the message (BerriAI/litellm#11455).
#[test]
fn words_in_a_message_are_no_rate_limit() {
    let fault = of(
        400,
        json!({"error": {"message": "429 rate limit, context_length_exceeded, too many requests"}}),
    );
    assert_eq!((fault.class, fault.kind), (Permanent, InvalidRequest));
    let fault = of(
        429,
        json!({"error": {"message": "prompt is too long for your rate limit"}}),
    );
    assert_eq!((fault.class, fault.kind), (Capacity, RateLimit));
}

#[test]
fn errors_within_a_good_answer_are_sorted_too() {
    for (error, class, kind) in [
        (
            json!({"error": {"code": 502, "message": "x", "metadata": {"error_type": "provider_unavailable"}}}),
            Transient,
            Server,
        ),
        (
            json!({"error": {"code": "429", "message": "x"}}),
            Capacity,
            RateLimit,
        ),
        (
            json!({"error": {"message": "x", "type": "invalid_request_error"}}),
            Permanent,
            InvalidRequest,
        ),
        (
            json!({"error": {"message": "x", "type": "server_error", "code": null}}),
            Transient,
            Server,
        ),
        (json!({"error": "x"}), Transient, Server),
    ] {
        let fault = fault_in_body(error.to_string().as_bytes());
        assert_eq!((fault.class, fault.kind), (class, kind), "{error}");
    }
}

/// By whatever code a prompt is too long, clients know it by one.
#[test]
fn other_codes_for_a_prompt_that_is_too_long_are_told_as_openais() {
    for code in ["context_window_exceeded", "prompt_too_long", "1261"] {
        let body =
            json!({"error": {"message": "no", "type": "invalid_request_error", "code": code}});
        let fault = of(400, body);
        assert_eq!((fault.class, fault.kind), (Route, ContextLength), "{code}");
        let told = String::from_utf8(error_body(&fault)).unwrap();
        assert!(
            told.contains(r#""code":"context_length_exceeded""#),
            "{told}"
        );
    }
}

#[test]
fn words_that_are_no_json_are_told() {
    for (body, words) in [
        (
            "prompt is too long: 9 tokens > 8 maximum",
            "prompt is too long: 9 tokens > 8 maximum",
        ),
        (
            r#"{"error":{"message":"Input is too long","#,
            "Input is too long",
        ),
    ] {
        let fault = fault(400, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.kind, &*fault.message), (ContextLength, words));
    }
    let fault = of(
        422,
        json!({"detail": [{"loc": ["body", "tools", 0], "msg": "no"}]}),
    );
    assert_eq!(
        (&*fault.message, fault.param.as_deref()),
        ("no", Some("tools.0"))
    );
}

#[test]
fn a_page_instead_of_json_is_told_by_its_status() {
    let fault = fault(502, &HeaderMap::new(), b"<html>secret</html>");
    assert_eq!(
        (fault.class, &*fault.message),
        (Transient, "the provider answered with status 502")
    );
}

#[test]
fn hints_and_blamed_fields_are_kept() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after-ms", "250".parse().unwrap());
    let body = br#"{"error":{"message":"x","code":"unsupported_parameter","param":"max_tokens"}}"#;
    let found = fault(400, &headers, body);
    assert_eq!(found.retry_after, Some(Duration::from_millis(250)));
    assert_eq!(found.param.as_deref(), Some("max_tokens"));
    let loading = of(
        503,
        json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    );
    assert_eq!(
        (loading.class, loading.retry_after),
        (Capacity, Some(Duration::from_secs(2)))
    );
    let odd = of(
        400,
        json!({"error": {"message": "x", "param": "the user's own words"}}),
    );
    assert_eq!(odd.param, None);
}

#[test]
fn an_effort_that_is_refused_can_be_left_out() {
    let effort = Some(Mend::Parameter("reasoning_effort"));
    for (error, mend) in [
        (
            json!({"message": "Function tools with reasoning_effort are not supported for gpt-5.5 in /v1/chat/completions. Please use /v1/responses instead, or set reasoning_effort to 'none'.",
                "type": "invalid_request_error", "param": "reasoning_effort", "code": null}),
            Some(Mend::Reasoning),
        ),
        (
            json!({"message": "Unrecognized request argument supplied: reasoning_effort", "type": "invalid_request_error"}),
            effort,
        ),
        (
            json!({"message": "`reasoning_effort` is not supported with this model", "type": "invalid_request_error"}),
            effort,
        ),
        (
            json!({"message": "Unsupported parameter", "type": "invalid_request_error", "param": "reasoning.effort"}),
            effort,
        ),
        (
            json!({"message": "tools are not supported", "type": "invalid_request_error", "param": "tools"}),
            None,
        ),
        (
            json!({"message": "`reasoning_effort` must be low, medium or high", "type": "invalid_request_error"}),
            None,
        ),
    ] {
        assert_eq!(of(400, json!({"error": error})).mend, mend, "{error}");
    }
    // What has nothing to do with the request is no such refusal.
    let busy = json!({"error": {"message": "rate limit: reasoning_effort not supported", "type": "rate_limit_error"}});
    assert_eq!(of(429, busy).mend, None);
}

#[test]
fn clients_get_openais_shape() {
    let fault = Fault {
        param: Some("messages".into()),
        ..Fault::new(Route, ContextLength, "too \"long\"")
    };
    let body: Value = serde_json::from_slice(&error_body(&fault)).unwrap();
    assert_eq!(
        body,
        json!({"error": {"message": "too \"long\"", "type": "invalid_request_error", "param": "messages",
            "code": "context_length_exceeded"}})
    );
    // The gateway's credentials are not the client's.
    let body: Value =
        serde_json::from_slice(&error_body(&Fault::new(Route, Credentials, "x"))).unwrap();
    assert_eq!(body["error"]["type"], "server_error");
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(status in any::<u16>(), body in any::<Vec<u8>>()) {
        fault(status, &HeaderMap::new(), &body);
    }

    #[test]
    fn no_shape_makes_it_panic(inner in prop::sample::select(vec!["null", "7", "\"x\"", "[]", "[[]]", "{}", "[null]",
        "{\"message\":{}}", "{\"code\":[],\"metadata\":7}", "[{\"msg\":1}]"]), key in "error|detail|message") {
        let fault = fault(500, &HeaderMap::new(), format!("{{\"{key}\":{inner}}}").as_bytes());
        prop_assert!(!fault.message.is_empty());
    }
}
