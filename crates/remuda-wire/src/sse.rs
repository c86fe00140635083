//! Cuts server-sent events out of pieces that are split anywhere (WHATWG HTML §9.2.6, "Interpreting an
//! event stream"). Lines that are no field of it are offered too: some providers break into a
//! stream with an error as bare JSON.
//!
//! Lines end with `\n` or `\r\n`. A `\r` alone, which the standard allows, is not an end of line here:
//! no provider sends it, and it would hold back each piece that ends with `\r` until the next one.

use super::ndjson::MAX_LINE;

/// What stays allocated for the beginnings of events between two of them.
const KEPT_CAPACITY: usize = 16 << 10;

/// An event's line, or all of its data lines together, were longer than the splitter's bound. The
/// splitter has dropped that event whole and goes on with the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {limit} bytes")]
pub struct EventTooLong {
    pub limit: usize,
}

/// What was found in a stream, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An event that has data, be it empty, or that is named an error. `name` is empty where the event has none;
    /// several data lines are joined by `\n`.
    Event { name: &'a [u8], data: &'a [u8] },
    /// A line that is neither a field (`data`, `event`, `id`, `retry`) nor a comment nor blank,
    /// without its end.
    Raw(&'a [u8]),
}

/// Finds events in pieces. An event that lies whole within a piece and has one data line is handed
/// on in place.
#[derive(Debug)]
pub struct EventSplitter {
    limit: usize,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// What earlier pieces, or earlier lines, have brought of the event that is being read.
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Whether the stream stands inside a line that was too long.
    skipping_line: bool,
    /// Whether the stream stands inside an event that was too long.
    skipping_event: bool,
    /// Whether the first line, which may begin with a byte order mark, has passed.
    begun: bool,
}

/// What of the event being read lies in the piece being read. If `data` is here, the splitter's
/// own is empty.
#[derive(Default)]
struct InPlace<'p> {
    name: Option<&'p [u8]>,
    data: Option<&'p [u8]>,
}

