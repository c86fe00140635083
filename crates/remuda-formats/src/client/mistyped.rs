//! Paths as people mistype them, most of all by a base URL that has too much or too little: where the meaning is plain,
//! the route that is meant. What changes models, and pages about the gateway, are reached by their own paths alone.

use std::borrow::Cow;

use super::route::is_known;

/// What base URLs of other servers end in.
const MOUNTS: [&str; 5] = ["v1", "api", "openai", "anthropic", "ollama"];

/// Ollama's own routes, as they stand behind `/api/`.
const OLLAMA: [&str; 8] = [
    "chat",
    "generate",
    "embed",
    "embeddings",
    "tags",
    "ps",
    "show",
    "version",
];

/// OpenAI's and Anthropic's routes, as they stand behind `/v1/`.
const V1: [&str; 10] = [
    "chat/completions",
    "completions",
    "responses",
    "embeddings",
    "models",
    "messages",
    "messages/count_tokens",
    "images/generations",
    "images/edits",
    "audio/transcriptions",
];

/// What people give as a base URL although it is a whole address.
const WHOLE: [&str; 7] = [
    "chat/completions/",
    "completions/",
    "responses/",
    "embeddings/",
    "messages/",
    "chat/",
    "generate/",
];

/// Pieces that are taken from a path's beginning at most.
const MOST: usize = 4;

/// Returns the route that a path means; `None` for one that is a route itself, or means none.
pub fn meant(path: &str) -> Option<String> {
    if is_known(path) {
        return None;
    }
    let tidy = tidy(path);
    if is_known(&tidy) {
        // As Ollama's router: one slash more at the end.
        let own = path.strip_suffix('/') == Some(&*tidy);
        return (own || !changes_models(&tidy)).then(|| tidy.into_owned());
    }
    let (mut mount, mut rest) = ("", tidy.strip_prefix('/')?);
    for _ in 0..=MOST {
        if let Some(found) = routed(mount, rest) {
            return Some(found);
        }
        (mount, rest) = without_first(rest)?;
    }
    None
}

/// Returns whether it is one of Ollama's own routes that do more than ask: those are all that is known behind `/api/`
/// besides.
fn changes_models(route: &str) -> bool {
    route
        .strip_prefix("/api/")
        .is_some_and(|rest| !OLLAMA.contains(&rest))
}

/// Returns the path without slashes that say nothing: several in a row, and those at the end.
fn tidy(path: &str) -> Cow<'_, str> {
    let end = path.trim_end_matches('/');
    if !end.contains("//") {
        return match end {
            "" => "/".into(),
            end => end.into(),
        };
    }
    let mut tidy = String::with_capacity(end.len());
    for segment in end.split('/').filter(|segment| !segment.is_empty()) {
        tidy.push('/');
        tidy.push_str(segment);
    }
    tidy.into()
}

/// Returns the route behind `mount` that `rest` is.
fn routed(mount: &str, rest: &str) -> Option<String> {
    if mount == "api" && OLLAMA.contains(&rest) {
        return Some(format!("/api/{rest}"));
    }
    let rest = match rest {
        "chat/completion" => "chat/completions",
        "message" => "messages",
        // Without `/v1`, other servers have routes of their own by these names.
        "completion" | "response" | "embedding" | "model" if mount == "v1" => {
            return Some(format!("/v1/{rest}s"));
        }
        rest => rest,
    };
    let is_model = || {
        rest.strip_prefix("models/")
            .is_some_and(|model| !model.is_empty())
    };
    (V1.contains(&rest) || is_model()).then(|| format!("/v1/{rest}"))
}

