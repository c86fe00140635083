//! One accepted connection whose bytes can be made to go wrong: cut, trickled or stalled.
//!
//! The request handler arms a `Wire`; the `Link` that hyper writes to obeys it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// What is to happen to the bytes of one connection, shared by its handler and its writer.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Shared>);

#[derive(Default)]
struct Shared {
    plan: Mutex<Plan>,
    /// Told when the connection must close.
    cut: Notify,
    /// Told whenever all that was handed over has been written.
    flushed: Notify,
}

#[derive(Default)]
struct Plan {
    /// Bytes that may still be written before the connection is cut.
    cut_after: Option<u64>,
    /// Bytes that may still be written before the writer stops, and for how long.
    stall_after: Option<(u64, Duration)>,
    /// Cut by RST instead of FIN.
    reset: bool,
    /// Every byte by itself, with this much time between two.
    one_byte: Option<Duration>,
}

impl Wire {
    /// Cuts the connection once `bytes` more have been written.
    pub(super) fn cut_after(&self, bytes: u64, reset: bool) {
        let mut plan = self.plan();
        plan.cut_after = Some(bytes);
        plan.reset = reset;
        if bytes == 0 {
            self.0.cut.notify_one();
        }
    }

    /// Stops writing for `time` once `bytes` more have been written.
    pub(super) fn stall_after(&self, bytes: u64, time: Duration) {
        self.plan().stall_after = Some((bytes, time));
    }

    /// Writes every byte by itself from now on, with `pause` between two.
    pub(super) fn one_byte(&self, pause: Duration) {
        self.plan().one_byte = Some(pause);
    }

    /// Forgets what the last request of this connection armed.
    pub(super) fn disarm(&self) {
        *self.plan() = Plan::default();
    }

    /// Returns when the connection has to close.
    pub(super) async fn cut(&self) {
        self.0.cut.notified().await;
    }

    /// Returns when all that the handler has handed over so far has been written.
    pub(super) async fn flushed(&self) {
        let mut flushed = std::pin::pin!(self.0.flushed.notified());
        flushed.as_mut().enable();
        // A connection flushes whenever it is polled: this sees to it that it will be.
        tokio::task::yield_now().await;
        flushed.await;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a write may do now.
enum Permit {
    /// This many bytes.
    Bytes(usize),
    Wait(Duration),
    Cut,
}

impl Plan {
    fn permit(&mut self, wanted: usize) -> Permit {
        let mut allowed = if self.one_byte.is_some() { 1 } else { wanted };
        match self.cut_after {
            Some(0) => return Permit::Cut,
            Some(bytes) => allowed = allowed.min(usize::try_from(bytes).unwrap_or(usize::MAX)),
            None => {}
        }
        match self.stall_after {
            Some((0, time)) => {
                self.stall_after = None;
                return Permit::Wait(time);
            }
            Some((bytes, _)) => {
                allowed = allowed.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
            None => {}
        }
        Permit::Bytes(allowed)
    }

    /// Counts what was written; true when that was the last byte before a cut.
    fn wrote(&mut self, count: usize) -> bool {
        let count = count as u64;
        if let Some((bytes, _)) = self.stall_after.as_mut() {
            *bytes = bytes.saturating_sub(count);
        }
        match self.cut_after.as_mut() {
            Some(bytes) => {
                *bytes = bytes.saturating_sub(count);
                *bytes == 0
            }
            None => false,
        }
    }
}

/// A TCP stream that obeys its `Wire`.
pub(super) struct Link {
    stream: TcpStream,
    wire: Wire,
    pause: Option<Pin<Box<Sleep>>>,
    /// With one byte a packet: whether the next one has been held back already.
    held_back: bool,
}

impl Link {
    pub(super) fn new(stream: TcpStream, wire: Wire) -> Self {
        Self {
            stream,
            wire,
            pause: None,
            held_back: true,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let plan = self.wire.plan();
        if plan.reset && plan.cut_after == Some(0) {
            // Fails only on a socket that is closed already, which is what it is for.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let link = self.get_mut();
        loop {
            if let Some(pause) = link.pause.as_mut() {
                std::task::ready!(pause.as_mut().poll(context));
                link.pause = None;
            }
            let (permit, one_byte) = {
                let mut plan = link.wire.plan();
                (plan.permit(buffer.len()), plan.one_byte)
            };
            let allowed = match permit {
                Permit::Cut => {
                    link.wire.0.cut.notify_one();
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Permit::Wait(time) => {
                    link.pause = Some(Box::pin(tokio::time::sleep(time)));
                    continue;
                }
                Permit::Bytes(allowed) => allowed,
            };
            if let Some(pause) = one_byte
                && !std::mem::replace(&mut link.held_back, true)
            {
                if pause.is_zero() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                link.pause = Some(Box::pin(tokio::time::sleep(pause)));
                continue;
            }
            let written = std::task::ready!(
                Pin::new(&mut link.stream).poll_write(context, &buffer[..allowed])
            )?;
            link.held_back = one_byte.is_none();
            if link.wire.plan().wrote(written) {
                link.wire.0.cut.notify_one();
            }
            return Poll::Ready(Ok(written));
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = std::task::ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.wire.0.flushed.notify_waiters();
        Poll::Ready(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair(wire: &Wire) -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        let stream = accepted.unwrap().0;
        stream.set_nodelay(true).unwrap();
        (Link::new(stream, wire.clone()), client.unwrap())
    }

    #[tokio::test]
    async fn a_cut_lets_exactly_so_many_bytes_pass() {
        for bytes in 0..6 {
            let wire = Wire::default();
            let (mut link, mut client) = pair(&wire).await;
            wire.cut_after(bytes, false);
            let result = link.write_all(b"123456").await;
            drop(link);
            let mut seen = Vec::new();
            client.read_to_end(&mut seen).await.unwrap();
            assert_eq!(seen, b"123456"[..bytes as usize]);
            assert_eq!(result.is_err(), bytes < 6);
            wire.cut().await;
        }
    }

    #[tokio::test]
    async fn a_cut_by_reset_is_seen_as_one() {
        let wire = Wire::default();
        let (mut link, mut client) = pair(&wire).await;
        wire.cut_after(2, true);
        link.write_all(b"1234").await.unwrap_err();
        drop(link);
        let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn bytes_by_themselves_all_arrive() {
        let wire = Wire::default();
        let (mut link, mut client) = pair(&wire).await;
        wire.one_byte(Duration::ZERO);
        link.write_all(b"hello").await.unwrap();
        drop(link);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "hello");
    }

    #[test]
    fn one_byte_allows_one_byte() {
        let mut plan = Plan {
            one_byte: Some(Duration::ZERO),
            ..Plan::default()
        };
        assert!(matches!(plan.permit(100), Permit::Bytes(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_lasts_its_time() {
        let wire = Wire::default();
        wire.stall_after(3, Duration::from_secs(60));
        let mut plan = wire.plan();
        assert!(matches!(plan.permit(10), Permit::Bytes(3)));
        plan.wrote(3);
        assert!(matches!(plan.permit(10), Permit::Wait(time) if time.as_secs() == 60));
        assert!(matches!(plan.permit(10), Permit::Bytes(10)));
    }
}
