//! The tokens of one request, made consistent: whatever a provider tells, parts are no more than their whole.

use remuda_formats::ir;

/// Tokens of one request or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All of the prompt, cached ones included.
    pub input: u64,
    /// Those of `input` that were read from a cache.
    pub cache_read: u64,
    /// Those of `input` that were written to a cache.
    pub cache_write: u64,
    /// Those of `cache_write` that are kept for an hour.
    pub cache_write_hour: u64,
    /// All of the answer, reasoning included.
    pub output: u64,
    /// Those of `output` that were reasoning.
    pub reasoning: u64,
}

/// Of one request; more is a mistake of who counts, and must not spoil sums.
const MOST: u64 = 1_000_000_000;

impl Tokens {
    /// Returns the prompt's tokens that no cache had.
    pub fn fresh(&self) -> u64 {
        self.input - self.cache_read - self.cache_write
    }

    pub fn is_zero(&self) -> bool {
        *self == Tokens::default()
    }
}

impl From<&ir::Usage> for Tokens {
    fn from(usage: &ir::Usage) -> Tokens {
        let count = |told: Option<u64>, most: u64| told.unwrap_or(0).min(most);
        let cached = [usage.cache_read, usage.cache_write];
        let input = match usage.prompt {
            Some(prompt) => prompt.min(MOST),
            // A count of the cached ones alone.
            None => cached.into_iter().flatten().max().unwrap_or(0).min(MOST),
        };
        let cache_read = count(usage.cache_read, input);
        let cache_write = count(usage.cache_write, input - cache_read);
        let output = match usage.output {
            Some(output) => output.min(MOST),
            None => count(usage.reasoning, MOST),
        };
        Tokens {
            input,
            cache_read,
            cache_write,
            cache_write_hour: count(usage.cache_write_hour, cache_write),
            output,
            reasoning: count(usage.reasoning, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_are_taken_as_told() {
        let usage = ir::Usage {
            prompt: Some(100),
            cache_read: Some(60),
            cache_write: Some(30),
            output: Some(50),
            reasoning: Some(20),
            ..ir::Usage::default()
        };
        let tokens = Tokens::from(&usage);
        assert_eq!(tokens.fresh(), 10);
        assert_eq!((tokens.output, tokens.reasoning), (50, 20));
        assert!(Tokens::from(&ir::Usage::default()).is_zero());
    }

    proptest! {
        #[test]
        fn parts_are_never_more_than_their_whole(counts in prop::array::uniform6(any::<Option<u64>>())) {
            let [prompt, cache_read, cache_write, cache_write_hour, output, reasoning] = counts;
            let usage = ir::Usage {
                prompt, cache_read, cache_write, cache_write_hour, output, reasoning,
                ..ir::Usage::default()
            };
            let tokens = Tokens::from(&usage);
            prop_assert!(tokens.input <= MOST && tokens.output <= MOST);
            prop_assert!(tokens.cache_read + tokens.cache_write <= tokens.input);
            prop_assert_eq!(tokens.fresh() + tokens.cache_read + tokens.cache_write, tokens.input);
            prop_assert!(tokens.cache_write_hour <= tokens.cache_write);
            prop_assert!(tokens.reasoning <= tokens.output);
        }
    }
}
