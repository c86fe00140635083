//! What a client asks for: every field but the input and the tools.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::field::{self, Field, flag, integer, number, text, tokens};
use super::super::others::name_others;
use super::super::serving;
use super::tools::Offer;
use super::{choice, turns};
use crate::dialect::ollama;
use crate::ir::{
    ChatRequest, Dropped, Effort, Format, Json, Message, Part, Refused, Role, Sampling, Text,
    Thinking,
};

/// The body.
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
    tools: Field<'a>,
    tool_choice: Field<'a>,
    parallel_tool_calls: Field<'a>,
    text: Field<'a>,
    reasoning: Field<'a>,
    user: Field<'a>,
    safety_identifier: Field<'a>,
    service_tier: Field<'a>,
    prompt_cache_key: Field<'a>,
    prompt_cache_retention: Field<'a>,
    prompt_cache_options: Field<'a>,
    metadata: Field<'a>,
    store: Field<'a>,
    // What follows needs what only OpenAI keeps.
    previous_response_id: Field<'a>,
    conversation: Field<'a>,
    background: Field<'a>,
    prompt: Field<'a>,
    // What follows changes the answer and has no place in the neutral model.
    moderation: Field<'a>,
    context_management: Field<'a>,
    truncation: Field<'a>,
    max_tool_calls: Field<'a>,
    // What a client tells OpenAI of itself.
    client_metadata: Field<'a>,
    stream_options: Field<'a>,
}

/// Reads the body of a request for a response that another format will carry.
///
/// # Errors
/// If it is wrong, or asks for what no other format can say.
pub fn read_chat(bytes: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let body: Body<'_> = field::body(bytes)?;
    refuse_what_is_kept_elsewhere(&body)?;
    let mut dropped = dropped(&body);
    let input = turns::Input::of(body.input)?;
    let mut offer = Offer::default();
    offer.add(body.tools, "tools", &mut dropped)?;
    for item in input.items() {
        offer.add(item.tools(), "input", &mut dropped)?;
    }
    let tool_choice = choice::read(body.tool_choice, &mut offer)?;
    let mut messages = Vec::new();
    if let Some(instructions) =
        text(body.instructions, "instructions")?.filter(|text| !text.is_empty())
    {
        messages.push(Message::new(Role::System, vec![Part::Text(instructions)]));
    }
    turns::read(input, &offer, &mut messages, &mut dropped)?;
    let (format, verbosity) = format(body.text)?;
    name_others(bytes, &mut dropped);
    let mut request = ChatRequest {
        stream: flag(body.stream, "stream")?.unwrap_or(false),
        // The last event always tells it.
        include_usage: true,
        messages,
        tools: offer.tools,
        special: offer.special,
        tool_choice,
        parallel_tool_calls: flag(body.parallel_tool_calls, "parallel_tool_calls")?,
        max_tokens: tokens(body.max_output_tokens, "max_output_tokens")?,
        sampling: Sampling {
            temperature: number(body.temperature, "temperature")?,
            top_p: number(body.top_p, "top_p")?,
            ..Sampling::default()
        },
        format,
        thinking: thinking(body.reasoning, &mut dropped)?,
        logprobs: logprobs(&body, &mut dropped)?,
        user: text(body.user, "user")?,
        serving: serving::read(
            serving::Fields {
                service_tier: body.service_tier,
                prompt_cache_key: body.prompt_cache_key,
                prompt_cache_retention: body.prompt_cache_retention,
                prompt_cache_options: body.prompt_cache_options,
                metadata: body.metadata,
                safety_identifier: body.safety_identifier,
                store: body.store,
            },
            verbosity,
        )?,
        dropped,
        ..ChatRequest::default()
    };
    ollama::read_foreign(bytes, &mut request)?;
    Ok(request)
}

