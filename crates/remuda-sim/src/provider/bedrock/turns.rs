//! The order of messages: alternation, and that every tool use has its result in the next message.

use super::super::ledger::Ledger;
use super::content::{self, Block};
use super::fields::Fields;
use super::models::Model;
use super::refused::Refused;

/// One message.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) from_user: bool,
    pub(super) blocks: Vec<Block<'a>>,
}

/// Images of one request.
const MAX_IMAGES: usize = 20;

/// Checks `messages`; `has_tools` is whether the request defines any.
pub(super) fn check<'a>(
    fields: &Fields<'a>,
    model: &Model,
    has_tools: bool,
    ledger: &mut Ledger,
) -> Result<Vec<Turn<'a>>, Refused> {
    let messages = fields.structures("messages")?;
    if messages.is_empty() {
        return Err(Refused::invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        ));
    }
    let mut turns: Vec<Turn> = Vec::with_capacity(messages.len());
    for message in &messages {
        let turn = turn(message, ledger)?;
        match turns.last() {
            None if !turn.from_user => {
                return Err(Refused::invalid(
                    "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
                ));
            }
            Some(last) if last.from_user == turn.from_user => {
                return Err(Refused::invalid(
                    "A conversation must alternate between user and assistant roles. Make sure the conversation \
                     alternates between user and assistant roles and try again.",
                ));
            }
            _ => turns.push(turn),
        }
    }
    let uses_tools = turns
        .iter()
        .flat_map(|turn| &turn.blocks)
        .any(|block| matches!(block, Block::ToolUse { .. } | Block::ToolResult { .. }));
    if uses_tools && !has_tools {
        return Err(Refused::invalid(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ));
    }
    images(&turns, model)?;
    tools_are_answered(&turns)?;
    ends_well(&turns, model, has_tools)?;
    Ok(turns)
}

fn turn<'a>(message: &Fields<'a>, ledger: &mut Ledger) -> Result<Turn<'a>, Refused> {
    message.only(&["role", "content"])?;
    message.required("role")?;
    let from_user = message.word("role", &["user", "assistant"])? == Some("user");
    let content = message.structures("content")?;
    let blocks: Vec<Block> = content
        .iter()
        .map(|block| content::block(block, from_user, ledger))
        .collect::<Result<_, _>>()?;
    if blocks
        .iter()
        .all(|block| matches!(block, Block::CachePoint))
    {
        return Err(Refused::invalid(format!(
            "The content field in the Message object at {} is empty. Add a ContentBlock object to the content field and try again.",
            message.here()
        )));
    }
    let has = |wanted: fn(&Block) -> bool| blocks.iter().any(wanted);
    if has(|block| matches!(block, Block::Document))
        && !has(|block| matches!(block, Block::Text(_)))
    {
        return Err(Refused::invalid(format!(
            "The content field in the Message object at {} must include a text block when it includes a document block.",
            message.here()
        )));
    }
    let first_call = blocks
        .iter()
        .position(|block| matches!(block, Block::ToolUse { .. }));
    let last_reasoning = blocks
        .iter()
        .rposition(|block| matches!(block, Block::Reasoning));
    // A call ends what the model says, so nothing was thought after it.
    if let (Some(call), Some(reasoning)) = (first_call, last_reasoning)
        && call < reasoning
    {
        return Err(Refused::model(&format!(
            "{}.content.{reasoning}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be \
             modified. These blocks must remain as they were in the original response.",
            message.here()
        )));
    }
    Ok(Turn { from_user, blocks })
}

fn images(turns: &[Turn], model: &Model) -> Result<(), Refused> {
    let count: usize = turns
        .iter()
        .flat_map(|turn| &turn.blocks)
        .map(|block| match block {
            Block::Image => 1,
            Block::ToolResult { images, .. } => *images,
            _ => 0,
        })
        .sum();
    match count {
        0 => Ok(()),
        _ if !model.images => Err(Refused::invalid(
            "This model doesn't support the image content block that you provided. Update the content block and try again.",
        )),
        1..=MAX_IMAGES => Ok(()),
        _ => Err(Refused::invalid(format!(
            "The request includes {count} images. The maximum is {MAX_IMAGES}."
        ))),
    }
}

fn tools_are_answered(turns: &[Turn]) -> Result<(), Refused> {
    let mut calls: Vec<&str> = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        let results: Vec<&str> = turn
            .blocks
            .iter()
            .filter_map(|block| match block {
                Block::ToolResult { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        let place = format!("messages.{index}.content");
        if results.len() > calls.len() {
            return Err(Refused::invalid(format!(
                "The number of toolResult blocks at {place} exceeds the number of toolUse blocks of previous turn."
            )));
        }
        let missing: Vec<&str> = calls
            .iter()
            .filter(|id| !results.contains(id))
            .copied()
            .collect();
        if !missing.is_empty() {
            return Err(Refused::invalid(format!(
                "Expected toolResult blocks at {place} for the following Ids: {}",
                missing.join(", ")
            )));
        }
        calls = turn
            .blocks
            .iter()
            .filter_map(|block| match block {
                Block::ToolUse { id } => Some(*id),
                _ => None,
            })
            .collect();
        let mut ids = calls.clone();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < calls.len() {
            return Err(Refused::invalid(format!(
                "The toolUse blocks at {place} contain duplicate Ids."
            )));
        }
    }
    if calls.is_empty() {
        Ok(())
    } else {
        Err(Refused::invalid(format!(
            "Expected toolResult blocks at messages.{}.content for the following Ids: {}",
            turns.len(),
            calls.join(", ")
        )))
    }
}

/// Checks a conversation that ends with the assistant, which is a prefill.
fn ends_well(turns: &[Turn], model: &Model, has_tools: bool) -> Result<(), Refused> {
    let Some(last) = turns.last().filter(|turn| !turn.from_user) else {
        return Ok(());
    };
    if has_tools {
        return Err(Refused::invalid(
            "Your API request included an `assistant` message in the final position, which would pre-fill the \
             `assistant` response. When using tools, pre-filling the `assistant` response is not supported.",
        ));
    }
    let Some(claude) = model.claude() else {
        return Ok(());
    };
    match last.blocks.last() {
        _ if !claude.prefill => Err(Refused::model(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )),
        Some(Block::Text(text)) if text.ends_with(char::is_whitespace) => Err(Refused::model(
            "messages: final assistant content cannot end with trailing whitespace",
        )),
        _ => Ok(()),
    }
}
