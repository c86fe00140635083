//! The head of a request as a backend gets it: hop-by-hop fields and credentials stay behind, and `X-Forwarded-*` is stated.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::fleet::Backend;
use crate::proxy::heads::fields::{
    ANTHROPIC_VERSION, HOP_BY_HOP, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO,
    X_REQUEST_ID, nominated,
};
use crate::settings::Forwarded;

/// The fields that a client sends for the gateway alone: credentials, and what the gateway itself answers, such as a page's
/// origin.
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

const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const OPENAI_BETA: HeaderName = HeaderName::from_static("openai-beta");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The value of `Accept-Encoding` that keeps a server from compressing its answers.
const UNPACKED: HeaderValue = HeaderValue::from_static("identity");
/// The name under which the gateway sends requests.
const USER_AGENT: &str = concat!("remuda/", env!("CARGO_PKG_VERSION"));
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The values with which the head of a request is rewritten.
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

/// Returns the request's target as a path with its query, whatever form the client gave it (RFC 9112 section 3.2).
fn origin_form(inbound: &RequestHeader) -> &[u8] {
    match inbound.raw_path() {
        path @ [b'/' | b'*', ..] => path,
        _ => inbound
            .uri
            .path_and_query()
            .map_or(b"/", |path| path.as_str().as_bytes()),
    }
}

fn is_forwarding(name: &HeaderName) -> bool {
    *name == X_FORWARDED_FOR
        || *name == X_FORWARDED_PROTO
        || *name == X_FORWARDED_HOST
        || *name == header::FORWARDED
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

/// Joins a list that may have come as several fields into one (RFC 9110 section 5.3), with `last` at its end.
fn joined<'a>(before: impl Iterator<Item = &'a HeaderValue>, last: &str) -> Vec<u8> {
    let mut value = Vec::with_capacity(last.len());
    for field in before {
        value.extend_from_slice(field.as_bytes());
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(last.as_bytes());
    value
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
}
