//! One pass over a request body that finds what routing needs, and leaves the rest unread.
//!
//! It reads as Go's `encoding/json` does behind Ollama: field names in any case, the last of several
//! wins, `null` leaves a field as it was, unknown fields and everything after the first value are
//! ignored, bytes that are not UTF-8 pass.

use std::borrow::Cow;

use memchr::memmem;

use super::copy::CopyFacts;
use super::multipart::{self, Part};
use super::{Operation, keep_alive, optillm};
use crate::wire::json::{ByteSpan, Kind, Literal, Scanner, SyntaxError};

/// What routing needs to know of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFacts<'a> {
    /// The wanted model as the client wrote it; empty when absent. For create it is the new name.
    pub model: Cow<'a, str>,
    /// Where `model` stands: in JSON with its quotes, in a form its text alone.
    pub model_span: Option<ByteSpan>,
    /// What the client said; `None` leaves it to the operation.
    pub stream: Option<bool>,
    /// A field above that the body states twice and otherwise. Servers do not agree which of the two counts: Go takes
    /// the last in any case of its name, others know one case alone, and of a form some take the first.
    pub ambiguous: Option<&'static str>,
    /// Where the last value of `stream` stands (it may be `null`).
    pub stream_span: Option<ByteSpan>,
    /// Offset right after the body's opening brace, where a field can be put in.
    pub object_start: Option<usize>,
    /// Whether any field follows there.
    pub has_fields: bool,
    /// No prompt, no messages, no input: asks to load (or unload) the model and for nothing else.
    pub empty_input: bool,
    /// `keep_alive` is zero: unload the model afterwards.
    pub keep_alive_zero: bool,
    /// Offers at least one tool.
    pub tools: bool,
    /// Carries at least one image (for /v1 routes: speaks of one).
    pub images: bool,
    /// Asks for JSON or a schema.
    pub format: bool,
    /// A text is to be continued as it stands (`raw`, `suffix`, `template`), which a chat cannot say.
    pub raw: bool,
    /// Has parameters of OptiLLM's, or an `extra_body` that may hold some (OpenAI).
    pub private: bool,
    /// Says something of `stream_options` (OpenAI).
    pub stream_options: bool,
    /// Asks for thinking (`think` is neither absent, null nor false).
    pub think: bool,
    /// The most tokens of output that it asks for: `max_tokens` and its later names in OpenAI's and Anthropic's
    /// formats, `options.num_predict` in Ollama's; of several the most, as providers differ in which they take.
    /// Ollama's -1 and -2 set no bound.
    pub most_output: Option<u64>,
    /// How many answers it asks for, or has made to choose from (OpenAI's `n`, `best_of`), if it says so.
    pub answers: Option<u64>,
    /// Texts that are to be continued each by itself (OpenAI's `prompt`, which may be a list); 0 of other requests.
    pub prompts: u64,
    /// What it says of the copy of the model that is to serve it.
    pub copy: CopyFacts,
    /// The model that is copied, or that another is created from.
    pub source: Option<Cow<'a, str>>,
    /// The name that a copy gets.
    pub destination: Option<Cow<'a, str>>,
}

impl RequestFacts<'_> {
    /// Returns whether the answer streams.
    pub fn streams(&self, operation: Operation) -> bool {
        self.stream.unwrap_or(operation.streams_by_default())
    }

    /// Returns the same, apart from the body.
    pub fn into_owned(self) -> RequestFacts<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        RequestFacts {
            model: own(self.model),
            source: self.source.map(own),
            destination: self.destination.map(own),
            ..self
        }
    }

    /// Asks to unload a model and for nothing else.
    pub fn is_unload(&self) -> bool {
        self.empty_input && self.keep_alive_zero
    }
}

