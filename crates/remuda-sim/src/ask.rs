//! What a generate or chat request asks for, once its JSON has been checked as Ollama checks it.

use serde_json::{Map, Value};

use super::base64;
use super::duration::KeepAlive;
use super::gojson::{Fields, object};
use super::prompt::Prompt;
use super::reply::Refusal;
use super::tuning::Tuning;

/// A request for an answer, whatever route it came by.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The model as the client wrote it.
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) options: Options,
    /// Absent: on where the model can.
    pub(super) think: Option<bool>,
    pub(super) format: Option<Value>,
    /// With log probabilities: how many alternatives.
    pub(super) logprobs: Option<usize>,
    /// Whether a prompt that is too long may be shortened.
    pub(super) truncate: bool,
    /// Show the prompt instead of running the model.
    pub(super) render_only: bool,
    pub(super) prompt: Prompt,
    pub(super) manner: Manner,
}

/// Which of Ollama's two routes it is, as far as answers and errors differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// `raw` answers carry no `context`.
    Generate {
        raw: bool,
    },
    Chat,
}

impl Manner {
    /// What a model that cannot do this does not support.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Generate { .. } => "generate",
            Self::Chat => "chat",
        }
    }
}

/// The options that change what the simulator does.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) tuning: Tuning,
    /// Tokens at the beginning that a cut of the prompt spares.
    pub(super) num_keep: Option<u32>,
    /// Bound on the tokens of the answer.
    pub(super) num_predict: Option<u32>,
    pub(super) seed: i64,
    pub(super) stop: Vec<String>,
}

impl Ask {
    pub(super) fn generate(body: &[u8]) -> Result<Self, Refusal> {
        let map = object(body, "GenerateRequest")?;
        let fields = Fields::new(&map, "GenerateRequest");
        let (text, system) = (fields.string("prompt")?, fields.string("system")?);
        let suffix = fields.string("suffix")?;
        let images = images(&fields)?;
        let context = fields.list("context", "[]int")?.len();
        let raw = fields.boolean("raw")?.unwrap_or(false);
        let prompt = Prompt {
            raw,
            empty: text.is_empty() && suffix.is_empty() && images == 0,
            suffix: !suffix.is_empty(),
            context,
            ..Prompt::of(system, [text, suffix].concat(), images)
        };
        let template = fields.string("template")?;
        let ask = Self::shared(&fields, prompt, Manner::Generate { raw })?;
        if raw && !(template.is_empty() && system.is_empty() && context == 0) {
            return Err(Refusal::bad(
                "raw mode does not support template, system, or context",
            ));
        }
        Ok(ask)
    }

    pub(super) fn chat(body: &[u8]) -> Result<Self, Refusal> {
        let map = object(body, "ChatRequest")?;
        let fields = Fields::new(&map, "ChatRequest");
        let mut prompt = Prompt {
            tools: tools(&fields)?,
            ..Prompt::default()
        };
        let messages = fields.structs("messages", "api.Message")?;
        prompt.empty = messages.is_empty();
        for message in &messages {
            let role = message.string("role")?;
            prompt.tool_answered = role.eq_ignore_ascii_case("tool");
            message.string("thinking")?;
            prompt.say(role, message.string("content")?, images(message)?);
            for call in message.structs("tool_calls", "api.ToolCall")? {
                call.object("function", "api.ToolCallFunction")?;
            }
        }
        Self::shared(&fields, prompt, Manner::Chat)
    }

    fn shared(fields: &Fields<'_>, prompt: Prompt, manner: Manner) -> Result<Self, Refusal> {
        let top_logprobs = fields.integer("top_logprobs")?.unwrap_or(0);
        if !(0..=20).contains(&top_logprobs) {
            return Err(Refusal::bad("top_logprobs must be between 0 and 20"));
        }
        let logprobs = fields.boolean("logprobs")?.unwrap_or(false);
        Ok(Self {
            model: fields.string("model")?.to_owned(),
            stream: fields.boolean("stream")?.unwrap_or(true),
            keep_alive: fields.keep_alive()?,
            think: think(fields)?,
            options: Options::of(fields)?,
            truncate: fields.boolean("truncate")?.unwrap_or(true),
            render_only: fields.boolean("_debug_render_only")?.unwrap_or(false),
            format: format(fields)?,
            logprobs: logprobs.then_some(top_logprobs as usize),
            prompt,
            manner,
        })
    }
}

/// Counts the images, which have to be base64.
fn images(fields: &Fields<'_>) -> Result<usize, Refusal> {
    let images = fields.list("images", "[]api.ImageData")?;
    for image in images {
        let text = image.as_str().unwrap_or_default();
        base64::check(text).map_err(|offset| {
            Refusal::bad(format!("illegal base64 data at input byte {offset}"))
        })?;
    }
    Ok(images.len())
}

fn tools(fields: &Fields<'_>) -> Result<Vec<Value>, Refusal> {
    for tool in fields.structs("tools", "api.Tool")? {
        tool.object("function", "api.ToolFunction")?;
    }
    Ok(fields.list("tools", "api.Tools")?.to_vec())
}

