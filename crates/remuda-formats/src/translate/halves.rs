//! Halves of characters in an answer: a provider that cuts its text by UTF-16 sends the two halves of a pair in two events.
//! They are joined here; a half that stays alone becomes U+FFFD, as many clients' parsers refuse it.

use std::borrow::Cow;

use crate::ir::{Event, Text};
use crate::wire::json::{cut_half, may_have_halves, whole_characters};

/// What a half belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Text,
    Thinking,
    Refusal,
    Arguments(usize),
}

/// Joins what belongs together.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// The first half of a character, and what it ended.
    held: Option<(Piece, String)>,
}

impl Halves {
    /// Gives the event on, with whole characters only.
    pub(super) fn pass(&mut self, event: Event<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        let Some((piece, text)) = text_of(&event) else {
            if !matches!(event, Event::Ping | Event::Usage(_)) {
                self.release(emit);
            }
            return emit(event);
        };
        if self.held.is_none() && !may_have_halves(text.as_escaped()) {
            return emit(event);
        }
        if self.held.as_ref().is_some_and(|(held, _)| *held != piece) {
            self.release(emit);
        }
        let mut whole = self.held.take().map(|(_, half)| half).unwrap_or_default();
        whole.push_str(text.as_escaped());
        if let Some(half) = cut_half(&mut whole) {
            self.held = Some((piece, half));
        }
        if !whole.is_empty() {
            emit(piece.event(&without_halves(&whole)));
        }
    }

    /// The other half has not come.
    fn release(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some((piece, _)) = self.held.take() {
            emit(piece.event(r"\ufffd"));
        }
    }
}

impl Piece {
    fn event(self, inside: &str) -> Event<'_> {
        let text = Text::escaped(inside);
        match self {
            Piece::Text => Event::Text(text),
            Piece::Thinking => Event::Thinking(text),
            Piece::Refusal => Event::Refusal(text),
            Piece::Arguments(index) => Event::ToolArguments {
                index,
                fragment: text,
            },
        }
    }
}

fn text_of<'e>(event: &'e Event<'_>) -> Option<(Piece, &'e Text<'e>)> {
    match event {
        Event::Text(text) => Some((Piece::Text, text)),
        Event::Thinking(text) => Some((Piece::Thinking, text)),
        Event::Refusal(text) => Some((Piece::Refusal, text)),
        Event::ToolArguments { index, fragment } => Some((Piece::Arguments(*index), fragment)),
        _ => None,
    }
}

fn without_halves(inside: &str) -> Cow<'_, str> {
    match whole_characters(inside.as_bytes()) {
        None => Cow::Borrowed(inside),
        Some(mended) => String::from_utf8_lossy(&mended).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(events: &[Event<'static>]) -> Vec<String> {
        let mut halves = Halves::default();
        let mut passed = Vec::new();
        for event in events {
            halves.pass(event.clone(), &mut |event| {
                passed.push(match text_of(&event) {
                    Some((piece, text)) => format!("{piece:?} {}", text.as_escaped()),
                    None => format!("{event:?}"),
                });
            });
        }
        passed
    }

    fn text(inside: &'static str) -> Event<'static> {
        Event::Text(Text::escaped(inside))
    }

    #[test]
    fn two_halves_in_two_events_are_one_character() {
        assert_eq!(
            passed(&[text(r"a\ud83d"), Event::Ping, text(r"\ude00b"), Event::End]),
            ["Text a", "Ping", r"Text \ud83d\ude00b", "End"]
        );
        let piece = |fragment| Event::ToolArguments {
            index: 1,
            fragment: Text::escaped(fragment),
        };
        assert_eq!(
            passed(&[piece(r"{\ud83d"), piece(r"\ude00}")]),
            ["Arguments(1) {", r"Arguments(1) \ud83d\ude00}"]
        );
    }

    #[test]
    fn a_half_without_the_other_is_replaced() {
        assert_eq!(
            passed(&[text(r"a\ud83d"), Event::Thinking(Text::escaped(r"\ude00"))]),
            ["Text a", r"Text \ufffd", r"Thinking \ufffd"]
        );
        assert_eq!(
            passed(&[text(r"\ud83d"), Event::End]),
            [r"Text \ufffd", "End"]
        );
        assert_eq!(
            passed(&[text(r"\\ud83d"), text(r"\ud83dx\ude00\ud83d\ude00")]),
            [r"Text \\ud83d", r"Text \ufffdx\ufffd\ud83d\ude00"]
        );
    }
}
