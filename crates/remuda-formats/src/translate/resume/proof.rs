//! Holds a second telling of an answer against the first: what was said is left out, as long as it is the same, byte for
//! byte.

use super::sent::Sent;
use crate::ir::{Event, Text};

/// The comparison of one telling with what was said before.
pub(in super::super) struct Proof {
    thought: Expected,
    words: Expected,
}

/// A text that is to come once more.
struct Expected {
    text: String,
    /// How many bytes of it have come.
    come: usize,
}

/// What becomes of an event of the second telling.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Told<'e> {
    /// Its client has it.
    Known,
    /// It is news.
    News(Event<'e>),
    /// The answer is another one.
    Differs,
}

/// How a piece stands to the text that is expected.
enum Match {
    Inside,
    /// The text has come, and so much of the piece follows it.
    Beyond(String),
    Differs,
}

impl Proof {
    pub(super) fn of(sent: &Sent) -> Self {
        let expected = |text| Expected { text, come: 0 };
        Proof {
            thought: expected(sent.thought()),
            words: expected(sent.words()),
        }
    }

    /// Returns whether all that was said has come once more.
    pub(in super::super) fn is_over(&self) -> bool {
        self.thought.has_come() && self.words.has_come()
    }

    /// Takes the next event of the second telling. Asked only until the proof is over.
    pub(in super::super) fn take<'e>(&mut self, event: Event<'e>) -> Told<'e> {
        match event {
            Event::Thinking(text) if text.is_empty() => Told::Known,
            Event::Text(text) if text.is_empty() => Told::Known,
            // Of words that were said before there may be no more than their thought.
            Event::Thinking(text) => match self.thought.meet(&text) {
                Match::Inside => Told::Known,
                Match::Beyond(rest) if self.words.text.is_empty() => {
                    Told::News(Event::Thinking(Text::plain(&rest).into_owned()))
                }
                Match::Beyond(_) | Match::Differs => Told::Differs,
            },
            Event::Text(_) if !self.thought.has_come() => Told::Differs,
            Event::Text(text) => match self.words.meet(&text) {
                Match::Inside => Told::Known,
                Match::Beyond(rest) => Told::News(Event::Text(Text::plain(&rest).into_owned())),
                Match::Differs => Told::Differs,
            },
            Event::ToolStart { .. }
            | Event::ToolArguments { .. }
            | Event::ToolEnd { .. }
            | Event::ToolCall { .. }
            | Event::Refusal(_)
            | Event::Foreign
            | Event::Finish { .. }
            | Event::End => Told::Differs,
            // They were said in another way before, or not at all.
            Event::Start { .. }
            | Event::Signature { .. }
            | Event::TextSignature(_)
            | Event::Logprobs(_)
            | Event::Sources(_) => Told::Known,
            Event::Served { .. }
            | Event::Usage(_)
            | Event::Failed(_)
            | Event::Ping
            | Event::Malformed
            | Event::Reframed => Told::News(event),
        }
    }
}

impl Expected {
    fn has_come(&self) -> bool {
        self.come == self.text.len()
    }

