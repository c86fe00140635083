//! An upstream connection that holds back what is written until something is read, so that a request's
//! head and body leave in one segment, and a pool of such connections per thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// More than this is not held back: a large body is in segments of its own anyway.
const HELD: usize = 16 * 1024;

/// A TCP connection whose flush waits for the next read.
#[derive(Debug)]
pub struct Corked {
    socket: TcpStream,
    held: Vec<u8>,
    sent: usize,
    digest: Arc<SocketDigest>,
}

impl Corked {
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let digest = Arc::new(SocketDigest::from_raw_fd(socket.as_raw_fd()));
        Ok(Corked {
            socket,
            held: Vec::new(),
            sent: 0,
            digest,
        })
    }

    /// Whether the server has neither closed the connection nor sent something unasked.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        matches!(self.socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let socket = Pin::new(&mut self.socket);
            self.sent += match ready!(socket.poll_write(context, &self.held[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => sent,
            };
        }
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() + bytes.len() <= HELD {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for Corked {
    async fn shutdown(&mut self) {
        // The connection is given up: an error changes nothing.
        let _ = self.socket.shutdown().await;
    }
}

impl UniqueID for Corked {
    fn id(&self) -> UniqueIDType {
        self.socket.as_raw_fd()
    }
}

impl Ssl for Corked {}
impl Peek for Corked {}

impl GetTimingDigest for Corked {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Corked {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }

    fn set_proxy_digest(&mut self, _digest: ProxyDigest) {}
}

impl GetSocketDigest for Corked {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.digest = Arc::new(digest);
    }
}

thread_local! {
    static IDLE: RefCell<HashMap<SocketAddr, Vec<Stream>>> = RefCell::default();
}

/// The latest idle connection of this thread that is still usable, and whether it is reused.
///
/// Per thread: no lock, no watcher task, and with `--reuseport` the socket stays with the reactor that
/// its next user runs on.
pub async fn obtain(address: SocketAddr) -> io::Result<(Stream, bool)> {
    while let Some(idle) = take(address) {
        let corked = idle.as_any().downcast_ref::<Corked>();
        if corked.is_some_and(Corked::is_quiet) {
            return Ok((idle, true));
        }
    }
    Ok((Box::new(Corked::connect(address).await?), false))
}

fn take(address: SocketAddr) -> Option<Stream> {
    IDLE.with_borrow_mut(|idle| idle.get_mut(&address)?.pop())
}

/// Keeps a connection for this thread's next request.
pub fn release(address: SocketAddr, connection: Stream) {
    IDLE.with_borrow_mut(|idle| idle.entry(address).or_default().push(connection));
}
