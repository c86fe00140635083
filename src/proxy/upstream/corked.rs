//! A plaintext connection to a backend that sends what is written only when an answer is read, so that
//! a request's head and body leave in one segment. Pingora flushes after the head, which costs a
//! system call and a packet per request.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// The most bytes that are held back: a large body fills segments of its own anyway.
const HELD: usize = 16 * 1024;
/// A TCP connection whose flush waits for the next read.
#[derive(Debug)]
pub(crate) struct Corked {
    socket: TcpStream,
    held: Vec<u8>,
    sent: usize,
    digest: Arc<SocketDigest>,
}

impl Corked {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
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

    /// Returns whether the backend has neither closed the connection nor sent something unasked.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = self.socket.try_read(&mut byte);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.held.len() {
            let socket = Pin::new(&mut self.socket);
            self.sent += match ready!(socket.poll_write(context, &self.held[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => sent,
            };
        }
        self.sent = 0;
        // Given back rather than kept: a stream holds it for minutes and never needs it again.
        self.held = Vec::new();
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

    /// Flushes nothing: what is held is sent with the next read.
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
}

impl GetSocketDigest for Corked {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn pair() -> (Corked, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (corked, accepted) = tokio::join!(
            Corked::connect(listener.local_addr().unwrap()),
            listener.accept()
        );
        (corked.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn head_and_body_leave_together_when_the_answer_is_read() {
        let (mut corked, mut backend) = pair().await;
        corked.write_all(b"head").await.unwrap();
        corked.flush().await.unwrap();
        corked.write_all(b"body").await.unwrap();
        corked.flush().await.unwrap();
        let mut unsent = [0];
        assert!(backend.try_read(&mut unsent).is_err());
        let serve = async {
            let mut request = [0; 64];
            let read = backend.read(&mut request).await.unwrap();
            assert_eq!(&request[..read], b"headbody");
            backend.write_all(b"answer").await.unwrap();
        };
        let mut answer = [0; 6];
        let (_, read) = tokio::join!(serve, corked.read_exact(&mut answer));
        read.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn a_body_larger_than_is_held_arrives_whole() {
        let (mut corked, mut backend) = pair().await;
        let body = vec![7u8; 5 * 1024 * 1024];
        let sent = body.clone();
        let serve = async {
            let mut received = vec![0; 4 + body.len()];
            backend.read_exact(&mut received).await.unwrap();
            assert_eq!(&received[..4], b"head");
            assert_eq!(received[4..], body);
            backend.write_all(b"!").await.unwrap();
        };
        let ask = async {
            corked.write_all(b"head").await.unwrap();
            corked.write_all(&sent).await.unwrap();
            corked.read_u8().await.unwrap()
        };
        assert_eq!(tokio::join!(serve, ask).1, b'!');
    }

    #[tokio::test]
    async fn a_closed_connection_is_not_quiet() {
        let (corked, backend) = pair().await;
        assert!(corked.is_quiet());
        drop(backend);
        corked.socket.readable().await.unwrap();
        assert!(!corked.is_quiet());
    }
}
