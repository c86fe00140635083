//! How much of answers may wait for clients to read it: on one connection, and on all together. Whoever answers takes a
//! share before it writes, and the share is free again when the bytes are gone, on their way or with their stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes of one connection that may wait before it gets no more.
const OF_ONE: usize = 4 << 20;

/// Of either bound the part that may be taken by what is read of an answer before its client takes it: so nobody is cut off
/// because a server is quick.
const AHEAD: usize = 4;

/// What waits on all connections.
#[derive(Debug)]
pub struct Unsent {
    waiting: AtomicUsize,
    max: usize,
}

/// What waits on one connection.
#[derive(Debug)]
pub(crate) struct Line {
    all: Arc<Unsent>,
    waiting: AtomicUsize,
}

/// So many bytes wait, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    line: Arc<Line>,
    bytes: usize,
}

/// Nothing more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuchUnsent;

impl Unsent {
    pub fn new(max: usize) -> Arc<Unsent> {
        Arc::new(Unsent {
            waiting: AtomicUsize::new(0),
            max,
        })
    }

    /// Returns whether so much waits that whoever does not read has to go.
    pub(crate) fn is_pressed(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= self.max / 2
    }
}

impl Line {
    pub(crate) fn new(all: &Arc<Unsent>) -> Arc<Line> {
        Arc::new(Line {
            all: Arc::clone(all),
            waiting: AtomicUsize::new(0),
        })
    }

    pub(crate) fn is_pressed(&self) -> bool {
        self.all.is_pressed()
    }

    /// Returns whether nothing more may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= OF_ONE
            || self.all.waiting.load(Ordering::Relaxed) >= self.all.max
    }

    /// Returns whether an answer may be read on although its client does not take it yet.
    pub(crate) fn has_room_ahead(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < OF_ONE / AHEAD
            && self.all.waiting.load(Ordering::Relaxed) < self.all.max / AHEAD
    }

    /// Returns a share of no bytes.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share {
            line: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Takes a share, of any size as long as the bound is not reached: an answer that is larger than it is sent too.
    ///
    /// # Errors
    /// [`TooMuchUnsent`] if the bound is reached.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Share, TooMuchUnsent> {
        let share = Share {
            line: Arc::clone(self),
            bytes,
        };
        let here = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let all = self.all.waiting.fetch_add(bytes, Ordering::Relaxed);
        if here >= OF_ONE || all >= self.all.max {
            Err(TooMuchUnsent)
        } else {
            Ok(share)
        }
    }
}

impl Share {
    /// Adds bytes to those that wait.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.line.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.line.all.waiting.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.line.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
        self.line
            .all
            .waiting
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Returns the bytes, which count as waiting until the last of them is dropped, wherever they are by then.
pub(crate) fn counted(bytes: Bytes, share: Share) -> Bytes {
    struct Counted {
        bytes: Bytes,
        _share: Share,
    }
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Counted {
        bytes,
        _share: share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_free_again_when_its_last_bytes_are_gone() {
        let all = Unsent::new(100);
        let (one, other) = (Line::new(&all), Line::new(&all));
        let share = one.take(60).unwrap();
        assert!(all.is_pressed());
        let mut bytes = counted(Bytes::from(vec![1; 60]), share);
        // What goes over the bound in one piece is sent; after it nothing is.
        let large = other.take(1000).unwrap();
        assert_eq!(one.take(1).err(), Some(TooMuchUnsent));
        assert_eq!(other.take(1).err(), Some(TooMuchUnsent));
        drop(large);
        let part = bytes.split_to(10);
        drop(bytes);
        assert_eq!(all.waiting.load(Ordering::Relaxed), 60);
        assert!(one.take(1).is_ok());
        drop(part);
        assert_eq!(all.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(one.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_read_ahead_leaves_room_for_what_is_written() {
        let all = Unsent::new(100);
        let line = Line::new(&all);
        let mut share = line.share();
        assert!(line.has_room_ahead());
        share.grow(24);
        assert!(line.has_room_ahead());
        share.grow(1);
        assert!(!line.has_room_ahead() && !line.is_pressed());
        drop(share);
        assert_eq!(all.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(line.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_connection_is_bounded_by_itself() {
        let all = Unsent::new(usize::MAX);
        let (one, other) = (Line::new(&all), Line::new(&all));
        let held = one.take(OF_ONE).unwrap();
        assert_eq!(one.take(1).err(), Some(TooMuchUnsent));
        assert!(other.take(1).is_ok());
        drop(held);
        assert!(one.take(1).is_ok());
    }
}