/// A body that Ollama answers 400, in its words. No text of the body is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("missing request body")]
    MissingBody,
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("json: cannot unmarshal {} into Go struct field {}.{field} of type {wanted}", .found.go_name(), .operation.go_type())]
    FieldType {
        operation: Operation,
        field: &'static str,
        found: Kind,
        wanted: &'static str,
    },
    #[error("json: cannot unmarshal {} into Go value of type {}.{}", .found.go_name(), .operation.go_package(), .operation.go_type())]
    BodyType { operation: Operation, found: Kind },
}

/// Reads the body of a request to `operation`.
///
/// Operations without a body that names a model give empty facts; of a form the model is found where that is possible.
pub fn scan_request(operation: Operation, body: &[u8]) -> Result<RequestFacts<'_>, BadRequest> {
    if is_form(operation, body) {
        return Ok(scan_form(body));
    }
    if !operation.has_json_body() {
        return Ok(RequestFacts::default());
    }
    let mut scanner = Scanner::new(body);
    if scanner.peek().is_none() {
        return Err(BadRequest::MissingBody);
    }
    match scanner.kind()? {
        Kind::Object => Scan::new(operation, body).read(scanner),
        found => {
            scanner.skip_value()?;
            if found == Kind::Null {
                return Ok(RequestFacts {
                    empty_input: true,
                    ..RequestFacts::default()
                });
            }
            Err(BadRequest::BodyType { operation, found })
        }
    }
}

/// Returns the model that the beginning of a JSON body names; what follows need not be there.
pub fn named_early(beginning: &[u8]) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(beginning);
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        if key.text(beginning).eq_ignore_ascii_case("model") {
            let name = scanner.string().ok()?.text(beginning);
            return Some(name).filter(|name| !name.is_empty());
        }
        scanner.skip_value().ok()?;
        first = false;
    }
    None
}

/// Returns whether the body is a form rather than JSON: a transcription's always is, and OpenAI's clients send one to
/// edit a picture. No JSON begins as a form does.
pub fn is_form(operation: Operation, body: &[u8]) -> bool {
    match operation {
        Operation::AudioTranscriptions => true,
        Operation::OpenAiImageEdits => body.starts_with(b"--"),
        _ => false,
    }
}

/// Reads a form: as much as can be told.
fn scan_form(body: &[u8]) -> RequestFacts<'_> {
    let mut facts = RequestFacts::default();
    multipart::parts(body, |part| match part {
        Part::Text("model", value) => {
            if facts.model_span.is_some() {
                facts.ambiguous = Some("model");
            }
            facts.model = String::from_utf8_lossy(value.of(body));
            facts.model_span = Some(value);
        }
        Part::Text("stream", value) => facts.stream = Some(value.of(body) == b"true"),
        Part::Unclear => facts.ambiguous = Some("model"),
        Part::Text(..) | Part::Other => {}
    });
    facts
}

/// The fields that are looked at, by their folded names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Name,
    Stream,
    Input,
    KeepAlive,
    Tools,
    Functions,
    Images,
    Format,
    Think,
    Raw,
    StreamOptions,
    MostOutput,
    Answers,
    Options,
    Shift,
    Truncate,
    Private,
    Source,
    Destination,
}

