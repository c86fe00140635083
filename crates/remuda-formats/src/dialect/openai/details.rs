//! `reasoning_details`: the form that OpenRouter has given to thoughts and their signatures, in histories and answers.

use serde::Deserialize;

use super::field::Field;
use super::place::{self, Place};
use crate::dialect::signature::is_of_text;
use crate::ir::{Text, Thought};

/// A thought, and where it stood in its turn if it says so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed<'a> {
    pub(super) thought: Thought<'a>,
    pub(super) place: Option<Place>,
}

/// One entry, or one piece of an entry that was streamed.
#[derive(Deserialize)]
pub(super) struct Detail<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    pub(super) summary: Option<Text<'a>>,
    /// The proof of a thought that is not shown.
    pub(super) data: Option<Text<'a>>,
    pub(super) signature: Option<Text<'a>>,
    pub(super) id: Option<Text<'a>>,
    pub(super) index: Option<u64>,
}

impl<'a> Detail<'a> {
    /// Returns its own id, without the place that the gateway has written into it.
    pub(super) fn own_id(&mut self) -> (Option<Text<'a>>, Option<Place>) {
        let full = |id: &Text<'_>| !id.is_empty();
        let Some(id) = self.id.take().filter(full) else {
            return (None, None);
        };
        let (id, place) = place::unpack(id);
        (Some(id).filter(full), place)
    }

    /// Returns the detail as a thought; `None` if it says nothing.
    fn into_thought(mut self) -> Option<Placed<'a>> {
        let full = |text: Option<Text<'a>>| text.filter(|text| !text.is_empty());
        let (id, place) = self.own_id();
        if let Some(data) = full(self.data) {
            let thought = Thought {
                text: Text::default(),
                signature: Some(data),
                redacted: id.is_none(),
                id,
            };
            return Some(Placed { thought, place });
        }
        let text = full(self.text).or(full(self.summary));
        let signature = full(self.signature);
        (text.is_some() || signature.is_some()).then(|| Placed {
            thought: Thought {
                text: text.unwrap_or_default(),
                signature,
                redacted: false,
                id,
            },
            place,
        })
    }
}

/// Reads the thoughts of an assistant's turn. `said` is its reasoning as plain text, which belongs to the signature
/// where there is one without a text: streams do not tell the text twice. Where there are several, each says which part
/// of the text is its own.
pub(super) fn read<'a>(field: Field<'a>, said: Option<Text<'a>>) -> Vec<Placed<'a>> {
    let details: Vec<Detail<'a>> = field
        .and_then(|field| serde_json::from_str(field.get()).ok())
        .unwrap_or_default();
    let mut thoughts: Vec<Placed<'a>> = Vec::new();
    let mut last_index = None;
    for detail in details {
        let index = detail.index;
        let Some(more) = detail.into_thought() else {
            continue;
        };
        match thoughts.last_mut() {
            Some(before)
                if index.is_some()
                    && index == last_index
                    && grows(&before.thought, &more.thought) =>
            {
                before.thought.text.push(&more.thought.text);
                before.thought.signature = more.thought.signature;
                before.thought.id = before.thought.id.take().or(more.thought.id);
                before.place = before.place.or(more.place);
            }
            _ => thoughts.push(more),
        }
        last_index = index;
    }
    let has_text = |placed: &Placed<'_>| !placed.thought.text.is_empty();
    match said {
        Some(said) if !thoughts.iter().any(has_text) => share(thoughts, said),
        _ => thoughts,
    }
}

