//! How many tokens a prompt has, by the bytes of its request: a ratio that is learned for each model from what its servers
//! have counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ahash::AHashMap;
use arc_swap::ArcSwap;

use crate::ids::ModelId;

/// The most models whose ratios are kept; those of further ones are not learned.
const MOST_MODELS: usize = 4_096;
/// Tokens for each byte of a request before anything is known of its model: English in JSON has about one for four bytes.
const UNKNOWN: f32 = 0.3;
/// The part of [`UNKNOWN`] that a prompt has at least, whatever its language.
const UNKNOWN_LEAST: f32 = 0.25;
/// The part of a learned estimate that a prompt has at least.
const KNOWN_LEAST: f32 = 0.7;
/// The fewest bytes of a request from which a ratio is learned: a shorter one is more JSON and template than text.
const LEAST_BYTES: u32 = 400;
/// The ratios that are believed. A server whose counts give others counts something else, such as the prompt without what it
/// remembers of it.
const PLAUSIBLE: std::ops::RangeInclusive<f32> = 0.02..=1.5;
/// The weight of a prompt with more tokens than expected.
const RISE: f32 = 0.5;
/// The weight of one with fewer: the next may be of the kind before.
const FALL: f32 = 0.05;
/// The tokens that an image is estimated to have.
const OF_IMAGE: u32 = 800;

/// The ratios of all models.
#[derive(Debug, Default)]
pub(crate) struct TokenRatios(ArcSwap<AHashMap<ModelId, Arc<TokenRatio>>>);

/// The tokens for each byte of a request for one model.
#[derive(Debug, Default)]
pub(crate) struct TokenRatio {
    /// The bits of the ratio, an `f32`; 0 until one has been learned.
    bits: AtomicU32,
    /// Whether the log has said that a prompt for the model was shortened.
    told: AtomicBool,
}

/// The text and the images of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptSize {
    /// Bytes of the body but for images.
    pub(crate) bytes: u32,
    pub(crate) images: u32,
}

/// What is learned of a request once its server has counted its prompt's tokens.
#[derive(Clone, Debug)]
pub(crate) struct PromptLesson {
    pub(crate) ratio: Arc<TokenRatio>,
    pub(crate) size: PromptSize,
    /// The context of the copy that has served it, where that is known.
    pub(crate) context: Option<u32>,
    /// Whether the server was free to shorten the prompt.
    pub(crate) may_be_cut: bool,
}

impl PromptLesson {
    /// Returns whether the server has shortened the prompt, of which it has counted so many tokens: the whole of it would not
    /// have fitted the context.
    pub(crate) fn is_cut(&self, tokens: u64) -> bool {
        let least = estimate(Some(&self.ratio), self.size).least;
        let holds = |context: u32| least > context && tokens <= u64::from(context);
        self.may_be_cut && self.context.is_some_and(holds)
    }

    /// Learns from a count. Returns whether the prompt was shortened, and whether that is to be told: it is once for each
    /// model.
    pub(crate) fn learn(&self, tokens: u64) -> (bool, bool) {
        let cut = self.is_cut(tokens);
        if !cut {
            self.ratio.learn(self.size, tokens);
        }
        let told = cut && self.ratio.told.swap(true, Ordering::Relaxed);
        (cut, cut && !told)
    }
}

/// How many tokens a prompt has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenEstimate {
    /// The tokens that the prompt probably has.
    pub(crate) tokens: u32,
    /// The tokens that the prompt has almost certainly at least.
    pub(crate) least: u32,
}

impl TokenRatios {
    /// Returns the ratio of a model; `None` if as many models are known as are kept.
    pub(crate) fn of(&self, model: ModelId) -> Option<Arc<TokenRatio>> {
        let known = self.0.load();
        if let Some(ratio) = known.get(&model) {
            return Some(Arc::clone(ratio));
        }
        if known.len() >= MOST_MODELS {
            return None;
        }
        self.0.rcu(|known| {
            let mut grown = AHashMap::clone(known);
            grown.entry(model).or_default();
            grown
        });
        self.0.load().get(&model).map(Arc::clone)
    }
}

impl TokenRatio {
    fn learned(&self) -> Option<f32> {
        let ratio = f32::from_bits(self.bits.load(Ordering::Relaxed));
        (ratio > 0.0).then_some(ratio)
    }

