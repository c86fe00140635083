//! Ids of requests and answers: unique in the process, unlikely to repeat in others.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderValue;

/// Makes ids.
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

    /// Makes an id for an answer that the gateway writes itself.
    pub(crate) fn answer(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{number:08x}", self.prefix).into()
    }

    /// Makes an id for a request that came without one.
    pub(crate) fn make(&self) -> HeaderValue {
        let mut id = String::with_capacity(24);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let _ = write!(id, "{:016x}{number:08x}", self.prefix);
        HeaderValue::try_from(id).expect("hexadecimal digits are a field value")
    }
}
