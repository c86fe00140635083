//! Ollama's OpenAI-compatible routes, as Ollama itself words them (a mid-stream error is swallowed there, too).

use hyper::StatusCode;
use serde_json::{Value, json};

use super::admit::{Admitted, admit};
use super::ask::{Ask, Manner, Options};
use super::base64;
use super::embed;
use super::generation::{Done, Metrics};
use super::gojson::{Fields, object};
use super::names::Name;
use super::openai_voice::{Form, OpenAi};
use super::prompt::Prompt;
use super::reply::{Refusal, Reply, v1};
use super::seat::Visitor;
use super::server::{OnDisk, Server};
use super::speech::{self, Voice, Whole};
use super::tuning::Tuning;

/// A refusal in OpenAI's shape.
pub(super) fn refuse(refusal: &Refusal) -> Reply {
    let kind = match refusal.status {
        StatusCode::BAD_REQUEST => "invalid_request_error",
        StatusCode::NOT_FOUND => "not_found_error",
        _ => "api_error",
    };
    v1(
        refusal.status,
        &json!({"error": {"message": refusal.text, "type": kind, "param": null, "code": null}}),
    )
}

/// `POST /v1/chat/completions`.
pub(super) async fn chat(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "ChatCompletionRequest")?;
    let fields = Fields::new(&map, "ChatCompletionRequest");
    let messages = fields.structs("messages", "openai.Message")?;
    if messages.is_empty() {
        return Err(Refusal::bad("[] is too short - 'messages'"));
    }
    let mut prompt = Prompt {
        tools: fields.list("tools", "[]api.Tool")?.to_vec(),
        ..Prompt::default()
    };
    for message in &messages {
        let role = message.string("role")?;
        prompt.tool_answered = role == "tool";
        let (text, images) = content(message)?;
        prompt.say(role, text, images);
        add_calls(message)?;
    }
    let ask = ask(&fields, prompt, Manner::Chat)?;
    answer(visitor, &fields, ask, Form::Chat).await
}

/// `POST /v1/completions`.
pub(super) async fn completions(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "CompletionRequest")?;
    let fields = Fields::new(&map, "CompletionRequest");
    let (text, suffix) = (fields.string("prompt")?, fields.string("suffix")?);
    let prompt = Prompt {
        empty: text.is_empty() && suffix.is_empty(),
        suffix: !suffix.is_empty(),
        ..Prompt::of("", [text, suffix].concat(), 0)
    };
    let ask = ask(&fields, prompt, Manner::Generate { raw: false })?;
    answer(visitor, &fields, ask, Form::Text).await
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "EmbedRequest")?;
    let fields = Fields::new(&map, "EmbedRequest");
    let model = fields.string("model")?;
    let inputs = embed::inputs(fields.value("input"))?;
    if inputs.is_empty() {
        return Err(Refusal::bad("invalid input"));
    }
    let as_text = match fields.string("encoding_format")? {
        "" | "float" => false,
        "base64" => true,
        _ => {
            return Err(Refusal::bad(
                "Invalid value for 'encoding_format'. Supported values: 'float', 'base64'.",
            ));
        }
    };
    let want = embed::want(&visitor, &fields, model)?;
    let dimensions = fields.integer("dimensions")?;
    let wish = embed::Wish {
        inputs: &inputs,
        dimensions,
        truncate: true,
    };
    let made = embed::run(&visitor, want, &wish).await?;
    let data: Vec<Value> = made
        .vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| {
            let embedding = if as_text {
                Value::from(little_endian(vector))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "embedding": embedding, "index": index})
        })
        .collect();
    Ok(v1(
        StatusCode::OK,
        &json!({
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens},
        }),
    ))
}

fn little_endian(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    base64::encode(&bytes)
}

/// `GET /v1/models`; `data` is null where there are no models.
pub(super) fn models(server: &Server) -> Reply {
    let models: Vec<Value> = server.models().iter().map(model_object).collect();
    let data = if models.is_empty() {
        Value::Null
    } else {
        Value::Array(models)
    };
    v1(StatusCode::OK, &json!({"object": "list", "data": data}))
}

/// `GET /v1/models/:model`.
pub(super) fn model(server: &Server, written: &str) -> Result<Reply, Refusal> {
    Name::parse(written)
        .and_then(|name| server.model(&name))
        .map(|on_disk| v1(StatusCode::OK, &model_object(&on_disk)))
        .ok_or_else(|| Refusal::not_found(format!("model '{written}' not found")))
}

