//! Which header fields cross the gateway: hop-by-hop fields and credentials stay on their side,
//! `X-Forwarded-*` is stated, lengths are exact.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::fleet::Backend;
use crate::proxy::response_body::head::Head;
use crate::settings::Forwarded;

/// RFC 9110 §7.6.1, and the fields that older proxies treat alike.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What a client sends for the gateway alone: credentials, and fields that it answers itself, as a page's origin.
/// `Accept-Encoding` goes because a compressed answer cannot be watched for its end.
const FOR_THE_GATEWAY: [HeaderName; 18] = [
    header::ORIGIN,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::CONTENT_ENCODING,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    header::EXPECT,
    header::HOST,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("x-priority"),
    HeaderName::from_static("x-backend"),
    HeaderName::from_static("x-provider"),
    HeaderName::from_static("x-proxy-tag"),
];

pub(crate) const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const OPENAI_BETA: HeaderName = HeaderName::from_static("openai-beta");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// A server that is told nothing may compress its answers.
const UNPACKED: HeaderValue = HeaderValue::from_static("identity");
/// What this gateway calls itself.
const USER_AGENT: &str = concat!("remuda/", env!("CARGO_PKG_VERSION"));
pub(crate) const X_REMUDA_DROPPED: HeaderName = HeaderName::from_static("x-remuda-dropped");

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

/// When a client may come back, which says something of errors alone.
const OF_ERRORS: [HeaderName; 2] = [
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
];

/// How the fields begin that say what is left of a service's limits: the operator's account has them, and its clients keep
/// within them. An Ollama server has none.
const LIMITS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_REMUDA_BACKEND: HeaderName = HeaderName::from_static("x-remuda-backend");
pub(crate) const X_REMUDA_ATTEMPTS: HeaderName = HeaderName::from_static("x-remuda-attempts");

/// What the request's head is rewritten with.
pub(crate) struct Rewrite<'a> {
    /// The backend's authority.
    pub(crate) host: &'a HeaderValue,
    /// Bytes of the body that will follow; `None` for a request without one.
    pub(crate) content_length: Option<usize>,
    pub(crate) request_id: &'a HeaderValue,
    pub(crate) client: Option<IpAddr>,
    pub(crate) forwarded: Forwarded,
}

/// Returns the head that goes to the backend.
///
/// # Errors
/// When the client's path or a field cannot be written as HTTP/1.1.
pub(crate) fn upstream_request(
    inbound: &RequestHeader,
    rewrite: &Rewrite<'_>,
) -> pingora::Result<RequestHeader> {
    let fields = &inbound.headers;
    // Without a second table for the case of names: they are case-insensitive (RFC 9110 section 5.1),
    // and a stream holds this head for as long as it lasts.
    let mut head = RequestHeader::build_no_case(
        inbound.method.clone(),
        origin_form(inbound),
        Some(fields.len() + 5),
    )?;
    head.insert_header(header::HOST, rewrite.host)?;
    for (name, value) in fields {
        let dropped = HOP_BY_HOP.contains(name)
            || FOR_THE_GATEWAY.contains(name)
            || is_forwarding(name)
            || (*name == X_FORWARDED_PREFIX && rewrite.forwarded != Forwarded::Append)
            || *name == X_REQUEST_ID
            || nominated(fields, name);
        if !dropped {
            head.append_header(name, value)?;
        }
    }
    if let Some(length) = rewrite.content_length {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(length))?;
    }
    head.insert_header(header::ACCEPT_ENCODING, UNPACKED)?;
    head.insert_header(X_REQUEST_ID, rewrite.request_id)?;
    state_forwarding(inbound, rewrite, &mut head)?;
    Ok(head)
}

/// Returns the head of a request to a service: what the gateway says itself, and nothing of who the client is.
///
/// # Errors
/// When the path cannot be written as HTTP.
pub(crate) fn provider_request(
    inbound: &RequestHeader,
    path: &str,
    backend: &Backend,
    content_length: usize,
    request_id: &HeaderValue,
) -> pingora::Result<RequestHeader> {
    let mut head = RequestHeader::build_no_case(inbound.method.clone(), path.as_bytes(), Some(10))?;
    head.insert_header(header::HOST, &backend.host)?;
    head.insert_header(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )?;
    head.insert_header(header::ACCEPT, HeaderValue::from_static("*/*"))?;
    head.insert_header(header::ACCEPT_ENCODING, UNPACKED)?;
    head.insert_header(header::USER_AGENT, HeaderValue::from_static(USER_AGENT))?;
    head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(content_length))?;
    head.insert_header(X_REQUEST_ID, request_id)?;
    Ok(head)
}

