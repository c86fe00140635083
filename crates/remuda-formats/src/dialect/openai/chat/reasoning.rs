//! How a client asks for reasoning: OpenAI's `reasoning_effort`, and the other fields that servers with this API read.

use serde::Deserialize;

use super::super::field::{self, Field, flag, text};
use super::body::Body;
use crate::ir::{Effort, Refused, Text, Thinking};

/// OpenRouter's `reasoning`, DeepSeek's and Anthropic's `thinking`.
#[derive(Deserialize)]
struct Switch<'a> {
    #[serde(borrow)]
    effort: Option<Text<'a>>,
    max_tokens: Option<u64>,
    enabled: Option<bool>,
    #[serde(rename = "type")]
    kind: Option<Text<'a>>,
    budget_tokens: Option<u64>,
}

/// Reads the first that is said, of the fields in the order of how common they are.
pub(super) fn read(body: &Body<'_>) -> Result<Option<Thinking>, Refused> {
    if let Some(named) = text(body.reasoning_effort, "reasoning_effort")? {
        return effort(&named, "reasoning_effort").map(Some);
    }
    for (field, name) in [(body.reasoning, "reasoning"), (body.thinking, "thinking")] {
        if let Some(thinking) = switch(field, name)? {
            return Ok(Some(thinking));
        }
    }
    let enabled = match flag(body.enable_thinking, "enable_thinking")? {
        None => of_template(body.chat_template_kwargs)?,
        enabled => enabled,
    };
    Ok(enabled.map(on_or_off))
}

fn effort(named: &Text<'_>, field: &'static str) -> Result<Thinking, Refused> {
    if named.as_escaped() == "none" {
        return Ok(Thinking::Off);
    }
    Effort::named(named.as_escaped())
        .map(Thinking::Effort)
        .ok_or_else(|| {
            Refused::field(
                field,
                format!("`{field}` must be one of none, minimal, low, medium, high, xhigh, max"),
            )
        })
}

fn switch(field: Field<'_>, name: &'static str) -> Result<Option<Thinking>, Refused> {
    let Some(switch) = field::read::<Switch<'_>>(field, name, "an object that says how to reason")?
    else {
        return Ok(None);
    };
    let disabled = switch
        .kind
        .as_ref()
        .is_some_and(|kind| kind.as_escaped() == "disabled");
    if disabled || switch.enabled == Some(false) {
        return Ok(Some(Thinking::Off));
    }
    if let Some(named) = &switch.effort {
        return effort(named, name).map(Some);
    }
    if let Some(budget) = switch.max_tokens.or(switch.budget_tokens) {
        return Ok(Some(match budget {
            0 => Thinking::Off,
            _ => Thinking::Budget(budget),
        }));
    }
    let said = switch.enabled.is_some() || switch.kind.is_some();
    Ok(said.then_some(Thinking::On))
}

/// Reads the switch of vLLM and llama.cpp.
fn of_template(field: Field<'_>) -> Result<Option<bool>, Refused> {
    #[derive(Deserialize)]
    struct Arguments {
        enable_thinking: Option<bool>,
        /// DeepSeek's and Granite's templates name it so.
        thinking: Option<bool>,
    }
    let arguments: Option<Arguments> =
        field::read(field, "chat_template_kwargs", "an object of settings")?;
    Ok(arguments.and_then(|arguments| arguments.enable_thinking.or(arguments.thinking)))
}

fn on_or_off(enabled: bool) -> Thinking {
    if enabled { Thinking::On } else { Thinking::Off }
}
