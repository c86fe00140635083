//! Cuts a stream of `\n`-terminated lines out of pieces that are split anywhere. A byte order mark before the first of them
//! belongs to none (RFC 8259 section 8.1: who reads JSON may ignore it).

/// Bytes of one line, as Ollama's Go client accepts them.
pub const MAX_LINE: usize = 8 << 20;

/// What stays allocated for the beginnings of lines between two of them.
const KEPT_CAPACITY: usize = 16 << 10;

/// What some servers write before all else.
pub const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns the text without its byte order mark.
pub fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// A line was longer than the splitter's bound. The splitter has dropped the line; the rest of its
/// bytes are skipped up to the next newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {limit} bytes")]
pub struct LineTooLong {
    pub limit: usize,
}

/// Finds lines in pieces. Lines that lie whole within a piece are handed on in place.
#[derive(Debug)]
pub struct LineSplitter {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    limit: usize,
    /// Whether the stream stands inside a line that was too long.
    skipping: bool,
    /// Whether the first line, which may begin with a byte order mark, has passed.
    begun: bool,
}

impl Default for LineSplitter {
    fn default() -> Self {
        LineSplitter::new(MAX_LINE)
    }
}

impl LineSplitter {
    /// Creates a splitter for lines of at most `limit` bytes, the newline not counted.
    pub fn new(limit: usize) -> Self {
        LineSplitter {
            partial: Vec::new(),
            limit,
            skipping: false,
            begun: false,
        }
    }

    /// Calls `on_line` for every line that ends in `piece`, without its newline.
    ///
    /// An overlong line is reported once, after all lines of the piece have been handed on.
    pub fn feed(
        &mut self,
        piece: &[u8],
        mut on_line: impl FnMut(&[u8]),
    ) -> Result<(), LineTooLong> {
        let mut rest = piece;
        let mut too_long = false;
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            let head = &rest[..newline];
            rest = &rest[newline + 1..];
            let begun = std::mem::replace(&mut self.begun, true);
            let first = |line| if begun { line } else { unmarked(line) };
            if self.skipping {
                self.skipping = false;
            } else if self.partial.len() + head.len() > self.limit {
                too_long = true;
                self.partial = Vec::new();
            } else if self.partial.is_empty() {
                on_line(first(head));
            } else {
                self.partial.extend_from_slice(head);
                on_line(first(&self.partial));
                self.partial.clear();
                self.partial.shrink_to(KEPT_CAPACITY);
            }
        }
        too_long |= self.keep(rest);
        if too_long {
            return Err(LineTooLong { limit: self.limit });
        }
        Ok(())
    }

    /// Keeps the beginning of a line; true when that made the line too long.
    fn keep(&mut self, rest: &[u8]) -> bool {
        if self.skipping {
            return false;
        }
        if self.partial.len() + rest.len() > self.limit {
            self.partial = Vec::new();
            self.skipping = true;
            return true;
        }
        self.partial.extend_from_slice(rest);
        false
    }

    /// Returns whether the stream stands inside a line.
    pub fn mid_line(&self) -> bool {
        self.skipping || !self.partial.is_empty()
    }

    /// Returns what has come of a line that has not ended yet.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes what came after the last newline; the splitter is as new.
    pub fn finish(&mut self) -> Vec<u8> {
        self.skipping = false;
        let mut rest = std::mem::take(&mut self.partial);
        if !std::mem::take(&mut self.begun) && rest.starts_with(BYTE_ORDER_MARK) {
            rest.drain(..BYTE_ORDER_MARK.len());
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines of `pieces`, how many of them were too long, and what was left.
    fn split(limit: usize, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, usize, Vec<u8>) {
        let mut splitter = LineSplitter::new(limit);
        let mut lines = Vec::new();
        let mut too_long = 0;
        for piece in pieces {
            let fed = splitter.feed(piece, |line| lines.push(line.to_vec()));
            too_long += usize::from(fed.is_err());
            assert!(splitter.partial().len() <= limit);
        }
        (lines, too_long, splitter.finish())
    }

    #[test]
    fn every_split_gives_the_same_lines() {
        let stream = b"{\"a\":1}\n\n{\"b\":2}\r\nlast\n{\"open\"";
        let whole = split(64, &[stream]);
        let lines: [&[u8]; 4] = [b"{\"a\":1}", b"", b"{\"b\":2}\r", b"last"];
        assert!(whole.0.iter().eq(lines));
        assert_eq!(whole.2, b"{\"open\"");
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(split(64, &pieces), whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn an_overlong_line_is_dropped_whole_and_the_next_is_read() {
        let stream = b"12345\n123456\n1\n123456789012";
        for first in 0..=stream.len() {
            let (lines, too_long, rest) = split(5, &[&stream[..first], &stream[first..]]);
            assert_eq!(lines, [b"12345".to_vec(), b"1".to_vec()], "{first}");
            assert!((1..=2).contains(&too_long), "{first}");
            assert!(rest.is_empty());
        }
        let (lines, too_long, _) = split(5, &stream.chunks(1).collect::<Vec<_>>());
        assert_eq!((lines.len(), too_long), (2, 2));
    }

    #[test]
    fn a_byte_order_mark_before_the_first_line_belongs_to_none() {
        let stream = "\u{feff}{}\n\u{feff}[]\n\u{feff}".as_bytes();
        for first in 0..=stream.len() {
            let (lines, _, rest) = split(64, &[&stream[..first], &stream[first..]]);
            assert_eq!(lines, [b"{}".to_vec(), "\u{feff}[]".into()], "{first}");
            assert_eq!(rest, "\u{feff}".as_bytes());
        }
        assert_eq!(split(64, &["\u{feff}{}".as_bytes()]).2, b"{}");
    }

    #[test]
    fn whole_lines_are_handed_on_in_place() {
        let mut splitter = LineSplitter::default();
        let piece = b"one\ntwo\n";
        splitter
            .feed(piece, |line| {
                assert!(piece.as_ptr_range().contains(&line.as_ptr()));
            })
            .unwrap();
        assert_eq!(splitter.partial.capacity(), 0);
        assert!(!splitter.mid_line());
    }

    proptest! {
        #[test]
        fn agrees_with_a_split_at_newlines(
            pieces in prop::collection::vec("[a\n]{0,20}".prop_map(String::into_bytes), 0..12),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let joined = pieces.concat();
            let mut expected: Vec<_> = joined.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            let rest = expected.pop().unwrap();
            prop_assert_eq!(split(1 << 20, &pieces), (expected, 0, rest));
        }
    }
}
