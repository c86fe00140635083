//! OpenRouter's `reasoning_details`: reasoning as the provider behind gave it, with what proves it genuine.

use serde_json::{Value, json};

use super::super::openai::error::Refusal;
use crate::chance::{self, Dice};

/// Returns the format that the provider of `model` writes its reasoning in.
fn format(model: &str) -> &'static str {
    match model.split('/').next() {
        Some("anthropic") => "anthropic-claude-v1",
        Some("google") => "google-gemini-v1",
        Some("openai") => "openai-responses-v1",
        _ => "unknown",
    }
}

/// Returns what signs `reasoning`.
fn signature(reasoning: &str) -> String {
    let mut dice = Dice::new(chance::hash(11, reasoning.as_bytes()));
    dice.text(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        64,
    ) + "=="
}

/// Returns one part of the reasoning, as a delta has it.
pub(super) fn part(model: &str, text: &str) -> Value {
    match format(model) {
        format @ "openai-responses-v1" => {
            json!({"type": "reasoning.summary", "summary": text, "format": format, "index": 0})
        }
        format => json!({"type": "reasoning.text", "text": text, "format": format, "index": 0}),
    }
}

/// Returns what comes after the last part, where the provider proves its reasoning.
pub(super) fn proof(model: &str, reasoning: &str) -> Option<Value> {
    if reasoning.is_empty() {
        return None;
    }
    let signed = signature(reasoning);
    match format(model) {
        format @ "anthropic-claude-v1" => Some(json!({"type": "reasoning.text", "text": "",
            "signature": signed, "format": format, "index": 0})),
        "unknown" => None,
        format => Some(
            json!({"type": "reasoning.encrypted", "data": signed, "id": "rs_sim",
            "format": format, "index": 1}),
        ),
    }
}

/// Returns all details of a whole answer.
pub(super) fn whole(model: &str, reasoning: &str) -> Vec<Value> {
    let mut first = part(model, reasoning);
    match proof(model, reasoning) {
        Some(proof) if proof["signature"].is_string() => {
            first["signature"] = proof["signature"].clone();
            vec![first]
        }
        proof => std::iter::once(first).chain(proof).collect(),
    }
}

/// Checks that what is signed comes back as it was given.
pub(super) fn check(messages: &Value) -> Result<(), Refusal> {
    let messages = messages.as_array().into_iter().flatten();
    for (index, message) in messages.enumerate() {
        let details = message["reasoning_details"]
            .as_array()
            .into_iter()
            .flatten();
        let mut reasoning = String::new();
        for detail in details {
            reasoning.push_str(detail["text"].as_str().unwrap_or_default());
            reasoning.push_str(detail["summary"].as_str().unwrap_or_default());
            let proof = detail["signature"].as_str().or(detail["data"].as_str());
            if proof.is_some_and(|proof| proof != signature(&reasoning)) {
                return Err(Refusal::bad(format!(
                    "messages.{index}.content.0: Invalid `signature` in `thinking` block"
                ))
                .code("invalid_signature"));
            }
        }
    }
    Ok(())
}
