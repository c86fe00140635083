//! Cuts a stream of `\n`-terminated lines out of pieces that are split anywhere.

/// Bytes of one line, as Ollama's Go client accepts them.
pub const MAX_LINE: usize = 8 << 20;

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
    /// Inside a line that was too long.
    skipping: bool,
}

impl Default for LineSplitter {
    fn default() -> Self {
        LineSplitter::new(MAX_LINE)
    }
}

impl LineSplitter {
    /// A splitter for lines of at most `limit` bytes, the newline not counted.
    pub fn new(limit: usize) -> Self {
        LineSplitter {
            partial: Vec::new(),
            limit,
            skipping: false,
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
            if self.skipping {
                self.skipping = false;
            } else if self.partial.len() + head.len() > self.limit {
                too_long = true;
                self.partial = Vec::new();
            } else if self.partial.is_empty() {
                on_line(head);
            } else {
                self.partial.extend_from_slice(head);
                on_line(&self.partial);
                self.partial.clear();
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

    /// Whether the stream stands inside a line.
    pub fn mid_line(&self) -> bool {
        self.skipping || !self.partial.is_empty()
    }

    /// What has come of a line that has not ended yet.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes what came after the last newline; the splitter is as new.
    pub fn finish(&mut self) -> Vec<u8> {
        self.skipping = false;
        std::mem::take(&mut self.partial)
    }
}
