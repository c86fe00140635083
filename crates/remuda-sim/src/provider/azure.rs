//! Azure OpenAI: deployments with an `api-version` and the newer `/openai/v1`, the `api-key`, and the content filter.
//!
//! A stream begins with a chunk that has no choices, no id and no model; text comes in bursts; and what the filter has
//! to say comes in chunks of its own, without a delta, the last after the finish.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::exchange::{Failed, Piece, Reply, Request};
use super::openai::chat::{self, Rules};
use super::openai::error::Refusal;
use super::openai::fields::object;
use super::openai::models::{MODELS, model};
use super::openai::text;
use super::openai::words::{Chunk, Words, done};
use super::responses::Responses;
use super::{Provider, World};

const RULES: Rules = Rules {
    strict: true,
    families: true,
};

/// Chunks that are written at once.
const BURST: usize = 4;

pub(super) struct Azure {
    world: World,
    responses: Responses,
}

/// What a path asks for, and of which deployment if it says so.
enum Route {
    Chat(Option<String>),
    Completions(Option<String>),
    Embeddings(Option<String>),
    Responses,
    Models,
}

impl Azure {
    pub(super) fn new(world: World) -> Self {
        Self {
            responses: Responses::new(world.clone()),
            world,
        }
    }

    fn route(&self, request: &Request) -> Result<Reply, Refusal> {
        let path = request.decoded_path();
        let route = find(&path, request).ok_or_else(not_found)?;
        self.check_key(request)?;
        let expected = if matches!(route, Route::Models) {
            Method::GET
        } else {
            Method::POST
        };
        if request.method != expected {
            return Err(not_found());
        }
        match route {
            Route::Models => Ok(Reply::json(200, &models())),
            Route::Responses => self.responses.answer(request),
            Route::Chat(deployment) => {
                let (map, model) = self.deployment(request, deployment)?;
                self.chat(request, &map, &model)
            }
            Route::Completions(deployment) => {
                let (map, model) = self.deployment(request, deployment)?;
                text::completions(&map, &model, request, &self.world)
            }
            Route::Embeddings(deployment) => {
                let (map, model) = self.deployment(request, deployment)?;
                text::embeddings(&map, &model, true)
            }
        }
    }

    fn check_key(&self, request: &Request) -> Result<(), Refusal> {
        let key = &self.world.setup.api_key;
        if request.header("api-key") == key || request.bearer() == Some(key) {
            return Ok(());
        }
        Err(Refusal::bad("Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.")
            .status(401)
            .code("401"))
    }

    /// Returns the body and the deployment that the path names, or else the body.
    fn deployment(
        &self,
        request: &Request,
        named: Option<String>,
    ) -> Result<(Map<String, Value>, String), Refusal> {
        match named {
            Some(name) if !self.world.lists(&name) => Err(Refusal::unknown_model(&name)),
            Some(name) => Ok((object(&request.body)?, name)),
            None => {
                let map = object(&request.body)?;
                let name = model(&map, &self.world)?;
                Ok((map, name))
            }
        }
    }

    fn chat(
        &self,
        request: &Request,
        map: &Map<String, Value>,
        model: &str,
    ) -> Result<Reply, Refusal> {
        let chat = chat::read(map, model, &self.world, RULES)?;
        if chat.prompt.is_blocked() {
            return Err(Refusal::bad(BLOCKED).of("prompt").code("content_filter"));
        }
        let words = Words::new(&chat, request);
        let reply = if chat.stream {
            Reply::stream("text/event-stream; charset=utf-8", pieces(&words))
        } else {
            Reply::json(200, &whole(&words))
        };
        Ok(reply.after(chat.prompt_tokens, words.answer_tokens()))
    }
}

const BLOCKED: &str = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766";

