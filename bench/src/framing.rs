//! Just enough HTTP/1.1 framing to send and discard messages cheaply (RFC 9112): where a head ends,
//! how its body is delimited, and a chunked decoder that only counts.

/// How the body after a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Length(u64),
    Chunked,
}

/// Bytes of the head at the start of `input`, blank line included; `None` while it is incomplete.
pub fn head_len(input: &[u8]) -> Option<usize> {
    memchr::memmem::find(input, b"\r\n\r\n").map(|at| at + 4)
}

/// The trimmed value of a header, its name compared without case.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let (found, rest) = line.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        found
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| value.trim_ascii())
    })
}

/// A header's value as a number.
pub fn number(head: &[u8], name: &str) -> Option<u64> {
    std::str::from_utf8(header(head, name)?).ok()?.parse().ok()
}

/// How the body after this head is delimited; neither header means no body.
pub fn body_of(head: &[u8]) -> Body {
    match header(head, "transfer-encoding") {
        Some(value) if value.eq_ignore_ascii_case(b"chunked") => Body::Chunked,
        _ => Body::Length(number(head, "content-length").unwrap_or(0)),
    }
}

/// The status of a response head.
pub fn status(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

/// Tells where a body ends, whatever pieces it arrives in.
#[derive(Debug)]
pub struct BodyCounter {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Bytes of a Content-Length body, or of a chunk's data, still to come.
    Plain(u64),
    Size(u64),
    /// After the size: an extension and the line's end.
    SizeEnd(u64),
    Data(u64),
    /// The CRLF after a chunk's data.
    DataEnd,
    /// Trailer lines; `true` while the current line is empty so far.
    Trailer(bool),
    Done,
}

impl BodyCounter {
    pub fn new(body: Body) -> Self {
        let state = match body {
            Body::Length(0) => State::Done,
            Body::Length(length) => State::Plain(length),
            Body::Chunked => State::Size(0),
        };
        BodyCounter { state }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next piece, hands each run of payload to `payload`, and returns how many bytes
    /// belonged to this body. `None` when the chunk framing is broken.
    pub fn take(&mut self, input: &[u8], mut payload: impl FnMut(&[u8])) -> Option<usize> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            match self.state {
                State::Plain(left) | State::Data(left) => {
                    let run = left.min((input.len() - at) as u64);
                    payload(&input[at..at + run as usize]);
                    at += run as usize;
                    self.state = match (&self.state, left - run) {
                        (State::Plain(_), 0) => State::Done,
                        (State::Plain(_), left) => State::Plain(left),
                        (_, 0) => State::DataEnd,
                        (_, left) => State::Data(left),
                    };
                }
                _ => {
                    self.state = self.framing(input[at])?;
                    at += 1;
                }
            }
        }
        Some(at)
    }

    fn framing(&self, byte: u8) -> Option<State> {
        Some(match (&self.state, byte) {
            (State::Size(size), b'\n') => State::after_size(*size),
            (State::Size(size), b'\r' | b';') => State::SizeEnd(*size),
            (State::Size(size), digit) => {
                let digit = u64::from(char::from(digit).to_digit(16)?);
                State::Size(size.checked_mul(16)?.checked_add(digit)?)
            }
            (State::SizeEnd(size), b'\n') => State::after_size(*size),
            (State::SizeEnd(size), _) => State::SizeEnd(*size),
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size(0),
            (State::Trailer(true), b'\n') => State::Done,
            (State::Trailer(_), b'\n') => State::Trailer(true),
            (State::Trailer(empty), b'\r') => State::Trailer(*empty),
            (State::Trailer(_), _) => State::Trailer(false),
            _ => return None,
        })
    }
}

impl State {
    fn after_size(size: u64) -> State {
        match size {
            0 => State::Trailer(true),
            size => State::Data(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"5;x=y\r\nhello\r\nB\r\n, new world\r\n0\r\nA: b\r\n\r\nHTTP";

    #[test]
    fn headers_are_found_whatever_their_case() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:  12 \r\n\r\n";
        assert_eq!(head_len(head), Some(head.len()));
        assert_eq!(head_len(&head[..head.len() - 1]), None);
        assert_eq!(body_of(head), Body::Length(12));
        assert_eq!(header(head, "missing"), None);
        assert_eq!(status(b"HTTP/1.1 404 Not Found\r\n\r\n"), Some(404));
    }

    #[test]
    fn a_chunked_body_ends_in_the_same_place_wherever_it_is_cut() {
        for cut in 0..=CHUNKED.len() {
            let mut counter = BodyCounter::new(Body::Chunked);
            let mut text = Vec::new();
            let mut used = 0;
            for piece in [&CHUNKED[..cut], &CHUNKED[cut..]] {
                used += counter
                    .take(piece, |run| text.extend_from_slice(run))
                    .unwrap();
            }
            assert!(counter.is_done());
            assert_eq!(text, b"hello, new world");
            assert_eq!(&CHUNKED[used..], b"HTTP");
        }
    }

    #[test]
    fn a_counted_body_leaves_the_next_message_alone() {
        let mut counter = BodyCounter::new(Body::Length(3));
        assert_eq!(counter.take(b"ab", |_| {}), Some(2));
        assert!(!counter.is_done());
        assert_eq!(counter.take(b"cHTTP", |_| {}), Some(1));
        assert!(counter.is_done());
    }

    #[test]
    fn broken_chunk_sizes_are_noticed() {
        assert_eq!(
            BodyCounter::new(Body::Chunked).take(b"zz\r\n", |_| {}),
            None
        );
    }
}
