//! Errors as Ollama writes them: the words that clients match on, and the shape of each route.

use bytes::Bytes;

use super::{Operation, displayed};
use crate::wire::json::{escape_into, write_string};

/// 400 for an empty body.
pub const MISSING_BODY: &str = "missing request body";
/// 400 for a request that names no model.
pub const MODEL_REQUIRED: &str = "model is required";
/// 400 for a name that cannot be one.
pub const INVALID_MODEL_NAME: &str = "invalid model name";
/// 503 for a full queue; both spaces are Ollama's.
pub const SERVER_BUSY: &str = "server busy, please try again.  maximum pending requests exceeded";
/// 404 body for an unknown path, as plain text.
pub const PAGE_NOT_FOUND: &str = "404 page not found";
/// 405 body for a known path, as plain text.
pub const METHOD_NOT_ALLOWED: &str = "405 method not allowed";
/// 200 body of `GET /`, as plain text.
pub const RUNNING: &str = "Ollama is running";

/// 400 where streaming is refused by configuration.
pub const STREAMING_REFUSED: &str = "Streaming is not supported by this proxy; use stream=false";
/// 503 when no backend came up within the queue's timeout.
pub const NO_HEALTHY_BACKENDS: &str = "No healthy Ollama backends available within timeout";
/// 503 when no slot came free within the queue's timeout.
pub const QUEUE_TIMEOUT: &str = "Queue timeout waiting for an available backend";
/// 502 when every attempt failed.
pub const ALL_ATTEMPTS_FAILED: &str = "All backend attempts failed";
/// 403 for pull, push, create, copy, delete and blobs while they are off.
pub const MANAGE_REFUSED: &str = "changing models through this gateway is off; \
     set `server: { manage: true }` in its configuration to allow it";
/// The last line of a stream whose backend broke off.
pub const STREAM_BROKEN: &str = "the backend closed the stream before its end";

/// 404 for a model that no server has, in the words of the operation's handler.
pub fn model_not_found(operation: Operation, model: &str) -> String {
    match operation {
        Operation::Embed | Operation::Embeddings | Operation::OpenAiEmbeddings => {
            format!("model {model:?} not found, try pulling it first")
        }
        Operation::Show | Operation::Delete => format!("model '{}' not found", displayed(model)),
        Operation::Copy => format!("model {model:?} not found"),
        _ => format!("model '{model}' not found"),
    }
}

/// `{"error":"…"}`
pub fn error_body(text: &str) -> Bytes {
    let mut body = Vec::with_capacity(text.len() + 16);
    error_object(text, &mut body);
    body.into()
}

/// `{"error":"…"}` and a newline: the last line of a stream that failed.
pub fn error_line(text: &str) -> Bytes {
    let mut line = Vec::with_capacity(text.len() + 16);
    error_object(text, &mut line);
    line.push(b'\n');
    line.into()
}

/// `{"error":"…","detail":"…"}`: clients of the port-range balancer read `detail`.
pub fn error_body_with_detail(text: &str, detail: &str) -> Bytes {
    let mut body = Vec::with_capacity(text.len() + detail.len() + 32);
    body.extend_from_slice(b"{\"error\":");
    write_string(text, &mut body);
    body.extend_from_slice(b",\"detail\":");
    write_string(detail, &mut body);
    body.push(b'}');
    body.into()
}

fn error_object(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":");
    write_string(text, out);
    out.push(b'}');
}

/// The shape in which a route's clients expect errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStyle {
    /// `{"error":"…"}`
    Ollama,
    /// `{"error":{"message","type","param","code"}}`
    OpenAi,
    /// As `OpenAi`, but an event of its own type in a stream.
    OpenAiResponses,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
}

impl ErrorStyle {
    pub fn of(operation: Operation) -> Self {
        use Operation::*;
        match operation {
            OpenAiChat | OpenAiCompletions | OpenAiEmbeddings | OpenAiModels | OpenAiModel
            | OpenAiImages | OpenAiImageEdits | AudioTranscriptions => ErrorStyle::OpenAi,
            OpenAiResponses => ErrorStyle::OpenAiResponses,
            AnthropicMessages | AnthropicCountTokens => ErrorStyle::Anthropic,
            _ => ErrorStyle::Ollama,
        }
    }

