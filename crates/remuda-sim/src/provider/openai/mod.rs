//! OpenAI: its routes, its key, its headers; chat, completions, embeddings, models, and Responses.

pub(crate) mod chat;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod text;
pub(crate) mod tools;
pub(crate) mod words;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::{Failed, Piece, Reply, Request};
use super::responses::Responses;
use super::{Provider, World};
use chat::{Rules, model_of};
use error::Refusal;
use fields::object;
use models::model;
use words::{Words, done};

const STREAM: &str = "text/event-stream; charset=utf-8";

const RULES: Rules = Rules {
    strict: true,
    families: true,
};

/// OpenAI's API, or the part of it that a server has which knows only Responses.
pub(crate) struct OpenAi {
    world: World,
    responses: Responses,
    only_responses: bool,
}

impl OpenAi {
    pub(crate) fn new(world: World, only_responses: bool) -> Self {
        Self {
            responses: Responses::new(world.clone()),
            world,
            only_responses,
        }
    }

    fn route(&self, request: &Request) -> Result<Reply, Refusal> {
        check_bearer(request, &self.world.setup.api_key)?;
        let path = request.decoded_path();
        let post = request.method == Method::POST;
        let get = request.method == Method::GET;
        let wrong = || Err(Refusal::wrong_method(&request.method, &path));
        match path.as_str() {
            "/v1/models" if get => Ok(Reply::json(200, &self.models())),
            "/v1/responses" if post => self.responses.answer(request),
            "/v1/models" | "/v1/responses" => wrong(),
            "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings"
                if self.only_responses =>
            {
                Err(Refusal::unknown_url(&request.method, &path))
            }
            "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" if !post => wrong(),
            "/v1/chat/completions" => self.chat(request),
            "/v1/completions" => {
                let map = object(&request.body)?;
                let model = model(&map, &self.world)?;
                text::completions(&map, &model, request, &self.world)
            }
            "/v1/embeddings" => {
                let map = object(&request.body)?;
                let model = model(&map, &self.world)?;
                text::embeddings(&map, &model, true)
            }
            path => match (
                path.strip_prefix("/v1/models/"),
                path.strip_prefix("/v1/responses/"),
            ) {
                (Some(model), _) if get && self.world.lists(model) => {
                    Ok(Reply::json(200, &model_object(model)))
                }
                (Some(model), _) if get => {
                    Err(Refusal::bad(format!("The model '{model}' does not exist"))
                        .status(404)
                        .of("model")
                        .code("model_not_found"))
                }
                (_, Some(id)) if get || request.method == Method::DELETE => {
                    self.responses.stored(&request.method, id)
                }
                _ => Err(Refusal::unknown_url(&request.method, path)),
            },
        }
    }

    fn models(&self) -> Value {
        let models = self
            .world
            .setup
            .models
            .iter()
            .map(|model| model_object(model));
        json!({"object": "list", "data": models.collect::<Vec<_>>()})
    }

    fn chat(&self, request: &Request) -> Result<Reply, Refusal> {
        let map = object(&request.body)?;
        let model = model(&map, &self.world)?;
        let chat = chat::read(&map, &model, &self.world, RULES)?;
        if chat.prompt.is_blocked() {
            return Err(Refusal::bad(
                "Your request was rejected as a result of our safety system.",
            )
            .code("content_policy_violation"));
        }
        let words = Words::new(&chat, request);
        let reply = if chat.stream {
            let chunks = words.chunks();
            let mut pieces: Vec<Piece> = chunks.iter().map(|chunk| chunk.piece()).collect();
            pieces.push(done());
            Reply::stream(STREAM, pieces)
        } else {
            Reply::json(200, &words.whole())
        };
        Ok(reply.after(chat.prompt_tokens, words.answer_tokens()))
    }
}

fn model_object(model: &str) -> Value {
    json!({"id": model, "object": "model", "created": 1_767_225_600, "owned_by": "system"})
}

/// `Authorization: Bearer` with the expected key.
pub(crate) fn check_bearer(request: &Request, key: &str) -> Result<(), Refusal> {
    match request.bearer() {
        Some(given) if given == key => Ok(()),
        None | Some("") => Err(Refusal::bad(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys.",
        )
        .status(401)),
        Some(given) => Err(Refusal::bad(format!(
            "Incorrect API key provided: {}. You can find your API key at https://platform.openai.com/account/api-keys.",
            masked(given)
        ))
        .status(401)
        .code("invalid_api_key")),
    }
}

/// Returns a key with its middle hidden, as OpenAI repeats it.
fn masked(key: &str) -> String {
    let characters: Vec<char> = key.chars().collect();
    let count = characters.len();
    if count <= 8 {
        return "*".repeat(count);
    }
    let (first, last) = (&characters[..4], &characters[count - 4..]);
    format!(
        "{}{}{}",
        String::from_iter(first),
        "*".repeat(count - 8),
        String::from_iter(last)
    )
}

/// Headers that come with every answer. Resets are durations as Go writes them.
fn with_headers(reply: Reply, request: &Request) -> Reply {
    let refused = reply.status == 429;
    let (remaining, reset) = if refused {
        ("0", "120ms")
    } else {
        ("499", "6ms")
    };
    let mut reply = reply
        .with("x-request-id", &request.id("req_", 0, 32))
        .with("openai-version", "2020-10-01")
        .with("openai-processing-ms", "12")
        .with("openai-organization", "org-sim")
        .with("x-ratelimit-limit-requests", "500")
        .with("x-ratelimit-limit-tokens", "30000")
        .with("x-ratelimit-remaining-requests", remaining)
        .with("x-ratelimit-remaining-tokens", "29000")
        .with("x-ratelimit-reset-requests", reset)
        .with("x-ratelimit-reset-tokens", "6m0s");
    if refused {
        reply = reply.with("retry-after", "1").with("retry-after-ms", "120");
    }
    reply
}

impl Provider for OpenAi {
    fn answer(&self, request: &Request) -> Reply {
        let reply = self
            .route(request)
            .unwrap_or_else(|refusal| refusal.reply());
        with_headers(reply, request)
    }

    fn refuse(&self, request: &Request, failed: &Failed) -> Reply {
        let refusal = Refusal::failed(failed, &model_of(request));
        let reply = with_headers(refusal.reply(), request);
        // The quota does not come back by waiting.
        match failed.code.as_deref() {
            Some("insufficient_quota") => {
                let mut reply = reply.with("x-should-retry", "false");
                reply.headers.remove("retry-after");
                reply.headers.remove("retry-after-ms");
                reply
            }
            _ => reply,
        }
    }

    fn break_off(&self, request: &Request, failed: &Failed, sent: u64) -> Bytes {
        if request.path.ends_with("/responses") {
            return self.responses.break_off(request, failed, sent);
        }
        let error = Refusal::failed(failed, &model_of(request)).value_of();
        Piece::data(&json!({"error": error}), 0).bytes
    }

    fn fail_whole(&self, request: &Request, failed: &Failed) -> Reply {
        if request.path.ends_with("/responses") {
            return with_headers(self.responses.fail_whole(request, failed), request);
        }
        self.refuse(request, failed)
    }
}
