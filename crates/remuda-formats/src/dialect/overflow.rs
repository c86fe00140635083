//! How providers say that a prompt is longer than a model's context, which hardly any two say alike, and the words by
//! which the clients of each format know it.

use memchr::memmem;

use crate::ir::{Fault, FaultKind, Overflow};

/// Bytes of a message that are looked at: what it is about stands at its beginning.
const LOOKED_AT: usize = 16 * 1024;

/// What every provider is known to say, in lower case. `{in}`, `{out}`, `{all}` and `{most}` are numbers of tokens: of
/// the prompt, of the answer that was asked for, of both, and of what fits; `{}` is another number, and `{end}` the end
/// of what is said, so that the words do not go on to mean something else.
const SIGNS: &[&str] = &[
    // Anthropic, also at Bedrock; Fireworks.
    "prompt is too long: {in} tokens > {most} maximum",
    "prompt is too long: {in}, model maximum context length: {most}",
    "prompt is too long{end}",
    "prompt is too long for ",
    "exceed context limit: {in} + {out} > {most}",
    "exceed context limit",
    // OpenAI, Azure, DeepSeek, vLLM, SGLang, OpenRouter.
    "maximum context length is {most}",
    "maximum context length of {most}",
    "maximum context length ({most}",
    "exceeds the model's maximum context length",
    "exceeds the maximum context length",
    "exceeds maximum context length",
    "model's maximum context limit",
    "maximum context limit of {most}",
    "maximum input length is {most} tokens",
    "exceeds the context window",
    "exceeds model context window",
    "exceeds the model's context window",
    "input ({in} tokens) is longer than the model's context length ({most} tokens)",
    "is longer than the model's context length",
    "model's context length is only {most} tokens",
    "is longer than the maximum model length of {most}",
    "input tokens exceed the configured limit of {most} tokens",
    "input tokens exceed the configured limit",
    "exceeds the maximum allowed input length of {most} tokens",
    "input length ({in} tokens) exceeds the maximum allowed length ({most} tokens)",
    "is too long to fit into the model (context length {most})",
    "exceeds the max_model_len {most}",
    "context length exceeded",
    "context_length_exceeded",
    "contextwindowexceedederror",
    "context_window_exceeded",
    // Ollama.
    "exceeds the context length",
    "is longer than the context length",
    "prompt too long; exceeded max context length",
    "prompt too long; exceeded context length",
    // llama.cpp, its Python server, LM Studio, TabbyAPI.
    "input ({in} tokens) is too large to process. increase the physical batch size (current batch size: {most})",
    "is too large to process. increase the physical batch size",
    "exceed context window of {most}",
    "from the initial prompt ({in}) is greater than the context length ({most})",
    "context size has been exceeded",
    "request ({in} tokens) exceeds the available context size ({most} tokens)",
    "exceeds the available context size",
    "exceed_context_size_error",
    "is greater than the context length",
    "context length of only {most} tokens",
    "reached context length of {most} tokens",
    "is greater than max_seq_len {most}",
    // Text Generation Inference, TensorRT-LLM, DS4.
    "`inputs` must have less than {most} tokens. given: {in}",
    "`inputs` tokens + `max_new_tokens` must be <= {most}",
    "`inputs` tokens + `max_new_tokens` must be",
    "prompt length ({in}) exceeds maximum input length ({most})",
    "should not exceed max_num_tokens ({most})",
    "should not exceed max_seq_len ({most})",
    "prompt has {in} tokens, but the configured context size is {most} tokens",
    // Gemini, and Vertex.
    "input token count ({in}) exceeds the maximum number of tokens",
    "input token count exceeds the maximum number of tokens",
    "total token count ({all}) exceeds the maximum number of tokens",
    "input token count is {in} but model only supports up to {most}",
    "request contains {in} tokens, which exceeds the limit of {most}",
    "input context is too long",
    // Bedrock, with the models of Anthropic, Amazon, Meta and others.
    "input is too long for requested model",
    "input is too long{end}",
    "too many input tokens. max input tokens: {most}, request input token count: {in}",
    "too many input tokens{end}",
    "number of input tokens exceeds maximum length",
    "#/inputtext: expected maxlength: {}",
    "#/prompt: expected maxlength: {}",
    "malformed input request: expected maxlength: {}",
    // xAI, Groq, Cerebras, Mistral, Cohere.
    "maximum prompt length is {most}",
    "reduce the length of the messages",
    "current length is {in} while limit is {most}",
    "too large for model with {most} maximum context length",
    "total number of tokens in the prompt cannot exceed {most}",
    "total number of tokens (prompt and prediction) cannot exceed {most}",
    // GitHub, Moonshot, MiniMax, DashScope, Zhipu, watsonx.
    "prompt token count of {in} exceeds the limit of {most}",
    "exceeded model token limit: {most}",
    "exceeded model token limit",
    "context window exceeds limit",
    "range of input length should be [{}, {most}]",
    "prompt too long{end}",
    "input length is too long",
    "input token length too long",
    "the length of tokens in the request is too long",
    "输入长度超过",
    "上下文长度超",
    "超出上下文",
    "tokens in request more than max tokens allowed",
    "prompt exceeds max length{end}",
    "number of input tokens {in} cannot exceed the total tokens limit {most}",
];

