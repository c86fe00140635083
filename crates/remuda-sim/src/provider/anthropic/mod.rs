//! A simulated Anthropic: the Messages API with its checks, its stream, and its errors.
//!
//! What a user says steers it: a text with `REFUSE` is refused, `PAUSE` pauses the turn once, `REDACT` makes the
//! thinking unreadable, and `EMPTY` puts an empty text into the answer.

mod check;
mod content;
mod fields;
mod management;
mod message;
mod models;
mod prompt;
mod refused;
mod schema;
#[cfg(test)]
mod tests;
mod thinking;
mod tools;
mod turns;

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::{Failed, Piece, Reply, Request};
use super::ledger::Cache;
use super::{Provider, World};
use check::Purpose;
use management::Betas;
use message::Message;
use models::Model;
use refused::Refused;

/// The largest body.
const MAX_BODY: usize = 32 << 20;

/// Requests a minute that the rate-limit headers speak of.
const REQUEST_LIMIT: u64 = 4_000;
/// Tokens a minute, in and out.
const TOKEN_LIMIT: u64 = 2_000_000;

/// The simulated Messages API.
pub(super) struct Anthropic {
    world: World,
    cache: Mutex<Cache>,
}

impl Anthropic {
    pub(super) fn new(world: World) -> Self {
        Self {
            world,
            cache: Mutex::default(),
        }
    }

    /// Models that are listed if nothing else is said.
    pub(super) const MODELS: [&'static str; models::MODELS.len()] = {
        let mut ids = [""; models::MODELS.len()];
        let mut index = 0;
        while index < ids.len() {
            ids[index] = models::MODELS[index].id;
            index += 1;
        }
        ids
    };

    fn route(&self, request: &Request) -> Result<Reply, Refused> {
        self.authenticate(request)?;
        let path = request.decoded_path();
        match (&request.method, path.as_str()) {
            (&Method::POST, "/v1/messages") => self.messages(request),
            (&Method::POST, "/v1/messages/count_tokens") => self.count_tokens(request),
            (&Method::GET, "/v1/models") => self.list(request),
            (&Method::GET, path) if path.starts_with("/v1/models/") => {
                self.show(path.trim_start_matches("/v1/models/"))
            }
            (_, "/v1/messages" | "/v1/messages/count_tokens" | "/v1/models") => {
                Err(Refused::new(405, "Method Not Allowed"))
            }
            _ => Err(Refused::not_found("Not found")),
        }
    }

    fn authenticate(&self, request: &Request) -> Result<(), Refused> {
        let key = request.header("x-api-key");
        match (key, request.bearer()) {
            ("", None) => return Err(Refused::unauthenticated("x-api-key header is required")),
            ("", Some(token)) if token != self.world.setup.api_key => {
                return Err(Refused::unauthenticated("Invalid bearer token"));
            }
            ("", Some(_)) => {}
            (key, _) if key != self.world.setup.api_key => {
                return Err(Refused::unauthenticated("invalid x-api-key"));
            }
            _ => {}
        }
        match request.header("anthropic-version") {
            "" => Err(Refused::invalid("anthropic-version: header is required")),
            "2023-06-01" | "2026-10-21" => Ok(()),
            other => Err(Refused::invalid(format!(
                "anthropic-version: \"{other}\" is not a valid version"
            ))),
        }
    }

    fn messages(&self, request: &Request) -> Result<Reply, Refused> {
        let body = body(request)?;
        let name = check::model_name(&body)?;
        let model = self.model(name)?;
        let checked = check::check(&body, &model, Purpose::Answer, &betas(request))?;
        let input = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            checked.ledger.settle(&mut cache)
        };
        let prompt = checked.prompt(model.id, &body, &self.world);
        let message = Message::new(
            request,
            model.id,
            &checked,
            &prompt.said,
            prompt.think(),
            input,
        );
        let reply = if checked.stream {
            Reply::stream("text/event-stream; charset=utf-8", message.stream())
                .with("cache-control", "no-cache")
        } else {
            Reply::json(200, &message.whole())
        };
        let left = TOKEN_LIMIT - input.fresh.min(TOKEN_LIMIT);
        Ok(limits(
            reply.after(input.total(), message.output()),
            request,
            left,
        ))
    }

    fn count_tokens(&self, request: &Request) -> Result<Reply, Refused> {
        let body = body(request)?;
        let model = self.model(check::model_name(&body)?)?;
        let checked = check::check(&body, &model, Purpose::CountTokens, &betas(request))?;
        Ok(Reply::json(
            200,
            &json!({"input_tokens": checked.ledger.tokens()}),
        ))
    }

    /// Returns the model of that name; one that only this simulation knows refuses nothing.
    fn model<'a>(&self, name: &'a str) -> Result<Model<'a>, Refused> {
        let known = models::find(name);
        let listed =
            self.world.lists(name) || known.is_some_and(|model| self.world.lists(model.id));
        match (listed, known) {
            (false, _) => Err(Refused::not_found(format!("model: {name}"))),
            (true, Some(model)) => Ok(*model),
            (true, None) => Ok(Model::unknown(name)),
        }
    }

    fn show(&self, name: &str) -> Result<Reply, Refused> {
        Ok(Reply::json(200, &self.model(name)?.show()))
    }

    fn list(&self, request: &Request) -> Result<Reply, Refused> {
        let limit = match request
            .parameter("limit")
            .map(|limit| limit.parse::<usize>())
        {
            None => 20,
            Some(Ok(limit @ 1..=1_000)) => limit,
            Some(Ok(0)) => {
                return Err(Refused::invalid(
                    "limit: Input should be greater than or equal to 1",
                ));
            }
            Some(Ok(_)) => {
                return Err(Refused::invalid(
                    "limit: Input should be less than or equal to 1000",
                ));
            }
            Some(Err(_)) => {
                return Err(Refused::invalid(
                    "limit: Input should be a valid integer, unable to parse string as an integer",
                ));
            }
        };
        let ids = &self.world.setup.models;
        let position = |cursor: &str| {
            request
                .parameter(cursor)
                .map(|id| {
                    let found = ids.iter().position(|listed| *listed == id);
                    found.ok_or_else(|| Refused::invalid(format!("{cursor}: Invalid cursor")))
                })
                .transpose()
        };
        let after = position("after_id")?.map_or(0, |at| at + 1);
        let before = position("before_id")?.unwrap_or(ids.len());
        let range = ids.get(after..before).unwrap_or_default();
        let page = &range[..range.len().min(limit)];
        let data = page
            .iter()
            .map(|id| self.model(id).map(|model| model.show()))
            .collect::<Result<Vec<Value>, Refused>>()?;
        Ok(Reply::json(
            200,
            &json!({
                "data": data,
                "first_id": page.first(),
                "last_id": page.last(),
                "has_more": page.len() < range.len(),
            }),
        ))
    }
}