    /// Of a path that is no route, or not with this method. `anthropic`: the client says a version of Anthropic's API.
    pub fn of_path(path: &str, anthropic: bool) -> Self {
        // However it is capitalised: nobody serves it so, and the client that asked reads its own format.
        let is = |segment: &str, name: &str| segment.eq_ignore_ascii_case(name);
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let first = segments.clone().next().unwrap_or_default();
        let any = |name: &str| segments.clone().any(|segment| is(segment, name));
        if anthropic || is(first, "anthropic") || any("messages") {
            return ErrorStyle::Anthropic;
        }
        let completes = |(one, next): (&str, &str)| {
            let start = next.get(.."completion".len());
            is(one, "chat") && start.is_some_and(|start| is(start, "completion"))
        };
        let of_openai = is(first, "openai")
            || any("v1")
            || segments
                .clone()
                .zip(segments.clone().skip(1))
                .any(completes);
        match of_openai {
            true => ErrorStyle::OpenAi,
            false => ErrorStyle::Ollama,
        }
    }

    /// The body of an answer with this status.
    pub fn body(self, status: u16, text: &str) -> Bytes {
        self.body_of(&ErrorBody::new(status, text))
    }

    /// As [`Self::body`], with all that the format has a place for.
    pub fn body_of(self, told: &ErrorBody<'_>) -> Bytes {
        let mut body = Vec::with_capacity(told.text.len() + 128);
        self.write(told, &mut body);
        body.into()
    }

    /// What ends a stream that has begun and cannot go on; `status` is what the error would have
    /// been before. `mid_line`: the bytes sent so far stop inside a line or an event.
    pub fn stream_end(self, status: u16, text: &str, mid_line: bool) -> Bytes {
        self.stream_end_of(&ErrorBody::new(status, text), mid_line)
    }

    /// As [`Self::stream_end`], with all that the format has a place for.
    pub fn stream_end_of(self, told: &ErrorBody<'_>, mid_line: bool) -> Bytes {
        let mut end = Vec::with_capacity(told.text.len() + 128);
        let open_event: &[u8] = match self {
            ErrorStyle::Ollama => {
                if mid_line {
                    end.push(b'\n');
                }
                self.write(told, &mut end);
                end.push(b'\n');
                return end.into();
            }
            ErrorStyle::OpenAi => b"data: ",
            ErrorStyle::OpenAiResponses | ErrorStyle::Anthropic => b"event: error\ndata: ",
        };
        if mid_line {
            end.extend_from_slice(b"\n\n");
        }
        end.extend_from_slice(open_event);
        if self == ErrorStyle::OpenAiResponses {
            end.extend_from_slice(b"{\"type\":\"error\",\"code\":");
            write_optional(told.code, &mut end);
            end.extend_from_slice(b",\"message\":");
            write_string(told.text, &mut end);
            end.extend_from_slice(b",\"param\":");
            write_optional(told.param, &mut end);
            end.push(b'}');
        } else {
            self.write(told, &mut end);
        }
        end.extend_from_slice(b"\n\n");
        end.into()
    }

    fn write(self, told: &ErrorBody<'_>, out: &mut Vec<u8>) {
        match self {
            ErrorStyle::Ollama => error_object(told.text, out),
            ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => {
                out.extend_from_slice(b"{\"error\":{\"message\":\"");
                escape_into(told.text, out);
                out.extend_from_slice(b"\",\"type\":\"");
                out.extend_from_slice(openai_type(told.status, told.code).as_bytes());
                out.extend_from_slice(b"\",\"param\":");
                write_optional(told.param, out);
                out.extend_from_slice(b",\"code\":");
                write_optional(told.code, out);
                out.extend_from_slice(b"}}");
            }
            ErrorStyle::Anthropic => {
                out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":\"");
                out.extend_from_slice(anthropic_type(told.status).as_bytes());
                out.extend_from_slice(b"\",\"message\":\"");
                escape_into(told.text, out);
                out.extend_from_slice(b"\"}");
                if let Some(id) = told.request_id {
                    out.extend_from_slice(b",\"request_id\":");
                    write_string(id, out);
                }
                out.push(b'}');
            }
        }
    }
}

/// An error as it is to be told. The formats have places for parts of it.
#[derive(Clone, Copy, Debug)]
pub struct ErrorBody<'a> {
    pub status: u16,
    pub text: &'a str,
    /// OpenAI's.
    pub code: Option<&'a str>,
    /// OpenAI's: the field that is wrong.
    pub param: Option<&'a str>,
    /// Anthropic's, of whole answers.
    pub request_id: Option<&'a str>,
}

impl<'a> ErrorBody<'a> {
    pub fn new(status: u16, text: &'a str) -> Self {
        ErrorBody {
            status,
            text,
            code: None,
            param: None,
            request_id: None,
        }
    }
}