fn model_object(on_disk: &OnDisk) -> Value {
    let name = &on_disk.model.name;
    let owner = name
        .base()
        .rsplit_once('/')
        .map_or("library", |(owner, _)| owner);
    json!({
        "id": name.as_str(),
        "object": "model",
        "created": on_disk.modified.timestamp(),
        "owned_by": owner,
    })
}

/// Content is text, null or parts; images are base64 data URLs.
fn content(message: &Fields<'_>) -> Result<(String, usize), Refusal> {
    let (mut said, mut images) = (String::new(), 0);
    match message.value("content") {
        None => {}
        Some(Value::String(text)) => said.push_str(text),
        Some(Value::Array(parts)) => {
            for part in parts {
                match part["type"].as_str() {
                    Some("text") => {
                        let text = part["text"].as_str();
                        said.push_str(text.unwrap_or_default());
                    }
                    Some("image_url") => {
                        let image = &part["image_url"];
                        check_image(image.as_str().or(image["url"].as_str()).unwrap_or(""))?;
                        images += 1;
                    }
                    _ => return Err(Refusal::bad("invalid message format")),
                }
            }
        }
        Some(_) => return Err(Refusal::bad("invalid message content type")),
    }
    Ok((said, images))
}

fn check_image(url: &str) -> Result<(), Refusal> {
    let kinds = ["image/jpeg", "image/jpg", "image/png", "image/webp", ""];
    kinds
        .iter()
        .find_map(|kind| url.strip_prefix(&format!("data:{kind};base64,")))
        .filter(|data| base64::check(data).is_ok())
        .map(|_| ())
        .ok_or_else(|| Refusal::bad("invalid image input"))
}

fn add_calls(message: &Fields<'_>) -> Result<(), Refusal> {
    for call in message.structs("tool_calls", "openai.ToolCall")? {
        let function = call.object("function", "struct")?;
        let arguments = function
            .and_then(|function| function.get("arguments"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        serde_json::from_str::<serde_json::Map<String, Value>>(arguments)
            .map_err(|_| Refusal::bad("invalid tool call arguments"))?;
    }
    Ok(())
}

fn ask(fields: &Fields<'_>, prompt: Prompt, manner: Manner) -> Result<Ask, Refusal> {
    let effort = match fields.value("reasoning") {
        Some(reasoning) => reasoning["effort"].as_str().unwrap_or_default(),
        None => fields.string("reasoning_effort")?,
    };
    let think = match effort {
        "" => None,
        "none" => Some(false),
        "minimal" | "low" | "medium" | "high" | "max" | "xhigh" | "ultra" => Some(true),
        other => {
            return Err(Refusal::bad(format!("invalid reasoning value: {other:?}")));
        }
    };
    let format = fields
        .value("response_format")
        .and_then(|format| match format["type"].as_str() {
            Some("json_object") => Some(Value::from("json")),
            Some("json_schema") => Some(format["json_schema"]["schema"].clone()),
            _ => None,
        });
    let stop = match fields.value("stop") {
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(stops)) => stops
            .iter()
            .filter_map(|stop| stop.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    };
    let limit = fields.integer("max_tokens")?;
    Ok(Ask {
        model: fields.string("model")?.to_owned(),
        stream: fields.boolean("stream")?.unwrap_or(false),
        keep_alive: None,
        options: Options {
            tuning: Tuning::default(),
            num_keep: None,
            num_predict: limit
                .and_then(|limit| u32::try_from(limit).ok())
                .filter(|limit| *limit > 0),
            seed: fields.integer("seed")?.unwrap_or(0),
            stop,
        },
        think,
        format,
        logprobs: None,
        truncate: true,
        render_only: false,
        prompt,
        manner,
    })
}

async fn answer(
    visitor: Visitor,
    fields: &Fields<'_>,
    ask: Ask,
    form: Form,
) -> Result<Reply, Refusal> {
    let with_usage = fields
        .value("stream_options")
        .is_some_and(|options| options["include_usage"] == true);
    let mut voice = OpenAi {
        form,
        id: 100 + ask.prompt.tokens() % 900,
        created: chrono::Utc::now().timestamp(),
        model: ask.model.clone(),
        with_usage,
        begun: false,
        called: false,
    };
    match admit(visitor, &ask).await? {
        Admitted::Loaded(_) | Admitted::Rendered(_) => Ok(voice.whole(Whole {
            thinking: String::new(),
            content: String::new(),
            tokens: Vec::new(),
            calls: Vec::new(),
            done: Done {
                reason: "stop",
                metrics: Metrics::default(),
            },
        })),
        Admitted::Speaking(generation) if ask.stream => Ok(speech::stream(generation, voice)),
        Admitted::Speaking(generation) => speech::whole(generation, voice).await,
    }
}