/// Returns what a path begins with although its base URL should have had it, or not; and the rest.
fn without_first(path: &str) -> Option<(&str, &str)> {
    if let Some((first, rest)) = path.split_once('/')
        && MOUNTS.contains(&first)
    {
        return Some((first, rest));
    }
    let rest = WHOLE.iter().find_map(|whole| path.strip_prefix(whole))?;
    Some(("", rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_mistakes_lead_to_what_is_meant() {
        for (path, route) in [
            ("/chat/completions", "/v1/chat/completions"),
            ("/completions", "/v1/completions"),
            ("/embeddings", "/v1/embeddings"),
            ("/responses", "/v1/responses"),
            ("/models", "/v1/models"),
            ("/models/hf.co/org/m:Q4", "/v1/models/hf.co/org/m:Q4"),
            ("/messages", "/v1/messages"),
            ("/messages/count_tokens", "/v1/messages/count_tokens"),
            ("/v1/v1/messages", "/v1/messages"),
            ("/v1/v1/models/a/b", "/v1/models/a/b"),
            ("/api/v1/chat/completions", "/v1/chat/completions"),
            ("/api/v1/embeddings", "/v1/embeddings"),
            ("/v1/api/chat", "/api/chat"),
            ("/v1/api/embeddings", "/api/embeddings"),
            ("/v1/api/tags", "/api/tags"),
            ("/api/api/generate", "/api/generate"),
            ("/api/chat/completions", "/v1/chat/completions"),
            ("/api/models", "/v1/models"),
            ("/openai/v1/chat/completions", "/v1/chat/completions"),
            ("/openai/chat/completions", "/v1/chat/completions"),
            ("/anthropic/v1/messages", "/v1/messages"),
            ("/ollama/api/chat", "/api/chat"),
            ("/v1/chat/completion", "/v1/chat/completions"),
            ("/v1/embedding", "/v1/embeddings"),
            ("/v1/completion/", "/v1/completions"),
            ("/v1/model", "/v1/models"),
            ("/api/v1/response", "/v1/responses"),
            (
                "/v1/chat/completions/chat/completions",
                "/v1/chat/completions",
            ),
            ("/v1/messages/v1/messages", "/v1/messages"),
            ("/v1/chat/completions/models", "/v1/models"),
            ("/api/chat/api/chat", "/api/chat"),
            ("/api/generate/api/tags", "/api/tags"),
            ("/api/tags/", "/api/tags"),
            ("/api/pull/", "/api/pull"),
            ("/v1/chat/completions/", "/v1/chat/completions"),
            ("//api//chat///", "/api/chat"),
            ("/v1//v1/messages/", "/v1/messages"),
            ("/v1/models/", "/v1/models"),
            ("/v1/models//", "/v1/models"),
            ("//", "/"),
        ] {
            assert_eq!(meant(path).as_deref(), Some(route), "{path}");
        }
    }

    #[test]
    fn routes_stay_and_what_is_not_plain_means_nothing() {
        for path in [
            "/",
            "/api/chat",
            "/v1/models",
            "/v1/models/v1/models",
            "/api/embeddings",
            "*",
            "chat/completions",
            "/chat",
            "/v1/chat",
            "/generate",
            "/completion",
            "/embedding",
            "/api/embedding",
            "/v1/model/x",
            "/v1/metrics",
            "/v1/health",
            "//metrics",
            "/v1/api/pull",
            "//api/pull",
            "/api//pull",
            "/api/pull//",
            "//api/push",
            "//api/create",
            "/api//copy/",
            "//api/delete",
            "//api/blobs/sha256:00",
            "/api/api/delete",
            "/ollama/api/blobs/x",
            "/v1/__proxy/backends",
            "/v1/../api/chat",
            "/v1/%2e%2e/api/chat",
            "/v1/./chat/completions",
            "/v1%2Fchat%2Fcompletions",
            "/V1/chat/completions",
            "/v1/responses/resp_1",
            "/v1/messages/batches",
            "/v1/v1/v1/v1/v1/v1/v1/messages",
            "/openai/deployments/x/chat/completions",
        ] {
            assert_eq!(meant(path), None, "{path}");
        }
    }

    #[test]
    fn long_paths_are_read_in_one_go() {
        for path in [
            "/".repeat(60_000),
            "/v1".repeat(20_000),
            "/v1/models/".to_owned() + &"a/".repeat(30_000),
        ] {
            let _ = meant(&path);
        }
    }
}
