//! Cuts a stream into what its client reads at once, and keeps every byte of it: a line, or a server-sent event with the
//! blank line that ends it. `ndjson` and `sse` say what is in one; this says where it lies, so that it can pass or not.

use super::ndjson::MAX_LINE;

/// What stays allocated for the beginnings of units between two of them.
const KEPT_CAPACITY: usize = 16 << 10;

/// What a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUnit {
    /// Ends with a newline.
    Line,
    /// Ends with an empty line; line ends are those of [`super::sse`].
    Event,
}

/// A piece of a stream, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'c> {
    /// A whole unit, that ends at this place in the piece that was fed; it began there if it is no longer than that.
    Whole { bytes: &'c [u8], end: usize },
    /// Bytes of a unit that is longer than is held; it ends with them if `last`.
    Part { bytes: &'c [u8], last: bool },
}

/// How the line stands in which a unit that is not held goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    /// A carriage return alone has come of it.
    Return,
    Filled,
}

/// Finds units in pieces that are split anywhere. A unit that lies whole within a piece is handed on in place.
#[derive(Debug)]
pub struct Cutter {
    unit: StreamUnit,
    limit: usize,
    /// The beginning of a unit whose end has not come yet, and where its last line begins.
    held: Vec<u8>,
    line: usize,
    /// The line of the unit that is too long to be held and passes in parts.
    passing: Option<Line>,
}

impl Cutter {
    pub fn new(unit: StreamUnit) -> Self {
        Cutter::within(unit, MAX_LINE)
    }

    /// Creates a cutter for units of at most `limit` bytes; longer ones are handed on in parts.
    pub fn within(unit: StreamUnit, limit: usize) -> Self {
        Cutter {
            unit,
            limit,
            held: Vec::new(),
            line: 0,
            passing: None,
        }
    }

    pub fn unit(&self) -> StreamUnit {
        self.unit
    }

    /// Returns what has come of a unit whose end has not.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Returns whether what was handed on stops inside a unit.
    pub fn inside(&self) -> bool {
        self.passing.is_some()
    }

    /// Returns whether nothing of a unit is held.
    pub fn is_between(&self) -> bool {
        self.held.is_empty() && self.passing.is_none()
    }

