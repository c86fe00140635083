//! `reasoning_details`: the form that OpenRouter has given to thoughts and their signatures, in histories and answers.

use serde::Deserialize;

use super::field::Field;
use crate::dialect::signature::is_of_text;
use crate::ir::{Text, Thought};

/// One entry, or one piece of an entry that was streamed.
#[derive(Deserialize)]
pub(super) struct Detail<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    pub(super) summary: Option<Text<'a>>,
    /// Of a thought that is not shown.
    pub(super) data: Option<Text<'a>>,
    pub(super) signature: Option<Text<'a>>,
    pub(super) id: Option<Text<'a>>,
    pub(super) index: Option<u64>,
}

impl<'a> Detail<'a> {
    /// As a thought; `None` if it says nothing.
    fn into_thought(self) -> Option<Thought<'a>> {
        let full = |text: Option<Text<'a>>| text.filter(|text| !text.is_empty());
        let id = full(self.id);
        if let Some(data) = full(self.data) {
            return Some(Thought {
                text: Text::default(),
                signature: Some(data),
                redacted: id.is_none(),
                id,
            });
        }
        let text = full(self.text).or(full(self.summary));
        let signature = full(self.signature);
        (text.is_some() || signature.is_some()).then(|| Thought {
            text: text.unwrap_or_default(),
            signature,
            redacted: false,
            id,
        })
    }
}

/// The thoughts of an assistant's turn. `said` is its reasoning as plain text, which belongs to the signature where
/// there is one without a text: streams do not tell the text twice.
pub(super) fn read<'a>(field: Field<'a>, said: Option<Text<'a>>) -> Vec<Thought<'a>> {
    let details: Vec<Detail<'a>> = field
        .and_then(|field| serde_json::from_str(field.get()).ok())
        .unwrap_or_default();
    let mut thoughts: Vec<Thought<'a>> = Vec::new();
    let mut last_index = None;
    for detail in details {
        let index = detail.index;
        let Some(thought) = detail.into_thought() else {
            continue;
        };
        match thoughts.last_mut() {
            Some(before) if index.is_some() && index == last_index && grows(before, &thought) => {
                before.text.push(&thought.text);
                before.signature = thought.signature;
                before.id = before.id.take().or(thought.id);
            }
            _ => thoughts.push(thought),
        }
        last_index = index;
    }
    if let Some(said) = said {
        let has_text = thoughts.iter().any(|thought| !thought.text.is_empty());
        let signs_thought = |thought: &&mut Thought<'_>| {
            !thought.redacted && !thought.signature.as_ref().is_some_and(is_of_text)
        };
        let mut signed = thoughts.iter_mut().filter(signs_thought);
        match (has_text, signed.next(), signed.next()) {
            (true, ..) => {}
            (false, Some(only), None) => only.text = said,
            (false, ..) => thoughts.insert(0, unsigned(said)),
        }
    }
    thoughts
}

fn grows(before: &Thought<'_>, more: &Thought<'_>) -> bool {
    before.signature.is_none() && !more.redacted
}

fn unsigned(text: Text<'_>) -> Thought<'_> {
    Thought {
        text,
        ..Thought::default()
    }
}

/// Appends one entry; `with_text` is false where its text has been told already.
pub(super) fn write(thought: &Thought<'_>, index: usize, with_text: bool, out: &mut Vec<u8>) {
    let encrypted = thought.redacted;
    out.extend_from_slice(match encrypted {
        true => b"{\"type\":\"reasoning.encrypted\"".as_slice(),
        false => b"{\"type\":\"reasoning.text\"".as_slice(),
    });
    if with_text && !encrypted {
        out.extend_from_slice(b",\"text\":");
        thought.text.write(out);
    }
    if let Some(signature) = &thought.signature {
        out.extend_from_slice(match encrypted {
            true => b",\"data\":".as_slice(),
            false => b",\"signature\":".as_slice(),
        });
        signature.write(out);
    }
    if let Some(id) = &thought.id {
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
        assert_eq!(read(Some(serde_json::from_str(&json).unwrap()), None), all);
    }
}
