//! Reads an answer on its way to the client: beside bytes that pass, as a stream that is put together into one body, or as a
//! translation.

use std::time::Duration;

use http::HeaderMap;
use pingora::http::ResponseHeader;

use remuda_formats::client::Operation;
use remuda_formats::ir::{Fault, Usage};
use remuda_formats::translate::{self, Ending, Gathering, Interrupted, Passing, Translation};

/// How long the end of a line or an event is waited for, once it is known to be the last one.
pub(crate) const LAST_END: Duration = Duration::from_millis(250);

/// The reader of one answer.
pub(crate) enum AnswerReader {
    /// The answer comes in the client's own format, and its bytes pass.
    Same(Box<Passing>),
    /// The answer comes in the client's own format as a stream, of which the gateway makes the one body that the client wants.
    Gathered(Box<Gathering>),
    /// The answer comes in another format, and is translated.
    Across(Box<Translation>),
}

impl AnswerReader {
    /// Makes a reader of an answer whose bytes pass.
    pub(crate) fn same(passing: Passing) -> Self {
        AnswerReader::Same(Box::new(passing))
    }

    /// Makes a placeholder for a reader that another thread uses at the moment.
    pub(crate) fn absent() -> Self {
        AnswerReader::same(Passing::new(Operation::Root, false))
    }

    /// Tells the reader the answer's head, before the first piece of the body.
    pub(crate) fn begin(&mut self, head: &ResponseHeader) {
        let passing = match self {
            AnswerReader::Same(passing) => passing,
            AnswerReader::Gathered(gathering) => gathering.stream_mut(),
            AnswerReader::Across(_) => return,
        };
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        passing.begin(
            head.status.is_success(),
            content_type.map(http::HeaderValue::as_bytes),
        );
    }

    /// Returns the reader of bytes in the client's own format, or the translation in its place.
    fn passing(&self) -> Result<&Passing, &Translation> {
        match self {
            AnswerReader::Same(passing) => Ok(passing),
            AnswerReader::Gathered(gathering) => Ok(gathering.stream()),
            AnswerReader::Across(translation) => Err(translation),
        }
    }

