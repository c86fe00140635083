//! A Messages request as the API checks it: fields, limits, and what this model refuses.

use serde_json::Value;

use super::super::ledger::Ledger;
use super::content;
use super::fields::Fields;
use super::management::{self, Betas};
use super::models::Model;
use super::refused::Refused;
use super::schema;
use super::thinking::{self, Thinking};
use super::tools::{self, Choice, Tool};
use super::turns::{self, Turn};

/// A request that the API takes.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) stream: bool,
    /// 0 only warms the cache.
    pub(super) max_tokens: u64,
    pub(super) stop: Vec<&'a str>,
    pub(super) thinking: Thinking,
    /// The answer tells which edits were made of the history.
    pub(super) managed: bool,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) choice: Choice<'a>,
    /// Several calls in one turn are wanted.
    pub(super) parallel: bool,
    /// The schema of `output_config.format`.
    pub(super) schema: Option<&'a Value>,
    pub(super) turns: Vec<Turn<'a>>,
    pub(super) ledger: Ledger,
}

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Answer,
    CountTokens,
}

const COUNTED: [&str; 11] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "speed",
    "user_profile_id",
    "workspace_id",
];

const ANSWERED: [&str; 12] = [
    "max_tokens",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "metadata",
    "service_tier",
    "inference_geo",
    "container",
    "diagnostics",
    "fallbacks",
];

/// Returns the model that a body names.
pub(super) fn model_name(body: &Value) -> Result<&str, Refused> {
    let fields = Fields::root(body)?;
    let name = fields.required_string("model")?;
    if name.is_empty() {
        Err(fields.wrong("model", "String should have at least 1 character"))
    } else {
        Ok(name)
    }
}

/// Checks a body for `model`.
pub(super) fn check<'a>(
    body: &'a Value,
    model: &Model,
    purpose: Purpose,
    betas: &Betas,
) -> Result<Checked<'a>, Refused> {
    let fields = Fields::root(body)?;
    let answered = match purpose {
        Purpose::CountTokens => &[][..],
        Purpose::Answer => &ANSWERED[..],
    };
    fields.only(&[&COUNTED[..], answered, betas.fields()].concat())?;
    let max_tokens = max_tokens(&fields, model, purpose)?;
    let stop = stop_sequences(&fields)?;
    metadata(&fields)?;
    let mut ledger = Ledger::default();
    let tools = tools::tools(&fields, &mut ledger)?;
    let (choice, parallel) = tools::choice(&fields, &tools)?;
    system(&fields, &mut ledger)?;
    let messages = fields.required("messages").and(fields.list("messages"))?;
    let turns = turns::check(messages.map_or(&[], Vec::as_slice), model, &mut ledger)?;
    content::breakpoint(&fields, &mut ledger)?;
    let thinking = thinking::check(&fields, model, max_tokens, &choice, &turns)?;
    let managed = management::check(&fields, thinking)?;
    sampling(&fields, model, thinking)?;
    let schema = output_config(&fields, model)?;
    let tokens = ledger.tokens();
    if tokens > model.max_input {
        return Err(Refused::invalid(format!(
            "prompt is too long: {tokens} tokens > {} maximum",
            model.max_input
        )));
    }
    Ok(Checked {
        stream: fields.boolean("stream")?.unwrap_or_default(),
        max_tokens: max_tokens.unwrap_or_default(),
        stop,
        thinking,
        managed,
        tools,
        choice,
        parallel,
        schema,
        turns,
        ledger,
    })
}

fn max_tokens(fields: &Fields, model: &Model, purpose: Purpose) -> Result<Option<u64>, Refused> {
    if purpose == Purpose::CountTokens {
        return Ok(None);
    }
    fields.required("max_tokens")?;
    let most = fields.integer("max_tokens", 0)?.unwrap_or_default() as u64;
    if most > model.max_output {
        return Err(Refused::invalid(format!(
            "max_tokens: {most} > {}, which is the maximum allowed number of output tokens for {}",
            model.max_output, model.id
        )));
    }
    Ok(Some(most))
}

