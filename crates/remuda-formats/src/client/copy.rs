//! What a request says of the copy of a model that is to serve it: the context and the options by which an Ollama server
//! tells whether the copy in its memory will do, and where they stand, so that they can be made equal to that copy's.

use memchr::memmem;

use super::Operation;
use crate::provider::CopyEdits;
use crate::wire::json::{ByteSpan, Kind, Scanner, SyntaxError, write_string};

/// What a request says of the copy that is to serve it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CopyFacts {
    /// `options.num_ctx`, and where its value stands; of several the last, which Go takes.
    pub context: Option<(u32, ByteSpan)>,
    pub options: OptionsPlace,
    /// The options that make a server load the model anew, and where their values stand.
    pub tuning: Vec<(Tuning, ByteSpan)>,
    /// Whether the server may shorten the prompt, and where that stands.
    pub truncate: Option<(bool, ByteSpan)>,
    /// The number of images.
    pub images: u32,
    /// The bytes of the body that are images.
    pub image_bytes: usize,
}

/// The `options` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptionsPlace {
    #[default]
    Absent,
    /// An object, whose members begin at `at`.
    Object { at: usize, empty: bool },
    /// `null`, which means the same as none and would undo what stands before it.
    Null(ByteSpan),
}

/// An option that makes a server load the model anew where it differs from that of the copy in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    NumBatch,
    NumGpu,
    MainGpu,
    UseMmap,
    NumThread,
    DraftNumPredict,
    /// No member of `options`, but of the request itself.
    Shift,
}

/// Options that tune, each time that one is stated: a request has no reason to repeat them more often.
const MOST_TUNING: usize = 64;

/// Whether an option makes a server load the model anew where it differs from that of the copy in memory, and only tunes how
/// the model runs.
pub(crate) fn only_tunes(name: &str) -> bool {
    Tuning::of_options(name).is_some()
}

impl Tuning {
    /// Every such option, as requests name it.
    const NAMES: [(&'static str, Tuning); 7] = [
        ("num_batch", Tuning::NumBatch),
        ("num_gpu", Tuning::NumGpu),
        ("main_gpu", Tuning::MainGpu),
        ("use_mmap", Tuning::UseMmap),
        ("num_thread", Tuning::NumThread),
        ("draft_num_predict", Tuning::DraftNumPredict),
        ("shift", Tuning::Shift),
    ];

    fn of_options(name: &str) -> Option<Tuning> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, tuning)| *tuning)
            .filter(|tuning| *tuning != Tuning::Shift)
    }

    /// Returns the name of the member.
    pub fn name(self) -> &'static str {
        let known = Self::NAMES.iter().find(|(_, tuning)| *tuning == self);
        known.map_or("", |(name, _)| name)
    }
}

