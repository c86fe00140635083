//! A request as the provider takes it.

use std::io::Write;

use ahash::AHashSet;

use super::schema::write_closed;
use super::turns::{self, LONGEST_NAME};
use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::turns::{self as shared, Amid};
use crate::facts::{Capability, EffortLevel, Parameter, ReasoningSetting};
use crate::ir::{
    ChatRequest, Dropped, Format, Json, Message, Part, Refused, Role, Sampling, Text, Tool,
    ToolChoice, ToolNames, hoist_prompt,
};

/// Tokens of an answer where neither the client nor the facts give a limit; the provider wants one.
const DEFAULT_MAX_TOKENS: u64 = 4096;
/// The provider's least budget.
const LEAST_BUDGET: u64 = 1024;

/// Writes the request.
///
/// # Errors
/// For what the provider has no way to say.
pub fn write_chat(
    mut request: ChatRequest<'_>,
    target: &Target<'_>,
) -> Result<ProviderRequest, Refused> {
    let mut dropped = Dropped::default();
    shared::only_chats(request.completion.as_ref(), "Anthropic", &mut dropped)?;
    dropped.add_if(request.limit_breakpoints(), "cache_control");
    let system = system(&mut request, target);
    let amid = if target.facts.surely_can(Capability::SystemTurns) {
        Amid::System
    } else {
        Amid::User
    };
    turns::arrange(&mut request.messages, amid);
    let ask = ask(&request, target);
    let unheard = ask == ReasoningSetting::Nothing
        && target.facts.ask(request.thinking) != ReasoningSetting::Nothing;
    dropped.add_if(unheard, "thinking");
    prefill(&mut request.messages, target, ask, &mut dropped);
    let limits = Limits::of(&request, target, ask);
    let mut names = ToolNames::default();
    names.reserve(request.tools.iter().map(|tool| &tool.name), LONGEST_NAME);
    let mut body = Vec::with_capacity(1024);
    body.extend_from_slice(b"{\"model\":");
    Text::plain(target.model).write(&mut body);
    let _ = write!(body, ",\"max_tokens\":{}", limits.max_tokens);
    if target.stream {
        body.extend_from_slice(b",\"stream\":true");
    }
    write_system(&system, &mut names, &mut body)?;
    body.extend_from_slice(b",\"messages\":");
    turns::write(&request.messages, &mut names, &mut body)?;
    write_tools(&request, target, ask, &mut names, &mut dropped, &mut body);
    write_thinking(&request.format, target, ask, &limits, &mut body);
    write_sampling(
        &request.sampling,
        target,
        ask,
        &limits,
        &mut dropped,
        &mut body,
    );
    let stop = write_stop(&request.stop, &mut body);
    if let Some(ttl) = request.cache {
        turns::write_breakpoint(ttl, &mut body);
    }
    write_account(&request, &mut body);
    body.push(b'}');
    dropped.add_if(request.logprobs.is_some(), "logprobs");
    Ok(ProviderRequest {
        path: "/v1/messages".to_owned(),
        body,
        dropped,
        names,
        stop,
        ..ProviderRequest::default()
    })
}

/// Writes for whom the request is made, and how soon it is to be served.
fn write_account(request: &ChatRequest<'_>, body: &mut Vec<u8>) {
    if let Some(user) = &request.user {
        body.extend_from_slice(b",\"metadata\":{\"user_id\":");
        user.write(body);
        body.push(b'}');
    }
    if let Some(tier) = &request.serving.tier {
        body.extend_from_slice(match tier.as_escaped() {
            "default" => br#","service_tier":"standard_only""#.as_slice(),
            _ => br#","service_tier":"auto""#,
        });
    }
}