/// Returns the route of a path. Without a version that there is, the older paths are not there either.
fn find(path: &str, request: &Request) -> Option<Route> {
    let version = request.parameter("api-version");
    if let Some(rest) = path.strip_prefix("/openai/v1/") {
        let known = version.is_none_or(|version| version == "preview" || version == "v1");
        return known.then(|| operation(rest, None)).flatten();
    }
    let rest = path.strip_prefix("/openai/")?;
    if !version.is_some_and(|version| is_version(&version)) {
        return None;
    }
    match rest.strip_prefix("deployments/") {
        Some(rest) => {
            let (deployment, rest) = rest.split_once('/')?;
            match operation(rest, Some(deployment.to_owned()))? {
                Route::Responses | Route::Models => None,
                route => Some(route),
            }
        }
        None if rest == "responses" || rest == "models" => operation(rest, None),
        None => None,
    }
}

fn operation(rest: &str, deployment: Option<String>) -> Option<Route> {
    match rest {
        "chat/completions" => Some(Route::Chat(deployment)),
        "completions" => Some(Route::Completions(deployment)),
        "embeddings" => Some(Route::Embeddings(deployment)),
        "responses" => Some(Route::Responses),
        "models" => Some(Route::Models),
        _ => None,
    }
}

/// `2024-10-21` or `2025-04-01-preview`.
fn is_version(version: &str) -> bool {
    let date = version.strip_suffix("-preview").unwrap_or(version);
    chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok()
}

fn not_found() -> Refusal {
    Refusal::bad("Resource not found").status(404).code("404")
}

/// Base models, not deployments: those cannot be listed with this key.
fn models() -> Value {
    let models = MODELS.iter().map(|model| {
        json!({"id": model, "object": "model", "created_at": 1_767_225_600, "status": "succeeded",
            "lifecycle_status": "generally-available", "capabilities": {"inference": true}})
    });
    json!({"object": "list", "data": models.collect::<Vec<_>>()})
}

/// Returns what the filter found of each kind; `found` says whether it found violence.
fn filter_results(found: bool) -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    let violence = if found {
        json!({"filtered": true, "severity": "high"})
    } else {
        safe.clone()
    };
    json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": violence})
}

fn prompt_results() -> Value {
    json!([{"prompt_index": 0, "content_filter_results": filter_results(false)}])
}

fn whole(words: &Words<'_>) -> Value {
    let mut value = words.whole();
    value["prompt_filter_results"] = prompt_results();
    for choice in value["choices"].as_array_mut().into_iter().flatten() {
        let found = choice["finish_reason"] == "content_filter";
        choice["content_filter_results"] = filter_results(found);
    }
    value
}

fn pieces(words: &Words<'_>) -> Vec<Piece> {
    let opening = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "",
        "prompt_filter_results": prompt_results()});
    let mut pieces = vec![Piece::data(&opening, 0)];
    let mut burst: Vec<Chunk> = Vec::new();
    for mut chunk in words.chunks() {
        for choice in chunk.value["choices"].as_array_mut().into_iter().flatten() {
            choice["content_filter_results"] = json!({});
        }
        let ends = !chunk.value["choices"][0]["finish_reason"].is_null();
        let is_usage = chunk.value["choices"][0].is_null();
        if is_usage {
            pieces.push(chunk.piece());
            continue;
        }
        let found = chunk.value["choices"][0]["finish_reason"] == "content_filter";
        let index = chunk.value["choices"][0]["index"].clone();
        burst.push(chunk);
        if ends || burst.len() == BURST {
            pieces.push(written_at_once(&burst));
            burst.clear();
            pieces.push(filter_chunk(&index, found, pieces.len()));
        }
    }
    pieces.push(done());
    pieces
}

fn written_at_once(chunks: &[Chunk]) -> Piece {
    let bytes: Vec<Bytes> = chunks.iter().map(|chunk| chunk.piece().bytes).collect();
    Piece::new(
        bytes.concat(),
        chunks.iter().map(|chunk| chunk.tokens).sum(),
    )
}

