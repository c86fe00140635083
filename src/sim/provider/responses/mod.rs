//! OpenAI's Responses API: what it demands of a request, what it stores, and how it fails.
//!
//! A failure (`--fault error`) ends a stream by `response.failed`; with a `code` of its own it is a bare `error` event.
//! An answer that is not streamed then has `status: "failed"`.

pub(in crate::sim) mod items;
pub(in crate::sim) mod words;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::World;
use super::exchange::{Failed, Piece, Reply, Request};
use super::mind::{Form, Prompt, Tool, tokens};
use super::openai::chat::{check_context, model_of};
use super::openai::error::Refusal;
use super::openai::fields::{Kind, given, known, name, object, text, type_name, typed, wrong_type};
use super::openai::model;
use super::openai::models;
use super::openai::tools;
use items::Known;
use words::{Manner, Words, encrypted};

/// Responses that are kept; older ones are forgotten.
const MAX_STORED: usize = 256;

const FIELDS: [(&str, Kind); 30] = [
    ("model", Kind::Text),
    ("input", Kind::Any),
    ("instructions", Kind::Text),
    ("max_output_tokens", Kind::Integer(16, i64::MAX)),
    ("max_tool_calls", Kind::Integer(1, i64::MAX)),
    ("temperature", Kind::Decimal(0.0, 2.0)),
    ("top_p", Kind::Decimal(0.0, 1.0)),
    ("top_logprobs", Kind::Integer(0, 20)),
    ("tools", Kind::List),
    ("tool_choice", Kind::Any),
    ("parallel_tool_calls", Kind::Flag),
    ("text", Kind::Object),
    ("reasoning", Kind::Object),
    ("store", Kind::Flag),
    ("previous_response_id", Kind::Text),
    ("conversation", Kind::Any),
    ("include", Kind::List),
    ("truncation", Kind::Word(&["auto", "disabled"])),
    ("stream", Kind::Flag),
    ("stream_options", Kind::Object),
    ("background", Kind::Flag),
    ("metadata", Kind::Object),
    ("user", Kind::Text),
    ("safety_identifier", Kind::Text),
    ("prompt_cache_key", Kind::Text),
    ("prompt_cache_retention", Kind::Text),
    ("prompt_cache_options", Kind::Object),
    (
        "service_tier",
        Kind::Word(&["auto", "default", "flex", "scale", "priority", "fast"]),
    ),
    ("prompt", Kind::Object),
    ("context_management", Kind::Any),
];

