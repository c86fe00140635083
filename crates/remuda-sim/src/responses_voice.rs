//! An answer in the shape of OpenAI's responses and their events, as Ollama writes them.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::answer::Call;
use super::ask::Ask;
use super::generation::{Event, Metrics};
use super::reply::{Reply, go_json, v1};
use super::speech::{Voice, Whole};

pub(super) struct ResponsesVoice {
    id: u64,
    created: i64,
    model: String,
    /// What the response repeats of its request.
    echo: Value,
    begun: bool,
    /// The place of the next event.
    sequence: u64,
    /// Items that are complete.
    items: Vec<Value>,
    /// The item that is open: whether it is a thought, and its text so far.
    open: Option<(bool, String)>,
}

impl ResponsesVoice {
    pub(super) fn new(ask: &Ask, echo: Value) -> Self {
        Self {
            id: 100 + ask.prompt.tokens() % 900,
            created: chrono::Utc::now().timestamp(),
            model: ask.model.clone(),
            echo,
            begun: false,
            sequence: 0,
            items: Vec::new(),
            open: None,
        }
    }

    /// The response as it is now; with what it has cost it is complete, however it has ended.
    fn response(&self, cost: Option<&Metrics>) -> Value {
        let mut response = self.echo.clone();
        response["id"] = format!("resp_{}", self.id).into();
        response["object"] = "response".into();
        response["created_at"] = self.created.into();
        response["completed_at"] = cost.map(|_| chrono::Utc::now().timestamp()).into();
        let status = if cost.is_some() {
            "completed"
        } else {
            "in_progress"
        };
        response["status"] = status.into();
        response["model"] = self.model.as_str().into();
        response["output"] = self.items.clone().into();
        response["usage"] = cost.map_or(Value::Null, usage);
        response
    }

    fn event(&mut self, name: &str, mut data: Value, out: &mut Vec<u8>) {
        data["type"] = name.into();
        data["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        for part in [b"event: ", name.as_bytes(), b"\ndata: ", &go_json(&data)] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b"\n\n");
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            for name in ["response.created", "response.in_progress"] {
                let response = self.response(None);
                self.event(name, json!({"response": response}), out);
            }
        }
    }

    fn item_id(&self, thought: bool) -> String {
        let kind = if thought { "rs" } else { "msg" };
        format!("{kind}_{}_{}", self.id, self.items.len())
    }

