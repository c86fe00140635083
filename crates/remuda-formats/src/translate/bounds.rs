//! How much of each thing a request may have that is translated. What is written of it takes as long as it has bytes; these
//! bounds are for what a provider's model could not use anyway, and are beyond what any client sends.

use crate::ir::{ChatRequest, Part, Refused};

/// Tools that a request offers; providers take 128 to 512.
pub(super) const TOOLS: usize = 2048;

/// Turns; Anthropic's own limit.
pub(super) const MESSAGES: usize = 100_000;

/// Parts of all turns: texts, images, calls, results and what these consist of.
pub(super) const PARTS: usize = 200_000;

/// Stop strings; providers take 4 or 5, and each that they do not take is looked for here in every piece of the answer.
pub(super) const STOPS: usize = 64;

/// Bytes of all stop strings.
pub(super) const STOP_BYTES: usize = 65_536;

/// # Errors
/// With the field of which there is too much.
pub(super) fn check(request: &ChatRequest<'_>) -> Result<(), Refused> {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let parts = parts.map(|part| match part {
        Part::ToolResult(result) => 1 + result.parts.len(),
        _ => 1,
    });
    let bytes = request.stop.iter().map(|text| text.as_escaped().len());
    for (field, what, count, most) in [
        ("tools", "tools", request.tools.len(), TOOLS),
        ("messages", "messages", request.messages.len(), MESSAGES),
        ("messages", "parts of messages", parts.sum(), PARTS),
        ("stop", "stop strings", request.stop.len(), STOPS),
        ("stop", "bytes of stop strings", bytes.sum(), STOP_BYTES),
    ] {
        if count > most {
            let text = format!("the request has {count} {what}; {most} are the most");
            return Err(Refused::field(field, text));
        }
    }
    Ok(())
}
