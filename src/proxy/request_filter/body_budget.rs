//! The bytes of all large request bodies together, which are bounded by `max_buffered`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::proxy::failure::Failure;

/// Bodies of up to this many bytes are not counted: as many of them fit as there are connections.
const SMALL: usize = 64 * 1024;

/// Holds all large bodies together to a number of bytes.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    used: AtomicUsize,
    max: usize,
}

impl BodyBudget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max,
        })
    }

    /// Returns how many bytes are held.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }
}

/// A body's share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl Share {
    pub(super) fn none(budget: &Arc<BodyBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// Makes room for a body of `length` bytes.
    ///
    /// # Errors
    /// 503 when all bodies together are too large.
    pub(super) fn grow(&mut self, length: usize) -> Result<(), Failure> {
        if length <= SMALL || length <= self.bytes {
            return Ok(());
        }
        let more = length - self.bytes;
        let used = self.budget.used.fetch_add(more, Ordering::AcqRel) + more;
        self.bytes = length;
        if used > self.budget.max {
            let text = "too many large request bodies at once; the limit is the setting server.max_buffered";
            return Err(Failure::new(503, "bodies_too_large", text)
                .retry_after(1)
                .closing());
        }
        Ok(())
    }

    /// Gives back what a body of `length` bytes does not need.
    pub(super) fn shrink(&mut self, length: usize) {
        let less = self.bytes.saturating_sub(length);
        self.budget.used.fetch_sub(less, Ordering::AcqRel);
        self.bytes -= less;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A request's body, counted against the budget while it is held.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    _share: Option<Share>,
}

impl Body {
    /// Makes a body of bytes that `share` counts.
    pub(super) fn counted(bytes: Bytes, share: Share) -> Self {
        Self {
            bytes,
            _share: Some(share),
        }
    }

    /// Makes a body of bytes that are counted elsewhere.
    pub(crate) fn unshared(bytes: Bytes) -> Self {
        Self {
            bytes,
            _share: None,
        }
    }

    /// Exchanges the bytes for others of about the same length.
    pub(crate) fn with(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_a_budget_and_give_it_back() {
        let budget = BodyBudget::new(300 * 1024);
        let mut first = Share::none(&budget);
        let mut second = Share::none(&budget);
        first.grow(200 * 1024).unwrap();
        assert_eq!(second.grow(200 * 1024).unwrap_err().status, 503);
        drop(second);
        let mut small = Share::none(&budget);
        small.grow(SMALL).unwrap();
        assert_eq!(budget.used(), 200 * 1024);
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
