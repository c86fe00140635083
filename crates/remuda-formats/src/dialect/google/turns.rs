//! The conversation as Gemini wants it: system text apart, turns that alternate and begin and end with the user's,
//! every call answered in the turn after it, nothing blank.

use crate::dialect::signature::of_gemini;
use crate::dialect::turns::{self, Amid};
use crate::facts::{Capability, ModelFacts, Parameter, ReasoningSetting};
use crate::ir::{ChatRequest, Dropped, Format, Part, Text, hoist_prompt};

/// What the user says where the conversation begins with the assistant, or with nothing at all.
const OPENING: &str = "Hello.";

/// Puts the turns in order and returns the system prompt. Afterwards `format` is what a field can say.
pub(super) fn arrange<'a>(
    request: &mut ChatRequest<'a>,
    facts: &ModelFacts,
    dropped: &mut Dropped,
) -> Vec<Part<'a>> {
    // Gemini keeps prompts by itself.
    request.take_breakpoints();
    let messages = &mut request.messages;
    let system = hoist_prompt(messages);
    for message in messages.iter_mut() {
        message.parts.retain(is_known_thought);
    }
    turns::arrange(messages, OPENING, Amid::User);
    if turns::is_unfinished(messages) {
        // Gemini goes on with nobody's words.
        dropped.add("prefill");
        messages.push(turns::go_on());
    }
    let system = with_format(system, request, facts, dropped);
    turns::system_or_first_words(system, request, facts)
}

/// Returns whether Gemini knows a part: a thought means something to it only with its own signature.
fn is_known_thought(part: &Part<'_>) -> bool {
    match part {
        Part::Thought(thought) => thought.signature.as_ref().and_then(of_gemini).is_some(),
        _ => true,
    }
}

/// Adds to the system prompt what the answer is to look like, where no field may say it.
fn with_format<'a>(
    system: Vec<Part<'a>>,
    request: &mut ChatRequest<'a>,
    facts: &ModelFacts,
    dropped: &mut Dropped,
) -> Vec<Part<'a>> {
    let beside_tools = !request.tools.is_empty()
        && facts.refuses(Parameter::FormatWithTools, ReasoningSetting::Nothing);
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
    turns::with_wish(system, wish)
}
