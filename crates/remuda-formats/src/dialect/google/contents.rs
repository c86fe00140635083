//! `contents`: turns and their parts.

use std::borrow::Cow;

use super::json::{key, put, separate};
use crate::dialect::signature::{is_of_text, of_gemini};
use crate::facts::{ModelFacts, Parameter, ReasoningSetting};
use crate::ir::{
    ChatRequest, Document, Image, MediaType, Message, Part, Refused, Role, Text, Thought, ToolCall,
    ToolNames, ToolResult,
};

/// Google allows 128 since 2026; 64 is what every version took.
pub(super) const LONGEST_NAME: usize = 64;

/// What Google's guide to thought signatures lets stand where a call comes from elsewhere.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Addresses of files that the API reads itself: those uploaded to it, those in its storage, and videos.
const OWN_ADDRESSES: [&str; 4] = [
    "https://generativelanguage.googleapis.com/",
    "https://www.youtube.com/",
    "https://youtu.be/",
    "gs://",
];

/// Writes turns.
pub(super) struct Contents<'w> {
    out: &'w mut Vec<u8>,
    names: &'w mut ToolNames,
    /// Whether the first call of a turn must have a signature.
    signs: bool,
}

impl<'w> Contents<'w> {
    pub(super) fn new(out: &'w mut Vec<u8>, names: &'w mut ToolNames, facts: &ModelFacts) -> Self {
        Contents {
            out,
            names,
            signs: facts.refuses(Parameter::UnsignedCalls, ReasoningSetting::Nothing),
        }
    }

    /// Appends a turn; one of the user's becomes two where it brings results and says something besides.
    pub(super) fn turn(&mut self, message: &Message<'_>) -> Result<(), Refused> {
        if message.role == Role::Assistant {
            self.open("model");
            let mut unsigned = self.signs && !message.parts.iter().any(is_signed_after);
            let signed = SignedTexts::of(&message.parts);
            for (place, part) in message.parts.iter().enumerate() {
                match part {
                    Part::ToolCall(call) => {
                        self.call(call, unsigned);
                        unsigned = false;
                    }
                    Part::Text(text) => self.text(text, signed.signature_of(place, &message.parts)),
                    Part::Thought(_) if signed.has_given(place) => {}
                    part => self.part(part)?,
                }
            }
            return self.close();
        }
        let results = || {
            message.parts.iter().filter_map(|part| match part {
                Part::ToolResult(result) => Some(result),
                _ => None,
            })
        };
        if results().next().is_some() {
            self.open("user");
            results().for_each(|result| self.result(result));
            self.close()?;
        }
        let shown = || {
            let of_results = results().flat_map(|result| &result.parts);
            let rest = message.parts.iter();
            of_results
                .filter(|part| !matches!(part, Part::Text(_)))
                .chain(rest.filter(|part| !matches!(part, Part::ToolResult(_))))
        };
        if shown().next().is_some() {
            self.open("user");
            for part in shown() {
                self.part(part)?;
            }
            self.close()?;
        }
        Ok(())
    }