/// Numbers beside them.
const COUNTS: &[&str] = &[
    "you requested {out} output tokens",
    "you requested {all} tokens",
    "you requested about {all} tokens",
    "you requested a total of {all} tokens",
    "({in} in the messages, {out} in the completion)",
    "({in} in your prompt; {out} for the completion)",
    "({in} of text input, {out} in the output)",
    "{in} tokens from the input messages and {out} tokens for the completion",
    "you passed {in} input tokens and requested {out} output tokens",
    "resulted in {in} tokens",
    "requested tokens ({in})",
    "engine prompt length {in}",
    "sum of prompt length ({in}",
    "input length ({in})",
    "(total length {in})",
    "context length {in} is greater",
    "your request has {in} input tokens",
    "prompt contains {in} input tokens",
    "prompt contains at least {in} input tokens",
    "prompt contains {in} tokens",
    "the request contains {in} tokens",
    "prompt (length {in})",
    "context length ({most} tokens)",
    "number of tokens allowed ({most})",
    "number of tokens allowed {most}",
    "is too large: {out}.",
    "(requested: {all})",
    "- received {all}",
    "keep the first {in} tokens",
    "input length {in} exceeds",
    "given: {in} `inputs` tokens and {out} `max_new_tokens`",
    "prompt length {in} is greater",
];

/// Such limits are met by asking less often, however long the prompt is.
const OF_RATES: &[&str] = &[
    "rate limit",
    "rate_limit",
    "too many requests",
    "per minute",
    "per second",
    "per day",
    "quota",
    "throttl",
];

/// Returns whether a message says that the prompt is too long for the model, and not that requests come too fast or
/// that a field is too long. Where there is a status, it is to be asked first: 400, 413, 422, and 500 of servers that
/// do not care.
pub fn says(message: &str) -> bool {
    read(message).is_some()
}

/// Returns whether an error of this status may say so; one under 200 has none.
pub fn may_be(status: Option<u16>) -> bool {
    matches!(status, None | Some(400 | 413 | 422 | 500))
}

/// Returns a fault of that kind, with the numbers that its message has.
#[must_use]
pub fn counted(fault: Fault) -> Fault {
    if fault.kind != FaultKind::ContextLength {
        return fault;
    }
    let stated = fault.overflow.as_deref().copied().unwrap_or_default();
    let read = read(&fault.message).unwrap_or_default();
    Fault {
        overflow: Some(Box::new(stated.or(read))),
        ..fault
    }
}