impl CopyFacts {
    /// Notes the value of `options`, and tells `number` of each `num_predict`.
    pub(super) fn note_options(
        &mut self,
        kind: Kind,
        span: ByteSpan,
        body: &[u8],
        mut number: impl FnMut(ByteSpan),
    ) -> Result<(), SyntaxError> {
        if kind == Kind::Null {
            // What an earlier object said is undone.
            self.options = OptionsPlace::Null(span);
            self.context = None;
            self.tuning.retain(|(tuning, _)| *tuning == Tuning::Shift);
            return Ok(());
        }
        if kind != Kind::Object {
            return Ok(());
        }
        let mut scanner = Scanner::starting_at(body, span.start);
        scanner.begin_object()?;
        let at = scanner.position();
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let kind = scanner.kind()?;
            let value = scanner.skip_value()?;
            match &*key.text(body) {
                "num_predict" => number(value),
                "num_ctx" => self.note_context(kind, value, body),
                name => {
                    let tuning = Tuning::of_options(name).filter(|_| kind != Kind::Null);
                    if let Some(tuning) = tuning {
                        self.note_tuning(tuning, value);
                    }
                }
            }
        }
        self.options = OptionsPlace::Object { at, empty: first };
        Ok(())
    }

    /// Notes a context as Go reads it, which counts in floating point and cuts what follows the point.
    fn note_context(&mut self, kind: Kind, value: ByteSpan, body: &[u8]) {
        if kind != Kind::Number {
            return;
        }
        let text = std::str::from_utf8(value.of(body)).unwrap_or_default();
        let number = text.parse().unwrap_or(0.0_f64);
        // A cast cuts, and keeps within the bounds of the type.
        self.context = Some((number as u32, value));
    }

    /// Notes the value of `shift`.
    pub(super) fn note_shift(&mut self, kind: Kind, value: ByteSpan) {
        if kind == Kind::Bool {
            self.note_tuning(Tuning::Shift, value);
        }
    }

    /// Notes one more than there may be, and none beyond: so many that are repeated would be long work for nothing.
    fn note_tuning(&mut self, tuning: Tuning, value: ByteSpan) {
        if self.tuning.len() <= MOST_TUNING {
            self.tuning.push((tuning, value));
        }
    }

    /// Returns whether options that tune are repeated more often than they may be.
    pub(super) fn repeats_too_often(&self) -> bool {
        self.tuning.len() > MOST_TUNING
    }

    /// Notes the value of `truncate`.
    pub(super) fn note_truncate(&mut self, kind: Kind, value: ByteSpan, body: &[u8]) {
        self.truncate = match kind {
            Kind::Bool => Some((value.of(body) == b"true", value)),
            // A pointer in Go, which null makes nil; the member stands there nevertheless.
            Kind::Null => Some((true, value)),
            _ => self.truncate,
        };
    }

    /// Notes a list of images.
    pub(super) fn note_images(&mut self, list: ByteSpan, body: &[u8]) -> Result<(), SyntaxError> {
        let mut scanner = Scanner::starting_at(body, list.start);
        scanner.begin_array()?;
        let mut first = true;
        while scanner.next_item(first)? {
            first = false;
            let item = scanner.skip_value()?;
            self.images += 1;
            self.image_bytes += item.end - item.start;
        }
        Ok(())
    }

    /// Notes the images that stand amid messages. Quotes inside string literals are escaped, so the needles are whole
    /// literals.
    pub(super) fn note_images_amid(&mut self, operation: Operation, span: ByteSpan, body: &[u8]) {
        let needle: &[u8] = match operation {
            Operation::Chat => b"\"images\"",
            Operation::AnthropicMessages => b"\"data\"",
            _ => b"\"image_url\"",
        };
        let messages = span.of(body);
        let mut from = 0;
        while let Some(found) = memmem::find(&messages[from..], needle) {
            from += found + needle.len();
            let mut scanner = Scanner::starting_at(messages, from);
            if scanner.peek() != Some(b':') {
                continue;
            }
            let mut value = Scanner::starting_at(messages, scanner.position() + 1);
            let is_list = value.kind() == Ok(Kind::Array);
            let Ok(span) = value.skip_value() else {
                return;
            };
            from = span.end;
            if is_list {
                // It was skipped, so it can be read.
                let _ = self.note_images(span, messages);
            } else {
                self.images += 1;
                self.image_bytes += span.end - span.start;
            }
        }
    }

    /// Returns the bytes of a body of this length that are text for the model, or say how it is to be answered.
    pub fn text_bytes(&self, length: usize) -> usize {
        length.saturating_sub(self.image_bytes)
    }
}

impl CopyEdits {
    /// Adds to `splice` what these edits change in a body, of which `facts` were read and whose object begins at
    /// `start`; `fields`: it has members.
    pub fn add_to(self, splice: &mut Splice, facts: &CopyFacts, (start, fields): (usize, bool)) {
        if let Some(context) = self.context {
            self.set_context(context, splice, facts, (start, fields));
        }
        if self.pins {
            for (_, value) in &facts.tuning {
                // To Go the same as a member that is absent.
                splice.replace(*value, b"null");
            }
        }
        match facts.truncate {
            Some((false, _)) => {}
            _ if !self.whole => {}
            Some((true, value)) => splice.replace(value, b"false"),
            None => splice.insert_member(start, b"\"truncate\":false", fields),
        }
    }

    fn set_context(
        self,
        context: u32,
        splice: &mut Splice,
        facts: &CopyFacts,
        (start, fields): (usize, bool),
    ) {
        let mut member = Number::new(b"{\"num_ctx\":", context);
        match (facts.context, facts.options) {
            (Some((stated, _)), _) if stated == context => {}
            (Some((_, value)), _) => splice.replace(value, member.digits()),
            (None, OptionsPlace::Object { at, empty }) => {
                splice.insert_member(at, member.member(), !empty);
            }
            (None, OptionsPlace::Null(value)) => splice.replace(value, member.object()),
            (None, OptionsPlace::Absent) => {
                splice.insert(start, b"\"options\":");
                splice.insert_member(start, member.object(), fields);
            }
        }
    }
}

/// `{"num_ctx":8192}` without an allocation.
struct Number {
    bytes: [u8; 24],
    lead: usize,
    end: usize,
}

