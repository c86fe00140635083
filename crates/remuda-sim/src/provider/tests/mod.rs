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

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};

use super::exchange::{Content, Reply, Request};
use super::harness::{data, failed, headers, joined, request, text, value, with};
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
        Self {
            provider: Setup::new(dialect).build(&machine).unwrap(),
            headers: headers(&[(header, value)]),
            number: AtomicU64::new(0),
        }
    }

    fn request(&self, method: Method, target: &str, body: &Value) -> Request {
        Request {
            number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
            ..request(method, target, self.headers.clone(), body.to_string())
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

/// A function of chat completions that takes a city and a number of days.
fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}})
}

/// A request of one user turn.
fn saying(model: &str, content: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": content}]})
}
