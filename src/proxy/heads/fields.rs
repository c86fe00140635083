//! The names of header fields that the gateway knows, and which of them never cross it.

use http::HeaderMap;
use http::header::{self, HeaderName};
use pingora::http::RequestHeader;

/// The hop-by-hop fields of RFC 9110 section 7.6.1, and those that older proxies treat alike.
pub(super) const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(crate) const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Says that the server has shortened the prompt.
pub(crate) const X_REMUDA_TRUNCATED: HeaderName = HeaderName::from_static("x-remuda-truncated");
pub(crate) const X_REMUDA_DROPPED: HeaderName = HeaderName::from_static("x-remuda-dropped");

pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_REMUDA_BACKEND: HeaderName = HeaderName::from_static("x-remuda-backend");
pub(crate) const X_REMUDA_ATTEMPTS: HeaderName = HeaderName::from_static("x-remuda-attempts");

/// Returns whether the client is one of Anthropic's API: OpenAI's and Anthropic's clients ask for models at the same path,
/// and only Anthropic's state their version.
pub(crate) fn speaks_anthropic(head: &RequestHeader) -> bool {
    head.headers.contains_key(ANTHROPIC_VERSION)
}

/// Returns whether `Connection` names the field as hop-by-hop (RFC 9110 section 7.6.1).
pub(super) fn nominated(fields: &HeaderMap, name: &HeaderName) -> bool {
    fields.get_all(header::CONNECTION).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|token| {
            token
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
    })
}