enum Line<'a> {
    Blank,
    Name(&'a [u8]),
    Data(&'a [u8]),
    Ignored,
    Raw(&'a [u8]),
}

impl Default for EventSplitter {
    fn default() -> Self {
        EventSplitter::new(MAX_LINE)
    }
}

impl EventSplitter {
    /// Creates a splitter for lines of at most `limit` bytes, their ends not counted, and for events whose data is at
    /// most as long.
    pub fn new(limit: usize) -> Self {
        EventSplitter {
            limit,
            partial: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            skipping_line: false,
            skipping_event: false,
            begun: false,
        }
    }

    /// Calls `on` for every event and bare line that ends in `piece`.
    ///
    /// Events that were too long are reported once, after all others of the piece have been handed on.
    pub fn feed(&mut self, piece: &[u8], mut on: impl FnMut(Item<'_>)) -> Result<(), EventTooLong> {
        let mut here = InPlace::default();
        let mut rest = piece;
        let mut fits = true;
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            let head = &rest[..newline];
            rest = &rest[newline + 1..];
            if self.skipping_line {
                self.skipping_line = false;
            } else if self.partial.len() + head.len() > self.limit {
                fits = false;
                self.drop_event(&mut here);
            } else if self.partial.is_empty() {
                fits &= self.line_in_place(head, &mut here, &mut on);
            } else {
                self.partial.extend_from_slice(head);
                fits &= self.line_of_partial(&mut on);
            }
        }
        fits &= self.keep(here, rest);
        self.report(fits)
    }

    /// Takes the stream's end for the end of the last line and event; the splitter is as new.
    ///
    /// The standard drops an event without its blank line. Servers exist that leave the last one
    /// out, and an event that was cut short shows itself as broken JSON.
    pub fn finish(&mut self, mut on: impl FnMut(Item<'_>)) -> Result<(), EventTooLong> {
        let mut fits = true;
        if !self.partial.is_empty() {
            fits = self.line_of_partial(&mut on);
        }
        self.end_event(&mut InPlace::default(), &mut on);
        *self = EventSplitter::new(self.limit);
        self.report(fits)
    }

    fn report(&self, fits: bool) -> Result<(), EventTooLong> {
        if fits {
            return Ok(());
        }
        Err(EventTooLong { limit: self.limit })
    }

    /// Takes a line that lies whole in the piece. Returns false when it made the event too long.
    fn line_in_place<'p>(
        &mut self,
        line: &'p [u8],
        here: &mut InPlace<'p>,
        on: &mut impl FnMut(Item<'_>),
    ) -> bool {
        match self.read(line) {
            Line::Blank => self.end_event(here, on),
            Line::Name(name) => here.name = Some(name),
            Line::Data(data) if here.data.is_none() && !self.has_data => here.data = Some(data),
            Line::Data(data) => {
                let fits = here.data.take().is_none_or(|first| self.add(first)) && self.add(data);
                if !fits {
                    self.drop_event(here);
                }
                return fits;
            }
            Line::Raw(line) => on(Item::Raw(line)),
            Line::Ignored => {}
        }
        true
    }

    /// The line that `partial` has become: the first that ends in its piece, so that nothing of its
    /// event is in place. False when it made the event too long.
    fn line_of_partial(&mut self, on: &mut impl FnMut(Item<'_>)) -> bool {
        let mut line = std::mem::take(&mut self.partial);
        let mut fits = true;
        match self.read(&line) {
            Line::Blank => self.end_event(&mut InPlace::default(), on),
            Line::Name(name) => self.set_name(name),
            Line::Data(data) => fits = self.add(data),
            Line::Raw(line) => on(Item::Raw(line)),
            Line::Ignored => {}
        }
        if !fits {
            self.drop_event(&mut InPlace::default());
        }
        line.clear();
        line.shrink_to(KEPT_CAPACITY);
        self.partial = line;
        fits
    }

    /// Returns what a line says, its `\n` already gone.
    fn read<'l>(&mut self, line: &'l [u8]) -> Line<'l> {
        let mut line = line.strip_suffix(b"\r").unwrap_or(line);
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return Line::Blank;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => Line::Data(value),
            b"event" => Line::Name(value),
            b"" | b"id" | b"retry" => Line::Ignored,
            _ => Line::Raw(line),
        }
    }

    /// Takes a blank line, and hands on what has been read, if it has data or is an error.
    fn end_event(&mut self, here: &mut InPlace<'_>, on: &mut impl FnMut(Item<'_>)) {
        let kept = self.has_data.then_some(self.data.as_slice());
        let name = here.name.take().unwrap_or(&self.name);
        // The standard drops an event without data, but an error is one without words as well.
        let wordless = (name == b"error").then_some(&b""[..]);
        if let Some(data) = here.data.take().or(kept).or(wordless)
            && !self.skipping_event
        {
            on(Item::Event { name, data });
        }
        self.skipping_event = false;
        self.forget();
    }

    /// Leaves out the event that is being read, up to its blank line.
    fn drop_event(&mut self, here: &mut InPlace<'_>) {
        *here = InPlace::default();
        self.partial = Vec::new();
        self.skipping_event = true;
        self.forget();
    }

    fn forget(&mut self) {
        self.name.clear();
        self.data.clear();
        self.data.shrink_to(KEPT_CAPACITY);
        self.has_data = false;
    }

    fn set_name(&mut self, name: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(name);
    }

    /// Adds a data line to those before; false when there is no room for it.
    fn add(&mut self, line: &[u8]) -> bool {
        if self.skipping_event {
            return true;
        }
        let joint = usize::from(self.has_data);
        if self.data.len() + joint + line.len() > self.limit {
            return false;
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(line);
        self.has_data = true;
        true
    }

    /// Keeps what the piece brought of an event and of a line that end in a later one; false when
    /// that made the line too long.
    fn keep(&mut self, mut here: InPlace<'_>, rest: &[u8]) -> bool {
        if self.skipping_line {
            return true;
        }
        if self.partial.len() + rest.len() > self.limit {
            self.drop_event(&mut here);
            self.skipping_line = true;
            return false;
        }
        self.partial.extend_from_slice(rest);
        if let Some(name) = here.name {
            self.set_name(name);
        }
        here.data.is_none_or(|data| self.add(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Clone)]
    enum Owned {
        Event(Vec<u8>, Vec<u8>),
        Raw(Vec<u8>),
    }

    fn event(name: &str, data: &str) -> Owned {
        Owned::Event(name.into(), data.into())
    }

    fn raw(line: &str) -> Owned {
        Owned::Raw(line.into())
    }

    fn owned(item: Item<'_>) -> Owned {
        match item {
            Item::Event { name, data } => Owned::Event(name.to_vec(), data.to_vec()),
            Item::Raw(line) => Owned::Raw(line.to_vec()),
        }
    }

    /// The items of `pieces`, and how often one was too long.
    fn split(limit: usize, pieces: &[&[u8]]) -> (Vec<Owned>, usize) {
        let mut splitter = EventSplitter::new(limit);
        let mut items = Vec::new();
        let mut too_long = 0;
        for piece in pieces {
            let fed = splitter.feed(piece, |item| items.push(owned(item)));
            too_long += usize::from(fed.is_err());
            assert!(splitter.partial.len() <= limit && splitter.data.len() <= limit);
        }
        let finished = splitter.finish(|item| items.push(owned(item)));
        (items, too_long + usize::from(finished.is_err()))
    }

    /// What `stream` gives, whole and cut at every one and two places.
    fn items(limit: usize, stream: &str) -> Vec<Owned> {
        let stream = stream.as_bytes();
        let (whole, too_long) = split(limit, &[stream]);
        assert_eq!(too_long, 0);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(
                    split(limit, &pieces),
                    (whole.clone(), 0),
                    "{first} {second}"
                );
            }
        }
        assert_eq!(
            split(limit, &stream.chunks(1).collect::<Vec<_>>()),
            (whole.clone(), 0)
        );
        whole
    }

    #[test]
    fn events_with_and_without_names_at_every_split() {
        let stream =
            "event: message_start\ndata: {\"a\":1}\n\ndata:{\"b\":\"é\"}\n\ndata: [DONE]\n\n";
        let expected = [
            event("message_start", "{\"a\":1}"),
            event("", "{\"b\":\"é\"}"),
            event("", "[DONE]"),
        ];
        assert_eq!(items(64, stream), expected);
        assert_eq!(items(64, &stream.replace('\n', "\r\n")), expected);
    }

    #[test]
    fn data_lines_are_joined() {
        let stream = "data: one\ndata\nevent: late\ndata:  two\n\nevent: a\nevent: b\ndata: x\n\n";
        assert_eq!(
            items(64, stream),
            [event("late", "one\n\n two"), event("b", "x")]
        );
    }

    #[test]
    fn comments_ids_and_events_without_data_are_left_out() {
        let stream = "\u{feff}: OPENROUTER PROCESSING\n\n:\n\nid: 7\nretry: 10\n\nevent: ping\n\ndata:\n\n\n\n";
        assert_eq!(items(64, stream), [event("", "")]);
        assert_eq!(items(64, "\u{feff}data: a\n\n"), [event("", "a")]);
        assert_eq!(items(64, "event: error\n\n"), [event("error", "")]);
    }

    #[test]
    fn the_last_blank_line_may_be_missing() {
        for end in ["", "\n", "\r\n", "\n\n"] {
            let stream = format!("data: a\n\nevent: x\ndata: b{end}");
            assert_eq!(items(64, &stream), [event("", "a"), event("x", "b")]);
        }
        assert_eq!(items(64, "data: a\n\nevent: x"), [event("", "a")]);
    }

    #[test]
    fn bare_lines_are_offered() {
        let stream = "data: {}\n\n{\n  \"error\": {\n    \"data\": 1\n\n  }\n}";
        let expected = [
            event("", "{}"),
            raw("{"),
            raw("  \"error\": {"),
            raw("    \"data\": 1"),
            raw("  }"),
            raw("}"),
        ];
        assert_eq!(items(64, stream), expected);
        assert_eq!(
            items(64, "<html>\nDATA: 1\ndatabase: 2\n"),
            [raw("<html>"), raw("DATA: 1"), raw("database: 2")]
        );
    }

    #[test]
    fn an_event_of_one_data_line_is_handed_on_in_place() {
        let piece = b"event: delta\ndata: {}\n\ndata: []\n\n";
        let mut splitter = EventSplitter::default();
        let mut seen = 0;
        splitter
            .feed(piece, |item| {
                let Item::Event { name, data } = item else {
                    panic!("{item:?}")
                };
                assert!(piece.as_ptr_range().contains(&data.as_ptr()));
                assert!(name.is_empty() || piece.as_ptr_range().contains(&name.as_ptr()));
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, 2);
        let held = [&splitter.partial, &splitter.name, &splitter.data];
        assert!(held.iter().all(|buffer| buffer.capacity() == 0));
    }

    #[test]
    fn what_is_too_long_is_dropped_whole_and_the_next_event_is_read() {
        let long_line = "data: 1\n\nevent: x\ndata: 1234567890123456\ndata: 1\n\ndata: 2\n\n";
        let many_lines = "data: 1\n\ndata: 1234\ndata: 1234\ndata: 1234\ndata: 1\n\ndata: 2\n\n";
        for stream in [long_line, many_lines] {
            for first in 0..=stream.len() {
                for second in first..=stream.len() {
                    let (items, too_long) = split(
                        12,
                        &[
                            &stream.as_bytes()[..first],
                            &stream.as_bytes()[first..second],
                            &stream.as_bytes()[second..],
                        ],
                    );
                    assert_eq!(
                        items,
                        [event("", "1"), event("", "2")],
                        "{stream} {first} {second}"
                    );
                    assert!((1..=3).contains(&too_long), "{stream} {first} {second}");
                }
            }
        }
        let (items, too_long) = split(12, &[b"data: 1234567890"]);
        assert_eq!((items, too_long), (vec![], 1));
    }

    /// The standard's algorithm over the whole text, as simple as it can be said.
    fn by_the_book(stream: &[u8]) -> Vec<Owned> {
        let mut items = Vec::new();
        let (mut name, mut data) = (Vec::new(), Vec::new());
        let mut lines: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
        lines.push(b"");
        for line in lines {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (field, value) = match line.iter().position(|&byte| byte == b':') {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &b""[..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                _ if line.is_empty() => {
                    if data.pop().is_some() || name == b"error" {
                        items.push(Owned::Event(name, data));
                    }
                    (name, data) = (Vec::new(), Vec::new());
                }
                b"event" => name = value.to_vec(),
                b"data" => data.extend([value, b"\n"].concat()),
                b"" | b"id" | b"retry" => {}
                _ => items.push(Owned::Raw(line.to_vec())),
            }
        }
        items
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_in_any_split(
            lines in prop::collection::vec(
                "(data|event|id|retry|other)?(: ?)?[a-z:é]{0,6}\r?", 0..24
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stream = lines.join("\n").into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            prop_assert_eq!(split(1 << 20, &pieces), (by_the_book(&stream), 0));
        }

        #[test]
        fn takes_any_bytes(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            split(16, &pieces);
        }
    }
}
