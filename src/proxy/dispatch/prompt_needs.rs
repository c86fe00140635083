//! What a request needs of the copy of its model that serves it: a context that holds its prompt and its answer, and how the
//! model is to be loaded for it.

use std::sync::{Arc, LazyLock};

use crate::admission::{LoadRecipe, Need, Want};
use crate::ids::ModelId;
use crate::proxy::prepared::ModelRequest;
use crate::proxy::token_ratios::{PromptLesson, PromptSize, TokenEstimate, TokenRatios, estimate};
use crate::settings::Truncate;
use remuda_formats::client::{Operation, Tuning};

/// Tokens of output that are expected where the client states no bound: more than most answers have.
const USUAL_OUTPUT: u32 = 512;
/// Tokens of output for which every prompt gets room, if the client does not ask for fewer.
const LEAST_OUTPUT: u32 = 128;

/// What is asked of the scheduler, and what the request may settle for where its prompt is not expected to fit.
pub(crate) struct Claim {
    pub(crate) want: Want,
    /// The tokens that the prompt has almost certainly at least.
    pub(super) least: u32,
    /// Whether the server may shorten the prompt.
    pub(super) may_be_cut: bool,
    /// Whether it goes to the largest context there is if it is not expected to fit; otherwise others are asked before that.
    pub(super) settles: bool,
}

impl Claim {
    /// Returns what is asked for although the prompt is not expected to fit even the `largest` context that there is or could be
    /// loaded: one of that size, as it may fit nevertheless, which its server then tells. If it is too long for certain and may
    /// be shortened, it is the largest `copy` there is, as a larger one would be loaded in vain; 0 is any. `None` if it may not.
    pub(super) fn to_largest(&self, largest: u32, copy: impl FnOnce() -> u32) -> Option<Want> {
        if largest >= self.want.need.tokens {
            return None;
        }
        let tokens = if self.least <= largest {
            largest
        } else if self.may_be_cut {
            copy().min(largest)
        } else {
            return None;
        };
        Some(Want {
            need: Need {
                tokens,
                ..self.want.need
            },
            ..self.want.clone()
        })
    }
}

/// What a request needs of a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct PromptNeeds {
    /// The prompt's size; `None` if the request has no prompt whose length matters.
    size: Option<PromptSize>,
    /// The most tokens that the client wants.
    output: Option<u32>,
    /// The context that the client states.
    stated: Option<u32>,
    embeds: bool,
    /// Whether the server may shorten the prompt.
    may_be_cut: bool,
    /// Tokens of the prompt, as a server has counted them.
    counted: Option<u32>,
    ratios: Arc<TokenRatios>,
    recipe: Option<Arc<LoadRecipe>>,
}

impl PromptNeeds {
    /// Reads the needs of a request; `truncate` says what becomes of a prompt that is too long.
    pub(crate) fn of(
        request: &ModelRequest,
        truncate: Truncate,
        ratios: &Arc<TokenRatios>,
    ) -> PromptNeeds {
        let operation = request.operation;
        let Some(wanted) = &request.wanted else {
            return PromptNeeds::default();
        };
        let prompts = matches!(
            operation,
            Operation::Chat
                | Operation::Generate
                | Operation::Embed
                | Operation::Embeddings
                | Operation::OpenAiChat
                | Operation::OpenAiCompletions
                | Operation::OpenAiResponses
                | Operation::OpenAiEmbeddings
                | Operation::AnthropicMessages
        );
        let embeds = matches!(
            operation,
            Operation::Embed | Operation::Embeddings | Operation::OpenAiEmbeddings
        );
        let copy = &wanted.copy;
        let bytes = copy.text_bytes(request.body.bytes.len());
        let size = PromptSize {
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            images: copy.images,
        };
        PromptNeeds {
            // Texts of one request to embed are prompts of their own.
            size: Some(size).filter(|_| prompts && !embeds),
            output: wanted
                .most_output
                .map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
            stated: copy.context.map(|(tokens, _)| tokens),
            embeds,
            may_be_cut: truncate == Truncate::AsClient,
            counted: None,
            ratios: Arc::clone(ratios),
            recipe: Some(recipe(request, embeds)),
        }
    }

