//! Members of a request that other servers with OpenAI's API have added, and that no other format can say: they are named.

use crate::ir::Dropped;
use crate::wire::json::{Kind, Scanner};

/// Sorted. OpenRouter's, vLLM's, SGLang's, llama.cpp's, Mistral's, Groq's, Perplexity's, xAI's and Qwen's.
const NAMES: [&str; 62] = [
    "add_generation_prompt",
    "allowed_token_ids",
    "audio",
    "bad_words",
    "best_of",
    "cache_prompt",
    "chat_template",
    "citation_options",
    "continue_final_message",
    "documents",
    "dry_multiplier",
    "early_stopping",
    "ebnf",
    "enable_search",
    "exclude_domains",
    "fallback_models",
    "fallbacks",
    "guided_decoding_backend",
    "id_slot",
    "include_domains",
    "include_reasoning",
    "include_stop_str_in_output",
    "length_penalty",
    "logits_processors",
    "lora_path",
    "mm_processor_kwargs",
    "models",
    "n_predict",
    "n_probs",
    "preset",
    "priority",
    "prompt_logprobs",
    "prompt_mode",
    "prompt_truncate_len",
    "provider",
    "random_seed",
    "reasoning_format",
    "regex",
    "repetition_context_size",
    "return_images",
    "return_related_questions",
    "return_token_ids",
    "route",
    "safe_prompt",
    "samplers",
    "search_domain_filter",
    "search_mode",
    "search_parameters",
    "search_recency_filter",
    "search_settings",
    "separate_reasoning",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop_regex",
    "stop_token_ids",
    "thinking_budget",
    "top_n_sigma",
    "transforms",
    "truncate_prompt_tokens",
    "use_beam_search",
    "web_search",
    "xtc_probability",
];

/// Names those that the body has.
pub(super) fn name_others(body: &[u8], dropped: &mut Dropped) {
    let _ = scan(body, dropped);
}

/// Finds the members; `None` where the body is no JSON, which its reader has said.
fn scan(body: &[u8], dropped: &mut Dropped) -> Option<()> {
    let mut scanner = Scanner::new(body);
    scanner.begin_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(first).ok()? {
        first = false;
        let kind = scanner.kind().ok()?;
        let value = scanner.skip_value().ok()?.of(body);
        let Ok(place) = NAMES.binary_search(&&*key.text(body)) else {
            continue;
        };
        // The best of one is that one.
        let says = kind != Kind::Null && (NAMES[place] != "best_of" || value != b"1");
        dropped.add_if(says, NAMES[place]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_added_is_named() {
        assert!(NAMES.is_sorted());
        let named = |body: &str| {
            let mut dropped = Dropped::default();
            name_others(body.as_bytes(), &mut dropped);
            dropped.fields().to_vec()
        };
        assert_eq!(
            named(
                r#"{"model":"m","provider":{"order":["a"]},"best_of":2,"route":null,"top_p":1,"models":["a"]}"#
            ),
            ["provider", "best_of", "models"]
        );
        assert_eq!(
            named(r#"{"best_of":1,"messages":[{"provider":1}]}"#),
            [""; 0]
        );
        assert_eq!(named("{"), [""; 0]);
    }
}
