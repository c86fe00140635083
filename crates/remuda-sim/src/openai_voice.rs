//! An answer in the shape of OpenAI's objects and event streams, as Ollama writes them.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::answer::Call;
use super::generation::{Event, Metrics};
use super::reply::{Reply, go_json, v1};
use super::speech::{Voice, Whole};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Chat,
    Text,
}

pub(super) struct OpenAi {
    pub(super) form: Form,
    pub(super) id: u64,
    pub(super) created: i64,
    pub(super) model: String,
    pub(super) with_usage: bool,
    /// Whether the first chunk has been sent, which has the role.
    pub(super) begun: bool,
    pub(super) called: bool,
}

impl OpenAi {
    fn object(&self, streamed: bool) -> (&'static str, String) {
        match (self.form, streamed) {
            (Form::Chat, true) => ("chat.completion.chunk", format!("chatcmpl-{}", self.id)),
            (Form::Chat, false) => ("chat.completion", format!("chatcmpl-{}", self.id)),
            (Form::Text, _) => ("text_completion", format!("cmpl-{}", self.id)),
        }
    }

    fn frame(&self, streamed: bool, choices: Value) -> Value {
        let (object, id) = self.object(streamed);
        json!({
            "id": id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_ollama",
            "choices": choices,
        })
    }

    /// A chunk with this delta (chat) or text.
    fn chunk(&mut self, mut delta: Value, finish: Option<&str>) -> Vec<u8> {
        if !std::mem::replace(&mut self.begun, true) {
            delta["role"] = "assistant".into();
        }
        let choice = match self.form {
            Form::Chat => json!({"index": 0, "delta": delta, "finish_reason": finish}),
            Form::Text => {
                let text = delta["content"].as_str().unwrap_or_default();
                json!({"text": text, "index": 0, "finish_reason": finish})
            }
        };
        event(&self.frame(true, json!([choice])))
    }

    fn finish(&self, reason: &'static str) -> &'static str {
        if self.called { "tool_calls" } else { reason }
    }
}

impl Voice for OpenAi {
    const STREAM_TYPE: &'static str = "text/event-stream";

    fn stream(&mut self, event_: Event) -> Vec<u8> {
        match event_ {
            Event::Thinking(text) => self.chunk(json!({"content": "", "reasoning": text}), None),
            Event::Content(text) => self.chunk(json!({"content": text}), None),
            Event::Calls(calls) => {
                self.called = true;
                self.chunk(
                    json!({"content": "", "tool_calls": tool_calls(&calls)}),
                    None,
                )
            }
            // Ollama reads its own error line as an empty chunk: no finish, no [DONE].
            Event::Error(_) => self.chunk(json!({"content": ""}), None),
            Event::Done(done) => {
                let mut bytes = self.chunk(json!({}), Some(self.finish(done.reason)));
                if self.with_usage {
                    let mut last = self.frame(true, json!([]));
                    last["usage"] = usage(&done.metrics);
                    bytes.extend(event(&last));
                }
                bytes.extend_from_slice(b"data: [DONE]\n\n");
                bytes
            }
        }
    }

    fn whole(&mut self, whole: Whole) -> Reply {
        self.called = !whole.calls.is_empty();
        let finish = self.finish(whole.done.reason);
        let choice = match self.form {
            Form::Text => json!({"text": whole.content, "index": 0, "finish_reason": finish}),
            Form::Chat => {
                let mut message = json!({"role": "assistant", "content": whole.content});
                if !whole.thinking.is_empty() {
                    message["reasoning"] = whole.thinking.into();
                }
                if self.called {
                    message["tool_calls"] = tool_calls(&whole.calls);
                }
                json!({"index": 0, "message": message, "finish_reason": finish})
            }
        };
        let mut answer = self.frame(false, json!([choice]));
        answer["usage"] = usage(&whole.done.metrics);
        v1(StatusCode::OK, &answer)
    }
}

fn event(value: &Value) -> Vec<u8> {
    [b"data: ".as_slice(), &go_json(value), b"\n\n"].concat()
}

fn tool_calls(calls: &[Call]) -> Value {
    let calls = calls.iter().map(|call| {
        json!({
            "id": call.id,
            "index": call.function.index,
            "type": "function",
            "function": {
                "name": call.function.name,
                "arguments": call.function.arguments.to_string(),
            },
        })
    });
    calls.collect()
}

fn usage(metrics: &Metrics) -> Value {
    json!({
        "prompt_tokens": metrics.prompt_eval_count,
        "completion_tokens": metrics.eval_count,
        "total_tokens": metrics.prompt_eval_count + metrics.eval_count,
    })
}
