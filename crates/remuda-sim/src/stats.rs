//! What one simulated server has seen, for tests that ask.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::HeaderMap;
use serde::{Deserialize, Serialize};

use super::digest::sha256;
use super::fault::runs_a_model;

/// Counters of one server since its start or the last reset, and gauges of now.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Stats {
    pub port: u16,
    pub listening: bool,
    /// Requests by `METHOD path`; paths that Ollama does not have are `other`.
    pub requests: BTreeMap<String, u64>,
    /// Model requests that wait for a load or a slot now.
    pub waiting: u64,
    /// Model requests that read a prompt or write an answer now.
    pub active: u64,
    pub max_active: u64,
    /// Model requests whose answer was made to its end.
    pub completed: u64,
    /// Model requests that ended early: the client left, the connection was cut, or the server died.
    pub aborted: u64,
    /// Model requests that ended in an error line or status.
    pub failed: u64,
    /// Answer tokens made.
    pub tokens: u64,
    pub connections_open: u64,
    pub connections_accepted: u64,
    pub loads: u64,
    pub evictions: u64,
    pub unloads: u64,
    /// Loads that ended because the client left that caused them.
    pub abandoned_loads: u64,
    /// Loads that ended in an error.
    #[serde(default)]
    pub failed_loads: u64,
    /// Names of the models that are loaded now.
    pub loaded: Vec<String>,
    /// Faults that are not spent.
    pub faults: usize,
    pub last_request: Option<LastRequest>,
    /// The last one that was to run a model: nobody's look at what there is comes in between.
    pub last_inference: Option<LastRequest>,
}

/// The request that came last, control routes apart.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LastRequest {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names and values in the order they came in.
    pub headers: Vec<(String, String)>,
    pub body_bytes: u64,
    /// Hexadecimal SHA-256 of the body.
    pub body_sha256: String,
    /// The body, if it is text of at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Routes that are counted by themselves: providers have models in their paths.
const MAX_ROUTES: usize = 128;

/// The longest body that is shown as it came.
const MAX_SHOWN: usize = 64 << 10;

/// The live counters behind `Stats`.
#[derive(Default)]
pub(super) struct Counters {
    seen: Mutex<Seen>,
    waiting: AtomicU64,
    active: AtomicU64,
    max_active: AtomicU64,
    completed: AtomicU64,
    aborted: AtomicU64,
    failed: AtomicU64,
    pub(super) tokens: AtomicU64,
    connections_open: AtomicU64,
    connections_accepted: AtomicU64,
    numbered: AtomicU64,
}

#[derive(Default)]
struct Seen {
    requests: BTreeMap<String, u64>,
    last: Option<Arc<Last>>,
    last_inference: Option<Arc<Last>>,
}

struct Last {
    method: hyper::Method,
    target: hyper::Uri,
    headers: HeaderMap,
    body: bytes::Bytes,
}

impl Counters {
    /// Counts a request under `route` and keeps it as the last one.
    pub(super) fn saw(&self, route: String, head: hyper::http::request::Parts, body: bytes::Bytes) {
        let mut seen = self.seen();
        let crowded = seen.requests.len() >= MAX_ROUTES && !seen.requests.contains_key(&route);
        let route = if crowded { "other".to_owned() } else { route };
        *seen.requests.entry(route).or_default() += 1;
        let last = Arc::new(Last {
            method: head.method,
            target: head.uri,
            headers: head.headers,
            body,
        });
        if runs_a_model(last.target.path()) {
            seen.last_inference = Some(last.clone());
        }
        seen.last = Some(last);
    }

    /// The number of the request that comes now, from 1.
    pub(super) fn number(&self) -> u64 {
        self.numbered.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn connection(self: &Arc<Self>) -> Connection {
        self.connections_open.fetch_add(1, Ordering::Relaxed);
        self.connections_accepted.fetch_add(1, Ordering::Relaxed);
        Connection(self.clone())
    }

    /// Follows one model request from now on.
    pub(super) fn visit(self: &Arc<Self>) -> Visit {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Visit {
            counters: self.clone(),
            active: false,
            end: End::Aborted,
        }
    }

    /// Sets the counters to 0; gauges stay what they are.
    pub(super) fn reset(&self) {
        *self.seen() = Seen::default();
        self.max_active
            .store(self.active.load(Ordering::Relaxed), Ordering::Relaxed);
        for counter in [
            &self.completed,
            &self.aborted,
            &self.failed,
            &self.tokens,
            &self.connections_accepted,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// What the counters show; the caller adds what it knows of models and faults.
    pub(super) fn show(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seen = self.seen();
        Stats {
            requests: seen.requests.clone(),
            last_request: seen.last.as_deref().map(Last::show),
            last_inference: seen.last_inference.as_deref().map(Last::show),
            waiting: read(&self.waiting),
            active: read(&self.active),
            max_active: read(&self.max_active),
            completed: read(&self.completed),
            aborted: read(&self.aborted),
            failed: read(&self.failed),
            tokens: read(&self.tokens),
            connections_open: read(&self.connections_open),
            connections_accepted: read(&self.connections_accepted),
            ..Stats::default()
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn show(&self) -> LastRequest {
        let headers = self.headers.iter().map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        LastRequest {
            method: self.method.to_string(),
            target: self.target.to_string(),
            headers: headers.collect(),
            body_bytes: self.body.len() as u64,
            body_sha256: sha256(&self.body),
            body: (self.body.len() <= MAX_SHOWN)
                .then(|| String::from_utf8(self.body.to_vec()).ok())
                .flatten(),
        }
    }
}

/// An open connection, counted until it drops.
pub(super) struct Connection(Arc<Counters>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One model request, counted as waiting, then active, then by how it ended.
pub(super) struct Visit {
    counters: Arc<Counters>,
    active: bool,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    Failed,
    Aborted,
}

impl Visit {
    /// It has its slot.
    pub(super) fn begin(&mut self) {
        if !std::mem::replace(&mut self.active, true) {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            let active = self.counters.active.fetch_add(1, Ordering::Relaxed) + 1;
            self.counters
                .max_active
                .fetch_max(active, Ordering::Relaxed);
        }
    }

    /// How it counts when it drops; aborted, unless this says otherwise.
    pub(super) fn end(&mut self, end: End) {
        self.end = end;
    }

    pub(super) fn token(&self) {
        self.counters.tokens.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let gauge = if self.active {
            &self.counters.active
        } else {
            &self.counters.waiting
        };
        gauge.fetch_sub(1, Ordering::Relaxed);
        let counter = match self.end {
            End::Completed => &self.counters.completed,
            End::Failed => &self.counters.failed,
            End::Aborted => &self.counters.aborted,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_that_just_drops_was_aborted() {
        let counters = Arc::new(Counters::default());
        let mut visit = counters.visit();
        assert_eq!(counters.show().waiting, 1);
        visit.begin();
        let stats = counters.show();
        assert_eq!((stats.waiting, stats.active), (0, 1));
        drop(visit);
        let mut done = counters.visit();
        done.end(End::Completed);
        drop(done);
        let stats = counters.show();
        assert_eq!((stats.aborted, stats.completed, stats.active), (1, 1, 0));
        assert_eq!((stats.waiting, stats.max_active), (0, 1));
    }
}