/// Gives the thoughts the text that they were told with. What belongs to none of them was not signed.
fn share<'a>(mut thoughts: Vec<Placed<'a>>, said: Text<'a>) -> Vec<Placed<'a>> {
    if !thoughts.iter().any(|placed| placed.says().is_some()) {
        let mut signed = thoughts.iter_mut().filter(|placed| placed.takes_text());
        match (signed.next(), signed.next()) {
            (Some(only), None) => only.thought.text = said,
            _ => thoughts.insert(0, unsigned(said, None)),
        }
        return thoughts;
    }
    let mut shared: Vec<Placed<'a>> = Vec::with_capacity(thoughts.len() + 1);
    // The first signature says nothing of the text if it is of all that came before the next one.
    let mut open = None;
    let (mut told, mut rest) = (0, said);
    for mut placed in thoughts {
        if let Some((start, end)) = placed.says().filter(|(start, _)| *start >= told) {
            let (between, after) = rest.split_at_char(start - told);
            give(between, open.take(), placed.place, &mut shared);
            let (own, after) = after.split_at_char(end.saturating_sub(start));
            (told, rest) = (end.max(start), after);
            placed.thought.text = own;
        } else if placed.takes_text() {
            open = open.or(Some(shared.len()));
        }
        shared.push(placed);
    }
    let last = shared.last().and_then(|placed| placed.place);
    give(rest, open, last, &mut shared);
    shared
}

/// Gives the text to the signature that waits for it, else to a thought without one.
fn give<'a>(
    text: Text<'a>,
    open: Option<usize>,
    place: Option<Place>,
    thoughts: &mut Vec<Placed<'a>>,
) {
    if text.is_empty() {
        return;
    }
    match open.and_then(|at| thoughts.get_mut(at)) {
        Some(signed) => signed.thought.text = text,
        None => thoughts.push(unsigned(text, place)),
    }
}

impl Placed<'_> {
    /// Returns whether a text that stands elsewhere may be its own.
    fn takes_text(&self) -> bool {
        let signature = self.thought.signature.as_ref();
        !self.thought.redacted && self.place.is_none() && !signature.is_some_and(is_of_text)
    }

    fn says(&self) -> Option<(usize, usize)> {
        self.place.and_then(|place| place.said)
    }
}

fn grows(before: &Thought<'_>, more: &Thought<'_>) -> bool {
    before.signature.is_none() && !more.redacted
}

