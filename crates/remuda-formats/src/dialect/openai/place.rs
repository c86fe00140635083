//! Where a thought stood among the words and calls of its turn: chats have one field for each of these, so an answer's
//! `reasoning_details` say it in their ids, and a history that comes back is read by it.

use crate::ir::{self, Text};

const MARK: &str = "__at__";

/// What came before a thought in its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The place in characters of the text itself.
    pub(super) text: usize,
    pub(super) calls: usize,
    /// The range in which its own words stand in all reasoning of the turn, if they are told there alone.
    pub(super) said: Option<(usize, usize)>,
}

impl From<Place> for ir::ThoughtPlace {
    fn from(place: Place) -> Self {
        ir::ThoughtPlace {
            text: place.text,
            calls: place.calls,
        }
    }
}

impl Place {
    /// Returns whether it stands where everybody looks for it: before all else.
    fn is_first(self) -> bool {
        self.text == 0 && self.calls == 0 && self.said.is_none_or(|(start, _)| start == 0)
    }
}

/// Returns the id of an entry; `None` for one that has none and stands first.
pub(super) fn pack<'t>(id: Option<&'t Text<'_>>, place: Place) -> Option<Text<'t>> {
    let own = id.map(Text::borrow);
    if place.is_first() {
        return own;
    }
    let Place { text, calls, said } = place;
    let mut packed = own.unwrap_or_default();
    packed.push(&Text::escaped(format!("{MARK}{text}-{calls}")));
    if let Some((start, end)) = said {
        packed.push(&Text::escaped(format!("-{start}-{end}")));
    }
    Some(packed)
}

/// Returns the id and the place that [`pack`] made `id` of; another id is returned as it is.
pub(super) fn unpack(id: Text<'_>) -> (Text<'_>, Option<Place>) {
    let found = id.as_escaped().rfind(MARK).and_then(|at| {
        let mut numbers = [0; 4];
        let mut count = 0;
        for number in id.as_escaped()[at + MARK.len()..].split('-') {
            *numbers.get_mut(count)? = number.parse().ok()?;
            count += 1;
        }
        let [text, calls, start, end] = numbers;
        let said = match count {
            2 => None,
            4 => Some((start, end)),
            _ => return None,
        };
        Some((at, Place { text, calls, said }))
    });
    match found {
        Some((at, place)) => {
            let own = match id.into_inner() {
                std::borrow::Cow::Borrowed(packed) => Text::escaped(&packed[..at]),
                std::borrow::Cow::Owned(mut packed) => {
                    packed.truncate(at);
                    Text::escaped(packed)
                }
            };
            (own, Some(place))
        }
        None => (id, None),
    }
}

/// How far an answer has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    reasoning: usize,
    text: usize,
    calls: usize,
    /// Where the thought began that may still grow.
    thought: Option<usize>,
    /// Where the words began that may still grow, and whether they are signed.
    words: Option<(usize, bool)>,
}

impl Told {
    pub(super) fn thinking(&mut self, text: &Text<'_>) {
        self.words = None;
        self.thought.get_or_insert(self.reasoning);
        self.reasoning += text.chars();
    }

    pub(super) fn text(&mut self, text: &Text<'_>) {
        self.thought = None;
        self.words.get_or_insert((self.text, false));
        self.text += text.chars();
    }

    pub(super) fn call(&mut self) {
        self.thought = None;
        self.words = None;
        self.calls += 1;
    }

    /// Returns the place of the thought that ends here, or that is not shown.
    pub(super) fn thought(&mut self) -> Place {
        let here = self.here();
        self.words = None;
        Place {
            said: self.thought.take().map(|start| (start, self.reasoning)),
            ..here
        }
    }

    /// Returns the place of a signature of the words that are being told, or that come next: before them. Words that
    /// have a signature already are whole.
    pub(super) fn signed_words(&mut self) -> Place {
        self.thought = None;
        let here = self.here();
        let start = match self.words {
            Some((start, false)) => start,
            _ => here.text,
        };
        self.words = Some((start, true));
        Place {
            text: start,
            ..here
        }
    }

    /// Returns what has come so far.
    fn here(&self) -> Place {
        Place {
            text: self.text,
            calls: self.calls,
            said: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_ids_stay_as_they_are() {
        for id in [
            "rs_1",
            "",
            "a__at__",
            "a__at__1",
            "a__at__1-2-3",
            "__at__1-2-3-4-5",
            "__at__x-y",
        ] {
            assert_eq!(unpack(Text::escaped(id)), (Text::escaped(id), None), "{id}");
        }
        assert_eq!(pack(None, Place::default()), None);
        let own = Text::escaped("rs_1");
        assert_eq!(pack(Some(&own), Place::default()), Some(own.borrow()));
        let said = Some((0, 9));
        assert_eq!(
            pack(
                None,
                Place {
                    said,
                    ..Place::default()
                }
            ),
            None
        );
    }

    #[test]
    fn a_signature_of_words_stands_before_them() {
        let mut told = Told::default();
        told.text(&Text::escaped("ab"));
        told.call();
        told.text(&Text::escaped("cd"));
        assert_eq!(
            told.signed_words(),
            Place {
                text: 2,
                calls: 1,
                said: None
            }
        );
        told.text(&Text::escaped("e"));
        // They have one: this is of what comes next.
        assert_eq!(
            told.signed_words(),
            Place {
                text: 5,
                calls: 1,
                said: None
            }
        );
        told.text(&Text::escaped("f"));
        told.thinking(&Text::escaped("t"));
        assert_eq!(
            told.thought(),
            Place {
                text: 6,
                calls: 1,
                said: Some((0, 1))
            }
        );
        assert_eq!(told.thought().said, None);
    }

    proptest! {
        #[test]
        fn places_come_back(id in any::<String>(), numbers in any::<[u16; 4]>(), said in any::<bool>()) {
            let [text, calls, start, end] = numbers.map(usize::from);
            let place = Place { text: text + 1, calls, said: said.then_some((start, end)) };
            let id = Text::plain(&id);
            let packed = pack(Some(&id), place).unwrap().into_owned();
            prop_assert_eq!(unpack(packed), (id, Some(place)));
        }
    }
}
