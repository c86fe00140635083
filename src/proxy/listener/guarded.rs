//! A client's connection as Pingora sees it: each request head within its bounds of size and time, HTTP/2 told from HTTP/1,
//! and a client that has ended its own side told from one that is gone.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::proxy::listener::early_answers::{HEAD_TOO_LARGE, HEAD_TOO_SLOW, in_place_of};
use crate::proxy::listener::half_closed::HalfClosed;
use crate::proxy::listener::watch::{Stage, Watch};
use crate::proxy::response_body::unsent::Unsent;

/// An HTTP/2 connection begins with these bytes (RFC 9113 section 3.4).
const HTTP2_PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bounds on what a client may do before its request is known.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most bytes that a request head may have.
    pub max_header: usize,
    /// The longest time from the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// The longest time until the first byte of a connection; later pauses are Pingora's to bound.
    pub idle_timeout: Duration,
}

/// A client connection that ends when a request head is too large or too slow.
#[derive(Debug)]
pub(crate) struct Guarded {
    inner: Stream,
    watch: Arc<Watch>,
    digest: Arc<ProxyDigest>,
    bounds: Bounds,
    /// The number of the head that the next two fields are of.
    head: u32,
    head_bytes: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    /// The client has ended its side while it waits for an answer.
    ended: Option<HalfClosed>,
    /// Something of the present answer is written.
    answers: bool,
    /// Bytes that were looked at and are still to be read.
    peeked: [u8; HTTP2_PREFACE.len()],
    unread: Range<usize>,
    /// HTTP/2 frames have bounds of their own.
    http2: bool,
    refused: bool,
}

impl Guarded {
    pub(crate) fn new(inner: Stream, bounds: Bounds, unsent: &Arc<Unsent>) -> Self {
        let watch = Watch::new(unsent);
        let response = ResponseHeader::build_no_case(200, Some(0)).expect("200 is a status code");
        let digest = Arc::new(ProxyDigest::new(
            Box::new(response),
            Some(Box::new(Arc::clone(&watch))),
        ));
        Self {
            inner,
            watch,
            digest,
            bounds,
            head: 0,
            head_bytes: 0,
            deadline: None,
            ended: None,
            answers: false,
            peeked: [0; HTTP2_PREFACE.len()],
            unread: 0..0,
            http2: false,
            refused: false,
        }
    }