fn unsigned(text: Text<'_>, place: Option<Place>) -> Placed<'_> {
    let thought = Thought {
        text,
        ..Thought::default()
    };
    Placed { thought, place }
}

/// Appends one entry; `with_text` is false where its text has been told already.
pub(super) fn write(thought: &Thought<'_>, index: usize, with_text: bool, out: &mut Vec<u8>) {
    write_placed(thought, Place::default(), index, with_text, out);
}

/// Writes the same with the place where it stood.
pub(super) fn write_placed(
    thought: &Thought<'_>,
    place: Place,
    index: usize,
    with_text: bool,
    out: &mut Vec<u8>,
) {
    let encrypted = thought.redacted;
    out.extend_from_slice(if encrypted {
        b"{\"type\":\"reasoning.encrypted\"".as_slice()
    } else {
        b"{\"type\":\"reasoning.text\"".as_slice()
    });
    if with_text && !encrypted {
        out.extend_from_slice(b",\"text\":");
        thought.text.write(out);
    }
    if let Some(signature) = &thought.signature {
        out.extend_from_slice(if encrypted {
            b",\"data\":".as_slice()
        } else {
            b",\"signature\":".as_slice()
        });
        signature.write(out);
    }
    if let Some(id) = place::pack(thought.id.as_ref(), place) {
        out.extend_from_slice(b",\"id\":");
        id.write(out);
    }
    out.extend_from_slice(b",\"index\":");
    out.extend_from_slice(index.to_string().as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thoughts(json: &'static str, said: Option<&'static str>) -> Vec<Thought<'static>> {
        read(
            Some(serde_json::from_str(json).unwrap()),
            said.map(Text::escaped),
        )
        .into_iter()
        .map(|placed| placed.thought)
        .collect()
    }

    fn thought(text: &'static str, signature: Option<&'static str>) -> Thought<'static> {
        Thought {
            text: Text::escaped(text),
            signature: signature.map(Text::escaped),
            ..Thought::default()
        }
    }

    #[test]
    fn whole_entries_are_thoughts() {
        let read = thoughts(
            r#"[{"type":"reasoning.text","text":"a","signature":"s","format":"x","index":0},
                {"type":"reasoning.encrypted","data":"d","index":1},
                {"type":"reasoning.encrypted","data":"e","id":"rs_1","index":2},
                {"type":"reasoning.summary","summary":"b","index":3}, {"type":"else"}]"#,
            Some("a"),
        );
        assert_eq!(read[0], thought("a", Some("s")));
        assert!(read[1].redacted && read[1].signature == Some(Text::escaped("d")));
        assert!(!read[2].redacted && read[2].id == Some(Text::escaped("rs_1")));
        assert_eq!(read[3], thought("b", None));
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn pieces_of_a_stream_become_one_thought() {
        let read = thoughts(
            r#"[{"type":"reasoning.text","text":"a","index":0},{"type":"reasoning.text","text":"b","index":0},
                {"type":"reasoning.text","signature":"s","index":0},{"type":"reasoning.text","text":"c","index":1}]"#,
            None,
        );
        assert_eq!(read, [thought("ab", Some("s")), thought("c", None)]);
    }

    #[test]
    fn a_lone_signature_takes_the_plain_text() {
        let one = r#"[{"type":"reasoning.text","signature":"s","index":0}]"#;
        assert_eq!(thoughts(one, Some("a")), [thought("a", Some("s"))]);
        // That of a text is none of the thought's.
        let text = r#"[{"type":"reasoning.text","signature":"gemini-text:s","index":0}]"#;
        assert_eq!(
            thoughts(text, Some("a")),
            [thought("a", None), thought("", Some("gemini-text:s"))]
        );
        assert_eq!(thoughts("[]", Some("a")), [thought("a", None)]);
        assert_eq!(thoughts("7", Some("a")), [thought("a", None)]);
        let two = r#"[{"signature":"s","index":0},{"signature":"t","index":1}]"#;
        assert_eq!(thoughts(two, Some("a"))[0], thought("a", None));
    }

    #[test]
    fn each_signature_takes_its_part_of_the_plain_text() {
        let details = r#"[{"signature":"s","index":0},{"data":"d","id":"__at__3-0","index":1},
            {"signature":"t","id":"__at__3-0-4-6","index":2},{"signature":"u","id":"rs_1__at__3-1-6-7","index":3}]"#;
        let read = thoughts(details, Some(r"ab\u00e9cdef\n"));
        assert_eq!(read[0], thought(r"ab\u00e9c", Some("s")));
        assert!(read[1].redacted && read[1].id.is_none());
        assert_eq!(read[2], thought("de", Some("t")));
        assert_eq!(read[3].id, Some(Text::escaped("rs_1")));
        assert_eq!(read[3].text, Text::escaped("f"));
        assert_eq!(read[4], thought(r"\n", None));
        // A text that the client has shortened leaves nothing for the later ones.
        let short = thoughts(details, Some("ab"));
        assert_eq!(short[0], thought("ab", Some("s")));
        assert_eq!(short[2], thought("", Some("t")));
        assert_eq!(short.len(), 4);
    }

    #[test]
    fn what_is_written_is_read() {
        let all = [
            thought("a", Some("s")),
            Thought {
                signature: Some(Text::escaped("d")),
                redacted: true,
                ..Thought::default()
            },
            Thought {
                id: Some(Text::escaped("rs_1")),
                ..thought("b", Some("t"))
            },
        ];
        let mut json = b"[".to_vec();
        for (index, thought) in all.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            write(thought, index, true, &mut json);
        }
        json.push(b']');
        let json = String::from_utf8(json).unwrap();
        let json: &'static str = json.leak();
        assert_eq!(thoughts(json, None), all);
    }
}
