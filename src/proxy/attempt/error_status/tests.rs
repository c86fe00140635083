//! What follows from errors as servers and services write them, and what their clients are told.

use std::sync::Arc;

use super::*;
use crate::settings::{self, ProviderKind, Secret};

/// Makes a server of a fleet without a key.
fn server() -> Arc<Backend> {
    Backend::alone(&settings::Provider::named("gpus"))
}

/// Makes a server of a fleet that takes nobody without its key.
fn locked() -> Arc<Backend> {
    Backend::alone(&settings::Provider {
        api_key: Some(Secret::new("secret")),
        ..settings::Provider::named("gpus")
    })
}

fn service() -> Arc<Backend> {
    Backend::alone(&settings::Provider::of_kind("cloud", ProviderKind::OpenAi))
}

/// What an error means, without its words.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The client is told at once, in the backend's words or in the gateway's, with this status.
    Final(Words, u16),
    /// Another candidate may do better; else the client is told this. The last says whether the backend is reported as sick.
    Next(AttemptOutcome, Words, u16, bool),
}

#[derive(Debug, PartialEq)]
enum Words {
    /// The backend's own answer.
    Own,
    /// The gateway's.
    Gateways,
}
use AttemptOutcome::{Refused, ServerError};
use Verdict::{Final, Next};
use Words::{Gateways, Own};

fn told(error: Option<ClientError>) -> (Words, u16) {
    match error.expect("an answer that has come is told") {
        ClientError::Answer(answer) => (Own, answer.head.status.as_u16()),
        ClientError::Failure(failure) => (Gateways, failure.status),
    }
}

