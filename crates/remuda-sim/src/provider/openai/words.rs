//! Chat completions as they are worded: one object, or chunk after chunk.

use serde_json::{Map, Value, json};

use super::super::exchange::{Piece, Request};
use super::super::mind::{Call, Choice, Finish, Thought};
use super::chat::Chat;
use crate::chance::{self, Dice};

/// One chunk of a stream, before a provider has added to it.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) value: Value,
    /// Tokens that it carries, with those of reasoning that nobody sees before it.
    pub(crate) tokens: u64,
}

impl Chunk {
    pub(crate) fn piece(&self) -> Piece {
        Piece::data(&self.value, self.tokens)
    }
}

/// `data: [DONE]`.
pub(crate) fn done() -> Piece {
    Piece::new("data: [DONE]\n\n", 0)
}

/// Words one request's answers.
pub(crate) struct Words<'a> {
    pub(crate) chat: &'a Chat,
    pub(crate) request: &'a Request,
    pub(crate) id: String,
    pub(crate) thoughts: Vec<Thought>,
    /// Whether reasoning is shown, as OpenAI never does.
    pub(crate) shows_reasoning: bool,
}

impl<'a> Words<'a> {
    pub(crate) fn new(chat: &'a Chat, request: &'a Request) -> Self {
        Self {
            chat,
            request,
            id: request.id("chatcmpl-", 0, 29),
            thoughts: chat.thoughts(),
            shows_reasoning: false,
        }
    }

    pub(crate) fn answer_tokens(&self) -> u64 {
        self.thoughts.iter().map(Thought::tokens).sum()
    }

