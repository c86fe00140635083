//! Perplexity's Agent API: Responses with a strict body, search that is asked for, and events without names.
//!
//! The older chat completions are gone, and say so. A run that fails (`--fault error`) is a 200 whose status is
//! `failed`, streamed or not; with a `code` of its own a stream ends by a bare `error`.

mod asked;
mod fields;
mod words;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::exchange::{Failed, Piece, Reply, Request};
use super::mind::{Prompt, Tool, tokens};
use super::openai::error::Refusal;
use super::openai::fields::{given, object, text};
use super::openai::tools;
use super::responses::items::{self, Known};
use super::responses::words::Manner;
use super::{Provider, World};
use asked::Asked;
use words::Answer;

pub(super) const MODELS: [&str; 5] = [
    "perplexity/sonar",
    "openai/gpt-6-sol",
    "openai/gpt-5.1",
    "anthropic/claude-sonnet-5",
    "google/gemini-3.5-flash",
];

/// Names that are Perplexity's own tools.
const BUILT_IN: [&str; 6] = [
    "web_search",
    "fetch_url",
    "sandbox",
    "people_search",
    "finance_search",
    "mcp",
];

const PRESETS: [&str; 5] = ["fast", "low", "medium", "high", "xhigh"];

pub(super) struct Perplexity {
    world: World,
}

/// Nothing is kept: items come back whole.
struct Nothing;

impl Known for Nothing {
    fn is_genuine(&self, _: &str, _: &str) -> bool {
        false
    }

    fn is_stored(&self, _: &str) -> bool {
        false
    }
}

impl Perplexity {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    fn route(&self, request: &Request) -> Result<Reply, Refusal> {
        let post = request.method == Method::POST;
        match request.path.as_str() {
            "/v1/models" if request.method == Method::GET => Ok(Reply::json(200, &self.models())),
            "/v1/responses" | "/v1/agent" if post => {
                self.check_key(request)?;
                self.run(request)
            }
            "/v1/responses" | "/v1/agent" => Err(Refusal::bad("Method not allowed").status(405)),
            "/chat/completions" | "/v1/chat/completions" => Err(Refusal::bad(
                "Sonar is now the Agent API. Please migrate to POST /v1/responses.",
            )
            .code("invalid_request")),
            _ => Err(Refusal::bad("Not found").status(404)),
        }
    }

    fn check_key(&self, request: &Request) -> Result<(), Refusal> {
        if request.bearer() == Some(&self.world.setup.api_key) {
            return Ok(());
        }
        Err(Refusal::bad("Invalid API key provided. You can find your API key at https://www.perplexity.ai/settings/api.").status(401))
    }

    fn models(&self) -> Value {
        let models = self.world.setup.models.iter().map(|model| {
            let owner = model.split('/').next().unwrap_or_default();
            json!({"id": model, "object": "model", "created": 1_767_225_600, "owned_by": owner})
        });
        json!({"object": "list", "data": models.collect::<Vec<_>>()})
    }

    fn run(&self, request: &Request) -> Result<Reply, Refusal> {
        let map = object(&request.body)
            .map_err(|_| Refusal::bad("invalid request body: invalid JSON"))?;
        let asked = self.read(&map)?;
        if asked.prompt.is_blocked() {
            return Err(
                Refusal::bad("The request was blocked by our content policy.")
                    .status(403)
                    .code("forbidden"),
            );
        }
        let answer = Answer::new(&asked, request);
        let made = answer.words.thought.tokens();
        let reply = if asked.stream {
            let pieces = answer.events().into_iter();
            let pieces = pieces
                .map(|event| Piece::data(&event.value, event.tokens))
                .collect();
            Reply::stream("text/event-stream", pieces)
        } else {
            Reply::json(200, &answer.finished(answer.words.whole()))
        };
        Ok(reply.after(asked.manner.prompt_tokens, made))
    }

    fn read(&self, map: &Map<String, Value>) -> Result<Asked, Refusal> {
        fields::check(map)?;
        let model = self.model(map)?;
        let limit = given(map, "max_output_tokens").and_then(Value::as_u64);
        if model.starts_with("anthropic/") && limit.is_none() {
            return Err(Refusal::bad(
                "max_output_tokens is required for anthropic models",
            ));
        }
        let tools = given(map, "tools").and_then(Value::as_array);
        let tools = tools.map_or(&[][..], Vec::as_slice);
        let effort = map
            .get("reasoning")
            .and_then(|reasoning| reasoning["effort"].as_str());
        let mut prompt = Prompt {
            model: model.clone(),
            max_tokens: limit.map(|limit| limit.max(16)),
            prose: Some(self.world.answer_tokens.clone()),
            seed: self.world.seed,
            tools: functions(tools)?,
            form: tools::form(map.get("response_format"), "response_format", false)?,
            ..Prompt::default()
        };
        if let Some(instructions) = given(map, "instructions").and_then(Value::as_str) {
            prompt.instruct(instructions);
        }
        let forced = given(map, "tool_choice").is_some_and(|choice| choice["type"] == "web_search");
        if !forced && !prompt.tools.is_empty() {
            let mut choice = map.clone();
            choice.remove("parallel_tool_calls");
            tools::choose(&choice, &mut prompt, |choice| choice["name"].as_str())?;
        }
        let input = given(map, "input").ok_or_else(|| Refusal::bad("input is required"))?;
        let mut prompt_tokens = items::read(input, true, &Nothing, &mut prompt)?;
        prompt_tokens += tokens(&prompt.system);
        let searches = forced || tools.iter().any(|tool| tool["type"] == "web_search");
        let manner = Manner {
            echo: json!({"model": model, "background": false, "instructions": map.get("instructions"),
                "max_output_tokens": prompt.max_tokens, "parallel_tool_calls": true,
                "previous_response_id": map.get("previous_response_id"), "store": true}),
            prompt_tokens,
            ..Manner::default()
        };
        Ok(Asked {
            search: searches.then(|| prompt.said.clone()),
            prompt,
            manner,
            stream: map.get("stream") == Some(&Value::Bool(true)),
            reasons: effort.is_some_and(|effort| effort != "none"),
        })
    }

