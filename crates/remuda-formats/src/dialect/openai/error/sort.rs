//! What can be done about an error: by the words that stand for it, then by its status, and by its text only where
//! providers have no word for it.

use crate::dialect::blame::{is_about_key, is_about_request};
use crate::dialect::overflow;
use crate::ir::Class::{self, Capacity, Permanent, Route, Transient};
use crate::ir::FaultKind::{self, *};

/// What is known of an error.
pub(super) struct Said<'a> {
    /// `None` within an answer of status 200.
    pub(super) status: Option<u16>,
    /// OpenRouter's `error_type`, the error's `code`, its `type`; the first that is known decides.
    pub(super) words: [&'a str; 3],
    pub(super) message: &'a str,
    pub(super) moderated: bool,
}

/// OpenAI's codes and types, and those of Azure, OpenRouter, vLLM and llama.cpp.
const WORDS: &[(&str, Class, FaultKind)] = &[
    ("context_length_exceeded", Route, ContextLength),
    ("exceed_context_size_error", Route, ContextLength),
    ("token_limit_exceeded", Route, ContextLength),
    ("tokens_limit_reached", Route, ContextLength),
    ("model_max_prompt_tokens_exceeded", Route, ContextLength),
    ("model_context_window_exceeded", Route, ContextLength),
    ("context_window_exceeded", Route, ContextLength),
    ("ContextWindowExceededError", Route, ContextLength),
    ("prompt_too_long", Route, ContextLength),
    // Zhipu's, whatever the language of its words.
    ("1261", Route, ContextLength),
    ("content_filter", Permanent, ContentFilter),
    ("content_policy_violation", Permanent, ContentFilter),
    ("invalid_prompt", Permanent, ContentFilter),
    ("refusal", Permanent, ContentFilter),
    ("ResponsibleAIPolicyViolation", Permanent, ContentFilter),
    // Another candidate may take what this one does not.
    ("unsupported_parameter", Route, Unsupported),
    ("unsupported_value", Route, Unsupported),
    ("OperationNotSupported", Route, Unsupported),
    ("string_above_max_length", Permanent, InvalidRequest),
    ("string_too_long", Permanent, InvalidRequest),
    ("max_tokens_exceeded", Permanent, InvalidRequest),
    ("invalid_value", Permanent, InvalidRequest),
    ("invalid_image", Permanent, InvalidRequest),
    ("image_too_large", Permanent, InvalidRequest),
    ("payload_too_large", Permanent, TooLarge),
    ("model_not_found", Route, ModelNotFound),
    ("DeploymentNotFound", Route, ModelNotFound),
    ("not_found", Route, ModelNotFound),
    ("not_found_error", Route, ModelNotFound),
    ("NotFoundError", Route, ModelNotFound),
    ("invalid_api_key", Route, Credentials),
    ("authentication", Route, Credentials),
    ("authentication_error", Route, Credentials),
    ("permission_denied", Route, Credentials),
    ("permission_error", Route, Credentials),
    ("PermissionDenied", Route, Credentials),
    ("insufficient_quota", Route, Billing),
    ("billing_hard_limit_reached", Route, Billing),
    ("payment_required", Route, Billing),
    ("rate_limit_exceeded", Capacity, RateLimit),
    ("rate_limit_error", Capacity, RateLimit),
    ("RateLimitReached", Capacity, RateLimit),
    ("provider_overloaded", Capacity, Overloaded),
    ("overloaded_error", Capacity, Overloaded),
    ("unavailable_error", Capacity, Overloaded),
    ("NoCapacity", Capacity, Overloaded),
    ("overloaded", Capacity, Overloaded),
    ("slow_down", Capacity, Overloaded),
    ("timeout", Transient, FaultKind::Timeout),
    ("Timeout", Transient, FaultKind::Timeout),
];

/// Types that say less than a status does, for errors without one: a `server_error` with 503 is an overload.
const VAGUE: &[(&str, Class, FaultKind)] = &[
    ("provider_unavailable", Transient, Server),
    ("server_error", Transient, Server),
    ("server", Transient, Server),
    ("InternalServerError", Transient, Server),
    ("unprocessable", Permanent, InvalidRequest),
    ("invalid_request_error", Permanent, InvalidRequest),
    ("invalid_request", Permanent, InvalidRequest),
    ("BadRequestError", Permanent, InvalidRequest),
];

/// The words by which a server says that it, or its model, cannot do what is asked. In lower case.
const UNABLE: &[&str] = &[
    "does not support",
    "--enable-auto-tool-choice",
    "use /v1/responses",
    "only supported in v1/responses",
];

pub(super) fn sort(said: &Said<'_>) -> (Class, FaultKind) {
    match sorted(said) {
        // Google's OpenAI routes, and whoever has no word for it either.
        (Permanent, InvalidRequest) | (Transient, Server)
            if matches!(said.status, None | Some(400 | 422)) && is_about_key(said.message) =>
        {
            (Route, Credentials)
        }
        // llama.cpp and vLLM have no word for it but the text.
        (Transient, Server)
            if matches!(said.status, None | Some(500)) && is_about_request(said.message) =>
        {
            (Route, InvalidRequest)
        }
        sorted => sorted,
    }
}

fn sorted(said: &Said<'_>) -> (Class, FaultKind) {
    if said.moderated {
        return (Permanent, ContentFilter);
    }
    let known = |table: &[(&str, Class, FaultKind)]| {
        said.words.iter().find_map(|word| {
            let found = table.iter().find(|(known, ..)| known == word)?;
            Some((found.1, found.2))
        })
    };
    // Groq and OpenAI call it a limit of rates, and no waiting helps: by itself it is more than a minute's tokens. Another
    // candidate may allow more.
    let of_rates = matches!(said.status, Some(413 | 429));
    if of_rates && said.message.starts_with("Request too large for") {
        return (Route, TooLarge);
    }
    if let Some(sorted) = known(WORDS) {
        return sorted;
    }
    // Only there: other errors may quote such words (a 429 never means that the prompt is too long).
    if overflow::may_be(said.status) && overflow::says(said.message) {
        return (Route, ContextLength);
    }
    let Some(status) = said.status else {
        return known(VAGUE).unwrap_or((Transient, Server));
    };
    if matches!(status, 400 | 413 | 422) {
        let message = said.message.to_ascii_lowercase();
        if UNABLE.iter().any(|phrase| message.contains(phrase)) {
            return (Route, Unsupported);
        }
    }
    by_status(status)
}

fn by_status(status: u16) -> (Class, FaultKind) {
    match status {
        // 524 is Cloudflare's, before OpenRouter.
        408 | 504 | 524 => (Transient, FaultKind::Timeout),
        401 | 403 => (Route, Credentials),
        402 => (Route, Billing),
        404 => (Route, ModelNotFound),
        405 | 501 => (Route, Unsupported),
        409 => (Transient, Server),
        413 => (Permanent, TooLarge),
        429 => (Capacity, RateLimit),
        // 529 is a provider's overload, at OpenRouter and Anthropic.
        503 | 529 => (Capacity, Overloaded),
        400..=499 => (Permanent, InvalidRequest),
        500..=599 => (Transient, Server),
        // A redirect, or an answer that is none: the address is wrong.
        _ => (Route, Server),
    }
}