    fn open(&mut self, role: &str) {
        separate(self.out);
        put(r#"{"role":""#, self.out);
        put(role, self.out);
        put(r#"","parts":["#, self.out);
    }

    fn close(&mut self) -> Result<(), Refused> {
        put("]}", self.out);
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Refused> {
        match part {
            Part::Text(text) => self.text(text, None),
            Part::Image(image) => self.image(image)?,
            Part::Document(document) => self.document(document)?,
            Part::Thought(thought) => self.thought(thought),
            Part::ToolCall(call) => self.call(call, false),
            Part::ToolResult(result) => self.result(result),
            // Taken out before.
            Part::Breakpoint(_) => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &Text<'_>, signature: Option<Text<'_>>) {
        separate(self.out);
        put(r#"{"text":"#, self.out);
        text.write(self.out);
        if let Some(signature) = signature {
            key("thoughtSignature", self.out);
            signature.write(self.out);
        }
        self.out.push(b'}');
    }

    /// A signature without a text signed a text of the answer that has gone.
    fn thought(&mut self, thought: &Thought<'_>) {
        let Some(signature) = thought.signature.as_ref().and_then(of_gemini) else {
            return;
        };
        separate(self.out);
        put(r#"{"text":"#, self.out);
        thought.text.write(self.out);
        if !thought.text.is_empty() {
            put(r#","thought":true"#, self.out);
        }
        key("thoughtSignature", self.out);
        signature.write(self.out);
        self.out.push(b'}');
    }

    /// Writes a call; `unsigned` says that it may not go without a signature.
    fn call(&mut self, call: &ToolCall<'_>, unsigned: bool) {
        separate(self.out);
        put(r#"{"functionCall":{"#, self.out);
        self.id(call.id.as_ref());
        self.name(&call.name);
        key("args", self.out);
        call.arguments.write(self.out);
        self.out.push(b'}');
        let signature = call.signature.as_ref().filter(|text| !text.is_empty());
        if let Some(after) = signature
            .filter(|text| is_of_text(text))
            .and_then(of_gemini)
        {
            put(r#"},{"text":"""#, self.out);
            key("thoughtSignature", self.out);
            after.write(self.out);
        } else if let Some(signature) = signature {
            key("thoughtSignature", self.out);
            signature.write(self.out);
        } else if unsigned {
            key("thoughtSignature", self.out);
            Text::escaped(NO_SIGNATURE).write(self.out);
        }
        self.out.push(b'}');
    }

    /// The response has to be an object; pictures follow in the user's own turn.
    fn result(&mut self, result: &ToolResult<'_>) {
        separate(self.out);
        put(r#"{"functionResponse":{"#, self.out);
        self.id(result.id.as_ref());
        self.name(result.name.as_ref().unwrap_or(&Text::default()));
        key("response", self.out);
        put(
            if result.is_error {
                r#"{"error":""#
            } else {
                r#"{"output":""#
            },
            self.out,
        );
        let mut first = true;
        for part in &result.parts {
            let Part::Text(text) = part else { continue };
            if !std::mem::take(&mut first) {
                put(r"\n", self.out);
            }
            put(text.as_escaped(), self.out);
        }
        put(r#""}}}"#, self.out);
    }

    fn id(&mut self, id: Option<&Text<'_>>) {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            key("id", self.out);
            id.write(self.out);
        }
    }

    fn name(&mut self, name: &Text<'_>) {
        key("name", self.out);
        self.names
            .sent_as_identifier(name, LONGEST_NAME)
            .write(self.out);
    }

    fn image(&mut self, image: &Image<'_>) -> Result<(), Refused> {
        match image {
            Image::Base64 {
                media_type, data, ..
            } => match media_type {
                MediaType::Png | MediaType::Jpeg | MediaType::Webp | MediaType::Heic => {
                    self.inline(media_type.name(), data);
                    Ok(())
                }
                MediaType::Gif | MediaType::Bmp | MediaType::Avif => {
                    let kind = media_type.name();
                    Err(refused(format!(
                        "Gemini takes no {kind}; send the image as PNG, JPEG, WebP or HEIC"
                    )))
                }
            },
            Image::Url { url, .. } => {
                let address = url.decoded();
                if !OWN_ADDRESSES.iter().any(|own| address.starts_with(own)) {
                    return Err(refused(
                        "Gemini takes no image by its address; send the image itself, as base64",
                    ));
                }
                separate(self.out);
                put(r#"{"fileData":{"fileUri":"#, self.out);
                url.write(self.out);
                put("}}", self.out);
                Ok(())
            }
        }
    }

    fn document(&mut self, document: &Document<'_>) -> Result<(), Refused> {
        let media_type = document
            .media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let known = ["text/", "audio/", "video/", "image/", "application/pdf"];
        let is_known = known.iter().any(|kind| {
            media_type
                .get(..kind.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(kind))
        });
        // It goes between quotes as it is.
        let is_plain = media_type
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/.+-".contains(&byte));
        if !is_known || !is_plain {
            return Err(refused(
                "Gemini takes no file of this type; send PDF, text, sound or video",
            ));
        }
        self.inline(media_type, &document.data);
        Ok(())
    }

    fn inline(&mut self, media_type: &str, base64: &str) {
        separate(self.out);
        put(r#"{"inlineData":{"mimeType":""#, self.out);
        put(media_type, self.out);
        put(r#"","data":""#, self.out);
        put(base64, self.out);
        put(r#""}}"#, self.out);
    }
}

/// Returns whether it is a call whose signature came after it, in a part of its own. It goes back so.
fn is_signed_after(part: &Part<'_>) -> bool {
    matches!(part, Part::ToolCall(call) if call.signature.as_ref().is_some_and(is_of_text))
}

/// Which texts of a turn are signed, by which of its thoughts that have no text themselves.
struct SignedTexts {
    /// Places of the text and of the thought; both rise.
    pairs: Vec<(usize, usize)>,
}

impl SignedTexts {
    /// Pairs texts with their signatures. A signature is of the text that it stands before, else of the one that it
    /// stands after: clients keep it at either side.
    fn of(parts: &[Part<'_>]) -> Self {
        let is_text = |place: usize| matches!(parts.get(place), Some(Part::Text(_)));
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        let mut waiting = None;
        for (place, part) in parts.iter().enumerate() {
            match part {
                Part::Text(_) => pairs.extend(waiting.take().map(|thought| (place, thought))),
                Part::Thought(thought) if thought.text.is_empty() => {
                    let unsigned = |text: &usize| pairs.last().is_none_or(|pair| pair.0 != *text);
                    let before = place.checked_sub(1).filter(|text| is_text(*text));
                    match before.filter(|text| !is_text(place + 1) && unsigned(text)) {
                        Some(text) => pairs.push((text, place)),
                        None => waiting = Some(place),
                    }
                }
                _ => waiting = None,
            }
        }
        SignedTexts { pairs }
    }

    fn signature_of<'p>(&self, text: usize, parts: &'p [Part<'_>]) -> Option<Text<'p>> {
        let found = self.pairs.binary_search_by_key(&text, |pair| pair.0).ok()?;
        match parts.get(self.pairs[found].1) {
            Some(Part::Thought(thought)) => thought.signature.as_ref().and_then(of_gemini),
            _ => None,
        }
    }

    /// Returns whether the thought at this place is said with a text.
    fn has_given(&self, place: usize) -> bool {
        self.pairs
            .binary_search_by_key(&place, |pair| pair.1)
            .is_ok()
    }
}

/// Appends the texts among `parts`, each a part of its own.
pub(super) fn write_texts(parts: &[Part<'_>], out: &mut Vec<u8>) {
    for part in parts {
        if let Part::Text(text) = part {
            separate(out);
            put(r#"{"text":"#, out);
            text.write(out);
            out.push(b'}');
        }
    }
}

fn refused(why: impl Into<Cow<'static, str>>) -> Refused {
    Refused::field("messages", why)
}

/// Returns about how many bytes all texts, files and tools have.
pub(super) fn length(request: &ChatRequest<'_>) -> usize {
    fn of(parts: &[Part<'_>]) -> usize {
        let lengths = parts.iter().map(|part| match part {
            Part::Text(text) => text.as_escaped().len() + 16,
            Part::Image(Image::Base64 { data, .. }) => data.len() + 80,
            Part::Image(Image::Url { url, .. }) => url.as_escaped().len() + 40,
            Part::Document(document) => document.data.len() + 120,
            Part::ToolCall(call) => call.arguments.as_str().len() + 300,
            Part::ToolResult(result) => of(&result.parts) + 150,
            Part::Thought(thought) => thought.text.as_escaped().len() + 500,
            Part::Breakpoint(_) => 0,
        });
        lengths.sum()
    }
    let messages = request
        .messages
        .iter()
        .map(|message| of(&message.parts) + 40);
    let tools = request.tools.iter().map(|tool| {
        let description = tool
            .description
            .as_ref()
            .map_or(0, |text| text.as_escaped().len());
        let schema = tool
            .parameters
            .as_ref()
            .map_or(0, |schema| schema.as_str().len());
        description + schema + 200
    });
    messages.chain(tools).sum()
}
