//! The bytes of all large request bodies together, which are bounded by `max_buffered`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::proxy::failure::Failure;

/// Bodies of up to this many bytes are not counted: as many of them fit as there are connections.
const SMALL: usize = 64 * 1024;

/// Of the budget the part up to which bodies are kept once their answers have begun.
const KEPT: usize = 4;

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
    share: Option<Share>,
}

impl Body {
    /// Makes a body of bytes that `share` counts.
    pub(super) fn counted(bytes: Bytes, share: Share) -> Self {
        Self {
            bytes,
            share: Some(share),
        }
    }

    /// Returns whether the body may be kept for as long as its answer lasts: it is small, or hardly any of the budget is used.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.share.as_ref().is_none_or(|share| {
            let used = share.budget.used.load(Ordering::Relaxed);
            share.bytes == 0 || used <= share.budget.max / KEPT
        })
    }

    /// Makes a body of bytes that are counted elsewhere.
    pub(crate) fn unshared(bytes: Bytes) -> Self {
        Self { bytes, share: None }
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
    fn a_body_is_kept_while_its_answer_lasts_where_hardly_any_of_the_budget_is_used() {
        let budget = BodyBudget::new(400 * 1024);
        let body = |length: usize| {
            let mut share = Share::none(&budget);
            share.grow(length).unwrap();
            Body::counted(Bytes::new(), share)
        };
        let (small, one) = (body(SMALL), body(SMALL + 1));
        assert!(small.may_be_kept() && one.may_be_kept());
        let other = body(100 * 1024);
        assert!(small.may_be_kept() && !one.may_be_kept() && !other.may_be_kept());
        assert!(Body::unshared(Bytes::new()).may_be_kept());
    }

    #[test]
    fn large_bodiesshare_a_budget_and_give_it_back() {
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
