//! Which operation a method and a path ask for: Ollama's own table, exact paths.
//!
//! Ollama's router redirects `/api/tags/` to `/api/tags`; here such a path is one that was mistyped (`mistyped.rs`).
//! Account and cloud routes (`/api/me`, `/api/experimental/…`) belong to one server's sign-in, not
//! to a fleet, and are not found either.

use http::Method;

use super::Operation;

/// One row: a path, or a prefix that an argument follows.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    /// Whether `path` ends in `/` and something follows: a segment, or a model's name, which may have slashes as it is
    /// listed with them.
    pub segment: bool,
    pub operation: Operation,
}

/// Why a request has no operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    #[error("404 page not found")]
    NotFound,
    #[error("405 method not allowed")]
    MethodNotAllowed {
        /// The methods for the `Allow` header, such as `GET, HEAD`.
        allow: &'static str,
    },
}

const fn exact(method: Method, path: &'static str, operation: Operation) -> Route {
    Route {
        method,
        path,
        segment: false,
        operation,
    }
}

const fn segment(method: Method, path: &'static str, operation: Operation) -> Route {
    Route {
        method,
        path,
        segment: true,
        operation,
    }
}

/// Every route, the busiest first.
pub static ROUTES: &[Route] = &[
    exact(Method::POST, "/api/chat", Operation::Chat),
    exact(Method::POST, "/api/generate", Operation::Generate),
    exact(Method::POST, "/v1/chat/completions", Operation::OpenAiChat),
    exact(Method::POST, "/v1/messages", Operation::AnthropicMessages),
    exact(Method::POST, "/v1/responses", Operation::OpenAiResponses),
    exact(
        Method::POST,
        "/v1/messages/count_tokens",
        Operation::AnthropicCountTokens,
    ),
    exact(Method::POST, "/api/embed", Operation::Embed),
    exact(Method::POST, "/api/embeddings", Operation::Embeddings),
    exact(Method::POST, "/v1/embeddings", Operation::OpenAiEmbeddings),
    exact(
        Method::POST,
        "/v1/completions",
        Operation::OpenAiCompletions,
    ),
    exact(
        Method::POST,
        "/v1/audio/transcriptions",
        Operation::AudioTranscriptions,
    ),
    exact(
        Method::POST,
        "/v1/images/generations",
        Operation::OpenAiImages,
    ),
    exact(
        Method::POST,
        "/v1/images/edits",
        Operation::OpenAiImageEdits,
    ),
    exact(Method::GET, "/api/tags", Operation::Tags),
    exact(Method::HEAD, "/api/tags", Operation::Tags),
    exact(Method::GET, "/api/ps", Operation::Ps),
    exact(Method::POST, "/api/show", Operation::Show),
    exact(Method::GET, "/api/version", Operation::Version),
    exact(Method::HEAD, "/api/version", Operation::Version),
    exact(Method::GET, "/", Operation::Root),
    exact(Method::HEAD, "/", Operation::Root),
    exact(Method::GET, "/v1/models", Operation::OpenAiModels),
    segment(Method::GET, "/v1/models/", Operation::OpenAiModel),
    exact(Method::POST, "/api/pull", Operation::Pull),
    exact(Method::POST, "/api/push", Operation::Push),
    exact(Method::POST, "/api/create", Operation::Create),
    exact(Method::POST, "/api/copy", Operation::Copy),
    exact(Method::DELETE, "/api/delete", Operation::Delete),
    segment(Method::HEAD, "/api/blobs/", Operation::BlobHead),
    segment(Method::POST, "/api/blobs/", Operation::BlobPost),
];

/// Finds the operation for a request; `path` is without its query.
pub fn route(method: &Method, path: &str) -> Result<Operation, Miss> {
    let mut other_method = None;
    for route in ROUTES.iter().filter(|route| route.matches(path)) {
        if route.method == *method {
            return Ok(route.operation);
        }
        other_method = Some(&route.method);
    }
    match other_method {
        None => Err(Miss::NotFound),
        Some(last) => Err(Miss::MethodNotAllowed {
            allow: allowed(path, last),
        }),
    }
}

/// Returns whether some method has an operation at `path`.
pub(super) fn is_known(path: &str) -> bool {
    ROUTES.iter().any(|route| route.matches(path))
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        if !self.segment {
            return self.path == path;
        }
        let slashes = self.operation == Operation::OpenAiModel;
        path.strip_prefix(self.path).is_some_and(|argument| {
            !matches!(argument.as_bytes(), [] | [b'/', ..] | [.., b'/'])
                && (slashes || !argument.contains('/'))
        })
    }
}

/// Returns the methods of a path that is in the table; `last` is the one of its last row.
fn allowed(path: &str, last: &Method) -> &'static str {
    match *last {
        Method::HEAD => "GET, HEAD",
        Method::POST if path.starts_with("/api/blobs/") => "HEAD, POST",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "GET",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(route: &Route) -> String {
        let argument = if route.segment { "x:y" } else { "" };
        format!("{}{argument}", route.path)
    }

    #[test]
    fn every_row_is_found_and_labelled_by_its_path() {
        for row in ROUTES {
            let path = sample(row);
            assert_eq!(route(&row.method, &path), Ok(row.operation), "{path}");
            let label = row.operation.name();
            if row.segment {
                assert!(label.starts_with(row.path) && label.contains(':'));
                assert_eq!(row.operation.argument(&path), Some("x:y"));
            } else {
                assert_eq!(label, row.path);
                assert_eq!(row.operation.argument(&path), None);
            }
        }
    }

    #[test]
    fn other_methods_are_refused_with_exactly_those_that_work() {
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
        ];
        for row in ROUTES {
            let path = sample(row);
            let (right, wrong): (Vec<_>, Vec<_>) = methods
                .iter()
                .partition(|method| route(method, &path).is_ok());
            let right: Vec<_> = right.iter().map(|method| method.as_str()).collect();
            for method in wrong {
                let miss = route(method, &path).unwrap_err();
                let Miss::MethodNotAllowed { allow } = miss else {
                    panic!("{path}: {miss}")
                };
                assert_eq!(allow.split(", ").collect::<Vec<_>>(), right, "{path}");
            }
        }
    }

    #[test]
    fn a_models_name_may_have_slashes() {
        for path in ["/v1/models/vllm/qwen3.5-9b", "/v1/models/hf.co/org/m:Q4"] {
            let found = route(&Method::GET, path);
            assert_eq!(found, Ok(Operation::OpenAiModel), "{path}");
        }
    }

    #[test]
    fn near_misses_are_not_found() {
        for path in [
            "",
            "/api",
            "/api/",
            "/api/tags/",
            "/API/tags",
            "/api/chat/x",
            "//",
            "/v1/models/",
            "/v1/models//b",
            "/v1/models/a/",
            "/api/blobs/a/b",
            "/api/blobs/",
            "/api/blobs",
            "/api/me",
            "/api/signout",
            "/api/status",
            "/api/user/keys/k",
            "/api/experimental/web_search",
            "api/tags",
        ] {
            assert_eq!(route(&Method::GET, path), Err(Miss::NotFound), "{path}");
        }
    }
}
