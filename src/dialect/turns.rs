//! What providers have in common that ask for turns in a strict order, with the system text apart: Anthropic, Google,
//! Bedrock. What each believes of thoughts, and how it takes the words, is its own.

use crate::facts::{Ask, ModelFacts, Parameter};
use crate::ir::{
    ChatRequest, Completion, Dropped, Message, Part, Refused, Role, Text, drop_blank, merge_turns,
    pair_tool_results, start_with_user,
};

/// What the user says where the assistant spoke last and the model does not go on with its words.
const GO_ON: &str = "Continue.";

/// Puts the turns in order: none blank, those of one role merged, every call answered in the turn after it, and the
/// user's first, who says `opening` where there is no such turn. The system text is hoisted before.
pub(super) fn arrange(messages: &mut Vec<Message<'_>>, opening: &'static str) {
    drop_blank(messages);
    pair_tool_results(messages);
    // A result without its call has become text, and may be blank.
    drop_blank(messages);
    merge_turns(messages);
    start_with_user(messages, opening);
}

/// Within each of the assistant's turns what was thought stands before what was said and called.
pub(super) fn thoughts_first(messages: &mut [Message<'_>]) {
    for message in messages {
        if message.role == Role::Assistant {
            message
                .parts
                .sort_by_key(|part| !matches!(part, Part::Thought(_)));
        }
    }
}

/// The user's turn that lets the model speak again.
pub(super) fn go_on<'a>() -> Message<'a> {
    Message::new(Role::User, vec![Part::Text(Text::escaped(GO_ON))])
}

/// Whether the assistant spoke last.
pub(super) fn is_unfinished(messages: &[Message<'_>]) -> bool {
    messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant)
}

/// Strips the white space at the end of a text that the model is to continue: Claude refuses it.
pub(super) fn trim_last(messages: &mut [Message<'_>]) {
    if let Some(message) = messages.last_mut()
        && message.role == Role::Assistant
        && let Some(Part::Text(text)) = message.parts.last_mut()
    {
        let decoded = text.decoded();
        let trimmed = decoded.trim_end();
        if trimmed.len() < decoded.len() {
            *text = Text::plain(trimmed).into_owned();
        }
    }
}

/// The system text with a further wish after it.
pub(super) fn with_wish<'a>(system: Option<Text<'a>>, wish: Text<'a>) -> Text<'a> {
    let Some(mut system) = system else {
        return wish;
    };
    system.push(&Text::escaped(r"\n\n"));
    system.push(&wish);
    system
}

/// Gives the system text back, unless the model takes none: then the user says it first.
pub(super) fn system_or_first_words<'a>(
    mut system: Option<Text<'a>>,
    request: &mut ChatRequest<'a>,
    facts: &ModelFacts,
) -> Option<Text<'a>> {
    if facts.refuses(Parameter::System, Ask::Nothing)
        && let Some(text) = system.take()
        && let Some(first) = request.messages.first_mut()
    {
        first.parts.insert(0, Part::Text(text));
    }
    system
}

/// Refuses what only a completion can say, where `provider` knows no text to be filled in or continued without a template.
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
