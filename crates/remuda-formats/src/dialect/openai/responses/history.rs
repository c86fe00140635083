//! The input of a request to a provider: messages, calls, their outputs and reasoning side by side.

use ahash::{AHashMap, AHashSet};

use super::super::custom::Customs;
use super::super::object::Object;
use super::super::shared::{
    LONGEST_NAME, before_the_first_words, let_go_on, mark_of, never_empty, refused, text_of,
    write_pdf, write_texts, write_url,
};
use super::ways::Ways;
use crate::dialect::call_ids::CallIds;
use crate::dialect::exchange::Target;
use crate::facts::{Capability, Parameter};
use crate::ir::{
    Document, Dropped, Image, Message, Part, Refused, Role, Text, Thought, ToolCall, ToolNames,
    ToolResult, drop_blank, hoist_system, pair_tool_results, results_before_system, system_as_user,
};

/// Ids of reasoning items begin so at OpenAI; ids of other formats do not.
const THOUGHT_ID: &str = "rs_";

/// Some models refuse longer ones.
const IDS: CallIds = CallIds::Plain(40);

/// How this target wants the conversation so far.
pub(super) struct History<'t> {
    pub(super) target: &'t Target<'t>,
    pub(super) ways: &'t Ways,
    pub(super) customs: &'t Customs<'t>,
}

impl History<'_> {
    /// Returns the instructions, and the turns in an order that the target takes.
    pub(super) fn prepare<'a>(
        &self,
        mut messages: Vec<Message<'a>>,
        dropped: &mut Dropped,
    ) -> (Option<Text<'a>>, Vec<Message<'a>>) {
        let refuses_system = self.target.facts.refused.contains(&Parameter::System);
        let mut system = hoist_system(&mut messages);
        drop_blank(&mut messages);
        results_before_system(&mut messages);
        if refuses_system {
            system_as_user(&mut messages);
        }
        pair_tool_results(&mut messages);
        never_empty(&mut messages);
        if let Some(system) = system.take_if(|_| refuses_system) {
            before_the_first_words(&mut messages, vec![Part::Text(system)]);
        }
        let_go_on(&mut messages, self.target, dropped);
        (system, messages)
    }

    /// Appends the array of items; `instruction` goes before them.
    pub(super) fn write(
        &self,
        messages: &[Message<'_>],
        instruction: Option<&Text<'_>>,
        names: &mut ToolNames,
        dropped: &mut Dropped,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let mut items = Items {
            history: self,
            names,
            signatures: AHashMap::new(),
            customs: AHashSet::new(),
            dropped,
            out,
            first: true,
        };
        items.out.push(b'[');
        if let Some(instruction) = instruction {
            items.text("developer", instruction);
        }
        for message in messages {
            match message.role {
                // What stands amid the conversation.
                Role::System => items.message("developer", message.parts.iter().collect())?,
                Role::User => items.user(message)?,
                Role::Assistant => items.assistant(&message.parts),
            }
        }
        items.out.push(b']');
        Ok(())
    }

    fn image(&self, image: &Image<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        if !self.target.facts.can(Capability::Vision) {
            return Err(refused(self.target, "does not support images"));
        }
        let (Image::Base64 { detail, .. } | Image::Url { detail, .. }) = image;
        let mut part = Object::new(out);
        part.word("type", "input_image");
        write_url(image, "image_url", &mut part);
        if let Some(detail) = detail.as_ref().filter(|_| self.ways.detail) {
            part.text("detail", detail);
        }
        part.end();
        Ok(())
    }

    fn document(&self, document: &Document<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
        if document.media_type.starts_with("text/") {
            write_text(&text_of(document)?, out);
            return Ok(());
        }
        if &*document.media_type != "application/pdf" || !self.ways.files {
            return Err(refused(self.target, "does not take files of this type"));
        }
        let mut part = Object::new(out);
        part.word("type", "input_file");
        write_pdf(document, &mut part);
        part.end();
        Ok(())
    }
}

fn write_text(text: &Text<'_>, out: &mut Vec<u8>) {
    let mut part = Object::new(out);
    part.word("type", "input_text");
    part.text("text", text);
    part.end();
}

struct Items<'h> {
    history: &'h History<'h>,
    names: &'h mut ToolNames,
    /// The signatures of calls by the ids that were sent.
    signatures: AHashMap<String, Text<'h>>,
    /// Ids that were sent of calls of custom tools: their results are items of another type.
    customs: AHashSet<String>,
    dropped: &'h mut Dropped,
    out: &'h mut Vec<u8>,
    first: bool,
}

