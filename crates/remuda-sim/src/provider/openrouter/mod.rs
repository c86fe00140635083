//! OpenRouter: OpenAI's chat in front of many providers, with reasoning shown, costs counted, and errors under a 200.
//!
//! Streams begin with comments. Unknown fields are ignored. A failure while the model works (`--fault error`) is a
//! chunk whose `finish_reason` is `error`, or a whole answer of status 200 with an error in it.

mod catalogue;
mod details;
mod words;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::exchange::{Failed, Piece, Reply, Request};
use super::openai::chat::{self, Rules};
use super::openai::error::Refusal;
use super::openai::fields::{Kind, given, object, typed};
use super::openai::text;
use super::{Provider, World};
pub(super) use catalogue::MODELS;
use catalogue::{can_reason, company, listed};
use words::{Answer, id};

const RULES: Rules = Rules {
    strict: false,
    families: false,
};

/// What OpenRouter takes beyond OpenAI's fields, and checks.
const FIELDS: [(&str, Kind); 12] = [
    ("models", Kind::List),
    ("provider", Kind::Object),
    ("plugins", Kind::List),
    ("reasoning", Kind::Object),
    ("top_k", Kind::Integer(0, i64::MAX)),
    ("top_a", Kind::Decimal(0.0, 1.0)),
    ("min_p", Kind::Decimal(0.0, 1.0)),
    ("repetition_penalty", Kind::Decimal(0.0, 2.0)),
    ("session_id", Kind::Text),
    ("usage", Kind::Object),
    ("transforms", Kind::List),
    ("cache_control", Kind::Object),
];

pub(super) struct OpenRouter {
    world: World,
}

impl OpenRouter {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    fn route(&self, request: &Request) -> Result<Reply, Refusal> {
        let path = request.decoded_path();
        let get = request.method == Method::GET;
        let post = request.method == Method::POST;
        if path == "/api/v1/models" && get {
            return Ok(Reply::json(200, &self.models()));
        }
        self.check_key(request)?;
        match path.as_str() {
            "/api/v1/chat/completions" if post => self.chat(request),
            "/api/v1/embeddings" if post => {
                let map = object(&request.body).map_err(|_| Refusal::bad("Invalid JSON body"))?;
                let model = self.model(&map)?;
                text::embeddings(&map, &model, false)
            }
            "/api/v1/key" if get => Ok(Reply::json(
                200,
                &json!({"data": {"label": "sk-or-v1-sim", "limit": null, "usage": 0.5,
                    "limit_remaining": null, "is_free_tier": false}}),
            )),
            "/api/v1/credits" if get => Ok(Reply::json(
                200,
                &json!({"data": {"total_credits": 10, "total_usage": 0.5}}),
            )),
            path => self.endpoints(path, get),
        }
    }

    fn check_key(&self, request: &Request) -> Result<(), Refusal> {
        match request.bearer() {
            Some(key) if key == self.world.setup.api_key => Ok(()),
            Some(key) if !key.is_empty() => Err(Refusal::bad("User not found.").status(401)),
            _ => Err(Refusal::bad("No auth credentials found").status(401)),
        }
    }

    /// `/api/v1/models/{author}/{slug}/endpoints`.
    fn endpoints(&self, path: &str, get: bool) -> Result<Reply, Refusal> {
        let inner = path.strip_prefix("/api/v1/models/");
        let model = inner.and_then(|rest| rest.strip_suffix("/endpoints"));
        match model {
            Some(model) if get && self.world.lists(model) => {
                let mut value = listed(model);
                value["endpoints"] = json!([{"name": format!("Sim | {model}"), "provider_name": company(model),
                    "context_length": 1_048_576, "status": 0}]);
                Ok(Reply::json(200, &json!({"data": value})))
            }
            _ => Err(Refusal::bad("Not Found").status(404)),
        }
    }

