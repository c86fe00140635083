//! What providers really say, and what sounds like it.

use super::*;
use crate::ir::Class;
use proptest::prelude::*;

fn told(message: &str) -> Overflow {
    assert!(says(message), "{message}");
    let fault = Fault::new(Class::Route, FaultKind::ContextLength, message.to_owned());
    *counted(fault).overflow.unwrap()
}

/// Prompt, answer, both, and what fits; 0 for what is not said.
fn numbers(message: &str) -> [u64; 4] {
    let Overflow {
        input,
        output,
        all,
        most,
    } = told(message);
    [input, output, all, most].map(Option::unwrap_or_default)
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn every_providers_words_are_known_with_their_numbers() {
    for (message, expected) in [
        // Anthropic, also at Bedrock and Vertex.
        (
            "prompt is too long: 213462 tokens > 200000 maximum",
            [213_462, 0, 0, 200_000],
        ),
        ("Prompt is too long", [0; 4]),
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or `max_tokens` and try again",
            [188_240, 21_333, 0, 200_000],
        ),
        // OpenAI, old and new.
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8500 in the messages, 500 in the completion). Please reduce the length of the messages or completion.",
            [8_500, 500, 9_000, 8_192],
        ),
        (
            "This model's maximum context length is 8191 tokens, however you requested 10346 tokens (10346 in your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
            [10_346, 0, 10_346, 8_191],
        ),
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 150000 tokens. Please reduce the length of the messages.",
            [150_000, 0, 0, 128_000],
        ),
        (
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            [0; 4],
        ),
        (
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens. Please reduce the length of the messages.",
            [509_178, 0, 0, 272_000],
        ),
        (
            "Invalid 'input[0]': maximum input length is 8192 tokens.",
            [0, 0, 0, 8_192],
        ),
        // vLLM.
        (
            "This model's maximum context length is 4096 tokens. However, you requested 500 output tokens and your prompt contains at least 3597 input tokens, for a total of at least 4097 tokens.",
            [3_597, 500, 0, 4_096],
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 100 input tokens (5000 > 4096 - 100).",
            [100, 5_000, 0, 4_096],
        ),
        (
            "You passed 5000 input tokens and requested 100 output tokens. However, the model's context length is only 4096 tokens, resulting in a maximum input length of 3996 tokens.",
            [5_000, 100, 0, 4_096],
        ),
        (
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens.",
            [5_000, 0, 0, 4_096],
        ),
        (
            "The engine prompt length 9000 exceeds the max_model_len 8192. Please reduce prompt.",
            [9_000, 0, 0, 8_192],
        ),
        (
            "Input length (265330) exceeds model's maximum context length (262144).",
            [265_330, 0, 0, 262_144],
        ),
        (
            "The prompt (total length 6287) is too long to fit into the model (context length 4096). Make sure that `max_model_len` is no smaller than the number of text tokens plus multimodal tokens.",
            [6_287, 0, 0, 4_096],
        ),
        // TensorRT-LLM.
        (
            "The sum of prompt length (9000.0), query length (0) should not exceed max_num_tokens (8192)",
            [9_000, 0, 0, 8_192],
        ),
        (
            "The sum of prompt length (9000), query length (0) and max_tokens (10) should not exceed max_seq_len (8192)",
            [9_000, 0, 0, 8_192],
        ),
        // SGLang, Together.
        (
            "Input length (9000 tokens) exceeds the maximum allowed length (8192 tokens). Use a shorter input or enable --allow-auto-truncate.",
            [9_000, 0, 0, 8_192],
        ),
        (
            "The input (140000 tokens) is longer than the model's context length (131072 tokens).",
            [140_000, 0, 0, 131_072],
        ),
        (
            "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9000 tokens: 8000 tokens from the input messages and 1000 tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.",
            [8_000, 1_000, 9_000, 8_192],
        ),
        // Text Generation Inference.
        (
            "Input validation error: `inputs` must have less than 4096 tokens. Given: 4143",
            [4_143, 0, 0, 4_096],
        ),
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 200 `max_new_tokens`",
            [4_000, 200, 0, 4_096],
        ),
        // OpenRouter.
        (
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens (140000 of text input, 10000 in the output). Please reduce the length of either one, or use the \"middle-out\" transform to compress your prompt automatically.",
            [140_000, 10_000, 150_000, 131_072],
        ),
        (
            "Input length 300000 exceeds the maximum allowed input length of 262,144 tokens.",
            [300_000, 0, 0, 262_144],
        ),
        // llama.cpp, LM Studio, TabbyAPI.
        (
            "request (18020 tokens) exceeds the available context size (2048 tokens), try increasing it",
            [18_020, 0, 0, 2_048],
        ),
        (
            "the request exceeds the available context size. try increasing the context size or enable context shift",
            [0; 4],
        ),
        (
            "Trying to keep the first 4527 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough.",
            [4_527, 0, 0, 4_096],
        ),
        (
            "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length, or provide a shorter input",
            [0; 4],
        ),
        (
            "Prompt length 5000 is greater than max_seq_len 4096",
            [5_000, 0, 0, 4_096],
        ),
        (
            "Context length 5000 is greater than max_seq_len 4096",
            [5_000, 0, 0, 4_096],
        ),
        (
            "The number of tokens to keep from the initial prompt (9800) is greater than the context length (8192).",
            [9_800, 0, 0, 8_192],
        ),
        (
            "input (1007 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
            [1_007, 0, 0, 512],
        ),
        (
            "Requested tokens (9000) exceed context window of 8192",
            [9_000, 0, 0, 8_192],
        ),
        // Ollama, and ollama.com.
        (
            "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the context length in settings, or use a model with a longer context length",
            [0; 4],
        ),
        ("the input length exceeds the context length", [0; 4]),
        (
            "prompt too long; exceeded max context length by 4 tokens",
            [0; 4],
        ),
        // Gemini, and Vertex.
        (
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
            [1_196_265, 0, 0, 1_048_575],
        ),
        (
            "Unable to submit request because the input token count is 40000 but model only supports up to 32768. Reduce the input token count and try again.",
            [40_000, 0, 0, 32_768],
        ),
        (
            "Request contains 35000 tokens, which exceeds the limit of 32768.",
            [35_000, 0, 0, 32_768],
        ),
        (
            "Your input context is too long. Reduce your input context or temporarily switch to another model.",
            [0; 4],
        ),
        // Bedrock.
        ("Input is too long for requested model.", [0; 4]),
        (
            "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9012",
            [9_012, 0, 0, 8_192],
        ),
        (
            "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
            [0; 4],
        ),
        (
            "Malformed input request: expected maxLength: 42000, actual: 50000, please reformat your input and try again.",
            [0; 4],
        ),
        // xAI, Groq, Cerebras, Mistral, Cohere, Fireworks.
        (
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            [537_812, 0, 0, 131_072],
        ),
        (
            "Please reduce the length of the messages or completion.",
            [0; 4],
        ),
        (
            "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
            [9_000, 0, 0, 8_192],
        ),
        (
            "Prompt contains 140000 tokens and 0 draft tokens, too large for model with 131072 maximum context length",
            [140_000, 0, 0, 131_072],
        ),
        (
            "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5003. Try using a shorter prompt",
            [0, 0, 5_003, 4_081],
        ),
        (
            "The prompt is too long: 140000, model maximum context length: 131071",
            [140_000, 0, 0, 131_071],
        ),
        // Copilot, Moonshot, MiniMax, DashScope, Zhipu, LiteLLM.
        (
            "prompt token count of 130000 exceeds the limit of 128000",
            [130_000, 0, 0, 128_000],
        ),
        (
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)",
            [0, 0, 300_000, 262_144],
        ),
        (
            "invalid params, context window exceeds limit (2013)",
            [0; 4],
        ),
        (
            "Range of input length should be [1, 129024]",
            [0, 0, 0, 129_024],
        ),
        ("Input token length too long", [0; 4]),
        ("Prompt too long", [0; 4]),
        ("Input length is too long", [0; 4]),
        (
            "The length of tokens in the request is too long. Do not exceed the model's maximum token limit.",
            [0; 4],
        ),
        ("输入长度超过限制", [0; 4]),
        ("上下文长度超出", [0; 4]),
        ("超出上下文限制", [0; 4]),
        ("Prompt exceeds max length", [0; 4]),
        ("tokens in request more than max tokens allowed", [0; 4]),
        (
            "litellm.ContextWindowExceededError: litellm.BadRequestError: the prompt does not fit",
            [0; 4],
        ),
    ] {
        assert_eq!(numbers(message), expected, "{message}");
        assert_eq!(
            numbers(&message.to_ascii_uppercase()),
            expected,
            "{message}"
        );
    }
}