fn stop_sequences<'a>(fields: &Fields<'a>) -> Result<Vec<&'a str>, Refused> {
    let list = fields.list("stop_sequences")?.into_iter().flatten();
    list.enumerate()
        .map(|(index, stop)| match stop.as_str() {
            None => Err(Refused::invalid(format!(
                "stop_sequences.{index}: Input should be a valid string"
            ))),
            Some(stop) if stop.trim().is_empty() => Err(Refused::invalid(
                "stop_sequences: each stop sequence must contain non-whitespace",
            )),
            Some(stop) => Ok(stop),
        })
        .collect()
}

fn metadata(fields: &Fields) -> Result<(), Refused> {
    if let Some(metadata) = fields.object("metadata")? {
        metadata.only(&["user_id"])?;
        if metadata.nullable("user_id").is_some() {
            metadata.string("user_id")?;
        }
    }
    fields.word("service_tier", &["auto", "standard_only"])?;
    if fields.nullable("speed").is_some() {
        fields.word("speed", &["standard", "fast"])?;
    }
    Ok(())
}

fn system(fields: &Fields, ledger: &mut Ledger) -> Result<(), Refused> {
    match fields.get("system") {
        // An empty string is no system prompt; an empty block is refused.
        None => Ok(()),
        Some(system) => content::blocks(system, "system", &["text"], ledger).map(drop),
    }
}

fn sampling(fields: &Fields, model: &Model, thinking: Thinking) -> Result<(), Refused> {
    let temperature = fields.unit("temperature")?;
    let top_p = fields.unit("top_p")?;
    let top_k = fields.integer("top_k", 0)?;
    let refused = |name: &str, why: &str| Err(Refused::invalid(format!("`{name}` {why}")));
    if !model.sampling {
        let deprecated = "is deprecated for this model.";
        return match (temperature, top_p, top_k) {
            (Some(temperature), ..) if temperature != 1.0 => refused("temperature", deprecated),
            (_, Some(_), _) => refused("top_p", deprecated),
            (_, _, Some(_)) => refused("top_k", deprecated),
            _ => Ok(()),
        };
    }
    if thinking == Thinking::Off {
        return Ok(());
    }
    let see = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking";
    match (temperature, top_p, top_k) {
        (Some(temperature), ..) if temperature != 1.0 => refused(
            "temperature",
            &format!("may only be set to 1 when thinking is enabled or in adaptive mode. {see}"),
        ),
        (_, Some(top_p), _) if top_p < 0.95 => refused(
            "top_p",
            &format!(
                "must be greater than or equal to 0.95 or unset when thinking is enabled. {see}"
            ),
        ),
        (_, _, Some(_)) => refused(
            "top_k",
            &format!("must be unset when thinking is enabled. {see}"),
        ),
        _ => Ok(()),
    }
}

fn output_config<'a>(fields: &Fields<'a>, model: &Model) -> Result<Option<&'a Value>, Refused> {
    let Some(config) = fields.object("output_config")? else {
        return Ok(None);
    };
    config.only(&["effort", "format"])?;
    if config.nullable("effort").is_some() {
        let efforts = ["low", "medium", "high", "xhigh", "max"];
        let effort = config.word("effort", &efforts)?.unwrap_or_default();
        if model.efforts.is_empty() {
            return Err(Refused::invalid(
                "This model does not support the effort parameter.",
            ));
        }
        if !model.efforts.contains(&effort) {
            return Err(Refused::invalid(format!(
                "This model does not support effort level '{effort}'. Supported levels: {}.",
                model.efforts.join(", ")
            )));
        }
    }
    let Some(format) = config.nullable("format") else {
        return Ok(None);
    };
    let format = Fields::of(format, config.path("format"))?;
    format.only(&["type", "schema"])?;
    format.required("type")?;
    format.word("type", &["json_schema"])?;
    let wanted = format.required("schema")?;
    format.object("schema")?;
    schema::check(wanted, "output_config.format.schema")?;
    Ok(Some(wanted))
}