    fn models(&self) -> Value {
        let models = self.world.setup.models.iter();
        let chats = models.filter(|model| !model.contains("embed"));
        let models: Vec<Value> = chats.map(|model| listed(model)).collect();
        json!({"total_count": models.len(), "links": {"next": null}, "data": models})
    }

    /// Returns the model that is asked for, or the first of `models` that there is.
    fn model(&self, map: &Map<String, Value>) -> Result<String, Refusal> {
        let first = given(map, "model").and_then(Value::as_str);
        let others = given(map, "models").and_then(Value::as_array);
        let others = others.into_iter().flatten().filter_map(Value::as_str);
        let mut wanted = first.into_iter().chain(others).peekable();
        let Some(named) = wanted.peek().copied() else {
            return Err(Refusal::bad("No models provided"));
        };
        // A suffix such as `:floor` says how to route, not which model.
        let base = |name: &str| name.split(':').next().unwrap_or(name).to_owned();
        let found = wanted.find(|name| self.world.lists(name) || self.world.lists(&base(name)));
        found
            .map(|name| {
                if self.world.lists(name) {
                    name.to_owned()
                } else {
                    base(name)
                }
            })
            .ok_or_else(|| Refusal::bad(format!("{named} is not a valid model ID")))
    }

    fn chat(&self, request: &Request) -> Result<Reply, Refusal> {
        let map = object(&request.body).map_err(|_| Refusal::bad("Invalid JSON body"))?;
        typed(&map, &FIELDS, "")?;
        let model = self.model(&map)?;
        check_routing(&map, &model)?;
        if given(&map, "messages").is_none() {
            return Err(Refusal::bad(
                "Input required: specify \"prompt\" or \"messages\"",
            ));
        }
        let mut chat = chat::read(&map, &model, &self.world, RULES)?;
        details::check(&map["messages"])?;
        chat.prompt.reasons = reasons(&map, &model)?;
        chat.obfuscate = false;
        chat.include_usage = false;
        if chat.prompt.is_blocked() {
            return Err(Refusal::bad(format!(
                "Your chosen model requires moderation and your input was flagged for \"violence\". ({model})"
            ))
            .status(403)
            .code("content_policy_violation"));
        }
        let hides = given(&map, "reasoning").is_some_and(|reasoning| reasoning["exclude"] == true);
        Ok(Answer::new(&chat, request, hides).reply())
    }
}

/// Routing that no provider meets.
fn check_routing(map: &Map<String, Value>, model: &str) -> Result<(), Refusal> {
    let Some(provider) = given(map, "provider") else {
        return Ok(());
    };
    let company = company(model).to_lowercase();
    let names = |field: &str| -> Option<Vec<String>> {
        let list = provider[field].as_array()?;
        Some(
            list.iter()
                .filter_map(Value::as_str)
                .map(str::to_lowercase)
                .collect(),
        )
    };
    let left_out = names("only").is_some_and(|only| !only.contains(&company));
    if left_out || names("ignore").is_some_and(|ignored| ignored.contains(&company)) {
        return Err(
            Refusal::bad("No allowed providers are available for the selected model.").status(404),
        );
    }
    match provider["data_collection"].as_str() {
        None | Some("allow" | "deny") => Ok(()),
        Some(_) => Err(Refusal::bad(
            "provider.data_collection: Invalid option: expected one of \"deny\"|\"allow\"",
        )),
    }
}

/// Returns whether the model reasons: those that can do, unless they are told not to.
fn reasons(map: &Map<String, Value>, model: &str) -> Result<bool, Refusal> {
    let reasoning = map.get("reasoning").unwrap_or(&Value::Null);
    if !reasoning["effort"].is_null() && !reasoning["max_tokens"].is_null() {
        return Err(Refusal::bad(
            "Only one of \"reasoning.effort\" and \"reasoning.max_tokens\" can be specified",
        ));
    }
    let effort = reasoning["effort"]
        .as_str()
        .or(map.get("reasoning_effort").and_then(Value::as_str));
    let known = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    if let Some(effort) = effort.filter(|effort| !known.contains(effort)) {
        return Err(Refusal::bad(format!(
            "reasoning.effort: Invalid option: \"{effort}\""
        )));
    }
    Ok(can_reason(model) && effort != Some("none") && reasoning["enabled"] != false)
}

