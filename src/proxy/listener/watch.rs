//! Where a client's connection is in its request: the stream and the request's phases share this.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pingora::protocols::Digest;

use crate::proxy::listener::chunks::Tail;
use crate::proxy::response_body::unsent::{Line, Unsent};

/// The part of a request that a connection by HTTP/1 is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// A head is awaited, or coming.
    Head,
    /// The head is whole; what comes is its body.
    Body,
    /// The body is whole; the client waits for the answer.
    Answer,
}

/// Knows where a connection is; its stream and the request's phases share it.
///
/// Travels as the user data of the stream's [`ProxyDigest`], the one channel that Pingora offers.
#[derive(Debug)]
pub(crate) struct Watch {
    stage: AtomicU8,
    /// The number of heads that were awaited, so that the stream knows a new one also where it read nothing between two.
    heads: AtomicU32,
    /// The body comes in chunks, and whether they are written as they must not be.
    chunked: AtomicBool,
    garbled: AtomicBool,
    tail: Mutex<Tail>,
    /// Counts what of its answers waits to be read.
    line: Arc<Line>,
}

impl Watch {
    pub(super) fn new(unsent: &Arc<Unsent>) -> Arc<Watch> {
        Arc::new(Watch {
            stage: AtomicU8::new(Stage::Head as u8),
            heads: AtomicU32::new(0),
            chunked: AtomicBool::new(false),
            garbled: AtomicBool::new(false),
            tail: Mutex::default(),
            line: Line::new(unsent),
        })
    }

    /// Returns the watch of the connection that `digest` belongs to.
    pub(crate) fn of(digest: Option<&Digest>) -> Option<&Watch> {
        let data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        data.downcast_ref::<Arc<Watch>>().map(Arc::as_ref)
    }

    /// Notes that the head, of so many bytes, is whole: its bounds no longer apply. Returns whether a body in chunks is
    /// followed.
    pub(crate) fn head_is_whole(&self, length: usize, chunked: bool) -> bool {
        self.stage.store(Stage::Body as u8, Ordering::Relaxed);
        let good = self.tail().begin(length, chunked);
        self.chunked.store(good.is_some(), Ordering::Relaxed);
        self.garbled.store(good == Some(false), Ordering::Relaxed);
        good.is_some()
    }

    /// Returns whether the chunks of the body could be read in two ways.
    pub(crate) fn is_garbled(&self) -> bool {
        self.garbled.load(Ordering::Relaxed)
    }

    /// Takes bytes of a body, and returns whether they can be read in one way only.
    pub(super) fn follows(&self, bytes: &[u8]) -> bool {
        let good = !self.chunked.load(Ordering::Relaxed) || self.tail().feed(bytes);
        if !good {
            self.garbled.store(true, Ordering::Relaxed);
        }
        good
    }

    /// Takes bytes that came while a head was awaited: what is behind the head is the body's.
    pub(super) fn note_head(&self, bytes: &[u8]) {
        self.tail().note(bytes);
    }

    /// Returns the number of heads that were awaited so far.
    pub(super) fn heads(&self) -> u32 {
        self.heads.load(Ordering::Relaxed)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the request is whole: the client has nothing more to say.
    pub(crate) fn request_is_whole(&self) {
        self.stage.store(Stage::Answer as u8, Ordering::Relaxed);
    }

    /// Notes that the answer is written: the next bytes belong to a new head.
    pub(crate) fn expect_head(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.tail().reset();
        self.stage.store(Stage::Head as u8, Ordering::Relaxed);
    }

    /// Returns what counts the bytes of answers that wait on the connection.
    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    pub(super) fn is_at(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_followed_in_chunks_alone() {
        let watch = Watch::new(&Unsent::new(usize::MAX));
        assert!(watch.is_at(Stage::Head));
        watch.note_head(b"POST / HTTP/1.1\r\n\r\n");
        assert!(!watch.head_is_whole(19, false) && watch.is_at(Stage::Body));
        assert!(watch.follows(b"zz\n") && !watch.is_garbled());
        watch.request_is_whole();
        assert!(watch.is_at(Stage::Answer));
        watch.expect_head();
        assert!(watch.is_at(Stage::Head) && watch.heads() == 1);
        watch.note_head(b"POST / HTTP/1.1\r\n\r\n");
        assert!(watch.head_is_whole(19, true));
        assert!(!watch.follows(b"zz\n") && watch.is_garbled());
    }
}
