//! OpenAI's Responses API: what it demands of a request, what it stores, and how it fails.
//!
//! A failure (`--fault error`) ends a stream by `response.failed`; with a `code` of its own it is a bare `error` event.
//! An answer that is not streamed then has `status: "failed"`.

mod fields;
pub(crate) mod items;
pub(crate) mod words;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::World;
use super::exchange::{Failed, Piece, Reply, Request};
use super::mind::{Prompt, tokens};
use super::openai::chat::{check_context, model_of};
use super::openai::error::Refusal;
use super::openai::fields::{given, known, object, type_name, typed, wrong_type};
use super::openai::models::{self, model};
use super::openai::tools;
use fields::{FIELDS, flat_tools, form, manner, offered, reasoning_effort};
use items::Known;
use words::{Manner, ResponseWords, encrypted};

/// Responses that are kept; older ones are forgotten.
const MAX_STORED: usize = 256;

/// The Responses part of an OpenAI server.
pub(crate) struct Responses {
    world: World,
    stored: Mutex<VecDeque<Stored>>,
}

/// A response that can be referred to.
struct Stored {
    id: String,
    response: Value,
    /// Its input and its output, items that came before by reference included.
    history: Vec<Value>,
}

/// A request, read and found good.
struct Asked {
    prompt: Prompt,
    manner: Manner,
    stream: bool,
    store: bool,
    history: Vec<Value>,
}

impl Known for Responses {
    fn is_genuine(&self, id: &str, content: &str) -> bool {
        encrypted(id) == content
    }

    fn is_stored(&self, id: &str) -> bool {
        let stored = self.lock();
        let mut items = stored.iter().flat_map(|stored| &stored.history);
        items.any(|item| item["id"] == id)
    }
}

impl Responses {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            stored: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `POST /v1/responses`.
    pub(crate) fn answer(&self, request: &Request) -> Result<Reply, Refusal> {
        let map = object(&request.body)?;
        let asked = self.read(&map)?;
        if asked.prompt.is_blocked() {
            return Err(Refusal::bad("Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.")
                .code("invalid_prompt"));
        }
        let words = ResponseWords {
            request,
            manner: &asked.manner,
            thought: asked.prompt.think(),
            first: Vec::new(),
        };
        if asked.store {
            let mut history = asked.history.clone();
            history.extend(words.items());
            self.keep(Stored {
                id: words.id(),
                response: words.whole(),
                history,
            });
        }
        let reply = if asked.stream {
            let pieces = words.events().into_iter().map(|event| {
                let kind = event.value["type"].as_str().unwrap_or_default();
                Piece::event(kind, &event.value, event.tokens)
            });
            Reply::stream("text/event-stream; charset=utf-8", pieces.collect())
        } else {
            Reply::json(200, &words.whole())
        };
        Ok(reply.after(asked.manner.prompt_tokens, words.thought.tokens()))
    }

    fn keep(&self, response: Stored) {
        let mut stored = self.lock();
        if stored.len() == MAX_STORED {
            stored.pop_front();
        }
        stored.push_back(response);
    }

    /// Answers `GET` and `DELETE` of `/v1/responses/{id}`.
    pub(crate) fn stored(&self, method: &Method, id: &str) -> Result<Reply, Refusal> {
        let mut stored = self.lock();
        let found = stored.iter().position(|response| response.id == id);
        let found = found.ok_or_else(|| {
            Refusal::bad(format!("Response with id '{id}' not found.")).status(404)
        })?;
        if method == Method::DELETE {
            stored.remove(found);
            return Ok(Reply::json(
                200,
                &json!({"id": id, "object": "response", "deleted": true}),
            ));
        }
        Ok(Reply::json(200, &stored[found].response))
    }

