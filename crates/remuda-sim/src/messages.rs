//! Ollama's Anthropic-compatible route, as Ollama itself reads it: what it does not know of a request it ignores, and a
//! mid-stream error is swallowed here, too.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use serde_json::{Map, Value, json};

use super::admit::{Admitted, admit};
use super::ask::{Ask, Manner, Options};
use super::base64;
use super::chance;
use super::generation::{Done, Metrics};
use super::gojson::{Fields, object};
use super::messages_voice::MessagesVoice;
use super::prompt::Prompt;
use super::reply::{Refusal, Reply, v1};
use super::seat::Visitor;
use super::speech::{self, Voice, Whole};
use super::tuning::Tuning;

/// A refusal in Anthropic's shape.
pub(super) fn refuse(refusal: &Refusal) -> Reply {
    let kind = match refusal.status {
        StatusCode::BAD_REQUEST => "invalid_request_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        _ => "api_error",
    };
    let request_id = format!("req_{:024x}", chance::hash(1, refusal.text.as_bytes()));
    let error = json!({"type": kind, "message": refusal.text});
    let told = json!({"type": "error", "error": error, "request_id": request_id});
    v1(refusal.status, &told)
}

/// `POST /v1/messages`.
pub(super) async fn messages(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "MessagesRequest")?;
    let fields = Fields::new(&map, "MessagesRequest");
    let ask = ask(&visitor, &fields)?;
    let voice = MessagesVoice::new(&ask);
    match admit(visitor, &ask).await? {
        Admitted::Loaded(_) | Admitted::Rendered(_) => Ok({ voice }.whole(nothing())),
        Admitted::Speaking(generation) if ask.stream => {
            Ok(uncached(speech::stream(generation, voice)))
        }
        Admitted::Speaking(generation) => speech::whole(generation, voice).await,
    }
}

/// Says of a stream that nobody is to keep it.
pub(super) fn uncached(mut reply: Reply) -> Reply {
    let value = HeaderValue::from_static("no-cache");
    reply.headers_mut().insert(CACHE_CONTROL, value);
    reply
}

/// An answer that says nothing.
pub(super) fn nothing() -> Whole {
    Whole {
        thinking: String::new(),
        content: String::new(),
        tokens: Vec::new(),
        calls: Vec::new(),
        done: Done {
            reason: "stop",
            metrics: Metrics::default(),
        },
    }
}

fn ask(visitor: &Visitor, fields: &Fields<'_>) -> Result<Ask, Refusal> {
    let model = fields.string("model")?;
    if model.is_empty() {
        return Err(Refusal::bad("model is required"));
    }
    let limit = fields.integer("max_tokens")?.unwrap_or(0);
    let Some(limit) = u32::try_from(limit).ok().filter(|limit| *limit > 0) else {
        return Err(Refusal::bad("max_tokens is required and must be positive"));
    };
    let stop = fields.list("stop_sequences", "[]string")?.iter();
    let think = fields.value("thinking").map(|think| think["type"].clone());
    let think = match think.as_ref().and_then(Value::as_str) {
        Some("enabled") => thinks(visitor, model).then_some(true),
        Some("disabled") => Some(false),
        _ => None,
    };
    Ok(Ask {
        model: model.to_owned(),
        stream: fields.boolean("stream")?.unwrap_or(false),
        keep_alive: None,
        options: Options {
            tuning: Tuning::default(),
            num_keep: None,
            num_predict: Some(limit),
            seed: 0,
            stop: stop
                .filter_map(|stop| stop.as_str().map(str::to_owned))
                .collect(),
        },
        think,
        format: None,
        logprobs: None,
        truncate: true,
        render_only: false,
        prompt: prompt(fields)?,
        manner: Manner::Chat,
    })
}

/// Whether the model can think: one that cannot is not asked to, and refuses nobody for that.
fn thinks(visitor: &Visitor, model: &str) -> bool {
    let found = visitor.find(model, |_| String::new());
    found.is_ok_and(|found| found.model.can("thinking"))
}

fn prompt(fields: &Fields<'_>) -> Result<Prompt, Refusal> {
    let tools = fields.structs("tools", "anthropic.Tool")?;
    let tools: Result<Vec<Value>, Refusal> = tools.iter().map(tool).collect();
    let mut prompt = Prompt {
        tools: tools?,
        ..Prompt::default()
    };
    match fields.value("system") {
        None => {}
        Some(Value::String(text)) => prompt.say("system", text.as_str(), 0),
        Some(Value::Array(blocks)) => {
            let texts = blocks.iter().filter_map(|block| block["text"].as_str());
            prompt.say("system", texts.collect::<String>(), 0);
        }
        Some(_) => return Err(Refusal::bad("invalid system prompt")),
    }
    let messages = fields.structs("messages", "anthropic.MessageParam")?;
    if messages.is_empty() {
        return Err(Refusal::bad("messages is required"));
    }
    for message in &messages {
        turn(&mut prompt, message)?;
    }
    Ok(prompt)
}

/// A tool in the shape of Ollama's own.
fn tool(tool: &Fields<'_>) -> Result<Value, Refusal> {
    let parameters = tool.object("input_schema", "api.ToolFunctionParameters")?;
    let parameters = parameters.cloned().unwrap_or_else(Map::new);
    Ok(json!({"type": "function", "function": {
        "name": tool.string("name")?,
        "description": tool.string("description")?,
        "parameters": parameters,
    }}))
}

/// Adds a message: results of tools are turns of their own, before what else it says.
fn turn(prompt: &mut Prompt, message: &Fields<'_>) -> Result<(), Refusal> {
    let role = message.string("role")?;
    prompt.tool_answered = false;
    let blocks = match message.value("content") {
        Some(Value::String(text)) => {
            prompt.say(role, text.as_str(), 0);
            return Ok(());
        }
        Some(Value::Array(blocks)) => blocks,
        _ => return Err(Refusal::bad("invalid message content type")),
    };
    let (mut said, mut images, mut answered) = (String::new(), 0, false);
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => said.push_str(block["text"].as_str().unwrap_or_default()),
            Some("image") => {
                image(block)?;
                images += 1;
            }
            Some("tool_result") => {
                let (text, seen) = result(&block["content"])?;
                prompt.say("tool", text, seen);
                answered = true;
            }
            // Calls, thoughts, and what it does not know.
            _ => {}
        }
    }
    if !said.is_empty() || images > 0 || !answered {
        prompt.say(role, said, images);
    } else {
        prompt.tool_answered = true;
    }
    Ok(())
}

/// The text of a tool's result, and how many images it has.
fn result(content: &Value) -> Result<(String, usize), Refusal> {
    let Value::Array(parts) = content else {
        return Ok((content.as_str().unwrap_or_default().to_owned(), 0));
    };
    let (mut text, mut images) = (String::new(), 0);
    for part in parts {
        if part["type"] == "image" {
            image(part)?;
            images += 1;
        }
        text.push_str(part["text"].as_str().unwrap_or_default());
    }
    Ok((text, images))
}

fn image(block: &Value) -> Result<(), Refusal> {
    let source = &block["source"];
    if source["type"] != "base64" {
        let kind = source["type"].as_str().unwrap_or_default();
        return Err(Refusal::bad(format!(
            "invalid image source type: {kind}. Only base64 images are supported."
        )));
    }
    let data = source["data"].as_str().unwrap_or_default();
    base64::check(data).map_err(|_| Refusal::bad("invalid base64 image data"))
}