fn think(fields: &Fields<'_>) -> Result<Option<bool>, Refusal> {
    match fields.value("think") {
        None => Ok(None),
        Some(Value::Bool(think)) => Ok(Some(*think)),
        Some(Value::String(level)) => match level.as_str() {
            "low" | "medium" | "high" | "max" => Ok(Some(true)),
            other => Err(Refusal::bad(format!(
                "invalid think value: {other:?} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)"
            ))),
        },
        Some(_) => Err(Refusal::bad(
            "think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)",
        )),
    }
}

fn format(fields: &Fields<'_>) -> Result<Option<Value>, Refusal> {
    match fields.value("format") {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(value @ Value::Object(_)) => Ok(Some(value.clone())),
        Some(Value::String(text)) if text == "json" => Ok(Some(Value::from("json"))),
        Some(other) => Err(Refusal::internal(format!(
            "invalid format: {other}; expected \"json\" or a valid JSON Schema object"
        ))),
    }
}

const INTEGERS: [&str; 11] = [
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "repeat_last_n",
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "draft_num_predict",
];
const FLOATS: [&str; 7] = [
    "top_p",
    "min_p",
    "typical_p",
    "temperature",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
];

impl Options {
    /// The options of a request, and what it states beside them.
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, Refusal> {
        let mut options = match fields.object("options", "map[string]interface {}")? {
            Some(options) => Self::read(options)?,
            None => Self::default(),
        };
        options.tuning.shift = fields.boolean("shift")?;
        Ok(options)
    }

    /// Checks the types of all known options; unknown ones are ignored, as is null.
    fn read(map: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let key = key.as_str();
            let expected = match value {
                Value::Number(_) if INTEGERS.contains(&key) || FLOATS.contains(&key) => None,
                Value::Array(_) if key == "stop" => None,
                Value::Bool(_) if key == "use_mmap" => None,
                _ if INTEGERS.contains(&key) => Some("integer"),
                _ if FLOATS.contains(&key) => Some("float32"),
                _ if key == "stop" => Some("array"),
                _ if key == "use_mmap" => Some("boolean"),
                _ => None,
            };
            if let Some(expected) = expected {
                return Err(Refusal::internal(format!(
                    "option {key:?} must be of type {expected}"
                )));
            }
            options.set(key, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), Refusal> {
        // Integers may come as floats and are truncated.
        let integer = || value.as_f64().unwrap_or_default() as i64;
        match key {
            "num_ctx" => {
                self.tuning.num_ctx = Some(integer().clamp(0, u32::MAX.into()) as u32);
            }
            "num_batch" => self.tuning.num_batch = Some(integer()),
            "num_thread" => self.tuning.num_thread = Some(integer()),
            "main_gpu" => self.tuning.main_gpu = Some(integer()),
            "num_gpu" => self.tuning.num_gpu = Some(integer()),
            "draft_num_predict" => self.tuning.draft_num_predict = Some(integer()),
            "use_mmap" => self.tuning.use_mmap = value.as_bool(),
            "num_keep" => self.num_keep = u32::try_from(integer()).ok(),
            "num_predict" => {
                self.num_predict = u32::try_from(integer()).ok().filter(|limit| *limit > 0);
            }
            "seed" => self.seed = integer(),
            "stop" => {
                let stops = value.as_array().map(Vec::as_slice).unwrap_or_default();
                self.stop = stops
                    .iter()
                    .map(|stop| stop.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(|| {
                        Refusal::internal("option \"stop\" must be of an array of strings")
                    })?;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    #[test]
    fn a_chat_is_read() {
        let ask = Ask::chat(
            br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":false,
                "options":{"num_predict":7.9,"stop":["x"],"mirostat":"?"},"think":"low"}"#,
        )
        .unwrap();
        assert!(!ask.stream && !ask.prompt.empty);
        assert_eq!(ask.options.num_predict, Some(7));
        assert_eq!(ask.options.stop, ["x"]);
        assert_eq!(ask.think, Some(true));
        assert!(ask.prompt.rendered().contains("hi"));
    }

    #[test]
    fn an_empty_prompt_is_a_load() {
        assert!(Ask::generate(br#"{"model":"m"}"#).unwrap().prompt.empty);
        let chat = Ask::chat(br#"{"model":"m","messages":[]}"#).unwrap();
        assert!(chat.prompt.empty && chat.stream);
    }

    #[test]
    fn wrong_values_and_their_statuses() {
        let refused = |body: &str, status: StatusCode, text: &str| {
            let refusal = Ask::generate(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.status, status, "{body}");
            assert!(refusal.text.contains(text), "{}", refusal.text);
        };
        let (bad, internal) = (StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR);
        refused(
            r#"{"options":{"stop":"x"}}"#,
            internal,
            "option \"stop\" must be of type array",
        );
        refused(r#"{"options":{"top_p":"x"}}"#, internal, "float32");
        refused(r#"{"format":"xml"}"#, internal, "invalid format: \"xml\"");
        refused(r#"{"think":"deeply"}"#, bad, "invalid think value");
        refused(r#"{"top_logprobs":21}"#, bad, "between 0 and 20");
        refused(
            r#"{"images":["data:image/png"]}"#,
            bad,
            "illegal base64 data at input byte 4",
        );
        refused(r#"{"raw":true,"system":"x","prompt":"p"}"#, bad, "raw mode");
    }
}
