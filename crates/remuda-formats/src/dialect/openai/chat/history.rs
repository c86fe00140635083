//! The messages of a request to a provider.

use super::super::caching;
use super::super::custom::Customs;
use super::super::details;
use super::super::object::{Object, list};
use super::super::shared::{
    LONGEST_NAME, before_the_first_words, let_go_on, mark_of, never_empty, refused, text_of,
    write_pdf, write_texts, write_url,
};
use super::ways::{Replay, Ways};
use crate::dialect::exchange::Target;
use crate::dialect::signature::of_gemini;
use crate::facts::{Capability, Parameter};
use crate::ir::{
    CacheTtl, Document, Dropped, Image, Message, Part, Refused, Role, Text, Thought, ToolCall,
    ToolNames, ToolResult, hoist_prompt, pair_tool_results, results_before_system, system_as_user,
};

/// How this target wants the conversation so far.
pub(super) struct History<'t> {
    pub(super) target: &'t Target<'t>,
    pub(super) ways: &'t Ways,
    /// Whether the model will reason.
    pub(super) reasons: bool,
    pub(super) customs: &'t Customs<'t>,
}

impl History<'_> {
    /// Returns the turns in an order that the target takes, with `instruction` among those of the system.
    pub(super) fn prepare<'a>(
        &self,
        mut messages: Vec<Message<'a>>,
        instruction: Option<Text<'a>>,
        dropped: &mut Dropped,
    ) -> Vec<Message<'a>> {
        if let Some(instruction) = instruction {
            let place = messages
                .iter()
                .position(|message| message.role != Role::System)
                .unwrap_or(messages.len());
            let parts = vec![Part::Text(instruction)];
            messages.insert(place, Message::new(Role::System, parts));
        }
        let refuses_system = self.target.facts.refused.contains(&Parameter::System);
        results_before_system(&mut messages);
        let mut system = Vec::new();
        if self.ways.one_system || refuses_system {
            system = hoist_prompt(&mut messages);
            system_as_user(&mut messages);
        }
        pair_tool_results(&mut messages);
        never_empty(&mut messages);
        if refuses_system && !system.is_empty() {
            before_the_first_words(&mut messages, system);
        } else if !system.is_empty() {
            messages.insert(0, Message::new(Role::System, system));
        }
        let_go_on(&mut messages, self.target, dropped);
        messages
    }

    /// Appends the array of messages.
    pub(super) fn write(
        &self,
        messages: Vec<Message<'_>>,
        names: &mut ToolNames,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let mut turns = Turns {
            history: self,
            names,
            out,
            first: true,
        };
        turns.out.push(b'[');
        for message in &messages {
            match message.role {
                Role::System => turns.plain(self.ways.system, message, &message.parts)?,
                Role::User => turns.user(message)?,
                Role::Assistant => turns.assistant(message)?,
            }
        }
        turns.out.push(b']');
        Ok(())
    }

    fn image(&self, image: &Image<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        if !self.target.facts.can(Capability::Vision) {
            return Err(refused(self.target, "does not support images"));
        }
        let (Image::Base64 { detail, .. } | Image::Url { detail, .. }) = image;
        let mut part = Object::new(out);
        part.word("type", "image_url");
        let mut address = Object::new(part.key("image_url"));
        write_url(image, "url", &mut address);
        if let Some(detail) = detail {
            address.text("detail", detail);
        }
        address.end();
        part.end();
        Ok(())
    }

    fn document(&self, document: &Document<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        let audio = match &*document.media_type {
            "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
            "audio/mpeg" | "audio/mp3" => Some("mp3"),
            _ => None,
        };
        if let Some(format) = audio.filter(|_| self.target.facts.can(Capability::Audio)) {
            let mut part = Object::new(out);
            part.word("type", "input_audio");
            let mut audio = Object::new(part.key("input_audio"));
            audio.word("data", &document.data);
            audio.word("format", format);
            audio.end();
            part.end();
            return Ok(());
        }
        if document.media_type.starts_with("text/") {
            write_text(&text_of(document)?, None, out);
            return Ok(());
        }
        if &*document.media_type != "application/pdf" || !self.ways.files {
            return Err(refused(self.target, "does not take files of this type"));
        }
        let mut part = Object::new(out);
        part.word("type", "file");
        let mut file = Object::new(part.key("file"));
        write_pdf(document, &mut file);
        file.end();
        part.end();
        Ok(())
    }
}

fn write_text(text: &Text<'_>, cache: Option<CacheTtl>, out: &mut Vec<u8>) {
    let mut part = Object::new(out);
    part.word("type", "text");
    part.text("text", text);
    caching::write(cache, &mut part);
    part.end();
}

struct Turns<'h> {
    history: &'h History<'h>,
    names: &'h mut ToolNames,
    out: &'h mut Vec<u8>,
    first: bool,
}