impl Field {
    fn of(operation: Operation, key: &[u8]) -> Option<Field> {
        use Operation::*;
        let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        match key.len() {
            1 if is("n") && matches!(operation, OpenAiChat | OpenAiCompletions | OpenAiImages) => {
                Some(Field::Answers)
            }
            3 if is("raw") && operation == Generate => Some(Field::Raw),
            4 if is("from") && operation == Create => Some(Field::Source),
            4 if is("name") && matches!(operation, Show | Pull | Push | Create | Delete) => {
                Some(Field::Name)
            }
            5 if is("model") => Some(Field::Model),
            5 if is("tools") => Some(Field::Tools),
            5 if is("shift") && matches!(operation, Generate | Chat) => Some(Field::Shift),
            5 if is("think") && matches!(operation, Generate | Chat) => Some(Field::Think),
            5 if is("input") && matches!(operation, Embed | OpenAiEmbeddings | OpenAiResponses) => {
                Some(Field::Input)
            }
            6 if is("stream") => Some(Field::Stream),
            6 if is("prompt") && matches!(operation, Generate | Embeddings | OpenAiCompletions) => {
                Some(Field::Input)
            }
            6 if is("images") && operation == Generate => Some(Field::Images),
            6 if is("suffix") && matches!(operation, Generate | OpenAiCompletions) => {
                Some(Field::Raw)
            }
            6 if is("format") && matches!(operation, Generate | Chat) => Some(Field::Format),
            6 if is("source") && operation == Copy => Some(Field::Source),
            7 if is("best_of") && operation == OpenAiCompletions => Some(Field::Answers),
            7 if is("options") && matches!(operation, Generate | Chat | Embed | Embeddings) => {
                Some(Field::Options)
            }
            8 if is("messages") && matches!(operation, Chat | OpenAiChat | AnthropicMessages) => {
                Some(Field::Input)
            }
            8 if is("template") && operation == Generate => Some(Field::Raw),
            8 if is("truncate") && matches!(operation, Generate | Chat | Embed) => {
                Some(Field::Truncate)
            }
            // The tools of 2023.
            9 if is("functions") && operation == OpenAiChat => Some(Field::Functions),
            8 if is("thinking") && operation == AnthropicMessages => Some(Field::Think),
            10 if is("keep_alive") => Some(Field::KeepAlive),
            10 if is("max_tokens") => Some(Field::MostOutput),
            11 if is("destination") && operation == Copy => Some(Field::Destination),
            14 if is("stream_options") => Some(Field::StreamOptions),
            15 if is("response_format") && operation == OpenAiChat => Some(Field::Format),
            17 if is("max_output_tokens") => Some(Field::MostOutput),
            21 if is("max_completion_tokens") => Some(Field::MostOutput),
            _ if matches!(operation, OpenAiChat | OpenAiCompletions) && optillm::concerns(key) => {
                Some(Field::Private)
            }
            _ => None,
        }
    }
}

struct Scan<'a> {
    operation: Operation,
    body: &'a [u8],
    facts: RequestFacts<'a>,
    model: Option<Literal>,
    name: Option<Literal>,
    /// Go reports the first field of a wrong type, but only when the syntax of all is right.
    wrong_type: Option<BadRequest>,
}

impl<'a> Scan<'a> {
    fn new(operation: Operation, body: &'a [u8]) -> Self {
        let facts = RequestFacts {
            empty_input: true,
            ..RequestFacts::default()
        };
        Scan {
            operation,
            body,
            facts,
            model: None,
            name: None,
            wrong_type: None,
        }
    }

