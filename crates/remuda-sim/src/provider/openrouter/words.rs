//! An answer as OpenRouter words it: OpenAI's chunks with comments before, reasoning within, and costs after.

use serde_json::{Value, json};

use super::super::exchange::{Piece, Reply, Request};
use super::super::mind::Thought;
use super::super::openai::chat::Chat;
use super::super::openai::words::{Words, done};
use super::catalogue::company;
use super::details;

/// `: OPENROUTER PROCESSING`, which comes while a provider is being waited for.
const COMMENT: &[u8] = b": OPENROUTER PROCESSING\n\n";

/// An answer in OpenRouter's words.
pub(super) struct Answer<'a> {
    chat: &'a Chat,
    words: Words<'a>,
    hides_reasoning: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn new(chat: &'a Chat, request: &'a Request, hides_reasoning: bool) -> Self {
        let mut words = Words::new(chat, request);
        words.id = id(request);
        words.shows_reasoning = !hides_reasoning;
        Self {
            chat,
            words,
            hides_reasoning,
        }
    }

    pub(super) fn reply(&self) -> Reply {
        let reply = if self.chat.stream {
            Reply::stream("text/event-stream", self.pieces())
        } else {
            Reply::json(200, &self.whole())
        };
        reply
            .with("x-generation-id", &self.words.id)
            .after(self.chat.prompt_tokens, self.words.answer_tokens())
    }

    fn whole(&self) -> Value {
        let mut value = self.words.whole();
        value["provider"] = company(&self.chat.model).into();
        value["usage"] = self.usage();
        let choices = value["choices"].as_array_mut().into_iter().flatten();
        for (choice, thought) in choices.zip(&self.words.thoughts) {
            self.name_finish(choice);
            if !self.hides_reasoning && !thought.reasoning.is_empty() {
                choice["message"]["reasoning_details"] = self.details(thought).into();
            }
        }
        value
    }

    fn details(&self, thought: &Thought) -> Vec<Value> {
        details::whole(&self.chat.model, &thought.reasoning())
    }

    fn usage(&self) -> Value {
        let mut usage = self.words.usage();
        let (prompt, answer) = (
            self.chat.prompt_tokens as f64,
            self.words.answer_tokens() as f64,
        );
        let cost = prompt * 0.000_002 + answer * 0.000_01;
        usage["cost"] = cost.into();
        usage["is_byok"] = false.into();
        usage["cost_details"] = json!({"upstream_inference_cost": null,
            "upstream_inference_prompt_cost": prompt * 0.000_002,
            "upstream_inference_completions_cost": answer * 0.000_01});
        usage
    }

    /// Says beside `finish_reason` what the provider itself called it.
    fn name_finish(&self, choice: &mut Value) {
        let claude = self.chat.model.starts_with("anthropic/");
        let native = match choice["finish_reason"].as_str() {
            Some("stop") if claude => "end_turn".into(),
            Some("tool_calls") if claude => "tool_use".into(),
            Some("length") if claude => "max_tokens".into(),
            Some("stop" | "tool_calls") => "completed".into(),
            Some(other) => other.into(),
            None => Value::Null,
        };
        choice["native_finish_reason"] = native;
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = vec![Piece::new(COMMENT, 0), Piece::new(COMMENT, 0)];
        let mut signed = false;
        for mut chunk in self.words.chunks() {
            chunk.value["provider"] = company(&self.chat.model).into();
            let choice = &mut chunk.value["choices"][0];
            self.name_finish(choice);
            let delta = &mut choice["delta"];
            delta["role"] = "assistant".into();
            if delta.get("content").is_none() {
                delta["content"] = "".into();
            }
            match delta["reasoning"].as_str().map(str::to_owned) {
                Some(text) => {
                    delta["reasoning_details"] = json!([details::part(&self.chat.model, &text)]);
                }
                None if !signed && !self.hides_reasoning && delta["content"] != "" => {
                    signed = true;
                    pieces.extend(self.signature());
                }
                None => {}
            }
            pieces.push(chunk.piece());
        }
        let empty = json!([{"index": 0, "delta": {"role": "assistant", "content": ""},
            "finish_reason": null, "native_finish_reason": null, "logprobs": null}]);
        let mut usage = self.words.chunk(empty);
        usage["provider"] = company(&self.chat.model).into();
        usage["usage"] = self.usage();
        pieces.push(Piece::data(&usage, 0));
        pieces.push(done());
        pieces
    }

    /// Returns the chunk with what proves the reasoning, once it is over.
    fn signature(&self) -> Option<Piece> {
        let thought = self.words.thoughts.first()?;
        let proof = details::proof(&self.chat.model, &thought.reasoning())?;
        let choice = json!({"index": 0, "finish_reason": null, "native_finish_reason": null, "logprobs": null,
            "delta": {"role": "assistant", "content": "", "reasoning": null, "reasoning_details": [proof]}});
        let mut value = self.words.chunk(json!([choice]));
        value["provider"] = company(&self.chat.model).into();
        Some(Piece::data(&value, 0))
    }
}

pub(super) fn id(request: &Request) -> String {
    request.id(&format!("gen-{}-", request.now), 0, 20)
}
