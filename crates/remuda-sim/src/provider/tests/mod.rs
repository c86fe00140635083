//! The providers, asked as a client asks them: those of OpenAI's family, and what connections do to the others.

mod azure;
mod faults;
mod formats;
mod openai;
mod openrouter;
mod perplexity;
mod responses;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use super::exchange::{Content, Failed, Reply, Request};
use super::{Dialect, Provider, Setup};
use crate::Machine;

/// A provider with its usual models, and what a client sends along.
struct Client {
    provider: Arc<dyn Provider>,
    headers: HeaderMap,
    number: AtomicU64,
}

impl Client {
    fn new(dialect: Dialect, header: &'static str, value: &'static str) -> Self {
        let machine = Machine {
            answer_tokens: 3..=3,
            ..Machine::instant()
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static(header),
            HeaderValue::from_static(value),
        );
        Self {
            provider: Setup::new(dialect).build(&machine).unwrap(),
            headers,
            number: AtomicU64::new(0),
        }
    }

    fn request(&self, method: Method, target: &str, body: &Value) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request {
            method,
            path: path.into(),
            query: query.into(),
            headers: self.headers.clone(),
            body: body.to_string().into(),
            number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
            now: 1_790_000_000,
        }
    }

    fn get(&self, target: &str) -> Reply {
        self.provider
            .answer(&self.request(Method::GET, target, &Value::Null))
    }

    fn post(&self, target: &str, body: &Value) -> Reply {
        self.provider
            .answer(&self.request(Method::POST, target, body))
    }

    /// A whole answer, which must be a 200.
    fn whole(&self, target: &str, body: &Value) -> Value {
        let reply = self.post(target, body);
        let value = value(&reply);
        assert_eq!(reply.status, 200, "{value}");
        value
    }

    /// The status and the error of a refusal.
    fn refused(&self, target: &str, body: &Value) -> (u16, Value) {
        let reply = self.post(target, body);
        let value = value(&reply);
        assert!(reply.status.as_u16() >= 400, "{value}");
        (reply.status.as_u16(), value["error"].clone())
    }

    /// The text of a stream, which must be a 200.
    fn stream(&self, target: &str, body: &Value) -> String {
        let reply = self.post(target, body);
        assert_eq!(reply.status, 200, "{:?}", text(&reply));
        assert!(matches!(reply.content, Content::Stream(_)));
        text(&reply)
    }
}

fn text(reply: &Reply) -> String {
    let bytes = match &reply.content {
        Content::Whole(bytes) => bytes.to_vec(),
        Content::Stream(pieces) => pieces
            .iter()
            .flat_map(|piece| piece.bytes.to_vec())
            .collect(),
    };
    String::from_utf8(bytes).unwrap()
}

fn value(reply: &Reply) -> Value {
    serde_json::from_str(&text(reply)).unwrap()
}

/// The JSON of every `data:` line but `[DONE]`.
fn data(stream: &str) -> Vec<Value> {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// All strings at `pointer` in the events, joined.
fn joined(events: &[Value], pointer: &str) -> String {
    events
        .iter()
        .filter_map(|event| event.pointer(pointer)?.as_str())
        .collect()
}

fn failed(status: u16, code: Option<&str>) -> Failed {
    Failed {
        status,
        message: None,
        code: code.map(str::to_owned),
        retry_after: None,
    }
}

/// A function of chat completions that takes a city and a number of days.
fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}})
}

/// A request of one user turn.
fn saying(model: &str, content: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": content}]})
}

/// `value` with other fields in it.
fn with(value: &Value, fields: Value) -> Value {
    let mut value = value.clone();
    for (name, field) in fields.as_object().unwrap() {
        value[name] = field.clone();
    }
    value
}