fn betas(request: &Request) -> Betas<'_> {
    let headers = request.headers.get_all("anthropic-beta").iter();
    Betas::of(headers.filter_map(|value| value.to_str().ok()))
}

fn body(request: &Request) -> Result<Value, Refused> {
    if request.body.len() > MAX_BODY {
        return Err(Refused::new(413, "Request exceeds the maximum size"));
    }
    if !request
        .header("content-type")
        .starts_with("application/json")
    {
        return Err(Refused::invalid("content-type: expected application/json"));
    }
    serde_json::from_slice(&request.body)
        .map_err(|error| Refused::invalid(format!("The request body is not valid JSON: {error}")))
}

fn request_id(request: &Request) -> String {
    request.id("req_011", 0, 21)
}

/// Returns a minute's limits and what is left of them.
fn limits(reply: Reply, request: &Request, tokens_left: u64) -> Reply {
    let requests_left = if tokens_left == 0 {
        0
    } else {
        REQUEST_LIMIT - 1
    };
    let reset = chrono::DateTime::from_timestamp(request.now + 60, 0)
        .unwrap_or_default()
        .format("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let families = [
        ("requests", REQUEST_LIMIT, requests_left),
        ("tokens", TOKEN_LIMIT, tokens_left),
        ("input-tokens", TOKEN_LIMIT, tokens_left),
        ("output-tokens", TOKEN_LIMIT / 5, TOKEN_LIMIT / 5),
    ];
    families
        .into_iter()
        .fold(reply, |reply, (family, limit, left)| {
            let name = |part: &str| format!("anthropic-ratelimit-{family}-{part}");
            reply
                .with(&name("limit"), &limit.to_string())
                .with(&name("remaining"), &left.to_string())
                .with(&name("reset"), &reset)
        })
}

fn signed(reply: Reply, request: &Request) -> Reply {
    reply.with("request-id", &request_id(request)).with(
        "anthropic-organization-id",
        "00000000-0000-4000-8000-000000000000",
    )
}

/// Returns the error's type and words, where the fault has none of its own.
fn error(request: &Request, failed: &Failed) -> Value {
    let message = failed
        .message
        .as_deref()
        .unwrap_or(refused::words(failed.status));
    let mut body = Refused::new(failed.status, message).body(&request_id(request));
    if let Some(code) = &failed.code {
        if code.ends_with("_error") || code == "request_too_large" {
            body["error"]["type"] = code.as_str().into()
        } else {
            body["error"]["details"] = json!({"error_code": code})
        }
    }
    body
}

impl Provider for Anthropic {
    fn answer(&self, request: &Request) -> Reply {
        let reply = self.route(request).unwrap_or_else(|refused| {
            Reply::json(refused.status, &refused.body(&request_id(request)))
        });
        signed(reply, request)
    }

    fn refuse(&self, request: &Request, failed: &Failed) -> Reply {
        let reply = signed(Reply::json(failed.status, &error(request, failed)), request);
        match failed.status {
            429 => {
                let wait = failed.retry_after.as_deref().unwrap_or("1");
                limits(reply, request, 0).with("retry-after", wait)
            }
            _ => reply,
        }
    }

    fn break_off(&self, request: &Request, failed: &Failed, _sent: u64) -> Bytes {
        // What breaks a stream at Anthropic is overload more often than anything else.
        let failed = Failed {
            code: Some(failed.code.clone().unwrap_or("overloaded_error".into())),
            message: Some(failed.message.clone().unwrap_or("Overloaded".into())),
            ..failed.clone()
        };
        Piece::event("error", &error(request, &failed), 0).bytes
    }
}
