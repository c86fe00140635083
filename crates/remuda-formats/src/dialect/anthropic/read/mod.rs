//! What a client asks for.

mod blocks;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use blocks::{CacheControl, parts};

use crate::dialect::ollama;
use crate::ir::{
    ChatRequest, Dropped, Effort, Format, Json, Message, Refused, Role, Sampling, Serving, Text,
    Thinking, Tool, ToolChoice,
};
use crate::wire::json;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: Option<Vec<Turn<'a>>>,
    system: Option<&'a RawValue>,
    max_tokens: Option<i64>,
    stream: Option<bool>,
    stop_sequences: Option<Vec<Text<'a>>>,
    tools: Option<Vec<ToolField<'a>>>,
    tool_choice: Option<Choice<'a>>,
    thinking: Option<ThinkingField<'a>>,
    output_config: Option<OutputConfig<'a>>,
    /// The older name of `output_config.format`.
    output_format: Option<FormatField<'a>>,
    metadata: Option<Metadata<'a>>,
    service_tier: Option<Text<'a>>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    cache_control: Option<CacheControl<'a>>,
    // What follows changes the answer and has no place in the neutral model.
    container: Option<&'a RawValue>,
    mcp_servers: Option<&'a RawValue>,
    context_management: Option<&'a RawValue>,
    inference_geo: Option<&'a RawValue>,
    speed: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolField<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    name: Text<'a>,
    description: Option<Text<'a>>,
    input_schema: Option<Json<'a>>,
    strict: Option<bool>,
    cache_control: Option<CacheControl<'a>>,
    input_examples: Option<&'a RawValue>,
    /// Whether the tool is looked up before the model knows it.
    defer_loading: Option<bool>,
    allowed_callers: Option<Vec<Cow<'a, str>>>,
    eager_input_streaming: Option<bool>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    name: Option<Text<'a>>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize)]
struct ThinkingField<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    budget_tokens: Option<u64>,
    display: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow)]
    effort: Option<Cow<'a, str>>,
    format: Option<FormatField<'a>>,
    task_budget: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FormatField<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    schema: Option<Json<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    user_id: Option<Text<'a>>,
}

/// Reads a request that another format will carry.
///
/// # Errors
/// If it is wrong, or asks for what no other format can say.
pub fn read_chat(bytes: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let body: Body<'_> = json::parse(bytes).map_err(|error| malformed(&error))?;
    let max_tokens = match body.max_tokens {
        None => return Err(Refused::field("max_tokens", "max_tokens: Field required")),
        Some(tokens) => u64::try_from(tokens)
            .ok()
            .filter(|tokens| *tokens > 0)
            .ok_or_else(|| Refused::field("max_tokens", "max_tokens: must be at least 1"))?,
    };
    let mut request = read(body, Some(max_tokens))?;
    ollama::read_foreign(bytes, &mut request)?;
    Ok(request)
}

/// Reads a request whose tokens are to be counted: it has no limit.
///
/// # Errors
/// If the request is wrong, or asks for what no other format can say.
pub fn read_count(body: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    read(json::parse(body).map_err(|error| malformed(&error))?, None)
}