    /// Returns what the scheduler is told of these needs, by the tokens that the prompt has for that model.
    pub(crate) fn need(&self, model: Option<ModelId>) -> Need {
        let tokens = self.estimate(model).map_or(0, |prompt| {
            // A tenth more, as the estimate may be too small.
            let prompt = self.counted.unwrap_or(prompt.tokens + prompt.tokens / 10);
            prompt.saturating_add(self.room_for_output(prompt))
        });
        Need {
            tokens,
            stated: self.stated,
            embeds: self.embeds,
        }
    }

    /// Returns how its model is to be loaded.
    pub(crate) fn recipe(&self) -> Option<Arc<LoadRecipe>> {
        self.recipe.clone()
    }

    /// Returns how many tokens the prompt has, as far as that is known.
    pub(crate) fn tokens(&self, model: Option<ModelId>) -> u32 {
        let estimate = || self.estimate(model).map_or(0, |prompt| prompt.tokens);
        self.counted.unwrap_or_else(estimate)
    }

    /// Notes how many tokens a server has counted, which is more than its copy holds. Returns whether that was not known.
    pub(crate) fn note_count(&mut self, tokens: u32) -> bool {
        let is_news = self.size.is_some() && self.counted.is_none_or(|counted| counted < tokens);
        if is_news {
            self.counted = Some(tokens);
        }
        is_news
    }

    /// Returns what is learned of the request once its server has counted its prompt's tokens.
    pub(crate) fn lesson(&self, request: &ModelRequest) -> Option<PromptLesson> {
        let size = self.size?;
        Some(PromptLesson {
            ratio: self.ratios.of(request.model()?)?,
            size,
            context: request.context,
            may_be_cut: self.may_be_cut,
        })
    }

    /// Returns whether a server has counted the prompt's tokens, so that the scheduler finds a copy that holds them.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    /// Returns whether a server may shorten the prompt.
    pub(super) fn may_be_cut(&self) -> bool {
        self.may_be_cut
    }

    /// Returns the tokens that the prompt has almost certainly at least.
    pub(super) fn least(&self, model: Option<ModelId>) -> u32 {
        let estimate = || self.estimate(model).map_or(0, |prompt| prompt.least);
        self.counted.unwrap_or_else(estimate)
    }

    fn estimate(&self, model: Option<ModelId>) -> Option<TokenEstimate> {
        let ratio = model.and_then(|model| self.ratios.of(model));
        Some(estimate(ratio.as_deref(), self.size?))
    }

    /// Returns the tokens of the context that are left for an answer to a prompt of that many tokens. An answer that needs more
    /// than a quarter of its prompt gets the rest as the server shifts the context.
    fn room_for_output(&self, prompt: u32) -> u32 {
        let wanted = self.output.unwrap_or(USUAL_OUTPUT);
        wanted.min(prompt / 4 + LEAST_OUTPUT)
    }
}