    /// Returns the model, the first of several, or that of a preset.
    fn model(&self, map: &Map<String, Value>) -> Result<String, Refusal> {
        let preset = given(map, "preset")
            .or(given(map, "effort"))
            .and_then(Value::as_str);
        if let Some(preset) = preset.filter(|preset| !PRESETS.contains(preset)) {
            return Err(Refusal::bad(format!("unknown preset \"{preset}\"")));
        }
        let several = given(map, "models").and_then(Value::as_array);
        if several.is_some_and(|models| models.is_empty() || models.len() > 5) {
            return Err(Refusal::bad("models must have between 1 and 5 entries"));
        }
        let first = several.and_then(|models| models[0].as_str());
        match given(map, "model").and_then(Value::as_str).or(first) {
            Some(model) if self.world.lists(model) => Ok(model.to_owned()),
            Some(model) => Err(Refusal::bad(format!(
                "Invalid model '{model}'. Permitted models can be found in the documentation at https://docs.perplexity.ai/docs/agent-api/models."
            ))
            .code("invalid_model")),
            None if preset.is_some() => {
                Ok(self.world.setup.models.first().cloned().unwrap_or_default())
            }
            None => Err(Refusal::bad("one of model, models, or preset is required")),
        }
    }
}

/// Returns the client's own functions, whose names must not be those of built-in tools.
fn functions(tools: &[Value]) -> Result<Vec<Tool>, Refusal> {
    let mut functions = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let at = format!("tools[{index}]");
        let kind = text(tool, "type", &at)?;
        if kind == "function" {
            let function = tools::function(&at, Some(tool))?;
            if BUILT_IN.contains(&function.name.as_str()) {
                return Err(Refusal::bad(format!(
                    "function name \"{}\" conflicts with a built-in tool",
                    function.name
                )));
            }
            functions.push(function);
        } else if !BUILT_IN.contains(&kind) {
            return Err(Refusal::bad(format!("unknown tool type \"{kind}\"")));
        }
    }
    Ok(functions)
}

/// Perplexity's word for a status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        413 => "payload_too_large",
        429 => "request_rate_limit_exceeded",
        502 => "bad_gateway",
        504 => "gateway_timeout",
        503 => "service_unavailable",
        500.. => "internal_server_error",
        _ => "invalid_request",
    }
}

fn error(status: u16, message: &str, code: Option<&str>) -> Value {
    json!({"message": message, "type": code.unwrap_or(kind(status)), "code": status, "param": null})
}

/// Returns a run that ended in failure.
fn failed_run(request: &Request, failed: &Failed) -> Value {
    let message = failed.message.as_deref().unwrap_or("The run failed.");
    json!({"id": request.id("resp_", 0, 48), "object": "response", "created_at": request.now,
        "status": "failed", "model": super::openai::chat::model_of(request), "output": [],
        "error": {"message": message, "type": failed.code.as_deref().unwrap_or("internal_server_error"),
            "code": failed.code.as_deref().unwrap_or("internal_server_error")}, "usage": null})
}

impl Provider for Perplexity {
    fn answer(&self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(|refusal| {
            // OpenAI's codes are not Perplexity's; the few of its own are types.
            let own = ["invalid_model", "forbidden", "invalid_request"];
            let code = refusal.code.as_deref().filter(|code| own.contains(code));
            let error = error(refusal.status, &refusal.message, code);
            Reply::json(refusal.status, &json!({"error": error}))
        })
    }

    fn refuse(&self, _: &Request, failed: &Failed) -> Reply {
        let message = failed.message.as_deref().unwrap_or(match failed.status {
            429 => "Request rate limit exceeded, please try again later.",
            _ => "The request could not be served.",
        });
        let error = error(failed.status, message, failed.code.as_deref());
        let reply = Reply::json(failed.status, &json!({"error": error}));
        match failed.status {
            429 => reply
                .with("x-ratelimit-limit-requests", "50")
                .with("x-ratelimit-remaining-requests", "0")
                .with("x-ratelimit-reset-requests", "2"),
            _ => reply,
        }
    }

    fn break_off(&self, request: &Request, failed: &Failed, sent: u64) -> Bytes {
        let event = match &failed.code {
            Some(code) => {
                json!({"type": "error", "sequence_number": sent, "error": {"type": code, "code": 500,
                "message": failed.message.as_deref().unwrap_or("The run failed.")}})
            }
            None => json!({"type": "response.failed", "sequence_number": sent,
                "response": failed_run(request, failed)}),
        };
        Piece::data(&event, 0).bytes
    }

    fn fail_whole(&self, request: &Request, failed: &Failed) -> Reply {
        Reply::json(200, &failed_run(request, failed))
    }
}