fn read(body: Body<'_>, max_tokens: Option<u64>) -> Result<ChatRequest<'_>, Refused> {
    let mut dropped = Dropped::default();
    dropped.add_if(body.container.is_some(), "container");
    dropped.add_if(body.mcp_servers.is_some(), "mcp_servers");
    dropped.add_if(body.context_management.is_some(), "context_management");
    dropped.add_if(body.inference_geo.is_some(), "inference_geo");
    dropped.add_if(says_speed(body.speed), "speed");
    let budget = body
        .output_config
        .as_ref()
        .and_then(|output| output.task_budget);
    dropped.add_if(budget.is_some(), "output_config.task_budget");
    let display = body.thinking.as_ref().and_then(|it| it.display.as_deref());
    dropped.add_if(display == Some("omitted"), "thinking.display");
    let mut messages = Vec::new();
    if let Some(system) = body.system {
        let parts = parts(system, Role::System, &mut dropped)?;
        messages.push(Message::new(Role::System, parts));
    }
    for turn in body.messages.unwrap_or_default() {
        messages.push(message(turn, &mut dropped)?);
    }
    if messages.iter().all(|message| message.role == Role::System) {
        return Err(Refused::field(
            "messages",
            "messages: at least one message is required",
        ));
    }
    let (tool_choice, parallel_tool_calls) = choice(body.tool_choice)?;
    let thinking = thinking(body.thinking.as_ref(), body.output_config.as_ref())?;
    Ok(ChatRequest {
        stream: body.stream.unwrap_or(false),
        include_usage: true,
        messages,
        completion: None,
        tools: tools(body.tools.unwrap_or_default(), &mut dropped),
        tool_choice,
        parallel_tool_calls,
        max_tokens,
        sampling: Sampling {
            temperature: body.temperature,
            top_p: body.top_p,
            top_k: body.top_k,
            ..Sampling::default()
        },
        stop: body.stop_sequences.unwrap_or_default(),
        format: format(body.output_config, body.output_format)?,
        thinking,
        logprobs: None,
        user: body.metadata.and_then(|metadata| metadata.user_id),
        cache: body.cache_control.map(|control| control.ttl()),
        serving: Serving {
            tier: body.service_tier.map(tier),
            ..Serving::default()
        },
        dropped,
        ..ChatRequest::default()
    })
}

/// Returns whether another speed than the usual one, which every provider has, is asked for.
fn says_speed(speed: Option<&RawValue>) -> bool {
    speed.is_some_and(|speed| speed.get() != r#""standard""#)
}

/// Returns the tier in OpenAI's words, which are the neutral ones.
fn tier(tier: Text<'_>) -> Text<'_> {
    match tier.as_escaped() {
        "standard_only" => Text::escaped("default"),
        _ => tier,
    }
}

fn malformed(error: &serde_json::Error) -> Refused {
    let place = format!("line {}, column {}", error.line(), error.column());
    Refused::new(match error.classify() {
        serde_json::error::Category::Data => {
            format!("a field of the body has the wrong type or is missing ({place})")
        }
        _ => format!("the body is not valid JSON ({place})"),
    })
}

fn message<'a>(turn: Turn<'a>, dropped: &mut Dropped) -> Result<Message<'a>, Refused> {
    let role = match &*turn.role {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => {
            return Err(Refused::field(
                "messages",
                "messages: roles must be user, assistant or system",
            ));
        }
    };
    let content = turn
        .content
        .ok_or_else(|| Refused::field("messages", "messages: content is required"))?;
    Ok(Message::new(role, parts(content, role, dropped)?))
}

fn tools<'a>(fields: Vec<ToolField<'a>>, dropped: &mut Dropped) -> Vec<Tool<'a>> {
    let mut tools: Vec<Tool<'a>> = Vec::with_capacity(fields.len());
    for field in fields {
        let cache = field.cache_control.as_ref().map(CacheControl::ttl);
        let callers = field.allowed_callers.as_deref().unwrap_or_default();
        let by_programs = callers.iter().any(|caller| caller != "direct");
        for (says, name) in [
            (field.input_examples.is_some(), "tools.input_examples"),
            (field.defer_loading == Some(true), "tools.defer_loading"),
            (by_programs, "tools.allowed_callers"),
            (
                field.eager_input_streaming == Some(true),
                "tools.eager_input_streaming",
            ),
        ] {
            dropped.add_if(says, name);
        }
        if field.r#type.as_deref().is_some_and(|kind| kind != "custom") {
            // Run by Anthropic's servers, so no other provider has it.
            dropped.add("tools");
            if let Some(before) = tools.last_mut() {
                before.cache = before.cache.max(cache);
            }
            continue;
        }
        tools.push(Tool {
            name: field.name,
            description: field.description,
            parameters: field.input_schema,
            strict: field.strict,
            cache,
        });
    }
    tools
}

fn choice(choice: Option<Choice<'_>>) -> Result<(ToolChoice<'_>, Option<bool>), Refused> {
    let Some(choice) = choice else {
        return Ok((ToolChoice::Auto, None));
    };
    let parallel = choice.disable_parallel_tool_use.map(|disable| !disable);
    let wanted = match (&*choice.r#type, choice.name) {
        ("auto", _) => ToolChoice::Auto,
        ("any", _) => ToolChoice::Required,
        ("none", _) => ToolChoice::None,
        ("tool", Some(name)) => ToolChoice::Named(name),
        _ => {
            return Err(Refused::field(
                "tool_choice",
                "tool_choice: type must be auto, any, none, or tool with a name",
            ));
        }
    };
    Ok((wanted, parallel))
}

fn thinking(
    thinking: Option<&ThinkingField<'_>>,
    output: Option<&OutputConfig<'_>>,
) -> Result<Option<Thinking>, Refused> {
    let effort = output
        .and_then(|output| output.effort.as_deref())
        .map(|name| {
            Effort::named(name).ok_or_else(|| {
                Refused::field(
                    "output_config",
                    "output_config.effort: must be low, medium, high, xhigh or max",
                )
            })
        })
        .transpose()?;
    let Some(thinking) = thinking else {
        return Ok(effort.map(Thinking::Effort));
    };
    Ok(Some(match (&*thinking.r#type, thinking.budget_tokens) {
        ("disabled", _) => Thinking::Off,
        ("enabled", Some(tokens)) => Thinking::Budget(tokens),
        ("enabled" | "adaptive" | "between_tools", _) => {
            Thinking::Effort(effort.unwrap_or(Effort::High))
        }
        _ => {
            return Err(Refused::field(
                "thinking",
                "thinking: type must be enabled, adaptive or disabled",
            ));
        }
    }))
}

fn format<'a>(
    output: Option<OutputConfig<'a>>,
    older: Option<FormatField<'a>>,
) -> Result<Format<'a>, Refused> {
    let (format, name) = match (output.and_then(|output| output.format), older) {
        (Some(format), _) => (format, "output_config"),
        (None, Some(format)) => (format, "output_format"),
        (None, None) => return Ok(Format::Text),
    };
    match (&*format.r#type, format.schema) {
        ("json_schema", Some(schema)) => Ok(Format::Schema {
            name: None,
            description: None,
            schema,
            strict: Some(true),
        }),
        _ => Err(Refused::field(
            name,
            format!("{name}: a format must be of type json_schema, with a schema"),
        )),
    }
}