fn dropped(body: &Body<'_>) -> Dropped {
    let mut dropped = Dropped::default();
    let truncates = body
        .truncation
        .and_then(Text::of)
        .is_some_and(|how| how.as_escaped() != "disabled");
    for (has, name) in [
        (
            obfuscates(body.stream_options),
            "stream_options.include_obfuscation",
        ),
        (body.moderation.is_some(), "moderation"),
        (body.context_management.is_some(), "context_management"),
        (truncates, "truncation"),
        (body.max_tool_calls.is_some(), "max_tool_calls"),
        (body.client_metadata.is_some(), "client_metadata"),
    ] {
        dropped.add_if(has, name);
    }
    dropped
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

/// Reads `text`: the format, and how wordy the answer is to be.
fn format<'a>(field: Field<'a>) -> Result<(Format<'a>, Option<Text<'a>>), Refused> {
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
        return Ok((Format::Text, None));
    };
    let verbosity = text(said.verbosity, "text.verbosity")?;
    let Some(wanted) = said.format else {
        return Ok((Format::Text, verbosity));
    };
    let format = match (
        wanted.kind.as_ref().map_or("text", Text::as_escaped),
        wanted.schema,
    ) {
        ("text", _) => Format::Text,
        ("json_object", _) => Format::Json,
        ("json_schema", Some(schema)) => Format::Schema {
            name: wanted.name,
            description: wanted.description,
            schema: Json::of(schema),
            strict: wanted.strict,
        },
        ("json_schema", None) => {
            return Err(Refused::field(
                "text.format",
                "`text.format` of type json_schema must have a `schema`",
            ));
        }
        _ => {
            return Err(Refused::field(
                "text.format",
                format!("`text` must be {EXPECTED}"),
            ));
        }
    };
    Ok((format, verbosity))
}

/// Returns whether pieces of a length that tells nothing of the words are asked for.
fn obfuscates(field: Field<'_>) -> bool {
    #[derive(Deserialize)]
    struct Options {
        include_obfuscation: Option<bool>,
    }
    let options = field.and_then(|field| serde_json::from_str::<Options>(field.get()).ok());
    options.is_some_and(|options| options.include_obfuscation == Some(true))
}

/// `reasoning`: its effort. How it is summarised is the provider's matter; a client that says how is told so.
fn thinking(field: Field<'_>, dropped: &mut Dropped) -> Result<Option<Thinking>, Refused> {
    #[derive(Deserialize)]
    struct Reasoning<'a> {
        #[serde(borrow)]
        effort: Option<Text<'a>>,
        summary: Option<Text<'a>>,
        /// Its older name.
        generate_summary: Option<Text<'a>>,
    }
    const EXPECTED: &str =
        "an object whose `effort` is one of none, minimal, low, medium, high, xhigh, max";
    let Some(reasoning) = field::read::<Reasoning<'_>>(field, "reasoning", EXPECTED)? else {
        return Ok(None);
    };
    let summary = reasoning.summary.or(reasoning.generate_summary);
    let is_left_open = |summary: &Text<'_>| summary.as_escaped() == "auto";
    dropped.add_if(
        summary.is_some_and(|summary| !is_left_open(&summary)),
        "reasoning.summary",
    );
    match reasoning.effort.as_ref().map(Text::as_escaped) {
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

/// Reads how many log probabilities are wanted. OpenAI gives them where `include` asks for them; `top_logprobs` alone
/// is taken for the same wish. What else may be included is of tools that run at OpenAI.
fn logprobs(body: &Body<'_>, dropped: &mut Dropped) -> Result<Option<u8>, Refused> {
    const LOGPROBS: &str = "message.output_text.logprobs";
    const PROOFS: &str = "reasoning.encrypted_content";
    let included: Vec<Text<'_>> =
        field::read(body.include, "include", "an array of strings")?.unwrap_or_default();
    let wanted = included.iter().any(|name| name.as_escaped() == LOGPROBS);
    let is_known = |name: &Text<'_>| matches!(name.as_escaped(), LOGPROBS | PROOFS);
    dropped.add_if(!included.iter().all(is_known), "include");
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
