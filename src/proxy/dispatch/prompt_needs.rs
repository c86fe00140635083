//! What a request needs of the copy of its model that serves it: a context that holds its prompt and its answer, and how the
//! model is to be loaded for it.

use std::sync::{Arc, LazyLock};

use crate::admission::{LoadRecipe, Need, Want};
use crate::ids::ModelId;
use crate::proxy::prepared::ModelRequest;
use crate::proxy::token_ratios::{PromptLesson, PromptSize, TokenEstimate, TokenRatios, estimate};
use crate::settings::Truncate;
use remuda_formats::client::{Operation, Tuning};

/// More than a model's answers usually have, where the client states no bound.
const USUAL_OUTPUT: u32 = 512;
/// Room for an answer that every prompt gets, if the client does not ask for less.
const LEAST_OUTPUT: u32 = 128;

/// What is asked of the scheduler, and what the request may come to where its prompt is not expected to fit.
pub(crate) struct Claim {
    pub(crate) want: Want,
    /// The prompt has almost certainly so many tokens; 0: its server may shorten it.
    pub(super) least: u32,
}

impl Claim {
    /// Returns the claim to a copy that has the largest context there is, although the prompt is not expected to fit: its
    /// server may shorten it, or it may fit nevertheless, which the server then tells. `None` if it is too long for certain.
    pub(super) fn to_largest(&self, largest: u32) -> Option<Want> {
        (self.least <= largest && largest < self.want.need.tokens).then(|| Want {
            need: Need {
                tokens: largest,
                ..self.want.need
            },
            ..self.want.clone()
        })
    }
}

/// What a request needs of a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct PromptNeeds {
    /// `None` of what has no prompt whose length matters.
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

    /// Returns what the scheduler is told of them, for that model.
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

    /// Returns how many tokens the prompt has almost certainly; 0 if its server may shorten it.
    pub(super) fn least(&self, model: Option<ModelId>) -> u32 {
        if self.may_be_cut {
            return 0;
        }
        let estimate = || self.estimate(model).map_or(0, |prompt| prompt.least);
        self.counted.unwrap_or_else(estimate)
    }

    fn estimate(&self, model: Option<ModelId>) -> Option<TokenEstimate> {
        let ratio = model.and_then(|model| self.ratios.of(model));
        Some(estimate(ratio.as_deref(), self.size?))
    }

    /// An answer that needs more than its prompt's quarter finds the rest by the server's shift of the context.
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
