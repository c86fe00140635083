//! What a client asks for: every field but the messages and tools.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::caching;
use super::super::field::{self, Field, flag, integer, number, text, tokens};
use super::super::others::name_others;
use super::super::serving;
use super::body::Body;
use super::reasoning;
use super::{tools, turns};
use crate::dialect::ollama;
use crate::ir::{ChatRequest, Dropped, Format, Json, Refused, Sampling, Text};

/// Reads the body of a request for a chat completion that another format will carry.
///
/// # Errors
/// If it is wrong, or asks for what no other format can say.
pub fn read_chat(bytes: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let body: Body<'_> = field::body(bytes)?;
    let (offer, tool_choice) = tools::read(&body)?;
    let mut dropped = Dropped::default();
    let messages = turns::read(body.messages, &mut dropped)?;
    let mut request = ChatRequest {
        functions: tools::are_functions(&body),
        messages,
        tools: offer.tools,
        special: offer.special,
        tool_choice,
        parallel_tool_calls: flag(body.parallel_tool_calls, "parallel_tool_calls")?,
        thinking: reasoning::read(&body)?,
        logprobs: logprobs(&body)?,
        cache: caching::read(body.cache_control),
        ..common(&body)?
    };
    name_others(bytes, &mut request.dropped);
    request.dropped.merge(&dropped);
    ollama::read_foreign(bytes, &mut request)?;
    Ok(request)
}

/// Reads the fields that completions share with chats.
pub(in super::super) fn completion(body: &[u8]) -> Result<ChatRequest<'_>, Refused> {
    let mut request = common(&field::body(body)?)?;
    name_others(body, &mut request.dropped);
    Ok(request)
}

fn common<'a>(body: &Body<'a>) -> Result<ChatRequest<'a>, Refused> {
    refuse_the_unsayable(body)?;
    let max_tokens = match tokens(body.max_completion_tokens, "max_completion_tokens")? {
        None => tokens(body.max_tokens, "max_tokens")?,
        limit => limit,
    };
    let options = stream_options(body)?;
    let mut dropped = dropped(body);
    dropped.add_if(
        options.include_obfuscation == Some(true),
        "stream_options.include_obfuscation",
    );
    Ok(ChatRequest {
        stream: flag(body.stream, "stream")?.unwrap_or(false),
        include_usage: options.include_usage == Some(true),
        max_tokens,
        sampling: sampling(body)?,
        stop: field::stop(body.stop)?,
        format: format(body.response_format)?,
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
            text(body.verbosity, "verbosity")?,
        )?,
        answers: answers(body.n)?,
        dropped,
        ..ChatRequest::default()
    })
}

fn refuse_the_unsayable(body: &Body<'_>) -> Result<(), Refused> {
    let modalities: Vec<Text<'_>> =
        field::read(body.modalities, "modalities", "an array of strings")?.unwrap_or_default();
    if modalities.iter().all(|name| name.as_escaped() == "text") {
        Ok(())
    } else {
        Err(Refused::field(
            "modalities",
            "`modalities` must be [\"text\"]: this model's provider answers in text alone",
        ))
    }
}

fn answers(field: Field<'_>) -> Result<Option<u32>, Refused> {
    /// The most that OpenAI takes.
    const MOST: i64 = 128;
    match integer(field, "n")? {
        None | Some(1) => Ok(None),
        Some(n @ 2..=MOST) => Ok(u32::try_from(n).ok()),
        Some(_) => Err(Refused::field("n", format!("`n` must be from 1 to {MOST}"))),
    }
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    /// Pieces of a length that tells nothing of the words.
    include_obfuscation: Option<bool>,
}

fn stream_options(body: &Body<'_>) -> Result<StreamOptions, Refused> {
    let options = field::read(body.stream_options, "stream_options", "an object")?;
    Ok(options.unwrap_or_default())
}