    /// Returns the content type that the client is told; `None` if the backend's own is right.
    pub(crate) fn content_type(&self) -> Option<&'static str> {
        match self {
            AnswerReader::Same(passing) => passing.content_type(),
            // The gateway has written it, or has found it to be what it writes.
            AnswerReader::Across(translation) => Some(translation.content_type()),
            AnswerReader::Gathered(_) => Some(translate::WHOLE),
        }
    }

    /// Reads a piece of the body, and returns the bytes that the client gets for it, which may be none.
    pub(crate) fn feed<'a>(&'a mut self, piece: &'a [u8]) -> &'a [u8] {
        match self {
            AnswerReader::Same(passing) => passing.feed(piece),
            AnswerReader::Gathered(gathering) => {
                gathering.feed(piece);
                &[]
            }
            AnswerReader::Across(translation) => translation.feed(piece),
        }
    }

    /// Notes that the body has come to its end. Returns how the answer ends, and the last bytes for the client.
    pub(crate) fn finish(&mut self, headers: &HeaderMap) -> (Ending, &[u8]) {
        match self {
            AnswerReader::Same(passing) => passing.finish(),
            AnswerReader::Gathered(gathering) => gathering.finish(),
            AnswerReader::Across(translation) => translation.finish(headers),
        }
    }

    /// Returns whether the answer is one body rather than a stream.
    pub(crate) fn is_one_body(&self) -> bool {
        match self {
            AnswerReader::Same(passing) => passing.holds(),
            AnswerReader::Gathered(_) => false,
            AnswerReader::Across(translation) => translation.is_one_body(),
        }
    }

    /// Returns whether the answer lacks nothing but the end of its last line or event, or of its body's framing.
    pub(crate) fn nearly_over(&mut self) -> bool {
        match self {
            AnswerReader::Same(passing) => passing.nearly_over(),
            AnswerReader::Gathered(gathering) => gathering.stream_mut().nearly_over(),
            AnswerReader::Across(translation) => translation.nearly_over(),
        }
    }

    /// Notes that nothing has come for a while although the body is open. Returns the last bytes for the client if the answer
    /// is over nevertheless, and `None` if something of it is missing.
    pub(crate) fn settle(&mut self) -> Option<&[u8]> {
        match self {
            AnswerReader::Same(passing) => passing.settle(),
            AnswerReader::Gathered(gathering) => gathering.settle().then_some(&[]),
            AnswerReader::Across(translation) => translation.settle(),
        }
    }

    /// Breaks the client's stream off with an error that says `text`. Returns its bytes.
    pub(crate) fn break_off(&mut self, text: &'static str) -> &[u8] {
        match self {
            AnswerReader::Same(passing) => passing.break_off(text),
            AnswerReader::Gathered(gathering) => gathering.stream_mut().break_off(text),
            AnswerReader::Across(translation) => translation.break_off(text),
        }
    }

    /// Returns how many bytes of the body are held until they can be read as a whole.
    pub(crate) fn held(&self) -> usize {
        match self {
            AnswerReader::Same(passing) => passing.held(),
            // What is put together has been read as it came.
            AnswerReader::Gathered(_) => 0,
            AnswerReader::Across(translation) => translation.held(),
        }
    }

    /// Takes the answer to one of several requests, which has come whole, as a part of the client's answer.
    ///
    /// # Errors
    /// The fault of a part that is no answer.
    pub(crate) fn part(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        match self {
            AnswerReader::Same(_) | AnswerReader::Gathered(_) => Ok(()),
            AnswerReader::Across(translation) => translation.part(headers),
        }
    }

    /// Returns whether the gateway writes the client's answer in another format than the backend's.
    pub(crate) fn translates(&self) -> bool {
        matches!(self, AnswerReader::Across(_))
    }

    /// Returns whether the gateway composes the client's answer: by translating it, or by putting a stream together.
    pub(crate) fn composes(&self) -> bool {
        matches!(self, AnswerReader::Across(_) | AnswerReader::Gathered(_))
    }

    /// Returns whether the client gets a stream.
    pub(crate) fn streams(&self) -> bool {
        match self {
            AnswerReader::Same(passing) => passing.streams(),
            AnswerReader::Gathered(_) => false,
            AnswerReader::Across(translation) => translation.streams(),
        }
    }

    /// Keeps what the client is told, so that the answer may go on elsewhere if it breaks off.
    pub(crate) fn watch(&mut self) {
        match self {
            AnswerReader::Same(passing) => passing.watch(),
            AnswerReader::Gathered(_) => {}
            AnswerReader::Across(translation) => translation.watch(),
        }
    }

    /// Returns whether the answer may go on elsewhere if it breaks off now, or has.
    pub(crate) fn may_go_on(&self) -> bool {
        match self {
            AnswerReader::Same(passing) => passing.may_go_on(),
            AnswerReader::Gathered(_) => false,
            AnswerReader::Across(translation) => translation.may_go_on(),
        }
    }

    /// Returns the answer as its client has it, which broke off as `text` says if the provider did not say why; `None` if
    /// it cannot go on elsewhere.
    pub(crate) fn interrupted(&self, text: &'static str) -> Option<Interrupted> {
        match self {
            AnswerReader::Same(passing) => passing.interrupted(text),
            AnswerReader::Gathered(_) => None,
            AnswerReader::Across(translation) => translation.interrupted(text),
        }
    }

    /// Takes that the answer does not go on elsewhere. Returns what the client is told of its end, if that has come.
    pub(crate) fn give_up(&mut self) -> &[u8] {
        match self {
            AnswerReader::Same(passing) => passing.give_up(),
            AnswerReader::Gathered(_) => &[],
            AnswerReader::Across(translation) => translation.give_up(),
        }
    }

    /// Returns whether the answer goes on elsewhere and nothing new has come of it.
    pub(crate) fn is_withheld(&self) -> bool {
        matches!(self, AnswerReader::Across(translation) if translation.is_withheld())
    }

    /// Returns whether the answer was to go on elsewhere and was another one there.
    pub(crate) fn differs(&self) -> bool {
        matches!(self, AnswerReader::Across(translation) if translation.differs())
    }

    /// Returns whether the client gets nothing before the answer is whole.
    pub(crate) fn gathers(&self) -> bool {
        match self {
            AnswerReader::Same(passing) => passing.holds(),
            AnswerReader::Gathered(_) => true,
            AnswerReader::Across(translation) => !translation.streams(),
        }
    }

    /// Returns whether the answer's first content has come; a translation has also begun where it has failed.
    pub(crate) fn begun(&self) -> bool {
        match self.passing() {
            Ok(passing) => passing.begun(),
            Err(translation) => translation.begun() || translation.fault().is_some(),
        }
    }

    /// Returns the fault for which there is no answer, or no more of it; `None` as long as all is well.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            AnswerReader::Same(passing) => passing.fault(),
            AnswerReader::Gathered(gathering) => gathering.fault(),
            AnswerReader::Across(translation) => translation.fault(),
        }
    }

    /// Returns the provider's own error in the client's format; empty if there is none, or if it came in another format.
    pub(crate) fn failing(&self) -> &[u8] {
        match self.passing() {
            Ok(passing) => passing.failing(),
            Err(_) => &[],
        }
    }

    /// Returns whether the answer is over, by its terminator or by an error, although its body may go on.
    pub(crate) fn over(&self) -> bool {
        match self.passing() {
            Ok(passing) => passing.over(),
            Err(translation) => translation.over(),
        }
    }

    /// Returns whether the gateway has ended the answer at a stop string.
    pub(crate) fn cut(&self) -> bool {
        matches!(self, AnswerReader::Across(translation) if translation.cut())
    }

    /// Returns the tokens that the provider has counted; `None` if it has told nothing of them.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match self.passing() {
            Ok(passing) => passing.usage(),
            Err(translation) => {
                Some(translation.usage()).filter(|usage| *usage != Usage::default())
            }
        }
    }

    /// Returns an estimate of the tokens of output that have come.
    pub(crate) fn output_so_far(&self) -> u64 {
        match self.passing() {
            Ok(passing) => passing.output_so_far(),
            Err(translation) => translation.output_so_far(),
        }
    }

    /// Returns how many lines or events had content.
    pub(crate) fn content_units(&self) -> u64 {
        match self.passing() {
            Ok(passing) => passing.content_units(),
            Err(translation) => translation.content_events(),
        }
    }

    /// Returns how many lines or events could not be read and were left out.
    pub(crate) fn malformed(&self) -> u64 {
        match self.passing() {
            Ok(passing) => passing.malformed(),
            Err(translation) => translation.malformed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::settings::{Fidelity, Provider, ProviderKind, ReasoningField};
    use remuda_formats::dialect::exchange::{Reply, Target};
    use remuda_formats::facts::ModelFacts;
    use remuda_formats::ir::Text;
    use remuda_formats::translate::{ClientForm, ProviderForm, Translating};

    fn head(kind: &str) -> ResponseHeader {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header(http::header::CONTENT_TYPE, kind)
            .unwrap();
        head
    }

    /// Makes a reader of a chat that passes.
    fn passing(streams: bool) -> AnswerReader {
        let mut reader = AnswerReader::same(Passing::new(Operation::Chat, streams));
        reader.begin(&head(if streams {
            "application/x-ndjson"
        } else {
            "application/json"
        }));
        reader
    }

    fn gathering() -> AnswerReader {
        let gathering = Gathering::of(Operation::Chat).expect("chats are gathered");
        let mut reader = AnswerReader::Gathered(Box::new(gathering));
        reader.begin(&head("application/x-ndjson"));
        reader
    }

    /// Makes a reader of a chat of OpenAI's that an Ollama server answers.
    fn across(streams: bool) -> AnswerReader {
        let provider = Provider::of_kind("gpus", ProviderKind::Ollama);
        let facts = ModelFacts::default();
        let translating = Translating {
            client: ClientForm::OpenAiChat,
            form: ProviderForm::OllamaChat,
            body: br#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
            streams,
            gathered: false,
            fidelity: Fidelity::Lenient,
            mend: None,
            spare: &[],
        };
        let target = Target {
            model: "m",
            facts: &facts,
            provider: provider.profile(),
            stream: streams,
        };
        let reply = Reply {
            model: Text::plain("m").into_owned(),
            id: "1".into(),
            created: SystemTime::UNIX_EPOCH,
            started: Instant::now(),
            include_usage: false,
            reasoning_field: ReasoningField::Both,
            base64: false,
            functions: false,
            prompt_estimate: 0,
            tools: Arc::default(),
        };
        let written = translate::order(&translating, target, reply);
        AnswerReader::Across(written.expect("it can be said").translation)
    }

    const WORD: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"word\"},\"done\":false}\n";
    const LAST: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":3,\"eval_count\":2}\n";

    #[test]
    fn a_reader_says_what_its_client_gets_and_when() {
        for (name, reader, translates, composes, streams, gathers, one_body) in [
            ("stream", passing(true), false, false, true, false, false),
            ("body", passing(false), false, false, false, true, true),
            ("gathered", gathering(), false, true, false, true, false),
            ("translated", across(true), true, true, true, false, false),
            (
                "translated whole",
                across(false),
                true,
                true,
                false,
                true,
                true,
            ),
        ] {
            assert_eq!(reader.translates(), translates, "{name}");
            assert_eq!(reader.composes(), composes, "{name}");
            assert_eq!(reader.streams(), streams, "{name}");
            assert_eq!(reader.gathers(), gathers, "{name}");
            assert_eq!(reader.is_one_body(), one_body, "{name}");
        }
    }

    #[test]
    fn content_usage_and_end_are_found_alike_whoever_writes_the_answer() {
        for (name, mut reader, passes) in [
            ("stream", passing(true), true),
            ("gathered", gathering(), false),
            ("translated", across(true), false),
        ] {
            assert!(!reader.begun() && reader.usage().is_none(), "{name}");
            let passed = reader.feed(WORD.as_bytes()) == WORD.as_bytes();
            assert_eq!(passed, passes, "{name}");
            assert!(reader.begun() && !reader.over(), "{name}");
            assert_eq!((reader.content_units(), reader.malformed()), (1, 0));
            assert!(reader.output_so_far() > 0, "{name}");
            let _ = reader.feed(LAST.as_bytes());
            assert!(reader.over() && reader.fault().is_none(), "{name}");
            let usage = reader.usage().expect("its server has told it");
            assert_eq!((usage.prompt, usage.output), (Some(3), Some(2)), "{name}");
            let (ending, _) = reader.finish(&HeaderMap::new());
            assert!(matches!(ending, Ending::Complete), "{name}");
        }
    }

    #[test]
    fn an_error_in_place_of_an_answer_has_its_server_s_words_only_where_it_passes() {
        let line = "{\"error\":\"it has stopped\"}\n";
        for (name, mut reader, has_words) in [
            ("stream", passing(true), true),
            ("gathered", gathering(), true),
            ("translated", across(true), false),
        ] {
            let _ = reader.feed(line.as_bytes());
            assert!(reader.fault().is_some(), "{name}");
            let words = reader.failing().trim_ascii();
            assert_eq!(!words.is_empty(), has_words, "{name}");
        }
    }
}