impl<'h> Items<'h> {
    /// Begins an item.
    fn item(&mut self, kind: &str) -> Object<'_> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        let mut item = Object::new(self.out);
        item.word("type", kind);
        item
    }

    /// Writes a message of text alone.
    fn text(&mut self, role: &str, text: &Text<'_>) {
        let mut item = self.item("message");
        item.word("role", role);
        item.text("content", text);
        item.end();
    }

    /// Writes what the user says. The outputs of tools are items of their own; their images and the user's words
    /// follow.
    fn user(&mut self, message: &'h Message<'h>) -> Result<(), Refused> {
        let mut rest = Vec::new();
        for part in &message.parts {
            match part {
                Part::ToolResult(result) => {
                    self.result(result);
                    let shown = |part: &&Part<'_>| !matches!(part, Part::Text(_));
                    rest.extend(result.parts.iter().filter(shown));
                }
                other => rest.push(other),
            }
        }
        self.message("user", rest)
    }

    fn message(&mut self, role: &str, parts: Vec<&Part<'_>>) -> Result<(), Refused> {
        match parts[..] {
            [] => {}
            [Part::Text(text)] => self.text(role, text),
            _ => self.parts(role, &parts)?,
        }
        Ok(())
    }

    fn parts(&mut self, role: &str, parts: &[&Part<'_>]) -> Result<(), Refused> {
        let history = self.history;
        let mut item = self.item("message");
        item.word("role", role);
        let content = item.key("content");
        content.push(b'[');
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                content.push(b',');
            }
            match part {
                Part::Text(text) => write_text(text, content),
                Part::Image(image) => history.image(image, content)?,
                Part::Document(document) => history.document(document, content)?,
                // No turn of a user's has them, and no result does.
                Part::Thought(_)
                | Part::ToolCall(_)
                | Part::ToolResult(_)
                | Part::Breakpoint(_) => write_text(&Text::default(), content),
            }
        }
        content.push(b']');
        item.end();
        Ok(())
    }

    fn result(&mut self, result: &'h ToolResult<'h>) {
        let id = result.id.clone().unwrap_or_default();
        let id = IDS.sent(&id);
        let signed = self.history.ways.signed_calls;
        let name = result
            .name
            .as_ref()
            .filter(|_| signed)
            .map(|name| self.names.sent(name, LONGEST_NAME));
        let signature = self.signatures.get(id.as_escaped()).cloned();
        let kind = if self.customs.contains(id.as_escaped()) {
            "custom_tool_call_output"
        } else {
            "function_call_output"
        };
        let mut item = self.item(kind);
        item.text("call_id", &id);
        if let Some(name) = name {
            item.text("name", &name);
        }
        if let Some(signature) = signature {
            item.text("thought_signature", &signature);
        }
        let mark = mark_of(result.is_error);
        write_texts(mark, &result.parts, item.key("output"));
        item.end();
    }

    /// Words, calls and reasoning are items of their own, in their order.
    fn assistant(&mut self, parts: &'h [Part<'h>]) {
        let mut rest = parts;
        while let Some((part, after)) = rest.split_first() {
            match part {
                Part::Text(_) => {
                    let is_text = |part: &Part<'_>| matches!(part, Part::Text(_));
                    let end = rest
                        .iter()
                        .position(|part| !is_text(part))
                        .unwrap_or(rest.len());
                    let (texts, after) = rest.split_at(end);
                    self.words(texts);
                    rest = after;
                    continue;
                }
                Part::Thought(thought) => self.thought(thought, after),
                Part::ToolCall(call) => self.call(call),
                // The API has no place for it in a turn of the assistant's.
                Part::Image(_) | Part::Document(_) => self.dropped.add("images"),
                Part::ToolResult(_) | Part::Breakpoint(_) => {}
            }
            rest = after;
        }
    }

    fn words(&mut self, texts: &[Part<'_>]) {
        let mut item = self.item("message");
        item.word("role", "assistant");
        write_texts("", texts, item.key("content"));
        item.end();
    }

    /// Writes a thought. OpenAI believes what it has signed under that id, and asks for what the reasoning led to after
    /// it.
    fn thought(&mut self, thought: &Thought<'_>, after: &[Part<'_>]) {
        let leads_somewhere = after
            .iter()
            .any(|part| matches!(part, Part::Text(_) | Part::ToolCall(_)));
        let (Some(id), Some(signature)) = (&thought.id, &thought.signature) else {
            return;
        };
        let is_openai = id.as_escaped().starts_with(THOUGHT_ID) && !thought.redacted;
        if !leads_somewhere || !is_openai || !self.history.ways.reasoning_items {
            return;
        }
        let mut item = self.item("reasoning");
        item.text("id", id);
        let summary = item.key("summary");
        summary.push(b'[');
        if !thought.text.is_empty() {
            let mut part = Object::new(summary);
            part.word("type", "summary_text");
            part.text("text", &thought.text);
            part.end();
        }
        summary.push(b']');
        item.text("encrypted_content", signature);
        item.end();
    }

    fn call(&mut self, call: &'h ToolCall<'h>) {
        let id = call.id.clone().unwrap_or_default();
        let id = IDS.sent(&id);
        let name = self.names.sent(&call.name, LONGEST_NAME);
        let signature = call
            .signature
            .as_ref()
            .filter(|_| self.history.ways.signed_calls);
        if let Some(signature) = signature {
            let id = id.as_escaped().to_owned();
            self.signatures.insert(id, signature.borrow());
        }
        let input = self.history.customs.input(call);
        if input.is_some() {
            self.customs.insert(id.as_escaped().to_owned());
        }
        let mut item = self.item(match input {
            Some(_) => "custom_tool_call",
            None => "function_call",
        });
        item.text("call_id", &id);
        item.text("name", &name);
        match input {
            Some(input) => item.text("input", &input),
            None => item.text("arguments", &call.arguments.to_text()),
        }
        if let Some(signature) = signature {
            item.text("thought_signature", signature);
        }
        item.end();
    }
}
