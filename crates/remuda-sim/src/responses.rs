//! Ollama's Responses route, as Ollama itself reads it: it keeps nothing, refuses items that it does not know, and swallows an
//! error in mid-stream.

use serde_json::{Value, json};

use super::admit::{Admitted, admit};
use super::ask::{Ask, Manner, Options};
use super::base64;
use super::gojson::{Fields, object};
use super::messages::{nothing, uncached};
use super::prompt::Prompt;
use super::reply::{Refusal, Reply};
use super::responses_voice::ResponsesVoice;
use super::seat::Visitor;
use super::speech::{self, Voice};
use super::tuning::Tuning;

/// `POST /v1/responses`.
pub(super) async fn responses(visitor: Visitor, body: &[u8]) -> Result<Reply, Refusal> {
    let map = object(body, "ResponsesRequest")?;
    let fields = Fields::new(&map, "ResponsesRequest");
    let ask = ask(&fields)?;
    let mut voice = ResponsesVoice::new(&ask, echo(&fields));
    match admit(visitor, &ask).await? {
        Admitted::Loaded(_) | Admitted::Rendered(_) => Ok(voice.whole(nothing())),
        Admitted::Speaking(generation) if ask.stream => {
            Ok(uncached(speech::stream(generation, voice)))
        }
        Admitted::Speaking(generation) => speech::whole(generation, voice).await,
    }
}

fn ask(fields: &Fields<'_>) -> Result<Ask, Refusal> {
    let model = fields.string("model")?;
    if model.is_empty() {
        return Err(Refusal::bad("model is required"));
    }
    let effort = fields.value("reasoning").map(|it| it["effort"].clone());
    let think = match effort.as_ref().and_then(Value::as_str) {
        None | Some("") => None,
        Some("none") => Some(false),
        Some(_) => Some(true),
    };
    let limit = fields.integer("max_output_tokens")?.unwrap_or(0);
    Ok(Ask {
        model: model.to_owned(),
        stream: fields.boolean("stream")?.unwrap_or(false),
        keep_alive: None,
        options: Options {
            tuning: Tuning::default(),
            num_keep: None,
            num_predict: u32::try_from(limit).ok().filter(|limit| *limit > 0),
            seed: 0,
            stop: Vec::new(),
        },
        think,
        format: format(fields),
        logprobs: None,
        truncate: true,
        render_only: false,
        prompt: prompt(fields)?,
        manner: Manner::Chat,
    })
}

/// What an answer repeats of its request, or says of what was left out or is not kept.
fn echo(fields: &Fields<'_>) -> Value {
    let or = |name: &str, absent: Value| fields.value(name).cloned().unwrap_or(absent);
    let mut echo = json!({
        "background": false,
        "error": null,
        "incomplete_details": null,
        "max_tool_calls": null,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "safety_identifier": null,
        "service_tier": "default",
        "store": false,
        "top_logprobs": 0,
        "frequency_penalty": 0,
        "presence_penalty": 0,
    });
    for (name, absent) in [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", true.into()),
        ("reasoning", Value::Null),
        ("temperature", 1.into()),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", "auto".into()),
        ("tools", json!([])),
        ("top_p", 1.into()),
        ("truncation", "disabled".into()),
    ] {
        echo[name] = or(name, absent);
    }
    echo
}

fn format(fields: &Fields<'_>) -> Option<Value> {
    let format = &fields.value("text")?["format"];
    match format["type"].as_str()? {
        "json_object" => Some("json".into()),
        "json_schema" => Some(format["schema"].clone()),
        _ => None,
    }
}

fn prompt(fields: &Fields<'_>) -> Result<Prompt, Refusal> {
    let tools = fields.structs("tools", "openai.ResponsesTool")?;
    let tools: Result<Vec<Option<Value>>, Refusal> = tools.iter().map(tool).collect();
    let mut prompt = Prompt {
        tools: tools?.into_iter().flatten().collect(),
        ..Prompt::default()
    };
    let instructions = fields.string("instructions")?;
    if !instructions.is_empty() {
        prompt.say("system", instructions, 0);
    }
    match fields.value("input") {
        Some(Value::String(text)) => prompt.say("user", text.as_str(), 0),
        Some(Value::Array(items)) => {
            for item in items {
                add(&mut prompt, item)?;
            }
        }
        _ => return Err(Refusal::bad("input is required")),
    }
    Ok(prompt)
}

/// A function in the shape of Ollama's own tools; other tools are the provider's, which Ollama does not have.
fn tool(tool: &Fields<'_>) -> Result<Option<Value>, Refusal> {
    if tool.string("type")? != "function" {
        return Ok(None);
    }
    let parameters = tool.object("parameters", "api.ToolFunctionParameters")?;
    Ok(Some(json!({"type": "function", "function": {
        "name": tool.string("name")?,
        "description": tool.string("description")?,
        "parameters": parameters.cloned().unwrap_or_default(),
    }})))
}

/// Adds an item of the input.
fn add(prompt: &mut Prompt, item: &Value) -> Result<(), Refusal> {
    prompt.tool_answered = false;
    match item["type"].as_str().unwrap_or("message") {
        "message" => {
            let role = item["role"].as_str().unwrap_or_default();
            let role = if role == "developer" { "system" } else { role };
            let (text, images) = content(&item["content"])?;
            prompt.say(role, text, images);
        }
        "function_call" => {
            let arguments = item["arguments"].as_str().unwrap_or_default();
            serde_json::from_str::<serde_json::Map<String, Value>>(arguments)
                .map_err(|_| Refusal::bad("invalid tool call arguments"))?;
            prompt.say("assistant", "", 0);
        }
        "function_call_output" => {
            let (text, images) = content(&item["output"])?;
            prompt.say("tool", text, images);
            prompt.tool_answered = true;
        }
        "reasoning" => {}
        other => {
            let text = format!("unknown input item type: {other}");
            return Err(Refusal::bad(text));
        }
    }
    Ok(())
}

/// The text of a message or of a tool's result, and how many images it has.
fn content(content: &Value) -> Result<(String, usize), Refusal> {
    let Value::Array(parts) = content else {
        return Ok((content.as_str().unwrap_or_default().to_owned(), 0));
    };
    let (mut text, mut images) = (String::new(), 0);
    for part in parts {
        match part["type"].as_str().unwrap_or_default() {
            "input_text" | "output_text" => {
                text.push_str(part["text"].as_str().unwrap_or_default());
            }
            "input_image" => {
                let url = part["image_url"].as_str().unwrap_or_default();
                let data = url.split_once(";base64,").map(|(_, data)| data);
                data.filter(|data| url.starts_with("data:") && base64::check(data).is_ok())
                    .ok_or_else(|| Refusal::bad("invalid image input"))?;
                images += 1;
            }
            other => {
                let text = format!("unsupported content type: {other}");
                return Err(Refusal::bad(text));
            }
        }
    }
    Ok((text, images))
}
