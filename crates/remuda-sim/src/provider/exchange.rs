//! What a provider is asked and what it says: requests as they came, replies as they will be sent.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::super::chance::{self, Dice};
use super::super::percent::decoded;

/// One request, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// As it came, percent-encoded.
    pub(crate) path: String,
    /// As it came, without the question mark.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Counted by the server from 1: what makes ids differ.
    pub(crate) number: u64,
    /// Unix time in seconds.
    pub(crate) now: i64,
}

impl Request {
    /// Returns a header's value; empty if it is missing or not text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Returns the token of `Authorization: Bearer …`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization").split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    }

    /// Returns a parameter of the query, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| decoded(&value.replace('+', " ")))
        })
    }

    /// Returns the path, decoded.
    pub(crate) fn decoded_path(&self) -> String {
        decoded(&self.path)
    }

    /// Returns an id that is this request's own: `prefix` and `length` characters of `[A-Za-z0-9]`, by `part` of the
    /// answer.
    pub(crate) fn id(&self, prefix: &str, part: u64, length: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let seed = chance::hash(self.number, prefix.as_bytes());
        let mut dice = Dice::new(seed ^ part.rotate_left(32));
        prefix.to_owned() + &dice.text(ALPHABET, length)
    }
}

/// What a provider answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content: Content,
    /// What the model had to do for it; `None` where no model was asked.
    pub(crate) work: Option<Work>,
}

/// A body that is sent at once, or in pieces as the model makes them.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Whole(Bytes),
    Stream(Vec<Piece>),
}

/// How much a model had to read and to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) prompt_tokens: u64,
    /// For a whole answer; in a stream the pieces count.
    pub(crate) answer_tokens: u64,
}

/// One write of a streamed answer: mostly one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// Tokens that it carries, which take their time before it is sent; 0 is sent at once.
    pub(crate) tokens: u64,
}

/// A failure that was asked for, in no provider's shape yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Of the response; for a stream that has begun, the status that the error would have had.
    pub(crate) status: u16,
    pub(crate) message: Option<String>,
    /// The provider's own word for it.
    pub(crate) code: Option<String>,
    pub(crate) retry_after: Option<String>,
}

impl Reply {
    /// Returns a whole JSON body.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::whole(status, "application/json", value.to_string())
    }

    pub(crate) fn whole(status: u16, kind: &str, body: impl Into<Bytes>) -> Self {
        Self::new(status, kind, Content::Whole(body.into()))
    }

    /// Returns a streamed 200 of `kind`.
    pub(crate) fn stream(kind: &str, pieces: Vec<Piece>) -> Self {
        Self::new(200, kind, Content::Stream(pieces))
    }

    fn new(status: u16, kind: &str, content: Content) -> Self {
        let reply = Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: HeaderMap::new(),
            content,
            work: None,
        };
        reply.with(CONTENT_TYPE.as_str(), kind)
    }

    /// Returns the same reply with a header; one that cannot be written is left out.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Returns the same reply, for which a model had to work.
    pub(crate) fn after(mut self, prompt_tokens: u64, answer_tokens: u64) -> Self {
        self.work = Some(Work {
            prompt_tokens,
            answer_tokens,
        });
        self
    }
}

impl Piece {
    pub(crate) fn new(bytes: impl Into<Bytes>, tokens: u64) -> Self {
        Self {
            bytes: bytes.into(),
            tokens,
        }
    }

    /// `data: {json}` and a blank line.
    pub(crate) fn data(value: &Value, tokens: u64) -> Self {
        Self::new(format!("data: {value}\n\n"), tokens)
    }

    /// `event: name`, `data: {json}` and a blank line.
    pub(crate) fn event(name: &str, value: &Value, tokens: u64) -> Self {
        Self::new(format!("event: {name}\ndata: {value}\n\n"), tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Request {
        Request {
            method: Method::GET,
            path: "/a%20b".into(),
            query: query.into(),
            headers: HeaderMap::from_iter([(
                hyper::header::AUTHORIZATION,
                HeaderValue::from_static("bearer  key"),
            )]),
            body: Bytes::new(),
            number: 1,
            now: 0,
        }
    }

    #[test]
    fn a_request_is_read_decoded() {
        let request = request("alt=sse&key=a%2Bb+c&flag");
        assert_eq!(request.parameter("alt").as_deref(), Some("sse"));
        assert_eq!(request.parameter("key").as_deref(), Some("a+b c"));
        assert_eq!(request.parameter("flag").as_deref(), Some(""));
        assert_eq!(request.parameter("al"), None);
        assert_eq!(request.bearer(), Some("key"));
        assert_eq!(request.decoded_path(), "/a b");
    }

    #[test]
    fn ids_differ_by_request_and_part() {
        let (one, mut two) = (request(""), request(""));
        two.number = 2;
        assert_eq!(one.id("call_", 0, 24).len(), 29);
        assert_eq!(one.id("call_", 0, 24), one.id("call_", 0, 24));
        assert_ne!(one.id("call_", 0, 24), one.id("call_", 1, 24));
        assert_ne!(one.id("call_", 0, 24), two.id("call_", 0, 24));
    }
}
