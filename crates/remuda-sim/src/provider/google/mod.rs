//! A simulated Google: the Gemini API with its checks, its streams, and its errors.
//!
//! What a user says steers it: `BLOCK` has the prompt blocked, `FILTER` stops the answer, `CONTINUE` breaks it off to
//! be continued, and `CACHED` makes half of the prompt count as cached.

mod answer;
mod check;
mod config;
mod contents;
mod continuation;
mod embed;
mod failure;
mod fields;
mod models;
mod prompt;
mod refused;
mod schema;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::super::percent::decoded;
use super::exchange::{Failed, Piece, Reply, Request};
use super::mind;
use super::{Provider, World};
use answer::Answer;
use failure::{error, failure, is_sse};
use fields::Fields;
use models::Model;
use refused::{Refused, pretty};

/// The simulated Gemini API.
pub(super) struct Google {
    world: World,
}

impl Google {
    pub(super) fn new(world: World) -> Self {
        Self { world }
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
        let path = request.path.as_str();
        let Some(rest) = path
            .strip_prefix("/v1beta/models")
            .or_else(|| path.strip_prefix("/v1/models"))
        else {
            return Ok(no_such_page(path));
        };
        self.authenticate(request)?;
        // A slash within a model's name is one of the path: there is no such page.
        let name = rest.strip_prefix('/').unwrap_or(rest);
        if name.contains('/') {
            return Ok(no_such_page(path));
        }
        match (&request.method, name.split_once(':')) {
            (&Method::GET, None) if rest.is_empty() => self.list(request),
            (&Method::GET, None) => Ok(page(&self.model(&decoded(name))?.show())),
            (&Method::POST, Some((model, method))) => self.run(request, &decoded(model), method),
            _ => Ok(no_such_page(path)),
        }
    }

    fn authenticate(&self, request: &Request) -> Result<(), Refused> {
        let key = match request.header("x-goog-api-key") {
            "" => request.parameter("key").unwrap_or_default(),
            key => key.to_owned(),
        };
        if key.is_empty() {
            return Err(Refused::new(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). Please use API \
                 Key or other form of API consumer identity to call this API.",
            ));
        }
        if key == self.world.setup.api_key {
            Ok(())
        } else {
            let message = "API key not valid. Please pass a valid API key.";
            Err(Refused::invalid(message).because("API_KEY_INVALID"))
        }
    }

    fn model<'a>(&self, name: &'a str) -> Result<Model<'a>, Refused> {
        if !self.world.lists(name) {
            return Err(Refused::new(
                404,
                format!("Model is not found: models/{name} for api version v1beta"),
            ));
        }
        Ok(models::find(name).copied().unwrap_or(Model::unknown(name)))
    }

    fn run(&self, request: &Request, name: &str, method: &str) -> Result<Reply, Refused> {
        let found = self.model(name).ok().filter(|model| model.can(method));
        let Some(model) = found else {
            return Err(Refused::new(
                404,
                format!(
                    "models/{name} is not found for API version v1beta, or is not supported for {method}. Call \
                     ListModels to see the list of available models and their supported methods."
                ),
            ));
        };
        let body = body(request)?;
        match method {
            "generateContent" | "streamGenerateContent" => {
                self.generate(request, model, &body, method == "streamGenerateContent")
            }
            "countTokens" => count_tokens(&body, &model),
            "embedContent" => embedded(embed::one(&body, &model)?),
            _ => embedded(embed::batch(&body, &model)?),
        }
    }

    fn generate(
        &self,
        request: &Request,
        model: Model,
        body: &Value,
        streams: bool,
    ) -> Result<Reply, Refused> {
        let checked = check::check(body, &model)?;
        let prompt_tokens = prompt_tokens(body, &checked);
        if prompt_tokens > model.input_limit {
            return Err(Refused::invalid(format!(
                "The input token count ({prompt_tokens}) exceeds the maximum number of tokens allowed ({}).",
                model.input_limit
            )));
        }
        let prompt = checked.prompt(model.id, &self.world);
        if prompt.is_blocked() {
            let blocked = answer::blocked(request, &model, prompt_tokens);
            let reply = match (streams, is_sse(request)) {
                (false, _) => page(&blocked),
                (true, true) => sse(vec![Piece::new(format!("data: {blocked}\r\n\r\n"), 0)]),
                (true, false) => array(vec![Piece::new(format!("[{blocked:#}]\r\n"), 0)]),
            };
            return Ok(reply.after(prompt_tokens, 0));
        }
        let answer = Answer::new(
            request,
            model,
            &checked,
            &prompt.said,
            prompt.think(),
            prompt_tokens,
        );
        let reply = match (streams, is_sse(request)) {
            (false, _) => page(&answer.whole()),
            (true, true) => sse(answer.events()),
            (true, false) => array(answer.array()),
        };
        Ok(reply.after(prompt_tokens, answer.tokens()))
    }

    fn list(&self, request: &Request) -> Result<Reply, Refused> {
        let size = match request
            .parameter("pageSize")
            .map(|size| size.parse::<usize>())
        {
            None | Some(Ok(0)) => 50,
            Some(Ok(size)) => size.min(1_000),
            Some(Err(_)) => {
                return Err(Refused::payload(
                    "page_size",
                    "Invalid value at 'page_size' (TYPE_INT32)".into(),
                ));
            }
        };
        let ids = &self.world.setup.models;
        let begin = match request
            .parameter("pageToken")
            .filter(|token| !token.is_empty())
        {
            None => 0,
            Some(token) => ids
                .iter()
                .position(|id| *id == token)
                .ok_or_else(|| Refused::invalid("Invalid page token."))?,
        };
        let shown = ids[begin..].iter().take(size);
        let models = shown
            .map(|id| self.model(id).map(|model| model.show()))
            .collect::<Result<Vec<Value>, Refused>>()?;
        let mut list = json!({ "models": models });
        if let Some(next) = ids.get(begin + size) {
            list["nextPageToken"] = next.as_str().into();
        }
        Ok(page(&list))
    }
}

