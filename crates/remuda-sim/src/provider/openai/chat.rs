//! Chat completions as they are asked for: fields, limits, and what a model may not be asked.

use serde_json::{Map, Value};

use super::super::World;
use super::super::exchange::Request;
use super::super::mind::{Choice, Prompt, Thought, Tool, tokens};
use super::error::Refusal;
use super::fields::{self as fields, Kind, given, stop_strings, text, typed};
use super::models::{self as models, Family};
use super::{messages, tools};

/// The efforts that there are at all; a model knows some of them.
const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Fields of `POST /v1/chat/completions`.
const FIELDS: [(&str, Kind); 39] = [
    ("model", Kind::Text),
    ("messages", Kind::List),
    ("stream", Kind::Flag),
    ("stream_options", Kind::Object),
    ("max_completion_tokens", Kind::Integer(1, i64::MAX)),
    ("max_tokens", Kind::Integer(1, i64::MAX)),
    ("temperature", Kind::Decimal(0.0, 2.0)),
    ("top_p", Kind::Decimal(0.0, 1.0)),
    ("frequency_penalty", Kind::Decimal(-2.0, 2.0)),
    ("presence_penalty", Kind::Decimal(-2.0, 2.0)),
    ("logit_bias", Kind::Object),
    ("seed", Kind::Integer(i64::MIN, i64::MAX)),
    ("n", Kind::Integer(1, 128)),
    ("stop", Kind::Any),
    ("logprobs", Kind::Flag),
    ("top_logprobs", Kind::Integer(0, 20)),
    ("response_format", Kind::Object),
    ("tools", Kind::List),
    ("tool_choice", Kind::Any),
    ("parallel_tool_calls", Kind::Flag),
    ("functions", Kind::List),
    ("function_call", Kind::Any),
    ("reasoning_effort", Kind::Word(EFFORTS)),
    ("verbosity", Kind::Word(&["low", "medium", "high"])),
    ("modalities", Kind::List),
    ("audio", Kind::Object),
    ("prediction", Kind::Object),
    ("web_search_options", Kind::Object),
    (
        "service_tier",
        Kind::Word(&["auto", "default", "flex", "scale", "priority", "fast"]),
    ),
    ("store", Kind::Flag),
    ("metadata", Kind::Object),
    ("user", Kind::Text),
    ("safety_identifier", Kind::Text),
    ("prompt_cache_key", Kind::Text),
    ("prompt_cache_retention", Kind::Text),
    ("prompt_cache_options", Kind::Object),
    ("moderation", Kind::Any),
    ("service_options", Kind::Object),
    ("cache_control", Kind::Object),
];

/// How a provider's chat differs from OpenAI's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Refuse fields that are not known, here and in messages.
    pub(crate) strict: bool,
    /// Hold models to what their family refuses.
    pub(crate) families: bool,
}

/// A chat request, read and found good.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    pub(crate) prompt: Prompt,
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) obfuscate: bool,
    /// How many answers are wanted.
    pub(crate) count: u64,
    /// Alternatives for each token, where log probabilities are wanted at all.
    pub(crate) logprobs: Option<u64>,
    pub(crate) prompt_tokens: u64,
    /// Names of tools that take text instead of JSON.
    pub(crate) custom: Vec<String>,
    /// Whether tools were given as `functions`, and are called as such.
    pub(crate) legacy: bool,
}

/// Returns the model of a request, if its body can be read that far.
pub(crate) fn model_of(request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    body["model"].as_str().unwrap_or("the model").to_owned()
}

/// Reads a request for `model`.
pub(crate) fn read(
    map: &Map<String, Value>,
    model: &str,
    world: &World,
    rules: Rules,
) -> Result<Chat, Refusal> {
    if rules.strict {
        fields::known(map, &FIELDS, "")?;
    }
    typed(map, &FIELDS, "")?;
    let family = if rules.families {
        models::family(model)
    } else {
        models::family("")
    };
    let effort = check_model(map, model, &family, rules)?;
    let messages = given(map, "messages").ok_or_else(|| Refusal::missing("messages"))?;
    let mut prompt = Prompt {
        model: model.to_owned(),
        reasons: family.reasons(effort),
        prose: Some(world.answer_tokens.clone()),
        seed: world.seed ^ map.get("seed").and_then(Value::as_i64).unwrap_or(0) as u64,
        stop: stop_strings(map.get("stop"), 4)?,
        tools: tools::chat_tools(map)?,
        ..Prompt::default()
    };
    let legacy = legacy_functions(map, &mut prompt)?;
    tools::choose(map, &mut prompt, |choice| {
        choice["function"]["name"]
            .as_str()
            .or(choice["custom"]["name"].as_str())
    })?;
    prompt.form = tools::form(map.get("response_format"), "response_format", false)?;
    tools::speaks_of_json(&prompt.form, messages, "messages")?;
    let mut prompt_tokens = messages::read(messages, rules.strict, &mut prompt)?;
    prompt_tokens += map
        .get("tools")
        .map_or(0, |tools| tokens(&tools.to_string()));
    prompt.max_tokens = limit(map, &family)?;
    check_context(prompt_tokens, family.context)?;
    if rules.strict {
        check_pairs(map)?;
    }
    let stream = map.get("stream") == Some(&Value::Bool(true));
    let options = map.get("stream_options").unwrap_or(&Value::Null);
    Ok(Chat {
        model: model.to_owned(),
        stream,
        include_usage: stream && options["include_usage"] == true,
        obfuscate: options["include_obfuscation"] != false,
        count: map.get("n").and_then(Value::as_u64).unwrap_or(1),
        logprobs: (map.get("logprobs") == Some(&Value::Bool(true)))
            .then(|| map.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0)),
        prompt_tokens,
        custom: custom_names(map),
        legacy,
        prompt,
    })
}