const REASONING: [(&str, Kind); 5] = [
    (
        "effort",
        Kind::Word(&["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    ),
    ("summary", Kind::Word(&["auto", "concise", "detailed"])),
    ("generate_summary", Kind::Text),
    ("context", Kind::Any),
    ("mode", Kind::Any),
];

const INCLUDABLE: &[&str] = &[
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.action.sources",
    "web_search_call.results",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
];

/// The Responses part of an OpenAI server.
pub(in crate::sim) struct Responses {
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
    pub(in crate::sim) fn new(world: World) -> Self {
        Self {
            world,
            stored: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `POST /v1/responses`.
    pub(in crate::sim) fn answer(&self, request: &Request) -> Result<Reply, Refusal> {
        let map = object(&request.body)?;
        let asked = self.read(&map)?;
        if asked.prompt.is_blocked() {
            return Err(Refusal::bad("Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.")
                .code("invalid_prompt"));
        }
        let words = Words {
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
        let reply = match asked.stream {
            false => Reply::json(200, &words.whole()),
            true => {
                let pieces = words.events().into_iter().map(|event| {
                    let kind = event.value["type"].as_str().unwrap_or_default();
                    Piece::event(kind, &event.value, event.tokens)
                });
                Reply::stream("text/event-stream; charset=utf-8", pieces.collect())
            }
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
    pub(in crate::sim) fn stored(&self, method: &Method, id: &str) -> Result<Reply, Refusal> {
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
        if matches!(family.kind, models::Kind::Text | models::Kind::Embedding(_)) {
            return Err(Refusal::bad(format!(
                "The requested model '{model}' cannot be used with the Responses API."
            ))
            .of("model")
            .code("unsupported_model"));
        }
        let effort = reasoning_effort(map, &family, &model)?;
        family.check_sampling(map, effort)?;
        let mut prompt = Prompt {
            model: model.clone(),
            reasons: family.reasons(effort),
            prose: Some(self.world.answer_tokens.clone()),
            seed: self.world.seed,
            max_tokens: given(map, "max_output_tokens").and_then(Value::as_u64),
            tools: flat_tools(map)?,
            ..Prompt::default()
        };
        if let Some(instructions) = given(map, "instructions").and_then(Value::as_str) {
            prompt.instruct(instructions);
        }
        tools::choose(map, &mut prompt, |choice| choice["name"].as_str())?;
        let history = self.history(map)?;
        let input = Value::Array(history.clone());
        prompt.form = form(map, &input)?;
        let mut prompt_tokens = items::read(&input, false, self, &mut prompt)?;
        prompt_tokens += tokens(&prompt.system);
        prompt_tokens += map
            .get("tools")
            .map_or(0, |tools| tokens(&tools.to_string()));
        check_context(prompt_tokens, family.context)?;
        let manner = manner(map, &model, effort, prompt_tokens)?;
        Ok(Asked {
            prompt,
            manner,
            stream: map.get("stream") == Some(&Value::Bool(true)),
            store: map.get("store") != Some(&Value::Bool(false)),
            history,
        })
    }

    /// All items of the input, after those of the response that it continues.
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

    /// The event that ends a stream in the middle.
    pub(in crate::sim) fn break_off(&self, request: &Request, failed: &Failed, sent: u64) -> Bytes {
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

    /// A response that is failed as a whole.
    pub(in crate::sim) fn fail_whole(&self, request: &Request, failed: &Failed) -> Reply {
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

fn reasoning_effort(
    map: &Map<String, Value>,
    family: &models::Family,
    model: &str,
) -> Result<&'static str, Refusal> {
    let Some(Value::Object(reasoning)) = given(map, "reasoning") else {
        return family.effort(model, None, "reasoning.effort");
    };
    known(reasoning, &REASONING, "reasoning.")?;
    typed(reasoning, &REASONING, "reasoning.")?;
    if family.efforts.is_empty() && given(reasoning, "summary").is_some() {
        return Err(Refusal::unsupported("reasoning.summary", ""));
    }
    let asked = given(reasoning, "effort").and_then(Value::as_str);
    family.effort(model, asked, "reasoning.effort")
}

/// Tools of Responses stand flat; those that run at OpenAI are taken and never used.
fn flat_tools(map: &Map<String, Value>) -> Result<Vec<Tool>, Refusal> {
    let list = given(map, "tools").and_then(Value::as_array);
    let mut tools = Vec::new();
    for (index, tool) in list.into_iter().flatten().enumerate() {
        let at = format!("tools[{index}]");
        match text(tool, "type", &at)? {
            "function" => tools.push(tools::function(&at, Some(tool))?),
            "custom" => tools.push(Tool {
                name: name(&format!("{at}.name"), tool.get("name"))?,
                schema: Value::Null,
            }),
            kind if HOSTED.contains(&kind) => {}
            other => return Err(Refusal::value(&format!("{at}.type"), other, HOSTED)),
        }
    }
    Ok(tools)
}

const HOSTED: &[&str] = &[
    "file_search",
    "computer",
    "computer_use_preview",
    "web_search",
    "web_search_preview",
    "code_interpreter",
    "image_generation",
    "local_shell",
    "shell",
    "apply_patch",
    "mcp",
];

fn form(map: &Map<String, Value>, input: &Value) -> Result<Form, Refusal> {
    let Some(text) = given(map, "text").and_then(Value::as_object) else {
        return Ok(Form::Text);
    };
    let table = [
        ("format", Kind::Object),
        ("verbosity", Kind::Word(&["low", "medium", "high"])),
    ];
    known(text, &table, "text.")?;
    typed(text, &table, "text.")?;
    let form = tools::form(text.get("format"), "text.format", true)?;
    let instructions = map.get("instructions").unwrap_or(&Value::Null);
    let spoken = json!([input, instructions]);
    tools::speaks_of_json(&form, &spoken, "input")?;
    Ok(form)
}

fn manner(
    map: &Map<String, Value>,
    model: &str,
    effort: &str,
    prompt_tokens: u64,
) -> Result<Manner, Refusal> {
    let mut included = Vec::new();
    for (index, value) in given(map, "include")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        match value.as_str() {
            Some(word) if INCLUDABLE.contains(&word) => included.push(word),
            other => {
                let param = format!("include[{index}]");
                return Err(Refusal::value(
                    &param,
                    other.unwrap_or_default(),
                    INCLUDABLE,
                ));
            }
        }
    }
    let reasoning = map.get("reasoning").unwrap_or(&Value::Null);
    let tools = given(map, "tools").and_then(Value::as_array);
    let custom = tools
        .into_iter()
        .flatten()
        .filter(|tool| tool["type"] == "custom");
    let top = given(map, "top_logprobs").and_then(Value::as_u64);
    let wants_logprobs = top.is_some() || included.contains(&"message.output_text.logprobs");
    Ok(Manner {
        echo: echo(map, model, effort),
        summary: ["summary", "generate_summary"]
            .iter()
            .any(|name| reasoning[name].is_string()),
        encrypted: included.contains(&"reasoning.encrypted_content"),
        logprobs: wants_logprobs.then_some(top.unwrap_or(0)),
        obfuscate: map
            .get("stream_options")
            .is_none_or(|options| options["include_obfuscation"] != false),
        custom: custom
            .filter_map(|tool| tool["name"].as_str())
            .map(str::to_owned)
            .collect(),
        prompt_tokens,
    })
}

/// What a response repeats of its request, defaults filled in.
fn echo(map: &Map<String, Value>, model: &str, effort: &str) -> Value {
    let or = |name: &str, default: Value| given(map, name).cloned().unwrap_or(default);
    let summary = map
        .get("reasoning")
        .map_or(Value::Null, |reasoning| reasoning["summary"].clone());
    let effort = if effort.is_empty() {
        Value::Null
    } else {
        effort.into()
    };
    json!({
        "model": model,
        "background": or("background", false.into()),
        "instructions": or("instructions", Value::Null),
        "max_output_tokens": or("max_output_tokens", Value::Null),
        "max_tool_calls": or("max_tool_calls", Value::Null),
        "metadata": or("metadata", json!({})),
        "parallel_tool_calls": or("parallel_tool_calls", true.into()),
        "previous_response_id": or("previous_response_id", Value::Null),
        "reasoning": {"effort": effort, "summary": summary},
        "service_tier": "default",
        "store": or("store", true.into()),
        "temperature": or("temperature", 1.0.into()),
        "text": or("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
        "tool_choice": or("tool_choice", "auto".into()),
        "tools": or("tools", json!([])),
        "top_logprobs": or("top_logprobs", 0.into()),
        "top_p": or("top_p", 1.0.into()),
        "truncation": or("truncation", "disabled".into()),
        "user": or("user", Value::Null),
    })
}
