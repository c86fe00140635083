//! Which header fields cross the gateway: hop-by-hop fields and credentials stay on their side, `X-Forwarded-*` is stated,
//! and lengths are exact.

mod answer;
mod fields;
mod request;

pub(crate) use answer::{downstream_response, state_length, translated_response, unstate_length};
pub(crate) use fields::{
    ANTHROPIC_VERSION, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO, X_REMUDA_ATTEMPTS,
    X_REMUDA_BACKEND, X_REMUDA_DROPPED, X_REMUDA_TRUNCATED, X_REQUEST_ID, speaks_anthropic,
};
pub(crate) use request::{Rewrite, provider_request, same_format, upstream_request};
