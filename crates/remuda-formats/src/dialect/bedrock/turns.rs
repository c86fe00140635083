//! The conversation as Converse wants it: system text apart, turns that alternate and begin with the
//! user, every call answered in the turn after it, nothing blank.

use crate::dialect::signature::of_gemini;
use crate::dialect::turns::{self, Amid};
use crate::facts::{Capability, ModelFacts, Parameter, ReasoningSetting};
use crate::ir::{ChatRequest, Dropped, Format, Message, Part, Text, ToolChoice, hoist_prompt};

/// What the user says where the conversation begins with the assistant, or with nothing at all.
const OPENING: &str = "Hello.";

/// Puts the turns in order and returns the system prompt.
pub(super) fn arrange<'a>(
    request: &mut ChatRequest<'a>,
    facts: &ModelFacts,
    dropped: &mut Dropped,
) -> Vec<Part<'a>> {
    let messages = &mut request.messages;
    let system = hoist_prompt(messages);
    for message in messages.iter_mut() {
        keep_believable(message, facts);
    }
    turns::arrange(messages, OPENING, Amid::User);
    let system = with_format(system, request, facts, dropped);
    turns::system_or_first_words(system, request, facts)
}

/// Keeps the thoughts that the model believes. Unsigned reasoning is refused, and a signature is only good for the
/// maker of the model, which is Anthropic's Claude wherever there is one. An OpenAI `reasoning` item is told by its id.
fn keep_believable(message: &mut Message<'_>, facts: &ModelFacts) {
    let signs = matches!(&*facts.family, "claude" | "");
    message.parts.retain(|part| match part {
        Part::Thought(thought) => {
            signs
                && thought.id.is_none()
                && thought.signature.as_ref().is_some_and(|signature| {
                    !signature.is_empty() && of_gemini(signature).is_none()
                })
        }
        _ => true,
    });
}

/// Adds to the system prompt what the answer is to look like, where there is no field for it.
fn with_format<'a>(
    system: Vec<Part<'a>>,
    request: &ChatRequest<'a>,
    facts: &ModelFacts,
    dropped: &mut Dropped,
) -> Vec<Part<'a>> {
    let wish = match &request.format {
        Format::Text => return system,
        Format::Json => Text::escaped("Answer with one JSON object and nothing else."),
        Format::Schema { .. } if facts.can(Capability::JsonSchema) => return system,
        Format::Schema { schema, .. } => {
            dropped.add("response_format");
            let mut wish = Text::escaped(
                "Answer with one JSON value that obeys this JSON Schema, and nothing else:\\n",
            );
            wish.push(&schema.to_text());
            wish
        }
    };
    turns::with_wish(system, wish)
}

/// Returns whether the last turn brings results for calls that no thought goes before: then a Claude that is told to
/// think by a budget refuses the request.
pub(super) fn goes_on_without_thought(messages: &[Message<'_>]) -> bool {
    let [.., assistant, user] = messages else {
        return false;
    };
    let has_results = user
        .parts
        .iter()
        .any(|part| matches!(part, Part::ToolResult(_)));
    has_results && !matches!(assistant.parts.first(), Some(Part::Thought(_)))
}

/// Ends the conversation with the user's turn, unless the model goes on with the assistant's words.
pub(super) fn end(
    request: &mut ChatRequest<'_>,
    facts: &ModelFacts,
    thinks: bool,
    dropped: &mut Dropped,
) {
    let uses_tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
    let messages = &mut request.messages;
    if !turns::is_unfinished(messages) {
        return;
    }
    let goes_on = matches!(&*facts.family, "claude" | "nova")
        && !facts.refuses(Parameter::Prefill, ReasoningSetting::Nothing)
        && !thinks
        && !uses_tools;
    let says = |message: &Message<'_>| {
        let mut parts = message.parts.iter();
        matches!(
            parts.rfind(|part| !part.is_breakpoint()),
            Some(Part::Text(_))
        )
    };
    if goes_on && messages.last().is_some_and(says) {
        turns::trim_last(messages);
    } else {
        dropped.add("prefill");
        messages.push(turns::go_on());
    }
}
