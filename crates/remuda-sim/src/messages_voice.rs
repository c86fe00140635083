//! An answer in the shape of Anthropic's messages and events, as Ollama writes them: no pings, and no signatures.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::answer::Call;
use super::ask::Ask;
use super::generation::{Done, Event, Metrics};
use super::reply::{Reply, go_json, v1};
use super::speech::{Voice, Whole};

pub(super) struct MessagesVoice {
    id: String,
    model: String,
    /// Tokens of the prompt by its length, which is what the first event tells.
    estimate: u64,
    begun: bool,
    /// The index of the next block, and the kind of the one that is open.
    next: usize,
    open: Option<&'static str>,
    called: bool,
}

impl MessagesVoice {
    pub(super) fn new(ask: &Ask) -> Self {
        let estimate = ask.prompt.tokens();
        Self {
            id: format!("msg_{:024x}", 100 + estimate),
            model: ask.model.clone(),
            estimate,
            begun: false,
            next: 0,
            open: None,
            called: false,
        }
    }

    fn message(&self, content: Value, usage: Value) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "usage": usage,
        })
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            let usage = json!({"input_tokens": self.estimate, "output_tokens": 0});
            let message = self.message(json!([]), usage);
            event("message_start", json!({"message": message}), out);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let index = self.next - 1;
            event("content_block_stop", json!({"index": index}), out);
        }
    }

    /// Opens a block unless one of its kind is open.
    fn block(&mut self, kind: &'static str, block: Value, out: &mut Vec<u8>) {
        self.begin(out);
        if self.open == Some(kind) && kind != "tool_use" {
            return;
        }
        self.close(out);
        let told = json!({"index": self.next, "content_block": block});
        event("content_block_start", told, out);
        self.open = Some(kind);
        self.next += 1;
    }

    fn delta(&self, delta: Value, out: &mut Vec<u8>) {
        let told = json!({"index": self.next.saturating_sub(1), "delta": delta});
        event("content_block_delta", told, out);
    }

    fn call(&mut self, call: &Call, out: &mut Vec<u8>) {
        self.called = true;
        let (id, name) = (&call.id, &call.function.name);
        let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        self.block("tool_use", block, out);
        let arguments = call.function.arguments.to_string();
        let delta = json!({"type": "input_json_delta", "partial_json": arguments});
        self.delta(delta, out);
        self.close(out);
    }

    fn reason(&self, done: &Done) -> &'static str {
        match done.reason {
            _ if self.called => "tool_use",
            "length" => "max_tokens",
            _ => "end_turn",
        }
    }
}

impl Voice for MessagesVoice {
    const STREAM_TYPE: &'static str = "text/event-stream";

    fn stream(&mut self, said: Event) -> Vec<u8> {
        let mut out = Vec::new();
        match said {
            Event::Thinking(text) => {
                self.block(
                    "thinking",
                    json!({"type": "thinking", "thinking": ""}),
                    &mut out,
                );
                self.delta(
                    json!({"type": "thinking_delta", "thinking": text}),
                    &mut out,
                );
            }
            Event::Content(text) => {
                self.block("text", json!({"type": "text", "text": ""}), &mut out);
                self.delta(json!({"type": "text_delta", "text": text}), &mut out);
            }
            Event::Calls(calls) => calls.iter().for_each(|call| self.call(call, &mut out)),
            // Ollama reads its own error line as an empty piece: no message_stop.
            Event::Error(_) => self.begin(&mut out),
            Event::Done(done) => {
                self.begin(&mut out);
                self.close(&mut out);
                let delta = json!({"stop_reason": self.reason(&done)});
                let told = json!({"delta": delta, "usage": usage(&done.metrics)});
                event("message_delta", told, &mut out);
                event("message_stop", json!({}), &mut out);
            }
        }
        out
    }

    fn whole(&mut self, whole: Whole) -> Reply {
        self.called = !whole.calls.is_empty();
        let mut content = Vec::new();
        if !whole.thinking.is_empty() {
            content.push(json!({"type": "thinking", "thinking": whole.thinking}));
        }
        if !whole.content.is_empty() {
            content.push(json!({"type": "text", "text": whole.content}));
        }
        content.extend(whole.calls.iter().map(|call| {
            let (id, function) = (&call.id, &call.function);
            json!({"type": "tool_use", "id": id, "name": function.name, "input": function.arguments})
        }));
        let mut message = self.message(content.into(), usage(&whole.done.metrics));
        message["stop_reason"] = self.reason(&whole.done).into();
        v1(StatusCode::OK, &message)
    }
}

/// Appends an event whose data names it, too.
fn event(name: &str, mut data: Value, out: &mut Vec<u8>) {
    data["type"] = name.into();
    for part in [b"event: ", name.as_bytes(), b"\ndata: ", &go_json(&data)] {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\n\n");
}

fn usage(metrics: &Metrics) -> Value {
    json!({"input_tokens": metrics.prompt_eval_count, "output_tokens": metrics.eval_count})
}
