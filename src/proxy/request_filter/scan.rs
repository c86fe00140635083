//! What a request asks for: operation, model, streaming, priority; and whether it may ask.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, header};
use percent_encoding::percent_decode_str;
use pingora::proxy::Session;
use prometheus::IntGauge;

use crate::access;
use crate::dialect::ollama::{self, ErrorStyle, Miss, Operation, RequestFacts};
use crate::proxy::Gateway;
use crate::proxy::ctx::Ctx;
use crate::proxy::failure::told::{Failure, Stop};
use crate::proxy::heads;
use crate::proxy::listener::gate as listener;
use crate::proxy::request_filter::body::{self, Body, BodyBounds};
use crate::proxy::response_body::client::Framing;

/// Characters of a client's `X-Request-Id` at most.
const MAX_REQUEST_ID: usize = 128;

/// Bytes of a model's name at most. An ARN of Bedrock's has 2,048; before it stands a provider, behind it a tag.
const MAX_MODEL_NAME: usize = 2304;

/// Raises a gauge for as long as it lives.
pub(crate) struct GaugeGuard<'a>(&'a IntGauge);

impl<'a> GaugeGuard<'a> {
    pub(crate) fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Holds the head of a request by HTTP/1 to its bound. The listener ends one that does not come to an end, but counts
/// what it reads at once, which is more than a small head and may be less than all of a large one.
///
/// # Errors
/// 431.
pub(crate) fn head_fits(session: &Session, max: usize) -> Result<(), Failure> {
    let http1 = session.downstream_session.as_http1();
    match http1.is_some_and(|http1| http1.get_headers_raw_bytes().len() > max) {
        true => {
            let text = "request head too large; the limit is the setting server.max_header";
            Err(Failure::new(431, "head_too_large", text).closing())
        }
        false => Ok(()),
    }
}

/// Makes request ids: unique in the process, unlikely to repeat in others.
pub(crate) struct RequestIds {
    prefix: u64,
    next: AtomicU32,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self {
            prefix: rand::random(),
            next: AtomicU32::new(0),
        }
    }

    /// For ids within answers that the gateway writes itself.
    pub(crate) fn answer(&self) -> Arc<str> {
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
pub(crate) fn framing(session: &Session) -> Framing {
    let head = session.req_header();
    Framing {
        version: head.version,
        method: head.method.clone(),
    }
}

/// Fills in who asks, under which id.
pub(crate) fn identify(gateway: &Gateway, session: &Session, ctx: &mut Ctx) {
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
pub(crate) fn operation(session: &Session) -> Result<Operation, Miss> {
    let head = session.req_header();
    ollama::route(&head.method, head.uri.path())
}

/// `X-Priority: high|normal|low`, or a number where higher goes first.
///
/// # Errors
/// 400 for anything else.
pub(crate) fn priority(session: &Session) -> Result<Option<i32>, Failure> {
    let Some(value) = session.req_header().headers.get("x-priority") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    match text {
        _ if text.eq_ignore_ascii_case("high") => Ok(Some(access::HIGH)),
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
    pub(crate) async fn read_body(&self, session: &mut Session) -> Result<Body, Stop> {
        let bounds = BodyBounds {
            max: self.settings.server.max_body,
            pause: self.settings.server.body_timeout,
            time: self.settings.server.max_body_time,
            rate: self.settings.server.min_body_rate,
        };
        body::read(&mut session.downstream_session, bounds, &self.bodies).await
    }

    /// Refuses a streamed answer, or turns an absent `stream` into `false`, where the operator
    /// said so. Returns the body that goes upstream.
    pub(crate) fn apply_streaming_rule(
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

/// That a model's name is no longer than one can be and can be printed: it is compared with patterns, and kept in the
/// accounts.
///
/// # Errors
/// 400.
pub(crate) fn printable(model: &str) -> Result<(), Failure> {
    match model.len() <= MAX_MODEL_NAME && !model.contains(char::is_control) {
        true => Ok(()),
        false => Err(Failure::bad_request(ollama::INVALID_MODEL_NAME)),
    }
}

/// That a body says the same to whoever reads it, and names a model that could be one.
///
/// What is decided here (which model, whether it streams) is what a key may use and is charged, so it must be what the
/// provider finds in the same bytes.
///
/// # Errors
/// 400.
pub(crate) fn unambiguous(
    session: &Session,
    operation: Operation,
    facts: &RequestFacts<'_>,
    body: &[u8],
) -> Result<(), Failure> {
    printable(&facts.model)?;
    // Ollama's own API is read here as Ollama reads it.
    if let Some(field) = facts.ambiguous
        && ErrorStyle::of(operation) != ErrorStyle::Ollama
    {
        let text = format!("the body states {field} more than once; state it once");
        return Err(Failure {
            param: Some(field.into()),
            ..Failure::bad_request(text)
        });
    }
    let is_form = ollama::is_form(operation, body);
    if is_form
        && let Some(boundary) = ollama::form_boundary(body)
        && stated_boundary(session) != Some(boundary)
    {
        let text = "the form does not begin with the boundary that Content-Type names";
        return Err(Failure::bad_request(text));
    }
    if !is_form && says_form(session) {
        let text = "Content-Type says that the body is a form, and it is JSON";
        return Err(Failure::bad_request(text));
    }
    Ok(())
}

/// Whether a field says that the body is a form.
fn says_form(session: &Session) -> bool {
    const FORM: &[u8] = b"multipart/";
    let fields = &session.req_header().headers;
    fields.get_all(header::CONTENT_TYPE).iter().any(|kind| {
        let start = kind.as_bytes().trim_ascii_start().get(..FORM.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(FORM))
    })
}

/// The parameter of `Content-Type` (RFC 2046 section 5.1.1), if all readers find the same.
fn stated_boundary(session: &Session) -> Option<&[u8]> {
    let mut fields = session
        .req_header()
        .headers
        .get_all(header::CONTENT_TYPE)
        .iter();
    let (Some(kind), None) = (fields.next(), fields.next()) else {
        return None;
    };
    // Some read what RFC 2231 has besides, `boundary*` and `boundary*0`.
    let starts = |parameter: &&str| {
        let start = parameter.trim().get(.."boundary".len());
        start.is_some_and(|start| start.eq_ignore_ascii_case("boundary"))
    };
    let mut boundaries = kind.to_str().ok()?.split(';').filter(starts);
    let (Some(parameter), None) = (boundaries.next(), boundaries.next()) else {
        return None;
    };
    let (name, value) = parameter.trim().split_once('=')?;
    let bare = value
        .strip_prefix('"')
        .map_or(Some(value), |value| value.strip_suffix('"'))?;
    (name.len() == "boundary".len() && ollama::is_plain_boundary(bare.as_bytes()))
        .then_some(bare.as_bytes())
}

/// The model that the request names, or the path of `/v1/models/:model`.
pub(crate) fn model_of<'a>(
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