    fn item(&self, thought: bool, text: &str, status: &str) -> Value {
        let id = self.item_id(thought);
        if thought {
            let summary = json!([{"type": "summary_text", "text": text}]);
            return json!({"id": id, "type": "reasoning", "summary": summary});
        }
        let content = json!([part(text)]);
        json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content})
    }

    /// Adds to the item of that kind, which is opened if another is open, or none.
    fn say(&mut self, thought: bool, text: &str, out: &mut Vec<u8>) {
        self.begin(out);
        if self.open.as_ref().is_none_or(|(open, _)| *open != thought) {
            self.close(out);
            let mut item = self.item(thought, "", "in_progress");
            item[if thought { "summary" } else { "content" }] = json!([]);
            let index = self.items.len();
            let told = json!({"output_index": index, "item": item});
            self.event("response.output_item.added", told, out);
            if !thought {
                let told = self.at(false, json!({"part": part("")}));
                self.event("response.content_part.added", told, out);
            }
            self.open = Some((thought, String::new()));
        }
        if let Some((_, said)) = &mut self.open {
            said.push_str(text);
        }
        let mut told = self.at(thought, json!({"delta": text}));
        with_logprobs(thought, &mut told);
        self.event(delta(thought), told, out);
    }

    /// Says which item and which part of it an event is about.
    fn at(&self, thought: bool, mut data: Value) -> Value {
        data["item_id"] = self.item_id(thought).into();
        data["output_index"] = self.items.len().into();
        let place = if thought {
            "summary_index"
        } else {
            "content_index"
        };
        data[place] = 0.into();
        data
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some((thought, text)) = self.open.take() else {
            return;
        };
        let mut told = self.at(thought, json!({"text": text}));
        with_logprobs(thought, &mut told);
        let name = if thought {
            "response.reasoning_summary_text.done"
        } else {
            "response.output_text.done"
        };
        self.event(name, told, out);
        let item = self.item(thought, &text, "completed");
        if !thought {
            let told = self.at(false, json!({"part": item["content"][0]}));
            self.event("response.content_part.done", told, out);
        }
        self.finish(item, out);
    }

    fn finish(&mut self, item: Value, out: &mut Vec<u8>) {
        let told = json!({"output_index": self.items.len(), "item": item});
        self.event("response.output_item.done", told, out);
        self.items.push(item);
    }

    fn call_item(&self, call: &Call, arguments: &str, status: &str) -> Value {
        json!({
            "id": format!("fc_{}_{}", self.id, self.items.len()),
            "type": "function_call",
            "call_id": call.id,
            "name": call.function.name,
            "arguments": arguments,
            "status": status,
        })
    }

    fn call(&mut self, call: &Call, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        let arguments = call.function.arguments.to_string();
        let index = self.items.len();
        let begun = self.call_item(call, "", "in_progress");
        let id = begun["id"].clone();
        let told = json!({"output_index": index, "item": begun});
        self.event("response.output_item.added", told, out);
        for (name, field) in [
            ("response.function_call_arguments.delta", "delta"),
            ("response.function_call_arguments.done", "arguments"),
        ] {
            let mut told = json!({"item_id": id, "output_index": index});
            told[field] = arguments.as_str().into();
            self.event(name, told, out);
        }
        let item = self.call_item(call, &arguments, "completed");
        self.finish(item, out);
    }
}

/// Events of a message's text have log probabilities, which Ollama does not tell.
fn with_logprobs(thought: bool, event: &mut Value) {
    if !thought {
        event["logprobs"] = json!([]);
    }
}

fn delta(thought: bool) -> &'static str {
    if thought {
        "response.reasoning_summary_text.delta"
    } else {
        "response.output_text.delta"
    }
}

fn usage(metrics: &Metrics) -> Value {
    json!({
        "input_tokens": metrics.prompt_eval_count,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": metrics.eval_count,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": metrics.prompt_eval_count + metrics.eval_count,
    })
}

/// A piece of text in a message.
fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

impl Voice for ResponsesVoice {
    const STREAM_TYPE: &'static str = "text/event-stream";

    fn stream(&mut self, said: Event) -> Vec<u8> {
        let mut out = Vec::new();
        match said {
            Event::Thinking(text) => self.say(true, &text, &mut out),
            Event::Content(text) => self.say(false, &text, &mut out),
            Event::Calls(calls) => calls.iter().for_each(|call| self.call(call, &mut out)),
            // Ollama reads its own error line as an empty piece: no response.completed.
            Event::Error(_) => self.begin(&mut out),
            Event::Done(done) => {
                self.begin(&mut out);
                self.close(&mut out);
                let response = self.response(Some(&done.metrics));
                self.event(
                    "response.completed",
                    json!({"response": response}),
                    &mut out,
                );
            }
        }
        out
    }

    fn whole(&mut self, whole: Whole) -> Reply {
        let said = [(true, &whole.thinking), (false, &whole.content)];
        for (thought, text) in said.into_iter().filter(|(_, text)| !text.is_empty()) {
            let item = self.item(thought, text, "completed");
            self.items.push(item);
        }
        for call in &whole.calls {
            let arguments = call.function.arguments.to_string();
            let item = self.call_item(call, &arguments, "completed");
            self.items.push(item);
        }
        let response = self.response(Some(&whole.done.metrics));
        v1(StatusCode::OK, &response)
    }
}
