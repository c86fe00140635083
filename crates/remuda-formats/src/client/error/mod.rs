//! The shape in which the clients of each API expect an error, as an answer and at the end of a stream.

use bytes::Bytes;

use super::Operation;

mod anthropic;
mod form;
mod ollama;
mod openai;

pub(crate) use ollama::write_error as write_ollama_error;

/// The shape in which a route's clients expect errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStyle {
    /// `{"error":"…"}`
    Ollama,
    /// `{"error":{"message","type","param","code"}}`
    OpenAi,
    /// The shape of `OpenAi` in a whole answer, and an event of a type of its own in a stream.
    OpenAiResponses,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
}

impl ErrorStyle {
    /// Returns the shape that clients of an operation read.
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

    /// Returns the shape for a path that is no route, or not with this method; `anthropic` says that the client named a
    /// version of Anthropic's API.
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
        if of_openai {
            ErrorStyle::OpenAi
        } else {
            ErrorStyle::Ollama
        }
    }

    /// Returns the body of an answer with this status.
    pub fn body(self, status: u16, text: &str) -> Bytes {
        self.body_of(&ErrorBody::new(status, text))
    }

    /// Returns the body of an answer with all that the format has a place for.
    pub fn body_of(self, told: &ErrorBody<'_>) -> Bytes {
        let mut body = Vec::with_capacity(told.text.len() + 128);
        self.write(told, &mut body);
        body.into()
    }

    /// Returns what ends a stream that has begun and cannot go on. `status` is what the answer would have had before
    /// its first byte, and `mid_line` says that the bytes sent so far stop inside a line or an event.
    pub fn stream_end(self, status: u16, text: &str, mid_line: bool) -> Bytes {
        self.stream_end_of(&ErrorBody::new(status, text), mid_line)
    }

    /// Returns what ends a stream, with all that the format has a place for.
    pub fn stream_end_of(self, told: &ErrorBody<'_>, mid_line: bool) -> Bytes {
        let mut end = Vec::with_capacity(told.text.len() + 128);
        let open_event: &[u8] = match self {
            ErrorStyle::Ollama => {
                ollama::write_stream_end(told, mid_line, &mut end);
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
            openai::write_responses_event(told, &mut end);
        } else {
            self.write(told, &mut end);
        }
        end.extend_from_slice(b"\n\n");
        end.into()
    }

    fn write(self, told: &ErrorBody<'_>, out: &mut Vec<u8>) {
        match self {
            ErrorStyle::Ollama => ollama::write_error(told.text, out),
            ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => openai::write_error(told, out),
            ErrorStyle::Anthropic => anthropic::write_error(told, out),
        }
    }
}

/// An error as it is to be told. Each format has places for some of its parts.
#[derive(Clone, Copy, Debug)]
pub struct ErrorBody<'a> {
    pub status: u16,
    pub text: &'a str,
    /// The code that OpenAI's format has a place for.
    pub code: Option<&'a str>,
    /// The field that is wrong, which OpenAI's format names.
    pub param: Option<&'a str>,
    /// The request's id, which Anthropic's format has in whole answers.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const TEXT: &str = "no \"<model>\" & more";

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