/// Returns how the model of a request is to be loaded. Requests that say nothing of it share one recipe.
fn recipe(request: &ModelRequest, embeds: bool) -> Arc<LoadRecipe> {
    static PLAIN: LazyLock<[Arc<LoadRecipe>; 2]> = LazyLock::new(|| {
        [false, true].map(|embeds| {
            Arc::new(LoadRecipe {
                embeds,
                options: None,
            })
        })
    });
    let body = &request.body.bytes;
    let copy = request.wanted.as_ref().map(|wanted| &wanted.copy);
    let text = |span: remuda_formats::wire::json::ByteSpan| {
        let text = std::str::from_utf8(span.of(body)).unwrap_or_default();
        (!text.is_empty()).then_some(text)
    };
    let options = copy.and_then(|copy| {
        let mut members: Vec<String> = Vec::new();
        for (tuning, span) in &copy.tuning {
            if *tuning != Tuning::Shift
                && let Some(value) = text(*span)
            {
                members.push(format!("\"{}\":{value}", tuning.name()));
            }
        }
        (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")).into_boxed_str())
    });
    if options.is_none() {
        return Arc::clone(&PLAIN[usize::from(embeds)]);
    }
    Arc::new(LoadRecipe { embeds, options })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::admission::Wanted;
    use crate::proxy::prepared::{Resuming, WantedModel};
    use crate::proxy::request_filter::body_budget::Body;
    use remuda_formats::client::scan_request;

    fn request(operation: Operation, body: &'static str) -> ModelRequest {
        let bytes = Bytes::from_static(body.as_bytes());
        let facts = scan_request(operation, &bytes).expect("the body can be read");
        let wanted = WantedModel {
            asked: "m".into(),
            untagged: None,
            span: facts.model_span,
            model: Some(ModelId(1)),
            own: None,
            tools: facts.tools,
            raw: facts.raw,
            no_stream_options: None,
            schemas: false,
            members: None,
            copy: facts.copy.clone(),
            most_output: facts.most_output,
        };
        ModelRequest {
            operation,
            body: Body::unshared(bytes),
            has_body: true,
            streams: false,
            wanted: Some(wanted),
            wary: false,
            context: None,
            resume: Resuming::Never,
        }
    }

    fn needs(operation: Operation, body: &'static str) -> PromptNeeds {
        let ratios = Arc::new(TokenRatios::default());
        PromptNeeds::of(&request(operation, body), Truncate::Never, &ratios)
    }

    const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"one two three four five six seven eight nine ten"}]}"#;

    #[test]
    fn an_answer_has_room_by_what_the_client_asks_for_within_a_quarter_of_the_prompt() {
        for (output, prompt, room) in [
            // Without a bound: as much as is usual, of long prompts alone.
            (None, 0, 128),
            (None, 400, 228),
            (None, 1_536, 512),
            (None, 100_000, 512),
            (Some(10), 100_000, 10),
            (Some(0), 100_000, 0),
            (Some(4_096), 0, 128),
            (Some(4_096), 8_000, 2_128),
            (Some(4_096), 40_000, 4_096),
            (Some(u32::MAX), u32::MAX, u32::MAX / 4 + 128),
        ] {
            let needs = PromptNeeds {
                output,
                ..PromptNeeds::default()
            };
            let found = needs.room_for_output(prompt);
            assert_eq!(found, room, "{output:?} {prompt}");
        }
    }

    #[test]
    fn a_prompt_is_estimated_with_a_tenth_more_until_a_server_has_counted_it() {
        let mut needs = needs(Operation::Chat, CHAT);
        let model = Some(ModelId(1));
        let about = needs.tokens(model);
        assert!(about > 10, "{about}");
        let with_room = |prompt: u32| prompt + needs.room_for_output(prompt);
        assert_eq!(needs.need(model).tokens, with_room(about + about / 10));
        assert!(needs.least(model) < about);
        let counted = with_room(5_000);
        for (tokens, is_news) in [(5_000, true), (5_000, false), (4_000, false)] {
            assert_eq!(needs.note_count(tokens), is_news, "{tokens}");
        }
        assert!(needs.is_counted());
        assert_eq!((needs.tokens(model), needs.least(model)), (5_000, 5_000));
        assert_eq!(needs.need(model).tokens, counted);
    }

    #[test]
    fn only_a_conversation_or_a_text_has_a_length_that_matters() {
        use Operation::{
            AnthropicCountTokens, Chat, Embed, Generate, OpenAiChat, OpenAiEmbeddings,
        };
        for (operation, body, has_length, embeds) in [
            (Chat, CHAT, true, false),
            (OpenAiChat, CHAT, true, false),
            (Generate, r#"{"model":"m","prompt":"one"}"#, true, false),
            // Texts of one request are prompts of their own.
            (Embed, r#"{"model":"m","input":["one"]}"#, false, true),
            (
                OpenAiEmbeddings,
                r#"{"model":"m","input":["one"]}"#,
                false,
                true,
            ),
            (AnthropicCountTokens, CHAT, false, false),
        ] {
            let mut needs = needs(operation, body);
            let need = needs.need(None);
            assert_eq!(need.tokens > 0, has_length, "{operation:?}");
            assert_eq!(need.embeds, embeds, "{operation:?}");
            let counts = needs.note_count(100_000);
            assert_eq!(counts, has_length, "{operation:?}");
        }
    }

    #[test]
    fn a_server_that_may_shorten_a_prompt_takes_any() {
        let ratios = Arc::new(TokenRatios::default());
        let request = request(Operation::Chat, CHAT);
        for (truncate, shortens) in [(Truncate::Never, false), (Truncate::AsClient, true)] {
            let mut needs = PromptNeeds::of(&request, truncate, &ratios);
            assert!(needs.note_count(100_000));
            assert_eq!(needs.least(Some(ModelId(1))), 100_000, "{truncate:?}");
            assert_eq!(needs.may_be_cut(), shortens, "{truncate:?}");
            let lesson = needs.lesson(&request).expect("its model is known");
            assert_eq!(lesson.may_be_cut, shortens, "{truncate:?}");
        }
    }

    #[test]
    fn a_prompt_settles_for_the_largest_context_only_where_that_may_do() {
        // Expected, for certain, whether it may be cut, the largest context that could be, the largest copy, and what follows.
        for (needs, least, may_be_cut, largest, copy, tokens) in [
            (9_000, 3_000, false, 8_192, 0, Some(8_192)),
            (9_000, 3_000, true, 8_192, 4_096, Some(8_192)),
            (90_000, 60_000, false, 8_192, 4_096, None),
            (90_000, 60_000, true, 8_192, 4_096, Some(4_096)),
            (90_000, 60_000, true, 8_192, 0, Some(0)),
            (9_000, 8_192, false, 8_192, 0, Some(8_192)),
            (9_000, 8_193, false, 8_192, 0, None),
            // It is expected to fit, so that its length was not why it was refused.
            (8_192, 3_000, false, 8_192, 0, None),
            (9_000, 3_000, true, 16_384, 4_096, None),
        ] {
            let claim = Claim {
                want: Want {
                    wanted: Wanted::Any,
                    priority: 3,
                    pinned: None,
                    need: Need {
                        tokens: needs,
                        stated: Some(2_048),
                        ..Need::default()
                    },
                    recipe: None,
                },
                least,
                may_be_cut,
                settles: true,
            };
            let want = claim.to_largest(largest, || copy);
            let asked = want.map(|want| (want.need.tokens, want.need.stated, want.priority));
            let tokens = tokens.map(|tokens| (tokens, Some(2_048), 3));
            assert_eq!(asked, tokens, "{needs} {least} {may_be_cut} {largest}");
        }
    }

    #[test]
    fn a_model_is_loaded_with_the_options_that_tune_it_and_with_no_others() {
        for (body, options) in [
            (r#"{"model":"m","prompt":"a"}"#, None),
            (
                r#"{"model":"m","prompt":"a","options":{"temperature":1,"num_ctx":8192}}"#,
                None,
            ),
            // No option, but of the request.
            (r#"{"model":"m","prompt":"a","shift":false}"#, None),
            (
                r#"{"model":"m","prompt":"a","options":{"num_gpu": 1,"seed":7,"use_mmap":false},"shift":true}"#,
                Some(r#"{"num_gpu":1,"use_mmap":false}"#),
            ),
        ] {
            let request = request(Operation::Generate, body);
            let found = recipe(&request, false);
            assert_eq!(found.options.as_deref(), options, "{body}");
            let is_shared = Arc::ptr_eq(&found, &recipe(&request, false));
            assert_eq!(is_shared, options.is_none(), "{body}");
        }
        let embeds = recipe(
            &request(Operation::Embed, r#"{"model":"m","input":"a"}"#),
            true,
        );
        assert!(embeds.embeds && embeds.options.is_none());
    }
}
