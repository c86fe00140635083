//! Which of a server's own errors (500) are about the request or about what the model made of it: another server is as
//! likely to say the same, and the one that said it is well.
//!
//! Ollama, llama.cpp and vLLM answer such requests with 500 and a text; there is no word for it but the text.

/// What is wrong is the request, or this one answer. In lower case.
const ABOUT_THE_REQUEST: [&str; 32] = [
    // What the model wrote is no call that the server's parser can read.
    "tool call",
    "tool_call",
    "xml syntax error",
    "harmony",
    "unexpected end of json input",
    "invalid character '",
    "failed to parse input",
    "failed to parse message",
    // The model's template does not take these messages (text/template, Jinja).
    "template",
    "jinja",
    "value is not ",
    "roles must alternate",
    "role not supported",
    // What the answer is to look like.
    "grammar",
    "json schema",
    "json_schema",
    "invalid format",
    "invalid schema",
    // Options, texts and pictures.
    "option \"",
    "invalid option",
    "failed to tokenize",
    "invalid utf-8",
    "json: unsupported value",
    "json: cannot unmarshal",
    "image: unknown format",
    "invalid image",
    "unsupported image",
    "process image",
    "decode image",
    "load image",
    "load audio",
    "decode audio",
];

/// Signs of a sick server. In lower case.
const OF_THE_SERVER: [&str; 11] = [
    "cuda",
    "rocm",
    "metal",
    "vulkan",
    "memory",
    "runner",
    "terminated",
    "loading model",
    "load model",
    "connection",
    "timed out",
];

/// A server could not load the model: a broken file, too little memory. In lower case.
const ABOUT_THE_MODEL: [&str; 14] = [
    "process has terminated",
    "error loading model",
    "failed to load model",
    "unable to load model",
    "unable to allocate",
    "requires more system memory",
    "waiting for llama",
    "unknown model architecture",
    "model failed to load",
    "error loading llama",
    "runner process no longer running",
    "cudamalloc failed",
    "out of memory",
    "failed to create context",
];

/// The gateway's key is refused; providers say it with statuses that stand for other things, too. In lower case.
const ABOUT_THE_KEY: [&str; 12] = [
    "api key not valid",
    "api key expired",
    "api key is invalid",
    "api key is not valid",
    "api key not found",
    "api_key_invalid",
    "invalid api key",
    "incorrect api key",
    "invalid x-api-key",
    "invalid api-key",
    "missing api key",
    "no api key",
];

/// Returns whether an error of that text says that the key is refused.
pub fn is_about_key(text: &str) -> bool {
    let text: String = text.chars().take(LONGEST).collect();
    let text = text.to_ascii_lowercase();
    ABOUT_THE_KEY.iter().any(|words| text.contains(words))
}

/// Returns whether an error of that text says that the server could not load the model: it may be well for all others.
pub fn is_about_model(text: &str) -> bool {
    let text: String = text.chars().take(LONGEST).collect();
    let text = text.to_ascii_lowercase();
    ABOUT_THE_MODEL.iter().any(|words| text.contains(words))
}

/// Characters of a text that are looked at: what is behind them is quoted.
const LONGEST: usize = 1_000;

/// Returns whether an error of that text, with status 500 or within an answer, is no fault of the server. What stands
/// first decides: the rest may be quoted from an answer, or be the cause of what stands before.
pub fn is_about_request(text: &str) -> bool {
    let text: String = text.chars().take(LONGEST).collect();
    let text = text.to_ascii_lowercase();
    let first = |words: &[&str]| words.iter().filter_map(|word| text.find(word)).min();
    match (first(&ABOUT_THE_REQUEST), first(&OF_THE_SERVER)) {
        (Some(request), Some(server)) => request < server,
        (request, _) => request.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_cannot_be_loaded_is_told_from_a_sick_server() {
        for (text, about) in [
            ("llama-server process has terminated: exit status 3", true),
            ("llama runner process has terminated: signal: killed", true),
            ("timed out waiting for llama-server to start", true),
            (
                "model requires more system memory (9.1 GiB) than is available (3.2 GiB)",
                true,
            ),
            ("unable to load model: /blobs/sha256-aa", true),
            (
                "model failed to load, this may be due to resource limitations or an internal error, check ollama server logs for details",
                true,
            ),
            ("timed out waiting for llama runner to start: ", true),
            (
                "timed out waiting for llama runner to start - progress 0.00 - ",
                true,
            ),
            ("cudaMalloc failed: out of memory", true),
            ("llama runner process no longer running: 2", true),
            ("model runner has unexpectedly stopped", false),
            (
                "CUDA error: an illegal memory access was encountered",
                false,
            ),
            ("error parsing tool call: raw='{'", false),
        ] {
            assert_eq!(is_about_model(text), about, "{text}");
        }
    }

    #[test]
    fn errors_about_requests_are_told_from_those_of_servers() {
        for text in [
            r#"error parsing tool call: raw='{"name": "x"', err=unexpected end of JSON input"#,
            r#"error parsing tool call: raw='{"name": "save_memory", "runner": 1}', err=x"#,
            "XML syntax error on line 3: element <function> closed by </parameter>",
            r#"template: :3:12: executing "" at <.Foo>: can't evaluate field Foo in type *template.Values"#,
            "Value is not callable: null at row 62, column 114",
            "Conversation roles must alternate user/assistant/user/assistant/...",
            "failed to parse grammar",
            "Failed to initialize samplers: failed to parse grammar",
            "invalid JSON schema in format",
            "failed to encode response: json: unsupported value: NaN",
            "Failed to parse input at pos 12: <tool",
            "image: unknown format",
        ] {
            assert!(is_about_request(text), "{text}");
        }
        for text in [
            "",
            "model runner has unexpectedly stopped, this may be due to resource limitations",
            "llama-server process has terminated: exit status 3",
            "error loading model: unknown template",
            "CUDA error: device kernel image is invalid",
            "Internal Server Error",
            "unexpected EOF",
            "The server had an error while processing your request. Sorry about that!",
        ] {
            assert!(!is_about_request(text), "{text}");
        }
    }
}