impl Number {
    fn new(lead: &[u8], number: u32) -> Number {
        let mut bytes = [0; 24];
        bytes[..lead.len()].copy_from_slice(lead);
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        let end = lead.len() + digits;
        let mut rest = number;
        for place in bytes[lead.len()..end].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Number {
            bytes,
            lead: lead.len(),
            end,
        }
    }

    fn digits(&self) -> &[u8] {
        &self.bytes[self.lead..self.end]
    }

    fn member(&self) -> &[u8] {
        &self.bytes[1..self.end]
    }

    fn object(&mut self) -> &[u8] {
        self.bytes[self.end] = b'}';
        &self.bytes[..=self.end]
    }
}

/// Changes of a body that are made at once.
#[derive(Debug, Default)]
pub struct Splice {
    /// What is put in, one change after the other.
    texts: Vec<u8>,
    changes: Vec<Change>,
}

/// What stands at a place goes, and a part of `texts` comes.
#[derive(Clone, Copy, Debug)]
struct Change {
    place: ByteSpan,
    text: ByteSpan,
}

impl Splice {
    /// Puts `text` in the place of what stands at `place`.
    pub fn replace(&mut self, place: ByteSpan, text: &[u8]) {
        let start = self.texts.len();
        self.texts.extend_from_slice(text);
        let end = self.texts.len();
        self.changes.push(Change {
            place,
            text: ByteSpan { start, end },
        });
    }

    /// Puts a JSON string in the place of what stands at `place`.
    pub fn replace_by_text(&mut self, place: ByteSpan, text: &str) {
        let start = self.texts.len();
        write_string(text, &mut self.texts);
        let end = self.texts.len();
        self.changes.push(Change {
            place,
            text: ByteSpan { start, end },
        });
    }

    /// Puts `text` in before what stands at `at`, and after what has been put in there before.
    fn insert(&mut self, at: usize, text: &[u8]) {
        self.replace(ByteSpan { start: at, end: at }, text);
    }

    /// Puts a member in at the beginning of an object.
    fn insert_member(&mut self, at: usize, member: &[u8], others: bool) {
        self.insert(at, member);
        if others {
            self.insert(at, b",");
        }
    }