/// Adds what a client of the provider's own format may say to it: its content type, versions and betas, not who it is.
///
/// # Errors
/// When a field cannot be written.
pub(crate) fn same_format(
    inbound: &RequestHeader,
    head: &mut RequestHeader,
) -> pingora::Result<()> {
    for name in [
        header::CONTENT_TYPE,
        header::ACCEPT,
        ANTHROPIC_VERSION,
        IDEMPOTENCY_KEY,
    ] {
        // `curl -d` says that JSON is a form, which servers that look at it refuse.
        let misnamed = |value: &HeaderValue| {
            name == header::CONTENT_TYPE
                && value
                    .as_bytes()
                    .starts_with(b"application/x-www-form-urlencoded")
        };
        if let Some(value) = inbound.headers.get(&name).filter(|value| !misnamed(value)) {
            head.insert_header(name, value)?;
        }
    }
    // Lists, which may come as several fields (RFC 9110 section 5.3).
    for name in [ANTHROPIC_BETA, OPENAI_BETA] {
        for value in inbound.headers.get_all(&name) {
            head.append_header(name.clone(), value)?;
        }
    }
    Ok(())
}

/// A server is asked by path, whatever form the client's target had (RFC 9112 section 3.2).
fn origin_form(inbound: &RequestHeader) -> &[u8] {
    match inbound.raw_path() {
        path @ [b'/' | b'*', ..] => path,
        _ => inbound
            .uri
            .path_and_query()
            .map_or(b"/", |path| path.as_str().as_bytes()),
    }
}

/// Returns whether the client is one of Anthropic's API: OpenAI's and Anthropic's clients ask for models at the same path,
/// and only Anthropic's state their version.
pub(crate) fn speaks_anthropic(head: &RequestHeader) -> bool {
    head.headers.contains_key(ANTHROPIC_VERSION)
}

fn is_forwarding(name: &HeaderName) -> bool {
    *name == X_FORWARDED_FOR
        || *name == X_FORWARDED_PROTO
        || *name == X_FORWARDED_HOST
        || *name == header::FORWARDED
}

/// Returns whether `Connection` names the field as hop-by-hop (RFC 9110 §7.6.1).
fn nominated(fields: &HeaderMap, name: &HeaderName) -> bool {
    fields.get_all(header::CONNECTION).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|token| {
            token
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
    })
}

fn state_forwarding(
    inbound: &RequestHeader,
    rewrite: &Rewrite<'_>,
    head: &mut RequestHeader,
) -> pingora::Result<()> {
    let (Some(client), false) = (rewrite.client, rewrite.forwarded == Forwarded::Off) else {
        return Ok(());
    };
    let append = rewrite.forwarded == Forwarded::Append;
    let before = |name: HeaderName| {
        let fields = append.then(|| inbound.headers.get_all(name));
        fields.into_iter().flatten()
    };
    head.insert_header(
        X_FORWARDED_FOR,
        joined(before(X_FORWARDED_FOR), &client.to_string()),
    )?;
    let kept = |name: &HeaderName| inbound.headers.get(name).filter(|_| append);
    head.insert_header(
        X_FORWARDED_PROTO,
        kept(&X_FORWARDED_PROTO)
            .cloned()
            .unwrap_or(HeaderValue::from_static("http")),
    )?;
    if let Some(host) = kept(&X_FORWARDED_HOST).or_else(|| inbound.headers.get(header::HOST)) {
        head.insert_header(X_FORWARDED_HOST, host)?;
    } else if let Some(authority) = inbound.uri.authority() {
        // HTTP/2 says `:authority` instead (RFC 9113 section 8.3.1).
        head.insert_header(X_FORWARDED_HOST, authority.as_str())?;
    }
    // RFC 7239 §4: an IPv6 address is quoted and in brackets.
    if kept(&header::FORWARDED).is_some() {
        let element = match client {
            IpAddr::V4(address) => format!("for={address};proto=http"),
            IpAddr::V6(address) => format!("for=\"[{address}]\";proto=http"),
        };
        head.insert_header(
            header::FORWARDED,
            joined(before(header::FORWARDED), &element),
        )?;
    }
    Ok(())
}