fn body(request: &Request) -> Result<Value, Refused> {
    serde_json::from_slice(&request.body)
        .map_err(|error| Refused::invalid(format!("Invalid JSON payload received. {error}")))
}

/// Text at four bytes a token; an image is 258.
fn prompt_tokens(body: &Value, checked: &check::Checked) -> u64 {
    let turns = checked.system.iter().chain(&checked.turns);
    let parts = turns.flat_map(|turn| &turn.parts);
    let said: u64 = parts
        .map(|part| match part {
            contents::Part::Text(text) => mind::tokens(text),
            contents::Part::Image => 258,
            contents::Part::Response { response, .. } => mind::tokens(&response.to_string()),
            contents::Part::Call { name, .. } => mind::tokens(name),
            contents::Part::Thought | contents::Part::Other => 1,
        })
        .sum();
    let tools = body
        .get("tools")
        .map_or(0, |tools| mind::tokens(&tools.to_string()));
    1 + said + tools
}

fn count_tokens(body: &Value, model: &Model) -> Result<Reply, Refused> {
    let fields = Fields::root(body)?;
    fields.only(&["contents", "generateContentRequest"])?;
    let inner = fields.get("generateContentRequest");
    if inner.is_some() && fields.has("contents") {
        return Err(Refused::invalid(
            "Only one of contents and generate_content_request may be set.",
        ));
    }
    let named = inner.map(|inner| inner["model"].as_str().unwrap_or_default());
    if named.is_some_and(|named| named.strip_prefix("models/") != Some(model.id)) {
        return Err(Refused::invalid(
            "* CountTokensRequest.generate_content_request.model: unexpected model name format\n",
        ));
    }
    let inner = inner.unwrap_or(body);
    let checked = check::check(inner, model)?;
    let tokens = prompt_tokens(inner, &checked);
    Ok(page(&json!({
        "totalTokens": tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}],
    })))
}

fn embedded((value, tokens): (Value, u64)) -> Result<Reply, Refused> {
    Ok(page(&value).after(tokens, 0))
}

fn page(value: &Value) -> Reply {
    Reply::whole(200, "application/json; charset=UTF-8", pretty(value))
}

fn sse(pieces: Vec<Piece>) -> Reply {
    Reply::stream("text/event-stream", pieces)
}

fn array(pieces: Vec<Piece>) -> Reply {
    Reply::stream("application/json; charset=UTF-8", pieces)
}

/// Returns what Google's front end says of paths that it does not know.
fn no_such_page(path: &str) -> Reply {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n<p><b>404.</b> <ins>That’s an \
         error.</ins>\n<p>The requested URL <code>{}</code> was not found on this server.\n",
        path.replace('<', "&lt;")
    );
    Reply::whole(404, "text/html; charset=UTF-8", page)
}

impl Provider for Google {
    fn answer(&self, request: &Request) -> Reply {
        self.route(request)
            .unwrap_or_else(|refused| error(request, &refused))
    }

    /// Google says it in the details of the error.
    fn says_retry_after(&self) -> bool {
        false
    }

    fn refuse(&self, request: &Request, failed: &Failed) -> Reply {
        error(request, &failure(failed))
    }

    /// In the middle of events an error arrives as bare lines of JSON; in an array it is the last element.
    fn break_off(&self, request: &Request, failed: &Failed, sent: u64) -> Bytes {
        let overloaded = Failed {
            status: match failed.status {
                500 => 503,
                status => status,
            },
            ..failed.clone()
        };
        let text = pretty(&failure(&overloaded).value());
        match (is_sse(request), sent) {
            (true, _) => text.into(),
            (false, 0) => format!("[{text}]\r\n").into(),
            (false, _) => format!(",\r\n{text}]\r\n").into(),
        }
    }
}
