//! What a request asks for: operation, model, streaming, priority; and whether it may ask.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use pingora::proxy::Session;
use prometheus::IntGauge;

use super::Gateway;
use super::body::{self, Body, BodyBounds};
use super::client::Framing;
use super::ctx::Ctx;
use super::failure::{Failure, Stop};
use super::heads;
use super::listener;
use crate::dialect::ollama::{self, Miss, Operation, RequestFacts};

/// Characters of a client's `X-Request-Id` at most.
const MAX_REQUEST_ID: usize = 128;

/// Raises a gauge for as long as it lives.
pub(super) struct GaugeGuard<'a>(&'a IntGauge);

impl<'a> GaugeGuard<'a> {
    pub(super) fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Makes request ids: unique in the process, unlikely to repeat in others.
pub(super) struct RequestIds {
    prefix: u64,
    next: AtomicU32,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        Self {
            prefix: rand::random(),
            next: AtomicU32::new(0),
        }
    }

    /// For ids within answers that the gateway writes itself.
    pub(super) fn answer(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{number:08x}", self.prefix).into()
    }

    fn make(&self) -> HeaderValue {
        let mut id = String::with_capacity(24);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let _ = write!(id, "{:016x}{number:08x}", self.prefix);
        HeaderValue::try_from(id).expect("hexadecimal digits are a field value")
    }
}

/// How the client's answer must be framed.
pub(super) fn framing(session: &Session) -> Framing {
    let head = session.req_header();
    Framing {
        version: head.version,
        method: head.method.clone(),
    }
}

/// Fills in who asks, under which id.
pub(super) fn identify(gateway: &Gateway, session: &Session, ctx: &mut Ctx) {
    ctx.inbound.started = Instant::now();
    ctx.outcome.counted = true;
    ctx.inbound.client = listener::client_address(session.client_addr());
    ctx.inbound.request_id = session
        .req_header()
        .headers
        .get(heads::X_REQUEST_ID)
        .filter(|id| {
            (1..=MAX_REQUEST_ID).contains(&id.len())
                && id.as_bytes().iter().all(u8::is_ascii_graphic)
        })
        .cloned()
        .unwrap_or_else(|| gateway.request_ids.make());
}

/// The operation that the path and method name.
///
/// # Errors
/// 404 and 405 in Ollama's words.
pub(super) fn operation(session: &Session) -> Result<Operation, Failure> {
    let head = session.req_header();
    let path = head.uri.path();
    ollama::route(&head.method, path).map_err(|miss| match miss {
        Miss::NotFound => Failure::new(
            404,
            "not_found",
            format!("Endpoint not found: {}", shown(path)),
        ),
        Miss::MethodNotAllowed { allow } => Failure {
            allow: Some(allow),
            ..Failure::new(
                405,
                "method_not_allowed",
                format!("Method {} not allowed for {}", head.method, shown(path)),
            )
        },
    })
}

/// A path as an error may repeat it.
pub(super) fn shown(path: &str) -> &str {
    let end = path
        .char_indices()
        .nth(200)
        .map_or(path.len(), |(index, _)| index);
    &path[..end]
}

/// `X-Priority: high|normal|low`, or a number where higher goes first.
///
/// # Errors
/// 400 for anything else.
pub(super) fn priority(session: &Session) -> Result<Option<i32>, Failure> {
    let Some(value) = session.req_header().headers.get("x-priority") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    match text {
        _ if text.eq_ignore_ascii_case("high") => Ok(Some(10)),
        _ if text.eq_ignore_ascii_case("normal") => Ok(Some(0)),
        _ if text.eq_ignore_ascii_case("low") => Ok(Some(-10)),
        _ => text.parse().map(Some).map_err(|_| {
            Failure::bad_request(
                "X-Priority must be high, normal, low, or a whole number (higher goes first)",
            )
        }),
    }
}

impl Gateway {
    /// Reads the body within the configured bounds.
    pub(super) async fn read_body(&self, session: &mut Session) -> Result<Body, Stop> {
        let bounds = BodyBounds {
            max: self.settings.server.max_body,
            pause: self.settings.server.body_timeout,
        };
        body::read(&mut session.downstream_session, bounds, &self.bodies).await
    }

    /// Refuses a streamed answer, or turns an absent `stream` into `false`, where the operator
    /// said so. Returns the body that goes upstream.
    pub(super) fn apply_streaming_rule(
        &self,
        operation: Operation,
        facts: &RequestFacts<'_>,
        body: &Bytes,
    ) -> Result<Option<Bytes>, Failure> {
        if !self.settings.server.reject_streaming || !operation.is_inference() {
            return Ok(None);
        }
        match facts.stream {
            Some(true) => Err(Failure::streaming_refused()),
            Some(false) => Ok(None),
            None if operation.streams_by_default() => {
                Ok(Some(ollama::set_stream(body, facts, false)))
            }
            None => Ok(None),
        }
    }
}

/// The model that the request names, or the path of `/v1/models/:model`.
pub(super) fn model_of<'a>(
    operation: Operation,
    path: &'a str,
    facts: &'a RequestFacts<'a>,
) -> Cow<'a, str> {
    match operation {
        // Clients write a slash in a name as %2F.
        Operation::OpenAiModel => {
            percent_decode_str(operation.argument(path).unwrap_or_default()).decode_utf8_lossy()
        }
        _ => Cow::Borrowed(&facts.model),
    }
}