/// Checks what the model is for and what it refuses; returns how much it reasons.
fn check_model(
    map: &Map<String, Value>,
    model: &str,
    family: &Family,
    rules: Rules,
) -> Result<&'static str, Refusal> {
    if !rules.families {
        check_kind(family)?;
        return Ok("");
    }
    let asked = given(map, "reasoning_effort").and_then(Value::as_str);
    let effort = family.effort(model, asked, "reasoning_effort")?;
    check_kind(family)?;
    family.check_chat(model, map, effort)?;
    Ok(effort)
}

fn check_kind(family: &Family) -> Result<(), Refusal> {
    let message = match family.kind {
        models::ModelKind::Chat => return Ok(()),
        models::ModelKind::Pro => {
            "This model is only supported in v1/responses and not in v1/chat/completions."
        }
        models::ModelKind::Text | models::ModelKind::Embedding(_) => {
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?"
        }
    };
    Err(Refusal::bad(message).status(404).of("model"))
}

/// Fields that are only allowed together.
fn check_pairs(map: &Map<String, Value>) -> Result<(), Refusal> {
    let is_on = |name: &str| map.get(name) == Some(&Value::Bool(true));
    for (name, needs, verb) in [
        ("stream_options", "stream", "enabled"),
        ("top_logprobs", "logprobs", "enabled"),
        ("metadata", "store", "enabled"),
    ] {
        if given(map, name).is_some() && !is_on(needs) {
            return Err(Refusal::bad(format!(
                "The '{name}' parameter is only allowed when '{needs}' is {verb}."
            ))
            .of(name));
        }
    }
    if given(map, "max_tokens").is_some() && given(map, "max_completion_tokens").is_some() {
        return Err(Refusal::bad(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        )
        .code("invalid_parameter_combination"));
    }
    Ok(())
}

fn limit(map: &Map<String, Value>, family: &Family) -> Result<Option<u64>, Refusal> {
    for name in ["max_completion_tokens", "max_tokens"] {
        let Some(limit) = given(map, name).and_then(Value::as_u64) else {
            continue;
        };
        if limit > family.output {
            return Err(Refusal::bad(format!(
                "max_tokens is too large: {limit}. This model supports at most {} completion tokens, whereas you provided {limit}.",
                family.output
            ))
            .of(name)
            .code("invalid_value"));
        }
        return Ok(Some(limit));
    }
    Ok(None)
}

/// Refuses a prompt that is longer than the model's context.
pub(crate) fn check_context(prompt_tokens: u64, context: u64) -> Result<(), Refusal> {
    if prompt_tokens <= context {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "This model's maximum context length is {context} tokens. However, your messages resulted in {prompt_tokens} tokens. Please reduce the length of the messages."
    ))
    .of("messages")
    .code("context_length_exceeded"))
}

/// `functions` and `function_call`, which tools have replaced.
fn legacy_functions(map: &Map<String, Value>, prompt: &mut Prompt) -> Result<bool, Refusal> {
    let Some(functions) = given(map, "functions").and_then(Value::as_array) else {
        return Ok(false);
    };
    let read = |(index, value): (usize, &Value)| -> Result<Tool, Refusal> {
        tools::function(&format!("functions[{index}]"), Some(value))
    };
    prompt.tools = functions
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    prompt.one_call = true;
    match given(map, "function_call") {
        Some(Value::String(word)) if word == "none" => prompt.tools.clear(),
        Some(choice @ Value::Object(_)) => {
            let name = text(choice, "name", "function_call")?;
            prompt.choice = Choice::Named(name.to_owned());
        }
        _ => {}
    }
    Ok(true)
}

fn custom_names(map: &Map<String, Value>) -> Vec<String> {
    let tools = given(map, "tools").and_then(Value::as_array);
    let names = tools
        .into_iter()
        .flatten()
        .filter_map(|tool| tool["custom"]["name"].as_str());
    names.map(str::to_owned).collect()
}

impl Chat {
    /// Returns the answers, as many as were asked for.
    pub(crate) fn thoughts(&self) -> Vec<Thought> {
        let answer = |index: u64| {
            let mut prompt = self.prompt.clone();
            prompt.seed = prompt.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9));
            prompt.think()
        };
        (0..self.count).map(answer).collect()
    }
}