fn judged(
    backend: &Backend,
    (status, body): (u16, &'static str),
    across: bool,
    operation: Operation,
) -> AttemptError {
    let head = ResponseHeader::build(status, None).unwrap();
    let error = ErrorStatus {
        head: &head,
        body: Bytes::from_static(body.as_bytes()),
        across,
    };
    error.judge(backend, operation)
}

fn verdict(error: AttemptError) -> Verdict {
    match error {
        AttemptError::Final(error, _) => {
            let (words, status) = told(Some(error));
            Final(words, status)
        }
        AttemptError::Retryable {
            outcome,
            report,
            error,
            ..
        } => {
            let (words, status) = told(error);
            Next(outcome, words, status, report.is_some())
        }
        AttemptError::ClientGone | AttemptError::ShuttingDown | AttemptError::Overdue(_) => {
            panic!("an error of a backend's is none of these")
        }
    }
}

#[test]
fn what_an_ollama_server_says_is_the_request_s_the_model_s_or_its_own() {
    use Operation::{Chat, Show};
    let stopped = r#"{"error":"model runner has unexpectedly stopped"}"#;
    let unloadable = r#"{"error":"llama runner process has terminated: exit status 2"}"#;
    let grammar = r#"{"error":"invalid format: \"xml\"; expected \"json\""}"#;
    let call = r#"{"error":"error parsing tool call: raw='{'"}"#;
    let busy = r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
    let absent = r#"{"error":"model 'm' not found"}"#;
    let wrong = r#"{"error":"invalid role"}"#;
    for (operation, status, body, expected) in [
        (Chat, 500, stopped, Next(ServerError, Own, 500, true)),
        (Chat, 500, "", Next(ServerError, Gateways, 500, true)),
        // The server is well, and has other models.
        (Chat, 500, unloadable, Next(ServerError, Own, 500, false)),
        // Every server would say so.
        (Chat, 500, grammar, Final(Own, 500)),
        // The next server's model may write a call that can be read.
        (Chat, 500, call, Next(Refused, Own, 500, false)),
        (
            Chat,
            501,
            r#"{"error":"no"}"#,
            Next(Refused, Own, 501, false),
        ),
        (Chat, 503, busy, Next(ServerError, Own, 503, true)),
        (Chat, 429, busy, Next(Refused, Own, 429, false)),
        (Chat, 404, absent, Next(Refused, Own, 404, false)),
        (Show, 404, absent, Final(Own, 404)),
        (Chat, 400, wrong, Final(Own, 400)),
        (Chat, 400, " \n", Final(Gateways, 400)),
        (Chat, 302, "", Next(Refused, Gateways, 502, false)),
    ] {
        let error = judged(&server(), (status, body), false, operation);
        assert_eq!(verdict(error), expected, "{operation:?} {status} {body}");
    }
}

#[test]
fn a_model_that_cannot_be_loaded_is_told_from_a_server_that_fails() {
    for (body, of_model) in [
        (r#"{"error":"error loading model"}"#, true),
        (r#"{"error":"connection reset"}"#, false),
    ] {
        match judged(&server(), (500, body), false, Operation::Chat) {
            AttemptError::Retryable { cause, .. } => {
                assert_eq!(cause.of_model, of_model, "{body}");
                assert_eq!(cause.status, Some(500));
            }
            _ => panic!("another server may do better: {body}"),
        }
    }
}

#[test]
fn a_server_that_refuses_the_gateway_s_key_is_not_the_client_s_concern() {
    let unauthorized = r#"{"error":"unauthorized"}"#;
    for (has_key, status, body, refuses) in [
        (false, 401, unauthorized, true),
        (false, 401, "", true),
        (false, 402, "", true),
        (false, 403, "forbidden", true),
        // So does Ollama answer to a foreign host or origin.
        (false, 403, "", false),
        (false, 403, "\r\n", false),
        (true, 403, "", true),
        (true, 404, "", false),
        (true, 500, "forbidden", false),
    ] {
        let backend = if has_key { locked() } else { server() };
        let refused = refuses_key(&backend, status, body.as_bytes());
        assert_eq!(refused, refuses, "{has_key} {status} {body}");
        if (401..=403).contains(&status) {
            let error = judged(&backend, (status, body), false, Operation::Chat);
            let expected = if refuses {
                Next(Refused, Gateways, 502, false)
            } else {
                Final(Gateways, status)
            };
            assert_eq!(verdict(error), expected, "{has_key} {status} {body}");
        }
    }
}

#[test]
fn a_service_s_error_is_told_in_its_own_words_only_to_clients_of_its_format() {
    let operation = Operation::OpenAiChat;
    let wrong = r#"{"error":{"message":"no","type":"invalid_request_error"}}"#;
    let limited = r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#;
    for (across, status, body, expected) in [
        (false, 400, wrong, Final(Own, 400)),
        (true, 400, wrong, Final(Gateways, 400)),
        (false, 429, limited, Next(Refused, Gateways, 429, false)),
        (false, 401, "", Next(Refused, Gateways, 502, false)),
        (false, 500, "", Next(ServerError, Gateways, 502, true)),
        (true, 500, "", Next(ServerError, Gateways, 502, true)),
    ] {
        let error = judged(&service(), (status, body), across, operation);
        assert_eq!(verdict(error), expected, "{across} {status} {body}");
    }
}

#[test]
fn a_refusal_without_words_is_of_the_request_though_it_was_translated() {
    let operation = Operation::AnthropicMessages;
    let silent = judged(&server(), (403, ""), true, operation);
    let AttemptError::Retryable { error, .. } = silent else {
        panic!("another server may do better");
    };
    let Some(ClientError::Failure(failure)) = error else {
        panic!("the gateway has words for it");
    };
    assert_eq!(failure.status, 403);
    assert_eq!(
        failure.text,
        "provider gpus: its server answered with status 403 Forbidden, and nothing else"
    );
    // With a key, it is the key that was refused.
    let refused = verdict(judged(&locked(), (403, ""), true, operation));
    assert_eq!(refused, Next(Refused, Gateways, 502, false));
}

#[test]
fn the_length_of_an_error_that_was_cut_is_not_told() {
    let mut head = ResponseHeader::build(400, None).unwrap();
    head.insert_header(header::CONTENT_LENGTH, 1_000_000)
        .unwrap();
    let body = Bytes::from_static(br#"{"error":"no"}"#);
    let answer = answer_for_client(&head, body.clone(), Operation::Chat);
    assert!(!answer.head.headers.contains_key(header::CONTENT_LENGTH));
    assert_eq!(answer.body, body);
}

#[test]
fn only_white_space_is_nothing() {
    for (body, blank) in [("", true), (" \r\n\t", true), ("{}", false), (" 0 ", false)] {
        assert_eq!(is_blank(body.as_bytes()), blank, "{body:?}");
    }
}