/// Returns the words by which Anthropic's clients know it; they cut their conversations by the numbers. `message` is
/// the provider's.
pub fn in_words_of_anthropic(overflow: &Overflow, message: &str) -> String {
    let Some((used, most)) = overflow.excess() else {
        return if message.to_ascii_lowercase().contains("prompt is too long") {
            message.to_owned()
        } else {
            format!("prompt is too long: {message}")
        };
    };
    let told = format!("prompt is too long: {used} tokens > {most} maximum");
    match (overflow.input, overflow.output) {
        // They ask for less where the prompt alone would do.
        (Some(input), Some(output)) if output > 0 => format!(
            "{told}; input length and `max_tokens` exceed context limit: {input} + {output} > {most}"
        ),
        _ => told,
    }
}

/// Returns the words of Ollama: it hands on its runner's JSON as a text.
pub fn in_words_of_ollama(overflow: &Overflow, embeds: bool) -> String {
    match overflow.excess() {
        _ if embeds => "the input length exceeds the context length".to_owned(),
        Some((used, most)) => format!(
            "{{\"error\":{{\"code\":400,\"message\":\"request ({used} tokens) exceeds the available context size ({most} tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":{used},\"n_ctx\":{most}}}}}"
        ),
        None => "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust the context length in settings, or use a model with a longer context length".to_owned(),
    }
}

fn read(message: &str) -> Option<Overflow> {
    let mut end = message.len().min(LOOKED_AT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let text = message[..end].to_ascii_lowercase().replace('\u{2019}', "'");
    let found = |templates: &'static [&'static str]| {
        templates
            .iter()
            .filter_map(|template| find(&text, template))
    };
    let signs = found(SIGNS).reduce(Overflow::or)?;
    if OF_RATES.iter().any(|words| text.contains(words)) {
        return None;
    }
    Some(found(COUNTS).fold(signs, Overflow::or))
}

/// Returns the first place where `text` says what the template has, and its numbers.
fn find(text: &str, template: &str) -> Option<Overflow> {
    let begins = template.find('{').unwrap_or(template.len());
    // A template that begins with a number is found by what follows it.
    let (lead, rest) = if template[..begins].is_empty() {
        return find_after_number(text, template);
    } else {
        (&template[..begins], &template[begins..])
    };
    memmem::find_iter(text.as_bytes(), lead).find_map(|at| matched(&text[at + lead.len()..], rest))
}

/// Finds the first place of a template that begins with a number, such as `{in} tokens …`.
fn find_after_number(text: &str, template: &str) -> Option<Overflow> {
    let (_, rest) = template.split_once('}')?;
    let lead = &rest[..rest.find('{').unwrap_or(rest.len())];
    memmem::find_iter(text.as_bytes(), lead).find_map(|at| {
        let digits = text[..at].bytes().rev().take_while(is_of_number).count();
        matched(&text[at - digits..], template)
    })
}

fn is_of_number(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b',' | b'_')
}

/// Returns the numbers, if `text` goes on as the template does.
fn matched(mut text: &str, mut template: &str) -> Option<Overflow> {
    let mut overflow = Overflow::default();
    while !template.is_empty() {
        let Some(rest) = template.strip_prefix('{') else {
            let literal = &template[..template.find('{').unwrap_or(template.len())];
            text = text.strip_prefix(literal)?;
            template = &template[literal.len()..];
            continue;
        };
        let (name, rest) = rest.split_once('}')?;
        template = rest;
        if name == "end" {
            let next = text.trim_start().bytes().next();
            next.is_none_or(|next| b".:;,!([\n".contains(&next))
                .then_some(())?;
            continue;
        }
        let digits = text.bytes().take_while(is_of_number).count();
        let digits = text[..digits].trim_end_matches([',', '_']).len();
        let number: String = text[..digits]
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let number: u64 = number.parse().ok()?;
        text = &text[digits..];
        match name {
            "in" => overflow.input = Some(number),
            "out" => overflow.output = Some(number),
            "all" => overflow.all = Some(number),
            "most" => overflow.most = Some(number),
            _ => {}
        }
    }
    Some(overflow)
}

#[cfg(test)]
mod tests;