/// Writes the system prompt as one string unless some of it is to be kept.
fn write_system(
    system: &[Part<'_>],
    names: &mut ToolNames,
    body: &mut Vec<u8>,
) -> Result<(), Refused> {
    match system {
        [] => {}
        [Part::Text(text)] => {
            body.extend_from_slice(b",\"system\":");
            text.write(body);
        }
        parts => {
            body.extend_from_slice(b",\"system\":[");
            turns::write_parts(parts, names, body)?;
            body.push(b']');
        }
    }
    Ok(())
}

/// Returns the system prompt, and what takes the place of a JSON mode.
fn system<'a>(request: &mut ChatRequest<'a>, target: &Target<'_>) -> Vec<Part<'a>> {
    let system = hoist_prompt(&mut request.messages);
    let instruction = match &request.format {
        Format::Text => None,
        Format::Json => Some(Text::plain(
            "Answer with one JSON object and nothing else: no words before or after it, no code fence.",
        )),
        Format::Schema { schema, .. } if !target.facts.can(Capability::JsonSchema) => {
            let mut text = Text::plain(
                "Answer with one JSON object that fits the following JSON Schema and nothing else: no words before or after it, no code fence. ",
            );
            text.push(&schema.to_text());
            Some(text)
        }
        Format::Schema { .. } => None,
    };
    match instruction {
        Some(instruction) => shared::with_wish(system, instruction),
        None => system,
    }
}

/// Returns what to say of thinking. Where the provider wants the thoughts of a turn that called tools back and they are
/// not there, it cannot think in this request.
fn ask(request: &ChatRequest<'_>, target: &Target<'_>) -> ReasoningSetting {
    let ask = target.facts.ask(request.thinking);
    let unthought = |message: &Message<'_>| {
        let has = |kind: fn(&Part<'_>) -> bool| message.parts.iter().any(kind);
        has(|part| matches!(part, Part::ToolCall(_)))
            && !has(|part| matches!(part, Part::Thought(_)))
    };
    let last = request
        .messages
        .iter()
        .rev()
        .find(|message| message.role == Role::Assistant);
    let mut turns = request.messages.iter();
    let user = turns.rfind(|message| message.role != Role::System);
    let answers_tools = user.is_some_and(|message| {
        message
            .parts
            .iter()
            .any(|part| matches!(part, Part::ToolResult(_)))
    });
    match ask {
        ReasoningSetting::Budget(_) | ReasoningSetting::Automatic
            if answers_tools && last.is_some_and(unthought) =>
        {
            ReasoningSetting::Nothing
        }
        ask => ask,
    }
}

fn thinks(ask: ReasoningSetting) -> bool {
    !matches!(
        ask,
        ReasoningSetting::Nothing
            | ReasoningSetting::Off
            | ReasoningSetting::Effort(EffortLevel::None)
    )
}

/// A last turn of the assistant's is to be continued, if the model does that.
fn prefill(
    messages: &mut Vec<Message<'_>>,
    target: &Target<'_>,
    ask: ReasoningSetting,
    dropped: &mut Dropped,
) {
    if !shared::is_unfinished(messages) {
        return;
    }
    if target.facts.refuses(Parameter::Prefill, ask) || thinks(ask) {
        dropped.add("prefill");
        messages.push(shared::go_on());
    } else {
        shared::trim_last(messages);
    }
}

/// How much the model may write and think.
struct Limits {
    max_tokens: u64,
    budget: Option<u64>,
}

impl Limits {
    fn of(request: &ChatRequest<'_>, target: &Target<'_>, ask: ReasoningSetting) -> Self {
        let most = target.facts.max_output;
        let within = |tokens: u64| most.map_or(tokens, |most| tokens.min(most));
        let wanted = within(
            request
                .max_tokens
                .or(most)
                .unwrap_or(DEFAULT_MAX_TOKENS)
                .max(1),
        );
        let ReasoningSetting::Budget(budget) = ask else {
            return Limits {
                max_tokens: wanted,
                budget: None,
            };
        };
        let budget = u64::from(budget);
        // Thinking counts against the limit, which the client meant for the answer.
        let max_tokens = match request.max_tokens {
            Some(tokens) => within(tokens.saturating_add(budget)),
            None => within(wanted.max(budget.saturating_mul(2))),
        };
        let budget = budget.min(max_tokens.saturating_sub(1));
        Limits {
            max_tokens,
            budget: (budget >= LEAST_BUDGET).then_some(budget),
        }
    }
}

fn write_thinking(
    format: &Format<'_>,
    target: &Target<'_>,
    ask: ReasoningSetting,
    limits: &Limits,
    body: &mut Vec<u8>,
) {
    let mut effort = None;
    match ask {
        ReasoningSetting::Nothing => {}
        ReasoningSetting::Off | ReasoningSetting::Effort(EffortLevel::None) => {
            body.extend_from_slice(b",\"thinking\":{\"type\":\"disabled\"}");
        }
        ReasoningSetting::On(wanted) => {
            body.extend_from_slice(
                b",\"thinking\":{\"type\":\"adaptive\",\"display\":\"summarized\"}",
            );
            effort = wanted;
        }
        ReasoningSetting::Effort(wanted) => {
            body.extend_from_slice(
                b",\"thinking\":{\"type\":\"adaptive\",\"display\":\"summarized\"}",
            );
            effort = Some(wanted);
        }
        ReasoningSetting::Budget(_) => {
            if let Some(budget) = limits.budget {
                let _ = write!(
                    body,
                    r#","thinking":{{"type":"enabled","budget_tokens":{budget}}}"#
                );
            }
        }
        ReasoningSetting::Automatic => {
            body.extend_from_slice(
                b",\"thinking\":{\"type\":\"adaptive\",\"display\":\"summarized\"}",
            );
        }
    }
    let schema = match format {
        Format::Schema { schema, .. } if target.facts.can(Capability::JsonSchema) => Some(schema),
        _ => None,
    };
    if effort.is_none() && schema.is_none() {
        return;
    }
    body.extend_from_slice(b",\"output_config\":{");
    if let Some(effort) = effort {
        let _ = write!(body, r#""effort":"{}""#, effort.name());
    }
    if let Some(schema) = schema {
        if effort.is_some() {
            body.push(b',');
        }
        body.extend_from_slice(b"\"format\":{\"type\":\"json_schema\",\"schema\":");
        write_closed(schema, body);
        body.push(b'}');
    }
    body.push(b'}');
}

fn write_sampling(
    sampling: &Sampling<'_>,
    target: &Target<'_>,
    ask: ReasoningSetting,
    limits: &Limits,
    dropped: &mut Dropped,
    body: &mut Vec<u8>,
) {
    let refuses = |parameter| target.facts.refuses(parameter, ask);
    // With thinking by budget, only the default temperature, no top_k, and a top_p of 0.95 or more.
    let budget = limits.budget.is_some();
    let mut has_temperature = false;
    if let Some(temperature) = sampling.temperature {
        if refuses(Parameter::Temperature) || budget {
            dropped.add_if((temperature - 1.0).abs() > f64::EPSILON, "temperature");
        } else {
            dropped.add_if(temperature > 1.0, "temperature");
            has_temperature = true;
            let _ = write!(body, ",\"temperature\":{}", temperature.clamp(0.0, 1.0));
        }
    }
    if let Some(top_p) = sampling.top_p {
        let alone = target.facts.sampling != crate::facts::SamplingRule::OneOfTemperatureAndTopP
            || !has_temperature;
        if refuses(Parameter::TopP) || (budget && top_p < 0.95) || !alone {
            dropped.add_if(top_p < 1.0, "top_p");
        } else {
            let _ = write!(body, ",\"top_p\":{}", top_p.clamp(0.0, 1.0));
        }
    }
    if let Some(top_k) = sampling.top_k {
        if refuses(Parameter::TopK) || budget || top_k < 1 {
            dropped.add_if(top_k > 0, "top_k");
        } else {
            let _ = write!(body, ",\"top_k\":{top_k}");
        }
    }
    dropped.add_if(sampling.min_p.is_some(), "min_p");
    dropped.add_if(sampling.typical_p.is_some(), "typical_p");
    dropped.add_if(sampling.repeat_penalty.is_some(), "repeat_penalty");
    dropped.add_if(sampling.repeat_last_n.is_some(), "repeat_last_n");
    dropped.add_if(sampling.presence_penalty.is_some(), "presence_penalty");
    dropped.add_if(sampling.frequency_penalty.is_some(), "frequency_penalty");
    dropped.add_if(sampling.seed.is_some(), "seed");
    dropped.add_if(sampling.logit_bias.is_some(), "logit_bias");
}

/// Writes the stop strings. Blank ones, which the provider refuses, are returned: the gateway cuts at them.
fn write_stop(stop: &[Text<'_>], body: &mut Vec<u8>) -> Vec<String> {
    let (blank, sent): (Vec<_>, Vec<_>) = stop
        .iter()
        .filter(|text| !text.is_empty())
        .partition(|text| text.is_blank());
    if !sent.is_empty() {
        body.extend_from_slice(b",\"stop_sequences\":[");
        for (index, text) in sent.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            text.write(body);
        }
        body.push(b']');
    }
    blank
        .into_iter()
        .map(|text| text.decoded().into_owned())
        .collect()
}

fn write_tools(
    request: &ChatRequest<'_>,
    target: &Target<'_>,
    ask: ReasoningSetting,
    names: &mut ToolNames,
    dropped: &mut Dropped,
    body: &mut Vec<u8>,
) {
    let called = called_before(request);
    let tools = if request.tools.is_empty() {
        &called
    } else {
        &request.tools
    };
    if tools.is_empty() {
        return;
    }
    body.extend_from_slice(b",\"tools\":[");
    for (index, tool) in tools.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_tool(tool, names, body);
    }
    body.push(b']');
    let forced = target.facts.refuses(Parameter::ForcedToolChoice, ask)
        || (thinks(ask)
            && matches!(
                ask,
                ReasoningSetting::Budget(_) | ReasoningSetting::Automatic
            ));
    let serial = request.parallel_tool_calls == Some(false);
    let choice = match &request.tool_choice {
        _ if request.tools.is_empty() => "none",
        ToolChoice::None => "none",
        ToolChoice::Required | ToolChoice::Named(_) if forced => {
            dropped.add("tool_choice");
            "auto"
        }
        ToolChoice::Required => "any",
        ToolChoice::Named(_) => "tool",
        ToolChoice::Auto => "auto",
    };
    if choice == "auto" && !serial {
        return;
    }
    let _ = write!(body, r#","tool_choice":{{"type":"{choice}""#);
    if let (ToolChoice::Named(name), "tool") = (&request.tool_choice, choice) {
        body.extend_from_slice(b",\"name\":");
        names.sent(name, LONGEST_NAME).write(body);
    }
    if serial && choice != "none" {
        body.extend_from_slice(b",\"disable_parallel_tool_use\":true");
    }
    body.push(b'}');
}

/// Returns the tools of earlier turns: the provider wants them declared though they are offered no more.
fn called_before<'a>(request: &ChatRequest<'a>) -> Vec<Tool<'a>> {
    let mut tools: Vec<Tool<'a>> = Vec::new();
    let mut known = AHashSet::new();
    for part in request.messages.iter().flat_map(|message| &message.parts) {
        if let Part::ToolCall(call) = part
            && known.insert(call.name.as_escaped())
        {
            tools.push(Tool {
                name: call.name.clone(),
                description: None,
                parameters: None,
                strict: None,
                cache: None,
            });
        }
    }
    tools
}

