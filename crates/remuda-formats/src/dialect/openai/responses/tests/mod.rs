//! The Responses API against what clients send and read, and what providers take and answer.

mod client_reads;
mod client_tools;
mod client_writes;
mod provider_reads;
mod provider_servers;
mod provider_writes;

use crate::dialect::exchange::Reply;
use crate::ir::{Event, Text};

fn reply() -> Reply {
    Reply::sample()
}

/// An event as one line.
#[expect(
    clippy::too_many_lines,
    reason = "it has an arm for each kind of event"
)]
fn shown(event: &Event<'_>) -> String {
    fn or_dash(text: &Option<Text<'_>>) -> String {
        text.as_ref()
            .map_or("-".into(), |text| text.decoded().into_owned())
    }
    match event {
        Event::Start { id, model } => format!("start {} {}", or_dash(id), or_dash(model)),
        Event::Thinking(text) => format!("thinking {}", text.decoded()),
        Event::Signature { data, redacted, id } => {
            format!("signature {} {redacted} {}", data.decoded(), or_dash(id))
        }
        Event::TextSignature(data) => format!("text signature {}", data.decoded()),
        Event::Text(text) => format!("text {}", text.decoded()),
        Event::Refusal(text) => format!("refusal {}", text.decoded()),
        Event::ToolStart {
            index,
            id,
            name,
            signature,
        } => format!(
            "call {index} {} {} {}",
            or_dash(id),
            name.decoded(),
            or_dash(signature)
        ),
        Event::ToolArguments { index, fragment } => {
            format!("arguments {index} {}", fragment.decoded())
        }
        Event::ToolEnd { index } => format!("end of {index}"),
        Event::ToolCall { index, .. } => format!("whole {index}"),
        Event::Logprobs(array) => format!("logprobs {}", array.as_str()),
        Event::Sources(array) => format!("sources {}", array.as_str()),
        Event::Usage(usage) => format!(
            "usage {:?} {:?} {:?} {:?} {:?} {:?}",
            usage.prompt,
            usage.cache_read,
            usage.cache_write,
            usage.output,
            usage.reasoning,
            usage.cost
        )
        .replace("Some(", "")
        .replace([')'], "")
        .replace("None", "-"),
        Event::Finish { reason, .. } => format!("finish {reason:?}"),
        Event::End => "end".into(),
        Event::Failed(fault) => {
            format!(
                "failed {:?} {:?} {}",
                fault.class, fault.kind, fault.message
            )
        }
        Event::Ping => "ping".into(),
        Event::Malformed => "malformed".into(),
        Event::Served { tier, fingerprint } => format!(
            "served {} {}",
            tier.as_ref().map_or("-", Text::as_escaped),
            fingerprint.as_ref().map_or("-", Text::as_escaped)
        ),
        Event::Foreign => "foreign".into(),
        Event::Reframed => "reframed".into(),
    }
}