    /// Returns the answer in one object.
    pub(crate) fn whole(&self) -> Value {
        let choices: Vec<Value> = (0..self.thoughts.len())
            .map(|index| self.choice(index))
            .collect();
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.request.now,
            "model": self.chat.model,
            "choices": choices,
            "usage": self.usage(),
            "service_tier": "default",
            "system_fingerprint": null,
        })
    }

    fn choice(&self, index: usize) -> Value {
        let thought = &self.thoughts[index];
        let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
        let refused = thought.finish == Finish::Refused;
        let text = thought.text();
        let silent = refused || (text.is_empty() && !thought.calls.is_empty());
        message.insert(
            "content".into(),
            if silent {
                Value::Null
            } else {
                text.as_str().into()
            },
        );
        message.insert(
            "refusal".into(),
            if refused {
                text.as_str().into()
            } else {
                Value::Null
            },
        );
        message.insert("annotations".into(), json!([]));
        if self.shows_reasoning && !thought.reasoning.is_empty() {
            message.insert("reasoning".into(), thought.reasoning().into());
        }
        let calls = thought.calls.iter().enumerate();
        if self.chat.legacy {
            if let Some(call) = thought.calls.first() {
                let value = json!({"name": call.name, "arguments": call.json()});
                message.insert("function_call".into(), value);
            }
        } else if !thought.calls.is_empty() {
            let calls = calls.map(|(number, call)| self.call(index, number, call, &call.json()));
            message.insert("tool_calls".into(), calls.collect());
        }
        json!({
            "index": index,
            "message": message,
            "logprobs": self.logprobs(&thought.text),
            "finish_reason": self.finish(thought),
        })
    }

    fn call(&self, choice: usize, number: usize, call: &Call, arguments: &str) -> Value {
        let id = self
            .request
            .id("call_", (choice * 1_000 + number) as u64, 24);
        if self.chat.custom.contains(&call.name) {
            return json!({"id": id, "type": "custom",
                "custom": {"name": call.name, "input": arguments}});
        }
        json!({"id": id, "type": "function",
            "function": {"name": call.name, "arguments": arguments}})
    }

    /// Returns the reason for an answer's end; a named tool that had to be called ends one as any other end does.
    pub(crate) fn finish(&self, thought: &Thought) -> &'static str {
        match thought.finish {
            Finish::Stop | Finish::StopString(_) | Finish::Refused => "stop",
            Finish::Length => "length",
            Finish::Filtered => "content_filter",
            Finish::Calls if self.chat.legacy => "function_call",
            Finish::Calls if matches!(self.chat.prompt.choice, Choice::Named(_)) => "stop",
            Finish::Calls => "tool_calls",
        }
    }

    pub(crate) fn usage(&self) -> Value {
        let (prompt, answer) = (self.chat.prompt_tokens, self.answer_tokens());
        let reasoning: usize = self
            .thoughts
            .iter()
            .map(|thought| thought.reasoning.len())
            .sum();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": cached(prompt), "cache_write_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        })
    }

    fn logprobs(&self, tokens: &[String]) -> Value {
        match self.chat.logprobs {
            None => Value::Null,
            Some(_) if tokens.is_empty() => Value::Null,
            Some(count) => {
                let content: Vec<Value> =
                    tokens.iter().map(|token| logprob(token, count)).collect();
                json!({"content": content, "refusal": null})
            }
        }
    }

    /// Returns all chunks, that of the usage included where it was asked for; `[DONE]` is left to the caller.
    pub(crate) fn chunks(&self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for index in 0..self.thoughts.len() {
            self.opening(index, &mut chunks);
        }
        for index in 0..self.thoughts.len() {
            self.deltas(index, &mut chunks);
        }
        if self.chat.include_usage {
            let mut value = self.chunk(json!([]));
            value["usage"] = self.usage();
            chunks.push(Chunk { value, tokens: 0 });
        }
        if self.chat.obfuscate {
            for (number, chunk) in chunks.iter_mut().enumerate() {
                let mut dice = Dice::new(chance::hash(self.request.number, &number.to_le_bytes()));
                let length = 4 + dice.below(12);
                chunk.value["obfuscation"] = dice
                    .text(b"abcdefghijklmnopqrstuvwxyz0123456789", length)
                    .into();
            }
        }
        chunks
    }

    /// Returns a chunk with these choices.
    pub(crate) fn chunk(&self, choices: Value) -> Value {
        let mut value = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.request.now,
            "model": self.chat.model,
            "service_tier": "default",
            "system_fingerprint": null,
            "choices": choices,
        });
        if self.chat.include_usage {
            value["usage"] = Value::Null;
        }
        value
    }

    fn delta(&self, index: usize, delta: Value, logprobs: Value, tokens: u64) -> Chunk {
        let choice =
            json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null});
        Chunk {
            value: self.chunk(json!([choice])),
            tokens,
        }
    }

    fn opening(&self, index: usize, chunks: &mut Vec<Chunk>) {
        let thought = &self.thoughts[index];
        let content = if thought.text.is_empty() && !thought.calls.is_empty() {
            Value::Null
        } else {
            "".into()
        };
        let delta = json!({"role": "assistant", "content": content, "refusal": null});
        chunks.push(self.delta(index, delta, Value::Null, 0));
    }

    fn deltas(&self, index: usize, chunks: &mut Vec<Chunk>) {
        let thought = &self.thoughts[index];
        let mut unseen = 0;
        if self.shows_reasoning {
            for token in &thought.reasoning {
                let delta = json!({"role": "assistant", "content": "", "reasoning": token});
                chunks.push(self.delta(index, delta, Value::Null, 1));
            }
        } else {
            unseen = thought.reasoning.len() as u64;
        }
        let field = if thought.finish == Finish::Refused {
            "refusal"
        } else {
            "content"
        };
        for token in &thought.text {
            let delta = json!({field: token});
            let logprobs = self.logprobs(std::slice::from_ref(token));
            chunks.push(self.delta(index, delta, logprobs, 1 + std::mem::take(&mut unseen)));
        }
        for (number, call) in thought.calls.iter().enumerate() {
            self.call_deltas(index, number, call, chunks);
        }
        let choice = json!({"index": index, "delta": {}, "logprobs": null,
            "finish_reason": self.finish(thought)});
        chunks.push(Chunk {
            value: self.chunk(json!([choice])),
            tokens: unseen,
        });
    }

    fn call_deltas(&self, index: usize, number: usize, call: &Call, chunks: &mut Vec<Chunk>) {
        if self.chat.legacy {
            let begin = json!({"function_call": {"name": call.name, "arguments": ""}});
            chunks.push(self.delta(index, begin, Value::Null, 0));
            for text in &call.arguments {
                let delta = json!({"function_call": {"arguments": text}});
                chunks.push(self.delta(index, delta, Value::Null, 1));
            }
            return;
        }
        let mut begin = self.call(index, number, call, "");
        begin["index"] = number.into();
        chunks.push(self.delta(index, json!({"tool_calls": [begin]}), Value::Null, 0));
        let custom = self.chat.custom.contains(&call.name);
        for text in &call.arguments {
            let part = if custom {
                json!({"index": number, "custom": {"input": text}})
            } else {
                json!({"index": number, "function": {"arguments": text}})
            };
            chunks.push(self.delta(index, json!({"tool_calls": [part]}), Value::Null, 1));
        }
    }
}

/// Long prompts are taken to have been seen before, in blocks of 128 tokens.
pub(crate) fn cached(prompt_tokens: u64) -> u64 {
    match prompt_tokens {
        0..1024 => 0,
        tokens => (tokens - 1) / 128 * 128,
    }
}

/// Returns one token's log probability, and `count` alternatives, the token itself first.
pub(crate) fn logprob(token: &str, count: u64) -> Value {
    let one = |text: String, logprob: f64| {
        let bytes: Vec<u8> = text.bytes().collect();
        json!({"token": text, "logprob": logprob, "bytes": bytes})
    };
    let first = (chance::hash(0, token.as_bytes()) % 1_000) as f64 / -10_000.0;
    let alternatives: Vec<Value> = (0..count)
        .map(|index| match index {
            0 => one(token.to_owned(), first),
            _ => one(format!(" other{index}"), first - index as f64),
        })
        .collect();
    let mut value = one(token.to_owned(), first);
    value["top_logprobs"] = alternatives.into();
    value
}