    /// Returns the answer with a body that goes out in place of Pingora's own, which has none, to a head that it refuses.
    fn instead_of(&self, bytes: &[u8]) -> Option<&'static [u8]> {
        if self.http2 || !self.watch.is_at(Stage::Head) {
            return None;
        }
        in_place_of(bytes)
    }

    /// Reads while the client waits for its answer: what comes is the next request, or the end.
    fn poll_departure(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
            // Once an answer has begun, its next bytes tell whether anybody is there.
            if buffer.filled().len() > before || self.answers {
                return Poll::Ready(Ok(()));
            }
        }
        let ended = self.ended.get_or_insert_with(HalfClosed::new);
        ended.poll_gone(&mut self.inner, context).map(Ok)
    }

    /// Answers and ends the connection; the answer fits the socket's empty send buffer.
    fn refuse(&mut self, context: &mut Context<'_>, answer: &[u8]) -> Poll<io::Result<()>> {
        self.refused = true;
        let _ = Pin::new(&mut self.inner).poll_write(context, answer);
        let _ = Pin::new(&mut self.inner).poll_flush(context);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let count = this.unread.len().min(buffer.remaining());
            buffer.put_slice(&this.peeked[this.unread.start..this.unread.start + count]);
            this.unread.start += count;
            return Poll::Ready(Ok(()));
        }
        if this.http2 {
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        }
        if this.watch.is_at(Stage::Body) {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            if !this.watch.follows(&buffer.filled()[before..]) {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            return Poll::Ready(Ok(()));
        }
        if this.watch.is_at(Stage::Answer) {
            return this.poll_departure(context, buffer);
        }
        let head = this.watch.heads();
        if this.head != head {
            // Each head counts for itself.
            this.head = head;
            this.head_bytes = 0;
            this.deadline = None;
            this.answers = false;
        }
        if this.ended.is_some() {
            return Poll::Ready(Ok(()));
        }
        if this.head_bytes > this.bounds.max_header {
            return this.refuse(context, HEAD_TOO_LARGE);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(result) => {
                this.head_bytes += buffer.filled().len() - before;
                this.watch.note_head(&buffer.filled()[before..]);
                Poll::Ready(result)
            }
            Poll::Pending if this.head_bytes > 0 => {
                let limit = this.bounds.header_timeout;
                let deadline = this
                    .deadline
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                ready!(deadline.as_mut().poll(context));
                this.refuse(context, HEAD_TOO_SLOW)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.refused {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !self.http2 && self.watch.is_at(Stage::Answer) {
            self.answers = true;
            if let Some(ended) = &mut self.ended
                && let Some(told) = ended.already_told(bytes)?
            {
                return Poll::Ready(Ok(told));
            }
        }
        if let Some(answer) = self.instead_of(bytes) {
            self.refused = true;
            let _ = ready!(Pin::new(&mut self.inner).poll_write(context, answer))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.refused {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.ended.is_some() {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(context, first.map_or(&[], |piece| piece));
        }
        self.answers |= self.watch.is_at(Stage::Answer);
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.inner).await;
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Guarded {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Guarded {
    /// Reads ahead until the bytes differ from the preface of HTTP/2, as requests by HTTP/1 may be shorter than the preface.
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let idle = self.bounds.idle_timeout;
        let size = buffer.len().min(HTTP2_PREFACE.len());
        let mut filled = 0;
        while filled < size && HTTP2_PREFACE.starts_with(&buffer[..filled]) {
            let read = self.read(&mut buffer[filled..size]);
            let count = match filled {
                0 => tokio::time::timeout(idle, read).await??,
                _ => read.await?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
        }
        self.http2 = buffer[..filled] == HTTP2_PREFACE;
        self.peeked[..filled].copy_from_slice(&buffer[..filled]);
        self.unread = 0..filled;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn guarded(bounds: Bounds) -> (DuplexStream, Guarded) {
        let (client, server) = duplex(64 * 1024);
        let unsent = Unsent::new(usize::MAX);
        (client, Guarded::new(Box::new(server), bounds, &unsent))
    }

    const BOUNDS: Bounds = Bounds {
        max_header: 100,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
    };

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_is_answered_408() {
        let (mut client, mut server) = guarded(BOUNDS);
        client.write_all(b"GET / HT").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.unwrap(), 8);
        let started = tokio::time::Instant::now();
        assert!(server.read(&mut buffer).await.is_err());
        assert_eq!(started.elapsed(), BOUNDS.header_timeout);
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    #[tokio::test]
    async fn a_large_head_is_answered_431() {
        let (mut client, mut server) = guarded(BOUNDS);
        client.write_all(&[b'x'; 200]).await.unwrap();
        let mut buffer = [0; 60];
        for _ in 0..2 {
            assert_eq!(server.read(&mut buffer).await.unwrap(), 60);
        }
        assert!(server.read(&mut buffer).await.is_err());
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_begins_ends() {
        let (_client, mut server) = guarded(BOUNDS);
        let started = tokio::time::Instant::now();
        assert!(server.try_peek(&mut [0; 24]).await.is_err());
        assert_eq!(started.elapsed(), BOUNDS.idle_timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_that_never_ends_is_answered_408() {
        for part in [b"P".as_slice(), &HTTP2_PREFACE[..23]] {
            let (mut client, mut server) = guarded(BOUNDS);
            client.write_all(part).await.unwrap();
            let started = tokio::time::Instant::now();
            assert!(server.try_peek(&mut [0; 24]).await.is_err());
            assert_eq!(started.elapsed(), BOUNDS.header_timeout);
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_peeked_at_is_read_once() {
        for (sent, is_http2) in [
            (b"GET / HTTP/1.0\r\n\r\n".as_slice(), false),
            (b"PRI", false),
            (b"PUT / HTTP/1.1\r\nHost: a-longer-one\r\n\r\n", false),
            (&HTTP2_PREFACE, true),
        ] {
            let (mut client, mut server) = guarded(BOUNDS);
            client.write_all(sent).await.unwrap();
            if sent == b"PRI" {
                client.write_all(b"ME / HTTP/1.1\r\n\r\n").await.unwrap();
            }
            let mut peeked = [0; 24];
            assert!(server.try_peek(&mut peeked).await.unwrap());
            assert_eq!(peeked == HTTP2_PREFACE, is_http2);
            assert_eq!(server.http2, is_http2);
            drop(client);
            let mut read = Vec::new();
            server.read_to_end(&mut read).await.unwrap();
            assert!(read.starts_with(sent), "{read:?}");
        }
    }

    #[tokio::test]
    async fn a_body_is_not_bounded_as_a_head() {
        let (mut client, mut server) = guarded(BOUNDS);
        server.watch.head_is_whole(0, false);
        client.write_all(&[b'x'; 400]).await.unwrap();
        let mut body = [0; 400];
        server.read_exact(&mut body).await.unwrap();
        server.watch.expect_head();
        client.write_all(&[b'x'; 200]).await.unwrap();
        let mut buffer = [0; 60];
        for _ in 0..2 {
            assert_eq!(server.read(&mut buffer).await.unwrap(), 60);
        }
        assert!(server.read(&mut buffer).await.is_err());
    }

    async fn next_head(server: &mut Guarded, client: &mut DuplexStream, bytes: usize) {
        server.watch.head_is_whole(0, false);
        server.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
        server.watch.expect_head();
        client.write_all(&vec![b'x'; bytes]).await.unwrap();
        server.read_exact(&mut vec![0; bytes]).await.unwrap();
    }

    /// Nothing is read between two heads where the first request has no body, or one that came with its head.
    #[tokio::test(start_paused = true)]
    async fn each_head_counts_for_itself() {
        let (mut client, mut server) = guarded(BOUNDS);
        for _ in 0..100 {
            next_head(&mut server, &mut client, 90).await;
            tokio::time::advance(BOUNDS.header_timeout / 2).await;
        }
        server.watch.expect_head();
        let mut byte = [0];
        let idle = tokio::time::timeout(100 * BOUNDS.header_timeout, server.read(&mut byte));
        assert!(idle.await.is_err(), "an idle connection was ended");
        // The time of a head runs from its own first byte.
        client.write_all(b"G").await.unwrap();
        server.read_exact(&mut byte).await.unwrap();
        let started = tokio::time::Instant::now();
        assert!(server.read(&mut byte).await.is_err());
        assert_eq!(started.elapsed(), BOUNDS.header_timeout);
    }
}
