//! The head of an answer as a client gets it: what is for clients, and how the body's end is marked.

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;

use crate::proxy::heads::fields::{X_REQUEST_ID, nominated};
use crate::proxy::response_body::head::Head;

/// What a client reads of an answer's head, whoever gives it: what the body is, and by what its provider finds it again.
/// Nothing else passes: a server may say whatever it likes of the operator's account, of its own address and connections, or
/// to a proxy or a browser that it believes to be in front of it, and a proxy before the gateway would obey it.
const FOR_CLIENTS: [HeaderName; 18] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    // What could not be unpacked is still packed.
    header::CONTENT_ENCODING,
    // Of audio and of pictures.
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::DATE,
    // With 405.
    header::ALLOW,
    HeaderName::from_static("request-id"),
    HeaderName::from_static("anthropic-request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-ms-request-id"),
    HeaderName::from_static("x-generation-id"),
    HeaderName::from_static("mistral-correlation-id"),
    HeaderName::from_static("openai-version"),
    HeaderName::from_static("openai-model"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("x-compute-time"),
    HeaderName::from_static("x-inference-time"),
];

/// The fields that say when a client may come back, which pass with errors alone.
const OF_ERRORS: [HeaderName; 2] = [
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
];

/// The beginnings of the names of fields that say what is left of a service's limits, which are those of the operator's account
/// and are kept by its clients. An Ollama server has none.
const LIMITS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];

/// How many fields the gateway may add to an answer's head: the framing of its body, its id, the client's limits, the backend.
const ADDED: usize = 10;

/// Returns the backend's head as the client gets it: with the fields that are for clients, and framed for the client's version
/// of HTTP. `of_service` says that the backend is no server of a fleet.
pub(crate) fn downstream_response(
    answer: &ResponseHeader,
    of_service: bool,
    client: Version,
    method: &Method,
    request_id: &HeaderValue,
) -> Head {
    let fields = &answer.headers;
    let is_error = answer.status.is_client_error() || answer.status.is_server_error();
    let is_limit = |name: &HeaderName| LIMITS.iter().any(|it| name.as_str().starts_with(it));
    let mut head = Head::new(answer.status, fields.len() + ADDED);
    for (name, value) in fields {
        let passes = FOR_CLIENTS.contains(name)
            || (is_error && OF_ERRORS.contains(name))
            || (of_service && is_limit(name));
        if passes && !nominated(fields, name) {
            head.add(name, value);
        }
    }
    head.set(X_REQUEST_ID, request_id.clone());
    frame(&mut head, client, method);
    head
}

/// Returns the head of an answer that was translated: nothing of the provider's crosses.
pub(crate) fn translated_response(
    content_type: &'static str,
    client: Version,
    method: &Method,
    request_id: &HeaderValue,
) -> Head {
    let mut head = Head::new(StatusCode::OK, ADDED);
    head.set(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if content_type == "text/event-stream" {
        head.set(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    head.set(X_REQUEST_ID, request_id.clone());
    frame(&mut head, client, method);
    head
}

/// States how the body's end is marked: a length, chunks, or (HTTP/1.0) the connection's end.
fn frame(head: &mut Head, client: Version, method: &Method) {
    let bodiless = *method == Method::HEAD || head.status == 204 || head.status == 304;
    let stated = head.fields().contains_key(header::CONTENT_LENGTH);
    if client == Version::HTTP_11 && !bodiless && !stated {
        let chunked = HeaderValue::from_static("chunked");
        head.set(header::TRANSFER_ENCODING, chunked);
    }
}

/// States that the body has `length` bytes, in place of whatever marked its end.
pub(crate) fn state_length(head: &mut Head, length: usize) {
    head.remove(&header::TRANSFER_ENCODING);
    head.set(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// Takes back the length of a stream that a backend sends with one, unless the client is known to get as many bytes: events
/// that cannot be read are left out, and a terminator may be added.
pub(crate) fn unstate_length(
    head: &mut Head,
    known: Option<usize>,
    client: Version,
    method: &Method,
) {
    let stated = head.fields().get(header::CONTENT_LENGTH);
    let Some(stated) = stated.map(HeaderValue::to_str) else {
        return;
    };
    if known.is_none_or(|known| stated.ok() != Some(&known.to_string())) {
        head.remove(&header::CONTENT_LENGTH);
        frame(head, client, method);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed_for_the_clients_version() {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        answer
            .insert_header("Transfer-Encoding", "chunked")
            .unwrap();
        answer.insert_header("Connection", "close").unwrap();
        let id = HeaderValue::from_static("id-1");
        let has = |version, name: &str| {
            let head = downstream_response(&answer, false, version, &Method::POST, &id);
            head.fields().contains_key(name)
        };
        assert!(has(Version::HTTP_11, "transfer-encoding"));
        assert!(!has(Version::HTTP_10, "transfer-encoding"));
        assert!(!has(Version::HTTP_2, "transfer-encoding"));
        assert!(!has(Version::HTTP_11, "connection"));
    }

    #[test]
    fn of_an_answers_head_what_is_for_clients_passes() {
        let told = |status: u16, of_service: bool| {
            let mut answer = ResponseHeader::build(status, None).unwrap();
            for name in [
                "Content-Type",
                "Request-Id",
                "Openai-Processing-Ms",
                "Openai-Organization",
                "X-Ratelimit-Remaining-Requests",
                "Anthropic-Ratelimit-Tokens-Limit",
                "X-Should-Retry",
                "Retry-After",
                "Retry-After-Ms",
                "X-Forwarded-For",
                "Set-Cookie",
                "Server",
                "Via",
                "Alt-Svc",
                "X-Remuda-Backend",
                "Access-Control-Allow-Origin",
                "X-Anything",
            ] {
                answer.append_header(name, "1").unwrap();
            }
            let id = HeaderValue::from_static("id-1");
            let head =
                downstream_response(&answer, of_service, Version::HTTP_2, &Method::POST, &id);
            let names = head.fields().keys().map(|name| name.as_str().to_owned());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        let always = [
            "content-type",
            "openai-processing-ms",
            "request-id",
            "x-request-id",
        ];
        let limits = [
            "anthropic-ratelimit-tokens-limit",
            "x-ratelimit-remaining-requests",
        ];
        let later = ["retry-after", "retry-after-ms"];
        for (status, of_service, expected) in [
            (200, false, [&always[..]].concat()),
            (200, true, [&always[..], &limits[..]].concat()),
            (307, false, [&always[..]].concat()),
            (429, false, [&always[..], &later[..]].concat()),
            (503, true, [&always[..], &limits[..], &later[..]].concat()),
        ] {
            let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            expected.sort();
            assert_eq!(told(status, of_service), expected, "{status} {of_service}");
        }
    }
}
