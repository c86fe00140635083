//! From a request to its route, through the faults that hit it.

use std::convert::Infallible;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};

use super::body::{Body, collect};
use super::fault::At;
use super::fleet::Fleet;
use super::link::Wire;
use super::origin::Page;
use super::percent::decoded;
use super::reply::{Refusal, Reply, method_not_allowed, ok, text, with_type};
use super::sabotage::{go_wrong, hold_back};
use super::seat::Visitor;
use super::server::{Front, Server};
use super::strike::Status;
use super::{control, embed, listing, manage, messages, native, openai, provider, responses};

/// The version that the wire format is that of.
const VERSION: &str = "0.33.0";

/// Returns what answers at every server of `fleet`: its own routes, and the control routes of the whole fleet.
pub(super) fn front(fleet: Weak<Fleet>) -> Front {
    Arc::new(move |server, wire, request| Box::pin(answer(fleet.clone(), server, wire, request)))
}

/// Answers one request to a simulated server.
async fn answer(
    fleet: Weak<Fleet>,
    server: Arc<Server>,
    wire: Wire,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    wire.disarm();
    let (head, body) = request.into_parts();
    let Some(body) = collect(body).await else {
        return Ok(Refusal::bad("unexpected EOF").reply());
    };
    let (method, path) = (head.method.clone(), head.uri.path().to_owned());
    if let (Some(provider), false) = (&server.provider, path.starts_with("/sim/")) {
        let provider = provider.clone();
        return Ok(provider::serve::answer(provider, server, wire, head, body).await);
    }
    if path.starts_with("/sim/") {
        let port = server.address.port();
        return Ok(match fleet.upgrade() {
            Some(fleet) => control::answer(&fleet, Some(port), &method, head.uri, &body).await,
            None => not_found(),
        });
    }
    let page = Page::of(&head.headers);
    server
        .counters
        .saw(route(&method, &path), head, body.clone());
    let strike = server.faults.strike(&path);
    go_wrong(&wire, &strike).await;
    if let Some(status) = &strike.status {
        return Ok(error_status(status));
    }
    let answer = page
        .as_ref()
        .and_then(|page| page.answer(&method, allowed(&path)));
    if let Some(reply) = answer {
        return Ok(reply);
    }
    let pause = strike.stall(At::Body);
    let cut = strike.cut.filter(|(at, _)| *at == At::Body);
    let in_body = wire.clone();
    let visitor = Visitor {
        server,
        wire,
        path: path.clone(),
        strike,
    };
    let mut reply = dispatch(visitor, &method, &path, &body).await;
    if let Some(page) = &page {
        page.allow(&mut reply);
    }
    Ok(match (pause, cut) {
        (None, None) => reply,
        (pause, cut) => {
            let cut = cut.map(|(_, reset)| (in_body, reset));
            hold_back(reply, pause.unwrap_or_default(), cut)
        }
    })
}

/// The name that a request is counted by: paths that Ollama does not have are all one.
fn route(method: &Method, path: &str) -> String {
    let shape = match path {
        _ if path.starts_with("/api/blobs/") => "/api/blobs/:digest",
        _ if path.starts_with("/v1/models/") => "/v1/models/:model",
        _ if PATHS.contains(&path) => path,
        _ => return "other".into(),
    };
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::DELETE => format!("{method} {shape}"),
        _ => "other".into(),
    }
}

const PATHS: [&str; 20] = [
    "/",
    "/api/version",
    "/api/tags",
    "/api/ps",
    "/api/show",
    "/api/generate",
    "/api/chat",
    "/api/embed",
    "/api/embeddings",
    "/api/pull",
    "/api/push",
    "/api/create",
    "/api/copy",
    "/api/delete",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/models",
    "/v1/responses",
];

/// The methods of a path of Ollama's.
fn allowed(path: &str) -> Option<&'static str> {
    match path {
        "/" | "/api/version" | "/api/tags" => Some("GET, HEAD"),
        "/api/ps" | "/v1/models" => Some("GET"),
        "/api/delete" => Some("DELETE"),
        _ if path.starts_with("/api/blobs/") => Some("HEAD, POST"),
        _ if path.starts_with("/v1/models/") => Some("GET"),
        _ => PATHS.contains(&path).then_some("POST"),
    }
}