fn sampling<'a>(body: &Body<'a>) -> Result<Sampling<'a>, Refused> {
    let repeat_penalty = match number(body.repeat_penalty, "repeat_penalty")? {
        None => number(body.repetition_penalty, "repetition_penalty")?,
        penalty => penalty,
    };
    Ok(Sampling {
        temperature: number(body.temperature, "temperature")?,
        top_p: number(body.top_p, "top_p")?,
        top_k: integer(body.top_k, "top_k")?,
        min_p: number(body.min_p, "min_p")?,
        typical_p: number(body.typical_p, "typical_p")?,
        repeat_penalty,
        repeat_last_n: integer(body.repeat_last_n, "repeat_last_n")?,
        presence_penalty: number(body.presence_penalty, "presence_penalty")?,
        frequency_penalty: number(body.frequency_penalty, "frequency_penalty")?,
        seed: integer(body.seed, "seed")?,
        logit_bias: logit_bias(body.logit_bias)?,
    })
}

fn logit_bias(field: Field<'_>) -> Result<Option<Json<'_>>, Refused> {
    let bias = field.map(Json::of);
    if bias.as_ref().is_none_or(Json::is_object) {
        // An empty one says nothing.
        Ok(bias.filter(|bias| bias.as_str()[1..].trim_ascii_start() != "}"))
    } else {
        Err(Refused::field(
            "logit_bias",
            "`logit_bias` must be an object",
        ))
    }
}

fn logprobs(body: &Body<'_>) -> Result<Option<u8>, Refused> {
    let top = integer(body.top_logprobs, "top_logprobs")?;
    let top = match top.map(u8::try_from) {
        None => None,
        Some(Ok(top @ 0..=20)) => Some(top),
        Some(_) => {
            return Err(Refused::field(
                "top_logprobs",
                "`top_logprobs` must be from 0 to 20",
            ));
        }
    };
    match flag(body.logprobs, "logprobs")? {
        Some(true) => Ok(Some(top.unwrap_or(0))),
        _ => Ok(None),
    }
}

fn format(field: Field<'_>) -> Result<Format<'_>, Refused> {
    #[derive(Deserialize)]
    struct Wanted<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Text<'a>>,
        json_schema: Option<Schema<'a>>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        name: Option<Text<'a>>,
        description: Option<Text<'a>>,
        schema: Option<&'a RawValue>,
        strict: Option<bool>,
    }
    let Some(wanted) = field::read::<Wanted<'_>>(
        field,
        "response_format",
        "an object with `type`, and `json_schema` where that is its type",
    )?
    else {
        return Ok(Format::Text);
    };
    let kind = wanted.kind.unwrap_or_default();
    match (kind.as_escaped(), wanted.json_schema) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::Json),
        (
            "json_schema",
            Some(Schema {
                schema: Some(schema),
                name,
                description,
                strict,
            }),
        ) => Ok(Format::Schema {
            name,
            description,
            schema: Json::of(schema),
            strict,
        }),
        // A schema of no restriction.
        ("json_schema", Some(_)) => Ok(Format::Json),
        ("json_schema", None) => Err(Refused::field(
            "response_format",
            "`response_format` of type json_schema must have `json_schema`",
        )),
        _ => Err(Refused::field(
            "response_format",
            "`response_format` must be of type text, json_object or json_schema",
        )),
    }
}

fn dropped(body: &Body<'_>) -> Dropped {
    let mut dropped = Dropped::default();
    for (field, name) in [
        (body.prediction, "prediction"),
        (body.web_search_options, "web_search_options"),
        (body.plugins, "plugins"),
        (body.moderation, "moderation"),
        (body.top_a, "top_a"),
        (body.min_tokens, "min_tokens"),
        (body.ignore_eos, "ignore_eos"),
        (body.grammar, "grammar"),
        (body.json_schema, "json_schema"),
        (body.structured_outputs, "structured_outputs"),
        (body.guided_json, "guided_json"),
        (body.guided_regex, "guided_regex"),
        (body.guided_choice, "guided_choice"),
        (body.guided_grammar, "guided_grammar"),
    ] {
        dropped.add_if(field.is_some(), name);
    }
    dropped
}