#[test]
fn what_sounds_like_it_is_something_else() {
    for message in [
        "",
        "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length 70 instead.",
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.",
        "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for this model",
        "Request too large for model `x` in organization `o` on tokens per minute (TPM): Limit 6000, Requested 7000, please reduce the length of the messages and try again.",
        "Rate limit reached: prompt is too long: 5 tokens > 4 maximum",
        "Too many tokens, please wait before trying again.",
        "You exceeded your current quota; the maximum context length is 8192 tokens",
        "429 rate limit, context_length_exceeded, too many requests",
        "Unknown tool 'prompt is too long'",
        "Unknown tool 'prompt too long'",
        "prompt is too long to be logged",
        "the name exceeds the maximum allowed length (64)",
        "negative_prompt exceeds max length of the field",
        "this field's maximum length is 64 tokens",
        "The maximum context length is a property of the model",
        "image exceeds 5 MB maximum: 6000000 bytes > 5242880 bytes",
        "Request body is too large",
        "\"x\" does not support tools",
    ] {
        assert!(!says(message), "{message}");
    }
    for status in [401, 403, 404, 429, 502, 503, 529] {
        assert!(!may_be(Some(status)));
    }
}

#[test]
fn clients_of_anthropic_are_told_in_its_words() {
    let words = |message: &str| in_words_of_anthropic(&told(message), message);
    assert_eq!(
        words(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
        ),
        "prompt is too long: 9000 tokens > 8192 maximum"
    );
    assert_eq!(
        words("`max_tokens` exceed context limit: 188240 + 21333 > 200000"),
        "prompt is too long: 209573 tokens > 200000 maximum; \
         input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"
    );
    assert_eq!(
        words("Input is too long for requested model."),
        "prompt is too long: Input is too long for requested model."
    );
    assert_eq!(words("Prompt is too long"), "Prompt is too long");
    // Numbers that explain nothing are none.
    assert_eq!(
        words("maximum context length of 8192; the request contains 5 tokens"),
        "prompt is too long: maximum context length of 8192; the request contains 5 tokens"
    );
}

#[test]
fn clients_of_ollama_are_told_in_its_words() {
    let by = told("prompt is too long: 18020 tokens > 2048 maximum");
    assert_eq!(
        in_words_of_ollama(&by, false),
        r#"{"error":{"code":400,"message":"request (18020 tokens) exceeds the available context size (2048 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":18020,"n_ctx":2048}}"#
    );
    assert_eq!(
        in_words_of_ollama(&by, true),
        "the input length exceeds the context length"
    );
    for embeds in [false, true] {
        let unknown = in_words_of_ollama(&Overflow::default(), embeds);
        assert!(says(&unknown), "{unknown}");
    }
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(message in "(prompt is too long|maximum context length is|[0-9,_]{0,30}|given: |[{}() é’]){0,8}") {
        read(&message);
    }
}

/// Work stays near-linear in what a provider sends.
#[test]
fn a_long_message_is_read_as_far_as_it_matters() {
    let long = "`inputs` must have less than 1".repeat(100_000);
    assert!(!says(&long));
    let after = format!("{}maximum context length is 5", "é".repeat(LOOKED_AT));
    assert!(!says(&after));
}