    fn read(&self, map: &Map<String, Value>) -> Result<Asked, Refusal> {
        known(map, &FIELDS, "")?;
        typed(map, &FIELDS, "")?;
        let model = model(map, &self.world)?;
        let family = models::family(&model);
        if matches!(
            family.kind,
            models::ModelKind::Text | models::ModelKind::Embedding(_)
        ) {
            return Err(Refusal::bad(format!(
                "The requested model '{model}' cannot be used with the Responses API."
            ))
            .of("model")
            .code("unsupported_model"));
        }
        let effort = reasoning_effort(map, &family, &model)?;
        family.check_sampling(map, effort)?;
        let history = self.history(map)?;
        let offered = offered(map, &history);
        let mut prompt = Prompt {
            model: model.clone(),
            reasons: family.reasons(effort),
            prose: Some(self.world.answer_tokens.clone()),
            seed: self.world.seed,
            max_tokens: given(map, "max_output_tokens").and_then(Value::as_u64),
            tools: flat_tools(&offered)?,
            ..Prompt::default()
        };
        if let Some(instructions) = given(map, "instructions").and_then(Value::as_str) {
            prompt.instruct(instructions);
        }
        tools::choose(map, &mut prompt, |choice| choice["name"].as_str())?;
        let input = Value::Array(history.clone());
        prompt.form = form(map, &input)?;
        let mut prompt_tokens = items::read(&input, false, self, &mut prompt)?;
        prompt_tokens += tokens(&prompt.system);
        prompt_tokens += map
            .get("tools")
            .map_or(0, |tools| tokens(&tools.to_string()));
        check_context(prompt_tokens, family.context)?;
        let manner = manner(map, &offered, &model, effort, prompt_tokens)?;
        Ok(Asked {
            prompt,
            manner,
            stream: map.get("stream") == Some(&Value::Bool(true)),
            store: map.get("store") != Some(&Value::Bool(false)),
            history,
        })
    }

    /// Returns all items of the input, after those of the response that it continues.
    fn history(&self, map: &Map<String, Value>) -> Result<Vec<Value>, Refusal> {
        let mut history = Vec::new();
        if let Some(id) = given(map, "previous_response_id").and_then(Value::as_str) {
            let stored = self.lock();
            let found = stored.iter().find(|response| response.id == id);
            let found = found.ok_or_else(|| {
                Refusal::bad(format!("Previous response with id '{id}' not found."))
                    .of("previous_response_id")
                    .code("previous_response_not_found")
            })?;
            history.extend(found.history.iter().cloned());
        }
        match given(map, "input") {
            None => return Err(Refusal::missing("input")),
            Some(Value::Array(list)) => history.extend(list.iter().cloned()),
            Some(Value::String(text)) => history.push(json!({"role": "user", "content": text})),
            Some(other) => {
                return Err(wrong_type(
                    "input",
                    "one of a string or array of input items",
                    type_name(other),
                ));
            }
        }
        Ok(history)
    }

    /// Returns the event that ends a stream in the middle.
    pub(crate) fn break_off(&self, request: &Request, failed: &Failed, sent: u64) -> Bytes {
        let refusal = Refusal::failed(failed, "the model");
        if let Some(code) = &failed.code {
            let event = json!({"type": "error", "code": code, "message": refusal.message,
                "param": null, "sequence_number": sent});
            return Piece::event("error", &event, 0).bytes;
        }
        let event = json!({"type": "response.failed", "sequence_number": sent,
            "response": failed_response(request, "server_error", &refusal.message)});
        Piece::event("response.failed", &event, 0).bytes
    }

    /// Returns a response that is failed as a whole.
    pub(crate) fn fail_whole(&self, request: &Request, failed: &Failed) -> Reply {
        let message = Refusal::failed(failed, "the model").message;
        let code = failed.code.as_deref().unwrap_or("server_error");
        Reply::json(200, &failed_response(request, code, &message))
    }
}

fn failed_response(request: &Request, code: &str, message: &str) -> Value {
    json!({
        "id": request.id("resp_", 0, 48),
        "object": "response",
        "created_at": request.now,
        "status": "failed",
        "error": {"code": code, "message": message},
        "incomplete_details": null,
        "model": model_of(request),
        "output": [],
        "usage": null,
    })
}