fn write_optional(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// The types that Ollama's OpenAI routes use, and OpenAI's own where Ollama has no such error.
fn openai_type(status: u16, code: Option<&str>) -> &'static str {
    match status {
        429 if code == Some("insufficient_quota") => "insufficient_quota",
        404 => "not_found_error",
        429 => "api_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The types that Anthropic documents for its statuses.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const TEXT: &str = "no \"<model>\" & more";

    #[test]
    fn plain_errors_are_written_as_go_writes_them() {
        assert_eq!(error_body("a <b>"), r#"{"error":"a \u003cb\u003e"}"#);
        assert_eq!(error_line("a"), "{\"error\":\"a\"}\n");
        assert_eq!(
            error_body_with_detail("a: \"b\"", "a\n"),
            r#"{"error":"a: \"b\"","detail":"a\n"}"#
        );
    }

    #[test]
    fn missing_models_are_told_in_the_words_of_each_handler() {
        for operation in [Operation::Generate, Operation::Chat, Operation::OpenAiChat] {
            assert_eq!(model_not_found(operation, "x"), "model 'x' not found");
        }
        for operation in [Operation::Show, Operation::Delete] {
            assert_eq!(
                model_not_found(operation, "x"),
                "model 'x:latest' not found"
            );
        }
        assert_eq!(
            model_not_found(Operation::Copy, "x"),
            "model \"x\" not found"
        );
        for operation in [
            Operation::Embed,
            Operation::Embeddings,
            Operation::OpenAiEmbeddings,
        ] {
            assert_eq!(
                model_not_found(operation, "x"),
                "model \"x\" not found, try pulling it first"
            );
        }
    }

    #[test]
    fn each_style_has_its_shape() {
        for (style, expected) in [
            (ErrorStyle::Ollama, json!({"error": TEXT})),
            (
                ErrorStyle::OpenAi,
                json!({"error": {"message": TEXT, "type": "not_found_error", "param": null, "code": null}}),
            ),
            (
                ErrorStyle::OpenAiResponses,
                json!({"error": {"message": TEXT, "type": "not_found_error", "param": null, "code": null}}),
            ),
            (
                ErrorStyle::Anthropic,
                json!({"type": "error", "error": {"type": "not_found_error", "message": TEXT}}),
            ),
        ] {
            let body: Value = serde_json::from_slice(&style.body(404, TEXT)).unwrap();
            assert_eq!(body, expected, "{style:?}");
        }
    }

    #[test]
    fn unknown_paths_have_the_style_of_their_api() {
        for (path, style) in [
            ("/v1", ErrorStyle::OpenAi),
            ("/v1/chat", ErrorStyle::OpenAi),
            ("//v1/nothing", ErrorStyle::OpenAi),
            ("/openai/deployments/x/chat/completions", ErrorStyle::OpenAi),
            ("/api/v1/nothing", ErrorStyle::OpenAi),
            ("/V1/Chat/Completions", ErrorStyle::OpenAi),
            ("/V1", ErrorStyle::OpenAi),
            ("/Chat/Completions", ErrorStyle::OpenAi),
            ("/chat/complete", ErrorStyle::Ollama),
            ("/V1/Messages", ErrorStyle::Anthropic),
            ("/Anthropic/V1/x", ErrorStyle::Anthropic),
            ("/v1/messages/batches", ErrorStyle::Anthropic),
            ("/anthropic/v1/complete", ErrorStyle::Anthropic),
            ("/api/nothing", ErrorStyle::Ollama),
            ("/", ErrorStyle::Ollama),
            ("/v1x", ErrorStyle::Ollama),
        ] {
            assert_eq!(ErrorStyle::of_path(path, false), style, "{path}");
            assert_eq!(ErrorStyle::of_path(path, true), ErrorStyle::Anthropic);
        }
    }

    #[test]
    fn statuses_have_the_types_that_clients_know() {
        let kind = |style: ErrorStyle, status| -> String {
            let body: Value = serde_json::from_slice(&style.body(status, "x")).unwrap();
            body["error"]["type"].as_str().unwrap().to_owned()
        };
        assert_eq!(kind(ErrorStyle::OpenAi, 400), "invalid_request_error");
        assert_eq!(kind(ErrorStyle::OpenAi, 503), "api_error");
        assert_eq!(kind(ErrorStyle::Anthropic, 503), "overloaded_error");
        assert_eq!(kind(ErrorStyle::Anthropic, 413), "request_too_large");
        assert_eq!(kind(ErrorStyle::Anthropic, 502), "api_error");
    }
}
