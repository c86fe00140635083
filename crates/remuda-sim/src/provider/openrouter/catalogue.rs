//! What OpenRouter lists: who runs a model, what it can, what it costs.

use serde_json::{Value, json};

pub(crate) const MODELS: [&str; 8] = [
    "openai/gpt-6-sol",
    "openai/gpt-4o",
    "anthropic/claude-opus-5-5",
    "google/gemini-3.5-flash",
    "deepseek/deepseek-v4-flash",
    "meta-llama/llama-4-maverick",
    "mistralai/mistral-large",
    "openai/text-embedding-3-small",
];

pub(super) fn can_reason(model: &str) -> bool {
    ["gpt-5", "gpt-6", "/o3", "claude", "gemini", "deepseek"]
        .iter()
        .any(|name| model.contains(name))
}

/// Returns who runs the model.
pub(super) fn company(model: &str) -> &'static str {
    match model.split('/').next() {
        Some("openai") => "OpenAI",
        Some("anthropic") => "Anthropic",
        Some("google") => "Google",
        Some("deepseek") => "DeepSeek",
        Some("mistralai") => "Mistral",
        _ => "Sim",
    }
}

/// Returns a model as it is listed; prices are strings, in dollars per token.
pub(super) fn listed(model: &str) -> Value {
    let reasoning = can_reason(model).then(|| {
        json!({"mandatory": false, "supported_efforts": ["none", "low", "medium", "high", "xhigh"],
            "default_effort": "medium", "default_enabled": true, "supports_max_tokens": true})
    });
    json!({
        "id": model,
        "canonical_slug": model,
        "name": model,
        "created": 1_767_225_600,
        "context_length": 1_048_576,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"],
            "modality": "text+image->text", "tokenizer": "Other"},
        "pricing": {"prompt": "0.000002", "completion": "0.00001", "input_cache_read": "0.0000002",
            "request": "0", "image": "0", "web_search": "0", "internal_reasoning": "0"},
        "top_provider": {"context_length": 1_048_576, "max_completion_tokens": 128_000, "is_moderated": false},
        "supported_parameters": ["tools", "tool_choice", "temperature", "top_p", "top_k", "min_p", "stop", "seed",
            "max_tokens", "response_format", "structured_outputs", "reasoning", "logprobs"],
        "reasoning": reasoning,
        "per_request_limits": null,
        "expiration_date": null,
    })
}
