//! A response as it is worded: its items, its object, and the order of its events.

use serde_json::{Value, json};

use super::super::exchange::Request;
use super::super::mind::{Call, Finish, Thought};
use super::super::openai::words::{cached, logprob};
use crate::chance::{self, Dice};

/// One event of a stream; `sequence_number` is its place.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) value: Value,
    pub(crate) tokens: u64,
}

/// What of a request decides how its response is worded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// Fields that the response repeats.
    pub(crate) echo: Value,
    /// Whether a summary of the reasoning was asked for.
    pub(crate) summary: bool,
    /// Whether encrypted reasoning was asked for.
    pub(crate) encrypted: bool,
    /// Alternatives for each token, where log probabilities were asked for.
    pub(crate) logprobs: Option<u64>,
    pub(crate) obfuscate: bool,
    /// Names of tools that take text instead of JSON.
    pub(crate) custom: Vec<String>,
    pub(crate) prompt_tokens: u64,
}

/// Returns the encrypted content of the reasoning item with this id.
pub(crate) fn encrypted(id: &str) -> String {
    let mut dice = Dice::new(chance::hash(7, id.as_bytes()));
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    format!("gAAAAAB{}==", dice.text(alphabet, 131))
}

/// Words one response.
pub(crate) struct ResponseWords<'a> {
    pub(crate) request: &'a Request,
    pub(crate) manner: &'a Manner,
    pub(crate) thought: Thought,
    /// Items that come before those of the model.
    pub(crate) first: Vec<Value>,
}

