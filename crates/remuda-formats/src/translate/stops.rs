//! Stop strings that a provider does not take: the answer is cut at them here.

use crate::ir::Text;

/// Looks for stop strings in a text that comes in pieces. Each byte of it is looked at once for each string, however
/// long the strings are and into however many pieces the text is cut.
#[derive(Debug)]
pub(super) struct Stops {
    strings: Vec<Stop>,
    /// The end of what came, decoded, that may be the beginning of a stop string.
    held: String,
}

/// What may be passed on.
pub(super) enum Passed {
    /// This much, and more may come.
    Text(String),
    /// This much, and then the stop string with that index was met.
    Stopped(String, usize),
}

impl Stops {
    pub(super) fn new(strings: Vec<String>) -> Option<Self> {
        let strings = strings.into_iter().filter(|text| !text.is_empty());
        let strings: Vec<_> = strings.map(Stop::new).collect();
        (!strings.is_empty()).then_some(Stops {
            strings,
            held: String::new(),
        })
    }

    pub(super) fn string(&self, index: usize) -> &str {
        &self.strings[index].text
    }

    pub(super) fn feed(&mut self, text: &Text<'_>) -> Passed {
        let before = self.held.len();
        self.held.push_str(&text.decoded());
        let new = &self.held.as_bytes()[before..];
        let met = self.strings.iter_mut().enumerate();
        let met = met
            .filter_map(|(index, stop)| {
                let end = before + stop.feed(new)?;
                Some((end - stop.text.len(), index))
            })
            .min();
        if let Some((at, index)) = met {
            let mut before = std::mem::take(&mut self.held);
            before.truncate(at);
            self.forget();
            return Passed::Stopped(before, index);
        }
        let begun = self.strings.iter().map(|stop| stop.begun).max();
        let keep = begun.unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Passed::Text(std::mem::replace(&mut self.held, rest))
    }

    /// Returns what was held and is no stop string after all.
    pub(super) fn finish(&mut self) -> String {
        self.forget();
        std::mem::take(&mut self.held)
    }

    fn forget(&mut self) {
        for stop in &mut self.strings {
            stop.begun = 0;
        }
    }
}

/// A string that is looked for as Knuth, Morris and Pratt have it: nothing of the text is looked at twice.
#[derive(Debug)]
struct Stop {
    text: String,
    /// The length, for each of its beginnings, of the length of the longest other one that it ends with.
    falls: Vec<u32>,
    /// The length of the beginning that the text ends with so far.
    begun: usize,
}

impl Stop {
    fn new(text: String) -> Self {
        let mut stop = Stop {
            falls: Vec::with_capacity(text.len()),
            text,
            begun: 0,
        };
        stop.falls.push(0);
        for at in 1..stop.text.len() {
            stop.step(stop.text.as_bytes()[at]);
            stop.falls.push(u32::try_from(stop.begun).unwrap_or(0));
        }
        stop.begun = 0;
        stop
    }

    fn step(&mut self, byte: u8) {
        let bytes = self.text.as_bytes();
        while self.begun > 0 && bytes[self.begun] != byte {
            self.begun = self.falls[self.begun - 1] as usize;
        }
        self.begun += usize::from(bytes[self.begun] == byte);
    }

    /// Returns where in this piece the string has come to its end.
    fn feed(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < piece.len() {
            if self.begun == 0 {
                // Most of a text is no beginning of anything.
                at += memchr::memchr(self.text.as_bytes()[0], &piece[at..])?;
            }
            self.step(piece[at]);
            at += 1;
            if self.begun == self.text.len() {
                self.begun = 0;
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut stops = Stops::new(stops.iter().map(|&stop| stop.to_owned()).collect()).unwrap();
        let mut passed = String::new();
        for piece in pieces {
            match stops.feed(&Text::plain(piece)) {
                Passed::Text(text) => passed.push_str(&text),
                Passed::Stopped(text, index) => {
                    passed.push_str(&text);
                    return (passed, Some(index));
                }
            }
        }
        passed.push_str(&stops.finish());
        (passed, None)
    }

    #[test]
    fn the_earliest_stop_string_ends_the_text_wherever_it_is_split() {
        let text = "eins zwei ENDE drei END";
        for split in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let pieces = [&text[..split], &text[split..]];
            assert_eq!(
                cut(&["END", "drei"], &pieces),
                ("eins zwei ".into(), Some(0))
            );
            assert_eq!(cut(&["nie"], &pieces), (text.into(), None));
        }
        assert_eq!(
            cut(&["\n\n"], &["a\n", "b\n", "\nc"]),
            ("a\nb".into(), Some(0))
        );
        assert!(Stops::new(vec![String::new()]).is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_a_search_in_the_whole(
            pieces in prop::collection::vec("[aäb]{0,4}", 0..8),
            stop in "[aäb]{1,4}",
        ) {
            let whole = pieces.concat();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let expected = match whole.find(&stop) {
                Some(at) => (whole[..at].to_owned(), Some(0)),
                None => (whole.clone(), None),
            };
            prop_assert_eq!(cut(&[&stop], &pieces), expected);
        }
    }
}