fn error_status(status: &Status) -> Reply {
    let code = StatusCode::from_u16(status.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = code.canonical_reason().unwrap_or("error").to_lowercase();
    let mut reply = match &status.body {
        None => Refusal::new(code, status.failure.message.clone().unwrap_or(reason)).reply(),
        Some(body) => with_type(
            code,
            "application/json; charset=utf-8",
            Body::whole(body.clone()),
        ),
    };
    let retry_after = status.retry_after.as_deref();
    if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(value).ok()) {
        reply.headers_mut().insert(RETRY_AFTER, value);
    }
    reply
}

async fn dispatch(visitor: Visitor, method: &Method, path: &str, body: &Bytes) -> Reply {
    let server = visitor.server.clone();
    let get = *method == Method::GET;
    let get_or_head = get || *method == Method::HEAD;
    let post = *method == Method::POST;
    if let Some(digest) = path.strip_prefix("/api/blobs/") {
        return match *method {
            Method::HEAD => manage::has_blob(&server, digest),
            Method::POST => native_reply(manage::put_blob(&server, digest, body)),
            _ => method_not_allowed("HEAD, POST"),
        };
    }
    match path {
        "/" | "/api/version" | "/api/tags" if !get_or_head => method_not_allowed("GET, HEAD"),
        "/" => with_type(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            Body::whole("Ollama is running"),
        ),
        "/api/version" => ok(&serde_json::json!({ "version": VERSION })),
        "/api/tags" => listing::tags(&server),
        "/api/ps" | "/v1/models" if !get => method_not_allowed("GET"),
        "/api/ps" => listing::ps(&server).await,
        "/v1/models" => openai::models(&server),
        "/api/delete" if *method != Method::DELETE => method_not_allowed("DELETE"),
        "/api/delete" => native_reply(manage::delete(&server, body)),
        _ => match path.strip_prefix("/v1/models/") {
            Some(_) if !get => method_not_allowed("GET"),
            Some(model) => openai_reply(openai::model(&server, &decoded(model))),
            None if !PATHS.contains(&path) => not_found(),
            None if !post => method_not_allowed("POST"),
            None => run(visitor, path, body).await,
        },
    }
}

/// The routes that take a POST.
async fn run(visitor: Visitor, path: &str, body: &Bytes) -> Reply {
    let server = visitor.server.clone();
    match path {
        "/api/show" => native_reply(listing::show(&server, body)),
        "/api/generate" => native_reply(native::generate(visitor, body).await),
        "/api/chat" => native_reply(native::chat(visitor, body).await),
        "/api/embed" => native_reply(embed::embed(visitor, body).await),
        "/api/embeddings" => native_reply(embed::legacy(visitor, body).await),
        "/api/pull" => work_reply(manage::pull(&server, body)).await,
        "/api/push" => work_reply(manage::push(&server, body)).await,
        "/api/create" => work_reply(manage::create(&server, body)).await,
        "/api/copy" => native_reply(manage::copy(&server, body)),
        "/v1/chat/completions" => openai_reply(openai::chat(visitor, body).await),
        "/v1/completions" => openai_reply(openai::completions(visitor, body).await),
        "/v1/embeddings" => openai_reply(openai::embeddings(visitor, body).await),
        "/v1/responses" => openai_reply(responses::responses(visitor, body).await),
        "/v1/messages" => {
            let answered = messages::messages(visitor, body).await;
            answered.unwrap_or_else(|refusal| messages::refuse(&refusal))
        }
        _ => not_found(),
    }
}

fn native_reply(result: Result<Reply, Refusal>) -> Reply {
    result.unwrap_or_else(|refusal| refusal.reply())
}

fn openai_reply(result: Result<Reply, Refusal>) -> Reply {
    result.unwrap_or_else(|refusal| openai::refuse(&refusal))
}

async fn work_reply(work: Result<manage::Work, Refusal>) -> Reply {
    native_reply(match work {
        Ok(work) => work.reply().await,
        Err(refusal) => Err(refusal),
    })
}

fn not_found() -> Reply {
    text(StatusCode::NOT_FOUND, "404 page not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_paths_count_as_one() {
        assert_eq!(route(&Method::GET, "/nowhere"), "other");
        assert_eq!(route(&Method::POST, "/api/chat"), "POST /api/chat");
        assert_eq!(
            route(&Method::HEAD, "/api/blobs/x"),
            "HEAD /api/blobs/:digest"
        );
    }
}
