//! An answer that has begun: its connection, what has been read of it, and what reads the rest.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::fleet::Backend;
use crate::proxy::attempt::reader::AnswerReader;
use crate::proxy::offload::Offload;
use crate::proxy::response_body::hold::Hold;
use crate::proxy::upstream::Upstream;
use remuda_formats::dialect::rate_limits::RateLimits;
use remuda_formats::ir::Dropped;
use remuda_formats::translate::Ending;

/// An answer that has begun. Always boxed: by value it would lie in every future that it passes through.
pub(crate) struct UpstreamAnswer {
    pub(crate) upstream: Upstream,
    /// The part of the body that has been read and is for the client.
    pub(crate) begun: BytesMut,
    /// The body has come to its end.
    pub(crate) ended: bool,
    pub(crate) reader: AnswerReader,
    /// How the body ended; `None` until it has ended and its reader has been told.
    pub(crate) ending: Option<Ending>,
    pub(crate) dropped: Dropped,
    /// What the provider says of its rate limits.
    pub(crate) limits: Option<RateLimits>,
    /// The client gets another format than the backend sent.
    pub(crate) across: bool,
    /// As of its [`UpstreamRequest`].
    pub(crate) streamed: bool,
}

/// An answer that has begun, with what it holds until its end.
pub(crate) struct BegunAnswer {
    pub(crate) answer: Box<UpstreamAnswer>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) hold: Hold,
    /// Until when the whole answer may last.
    pub(crate) deadline: Option<Instant>,
}

impl UpstreamAnswer {
    /// Returns whether the rest of the answer is to be read before the client gets anything of it.
    pub(crate) fn is_to_be_gathered(&self) -> bool {
        self.streamed && self.reader.gathers() && !self.ended && self.ending.is_none()
    }

    /// Tells the reader that the body has come to its end.
    pub(crate) fn conclude(&mut self) {
        let headers = headers_of(&self.upstream);
        let (ending, last) = self.reader.finish(&headers);
        self.begun.extend_from_slice(last);
        self.ending = Some(ending);
    }

    /// Does what [`Self::conclude`] does on another thread, for an answer that takes long to conclude.
    pub(super) async fn conclude_aside(&mut self, offload: &Offload) {
        let finishing = self.aside(offload, |reader, headers| {
            let (ending, last) = reader.finish(headers);
            (ending, Bytes::copy_from_slice(last))
        });
        let (ending, last) = finishing.await;
        if self.begun.is_empty() {
            self.begun = last.into()
        } else {
            self.begun.extend_from_slice(&last)
        }
        self.ending = Some(ending);
    }

    /// Has the reader do on another thread what takes long.
    pub(super) async fn aside<T: Send + 'static>(
        &mut self,
        offload: &Offload,
        work: impl FnOnce(&mut AnswerReader, &HeaderMap) -> T + Send + 'static,
    ) -> T {
        let headers = headers_of(&self.upstream).into_owned();
        let mut reader = std::mem::replace(&mut self.reader, AnswerReader::absent());
        let (reader, done) = offload
            .run(move || {
                let done = work(&mut reader, &headers);
                (reader, done)
            })
            .await;
        self.reader = reader;
        done
    }
}

/// Returns the header fields of the answer; none if its head has not come yet.
pub(crate) fn headers_of(upstream: &Upstream) -> Cow<'_, HeaderMap> {
    match upstream.head() {
        Some(head) => Cow::Borrowed(&head.headers),
        None => Cow::Owned(HeaderMap::new()),
    }
}
