//! `/v1/chat/completions`: read from clients and written to them.

mod encode;
mod read;
mod reasoning;
mod tools;
mod turns;
mod whole;

pub use encode::encoder;
pub use read::read_chat;
pub use whole::write_whole;

use crate::ir::Finish;

/// `finish_reason`, as JSON.
fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Load | Finish::Unload => "\"stop\"",
        Finish::Length | Finish::ContextFull => "\"length\"",
        Finish::ToolCalls => "\"tool_calls\"",
        Finish::Filtered => "\"content_filter\"",
    }
}

#[cfg(test)]
mod tests;
