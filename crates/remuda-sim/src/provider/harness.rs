//! What the tests of every provider stand on: worlds, requests as clients send them, and answers read back.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use serde_json::Value;

use super::exchange::{Content, Failed, Reply, Request};
use super::{Dialect, Setup, World};

/// The first bytes of a PNG and of a JPEG, which is as far as anybody looks.
pub(super) const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";
pub(super) const JPEG: &str = "/9j/4AAQSkZJRg==";

/// Unix time of every request.
const NOW: i64 = 1_790_000_000;

/// Returns a world in which answers have three tokens.
pub(super) fn world<'a>(dialect: Dialect, models: impl IntoIterator<Item = &'a str>) -> World {
    let mut setup = Setup::new(dialect);
    setup.models = models.into_iter().map(String::from).collect();
    World {
        setup,
        answer_tokens: 3..=3,
        seed: 0,
    }
}

pub(super) fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

/// Returns a request for a path that may have a query, with the body as it is.
pub(super) fn request(
    method: Method,
    target: &str,
    headers: HeaderMap,
    body: impl Into<Vec<u8>>,
) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method,
        path: path.into(),
        query: query.into(),
        headers,
        body: body.into().into(),
        number: 7,
        now: NOW,
    }
}

/// Returns the body of an answer, streamed or whole.
pub(super) fn bytes(reply: &Reply) -> Vec<u8> {
    match &reply.content {
        Content::Whole(bytes) => bytes.to_vec(),
        Content::Stream(pieces) => {
            let pieces = pieces.iter();
            pieces.flat_map(|piece| piece.bytes.to_vec()).collect()
        }
    }
}

pub(super) fn text(reply: &Reply) -> String {
    String::from_utf8(bytes(reply)).unwrap()
}

pub(super) fn value(reply: &Reply) -> Value {
    serde_json::from_slice(&bytes(reply)).unwrap()
}

/// Returns the JSON of every `data:` line but `[DONE]`.
pub(super) fn data(stream: &str) -> Vec<Value> {
    let lines = stream.lines();
    let data = lines.filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// Returns all strings at `pointer` in the events, joined.
pub(super) fn joined(events: &[Value], pointer: &str) -> String {
    let text = |event: &'_ Value| Some(event.pointer(pointer)?.as_str()?.to_owned());
    events.iter().filter_map(text).collect()
}

/// Returns `value` with other fields in it.
pub(super) fn with(value: &Value, fields: Value) -> Value {
    let mut value = value.clone();
    for (name, field) in fields.as_object().unwrap() {
        value[name] = field.clone();
    }
    value
}

/// Returns a fault of that status, and of that code if there is one.
pub(super) fn failed(status: u16, code: Option<&str>) -> Failed {
    Failed {
        status,
        message: None,
        code: code.map(str::to_owned),
        retry_after: None,
    }
}
