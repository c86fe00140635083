//! Content blocks: text, pictures, documents, sound, calls and their results.

use super::caching;
use super::json::{key, put, separate};
use crate::dialect::call_ids::CallIds;
use crate::ir::{
    Document, Image, MediaType, Message, Part, Refused, Role, Text, Thought, ToolNames, ToolResult,
};
use std::borrow::Cow;

/// Longest name of a tool.
pub(super) const LONGEST_NAME: usize = 64;
/// `toolUseId`: `[a-zA-Z0-9_-]+`, at most 64.
const IDS: CallIds = CallIds::Plain(64);
const LONGEST_DOCUMENT_NAME: usize = 200;

/// Kinds of documents, by media type.
const DOCUMENTS: &[(&str, &str)] = &[
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "docx",
    ),
    ("application/vnd.ms-excel", "xls"),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsx",
    ),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];

/// Kinds of recordings, by media type.
const RECORDINGS: &[(&str, &str)] = &[
    ("audio/mpeg", "mp3"),
    ("audio/mp3", "mp3"),
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/wave", "wav"),
    ("audio/flac", "flac"),
    ("audio/ogg", "ogg"),
    ("audio/opus", "opus"),
    ("audio/aac", "aac"),
    ("audio/mp4", "mp4"),
    ("audio/webm", "webm"),
];

/// Writes turns, and holds what is particular to one request.
pub(super) struct Blocks<'w> {
    pub(super) out: &'w mut Vec<u8>,
    pub(super) names: &'w mut ToolNames,
    /// Whether a tool's result has a `status`, which Claude and Nova alone take.
    pub(super) has_status: bool,
    /// Documents so far: their names have to differ.
    pub(super) documents: usize,
}

