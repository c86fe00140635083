//! What a client asks for: every field but the input and the tools.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::field::{self, Field, flag, integer, number, text, tokens};
use super::{tools, turns};
use crate::ir::{
    ChatRequest, Dropped, Effort, Format, Json, Message, Part, Refused, Role, Sampling, Text,
    Thinking,
};

/// The body. `store`, `metadata`, `truncation` and the like are not here: they say nothing about the answer.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    input: Field<'a>,
    instructions: Field<'a>,
    stream: Field<'a>,
    max_output_tokens: Field<'a>,
    temperature: Field<'a>,
    top_p: Field<'a>,
    top_logprobs: Field<'a>,
    include: Field<'a>,
    pub(super) tools: Field<'a>,
    pub(super) tool_choice: Field<'a>,
    parallel_tool_calls: Field<'a>,
    text: Field<'a>,
    reasoning: Field<'a>,
    user: Field<'a>,
    safety_identifier: Field<'a>,
    // What follows needs what only OpenAI keeps.
    previous_response_id: Field<'a>,
    conversation: Field<'a>,
    background: Field<'a>,
    prompt: Field<'a>,
    // What follows changes the answer and has no place in the neutral model.
    moderation: Field<'a>,
    context_management: Field<'a>,
}

/// Reads the body of a request for a response that another format will carry.
///
/// # Errors
/// If it is wrong, or asks for what no other format can say.
pub fn read_chat(body: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let body: Body<'_> = field::body(body)?;
    refuse_what_is_kept_elsewhere(&body)?;
    let mut dropped = Dropped::default();
    dropped.add_if(body.moderation.is_some(), "moderation");
    dropped.add_if(body.context_management.is_some(), "context_management");
    let (tools, tool_choice) = tools::read(&body, &mut dropped)?;
    let mut messages = Vec::new();
    if let Some(instructions) =
        text(body.instructions, "instructions")?.filter(|text| !text.is_empty())
    {
        messages.push(Message::new(Role::System, vec![Part::Text(instructions)]));
    }
    turns::read(body.input, &mut messages, &mut dropped)?;
    let user = match text(body.user, "user")? {
        None => text(body.safety_identifier, "safety_identifier")?,
        user => user,
    };
    Ok(ChatRequest {
        stream: flag(body.stream, "stream")?.unwrap_or(false),
        // The last event always tells it.
        include_usage: true,
        messages,
        completion: None,
        tools,
        tool_choice,
        parallel_tool_calls: flag(body.parallel_tool_calls, "parallel_tool_calls")?,
        max_tokens: tokens(body.max_output_tokens, "max_output_tokens")?,
        sampling: Sampling {
            temperature: number(body.temperature, "temperature")?,
            top_p: number(body.top_p, "top_p")?,
            ..Sampling::default()
        },
        stop: Vec::new(),
        format: format(body.text, &mut dropped)?,
        thinking: thinking(body.reasoning)?,
        logprobs: logprobs(&body)?,
        user,
        cache: None,
        dropped,
        functions: false,
        answers: None,
    })
}

fn refuse_what_is_kept_elsewhere(body: &Body<'_>) -> Result<(), Refused> {
    for (field, name) in [
        (body.previous_response_id, "previous_response_id"),
        (body.conversation, "conversation"),
        (body.prompt, "prompt"),
    ] {
        if field.is_some() {
            return Err(Refused::field(
                name,
                format!(
                    "`{name}` names what is stored at OpenAI, and this model's provider is another one: send the whole input"
                ),
            ));
        }
    }
    match flag(body.background, "background")? {
        Some(true) => Err(Refused::field(
            "background",
            "`background` must be false: this model's provider answers at once",
        )),
        _ => Ok(()),
    }
}

/// `text`: the format, and how wordy the answer is to be.
fn format<'a>(field: Field<'a>, dropped: &mut Dropped) -> Result<Format<'a>, Refused> {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        format: Option<Wanted<'a>>,
        verbosity: Field<'a>,
    }
    #[derive(Deserialize)]
    struct Wanted<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Text<'a>>,
        name: Option<Text<'a>>,
        description: Option<Text<'a>>,
        schema: Option<&'a RawValue>,
        strict: Option<bool>,
    }
    const EXPECTED: &str =
        "an object with `format`, whose type is text, json_object or json_schema";
    let Some(said) = field::read::<Said<'a>>(field, "text", EXPECTED)? else {
        return Ok(Format::Text);
    };
    dropped.add_if(said.verbosity.is_some(), "text.verbosity");
    let Some(wanted) = said.format else {
        return Ok(Format::Text);
    };
    match (
        wanted.kind.as_ref().map_or("text", Text::as_escaped),
        wanted.schema,
    ) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::Json),
        ("json_schema", Some(schema)) => Ok(Format::Schema {
            name: wanted.name,
            description: wanted.description,
            schema: Json::of(schema),
            strict: wanted.strict,
        }),
        ("json_schema", None) => Err(Refused::field(
            "text.format",
            "`text.format` of type json_schema must have a `schema`",
        )),
        _ => Err(Refused::field(
            "text.format",
            format!("`text` must be {EXPECTED}"),
        )),
    }
}

/// `reasoning`: its effort. How it is summarised is the provider's matter.
fn thinking(field: Field<'_>) -> Result<Option<Thinking>, Refused> {
    #[derive(Deserialize)]
    struct Reasoning<'a> {
        #[serde(borrow)]
        effort: Option<Text<'a>>,
    }
    const EXPECTED: &str =
        "an object whose `effort` is one of none, minimal, low, medium, high, xhigh, max";
    let effort = field::read::<Reasoning<'_>>(field, "reasoning", EXPECTED)?
        .and_then(|reasoning| reasoning.effort);
    match effort.as_ref().map(Text::as_escaped) {
        None => Ok(None),
        Some("none") => Ok(Some(Thinking::Off)),
        Some(name) => match Effort::named(name) {
            Some(effort) => Ok(Some(Thinking::Effort(effort))),
            None => Err(Refused::field(
                "reasoning.effort",
                format!("`reasoning` must be {EXPECTED}"),
            )),
        },
    }
}

/// OpenAI gives log probabilities where `include` asks for them; `top_logprobs` alone is taken for the same wish.
fn logprobs(body: &Body<'_>) -> Result<Option<u8>, Refused> {
    let included: Vec<Text<'_>> =
        field::read(body.include, "include", "an array of strings")?.unwrap_or_default();
    let wanted = included
        .iter()
        .any(|name| name.as_escaped() == "message.output_text.logprobs");
    match integer(body.top_logprobs, "top_logprobs")? {
        None | Some(0) => Ok(wanted.then_some(0)),
        Some(top) => match u8::try_from(top) {
            Ok(top @ 1..=20) => Ok(Some(top)),
            _ => Err(Refused::field(
                "top_logprobs",
                "`top_logprobs` must be from 0 to 20",
            )),
        },
    }
}