    /// Returns the body with all changes; `None` if there are none.
    pub fn apply(mut self, body: &[u8]) -> Option<Vec<u8>> {
        if self.changes.is_empty() {
            return None;
        }
        // Stable, so that what is put in at one place stays in its order.
        self.changes.sort_by_key(|change| change.place.start);
        let mut spliced = Vec::with_capacity(body.len() + self.texts.len());
        let mut from = 0;
        for Change { place, text } in &self.changes {
            spliced.extend_from_slice(&body[from..place.start]);
            spliced.extend_from_slice(text.of(&self.texts));
            from = place.end;
        }
        spliced.extend_from_slice(&body[from..]);
        Some(spliced)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::scan_request;

    fn edited(operation: Operation, body: &str, edits: CopyEdits) -> String {
        let facts = scan_request(operation, body.as_bytes()).unwrap();
        let mut splice = Splice::default();
        let start = (facts.object_start.unwrap(), facts.has_fields);
        edits.add_to(&mut splice, &facts.copy, start);
        let spliced = splice.apply(body.as_bytes());
        String::from_utf8(spliced.unwrap_or_else(|| body.into())).unwrap()
    }

    fn with_context(body: &str, context: u32) -> String {
        let edits = CopyEdits {
            context: Some(context),
            ..CopyEdits::default()
        };
        edited(Operation::Chat, body, edits)
    }

    #[test]
    fn the_context_is_made_equal_and_nothing_else_changes() {
        for (body, expected) in [
            (
                r#"{"model":"m","options":{"num_ctx":4096, "seed":1}}"#,
                r#"{"model":"m","options":{"num_ctx":8192, "seed":1}}"#,
            ),
            (
                r#"{"model":"m","options":{"seed":1}}"#,
                r#"{"model":"m","options":{"num_ctx":8192,"seed":1}}"#,
            ),
            (
                r#"{"model":"m","options":{ }}"#,
                r#"{"model":"m","options":{"num_ctx":8192 }}"#,
            ),
            (
                r#"{"model":"m","options":null}"#,
                r#"{"model":"m","options":{"num_ctx":8192}}"#,
            ),
            (
                r#"{"model":"m"}"#,
                r#"{"options":{"num_ctx":8192},"model":"m"}"#,
            ),
            (
                r#"{"options":{"num_ctx":1,"num_ctx":2}}"#,
                r#"{"options":{"num_ctx":1,"num_ctx":8192}}"#,
            ),
            (
                r#"{"options":{"num_ctx":1},"options":null}"#,
                r#"{"options":{"num_ctx":1},"options":{"num_ctx":8192}}"#,
            ),
        ] {
            assert_eq!(with_context(body, 8192), expected, "{body}");
        }
        for same in [
            r#"{"options":{"num_ctx":8192}}"#,
            r#"{"options":{"num_ctx":8192.9}}"#,
            r#"{"options":{"num_ct\u0078":8192}}"#,
        ] {
            assert_eq!(with_context(same, 8192), same);
        }
    }

    #[test]
    fn what_only_tunes_is_left_out_where_it_is_pinned() {
        let body = r#"{"shift":false,"options":{"num_batch":1,"num_gpu":0,"main_gpu":1,"use_mmap":false,"num_thread":2,"draft_num_predict":3,"temperature":0.5}}"#;
        let edits = CopyEdits {
            pins: true,
            ..CopyEdits::default()
        };
        let sent: Value = serde_json::from_str(&edited(Operation::Chat, body, edits)).unwrap();
        assert_eq!(sent["shift"], Value::Null);
        let options = sent["options"].as_object().unwrap();
        let kept = options.iter().filter(|(_, value)| !value.is_null());
        let kept: Vec<&str> = kept.map(|(name, _)| &**name).collect();
        assert_eq!(kept, ["temperature"]);
        let unpinned = edited(Operation::Chat, body, CopyEdits::default());
        assert_eq!(unpinned, body);
    }

    #[test]
    fn a_server_is_kept_from_shortening_the_prompt() {
        let whole = CopyEdits {
            whole: true,
            ..CopyEdits::default()
        };
        for (body, expected) in [
            (r#"{"model":"m"}"#, r#"{"truncate":false,"model":"m"}"#),
            (r#"{"truncate":true}"#, r#"{"truncate":false}"#),
            (r#"{"truncate":null}"#, r#"{"truncate":false}"#),
            (r#"{"truncate":false}"#, r#"{"truncate":false}"#),
            ("{}", r#"{"truncate":false}"#),
        ] {
            for operation in [Operation::Chat, Operation::Generate, Operation::Embed] {
                assert_eq!(edited(operation, body, whole), expected);
            }
        }
    }

    #[test]
    fn images_are_told_from_text() {
        for (operation, body, images, least) in [
            (
                Operation::Generate,
                json!({"prompt": "x", "images": ["A".repeat(400), "B".repeat(400)]}),
                2,
                800,
            ),
            (
                Operation::Chat,
                json!({"messages": [{"content": "\"images\":[1]", "images": ["A".repeat(400)]}]}),
                1,
                400,
            ),
            (
                Operation::OpenAiChat,
                json!({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "A".repeat(400)}}]}]}),
                1,
                400,
            ),
            (
                Operation::AnthropicMessages,
                json!({"messages": [{"content": [{"type": "image", "source": {"type": "base64", "data": "A".repeat(400)}}]}]}),
                1,
                400,
            ),
            (
                Operation::Chat,
                json!({"messages": [{"content": "hello"}]}),
                0,
                0,
            ),
        ] {
            let body = body.to_string();
            let facts = scan_request(operation, body.as_bytes()).unwrap().copy;
            assert_eq!(facts.images, images, "{body}");
            assert!(
                (least..least + 30).contains(&facts.image_bytes),
                "{facts:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_edited_body_says_what_the_edits_say(
            context in 1u32..2_000_000,
            stated in proptest::option::of(1u32..2_000_000),
            others in proptest::bool::ANY,
            pins in proptest::bool::ANY,
        ) {
            let mut options = serde_json::Map::new();
            if let Some(stated) = stated {
                options.insert("num_ctx".into(), stated.into());
            }
            if others {
                options.insert("num_thread".into(), 3.into());
                options.insert("seed".into(), 7.into());
            }
            let mut body = json!({"model": "m", "prompt": "x"});
            if stated.is_some() || others {
                body["options"] = Value::Object(options);
            }
            let edits = CopyEdits { context: Some(context), pins, whole: true };
            let sent = edited(Operation::Generate, &body.to_string(), edits);
            let sent: Value = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!(&sent["options"]["num_ctx"], &json!(context));
            prop_assert_eq!(&sent["truncate"], &json!(false));
            prop_assert_eq!(&sent["prompt"], &json!("x"));
            if others {
                let threads = if pins { Value::Null } else { json!(3) };
                prop_assert_eq!(&sent["options"]["num_thread"], &threads);
                prop_assert_eq!(&sent["options"]["seed"], &json!(7));
            }
        }
    }
}
