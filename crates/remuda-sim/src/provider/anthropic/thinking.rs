//! `thinking`: what a model takes there, and what it asks of the rest of the request.

use super::content::Block;
use super::fields::Fields;
use super::models::Model;
use super::refused::Refused;
use super::tools::Choice;
use super::turns::Turn;

/// Whether the model thinks, and what it shows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    Off,
    /// The text is given.
    Shown,
    /// Only the signature is given.
    Omitted,
}

/// The smallest budget.
const MIN_BUDGET: i64 = 1_024;

const KINDS: [&str; 4] = ["adaptive", "between_tools", "disabled", "enabled"];

pub(super) fn check(
    fields: &Fields,
    model: &Model,
    max_tokens: Option<u64>,
    choice: &Choice,
    turns: &[Turn],
) -> Result<Thinking, Refused> {
    if !model.forced_tools && choice.is_forced() {
        return Err(Refused::invalid(format!(
            "tool_choice.type: '{}' is not supported for this model. Use 'auto' or 'none'.",
            choice.word()
        )));
    }
    let Some(thinking) = fields.object("thinking")? else {
        return Ok(if model.always_thinks() {
            shown(None, model)
        } else {
            Thinking::Off
        });
    };
    let kind = thinking.required("type").and(thinking.string("type"))?;
    let kind = kind.unwrap_or_default();
    if !KINDS.contains(&kind) {
        return Err(fields.wrong(
            "thinking",
            &format!(
                "Input tag '{kind}' found using 'type' does not match any of the expected tags: '{}'",
                KINDS.join("', '")
            ),
        ));
    }
    let thinking = Fields::of(fields.required("thinking")?, format!("thinking.{kind}"))?;
    let display = match thinking.nullable("display") {
        Some(_) if matches!(kind, "adaptive" | "enabled") => {
            thinking.word("display", &["summarized", "omitted"])?
        }
        _ => None,
    };
    match kind {
        "enabled" => enabled(&thinking, model, max_tokens, turns)?,
        "adaptive" => adaptive(&thinking, model)?,
        "disabled" => {
            thinking.only(&["type"])?;
            if !model.can_be_silenced {
                return Err(unsupported(
                    "disabled",
                    "Omit `thinking`, or use \"thinking.type.adaptive\".",
                ));
            }
            return Ok(Thinking::Off);
        }
        _ => return Err(unsupported(kind, "Use \"thinking.type.adaptive\".")),
    }
    // Later models choose a tool first and think afterwards.
    if model.budget && choice.is_forced() {
        return Err(Refused::invalid(
            "Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    Ok(shown(display, model))
}

/// Models that no longer take a budget keep their thinking to themselves unless asked.
fn shown(display: Option<&str>, model: &Model) -> Thinking {
    match display {
        Some("summarized") => Thinking::Shown,
        None if model.budget => Thinking::Shown,
        _ => Thinking::Omitted,
    }
}

fn unsupported(kind: &str, instead: &str) -> Refused {
    Refused::invalid(format!(
        "\"thinking.type.{kind}\" is not supported for this model. {instead}"
    ))
}

fn adaptive(thinking: &Fields, model: &Model) -> Result<(), Refused> {
    thinking.only(&["type", "display"])?;
    if model.adaptive {
        Ok(())
    } else {
        Err(Refused::invalid(
            "adaptive thinking is not supported on this model",
        ))
    }
}

fn enabled(
    thinking: &Fields,
    model: &Model,
    max_tokens: Option<u64>,
    turns: &[Turn],
) -> Result<(), Refused> {
    thinking.only(&["type", "budget_tokens", "display"])?;
    if !model.budget {
        return Err(unsupported(
            "enabled",
            "Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        ));
    }
    thinking.required("budget_tokens")?;
    let budget = thinking
        .integer("budget_tokens", MIN_BUDGET)?
        .unwrap_or_default();
    if max_tokens.is_some_and(|most| most <= budget as u64) {
        return Err(Refused::invalid(
            "`max_tokens` must be greater than `thinking.budget_tokens`. \
             Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size",
        ));
    }
    calls_keep_their_thinking(turns)
}

/// With a budget, the turn whose calls are being answered begins with the thinking that led to them.
fn calls_keep_their_thinking(turns: &[Turn]) -> Result<(), Refused> {
    let Some([turn, user]) = turns.last_chunk() else {
        return Ok(());
    };
    let answers = user
        .blocks
        .iter()
        .any(|block| matches!(block, Block::ToolResult { .. }));
    let found = match turn.blocks.first() {
        Some(Block::Text(_)) => "text",
        Some(Block::ToolUse { .. }) => "tool_use",
        _ => return Ok(()),
    };
    if answers {
        Err(Refused::invalid(format!(
            "messages.{}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{found}`. \
             When `thinking` is enabled, a final `assistant` message must start with a thinking block \
             (preceeding the lastmost set of `tool_use` and `tool_result` blocks). \
             To avoid this requirement, disable `thinking`.",
            turns.len() - 2
        )))
    } else {
        Ok(())
    }
}
