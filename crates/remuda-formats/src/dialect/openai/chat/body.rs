//! The body of a request for a chat completion, field by field.

use serde::Deserialize;

use super::super::field::Field;

/// A body with OpenAI's fields and those that other servers with this API have added.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Body<'a> {
    #[serde(borrow)]
    pub(super) messages: Field<'a>,
    pub(super) stream: Field<'a>,
    pub(super) stream_options: Field<'a>,
    pub(super) max_completion_tokens: Field<'a>,
    pub(super) max_tokens: Field<'a>,
    pub(super) temperature: Field<'a>,
    pub(super) top_p: Field<'a>,
    pub(super) top_k: Field<'a>,
    pub(super) min_p: Field<'a>,
    pub(super) typical_p: Field<'a>,
    pub(super) repeat_penalty: Field<'a>,
    pub(super) repetition_penalty: Field<'a>,
    pub(super) repeat_last_n: Field<'a>,
    pub(super) presence_penalty: Field<'a>,
    pub(super) frequency_penalty: Field<'a>,
    pub(super) seed: Field<'a>,
    pub(super) logit_bias: Field<'a>,
    pub(super) n: Field<'a>,
    pub(super) stop: Field<'a>,
    pub(super) logprobs: Field<'a>,
    pub(super) top_logprobs: Field<'a>,
    pub(super) response_format: Field<'a>,
    pub(super) tools: Field<'a>,
    pub(super) tool_choice: Field<'a>,
    pub(super) parallel_tool_calls: Field<'a>,
    pub(super) functions: Field<'a>,
    pub(super) function_call: Field<'a>,
    pub(super) reasoning_effort: Field<'a>,
    pub(super) reasoning: Field<'a>,
    pub(super) thinking: Field<'a>,
    pub(super) enable_thinking: Field<'a>,
    pub(super) chat_template_kwargs: Field<'a>,
    pub(super) cache_control: Field<'a>,
    pub(super) user: Field<'a>,
    pub(super) safety_identifier: Field<'a>,
    pub(super) service_tier: Field<'a>,
    pub(super) prompt_cache_key: Field<'a>,
    pub(super) prompt_cache_retention: Field<'a>,
    pub(super) prompt_cache_options: Field<'a>,
    pub(super) metadata: Field<'a>,
    pub(super) store: Field<'a>,
    pub(super) verbosity: Field<'a>,
    pub(super) modalities: Field<'a>,
    // What follows changes the answer and has no place in the neutral model.
    pub(super) prediction: Field<'a>,
    pub(super) web_search_options: Field<'a>,
    pub(super) plugins: Field<'a>,
    pub(super) moderation: Field<'a>,
    pub(super) top_a: Field<'a>,
    pub(super) min_tokens: Field<'a>,
    pub(super) ignore_eos: Field<'a>,
    pub(super) grammar: Field<'a>,
    pub(super) json_schema: Field<'a>,
    pub(super) structured_outputs: Field<'a>,
    pub(super) guided_json: Field<'a>,
    pub(super) guided_regex: Field<'a>,
    pub(super) guided_choice: Field<'a>,
    pub(super) guided_grammar: Field<'a>,
}

impl<'a> Body<'a> {
    /// Returns a body with nothing but what says how to reason.
    pub(super) fn of_reasoning(field: impl Fn(&str) -> Field<'a>) -> Self {
        Body {
            reasoning_effort: field("reasoning_effort"),
            reasoning: field("reasoning"),
            thinking: field("thinking"),
            enable_thinking: field("enable_thinking"),
            chat_template_kwargs: field("chat_template_kwargs"),
            ..Body::default()
        }
    }
}
