//! Responses and refusals in Ollama's shapes, with JSON escaped as Go escapes it.

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::Body;

pub(super) type Reply = Response<Body>;

/// A request that is answered by an error: `{"error":"text"}` or OpenAI's shape.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// It came when the head of a stream was about to be written.
    in_stream: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            in_stream: false,
        }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn internal(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// A 400 that the runner of the model gave, whose JSON the server passes on as its text.
    pub(super) fn of_runner(said: &impl Serialize) -> Self {
        let text = serde_json::to_string(said).expect("what runners say has string keys");
        Self::bad(text)
    }

    /// Says that a stream was about to begin, if one `streams`.
    pub(super) fn before_stream(mut self, streams: bool) -> Self {
        self.in_stream = streams;
        self
    }

    pub(super) fn reply(&self) -> Reply {
        let line = ErrorLine { error: &self.text };
        if self.in_stream {
            let bytes = go_json(&line);
            // No receiver, no client: there is nobody to tell.
            let body = Body::flow(|lines| async move { drop(lines.send(bytes.into()).await) });
            return with_type(self.status, "application/json", body);
        }
        json(self.status, &line)
    }
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: &'a str,
}

/// `{"error":"text"}` and a newline, for streams that have begun.
pub(super) fn error_line(text: &str) -> Vec<u8> {
    line(&ErrorLine { error: text })
}

/// JSON as Go writes it.
pub(super) fn go_json(value: &impl Serialize) -> Vec<u8> {
    let plain = serde_json::to_vec(value).expect("replies have string keys and finite numbers");
    escape(plain)
}

/// JSON as Go writes it, and a newline.
pub(super) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = go_json(value);
    bytes.push(b'\n');
    bytes
}

/// `<`, `>` and `&` occur only within strings, so their bytes can be replaced anywhere.
fn escape(plain: Vec<u8>) -> Vec<u8> {
    if memchr::memchr3(b'<', b'>', b'&', &plain).is_none() {
        return plain;
    }
    let mut escaped = Vec::with_capacity(plain.len() + 32);
    for byte in plain {
        match byte {
            b'<' => escaped.extend_from_slice(br"\u003c"),
            b'>' => escaped.extend_from_slice(br"\u003e"),
            b'&' => escaped.extend_from_slice(br"\u0026"),
            other => escaped.push(other),
        }
    }
    escaped
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    with_type(
        status,
        "application/json; charset=utf-8",
        Body::whole(go_json(value)),
    )
}

pub(super) fn ok(value: &impl Serialize) -> Reply {
    json(StatusCode::OK, value)
}

/// A whole answer of the routes under `/v1`, which end in a newline and tell no charset.
pub(super) fn v1(status: StatusCode, value: &impl Serialize) -> Reply {
    with_type(status, "application/json", Body::whole(line(value)))
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Reply {
    with_type(status, "text/plain", Body::whole(text))
}

pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// 405 with the methods that there are.
pub(super) fn method_not_allowed(allow: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed");
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    reply
}

pub(super) fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// Now, as `created_at` has it: UTC, the fraction without zeros at its end.
pub(super) fn created_at() -> String {
    let now = chrono::Utc::now();
    trimmed(&now.format("%Y-%m-%dT%H:%M:%S%.9f").to_string()) + "Z"
}

/// A time as `modified_at` and `expires_at` have it: with the local offset.
pub(super) fn local_time(time: chrono::DateTime<chrono::Local>) -> String {
    let offset = match time.offset().local_minus_utc() {
        0 => "Z".to_owned(),
        _ => time.format("%:z").to_string(),
    };
    trimmed(&time.format("%Y-%m-%dT%H:%M:%S%.9f").to_string()) + &offset
}

fn trimmed(time: &str) -> String {
    time.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_escapes_markup() {
        assert_eq!(
            error_line("a <b> & c"),
            b"{\"error\":\"a \\u003cb\\u003e \\u0026 c\"}\n"
        );
    }

    #[test]
    fn fractions_are_trimmed() {
        assert_eq!(
            trimmed("2026-01-02T03:04:05.100000000"),
            "2026-01-02T03:04:05.1"
        );
        assert_eq!(
            trimmed("2026-01-02T03:04:10.000000000"),
            "2026-01-02T03:04:10"
        );
        assert!(created_at().ends_with('Z'));
    }
}