/// A list may have come as several fields (RFC 9110 section 5.3); it leaves as one.
fn joined<'a>(before: impl Iterator<Item = &'a HeaderValue>, last: &str) -> Vec<u8> {
    let mut value = Vec::with_capacity(last.len());
    for field in before {
        value.extend_from_slice(field.as_bytes());
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(last.as_bytes());
    value
}

/// Fields that the gateway may add to an answer's head: how its body ends, its id, the client's limits, the backend.
const ADDED: usize = 10;

/// Returns the backend's head as the client gets it: what is for clients, and framing for the client's version. `of_service`: it is
/// no server of a fleet.
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
pub(crate) fn frame(head: &mut Head, client: Version, method: &Method) {
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

/// Of a stream that a backend sends with a length: takes the length back, unless it is the one that is known to be the
/// client's too. What cannot be read is left out, and a terminator may be added.
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

    fn inbound(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", b"/api/chat?x=1", None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn rewritten(fields: &[(&'static str, &str)], forwarded: Forwarded) -> RequestHeader {
        let rewrite = Rewrite {
            host: &HeaderValue::from_static("gpu1:11434"),
            content_length: Some(12),
            request_id: &HeaderValue::from_static("id-1"),
            client: Some("10.0.0.9".parse().unwrap()),
            forwarded,
        };
        upstream_request(&inbound(fields), &rewrite).unwrap()
    }

    fn get<'a>(head: &'a RequestHeader, name: &str) -> Option<&'a str> {
        head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn credentials_and_hop_by_hop_fields_stay() {
        let head = rewritten(
            &[
                ("Host", "proxy"),
                ("Authorization", "Bearer secret"),
                ("X-Api-Key", "secret"),
                ("Cookie", "a=b"),
                ("Connection", "close, X-Mine"),
                ("X-Mine", "1"),
                ("Transfer-Encoding", "chunked"),
                ("Expect", "100-continue"),
                ("X-Priority", "high"),
                ("X-Provider", "gpus"),
                ("User-Agent", "test"),
            ],
            Forwarded::Append,
        );
        for gone in [
            "authorization",
            "x-api-key",
            "cookie",
            "connection",
            "x-mine",
            "transfer-encoding",
            "expect",
            "x-priority",
            "x-provider",
        ] {
            assert_eq!(get(&head, gone), None, "{gone}");
        }
        assert_eq!(get(&head, "host"), Some("gpu1:11434"));
        assert_eq!(get(&head, "user-agent"), Some("test"));
        assert_eq!(get(&head, "content-length"), Some("12"));
        assert_eq!(head.raw_path(), b"/api/chat?x=1");
    }

    #[test]
    fn every_beta_goes_to_a_provider_of_the_same_format() {
        let came = inbound(&[
            ("Content-Type", "application/json"),
            ("Anthropic-Beta", "one"),
            ("Anthropic-Beta", "two,three"),
            ("Authorization", "Bearer secret"),
        ]);
        let mut head = RequestHeader::build("POST", b"/v1/messages", None).unwrap();
        same_format(&came, &mut head).unwrap();
        let betas: Vec<_> = head.headers.get_all(ANTHROPIC_BETA).iter().collect();
        assert_eq!(betas, ["one", "two,three"]);
        assert_eq!(get(&head, "authorization"), None);
    }

    #[test]
    fn forwarding_is_appended_replaced_or_dropped() {
        let came = [
            ("Host", "h"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("Forwarded", "for=1.2.3.4"),
        ];
        let head = rewritten(&came, Forwarded::Append);
        assert_eq!(get(&head, "x-forwarded-for"), Some("1.2.3.4, 10.0.0.9"));
        assert_eq!(
            get(&head, "forwarded"),
            Some("for=1.2.3.4, for=10.0.0.9;proto=http")
        );
        assert_eq!(get(&head, "x-forwarded-host"), Some("h"));
        let head = rewritten(&came, Forwarded::Replace);
        assert_eq!(get(&head, "x-forwarded-for"), Some("10.0.0.9"));
        assert_eq!(get(&head, "forwarded"), None);
        let head = rewritten(&came, Forwarded::Off);
        assert_eq!(get(&head, "x-forwarded-for"), None);
    }

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
