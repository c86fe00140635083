//! What stands between the accept loop and Pingora's proxy: the bound on open connections, and the
//! bounds on the size and the duration of a request head (slow-loris), which Pingora sets per read only,
//! and not at all until it has told HTTP/1 from HTTP/2.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    ALPN, Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest,
    Ssl, Stream, TimingDigest, UniqueID, UniqueIDType,
};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use crate::metrics::Metrics;

const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 75\r\nRetry-After: 1\r\n\
    Connection: close\r\n\r\n{\"error\":\"too many open connections; raise server.max_connections or wait\"}";
const HEAD_TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 78\r\nConnection: close\r\n\r\n\
    {\"error\":\"request head too large; the limit is the setting server.max_header\"}";
const HEAD_TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 81\r\nConnection: close\r\n\r\n\
    {\"error\":\"request head too slow; the limit is the setting server.header_timeout\"}";

const BAD_HEAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 46\r\nConnection: close\r\n\r\n\
    {\"error\":\"the request head is not valid HTTP\"}";
const NO_TUNNELS: &[u8] = b"HTTP/1.1 405 Method Not Allowed\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 72\r\nConnection: close\r\n\r\n\
    {\"error\":\"Method CONNECT not allowed; this gateway is no forward proxy\"}";

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const HTTP2_PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bounds on what a client may do before its request is known.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open client connections.
    pub max_connections: usize,
    /// Bytes of a request head.
    pub max_header: usize,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// Until the first byte of a connection; later pauses are Pingora's to bound.
    pub idle_timeout: Duration,
}

/// Hands accepted connections to `app`, within [`Bounds`].
pub struct Gate<A> {
    app: Arc<A>,
    bounds: Bounds,
    open: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl<A> Gate<A> {
    pub fn new(app: A, bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        let app = Arc::new(app);
        Self {
            app,
            bounds,
            open: Arc::default(),
            metrics,
        }
    }
}

/// One open connection; counts itself out when dropped.
struct Open {
    count: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Open {
    fn enter<A>(gate: &Gate<A>) -> Option<Self> {
        let open = Open {
            count: Arc::clone(&gate.open),
            metrics: Arc::clone(&gate.metrics),
        };
        open.metrics.connections.inc();
        (open.count.fetch_add(1, Ordering::Relaxed) < gate.bounds.max_connections).then_some(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connections.dec();
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Gate<A> {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Some(_open) = Open::enter(self) else {
            self.metrics.rejected_connections.inc();
            // The client may be gone already; there is nobody to tell.
            let _ = stream.write_all(TOO_MANY_CONNECTIONS).await;
            let _ = stream.flush().await;
            Shutdown::shutdown(&mut *stream).await;
            return None;
        };
        let mut next: Stream = Box::new(Guarded::new(stream, self.bounds));
        // Pingora hands a reusable connection back for its next request.
        loop {
            next = self.app.process_new(next, shutdown).await?;
        }
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}

/// Where a connection is, shared between its stream and the request's phases.
///
/// Travels as the user data of the stream's [`ProxyDigest`], the one channel that Pingora offers.
#[derive(Debug, Default)]
pub(super) struct HeadWatch {
    past_head: AtomicBool,
}

impl HeadWatch {
    /// The watch of the connection that `digest` belongs to; HTTP/2 connections have none of use.
    pub(super) fn of(digest: Option<&Digest>) -> Option<&HeadWatch> {
        let data = digest?.proxy_digest.as_ref()?.user_data.as_ref()?;
        data.downcast_ref::<Arc<HeadWatch>>().map(Arc::as_ref)
    }

    /// The head is whole: its bounds no longer apply.
    pub(super) fn head_is_whole(&self) {
        self.past_head.store(true, Ordering::Relaxed);
    }

    /// The answer is written: the next bytes belong to a new head.
    pub(super) fn expect_head(&self) {
        self.past_head.store(false, Ordering::Relaxed);
    }
}

/// A client connection that ends when a request head is too large or too slow.
#[derive(Debug)]
struct Guarded {
    inner: Stream,
    watch: Arc<HeadWatch>,
    digest: Arc<ProxyDigest>,
    bounds: Bounds,
    head_bytes: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes that were looked at and are still to be read.
    peeked: [u8; HTTP2_PREFACE.len()],
    unread: Range<usize>,
    /// HTTP/2 frames have bounds of their own.
    http2: bool,
    refused: bool,
}

impl Guarded {
    fn new(inner: Stream, bounds: Bounds) -> Self {
        let watch = Arc::new(HeadWatch::default());
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
            head_bytes: 0,
            deadline: None,
            peeked: [0; HTTP2_PREFACE.len()],
            unread: 0..0,
            http2: false,
            refused: false,
        }
    }

    /// What is said in place of Pingora's own answer, which has no body, to a head that it refuses.
    fn instead_of(&self, bytes: &[u8]) -> Option<&'static [u8]> {
        if self.http2 || self.watch.past_head.load(Ordering::Relaxed) {
            return None;
        }
        let status = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
        match status {
            b"400" => Some(BAD_HEAD),
            b"405" => Some(NO_TUNNELS),
            _ => None,
        }
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
        if this.http2 || this.watch.past_head.load(Ordering::Relaxed) {
            this.head_bytes = 0;
            this.deadline = None;
            return Pin::new(&mut this.inner).poll_read(context, buffer);
        }
        if this.head_bytes > this.bounds.max_header {
            return this.refuse(context, HEAD_TOO_LARGE);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(result) => {
                this.head_bytes += buffer.filled().len() - before;
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
    /// Reads no further than to where HTTP/1 differs, as its requests may be shorter than a preface.
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

/// The client's address, one of IPv4 also where it came through an IPv6 socket; Unix sockets have none.
pub(super) fn client_address(address: Option<&SocketAddr>) -> Option<std::net::IpAddr> {
    let address = address?.as_inet()?;
    Some(address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    fn guarded(bounds: Bounds) -> (DuplexStream, Guarded) {
        let (client, server) = duplex(64 * 1024);
        (client, Guarded::new(Box::new(server), bounds))
    }

    const BOUNDS: Bounds = Bounds {
        max_connections: 1,
        max_header: 100,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
    };

    #[test]
    fn a_client_has_one_address_through_either_socket() {
        for (came, address) in [
            ("[::ffff:10.0.0.9]:5", "10.0.0.9"),
            ("10.0.0.9:5", "10.0.0.9"),
            ("[2001:db8::1]:5", "2001:db8::1"),
        ] {
            let came = SocketAddr::Inet(came.parse().unwrap());
            assert_eq!(client_address(Some(&came)), address.parse().ok());
        }
        assert_eq!(client_address(None), None);
    }

    #[test]
    fn refusals_state_their_length() {
        for answer in [
            TOO_MANY_CONNECTIONS,
            HEAD_TOO_LARGE,
            HEAD_TOO_SLOW,
            BAD_HEAD,
            NO_TUNNELS,
        ] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{text}"
            );
        }
    }

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
        server.watch.head_is_whole();
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
}