fn write_tool(tool: &Tool<'_>, names: &mut ToolNames, body: &mut Vec<u8>) {
    body.extend_from_slice(b"{\"name\":");
    names.sent(&tool.name, LONGEST_NAME).write(body);
    if let Some(description) = tool.description.as_ref().filter(|text| !text.is_blank()) {
        body.extend_from_slice(b",\"description\":");
        description.write(body);
    }
    body.extend_from_slice(b",\"input_schema\":");
    write_schema(tool.parameters.as_ref(), body);
    if tool.strict == Some(true) {
        body.extend_from_slice(b",\"strict\":true");
    }
    if let Some(ttl) = tool.cache {
        turns::write_breakpoint(ttl, body);
    }
    body.push(b'}');
}

/// Writes the schema of a tool. The provider wants that of an object, so one that states no type is said to be of one.
fn write_schema(schema: Option<&Json<'_>>, body: &mut Vec<u8>) {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        r#type: Option<&'a serde_json::value::RawValue>,
    }
    let Some(schema) = schema.filter(|schema| schema.is_object()) else {
        body.extend_from_slice(br#"{"type":"object","properties":{}}"#);
        return;
    };
    let typed = serde_json::from_str::<Typed<'_>>(schema.as_str())
        .is_ok_and(|schema| schema.r#type.is_some());
    let rest = schema.as_str()[1..].trim_start();
    match (typed, rest) {
        (true, _) => schema.write(body),
        (false, "}") => body.extend_from_slice(br#"{"type":"object","properties":{}}"#),
        (false, rest) => {
            body.extend_from_slice(br#"{"type":"object","#);
            body.extend_from_slice(rest.as_bytes());
        }
    }
}
