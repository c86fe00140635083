//! The conversation as Gemini wants it: system text apart, turns that alternate and begin and end with the user's,
//! every call answered in the turn after it, nothing blank.

use crate::dialect::signature::of_gemini;
use crate::facts::{Ask, Capability, ModelFacts, Parameter};
use crate::ir::{
    ChatRequest, Dropped, Format, Message, Part, Role, Text, drop_blank, hoist_system, merge_turns,
    pair_tool_results, start_with_user,
};

/// What the user says where the conversation begins with the assistant, or with nothing at all.
const OPENING: &str = "Hello.";
/// What the user says where the assistant spoke last.
const GO_ON: &str = "Continue.";

/// Puts the turns in order and returns the system text. Afterwards `format` is what a field can say.
pub(super) fn arrange<'a>(
    request: &mut ChatRequest<'a>,
    facts: &ModelFacts,
    dropped: &mut Dropped,
) -> Option<Text<'a>> {
    let messages = &mut request.messages;
    let system = hoist_system(messages);
    for message in messages.iter_mut() {
        message.parts.retain(is_known_thought);
    }
    drop_blank(messages);
    pair_tool_results(messages);
    // A result without its call has become text, and may be blank.
    drop_blank(messages);
    merge_turns(messages);
    start_with_user(messages, OPENING);
    if messages
        .last()
        .is_some_and(|last| last.role == Role::Assistant)
    {
        let parts = vec![Part::Text(Text::escaped(GO_ON))];
        messages.push(Message::new(Role::User, parts));
    }
    let mut system = with_format(system, request, facts, dropped);
    if facts.refuses(Parameter::System, Ask::Nothing)
        && let Some(text) = system.take()
        && let Some(first) = request.messages.first_mut()
    {
        first.parts.insert(0, Part::Text(text));
    }
    system
}

/// A thought means something to Gemini only with Gemini's signature.
fn is_known_thought(part: &Part<'_>) -> bool {
    match part {
        Part::Thought(thought) => thought.signature.as_ref().and_then(of_gemini).is_some(),
        _ => true,
    }
}

/// Adds to the system text what the answer is to look like, where no field may say it.
fn with_format<'a>(
    system: Option<Text<'a>>,
    request: &mut ChatRequest<'a>,
    facts: &ModelFacts,
    dropped: &mut Dropped,
) -> Option<Text<'a>> {
    let beside_tools =
        !request.tools.is_empty() && facts.refuses(Parameter::FormatWithTools, Ask::Nothing);
    if !beside_tools && facts.can(Capability::JsonSchema) {
        return system;
    }
    let wish = match std::mem::take(&mut request.format) {
        Format::Text => return system,
        Format::Json => Text::escaped("Answer with one JSON object and nothing else."),
        Format::Schema { schema, .. } => {
            let mut wish = Text::escaped(
                r"Answer with one JSON value that obeys this JSON Schema, and nothing else:\n",
            );
            wish.push(&schema.to_text());
            wish
        }
    };
    dropped.add("response_format");
    let Some(mut system) = system else {
        return Some(wish);
    };
    system.push(&Text::escaped(r"\n\n"));
    system.push(&wish);
    Some(system)
}