impl Blocks<'_> {
    /// Appends `{"role":…,"content":[…]}`.
    pub(super) fn turn(&mut self, message: &Message<'_>) -> Result<(), Refused> {
        separate(self.out);
        put(
            match message.role {
                Role::Assistant => r#"{"role":"assistant","content":["#,
                Role::User | Role::System => r#"{"role":"user","content":["#,
            },
            self.out,
        );
        let mut after_thought = false;
        for part in &message.parts {
            // A thought is kept with what it led to, and not by itself.
            if !(after_thought && part.is_breakpoint()) {
                self.part(part)?;
            }
            after_thought = matches!(part, Part::Thought(_));
        }
        let has = |kind: fn(&Part<'_>) -> bool| message.parts.iter().any(kind);
        if has(|part| matches!(part, Part::Document(_)))
            && !has(|part| matches!(part, Part::Text(_)))
        {
            // A document is refused without a text beside it.
            self.text(&Text::escaped("See the document."));
        }
        put("]}", self.out);
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Refused> {
        match part {
            Part::Text(text) => self.text(text),
            Part::Image(image) => self.image(image)?,
            Part::Document(document) => self.document(document)?,
            Part::Thought(thought) => self.thought(thought),
            Part::ToolCall(call) => {
                separate(self.out);
                put(r#"{"toolUse":{"toolUseId":"#, self.out);
                self.id(call.id.as_ref());
                key("name", self.out);
                self.names.sent(&call.name, LONGEST_NAME).write(self.out);
                key("input", self.out);
                call.arguments.write(self.out);
                put("}}", self.out);
            }
            Part::ToolResult(result) => self.result(result)?,
            Part::Breakpoint(ttl) => caching::write(*ttl, self.out),
        }
        Ok(())
    }

    fn text(&mut self, text: &Text<'_>) {
        separate(self.out);
        put(r#"{"text":"#, self.out);
        text.write(self.out);
        self.out.push(b'}');
    }

    fn id(&mut self, id: Option<&Text<'_>>) {
        let id = id.map_or_else(|| Text::escaped("_"), |id| IDS.sent(id));
        id.write(self.out);
    }

    fn thought(&mut self, thought: &Thought<'_>) {
        let Some(signature) = &thought.signature else {
            return;
        };
        separate(self.out);
        if thought.redacted {
            put(r#"{"reasoningContent":{"redactedContent":"#, self.out);
            signature.write(self.out);
            put("}}", self.out);
            return;
        }
        put(r#"{"reasoningContent":{"reasoningText":{"text":"#, self.out);
        thought.text.write(self.out);
        key("signature", self.out);
        signature.write(self.out);
        put("}}}", self.out);
    }

    fn image(&mut self, image: &Image<'_>) -> Result<(), Refused> {
        let (format, data) = match image {
            Image::Base64 {
                media_type: kind,
                data,
                ..
            } => match kind {
                MediaType::Png | MediaType::Jpeg | MediaType::Gif | MediaType::Webp => {
                    (kind.subtype(), data)
                }
                MediaType::Bmp | MediaType::Heic | MediaType::Avif => {
                    return Err(Refused::field(
                        "messages",
                        format!(
                            "Bedrock takes no {}; send the image as PNG, JPEG, GIF or WebP",
                            kind.name()
                        ),
                    ));
                }
            },
            Image::Url { .. } => {
                return Err(Refused::field(
                    "messages",
                    "Bedrock takes no image by its address; send the image itself, as base64",
                ));
            }
        };
        self.file("image", format, None, data);
        Ok(())
    }

    fn document(&mut self, document: &Document<'_>) -> Result<(), Refused> {
        let media_type = document
            .media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let find = |kinds: &[(&str, &'static str)]| {
            let found = kinds
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(media_type));
            found.map(|(_, format)| *format)
        };
        if let Some(format) = find(RECORDINGS) {
            self.file("audio", format, None, &document.data);
            return Ok(());
        }
        let Some(format) = find(DOCUMENTS) else {
            return Err(Refused::field(
                "messages",
                "Bedrock takes no file of this type; send PDF, CSV, Word, Excel, HTML, Markdown or plain text",
            ));
        };
        self.documents += 1;
        let name = document_name(document.name.as_ref(), self.documents);
        self.file("document", format, Some(&name), &document.data);
        Ok(())
    }

    fn file(&mut self, kind: &str, format: &str, name: Option<&str>, data: &str) {
        separate(self.out);
        self.out.push(b'{');
        key(kind, self.out);
        put(r#"{"format":""#, self.out);
        put(format, self.out);
        self.out.push(b'"');
        if let Some(name) = name {
            key("name", self.out);
            Text::escaped(name).write(self.out);
        }
        put(r#","source":{"bytes":""#, self.out);
        put(data, self.out);
        put(r#""}}}"#, self.out);
    }

    fn result(&mut self, result: &ToolResult<'_>) -> Result<(), Refused> {
        separate(self.out);
        put(r#"{"toolResult":{"toolUseId":"#, self.out);
        self.id(result.id.as_ref());
        put(r#","content":["#, self.out);
        if result.is_error && !self.has_status {
            self.text(&Text::escaped("Error:"));
        }
        let before = self.out.len();
        for part in &result.parts {
            match part {
                Part::Text(text) if !text.is_blank() => self.text(text),
                Part::Image(image) => self.image(image)?,
                Part::Document(document) => self.document(document)?,
                _ => {}
            }
        }
        if self.out.len() == before {
            self.text(&Text::escaped("(nothing)"));
        }
        self.out.push(b']');
        if result.is_error && self.has_status {
            put(r#","status":"error""#, self.out);
        }
        put("}}", self.out);
        Ok(())
    }
}

/// Appends the system prompt's blocks.
pub(super) fn write_prompt(parts: &[Part<'_>], out: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Text(text) => {
                separate(out);
                put(r#"{"text":"#, out);
                text.write(out);
                out.push(b'}');
            }
            Part::Breakpoint(ttl) => caching::write(*ttl, out),
            _ => {}
        }
    }
}

/// Returns a document's name in letters, digits, single blanks and `-()[]`, unlike the others of the request.
fn document_name(name: Option<&Text<'_>>, number: usize) -> String {
    let name = name.map_or(Cow::Borrowed(""), Text::decoded);
    let kept: String = name
        .chars()
        .map(|character| match character {
            '-' | '(' | ')' | '[' | ']' => character,
            _ if character.is_ascii_alphanumeric() => character,
            _ => ' ',
        })
        .collect();
    let words: Vec<&str> = kept.split_ascii_whitespace().collect();
    let mut name = if words.is_empty() {
        "document".to_owned()
    } else {
        words.join(" ")
    };
    if number > 1 {
        let end = format!(" {number}");
        name.truncate(LONGEST_DOCUMENT_NAME - end.len());
        name.push_str(&end);
    }
    name.truncate(LONGEST_DOCUMENT_NAME);
    name
}
