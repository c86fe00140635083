//! The thoughts of a turn in their places among its words and calls, for formats that keep them there. Formats that have one
//! field for each of these are written from the turn as it was read.

use super::{Message, Part, ThoughtPlace};

/// Moves thoughts to their places. One without a place comes as early as the order of the thoughts allows.
pub fn place_thoughts(messages: &mut [Message<'_>]) {
    for message in messages {
        if message.places.iter().any(Option::is_some) {
            let places = std::mem::take(&mut message.places);
            let parts = std::mem::take(&mut message.parts);
            message.parts = placed(parts, &places);
            end_with_what_was_said(&mut message.parts);
        }
    }
}

fn placed<'a>(parts: Vec<Part<'a>>, places: &[Option<ThoughtPlace>]) -> Vec<Part<'a>> {
    let mut placed = Vec::with_capacity(parts.len() + places.len());
    let (mut thoughts, mut words, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Thought(_) => thoughts.push(part),
            Part::ToolCall(_) => calls.push(part),
            // It belongs to the part before it.
            Part::Breakpoint(_) if !calls.is_empty() => calls.push(part),
            _ => words.push(part),
        }
    }
    let (mut words, mut calls) = (Rest::of(words), Rest::of(calls));
    let mut places = places.iter();
    for thought in thoughts {
        if let Some(Some(place)) = places.next() {
            words.until(place.text, &mut placed);
            calls.until(place.calls, &mut placed);
        }
        placed.push(thought);
    }
    words.until(usize::MAX, &mut placed);
    calls.until(usize::MAX, &mut placed);
    placed
}

/// Parts of which some were put in their places already.
struct Rest<'a> {
    parts: std::iter::Peekable<std::vec::IntoIter<Part<'a>>>,
    /// The rest of a text of which the first part was put.
    begun: Option<Part<'a>>,
    /// Characters and calls so far.
    told: usize,
}

impl<'a> Rest<'a> {
    fn of(parts: Vec<Part<'a>>) -> Self {
        Rest {
            parts: parts.into_iter().peekable(),
            begun: None,
            told: 0,
        }
    }

    /// Appends what stands before this character or call, with the breakpoints after it.
    fn until(&mut self, place: usize, parts: &mut Vec<Part<'a>>) {
        while let Some(part) = self.next_before(place) {
            let room = place.saturating_sub(self.told);
            match part {
                Part::ToolCall(_) => self.told += 1,
                Part::Text(text) => {
                    let length = text.chars();
                    self.told += length.min(room);
                    if length > room {
                        let (before, after) = text.split_at_char(room);
                        parts.push(Part::Text(before));
                        self.begun = Some(Part::Text(after));
                        continue;
                    }
                    parts.push(Part::Text(text));
                    continue;
                }
                _ => {}
            }
            parts.push(part);
        }
    }

    fn next_before(&mut self, place: usize) -> Option<Part<'a>> {
        let is_due = self.told < place;
        match self.begun.take_if(|_| is_due) {
            Some(begun) => Some(begun),
            None if self.begun.is_some() => None,
            None => self.parts.next_if(|part| is_due || part.is_breakpoint()),
        }
    }
}

/// Claude takes no turn that ends with a thought.
fn end_with_what_was_said(parts: &mut [Part<'_>]) {
    let speaks = |part: &Part<'_>| !matches!(part, Part::Thought(_) | Part::Breakpoint(_));
    let Some(last) = parts.iter().rposition(speaks) else {
        return;
    };
    let marks = parts[last + 1..]
        .iter()
        .take_while(|part| part.is_breakpoint());
    let length = 1 + marks.count();
    parts[last..].rotate_left(length);
}

#[cfg(test)]
mod tests {
    use super::super::{CacheTtl, Json, Role, Text, Thought, ToolCall};
    use super::*;

    fn shown(parts: &[Part<'_>]) -> Vec<String> {
        let shown = |part: &Part<'_>| match part {
            Part::Text(text) => text.decoded().into_owned(),
            Part::Thought(thought) => format!("({})", thought.text.decoded()),
            Part::ToolCall(call) => format!("{}()", call.name.decoded()),
            _ => "|".to_owned(),
        };
        parts.iter().map(shown).collect()
    }

    fn woven(
        texts: &[&'static str],
        calls: &[&'static str],
        places: &[Option<(usize, usize)>],
    ) -> Vec<String> {
        let mut parts: Vec<Part<'_>> = (0..places.len())
            .map(|number| {
                let text = Text::escaped(number.to_string());
                Part::Thought(Thought {
                    text,
                    ..Thought::default()
                })
            })
            .collect();
        parts.extend(texts.iter().map(|text| match *text {
            "|" => Part::Breakpoint(CacheTtl::Short),
            text => Part::Text(Text::escaped(text)),
        }));
        parts.extend(calls.iter().map(|name| match *name {
            "|" => Part::Breakpoint(CacheTtl::Short),
            name => Part::ToolCall(ToolCall {
                id: None,
                name: Text::escaped(name),
                arguments: Json::empty_object(),
                signature: None,
            }),
        }));
        let places = places
            .iter()
            .map(|place| place.map(|(text, calls)| ThoughtPlace { text, calls }));
        let mut messages = [Message {
            places: places.collect(),
            ..Message::new(Role::Assistant, parts)
        }];
        place_thoughts(&mut messages);
        shown(&messages[0].parts)
    }

    #[test]
    fn thoughts_part_the_words_where_they_stood() {
        assert_eq!(
            woven(
                &["abé", "cd"],
                &["f", "g"],
                &[None, Some((2, 0)), Some((3, 0)), Some((5, 1))]
            ),
            ["(0)", "ab", "(1)", "é", "(2)", "cd", "f()", "(3)", "g()"]
        );
        assert_eq!(
            woven(&["ab"], &["f"], &[None, None]),
            ["(0)", "(1)", "ab", "f()"]
        );
        assert_eq!(
            woven(&["ab", "|"], &["f", "|"], &[Some((2, 0)), Some((2, 1))]),
            ["ab", "|", "(0)", "(1)", "f()", "|"]
        );
    }

    #[test]
    fn places_that_are_gone_lose_nothing() {
        assert_eq!(
            woven(&["ab"], &[], &[Some((9, 9)), Some((1, 0))]),
            ["(0)", "(1)", "ab"]
        );
        assert_eq!(woven(&[], &[], &[Some((9, 9))]), ["(0)"]);
        assert_eq!(
            woven(&["ab"], &["f"], &[Some((1, 0)), None, Some((0, 0))]),
            ["a", "(0)", "(1)", "(2)", "b", "f()"]
        );
    }
}
