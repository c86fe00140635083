//! The prompts that a loaded model remembers, so that what begins like one of them need not be computed again.

use std::collections::VecDeque;

use super::chance;

/// Bytes of a piece that is compared as a whole.
const PIECE: usize = 16;

/// Tokens of a piece.
const PIECE_TOKENS: u64 = 4;

/// Bytes of main memory for prompts of one copy.
const MEMORY: u64 = 8 << 30;

/// The most pieces that this process remembers of one copy, whatever the memory that it plays.
const MOST_PIECES: u64 = 1 << 20;

/// Prompts of one copy, the one that came last at the end.
pub(super) struct Prompts {
    /// Of each prompt, for each of its pieces, the hash of the text up to the piece's end.
    list: VecDeque<Vec<u64>>,
    pieces: u64,
    most: u64,
}

impl Prompts {
    pub(super) fn new(bytes_per_token: u64) -> Self {
        let tokens = MEMORY / bytes_per_token.max(1);
        Self {
            list: VecDeque::new(),
            pieces: 0,
            most: (tokens / PIECE_TOKENS).clamp(1, MOST_PIECES),
        }
    }

    /// Tokens at the beginning of `text` that are the same as in a prompt of before.
    pub(super) fn remembered(&self, text: &str) -> u64 {
        let wanted = pieces(text);
        let common = |prompt: &Vec<u64>| {
            let same = prompt.iter().zip(&wanted).take_while(|(a, b)| a == b);
            same.count() as u64
        };
        let most = self.list.iter().map(common).max();
        most.unwrap_or(0) * PIECE_TOKENS
    }

    /// Remembers `text`, in place of what it goes on from; the oldest prompts are forgotten where there are too many.
    pub(super) fn remember(&mut self, text: &str) {
        let new = pieces(text);
        if new.is_empty() {
            return;
        }
        let same = |prompt: &Vec<u64>| new.starts_with(prompt);
        if let Some(at) = self.list.iter().position(same) {
            self.forget(at);
        }
        self.pieces += new.len() as u64;
        self.list.push_back(new);
        while self.pieces > self.most && self.list.len() > 1 {
            self.forget(0);
        }
    }

    fn forget(&mut self, at: usize) {
        if let Some(old) = self.list.remove(at) {
            self.pieces -= old.len() as u64;
        }
    }
}

/// The hashes of a text up to the end of each whole piece.
fn pieces(text: &str) -> Vec<u64> {
    let mut so_far = 0;
    text.as_bytes()
        .chunks_exact(PIECE)
        .map(|piece| {
            so_far = chance::hash(so_far, piece);
            so_far
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: usize) -> String {
        (0..100).map(|at| format!("{of}/{at} ")).collect()
    }

    #[test]
    fn a_prompt_is_remembered_after_sixteen_others() {
        let mut prompts = Prompts::new(114_688);
        assert_eq!(prompts.remembered(&text(0)), 0);
        for of in 0..17 {
            prompts.remember(&text(of));
        }
        let whole = (text(0).len() / PIECE) as u64 * PIECE_TOKENS;
        assert_eq!(prompts.remembered(&text(0)), whole);
        let longer = text(0) + &text(99);
        assert_eq!(prompts.remembered(&longer), whole);
        let other = "x".to_owned() + &text(0);
        assert_eq!(prompts.remembered(&other), 0, "only what it begins with");
    }

    #[test]
    fn a_conversation_that_goes_on_takes_one_place() {
        let mut prompts = Prompts::new(114_688);
        prompts.remember(&text(0));
        prompts.remember(&(text(0) + &text(1)));
        assert_eq!(prompts.list.len(), 1);
    }

    #[test]
    fn the_memory_is_bounded() {
        // Room for sixteen tokens, which are four pieces.
        let mut prompts = Prompts::new(MEMORY / 16);
        let short = |of: char| of.to_string().repeat(2 * PIECE);
        for of in ['a', 'b', 'c'] {
            prompts.remember(&short(of));
        }
        let kept = ['a', 'b', 'c'].map(|of| prompts.remembered(&short(of)));
        assert_eq!(kept, [0, 8, 8]);
    }
}
