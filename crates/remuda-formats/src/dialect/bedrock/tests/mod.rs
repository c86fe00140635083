//! The whole dialect from the outside: chats and what they are sent as, answers and what they say.

mod answers;
mod embeddings;
mod errors;
mod requests;

use super::*;
use crate::facts::Facts;
use crate::ir::{Assembler, Response};
use crate::provider::{ProviderKind, ProviderProfile};
use serde_json::Value;
use std::sync::LazyLock;

static FACTS: LazyLock<Facts> = LazyLock::new(Facts::bundled);

const OLD_CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const NEW_CLAUDE: &str = "global.anthropic.claude-opus-5-v1:0";
const NEWEST_CLAUDE: &str = "anthropic.claude-sonnet-5-5-v1:0";
const NOVA: &str = "us.amazon.nova-pro-v1:0";
const UNKNOWN: &str = "zephyr.llama9-v1:0";

fn with_target<T>(model: &str, stream: bool, work: impl FnOnce(&Target<'_>) -> T) -> T {
    let provider = ProviderProfile::of_kind("bedrock", ProviderKind::Ollama);
    work(&Target {
        model,
        facts: FACTS.find(crate::provider::ProviderKind::Bedrock, model),
        provider,
        stream,
    })
}

/// The events of an answer, each made to last.
fn gathered(read: impl FnOnce(&mut dyn FnMut(Event<'_>))) -> Vec<String> {
    let mut events = Vec::new();
    read(&mut |event| events.push(shown(&event)));
    events
}

/// An event in words, its texts as they stand in JSON; `Debug` hides them.
fn shown(event: &Event<'_>) -> String {
    match event {
        Event::Start { .. } => "start".into(),
        Event::Thinking(text) => format!("thinking {}", text.as_escaped()),
        Event::Signature { data, redacted, .. } => {
            format!("signature {} {redacted}", data.as_escaped())
        }
        Event::Text(text) => format!("text {}", text.as_escaped()),
        Event::ToolStart {
            index, id, name, ..
        } => {
            let id = id.as_ref().map_or("", |id| id.as_escaped());
            format!("call {index} {id} {}", name.as_escaped())
        }
        Event::ToolArguments { index, fragment } => {
            format!("arguments {index} {}", fragment.as_escaped())
        }
        Event::ToolEnd { index } => format!("called {index}"),
        Event::ToolCall {
            index,
            id,
            name,
            arguments,
            ..
        } => {
            let id = id.as_ref().map_or("", |id| id.as_escaped());
            format!(
                "call {index} {id} {} {}",
                name.as_escaped(),
                arguments.as_str()
            )
        }
        Event::Finish { reason, stop } => {
            let stop = stop.as_ref().map_or("", |stop| stop.as_escaped());
            format!("finish {reason:?} {stop}").trim_end().into()
        }
        Event::Usage(usage) => format!(
            "usage {:?} {:?} {:?} {:?}",
            usage.prompt, usage.cache_read, usage.cache_write, usage.output
        ),
        Event::End => "end".into(),
        Event::Failed(fault) => format!("failed {:?} {:?} {fault}", fault.class, fault.kind),
        other => format!("{other:?}"),
    }
}

fn assembled(read: impl FnOnce(&mut dyn FnMut(Event<'_>))) -> Result<Response, Fault> {
    let mut assembler = Assembler::default();
    read(&mut |event| assembler.event(&event));
    assembler.finish()
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}