/// Returns the word for a failure, the status of it, and what is said.
fn usual(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("authentication", "User not found."),
        402 => (
            "payment_required",
            "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        ),
        403 => (
            "permission_denied",
            "The request was flagged by moderation.",
        ),
        404 => ("not_found", "No endpoints found."),
        408 => ("timeout", "Your request timed out."),
        413 => ("payload_too_large", "The request is too large."),
        429 => (
            "rate_limit_exceeded",
            "Rate limit exceeded: limit_rpm/sim. High demand for this model on OpenRouter - limited to 20 requests per minute. Please retry shortly.",
        ),
        502 => ("provider_unavailable", "Provider returned error"),
        503 => (
            "provider_unavailable",
            "No available model provider meets your routing requirements.",
        ),
        524 => ("timeout", "A timeout occurred."),
        529 => ("provider_overloaded", "Provider is overloaded."),
        500.. => ("server", "Internal Server Error"),
        _ => ("invalid_request", "The request was refused."),
    }
}

fn error(status: u16, message: &str, metadata: Value) -> Value {
    json!({"code": status, "message": message, "metadata": metadata})
}

/// Returns a failure of the provider behind: 502, if nothing else was said.
fn provider_error(failed: &Failed) -> Value {
    let kind = failed.code.as_deref().unwrap_or("provider_unavailable");
    let status = match kind {
        "rate_limit_exceeded" => 429,
        "provider_overloaded" => 529,
        "context_length_exceeded" | "invalid_request" => 400,
        "server" => 500,
        "timeout" => 408,
        _ => 502,
    };
    let message = failed.message.as_deref().unwrap_or("Provider disconnected");
    error(
        status,
        message,
        json!({"error_type": kind, "provider_name": "Sim"}),
    )
}

impl Provider for OpenRouter {
    fn answer(&self, request: &Request) -> Reply {
        self.route(request).unwrap_or_else(|refusal| {
            let mut value = json!({"code": refusal.status, "message": refusal.message});
            match refusal.code.as_deref() {
                Some("content_policy_violation") => {
                    value["metadata"] = json!({"reasons": ["violence"], "flagged_input": "BLOCK",
                        "provider_name": "OpenAI", "model_slug": chat::model_of(request)});
                }
                Some("invalid_signature") => {
                    value["message"] = "Provider returned error".into();
                    value["metadata"] =
                        json!({"raw": refusal.message, "provider_name": "Anthropic"});
                }
                _ => {}
            }
            Reply::json(
                refusal.status,
                &json!({"error": value, "user_id": "user_sim"}),
            )
        })
    }

    fn refuse(&self, _: &Request, failed: &Failed) -> Reply {
        let (kind, message) = usual(failed.status);
        let mut metadata =
            json!({"error_type": failed.code.as_deref().unwrap_or(kind), "provider_name": null});
        if failed.status == 429 {
            metadata["headers"] = json!({"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "1790000060000"});
        }
        let message = failed.message.as_deref().unwrap_or(message);
        let value =
            json!({"error": error(failed.status, message, metadata), "user_id": "user_sim"});
        Reply::json(failed.status, &value)
    }

    fn break_off(&self, request: &Request, failed: &Failed, _: u64) -> Bytes {
        let chunk = json!({"id": id(request), "object": "chat.completion.chunk", "created": request.now,
            "model": chat::model_of(request), "provider": "Sim", "error": provider_error(failed),
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]});
        Piece::data(&chunk, 0).bytes
    }

    fn fail_whole(&self, _: &Request, failed: &Failed) -> Reply {
        Reply::json(
            200,
            &json!({"error": provider_error(failed), "user_id": "user_sim"}),
        )
    }
}