    fn meet(&mut self, piece: &Text<'_>) -> Match {
        let piece = piece.decoded();
        let rest = &self.text[self.come..];
        if rest.starts_with(&*piece) {
            self.come += piece.len();
            return Match::Inside;
        }
        match piece.strip_prefix(rest) {
            Some(beyond) => {
                self.come = self.text.len();
                Match::Beyond(beyond.to_owned())
            }
            None => Match::Differs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Finish, Usage};

    fn said<'e>(thoughts: &[&'e str], words: &[&'e str]) -> Vec<Event<'e>> {
        let thoughts = thoughts
            .iter()
            .map(|text| Event::Thinking(Text::escaped(*text)));
        let words = words.iter().map(|text| Event::Text(Text::escaped(*text)));
        thoughts.chain(words).collect()
    }

    /// What a client reads after the first telling; `None` if the second differs.
    fn news(first: &[Event<'_>], second: &[Event<'_>]) -> Option<(String, String)> {
        let mut sent = Sent::default();
        first.iter().for_each(|event| sent.note(event));
        let mut proof = Proof::of(&sent);
        let (mut thought, mut words) = (String::new(), String::new());
        for event in second {
            let told = if proof.is_over() {
                Told::News(event.clone())
            } else {
                proof.take(event.clone())
            };
            match told {
                Told::Known => {}
                Told::News(Event::Thinking(text)) => thought += &text.decoded(),
                Told::News(Event::Text(text)) => words += &text.decoded(),
                Told::News(_) => {}
                Told::Differs => return None,
            }
        }
        proof.is_over().then_some((thought, words))
    }

    /// Whichever pieces an answer comes in, and wherever it broke off, its client reads it once.
    #[test]
    fn every_word_is_read_once_wherever_the_answer_broke_off() {
        let whole = "Ein naïves \"Pferd\" 🐎\nläuft & läuft.";
        let pieces = |size: usize, escaped: bool| -> Vec<String> {
            let letters: Vec<char> = whole.chars().collect();
            let texts = letters.chunks(size).map(|piece| {
                let piece: String = piece.iter().collect();
                if escaped {
                    let units = piece.encode_utf16();
                    return units.map(|unit| format!("\\u{unit:04x}")).collect();
                }
                Text::plain(&piece).as_escaped().to_owned()
            });
            texts.collect()
        };
        for first in [1, 3] {
            for second in [1, 2, 5, 100] {
                let all = pieces(first, false);
                let anew = pieces(second, true);
                let anew: Vec<&str> = anew.iter().map(String::as_str).collect();
                for cut in 0..=all.len() {
                    let begun: Vec<&str> = all[..cut].iter().map(String::as_str).collect();
                    let before: String = whole.chars().take(first * cut).collect();
                    let (_, rest) = news(&said(&[], &begun), &said(&[], &anew)).unwrap();
                    assert_eq!(before + &rest, whole, "{first} {second} {cut}");
                }
            }
        }
    }

    #[test]
    fn another_answer_is_told_from_the_same() {
        let told = |thought: &str, words: &str| Some((thought.to_owned(), words.to_owned()));
        for (first, second, expected) in [
            (
                (&["hm"][..], &["a"][..]),
                (&["hm"][..], &["ab"][..]),
                told("", "b"),
            ),
            ((&["h"], &[]), (&["hm"], &["a"]), told("m", "a")),
            ((&["hm"], &[]), (&["hm"], &["a"]), told("", "a")),
            // It thinks on, where it spoke before.
            ((&["hm"], &["a"]), (&["hmm"], &["a"]), None),
            ((&["hm"], &["a"]), (&["hm", "m"], &["a"]), None),
            ((&["hm"], &["a"]), (&["h"], &["a"]), None),
            ((&["hm"], &["a"]), (&[], &["a"]), None),
            ((&[], &["a"]), (&["hm"], &["a"]), None),
            ((&[], &["ab"]), (&[], &["a", "c"]), None),
            ((&[], &["ab"]), (&[], &["ac"]), None),
            ((&[], &["ab"]), (&[], &["A"]), None),
            ((&[], &["ab"]), (&[], &["a"]), None),
            ((&[], &["a\\u00e9"]), (&[], &["aé", "b"]), told("", "b")),
        ] {
            let (before, after) = (said(first.0, first.1), said(second.0, second.1));
            assert_eq!(news(&before, &after), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn an_answer_that_ends_sooner_is_another() {
        let finish = Event::Finish {
            reason: Finish::Stop,
            stop: None,
        };
        let before = said(&[], &["ab"]);
        for (after, same) in [
            (vec![Event::Text(Text::escaped("a")), finish.clone()], false),
            (vec![Event::Text(Text::escaped("ab")), finish], true),
            (vec![Event::Usage(Usage::default()), Event::Ping], false),
        ] {
            assert_eq!(news(&before, &after).is_some(), same, "{after:?}");
        }
    }
}
