//! Whether the chunks of a body are written as RFC 9112 section 7.1 has it. Pingora's parser takes a size line without a
//! digit for the last chunk, where other servers refuse it or read on: two readers of one request could then differ.

/// The place within a body in chunks where its bytes have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the first byte of a line with a chunk's size.
    Line,
    /// Behind a digit of the size.
    Size(u64),
    /// Within what follows the digits, up to the end of the line.
    Rest(u64),
    /// Within the data, with so many bytes to come.
    Data(u64),
    /// Behind the data, before the end of its line.
    DataEnd,
    /// Behind the last chunk: what follows is not looked at.
    Over,
    Bad,
}

/// Follows a body in chunks as its bytes come.
#[derive(Debug)]
pub(crate) struct ChunkLines(State);

impl ChunkLines {
    pub(crate) fn new() -> ChunkLines {
        ChunkLines(State::Line)
    }

    /// Returns whether the body is still as it should be.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let State::Over | State::Bad = self.0 {
                break;
            }
            if let State::Data(left) = self.0 {
                let some = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[some..];
                self.0 = match left - some as u64 {
                    0 => State::DataEnd,
                    left => State::Data(left),
                };
                continue;
            }
            bytes = rest;
            self.0 = self.0.after(byte);
        }
        self.0 != State::Bad
    }
}

impl State {
    fn after(self, byte: u8) -> State {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self, byte) {
            (State::Line, _) => digit.map_or(State::Bad, State::Size),
            (State::Size(size), _) if digit.is_some() => {
                let size = size.checked_mul(16);
                size.zip(digit)
                    .map_or(State::Bad, |(size, digit)| State::Size(size + digit))
            }
            (State::Size(0) | State::Rest(0), b'\n') => State::Over,
            (State::Size(size) | State::Rest(size), b'\n') => State::Data(size),
            (State::Size(size) | State::Rest(size), _) => State::Rest(size),
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Line,
            (State::DataEnd, _) => State::Bad,
            (state, _) => state,
        }
    }
}

/// Keeps what came with the last bytes of a head, until it is known what body follows.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// How many bytes were read of this head and of what came with it.
    read: usize,
    last: Vec<u8>,
    chunks: Option<ChunkLines>,
}

impl Tail {
    /// Begins anew, as a new head is awaited.
    pub(crate) fn reset(&mut self) {
        *self = Tail::default();
    }

    /// Notes that these bytes were read of a head.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        self.read += bytes.len();
        self.last.clear();
        self.last.extend_from_slice(bytes);
    }

    /// Notes that the head was of `head` bytes. Returns `Some` where its body comes in chunks that can be followed from here:
    /// whether what is there of them is as it should be.
    pub(crate) fn begin(&mut self, head: usize, chunked: bool) -> Option<bool> {
        let last = std::mem::take(&mut self.last);
        let begun = self.read.checked_sub(head).filter(|_| chunked)?;
        let at = last.len().checked_sub(begun)?;
        // Otherwise a part of the head came with the request before.
        let is_end = last[..at].ends_with(b"\n") || at == 0;
        let mut chunks = ChunkLines::new();
        let good = chunks.feed(&last[at..]);
        self.chunks = is_end.then_some(chunks);
        is_end.then_some(good)
    }

    /// Follows bytes of the body. Returns whether they are as they should be, where that is known.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> bool {
        self.chunks.as_mut().is_none_or(|chunks| chunks.feed(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_line_has_a_digit() {
        for (body, good) in [
            (&b"5\r\nhello\r\n0\r\n\r\n"[..], true),
            (b"5;a=b\r\nhello\r\n00\r\nTrailer: x\r\n\r\n", true),
            (b"A \r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n", true),
            (b"\r\n\r\n", false),
            (b"5\r\nhello\r\n\r\n\r\n", false),
            (b";a=b\r\n\r\n", false),
            (b" 5\r\nhello\r\n", false),
            (b"-1\r\n", false),
            (b"5\r\nhelloX\r\n", false),
            (b"fffffffffffffffff\r\n", false),
        ] {
            let shown = String::from_utf8_lossy(body);
            assert_eq!(ChunkLines::new().feed(body), good, "{shown:?}");
            for at in 0..=body.len() {
                let mut chunks = ChunkLines::new();
                let (first, second) = body.split_at(at);
                let fed = chunks.feed(first) & chunks.feed(second);
                assert_eq!(fed, good, "{shown:?} cut at {at}");
            }
            // With a head before it, read in two.
            let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut tail = Tail::default();
            tail.note(&head[..10]);
            tail.note(&[&head[10..], body].concat());
            assert_eq!(tail.begin(head.len(), true), Some(good), "{shown:?}");
        }
    }

    #[test]
    fn a_head_that_came_with_the_request_before_is_not_followed() {
        let mut tail = Tail::default();
        tail.note(b"ing: chunked\r\n\r\n5\r\n");
        assert_eq!(tail.begin(100, true), None);
        let mut tail = Tail::default();
        tail.note(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(tail.begin(18, false), None);
        assert!(tail.feed(b"anything"));
    }
}
