//! Stop strings that a provider does not take: the answer is cut at them here.

use crate::ir::Text;

/// Looks for stop strings in a text that comes in pieces.
#[derive(Debug)]
pub(super) struct Stops {
    strings: Vec<String>,
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
        let strings: Vec<_> = strings
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        (!strings.is_empty()).then_some(Stops {
            strings,
            held: String::new(),
        })
    }

    pub(super) fn string(&self, index: usize) -> &str {
        &self.strings[index]
    }

    pub(super) fn feed(&mut self, text: &Text<'_>) -> Passed {
        self.held.push_str(&text.decoded());
        let met = self
            .strings
            .iter()
            .enumerate()
            .filter_map(|(index, stop)| Some((self.held.find(stop.as_str())?, index)))
            .min();
        if let Some((at, index)) = met {
            let mut before = std::mem::take(&mut self.held);
            before.truncate(at);
            return Passed::Stopped(before, index);
        }
        let keep = self
            .strings
            .iter()
            .map(|stop| begun(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Passed::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What was held and is no stop string after all.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that `stop` begins with.
fn begun(text: &str, stop: &str) -> usize {
    (1..stop.len())
        .rev()
        .filter(|length| stop.is_char_boundary(*length))
        .find(|length| text.ends_with(&stop[..*length]))
        .unwrap_or(0)
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
