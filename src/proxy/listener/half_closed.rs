//! A client that has ended its own side of a connection, as `nc` does once it has asked, looks like one that is gone. The
//! two are told apart by sending what every answer begins with, a byte at a time: where nobody is, that is refused, and the
//! next byte cannot be written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

/// Every answer by HTTP/1 begins with these bytes.
const BEGINNING: &[u8] = b"HTTP/1.";

/// How long after each of these bytes the next is sent: within a round trip of most networks, and then now and then for as
/// long as most answers take to begin.
const PAUSES: [Duration; BEGINNING.len()] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(400),
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(120),
];

/// Finds out whether a client is still there that has ended its side.
#[derive(Debug)]
pub(crate) struct HalfClosed {
    /// How many bytes of [`BEGINNING`] are sent.
    sent: usize,
    /// How many of those the answer itself has left out.
    left_out: usize,
    /// The answer is being written, and tells by itself whether anybody is there.
    begun: bool,
    flushed: bool,
    pause: Option<Pin<Box<Sleep>>>,
    gone: bool,
}

impl HalfClosed {
    pub(crate) fn new() -> Self {
        Self {
            sent: 0,
            left_out: 0,
            begun: false,
            flushed: true,
            pause: None,
            gone: false,
        }
    }

    /// Resolves when it is known that the client is gone, and not before.
    pub(crate) fn poll_gone(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.gone {
                return Poll::Ready(());
            }
            if self.begun {
                return Poll::Pending;
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            if !self.flushed {
                let flushed = ready!(Pin::new(&mut *stream).poll_flush(context));
                self.gone = flushed.is_err();
                self.flushed = true;
                let pause = PAUSES[self.sent - 1];
                self.pause = Some(Box::pin(tokio::time::sleep(pause)));
                continue;
            }
            // Afterwards there is nothing more to ask by.
            let Some(byte) = BEGINNING.get(self.sent..=self.sent) else {
                return Poll::Pending;
            };
            match ready!(Pin::new(&mut *stream).poll_write(context, byte)) {
                Ok(written) if written > 0 => {
                    self.sent += 1;
                    self.flushed = false;
                }
                _ => self.gone = true,
            }
        }
    }

    /// Returns how many of the bytes that are to be written are sent already, if any.
    ///
    /// # Errors
    /// `BrokenPipe` when they are not what was sent.
    pub(crate) fn already_told(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.begun = true;
        let sent = &BEGINNING[self.left_out..self.sent];
        let count = sent.len().min(bytes.len());
        if count == 0 {
            return Ok(None);
        }
        if bytes[..count] != sent[..count] {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.left_out += count;
        Ok(Some(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    fn connection() -> (DuplexStream, Stream) {
        let (client, server) = duplex(64);
        (client, Box::new(server))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_is_found() {
        let (client, mut stream) = connection();
        drop(client);
        let mut ended = HalfClosed::new();
        std::future::poll_fn(|context| ended.poll_gone(&mut stream, context)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_gets_each_byte_once() {
        for patience in [0, 10, 50, 700, 3_600_000] {
            let (mut client, mut stream) = connection();
            let mut ended = HalfClosed::new();
            let gone = std::future::poll_fn(|context| ended.poll_gone(&mut stream, context));
            let patience = Duration::from_millis(patience);
            assert!(tokio::time::timeout(patience, gone).await.is_err());
            let mut answer: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n";
            while let Some(count) = ended.already_told(answer).unwrap() {
                answer = &answer[count..];
            }
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
            drop(stream);
            let mut all = String::new();
            client.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, "HTTP/1.0 200 OK\r\n\r\n");
        }
    }

    #[test]
    fn what_does_not_begin_so_is_not_sent_behind_it() {
        let mut ended = HalfClosed::new();
        ended.sent = 3;
        assert!(ended.already_told(b"ok").is_err());
    }
}
