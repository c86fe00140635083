//! What is kept about one request, grouped by lifetime: set once, replaced per attempt, the outcome.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::access::{ClientKey, Grant};
use crate::ids::{ModelId, ProviderId};
use crate::proxy::response_body::opening::Opening;
use crate::proxy::token_ratios::PromptLesson;
use crate::usage::{Account, Ledger, Usd};
use remuda_formats::client::Operation;
use remuda_formats::ir::Usage;

/// The context that Pingora carries through the phases of one request.
#[derive(Debug, Default)]
pub struct Ctx {
    pub inbound: Inbound,
    pub attempt: Attempt,
    pub outcome: Outcome,
    pub(crate) opening: Opening,
}

/// The request as its client made it; it is set once.
#[derive(Debug)]
pub struct Inbound {
    pub started: Instant,
    pub operation: Option<Operation>,
    /// The route as in the route table, for metrics and logs; never the client's text.
    pub route: &'static str,
    pub model: Option<ModelId>,
    pub streams: bool,
    pub request_id: HeaderValue,
    pub client: Option<IpAddr>,
    /// The origin whose pages may read the answer: the value of `Access-Control-Allow-Origin`.
    pub(crate) allow_origin: Option<HeaderValue>,
    /// The path with which the client wrote it, where another is served.
    pub(crate) written: Written,
    /// The name of the model that it asks for, as the client wrote it.
    pub asked: Option<Arc<str>>,
    /// The key that the request shows.
    pub key: Option<Arc<ClientKey>>,
    /// The share of that key's limits that the request holds while it is served.
    pub grant: Option<Grant>,
    /// The tag by which its cost is told apart.
    pub tag: Option<Arc<str>>,
    /// Tokens of the prompt, by an estimate that grows with the body; 0 until that has been read.
    pub prompt_tokens: u64,
    /// The accounts of what requests cost.
    pub(crate) ledger: Option<Arc<Ledger>>,
}

/// The path that a client wrote, where another one is served.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) path: Option<Box<str>>,
    /// Whether the path began with `server.base_path`.
    pub(crate) behind_base: bool,
}

/// The present attempt; it is replaced with every one.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// The number of the attempt, from 1; 0 before the first.
    pub number: u32,
    pub backend: Option<Arc<str>>,
    /// Position of the backend's provider in the configuration.
    pub provider: Option<ProviderId>,
    /// Whether the backend had to load the model.
    pub cold: bool,
    /// The listed model that it was asked for.
    pub model: Option<ModelId>,
    /// The backend's own name for the model, once an answer has begun.
    pub called: Option<Arc<str>>,
    /// The account that it is charged to.
    pub account: Option<Arc<Account>>,
    /// What its server's count of the prompt's tokens teaches, once an answer has begun.
    pub(crate) prompt: Option<PromptLesson>,
    /// When its first content was there.
    pub(crate) first_content: Option<Instant>,
    /// The backend has all of the request, and how that ended is not known.
    pub(crate) sent: Arc<AtomicBool>,
}

/// The outcome of a request, for the logging phase.
#[derive(Debug, Default)]
pub struct Outcome {
    /// HTTP status as the client saw it; 499 for a client that left, 0 until known.
    pub status: u16,
    /// How many bytes of the answer's body were sent.
    pub bytes: u64,
    pub waited: Duration,
    /// How often the answer broke off and went on elsewhere.
    pub(crate) resumed: u32,
    /// The moment when the first content was there.
    pub first_content: Option<Instant>,
    pub usage: Option<Usage>,
    /// About how many tokens of output have come, for when `usage` does not tell.
    pub output_so_far: u64,
    /// The answer came to its end.
    pub whole: bool,
    /// Its server has said all of it, whether or not the client got that.
    pub(crate) said: bool,
    /// The gateway ended it, at a stop string, before its provider told all that it used.
    pub stopped: bool,
    /// Tokens in and out of attempts whose answers did not reach the client.
    pub(crate) lost: (u64, u64),
    /// The request is accounted, and its key's limits know of it.
    pub(crate) settled: bool,
    /// The cost of the request, if that is known.
    pub cost: Option<Usd>,
    /// Content lines or events that were streamed.
    pub content_lines: u64,
    /// The answer broke after its first content.
    pub broken: bool,
    /// The answer broke with an error about the request, which says nothing of the backend.
    pub blameless: bool,
    /// It was the gateway that broke the answer.
    pub cut: bool,
    /// The failure's code, for the access log.
    pub code: Option<&'static str>,
    /// Whether a series is recorded: false for a connection that never sent a request.
    pub counted: bool,
}

impl Default for Inbound {
    fn default() -> Self {
        Inbound {
            started: Instant::now(),
            operation: None,
            route: "other",
            model: None,
            streams: false,
            request_id: HeaderValue::from_static("-"),
            client: None,
            allow_origin: None,
            written: Written::default(),
            asked: None,
            key: None,
            grant: None,
            tag: None,
            prompt_tokens: 0,
            ledger: None,
        }
    }
}

impl Ctx {
    /// Makes the context tell of an earlier attempt, as the later ones have come to nothing.
    pub(crate) fn restore(&mut self, attempt: Attempt) {
        let number = self.attempt.number;
        self.attempt = Attempt { number, ..attempt };
    }
}

impl Outcome {
    /// Takes that an answer which broke off goes on elsewhere.
    pub(crate) fn goes_on(&mut self) {
        self.resumed += 1;
        self.broken = false;
        self.cut = false;
        self.blameless = false;
        self.code = None;
    }
}

impl Inbound {
    /// Returns a copy of what the request to a backend is written from, for whoever writes that elsewhere.
    pub(crate) fn of_order(&self) -> Inbound {
        Inbound {
            started: self.started,
            operation: self.operation,
            request_id: self.request_id.clone(),
            client: self.client,
            key: self.key.clone(),
            ..Inbound::default()
        }
    }
}

/// A request that ends in a panic, or with the process, is accounted as one whose client has left.
impl Drop for Ctx {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Notes that the backend of an attempt has all of the request.
pub(crate) struct Sending {
    pub(crate) attempt: Arc<AtomicBool>,
    pub(crate) grant: Option<Arc<AtomicBool>>,
}

impl Sending {
    pub(crate) fn done(&self) {
        self.attempt.store(true, Ordering::Relaxed);
        if let Some(grant) = &self.grant {
            grant.store(true, Ordering::Relaxed);
        }
    }
}
