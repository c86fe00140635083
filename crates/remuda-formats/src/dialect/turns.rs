//! What providers have in common that ask for turns in a strict order, with the system text apart: Anthropic, Google,
//! Bedrock. What each believes of thoughts, and how it takes the words, is its own.

use crate::facts::{ModelFacts, Parameter, ReasoningSetting};
use crate::ir::{
    ChatRequest, Completion, Dropped, Message, Part, Refused, Role, Text, drop_blank, merge_turns,
    pair_tool_results, results_before_system, start_with_user, system_as_user,
};

/// What the user says where the assistant spoke last and the model does not go on with its words.
pub(super) const GO_ON: &str = "Continue.";

/// Whose words the system's are that stand amid the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amid {
    /// The user's.
    User,
    /// Its own, where Anthropic's rule allows it: text after a turn of the user's, and last or before one of the
    /// assistant's. Elsewhere the user's.
    System,
}

/// Puts the turns in order: none blank, those of one role merged, every call answered in the turn after it, and the
/// user's first, who says `opening` where there is no such turn. The system prompt is hoisted before.
pub(super) fn arrange(messages: &mut Vec<Message<'_>>, opening: &'static str, amid: Amid) {
    drop_blank(messages);
    results_before_system(messages);
    if amid == Amid::User {
        system_as_user(messages);
    }
    pair_tool_results(messages);
    // A result without its call has become text, and may be blank.
    drop_blank(messages);
    misplaced_as_user(messages);
    merge_turns(messages);
    start_with_user(messages, opening);
}

/// Has the user say what the system may not say where it stands.
fn misplaced_as_user(messages: &mut [Message<'_>]) {
    let is_said = |part: &Part<'_>| matches!(part, Part::Text(_) | Part::Breakpoint(_));
    let mut before = None;
    for at in 0..messages.len() {
        let after = messages.get(at + 1).map(|next| next.role);
        let message = &mut messages[at];
        let role = message.role;
        let fits = before == Some(Role::User)
            && matches!(after, None | Some(Role::Assistant))
            && message.parts.iter().all(is_said);
        if role == Role::System && !fits {
            message.role = Role::User;
        }
        before = Some(role);
    }
}

/// Returns the user's turn that lets the model speak again.
pub(super) fn go_on<'a>() -> Message<'a> {
    Message::new(Role::User, vec![Part::Text(Text::escaped(GO_ON))])
}

/// Returns whether the assistant spoke last.
pub(super) fn is_unfinished(messages: &[Message<'_>]) -> bool {
    messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant)
}

/// Strips the white space at the end of a text that the model is to continue: Claude refuses it.
pub(super) fn trim_last(messages: &mut [Message<'_>]) {
    if let Some(message) = messages.last_mut()
        && message.role == Role::Assistant
        && let Some(Part::Text(text)) = last_said(&mut message.parts)
    {
        let decoded = text.decoded();
        let trimmed = decoded.trim_end();
        if trimmed.len() < decoded.len() {
            *text = Text::plain(trimmed).into_owned();
        }
    }
}

/// Returns what a turn ends with, but for a breakpoint.
fn last_said<'m, 'a>(parts: &'m mut [Part<'a>]) -> Option<&'m mut Part<'a>> {
    parts.iter_mut().rfind(|part| !part.is_breakpoint())
}

/// Returns the system prompt with a further wish after it, and after what is to be kept of it.
pub(super) fn with_wish<'a>(mut system: Vec<Part<'a>>, wish: Text<'a>) -> Vec<Part<'a>> {
    match system.last_mut() {
        Some(Part::Text(text)) => {
            text.push(&Text::escaped(r"\n\n"));
            text.push(&wish);
        }
        _ => system.push(Part::Text(wish)),
    }
    system
}

/// Gives the system prompt back, unless the model takes none: then the user says it first.
pub(super) fn system_or_first_words<'a>(
    mut system: Vec<Part<'a>>,
    request: &mut ChatRequest<'a>,
    facts: &ModelFacts,
) -> Vec<Part<'a>> {
    if facts.refuses(Parameter::System, ReasoningSetting::Nothing)
        && let Some(first) = request.messages.first_mut()
    {
        first.parts.splice(..0, system.drain(..));
    }
    system
}

/// Refuses what only a completion can say, where `provider` knows no text to be filled in or continued without a
/// template.
///
/// # Errors
/// With the field.
pub(super) fn only_chats(
    completion: Option<&Completion<'_>>,
    provider: &str,
    dropped: &mut Dropped,
) -> Result<(), Refused> {
    let Some(completion) = completion else {
        return Ok(());
    };
    let has_suffix = completion
        .suffix
        .as_ref()
        .is_some_and(|suffix| !suffix.is_empty());
    if has_suffix {
        return Err(Refused::field(
            "suffix",
            "this model does not support insert",
        ));
    }
    if completion.raw || completion.template.is_some() {
        let field = if completion.raw { "raw" } else { "template" };
        return Err(Refused::field(
            field,
            format!("{provider} gives a model its own chat template; send the prompt without one"),
        ));
    }
    dropped.add_if(completion.echo, "echo");
    Ok(())
}
