//! The order of turns: who begins, who may end, and that every tool call has its result directly after it.

use serde_json::Value;

use super::super::ledger::Ledger;
use super::content::{self, Block};
use super::fields::Fields;
use super::models::Model;
use super::refused::Refused;

/// One turn of the conversation.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) role: &'a str,
    pub(super) blocks: Vec<Block<'a>>,
}

const USER_BLOCKS: [&str; 5] = ["document", "image", "search_result", "text", "tool_result"];
const ASSISTANT_BLOCKS: [&str; 5] = [
    "redacted_thinking",
    "server_tool_use",
    "text",
    "thinking",
    "tool_use",
];

/// Checks `messages` and returns its turns, with neighbours of one role merged as the server merges them.
pub(super) fn check<'a>(
    messages: &'a [Value],
    model: &Model,
    ledger: &mut Ledger,
) -> Result<Vec<Turn<'a>>, Refused> {
    if messages.is_empty() {
        return Err(Refused::invalid(
            "messages: at least one message is required",
        ));
    }
    let mut turns: Vec<Turn<'a>> = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let is_last = index + 1 == messages.len();
        let turn = turn(message, index, is_last, model, ledger)?;
        match turns.last_mut() {
            Some(last) if last.role == turn.role => last.blocks.extend(turn.blocks),
            _ => turns.push(turn),
        }
    }
    if turns[0].role == "assistant" {
        return Err(Refused::invalid(
            "messages: first message must use the \"user\" role",
        ));
    }
    system_stands_well(&turns)?;
    ends_well(&turns, model)?;
    tools_are_answered(&turns)?;
    Ok(turns)
}

fn turn<'a>(
    message: &'a Value,
    index: usize,
    is_last: bool,
    model: &Model,
    ledger: &mut Ledger,
) -> Result<Turn<'a>, Refused> {
    let fields = Fields::of(message, format!("messages.{index}"))?;
    fields.only(&["role", "content"])?;
    fields.required("role")?;
    let roles: &[&str] = if model.system_turns {
        &["user", "assistant", "system"]
    } else {
        &["user", "assistant"]
    };
    let role = fields.word("role", roles)?.unwrap_or_default();
    let allowed: &[&str] = match role {
        "assistant" => &ASSISTANT_BLOCKS,
        "system" => &["text"],
        _ => &USER_BLOCKS,
    };
    let content = fields.required("content")?;
    let blocks = content::blocks(content, &fields.path("content"), allowed, ledger)?;
    if blocks.is_empty() && !(is_last && role == "assistant") {
        return Err(Refused::invalid(format!(
            "messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        )));
    }
    Ok(Turn { role, blocks })
}

/// Checks that what the system says amid the conversation follows the user, and that the assistant follows it, or
/// nobody.
fn system_stands_well(turns: &[Turn]) -> Result<(), Refused> {
    let role = |index: Option<usize>| {
        index
            .and_then(|index| turns.get(index))
            .map(|turn| turn.role)
    };
    for (index, turn) in turns.iter().enumerate() {
        let before = role(index.checked_sub(1));
        let after = role(Some(index + 1));
        if turn.role == "system"
            && (before != Some("user") || after.is_some_and(|role| role != "assistant"))
        {
            return Err(Refused::invalid(format!(
                "messages.{index}: role 'system' must follow a 'user' turn, and be last or precede an 'assistant' turn"
            )));
        }
    }
    Ok(())
}

/// Checks a conversation that ends with the assistant, which is a prefill, unless its turn was paused.
fn ends_well(turns: &[Turn], model: &Model) -> Result<(), Refused> {
    let Some(last) = turns.last().filter(|turn| turn.role == "assistant") else {
        return Ok(());
    };
    match last.blocks.last() {
        Some(Block::ServerToolUse) => Ok(()),
        _ if !model.prefill => Err(Refused::invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )),
        Some(Block::Text(text)) if text.ends_with(char::is_whitespace) => Err(Refused::invalid(
            "messages: final assistant content cannot end with trailing whitespace",
        )),
        _ => Ok(()),
    }
}

fn tools_are_answered(turns: &[Turn]) -> Result<(), Refused> {
    let mut calls: Vec<&str> = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        let results = leading_results(turn);
        let missing: Vec<&str> = calls
            .iter()
            .filter(|id| !results.contains(id))
            .copied()
            .collect();
        if !missing.is_empty() {
            return Err(unanswered(index - 1, &missing));
        }
        for (at, block) in turn.blocks.iter().enumerate() {
            if let Block::ToolResult { id, .. } = block {
                result_has_its_call(index, at, id, &calls, &results)?;
            }
        }
        calls = calls_of(turn);
        let mut ids = calls.clone();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < calls.len() {
            return Err(Refused::invalid(format!(
                "messages.{index}: `tool_use` ids must be unique"
            )));
        }
    }
    if calls.is_empty() {
        Ok(())
    } else {
        Err(unanswered(turns.len() - 1, &calls))
    }
}

fn unanswered(index: usize, ids: &[&str]) -> Refused {
    Refused::invalid(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. \
         Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        ids.join(", ")
    ))
}

fn result_has_its_call(
    index: usize,
    at: usize,
    id: &str,
    calls: &[&str],
    results: &[&str],
) -> Result<(), Refused> {
    if !calls.contains(&id) {
        return Err(Refused::invalid(format!(
            "messages.{index}.content.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. \
             Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
        )));
    }
    match results.iter().filter(|result| **result == id).count() {
        0 | 1 => Ok(()),
        _ => Err(Refused::invalid(format!(
            "messages.{index}.content.{at}: each tool_use must have a single result. \
             Found multiple `tool_result` blocks with id: {id}"
        ))),
    }
}

/// Returns the results that stand before anything else: only these answer a call.
fn leading_results<'a>(turn: &Turn<'a>) -> Vec<&'a str> {
    turn.blocks
        .iter()
        .map_while(|block| match block {
            Block::ToolResult { id, .. } => Some(*id),
            _ => None,
        })
        .collect()
}

fn calls_of<'a>(turn: &Turn<'a>) -> Vec<&'a str> {
    turn.blocks
        .iter()
        .filter_map(|block| match block {
            Block::ToolUse { id } => Some(*id),
            _ => None,
        })
        .collect()
}