    /// Notes how many tokens a server has counted of a prompt that it took whole.
    fn learn(&self, size: PromptSize, tokens: u64) {
        if size.bytes < LEAST_BYTES || size.images > 0 {
            return;
        }
        let seen = tokens as f32 / size.bytes as f32;
        if !PLAUSIBLE.contains(&seen) {
            return;
        }
        let ratio = match self.learned() {
            None => seen,
            Some(known) if seen > known => known + (seen - known) * RISE,
            Some(known) => known + (seen - known) * FALL,
        };
        // Of two that learn at once, either will do.
        self.bits.store(ratio.to_bits(), Ordering::Relaxed);
    }
}

/// Returns how many tokens a prompt has, by what is known of its model.
pub(crate) fn estimate(ratio: Option<&TokenRatio>, size: PromptSize) -> TokenEstimate {
    let bytes = size.bytes as f32;
    let images = size.images.saturating_mul(OF_IMAGE);
    let (tokens, least) = match ratio.and_then(TokenRatio::learned) {
        Some(ratio) => (bytes * ratio, bytes * ratio * KNOWN_LEAST),
        None => (bytes * UNKNOWN, bytes * UNKNOWN * UNKNOWN_LEAST),
    };
    TokenEstimate {
        tokens: (tokens as u32).saturating_add(images),
        least: least as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes(bytes: u32) -> PromptSize {
        PromptSize { bytes, images: 0 }
    }

    #[test]
    fn an_estimate_follows_what_servers_have_counted() {
        let ratios = TokenRatios::default();
        let ratio = ratios.of(ModelId(7)).unwrap();
        assert_eq!(estimate(Some(&ratio), of_bytes(10_000)).tokens, 3_000);
        ratio.learn(of_bytes(10_000), 2_000);
        let learned = estimate(Some(&ratio), of_bytes(10_000));
        assert!((1_999..=2_001).contains(&learned.tokens), "{learned:?}");
        assert!(learned.least < learned.tokens);
        // A text of another language is met with at once, and forgotten slowly.
        ratio.learn(of_bytes(10_000), 4_000);
        let risen = estimate(Some(&ratio), of_bytes(10_000)).tokens;
        assert!((2_999..=3_001).contains(&risen), "{risen}");
        ratio.learn(of_bytes(10_000), 2_000);
        let fallen = estimate(Some(&ratio), of_bytes(10_000)).tokens;
        assert!((2_900..3_000).contains(&fallen), "{fallen}");
        let same = ratios.of(ModelId(7)).unwrap();
        assert!(Arc::ptr_eq(&ratio, &same));
        assert!(!Arc::ptr_eq(&ratio, &ratios.of(ModelId(8)).unwrap()));
    }

    #[test]
    fn what_says_nothing_of_the_ratio_is_not_learned() {
        let ratio = TokenRatio::default();
        for (size, tokens) in [
            (of_bytes(LEAST_BYTES - 1), 100),
            (of_bytes(100_000), 3),
            (of_bytes(1_000), 90_000),
            (
                PromptSize {
                    bytes: 1_000,
                    images: 1,
                },
                900,
            ),
        ] {
            ratio.learn(size, tokens);
            assert_eq!(ratio.learned(), None, "{size:?}");
        }
    }

    #[test]
    fn a_prompt_that_would_not_have_fitted_was_shortened() {
        let lesson = |bytes, may_be_cut| PromptLesson {
            ratio: Arc::default(),
            size: of_bytes(bytes),
            context: Some(4_096),
            may_be_cut,
        };
        let cut = lesson(216_000, true);
        assert_eq!(cut.learn(2_051), (true, true));
        assert_eq!(cut.learn(2_051), (true, false));
        assert_eq!(cut.ratio.learned(), None);
        for (whole, tokens) in [
            (lesson(8_000, true), 2_051),
            (lesson(216_000, false), 2_051),
            (lesson(216_000, true), 54_020),
        ] {
            assert_eq!(whole.learn(tokens), (false, false), "{whole:?} {tokens}");
        }
    }

    #[test]
    fn images_count_by_their_number() {
        let size = PromptSize {
            bytes: 0,
            images: 2,
        };
        assert_eq!(estimate(None, size).tokens, 2 * OF_IMAGE);
    }

    #[test]
    fn models_that_are_kept_are_bounded() {
        let ratios = TokenRatios::default();
        let many = (0..MOST_MODELS as u32).map(|id| (ModelId(id), Arc::default()));
        ratios.0.store(Arc::new(many.collect()));
        assert!(ratios.of(ModelId(1)).is_some());
        assert!(ratios.of(ModelId(u32::MAX)).is_none());
    }
}
