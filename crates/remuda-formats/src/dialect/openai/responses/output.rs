//! The items of an answer as they are written: messages, calls and reasoning.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::object::Object;
use super::{OWN_HIDDEN_THOUGHT, OWN_THOUGHT};
use crate::dialect::exchange::Reply;
use crate::ir::{Json, Text};

/// A part of a message.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub(super) refusal: bool,
    /// The text as it stands in JSON.
    pub(super) text: Cow<'a, str>,
    /// The inside of a JSON array.
    pub(super) logprobs: Cow<'a, [u8]>,
    /// The sources of the text, each as JSON.
    pub(super) annotations: Vec<Vec<u8>>,
}

impl Said<'_> {
    /// Returns what sort of part it is, and where its text stands in it.
    pub(super) fn kind(&self) -> (&'static str, &'static str) {
        if self.refusal {
            ("refusal", "refusal")
        } else {
            ("output_text", "text")
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (kind, field) = self.kind();
        let mut part = Object::new(out);
        part.word("type", kind);
        if !self.refusal {
            write_array(&self.annotations, part.key("annotations"));
            self.write_logprobs(part.key("logprobs"));
        }
        part.word(field, &self.text);
        part.end();
    }

    pub(super) fn write_logprobs(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        out.extend_from_slice(&self.logprobs);
        out.push(b']');
    }
}

fn write_array(items: &[Vec<u8>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
}

/// Appends the inside of an array of log probabilities to another one.
pub(super) fn add_logprobs(array: &Json<'_>, all: &mut Vec<u8>) {
    let is_filled = array
        .as_str()
        .strip_prefix('[')
        .is_some_and(|rest| rest.trim_ascii_start() != "]");
    if !is_filled {
        return;
    }
    if !all.is_empty() {
        all.push(b',');
    }
    let begin = all.len();
    array.write(all);
    all.remove(begin);
    all.pop();
}

/// Sources as citations. Which words each stands behind is not known, so they stand behind none.
pub(super) fn annotations(sources: &Json<'_>) -> Vec<Vec<u8>> {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(borrow)]
        url: Option<Text<'a>>,
        title: Option<Text<'a>>,
    }
    let found: Vec<Source<'_>> = serde_json::from_str(sources.as_str()).unwrap_or_default();
    found
        .into_iter()
        .filter_map(|source| {
            let mut json = Vec::new();
            let mut citation = Object::new(&mut json);
            citation.word("type", "url_citation");
            citation.integer("start_index", 0);
            citation.integer("end_index", 0);
            citation.text("url", &source.url?);
            citation.text("title", &source.title.unwrap_or_default());
            citation.end();
            Some(json)
        })
        .collect()
}

pub(super) fn write_message(id: &str, status: &str, parts: &[Said<'_>], out: &mut Vec<u8>) {
    let mut item = Object::new(out);
    item.word("id", id);
    item.word("type", "message");
    item.word("status", status);
    item.word("role", "assistant");
    let content = item.key("content");
    content.push(b'[');
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            content.push(b',');
        }
        part.write(content);
    }
    content.push(b']');
    item.end();
}

pub(super) fn message_id(reply: &Reply, item: usize) -> String {
    format!("msg_{}_{item}", reply.id)
}

/// Returns the provider's own id if it is known in time.
pub(super) fn thought_id(
    reply: &Reply,
    item: usize,
    own: Option<&Text<'_>>,
    redacted: bool,
) -> String {
    match own.filter(|own| !own.is_empty()) {
        Some(own) => own.as_escaped().to_owned(),
        None if redacted => format!("{OWN_HIDDEN_THOUGHT}{}_{item}", reply.id),
        None => format!("{OWN_THOUGHT}{}_{item}", reply.id),
    }
}

/// Writes a thought; `text` and `signature` are as they stand in JSON.
pub(super) fn write_thought(id: &str, text: &str, signature: Option<&str>, out: &mut Vec<u8>) {
    let mut item = Object::new(out);
    item.word("id", id);
    item.word("type", "reasoning");
    let summary = item.key("summary");
    summary.push(b'[');
    if !text.is_empty() {
        write_summary(text, summary);
    }
    summary.push(b']');
    if let Some(signature) = signature {
        item.word("encrypted_content", signature);
    }
    item.end();
}

pub(super) fn write_summary(text: &str, out: &mut Vec<u8>) {
    let mut part = Object::new(out);
    part.word("type", "summary_text");
    part.word("text", text);
    part.end();
}