impl Turns<'_> {
    fn next(&mut self) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
    }

    /// Writes a message that has a role and a content.
    fn plain(
        &mut self,
        role: &str,
        message: &Message<'_>,
        parts: &[Part<'_>],
    ) -> Result<(), Refused> {
        self.next();
        let mut object = Object::new(self.out);
        object.word("role", role);
        if let Some(name) = &message.name {
            object.text("name", name);
        }
        write_content(self.history, parts.iter(), object.key("content"))?;
        object.end();
        Ok(())
    }

    /// Results are messages of their own; the images of results and the words follow as the user's.
    fn user(&mut self, message: &Message<'_>) -> Result<(), Refused> {
        let mut rest = Vec::new();
        let mut parts = message.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::ToolResult(result) => {
                    let cache = match parts.next_if(|next| next.is_breakpoint()) {
                        Some(Part::Breakpoint(ttl)) => Some(*ttl),
                        _ => None,
                    };
                    self.result(result, cache)?;
                    let shown = |part: &&Part<'_>| !matches!(part, Part::Text(_));
                    rest.extend(result.parts.iter().filter(shown).cloned());
                }
                other => rest.push(other.clone()),
            }
        }
        let only_results = !message.parts.is_empty() && rest.is_empty();
        if only_results {
            Ok(())
        } else {
            self.plain("user", message, &rest)
        }
    }

    fn result(&mut self, result: &ToolResult<'_>, cache: Option<CacheTtl>) -> Result<(), Refused> {
        self.next();
        let id = result.id.clone().unwrap_or_default();
        let mut object = Object::new(self.out);
        object.word("role", "tool");
        object.text("tool_call_id", &self.history.ways.ids.sent(&id));
        let mark = mark_of(result.is_error);
        let content = object.key("content");
        match cache {
            None => write_texts(mark, &result.parts, content),
            Some(ttl) => {
                content.push(b'[');
                let mut part = Object::new(content);
                part.word("type", "text");
                write_texts(mark, &result.parts, part.key("text"));
                caching::write(Some(ttl), &mut part);
                part.end();
                content.push(b']');
            }
        }
        object.end();
        Ok(())
    }

    fn assistant(&mut self, message: &Message<'_>) -> Result<(), Refused> {
        let calls: Vec<&ToolCall<'_>> = message
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some(call),
                _ => None,
            })
            .collect();
        let is_said =
            |part: &&Part<'_>| matches!(part, Part::Text(_) | Part::Image(_) | Part::Document(_));
        let says = message.parts.iter().any(|part| is_said(&part));
        if calls.is_empty() && !says {
            // A thought alone is no turn.
            return Ok(());
        }
        self.next();
        let mut object = Object::new(self.out);
        object.word("role", "assistant");
        if let Some(name) = &message.name {
            object.text("name", name);
        }
        if says {
            let said = message
                .parts
                .iter()
                .filter(|part| is_said(part) || part.is_breakpoint());
            write_content(self.history, said, object.key("content"))?;
        } else {
            object.raw("content", self.history.ways.no_content);
        }
        write_thoughts(self.history, &message.parts, &mut object);
        if !calls.is_empty() {
            let (history, names) = (self.history, &mut *self.names);
            list(&calls, object.key("tool_calls"), |call, out| {
                write_call(call, history, names, out);
            });
        }
        object.end();
        Ok(())
    }
}

fn write_call(
    call: &ToolCall<'_>,
    history: &History<'_>,
    names: &mut ToolNames,
    out: &mut Vec<u8>,
) {
    let id = call.id.clone().unwrap_or_default();
    let mut object = Object::new(out);
    object.text("id", &history.ways.ids.sent(&id));
    let input = history.customs.input(call);
    let kind = match input {
        Some(_) => "custom",
        None => "function",
    };
    object.word("type", kind);
    let mut called = Object::new(object.key(kind));
    called.text("name", &names.sent(&call.name, LONGEST_NAME));
    match input {
        Some(input) => called.text("input", &input),
        None => called.text("arguments", &call.arguments.to_text()),
    }
    called.end();
    object.end();
}

fn write_thoughts(history: &History<'_>, parts: &[Part<'_>], object: &mut Object<'_>) {
    let thoughts: Vec<&Thought<'_>> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Thought(thought) => Some(thought),
            _ => None,
        })
        .collect();
    let replay = history.ways.replay;
    if replay == Replay::Details {
        // Unsigned ones prove nothing to the model that is to read them.
        let signed: Vec<_> = thoughts
            .into_iter()
            .filter(|thought| {
                let signature = thought.signature.as_ref();
                signature.is_some_and(|signature| of_gemini(signature).is_none())
            })
            .enumerate()
            .collect();
        if !signed.is_empty() {
            list(
                &signed,
                object.key("reasoning_details"),
                |(index, thought), out| {
                    details::write(thought, *index, true, out);
                },
            );
        }
        return;
    }
    let mut text = Text::default();
    for thought in thoughts {
        text.push(&thought.text);
    }
    match replay {
        Replay::Never | Replay::Details => {}
        Replay::Required if history.reasons => {
            // A blank is accepted where the thought is lost.
            let filler = Text::escaped(" ");
            let text = if text.is_empty() { &filler } else { &text };
            object.text("reasoning_content", text);
        }
        Replay::Required => {}
        Replay::BothNames | Replay::OldName if text.is_empty() => {}
        Replay::BothNames => {
            object.text("reasoning", &text);
            object.text("reasoning_content", &text);
        }
        Replay::OldName => object.text("reasoning_content", &text),
    }
}

/// Writes text alone as one string, unless some of it is to be kept: many servers take nothing else.
fn write_content<'p>(
    history: &History<'_>,
    parts: impl Iterator<Item = &'p Part<'p>> + Clone,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let is_text = |part: &Part<'_>| matches!(part, Part::Text(_));
    if parts.clone().all(is_text) {
        write_texts("", parts, out);
        return Ok(());
    }
    out.push(b'[');
    let mut parts = parts.peekable();
    let mut first = true;
    while let Some(part) = parts.next() {
        if part.is_breakpoint() {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        match part {
            Part::Text(text) => {
                let cache = match parts.peek() {
                    Some(Part::Breakpoint(ttl)) => Some(*ttl),
                    _ => None,
                };
                write_text(text, cache, out);
            }
            Part::Image(image) => history.image(image, out)?,
            Part::Document(document) => history.document(document, out)?,
            // Written elsewhere; see `Turns`.
            Part::Thought(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Breakpoint(_) => {
                write_text(&Text::default(), None, out);
            }
        }
    }
    out.push(b']');
    Ok(())
}
