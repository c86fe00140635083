//! The fields of a Responses request, and what of them decides how the response is worded.

use serde_json::{Map, Value, json};

use super::super::mind::{Form, Tool};
use super::super::openai::error::Refusal;
use super::super::openai::fields::{Kind, given, known, name, text, typed};
use super::super::openai::{models, tools};
use super::words::Manner;

pub(super) const FIELDS: [(&str, Kind); 31] = [
    ("model", Kind::Text),
    ("input", Kind::Any),
    ("instructions", Kind::Text),
    ("max_output_tokens", Kind::Integer(16, i64::MAX)),
    ("max_tool_calls", Kind::Integer(1, i64::MAX)),
    ("temperature", Kind::Decimal(0.0, 2.0)),
    ("top_p", Kind::Decimal(0.0, 1.0)),
    ("top_logprobs", Kind::Integer(0, 20)),
    ("tools", Kind::List),
    ("tool_choice", Kind::Any),
    ("parallel_tool_calls", Kind::Flag),
    ("text", Kind::Object),
    ("reasoning", Kind::Object),
    ("store", Kind::Flag),
    ("previous_response_id", Kind::Text),
    ("conversation", Kind::Any),
    ("include", Kind::List),
    ("truncation", Kind::Word(&["auto", "disabled"])),
    ("stream", Kind::Flag),
    ("stream_options", Kind::Object),
    ("background", Kind::Flag),
    ("metadata", Kind::Object),
    ("client_metadata", Kind::Object),
    ("user", Kind::Text),
    ("safety_identifier", Kind::Text),
    ("prompt_cache_key", Kind::Text),
    ("prompt_cache_retention", Kind::Text),
    ("prompt_cache_options", Kind::Object),
    (
        "service_tier",
        Kind::Word(&["auto", "default", "flex", "scale", "priority", "fast"]),
    ),
    ("prompt", Kind::Object),
    ("context_management", Kind::Any),
];

const REASONING: [(&str, Kind); 5] = [
    (
        "effort",
        Kind::Word(&["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    ),
    ("summary", Kind::Word(&["auto", "concise", "detailed"])),
    ("generate_summary", Kind::Text),
    ("context", Kind::Any),
    ("mode", Kind::Any),
];

/// Reasoning that only the model can read, for the next turn.
const ENCRYPTED: &str = "reasoning.encrypted_content";

const INCLUDABLE: &[&str] = &[
    ENCRYPTED,
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.action.sources",
    "web_search_call.results",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
];

pub(super) fn reasoning_effort(
    map: &Map<String, Value>,
    family: &models::Family,
    model: &str,
) -> Result<&'static str, Refusal> {
    let included = given(map, "include").and_then(Value::as_array);
    let wants = |list: &Vec<Value>| list.iter().any(|item| item == ENCRYPTED);
    if family.efforts.is_empty() && included.is_some_and(wants) {
        return Err(
            Refusal::bad("Encrypted content is not supported with this model.").of("include"),
        );
    }
    let Some(Value::Object(reasoning)) = given(map, "reasoning") else {
        return family.effort(model, None, "reasoning.effort");
    };
    known(reasoning, &REASONING, "reasoning.")?;
    typed(reasoning, &REASONING, "reasoning.")?;
    if family.efforts.is_empty() && given(reasoning, "summary").is_some() {
        return Err(Refusal::unsupported("reasoning.summary", ""));
    }
    let asked = given(reasoning, "effort").and_then(Value::as_str);
    family.effort(model, asked, "reasoning.effort")
}

/// A tool that is offered: where it stands, the namespace it is of, and what it is.
pub(super) struct Offered<'a> {
    at: String,
    namespace: Option<&'a str>,
    tool: &'a Value,
}

/// Returns all tools of a request: those of `tools`, and those that its input adds.
pub(super) fn offered<'a>(map: &'a Map<String, Value>, history: &'a [Value]) -> Vec<Offered<'a>> {
    let mut all = Vec::new();
    let mut add = |at: &str, list: Option<&'a Value>| {
        let list = list.and_then(Value::as_array);
        for (index, tool) in list.into_iter().flatten().enumerate() {
            let at = format!("{at}tools[{index}]");
            let within = tool["tools"]
                .as_array()
                .filter(|_| tool["type"] == "namespace");
            let Some(within) = within else {
                let namespace = None;
                all.push(Offered {
                    at,
                    namespace,
                    tool,
                });
                continue;
            };
            for (index, inner) in within.iter().enumerate() {
                all.push(Offered {
                    at: format!("{at}.tools[{index}]"),
                    namespace: tool["name"].as_str(),
                    tool: inner,
                });
            }
        }
    };
    add("", map.get("tools"));
    for (index, item) in history.iter().enumerate() {
        if matches!(
            item["type"].as_str(),
            Some("additional_tools" | "tool_search_output")
        ) {
            add(&format!("input[{index}]."), item.get("tools"));
        }
    }
    all
}