impl ResponseWords<'_> {
    pub(crate) fn id(&self) -> String {
        self.request.id("resp_", 0, 48)
    }

    fn status(&self) -> &'static str {
        match self.thought.finish {
            Finish::Length | Finish::Filtered => "incomplete",
            _ => "completed",
        }
    }

    /// Returns the response with this status, these items, and usage once it has come to its end.
    pub(crate) fn object(&self, status: &str, output: Vec<Value>, ended: bool) -> Value {
        let mut value = self.manner.echo.clone();
        value["id"] = self.id().into();
        value["object"] = "response".into();
        value["created_at"] = self.request.now.into();
        value["status"] = status.into();
        value["error"] = Value::Null;
        let reason = match self.thought.finish {
            Finish::Length if ended => json!({"reason": "max_output_tokens"}),
            Finish::Filtered if ended => json!({"reason": "content_filter"}),
            _ => Value::Null,
        };
        value["incomplete_details"] = reason;
        value["output"] = output.into();
        value["usage"] = if ended { self.usage() } else { Value::Null };
        value
    }

    /// Returns the whole response.
    pub(crate) fn whole(&self) -> Value {
        self.object(self.status(), self.items(), true)
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.manner.prompt_tokens, self.thought.tokens());
        json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": cached(input), "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": self.thought.reasoning.len()},
            "total_tokens": input + output,
        })
    }

    fn has_message(&self) -> bool {
        !self.thought.text.is_empty()
            || (self.thought.calls.is_empty() && self.thought.finish != Finish::Length)
    }

    /// Returns all items as they are in the end.
    pub(crate) fn items(&self) -> Vec<Value> {
        let mut items = self.first.clone();
        if !self.thought.reasoning.is_empty() {
            items.push(self.reasoning());
        }
        if self.has_message() {
            items.push(self.message("", &[self.part()]));
        }
        let calls = self.thought.calls.iter().enumerate();
        items.extend(
            calls.map(|(number, call)| self.call(number, call, &call.json(), self.status())),
        );
        items
    }

    fn reasoning(&self) -> Value {
        let id = self.request.id("rs_", 0, 48);
        let summary = if self.manner.summary {
            json!([{"type": "summary_text", "text": self.thought.reasoning()}])
        } else {
            json!([])
        };
        let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
        if self.manner.encrypted {
            item["encrypted_content"] = encrypted(&id).into();
        }
        item
    }

    /// Returns the message; an empty status is that of the response.
    fn message(&self, status: &str, content: &[Value]) -> Value {
        let status = if status.is_empty() {
            self.status()
        } else {
            status
        };
        json!({"id": self.request.id("msg_", 0, 48), "type": "message", "status": status,
            "role": "assistant", "content": content})
    }

    fn is_refused(&self) -> bool {
        self.thought.finish == Finish::Refused
    }

    fn part(&self) -> Value {
        let text = self.thought.text();
        if self.is_refused() {
            return json!({"type": "refusal", "refusal": text});
        }
        json!({"type": "output_text", "annotations": [], "logprobs": self.logprobs(&self.thought.text), "text": text})
    }

    fn logprobs(&self, tokens: &[String]) -> Value {
        let count = self.manner.logprobs;
        let each = tokens
            .iter()
            .filter_map(|token| count.map(|count| logprob(token, count)));
        Value::Array(each.collect())
    }

    fn is_custom(&self, call: &Call) -> bool {
        self.manner.custom.contains(&call.name)
    }

    fn call(&self, number: usize, call: &Call, arguments: &str, status: &str) -> Value {
        let call_id = self.request.id("call_", number as u64, 24);
        let (namespace, name) = match call.name.split_once('.') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, call.name.as_str()),
        };
        let mut item = if self.is_custom(call) {
            json!({"id": self.request.id("ctc_", number as u64, 48), "type": "custom_tool_call",
                    "status": status, "call_id": call_id, "name": name, "input": arguments})
        } else {
            json!({"id": self.request.id("fc_", number as u64, 48), "type": "function_call",
                    "status": status, "arguments": arguments, "call_id": call_id, "name": name})
        };
        if let Some(namespace) = namespace {
            item["namespace"] = namespace.into();
        }
        item
    }

    /// Returns all events, in order; the last is terminal.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut script = Script {
            events: Vec::new(),
            obfuscate: self.manner.obfuscate.then_some(self.request.number),
        };
        let begun = self.object("in_progress", Vec::new(), false);
        script.add(json!({"type": "response.created", "response": begun}), 0);
        script.add(
            json!({"type": "response.in_progress", "response": begun}),
            0,
        );
        let mut index = 0;
        for item in &self.first {
            script.add(
                json!({"type": "response.output_item.added", "output_index": index, "item": item}),
                0,
            );
            script.add(
                json!({"type": "response.output_item.done", "output_index": index, "item": item}),
                0,
            );
            index += 1;
        }
        if !self.thought.reasoning.is_empty() {
            self.reasoning_events(index, &mut script);
            index += 1;
        }
        if self.has_message() {
            self.message_events(index, &mut script);
            index += 1;
        }
        for (number, call) in self.thought.calls.iter().enumerate() {
            self.call_events(index, number, call, &mut script);
            index += 1;
        }
        let kind = format!("response.{}", self.status());
        script.add(json!({"type": kind, "response": self.whole()}), 0);
        script.events
    }

    fn reasoning_events(&self, index: usize, script: &mut Script) {
        let item = self.reasoning();
        let mut begun = item.clone();
        begun["summary"] = json!([]);
        script.add(
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
            0,
        );
        let at = |kind: &str| {
            json!({"type": format!("response.reasoning_summary_{kind}"),
            "item_id": item["id"], "output_index": index, "summary_index": 0})
        };
        let mut unseen = self.thought.reasoning.len() as u64;
        if self.manner.summary {
            unseen = 0;
            let text = self.thought.reasoning();
            script.add(
                with(
                    at("part.added"),
                    "part",
                    json!({"type": "summary_text", "text": ""}),
                ),
                0,
            );
            for token in &self.thought.reasoning {
                script.delta(with(at("text.delta"), "delta", token.as_str().into()), 1);
            }
            script.add(with(at("text.done"), "text", text.as_str().into()), 0);
            script.add(
                with(
                    at("part.done"),
                    "part",
                    json!({"type": "summary_text", "text": text}),
                ),
                0,
            );
        }
        script.add(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
            unseen,
        );
    }

    fn message_events(&self, index: usize, script: &mut Script) {
        let begun = self.message("in_progress", &[]);
        script.add(
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
            0,
        );
        let at = |kind: &str| {
            json!({"type": format!("response.{kind}"), "item_id": begun["id"],
            "output_index": index, "content_index": 0})
        };
        let (kind, field) = if self.is_refused() {
            ("refusal", "refusal")
        } else {
            ("output_text", "text")
        };
        let mut empty = self.part();
        empty[field] = "".into();
        if !self.is_refused() {
            empty["logprobs"] = json!([]);
        }
        script.add(with(at("content_part.added"), "part", empty), 0);
        for token in &self.thought.text {
            let mut delta = with(at(&format!("{kind}.delta")), "delta", token.as_str().into());
            if !self.is_refused() {
                delta["logprobs"] = self.logprobs(std::slice::from_ref(token));
            }
            script.delta(delta, 1);
        }
        let mut done = with(
            at(&format!("{kind}.done")),
            field,
            self.thought.text().into(),
        );
        if !self.is_refused() {
            done["logprobs"] = self.logprobs(&self.thought.text);
        }
        script.add(done, 0);
        script.add(with(at("content_part.done"), "part", self.part()), 0);
        let item = self.message("", &[self.part()]);
        script.add(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
            0,
        );
    }

    fn call_events(&self, index: usize, number: usize, call: &Call, script: &mut Script) {
        let begun = self.call(number, call, "", "in_progress");
        script.add(
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
            0,
        );
        let (kind, field) = if self.is_custom(call) {
            ("custom_tool_call_input", "input")
        } else {
            ("function_call_arguments", "arguments")
        };
        let at = |end: &str| {
            json!({"type": format!("response.{kind}.{end}"), "item_id": begun["id"],
            "output_index": index})
        };
        for text in &call.arguments {
            script.delta(with(at("delta"), "delta", text.as_str().into()), 1);
        }
        script.add(with(at("done"), field, call.json().into()), 0);
        let item = self.call(number, call, &call.json(), self.status());
        script.add(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
            0,
        );
    }
}

fn with(mut value: Value, name: &str, field: Value) -> Value {
    value[name] = field;
    value
}

/// Events in the order in which they are numbered.
struct Script {
    events: Vec<Event>,
    /// What to make obfuscation of, where deltas have it.
    obfuscate: Option<u64>,
}

impl Script {
    fn add(&mut self, mut value: Value, tokens: u64) {
        value["sequence_number"] = self.events.len().into();
        self.events.push(Event { value, tokens });
    }

    fn delta(&mut self, mut value: Value, tokens: u64) {
        if let Some(seed) = self.obfuscate {
            let mut dice = Dice::new(chance::hash(seed, &self.events.len().to_le_bytes()));
            let length = 4 + dice.below(12);
            value["obfuscation"] = dice
                .text(b"abcdefghijklmnopqrstuvwxyz0123456789", length)
                .into();
        }
        self.add(value, tokens);
    }
}