    fn read(mut self, mut scanner: Scanner<'a>) -> Result<RequestFacts<'a>, BadRequest> {
        scanner.begin_object()?;
        self.facts.object_start = Some(scanner.position());
        while let Some(key) = scanner.next_key(!self.facts.has_fields)? {
            self.facts.has_fields = true;
            match self.field(key) {
                Some(field) => self.value(field, &mut scanner)?,
                None => {
                    scanner.skip_value()?;
                }
            }
        }
        if let Some(error) = self.wrong_type {
            return Err(error);
        }
        // As Go's cmp.Or(request.Model, request.Name).
        let named = self
            .model
            .filter(|model| !model.inside(self.body).is_empty())
            .or(self.name)
            .or(self.model);
        if let Some(literal) = named {
            self.facts.model = literal.text(self.body);
            self.facts.model_span = Some(literal.span);
        }
        Ok(self.facts)
    }

    fn field(&self, key: Literal) -> Option<Field> {
        let inside = key.inside(self.body);
        if !key.escaped && inside.is_ascii() {
            return Field::of(self.operation, inside);
        }
        // Go folds by Unicode's simple case folding: two letters outside ASCII fold into it.
        let folded = key
            .text(self.body)
            .replace('\u{17f}', "s")
            .replace('\u{212a}', "k");
        Field::of(self.operation, folded.as_bytes())
    }

    fn value(&mut self, field: Field, scanner: &mut Scanner<'a>) -> Result<(), SyntaxError> {
        let kind = scanner.kind()?;
        if kind == Kind::String {
            let literal = scanner.string()?;
            self.string(field, literal);
            return Ok(());
        }
        let span = scanner.skip_value()?;
        let some = kind != Kind::Null;
        match field {
            Field::Stream => self.stream(kind, span),
            Field::Model | Field::Name | Field::Source | Field::Destination if some => {
                self.refuse(field, kind, "string");
            }
            Field::Model | Field::Name | Field::Source | Field::Destination => {}
            Field::Input if some => {
                self.facts.empty_input = kind == Kind::Array && is_empty_array(span, self.body);
                if self.operation == Operation::OpenAiCompletions && kind == Kind::Array {
                    self.facts.prompts = prompts(span, self.body)?;
                }
                if !self.facts.empty_input && self.operation != Operation::Generate {
                    let speaks = speaks_of_images(self.operation, span.of(self.body));
                    self.facts.images |= speaks;
                    if speaks {
                        let copy = &mut self.facts.copy;
                        copy.note_images_amid(self.operation, span, self.body);
                    }
                }
            }
            Field::Input => {
                self.facts.empty_input |=
                    matches!(self.operation, Operation::Embed | Operation::Chat);
            }
            Field::KeepAlive => {
                self.facts.keep_alive_zero = keep_alive::is_zero(kind, span, self.body);
                self.facts.copy.keep_alive = some.then_some(span);
            }
            Field::Tools => {
                self.facts.tools = kind == Kind::Array && !is_empty_array(span, self.body);
            }
            Field::Functions => {
                self.facts.tools |= kind == Kind::Array && !is_empty_array(span, self.body);
            }
            Field::Images => {
                self.facts.images = kind == Kind::Array && !is_empty_array(span, self.body);
                if self.facts.images {
                    self.facts.copy.note_images(span, self.body)?;
                }
            }
            Field::Shift => self.facts.copy.note_shift(kind, span),
            Field::Truncate => self.facts.copy.note_truncate(kind, span, self.body),
            Field::Format => self.facts.format = some,
            Field::Think => self.facts.think = some && span.of(self.body) != b"false",
            Field::Raw => self.facts.raw |= span.of(self.body) == b"true",
            // A null would stand after ours and win.
            Field::StreamOptions => self.facts.stream_options = true,
            Field::MostOutput => self.most_output(span),
            Field::Answers => self.facts.answers = self.facts.answers.max(self.count(span)),
            Field::Options => self.options(kind, span)?,
            Field::Private => self.facts.private = true,
        }
        Ok(())
    }

    /// What is no count is for whoever answers to refuse.
    fn most_output(&mut self, span: ByteSpan) {
        self.facts.most_output = self.facts.most_output.max(self.count(span));
    }

    fn count(&self, span: ByteSpan) -> Option<u64> {
        let text = std::str::from_utf8(span.of(self.body)).ok();
        text.and_then(|text| text.parse().ok())
    }

    fn options(&mut self, kind: Kind, span: ByteSpan) -> Result<(), SyntaxError> {
        let (mut copy, body) = (std::mem::take(&mut self.facts.copy), self.body);
        let bound = |value| self.most_output(value);
        let noted = copy.note_options(kind, span, body, bound);
        self.facts.copy = copy;
        noted
    }

    fn string(&mut self, field: Field, literal: Literal) {
        let full = !literal.inside(self.body).is_empty();
        match field {
            Field::Model => {
                let inside = |literal: Literal| literal.inside(self.body);
                if self
                    .model
                    .is_some_and(|before| inside(before) != inside(literal))
                {
                    self.facts.ambiguous = Some("model");
                }
                self.model = Some(literal);
            }
            Field::Name => self.name = Some(literal),
            Field::Source => self.facts.source = Some(literal.text(self.body)),
            Field::Destination => self.facts.destination = Some(literal.text(self.body)),
            Field::Stream => self.refuse(field, Kind::String, "bool"),
            Field::Input => self.facts.empty_input = !full,
            Field::KeepAlive => {
                self.facts.keep_alive_zero =
                    keep_alive::is_zero(Kind::String, literal.span, self.body);
                self.facts.copy.keep_alive = Some(literal.span);
            }
            Field::Format => self.facts.format = full,
            Field::Think => self.facts.think = full,
            Field::Raw => self.facts.raw |= full,
            Field::StreamOptions => self.facts.stream_options = true,
            Field::Private => self.facts.private = true,
            Field::Tools
            | Field::Functions
            | Field::Images
            | Field::MostOutput
            | Field::Answers
            | Field::Options
            | Field::Shift
            | Field::Truncate => {}
        }
    }

    fn stream(&mut self, kind: Kind, span: ByteSpan) {
        self.facts.stream_span = Some(span);
        match kind {
            Kind::Bool => {
                let stream = span.of(self.body) == b"true";
                if self.facts.stream.is_some_and(|before| before != stream) {
                    self.facts.ambiguous = Some("stream");
                }
                self.facts.stream = Some(stream);
            }
            // A pointer in Ollama's own types, a plain bool (which null leaves alone) in the others.
            Kind::Null if self.operation.streams_by_default() => self.facts.stream = None,
            Kind::Null => {}
            _ => self.refuse(Field::Stream, kind, "bool"),
        }
    }

    fn refuse(&mut self, field: Field, found: Kind, wanted: &'static str) {
        let field = match field {
            Field::Model => "model",
            Field::Name => "name",
            Field::Source if self.operation == Operation::Create => "from",
            Field::Source => "source",
            Field::Destination => "destination",
            _ => "stream",
        };
        let error = BadRequest::FieldType {
            operation: self.operation,
            field,
            found,
            wanted,
        };
        self.wrong_type.get_or_insert(error);
    }
}

/// Texts of a list of them, or lists of tokens; a list of numbers is one text.
fn prompts(span: ByteSpan, body: &[u8]) -> Result<u64, SyntaxError> {
    let mut scanner = Scanner::starting_at(body, span.start);
    let mut count = 0;
    scanner.begin_array()?;
    while scanner.next_item(count == 0)? {
        match scanner.kind()? {
            Kind::Number => return Ok(1),
            _ => scanner.skip_value()?,
        };
        count += 1;
    }
    Ok(count)
}

fn is_empty_array(span: ByteSpan, body: &[u8]) -> bool {
    let mut scanner = Scanner::starting_at(body, span.start + 1);
    scanner.peek() == Some(b']')
}

/// Returns whether messages carry images. Quotes inside string literals are escaped, so these needles are whole
/// literals; nothing depends on more than that.
fn speaks_of_images(operation: Operation, messages: &[u8]) -> bool {
    let has = |needle: &[u8]| memmem::find(messages, needle).is_some();
    match operation {
        Operation::Chat => memmem::find_iter(messages, b"\"images\"").any(|at| {
            let mut scanner = Scanner::starting_at(messages, at + b"\"images\"".len());
            scanner.peek() == Some(b':') && {
                let mut value = Scanner::starting_at(messages, scanner.position() + 1);
                value.peek() == Some(b'[') && {
                    let mut first = Scanner::starting_at(messages, value.position() + 1);
                    first.peek() != Some(b']')
                }
            }
        }),
        Operation::OpenAiChat => has(b"\"image_url\""),
        Operation::OpenAiResponses => has(b"\"input_image\""),
        Operation::AnthropicMessages => has(b"\"image\""),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