impl Offered<'_> {
    /// Returns the tool's name with the namespace's before a point, which no name has.
    fn full(&self, name: &str) -> String {
        match self.namespace {
            Some(namespace) => format!("{namespace}.{name}"),
            None => name.to_owned(),
        }
    }
}

/// Tools of Responses stand flat, alone or in namespaces; those that run at OpenAI are taken and never used.
pub(super) fn flat_tools(offered: &[Offered<'_>]) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for each in offered {
        let (at, tool) = (&each.at, each.tool);
        let mut read = match text(tool, "type", at)? {
            "function" => tools::function(at, Some(tool))?,
            "custom" => Tool {
                name: name(&format!("{at}.name"), tool.get("name"))?,
                schema: Value::Null,
            },
            kind if HOSTED.contains(&kind) && each.namespace.is_none() => continue,
            other => return Err(Refusal::value(&format!("{at}.type"), other, HOSTED)),
        };
        read.name = each.full(&read.name);
        tools.push(read);
    }
    Ok(tools)
}

const HOSTED: &[&str] = &[
    "file_search",
    "computer",
    "computer_use_preview",
    "web_search",
    "web_search_preview",
    "code_interpreter",
    "image_generation",
    "local_shell",
    "shell",
    "apply_patch",
    "mcp",
    "tool_search",
];

pub(super) fn form(map: &Map<String, Value>, input: &Value) -> Result<Form, Refusal> {
    let Some(text) = given(map, "text").and_then(Value::as_object) else {
        return Ok(Form::Text);
    };
    let table = [
        ("format", Kind::Object),
        ("verbosity", Kind::Word(&["low", "medium", "high"])),
    ];
    known(text, &table, "text.")?;
    typed(text, &table, "text.")?;
    let form = tools::form(text.get("format"), "text.format", true)?;
    let instructions = map.get("instructions").unwrap_or(&Value::Null);
    let spoken = json!([input, instructions]);
    tools::speaks_of_json(&form, &spoken, "input")?;
    Ok(form)
}

pub(super) fn manner(
    map: &Map<String, Value>,
    offered: &[Offered<'_>],
    model: &str,
    effort: &str,
    prompt_tokens: u64,
) -> Result<Manner, Refusal> {
    let mut included = Vec::new();
    for (index, value) in given(map, "include")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        match value.as_str() {
            Some(word) if INCLUDABLE.contains(&word) => included.push(word),
            other => {
                let param = format!("include[{index}]");
                return Err(Refusal::value(
                    &param,
                    other.unwrap_or_default(),
                    INCLUDABLE,
                ));
            }
        }
    }
    let reasoning = map.get("reasoning").unwrap_or(&Value::Null);
    let custom = offered.iter().filter(|each| each.tool["type"] == "custom");
    let top = given(map, "top_logprobs").and_then(Value::as_u64);
    let wants_logprobs = top.is_some() || included.contains(&"message.output_text.logprobs");
    Ok(Manner {
        echo: echo(map, model, effort),
        summary: ["summary", "generate_summary"]
            .iter()
            .any(|name| reasoning[name].is_string()),
        encrypted: included.contains(&ENCRYPTED),
        logprobs: wants_logprobs.then_some(top.unwrap_or(0)),
        obfuscate: map
            .get("stream_options")
            .is_none_or(|options| options["include_obfuscation"] != false),
        custom: custom
            .filter_map(|each| Some(each.full(each.tool["name"].as_str()?)))
            .collect(),
        prompt_tokens,
    })
}

/// Returns what a response repeats of its request, defaults filled in.
fn echo(map: &Map<String, Value>, model: &str, effort: &str) -> Value {
    let or = |name: &str, default: Value| given(map, name).cloned().unwrap_or(default);
    let summary = map
        .get("reasoning")
        .map_or(Value::Null, |reasoning| reasoning["summary"].clone());
    let effort = if effort.is_empty() {
        Value::Null
    } else {
        effort.into()
    };
    json!({
        "model": model,
        "background": or("background", false.into()),
        "instructions": or("instructions", Value::Null),
        "max_output_tokens": or("max_output_tokens", Value::Null),
        "max_tool_calls": or("max_tool_calls", Value::Null),
        "metadata": or("metadata", json!({})),
        "parallel_tool_calls": or("parallel_tool_calls", true.into()),
        "previous_response_id": or("previous_response_id", Value::Null),
        "reasoning": {"effort": effort, "summary": summary},
        "service_tier": "default",
        "store": or("store", true.into()),
        "temperature": or("temperature", 1.0.into()),
        "text": or("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
        "tool_choice": or("tool_choice", "auto".into()),
        "tools": or("tools", json!([])),
        "top_logprobs": or("top_logprobs", 0.into()),
        "top_p": or("top_p", 1.0.into()),
        "truncation": or("truncation", "disabled".into()),
        "user": or("user", Value::Null),
    })
}
