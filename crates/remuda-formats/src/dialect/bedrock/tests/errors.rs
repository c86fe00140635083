//! Errors and what they mean.

use super::*;
use http::HeaderValue;
use std::time::Duration;

fn fault_of(status: u16, kind: Option<&str>, body: &str) -> Fault {
    let mut headers = HeaderMap::new();
    if let Some(kind) = kind {
        headers.insert("x-amzn-errortype", HeaderValue::from_str(kind).unwrap());
    }
    fault(status, &headers, body.as_bytes())
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn exceptions_have_their_class() {
    for (status, kind, message, expected) in [
        (
            400,
            "ValidationException",
            "bad",
            "Permanent InvalidRequest",
        ),
        (
            400,
            "ValidationException",
            "Input is too long for requested model.",
            "Route ContextLength",
        ),
        (
            400,
            "ValidationException",
            "Invocation of model ID x with on-demand throughput isn\u{2019}t supported. Retry with an inference profile",
            "Route ModelNotFound",
        ),
        (
            400,
            "ValidationException",
            "The provided model identifier is invalid.",
            "Route ModelNotFound",
        ),
        (
            400,
            "ValidationException",
            "This model doesn't support tool use.",
            "Route Unsupported",
        ),
        (
            400,
            "ServiceQuotaExceededException",
            "quota",
            "Capacity RateLimit",
        ),
        (403, "AccessDeniedException", "no", "Route Credentials"),
        (
            403,
            "UnrecognizedClientException",
            "no",
            "Route Credentials",
        ),
        (403, "ExpiredTokenException", "no", "Route Credentials"),
        (403, "InvalidSignatureException", "no", "Route Credentials"),
        (
            400,
            "IncompleteSignatureException",
            "no",
            "Route Credentials",
        ),
        (
            404,
            "ResourceNotFoundException",
            "no",
            "Route ModelNotFound",
        ),
        (408, "ModelTimeoutException", "late", "Transient Timeout"),
        (424, "ModelErrorException", "broke", "Transient Server"),
        (429, "ThrottlingException", "slow", "Capacity RateLimit"),
        (429, "ModelNotReadyException", "soon", "Capacity Overloaded"),
        (500, "InternalServerException", "broke", "Transient Server"),
        (
            503,
            "ServiceUnavailableException",
            "busy",
            "Capacity Overloaded",
        ),
        (418, "NewException", "what", "Transient Server"),
        (413, "", "large", "Permanent TooLarge"),
        (429, "", "429", "Capacity RateLimit"),
        // The words of a text do not make a rate limit of it.
        (
            400,
            "ValidationException",
            "rate limit 429 throttled",
            "Permanent InvalidRequest",
        ),
    ] {
        let body = serde_json::json!({"message": message}).to_string();
        let fault = fault_of(status, (!kind.is_empty()).then_some(kind), &body);
        assert_eq!(
            format!("{:?} {:?}", fault.class, fault.kind),
            expected,
            "{kind} {message}"
        );
        assert_eq!(fault.message, message);
    }
}

#[test]
fn the_type_is_found_wherever_it_stands() {
    let expected = fault_of(
        400,
        Some("ServiceQuotaExceededException"),
        r#"{"message":"m"}"#,
    );
    assert_eq!(expected.retry_after, Some(Duration::from_secs(1)));
    let header = Some("ServiceQuotaExceededException:http://internal.amazon.com/coral/");
    assert_eq!(fault_of(400, header, r#"{"Message":"m"}"#), expected);
    for body in [
        r#"{"__type":"com.amazon.bedrock#ServiceQuotaExceededException","message":"m"}"#,
        r#"{"code":"ServiceQuotaExceededException","message":"m"}"#,
    ] {
        assert_eq!(fault_of(400, None, body), expected, "{body}");
    }
}

#[test]
fn a_model_error_says_what_the_models_server_said() {
    let with = |status: u16| {
        let body = format!(r#"{{"message":"m","originalStatusCode":{status}}}"#);
        fault_of(424, Some("ModelErrorException"), &body).class
    };
    assert_eq!(
        format!("{:?} {:?} {:?}", with(400), with(429), with(500)),
        "Permanent Capacity Transient"
    );
}

#[test]
fn bodies_that_are_no_json_still_make_an_error() {
    let fault = fault_of(503, None, "<html>busy</html>");
    assert_eq!(fault.message, "the provider gave no reason");
    assert_eq!(
        fault_of(502, Some("BadGatewayException"), "").message,
        "BadGatewayException"
    );
    assert_eq!(
        fault_of(400, None, r#"{"code":7,"message":"m"}"#).message,
        "m"
    );
}

#[test]
fn accounts_keys_and_addresses_are_left_out() {
    let message = "User: arn:aws:sts::111122223333:assumed-role/r/s is not authorized to perform: \
        bedrock:InvokeModel on resource: \"arn:aws:bedrock:us-east-1::foundation-model/a.b-v1:0\", \
        account (111122223333) key AKIAIOSFODNN7EXAMPLE; see https://docs.aws.amazon.com/x. 42 of 4096";
    let body = serde_json::json!({"message": message}).to_string();
    let fault = fault_of(403, Some("AccessDeniedException"), &body);
    assert_eq!(
        fault.message,
        "User: (an ARN) is not authorized to perform: bedrock:InvokeModel on resource: \"(an ARN)\", \
         account ((an account)) key (a key); see (an address) 42 of 4096"
    );
    let long = serde_json::json!({"message": "é ".repeat(5000)}).to_string();
    assert!(fault_of(400, None, &long).message.chars().count() <= 1000);
}
