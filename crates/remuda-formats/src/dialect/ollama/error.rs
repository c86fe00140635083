//! Errors as Ollama writes them: the words that clients match on, and the shape of an error.

use bytes::Bytes;

use super::displayed;
use crate::client::{Operation, write_ollama_error};
use crate::wire::json::write_string;

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

/// The last line of a stream whose backend broke off.
pub const STREAM_BROKEN: &str = "the backend closed the stream before its end";

/// Returns the text of the 404 for a model that no server has, in the words of the operation's handler.
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

/// Returns `{"error":"…"}`.
pub fn error_body(text: &str) -> Bytes {
    let mut body = Vec::with_capacity(text.len() + 16);
    write_ollama_error(text, &mut body);
    body.into()
}

/// Returns `{"error":"…"}` and a newline, which is the last line of a stream that failed.
pub fn error_line(text: &str) -> Bytes {
    let mut line = Vec::with_capacity(text.len() + 16);
    write_ollama_error(text, &mut line);
    line.push(b'\n');
    line.into()
}

/// Returns `{"error":"…","detail":"…"}`; clients of the port-range balancer read `detail`.
pub fn error_body_with_detail(text: &str, detail: &str) -> Bytes {
    let mut body = Vec::with_capacity(text.len() + detail.len() + 32);
    body.extend_from_slice(b"{\"error\":");
    write_string(text, &mut body);
    body.extend_from_slice(b",\"detail\":");
    write_string(detail, &mut body);
    body.push(b'}');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
