//! How many tokens a prompt has: as a provider of another format than Anthropic's counts them, and about.

use crate::dialect::exchange::{ProviderRequest, Target};
use crate::dialect::{anthropic, bedrock, google};
use crate::ir::{ChatRequest, Part};
use crate::provider::ProviderKind;
use crate::wire::json;

/// Returns the question for the provider's own counter; `None` if it has none, or the body is no request that it could
/// read.
pub fn counting(body: &[u8], target: &Target<'_>) -> Option<ProviderRequest> {
    let write = match target.provider.kind {
        ProviderKind::Google => google::write_count,
        ProviderKind::Bedrock => bedrock::write_count,
        _ => return None,
    };
    let whole = json::whole_characters(body);
    let body = whole.as_deref().unwrap_or(body);
    let mut request = anthropic::read_count(body).ok()?;
    anthropic::leave_out_billing(&mut request);
    write(request, target).ok()
}

/// Bytes of a token, about; Ollama's own layer for Anthropic's clients counts so.
const BYTES: u64 = 4;
/// Tokens of a picture or a file: Anthropic's for a picture of the largest size that is not made smaller.
const FILE: u64 = 1600;

/// Returns about how many tokens the prompt has, for clients that are told before the provider tells.
pub(super) fn estimated(request: &ChatRequest<'_>) -> u64 {
    fn of(part: &Part<'_>) -> u64 {
        let bytes = match part {
            Part::Text(text) => text.as_escaped().len(),
            Part::Thought(thought) => thought.text.as_escaped().len(),
            Part::ToolCall(call) => call.name.as_escaped().len() + call.arguments.as_str().len(),
            Part::ToolResult(result) => return result.parts.iter().map(of).sum(),
            Part::Image(_) | Part::Document(_) => return FILE * BYTES,
            Part::Breakpoint(_) => 0,
        };
        bytes as u64
    }
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let tools = request.tools.iter().map(|tool| {
        let description = tool
            .description
            .as_ref()
            .map_or(0, |text| text.as_escaped().len());
        let schema = tool
            .parameters
            .as_ref()
            .map_or(0, |schema| schema.as_str().len());
        (tool.name.as_escaped().len() + description + schema) as u64
    });
    let bytes = parts.map(of).chain(tools).sum::<u64>();
    bytes.div_ceil(BYTES).max(1)
}

/// Returns the number in the counter's answer.
pub fn counted(kind: ProviderKind, body: &[u8]) -> Option<u64> {
    match kind {
        ProviderKind::Google => google::read_count(body),
        ProviderKind::Bedrock => bedrock::read_count(body),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::facts::Facts;
    use crate::provider::ProviderProfile;

    fn asked(kind: ProviderKind, model: &str) -> (String, Value) {
        let body = json!({"model": "m", "system": "Be brief.",
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}]});
        let facts = Facts::bundled();
        let provider = ProviderProfile::of_kind("p", kind);
        let target = Target {
            model,
            facts: facts.find(kind, model),
            provider,
            stream: false,
        };
        let outgoing = counting(body.to_string().as_bytes(), &target).unwrap();
        (
            outgoing.path,
            serde_json::from_slice(&outgoing.body).unwrap(),
        )
    }

    #[test]
    fn google_counts_a_whole_request() {
        let (path, body) = asked(ProviderKind::Google, "gemini-3.5-flash");
        assert_eq!(path, "/models/gemini-3.5-flash:countTokens");
        let inner = &body["generateContentRequest"];
        assert_eq!(inner["model"], "models/gemini-3.5-flash");
        assert_eq!(inner["contents"][0]["parts"][0]["text"], "hi");
        assert_eq!(inner["systemInstruction"]["parts"][0]["text"], "Be brief.");
        assert_eq!(
            counted(ProviderKind::Google, br#"{"totalTokens":7}"#),
            Some(7)
        );
    }

    #[test]
    fn bedrock_counts_what_is_the_prompt() {
        let model = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
        let (path, body) = asked(ProviderKind::Bedrock, model);
        assert_eq!(
            path,
            "/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/count-tokens"
        );
        let prompt = body["input"]["converse"].as_object().unwrap();
        let parts: Vec<&str> = prompt.keys().map(String::as_str).collect();
        assert_eq!(parts, ["messages", "system", "toolConfig"]);
        assert_eq!(
            counted(ProviderKind::Bedrock, br#"{"inputTokens":7}"#),
            Some(7)
        );
    }

    #[test]
    fn an_answer_without_a_number_counts_nothing() {
        for kind in [ProviderKind::Google, ProviderKind::Bedrock] {
            assert_eq!(counted(kind, b"{}"), None);
            assert_eq!(counted(kind, b"<html>"), None);
        }
        assert_eq!(counted(ProviderKind::OpenAi, br#"{"totalTokens":7}"#), None);
    }
}
