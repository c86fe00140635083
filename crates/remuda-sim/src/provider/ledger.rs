//! What a request costs in input tokens, and where its cache breakpoints lie.

use std::collections::HashSet;

use super::super::chance;

/// Tokens of an image.
const IMAGE_TOKENS: u64 = 1_334;

/// The prompt read from its beginning: tools, then system, then messages, which is the order of the cache.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    hash: u64,
    tokens: u64,
    breakpoints: Vec<Breakpoint>,
}

#[derive(Clone, Copy, Debug)]
struct Breakpoint {
    /// Of all that stands before it.
    hash: u64,
    tokens: u64,
    one_hour: bool,
}

/// Input tokens, split as `usage` splits them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Input {
    pub(super) fresh: u64,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) one_hour: bool,
}

impl Input {
    pub(super) fn total(&self) -> u64 {
        self.fresh + self.written + self.read
    }
}

impl Ledger {
    /// Reads on: about four bytes are a token.
    pub(super) fn add(&mut self, text: &str) {
        self.hash = chance::hash(self.hash, text.as_bytes());
        self.tokens += 1 + text.len().div_ceil(4) as u64;
    }

    /// Reads an image on, by its data or its address.
    pub(super) fn picture(&mut self, data: &str) {
        self.hash = chance::hash(self.hash, data.as_bytes());
        self.tokens += IMAGE_TOKENS;
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Sets a breakpoint here, and returns how many there are.
    pub(super) fn mark(&mut self, one_hour: bool) -> usize {
        self.breakpoints.push(Breakpoint {
            hash: self.hash,
            tokens: self.tokens,
            one_hour,
        });
        self.breakpoints.len()
    }

    /// Splits the prompt by what is in the cache already, and writes the rest up to the last breakpoint to it.
    pub(super) fn settle(&self, cache: &mut Cache) -> Input {
        let Some(last) = self.breakpoints.last() else {
            return Input {
                fresh: self.tokens,
                ..Input::default()
            };
        };
        let known = self.breakpoints.iter().rev();
        let read = known
            .clone()
            .find(|breakpoint| cache.holds(breakpoint.hash))
            .map_or(0, |breakpoint| breakpoint.tokens);
        for breakpoint in known {
            cache.keep(breakpoint.hash);
        }
        Input {
            fresh: self.tokens - last.tokens,
            written: last.tokens - read,
            read,
            one_hour: last.one_hour,
        }
    }
}

/// Hashes of the prompts that are cached.
#[derive(Debug, Default)]
pub(super) struct Cache {
    prompts: HashSet<u64>,
}

impl Cache {
    /// Prompts that are remembered; when there are more, the cache begins anew.
    const MOST: usize = 4_096;

    fn holds(&self, prompt: u64) -> bool {
        self.prompts.contains(&prompt)
    }

    fn keep(&mut self, prompt: u64) {
        if self.prompts.len() >= Self::MOST {
            self.prompts.clear();
        }
        self.prompts.insert(prompt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(system: &str, question: &str) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add(system);
        ledger.mark(false);
        ledger.add(question);
        ledger
    }

    #[test]
    fn what_was_written_is_read_the_next_time() {
        let mut cache = Cache::default();
        let first = prompt("You are brief.", "hi").settle(&mut cache);
        assert_eq!((first.fresh, first.written, first.read), (2, 5, 0));
        let second = prompt("You are brief.", "hello there").settle(&mut cache);
        assert_eq!((second.written, second.read), (0, 5));
        let other = prompt("You are long.", "hi").settle(&mut cache);
        assert_eq!(other.read, 0);
    }
}