    /// Calls `each` for every unit that ends in `piece`, and for parts of one that is too long.
    pub fn feed(&mut self, piece: &[u8], mut each: impl FnMut(Cut<'_>)) {
        let mut at = 0;
        if let Some(line) = self.passing {
            let (end, line) = self.rest_of_long(piece, line);
            self.passing = line;
            let last = line.is_none();
            each(Cut::Part {
                bytes: &piece[..end],
                last,
            });
            at = end;
        } else if !self.held.is_empty() {
            match self.join(piece) {
                Some(end) => {
                    each(Cut::Whole {
                        bytes: &self.held,
                        end,
                    });
                    self.held.clear();
                    self.held.shrink_to(KEPT_CAPACITY);
                    at = end;
                }
                None => at = piece.len(),
            }
        }
        while at < piece.len() {
            let mut line = at;
            match end(self.unit, piece, &mut line, at) {
                Some(end) => {
                    each(Cut::Whole {
                        bytes: &piece[at..end],
                        end,
                    });
                    at = end;
                }
                None => {
                    self.held.extend_from_slice(&piece[at..]);
                    self.line = line - at;
                    break;
                }
            }
        }
        if self.held.len() > self.limit {
            self.let_go(each);
        }
    }

    /// Takes what came after the last unit; the cutter is as new.
    pub fn finish(&mut self) -> Vec<u8> {
        self.line = 0;
        self.passing = None;
        std::mem::take(&mut self.held)
    }

    /// Adds to what is held up to the unit's end, and says where in `piece` that is.
    fn join(&mut self, piece: &[u8]) -> Option<usize> {
        let before = self.held.len();
        // As far as a line ends: what follows the unit's end is not copied first.
        let mut taken = 0;
        loop {
            let more = memchr::memchr(b'\n', &piece[taken..]).map(|at| taken + at + 1);
            let to = more.unwrap_or(piece.len());
            let from = self.held.len();
            self.held.extend_from_slice(&piece[taken..to]);
            taken = to;
            more?;
            if end(self.unit, &self.held, &mut self.line, from).is_some() {
                return Some(self.held.len() - before);
            }
        }
    }

    fn let_go(&mut self, mut each: impl FnMut(Cut<'_>)) {
        let held = self.finish();
        let line = match &held[held.len().min(last_line(&held))..] {
            b"" => Line::Empty,
            b"\r" => Line::Return,
            _ => Line::Filled,
        };
        self.passing = Some(line);
        each(Cut::Part {
            bytes: &held,
            last: false,
        });
    }

    /// Returns where a unit that is not held ends in `piece`, or how its line stands after it.
    fn rest_of_long(&self, piece: &[u8], mut line: Line) -> (usize, Option<Line>) {
        let mut at = 0;
        while let Some(newline) = memchr::memchr(b'\n', &piece[at..]) {
            let blank = matches!(
                (line, &piece[at..at + newline]),
                (Line::Empty, b"" | b"\r") | (Line::Return, b"")
            );
            at += newline + 1;
            if blank || self.unit == StreamUnit::Line {
                return (at, None);
            }
            line = Line::Empty;
        }
        let line = match (line, &piece[at..]) {
            (line, b"") => line,
            (Line::Empty, b"\r") => Line::Return,
            _ => Line::Filled,
        };
        (piece.len(), Some(line))
    }
}

fn last_line(bytes: &[u8]) -> usize {
    memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
}

/// Returns the offset past the first unit's end in `bytes`, of which nothing before `from` has a newline that was not
/// looked at; `line` is where the line that is looked at begins, or in the end the one that is not whole.
fn end(unit: StreamUnit, bytes: &[u8], line: &mut usize, mut from: usize) -> Option<usize> {
    while let Some(at) = memchr::memchr(b'\n', &bytes[from..]) {
        let newline = from + at;
        let blank = matches!(&bytes[*line..newline], b"" | b"\r");
        from = newline + 1;
        *line = from;
        if blank || unit == StreamUnit::Line {
            return Some(from);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The units of `pieces`, and what was left; parts are joined, with a mark before each unit that came in parts.
    fn cut(unit: StreamUnit, limit: usize, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut cutter = Cutter::within(unit, limit);
        let mut units = Vec::new();
        let mut long: Option<Vec<u8>> = None;
        for piece in pieces {
            cutter.feed(piece, |cut| match cut {
                Cut::Whole { bytes, end } => {
                    assert!(long.is_none() && end <= piece.len());
                    if bytes.len() <= end {
                        assert_eq!(&piece[end - bytes.len()..end], bytes);
                    }
                    units.push(bytes.to_vec());
                }
                Cut::Part { bytes, last } => {
                    long.get_or_insert_with(|| b"long: ".to_vec())
                        .extend_from_slice(bytes);
                    if last {
                        units.extend(long.take());
                    }
                }
            });
            assert_eq!(cutter.inside(), long.is_some());
            assert!(cutter.held.len() <= limit);
        }
        (units, [long.unwrap_or_default(), cutter.finish()].concat())
    }

    #[test]
    fn units_are_the_same_wherever_a_stream_is_cut() {
        let events =
            "event: a\ndata: {\"é\":1}\n\n\n: ping\r\n\r\ndata: b\ndata: c\n\ndata: [DONE]";
        let expected: [&[u8]; 4] = [
            "event: a\ndata: {\"é\":1}\n\n".as_bytes(),
            b"\n",
            b": ping\r\n\r\n",
            b"data: b\ndata: c\n\n",
        ];
        let lines = "{\"a\":1}\n\n{\"b\":2}\r\n{\"c";
        let expected_lines: [&[u8]; 3] = [b"{\"a\":1}\n", b"\n", b"{\"b\":2}\r\n"];
        for (unit, stream, expected, rest) in [
            (
                StreamUnit::Event,
                events.as_bytes(),
                &expected[..],
                "data: [DONE]",
            ),
            (
                StreamUnit::Line,
                lines.as_bytes(),
                &expected_lines[..],
                "{\"c",
            ),
        ] {
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    let (units, left) = cut(unit, 1 << 20, &pieces);
                    assert_eq!(units, expected, "{first} {second}");
                    assert_eq!(left, rest.as_bytes());
                }
            }
        }
    }

    #[test]
    fn a_unit_that_is_too_long_is_handed_on_in_parts_and_the_next_is_whole() {
        let stream = b"data: 1\n\ndata: 12345678901234567890\r\n\r\ndata: 2\n\n";
        for size in 1..=stream.len() {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let (units, left) = cut(StreamUnit::Event, 12, &pieces);
            assert_eq!(units.len(), 3, "{size}");
            assert!(
                units[1].ends_with(b"data: 12345678901234567890\r\n\r\n"),
                "{size}"
            );
            assert_eq!(
                (&*units[0], &*units[2]),
                (&b"data: 1\n\n"[..], &b"data: 2\n\n"[..])
            );
            assert!(left.is_empty());
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_is_moved(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            size in 1usize..20,
            event in any::<bool>(),
            limit in prop_oneof![Just(8usize), Just(1 << 20)],
        ) {
            let unit = if event { StreamUnit::Event } else { StreamUnit::Line };
            let mut cutter = Cutter::within(unit, limit);
            let mut all = Vec::new();
            for piece in bytes.chunks(size) {
                cutter.feed(piece, |cut| match cut {
                    Cut::Whole { bytes, .. } | Cut::Part { bytes, .. } => all.extend_from_slice(bytes),
                });
            }
            all.extend_from_slice(&cutter.finish());
            prop_assert_eq!(all, bytes);
        }
    }
}
