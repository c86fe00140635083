//! The formats of clients: a request in each, and what an answer in each says.

use serde_json::{Value, json};

use super::Reply;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Ollama,
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    Anthropic,
}

/// What a stream said, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// Text and reasoning.
    pub(crate) words: String,
    /// Messages of errors.
    pub(crate) errors: Vec<String>,
    /// Whether the format's own sign came that all is well.
    pub(crate) success: bool,
}

impl Format {
    pub(crate) const ALL: [Self; 4] = [Self::Ollama, Self::Chat, Self::Responses, Self::Anthropic];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Ollama => "/api/chat",
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// A request of one text, with further fields.
    pub(crate) fn ask(self, model: &str, text: &str, stream: bool, more: Value) -> String {
        let messages = json!([{"role": "user", "content": text}]);
        let mut body = match self {
            Self::Ollama | Self::Chat => json!({"messages": messages}),
            Self::Responses => json!({"input": text}),
            Self::Anthropic => json!({"messages": messages, "max_tokens": 4000}),
        };
        body["model"] = model.into();
        body["stream"] = stream.into();
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        body.to_string()
    }

    /// The message of an error answer, which has to have this format's shape.
    pub(crate) fn message(self, reply: &Reply) -> String {
        let body = reply.json();
        let error = &body["error"];
        let message = match self {
            Self::Ollama => error,
            Self::Chat | Self::Responses => {
                assert!(error["type"].is_string(), "{body}");
                assert!(error.get("param").is_some(), "{body}");
                assert!(error.get("code").is_some(), "{body}");
                &error["message"]
            }
            Self::Anthropic => {
                assert_eq!(body["type"], "error");
                assert!(error["type"].is_string(), "{body}");
                &error["message"]
            }
        };
        message
            .as_str()
            .unwrap_or_else(|| panic!("{body}"))
            .to_owned()
    }

    /// The text of a whole answer.
    pub(crate) fn text(self, reply: &Reply) -> String {
        let body = reply.json();
        let joined = |parts: &Value| -> String {
            let parts = parts.as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect()
        };
        match self {
            Self::Ollama => string(&body["message"]["content"]),
            Self::Chat => string(&body["choices"][0]["message"]["content"]),
            Self::Responses => {
                let items = body["output"].as_array().into_iter().flatten();
                items.map(|item| joined(&item["content"])).collect()
            }
            Self::Anthropic => joined(&body["content"]),
        }
    }

    /// Why a whole answer ended, in this format's word for it.
    pub(crate) fn reason(self, reply: &Reply) -> String {
        let body = reply.json();
        match self {
            Self::Ollama => string(&body["done_reason"]),
            Self::Chat => string(&body["choices"][0]["finish_reason"]),
            Self::Responses => string(&body["status"]),
            Self::Anthropic => string(&body["stop_reason"]),
        }
    }

    /// Reads a streamed answer, which may be cut after any event.
    pub(crate) fn read(self, body: &[u8]) -> Said {
        let text = std::str::from_utf8(body).unwrap();
        let mut said = Said::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let data = match (self, line.strip_prefix("data: ")) {
                (Self::Ollama, _) => line,
                (Self::Chat, Some("[DONE]")) => {
                    said.success = true;
                    continue;
                }
                (_, Some(data)) => data,
                // `event:` and comments.
                (_, None) => continue,
            };
            let event: Value = serde_json::from_str(data)
                .unwrap_or_else(|error| panic!("{self:?}: {error}: {line:?} in {text}"));
            self.note(&event, &mut said);
        }
        said
    }

    fn note(self, event: &Value, said: &mut Said) {
        let kind = event["type"].as_str().unwrap_or_default();
        let (words, error, success): (Vec<&Value>, &Value, bool) = match self {
            Self::Ollama => {
                let message = &event["message"];
                let words = vec![&message["thinking"], &message["content"]];
                (words, &event["error"], event["done"] == true)
            }
            Self::Chat => {
                let delta = &event["choices"][0]["delta"];
                let words = vec![&delta["reasoning"], &delta["content"]];
                let ends = event["choices"][0]["finish_reason"].is_string();
                (words, &event["error"]["message"], ends)
            }
            Self::Responses => {
                let words = if kind.ends_with(".delta") {
                    vec![&event["delta"]]
                } else {
                    Vec::new()
                };
                let error = match kind {
                    "error" => &event["message"],
                    "response.failed" => &event["response"]["error"]["message"],
                    _ => &Value::Null,
                };
                (words, error, kind == "response.completed")
            }
            Self::Anthropic => {
                let words = vec![&event["delta"]["thinking"], &event["delta"]["text"]];
                (words, &event["error"]["message"], kind == "message_stop")
            }
        };
        said.words
            .extend(words.into_iter().filter_map(Value::as_str));
        said.errors.extend(error.as_str().map(str::to_owned));
        said.success |= success;
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