/// Returns what the filter says of the text so far: a chunk without a delta.
fn filter_chunk(index: &Value, found: bool, place: usize) -> Piece {
    let offsets = json!({"check_offset": place * 40, "start_offset": place * 40, "end_offset": place * 40 + 40});
    Piece::data(
        &json!({"id": "", "object": "", "created": 0, "model": "", "choices": [{"index": index,
            "finish_reason": null, "content_filter_results": filter_results(found),
            "content_filter_offsets": offsets}]}),
        0,
    )
}

/// Returns an error in Azure's shape, which is OpenAI's for what the model's own checks find.
fn error(refusal: &Refusal) -> Value {
    match refusal.code.as_deref() {
        Some("model_not_found") => json!({"code": "DeploymentNotFound",
            "message": "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}),
        Some("content_filter") => json!({
            "message": refusal.message, "type": null, "param": refusal.param, "code": "content_filter", "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": filter_results(true)},
        }),
        Some(code @ ("401" | "404")) => json!({"code": code, "message": refusal.message}),
        _ => refusal.value_of(),
    }
}

/// Code and message of a status that was asked for as a fault.
fn usual(status: u16) -> (String, &'static str) {
    let (code, message) = match status {
        401 => (
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.",
        ),
        403 => (
            "PermissionDenied",
            "Principal does not have access to API/Operation.",
        ),
        404 => (
            "DeploymentNotFound",
            "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.",
        ),
        408 => ("Timeout", "The operation was timeout."),
        429 => (
            "429",
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 2 seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
        ),
        503 => (
            "ServiceUnavailable",
            "The service is temporarily unable to process your request. Please try again later.",
        ),
        500.. => (
            "InternalServerError",
            "The server had an error processing your request. Sorry about that!",
        ),
        _ => ("BadRequest", "The request was refused."),
    };
    (code.to_owned(), message)
}

fn with_headers(reply: Reply, request: &Request) -> Reply {
    let limited = reply.status == 429;
    let reply = reply
        .with("apim-request-id", &request.id("", 1, 32))
        .with("x-request-id", &request.id("", 2, 32))
        .with("x-ms-region", "Norway East")
        .with(
            "x-ratelimit-remaining-requests",
            if limited { "0" } else { "99" },
        )
        .with(
            "x-ratelimit-remaining-tokens",
            if limited { "0" } else { "99000" },
        );
    if limited {
        reply
            .with("retry-after", "2")
            .with("retry-after-ms", "1500")
    } else {
        reply
    }
}

impl Provider for Azure {
    fn answer(&self, request: &Request) -> Reply {
        let reply = self.route(request);
        let reply = reply.unwrap_or_else(|refusal| {
            Reply::json(refusal.status, &json!({"error": error(&refusal)}))
        });
        with_headers(reply, request)
    }

    fn refuse(&self, request: &Request, failed: &Failed) -> Reply {
        let (code, message) = usual(failed.status);
        let message = failed.message.as_deref().unwrap_or(message);
        let error = match failed.code.as_deref() {
            Some("content_filter") => {
                error(&Refusal::bad(BLOCKED).of("prompt").code("content_filter"))
            }
            given => json!({"code": given.unwrap_or(&code), "message": message}),
        };
        with_headers(
            Reply::json(failed.status, &json!({"error": error})),
            request,
        )
    }

    fn break_off(&self, request: &Request, failed: &Failed, sent: u64) -> Bytes {
        if request.path.ends_with("/responses") {
            return self.responses.break_off(request, failed, sent);
        }
        let error = Refusal::failed(failed, &chat::model_of(request)).value_of();
        Piece::data(&json!({"error": error}), 0).bytes
    }

    fn fail_whole(&self, request: &Request, failed: &Failed) -> Reply {
        if request.path.ends_with("/responses") {
            return with_headers(self.responses.fail_whole(request, failed), request);
        }
        self.refuse(request, failed)
    }
}
