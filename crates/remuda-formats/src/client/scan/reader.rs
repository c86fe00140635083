//! Reads the fields of a body one after another.

use memchr::memmem;

use super::facts::{BadRequest, RequestFacts};
use super::field::Field;
use crate::client::{Operation, keep_alive};
use crate::wire::json::{ByteSpan, Kind, Literal, Scanner, SyntaxError};

pub(super) struct Scan<'a> {
    operation: Operation,
    body: &'a [u8],
    facts: RequestFacts<'a>,
    model: Option<Literal>,
    name: Option<Literal>,
    /// Go reports the first field of a wrong type, but only when the syntax of all is right.
    wrong_type: Option<BadRequest>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(operation: Operation, body: &'a [u8]) -> Self {
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

    pub(super) fn read(mut self, mut scanner: Scanner<'a>) -> Result<RequestFacts<'a>, BadRequest> {
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
        if self.facts.copy.repeats_too_often() {
            return Err(BadRequest::Repeated);
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

    /// Notes the most tokens. What is no count is for whoever answers to refuse.
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

/// Counts the texts of a list of them, or lists of tokens; a list of numbers is one text.
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
