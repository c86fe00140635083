//! Plausible prose of any length, a word a token: sentences that are grammatical and mean nothing.

use super::chance::Dice;

/// Prose of a set length: sentences of words, each a token with its leading space.
pub(super) struct Words {
    dice: Dice,
    left: u32,
    /// What is still to come of this sentence.
    sentence: &'static [Part],
    /// Whether the next word begins a line, and so has no space before it.
    begins_line: bool,
}

#[derive(Clone, Copy)]
enum Part {
    Opening,
    Article,
    Adjective,
    Noun,
    Verb,
    Preposition,
    Adverb,
    End,
}

impl Words {
    pub(super) fn new(dice: &mut Dice, range: std::ops::RangeInclusive<u32>) -> Self {
        let span = range.end().saturating_sub(*range.start()) as usize + 1;
        let left = range.start() + dice.below(span) as u32;
        Self {
            dice: Dice::new(dice.next()),
            left,
            sentence: &[],
            begins_line: true,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    fn part(&mut self) -> Part {
        // However long the answer, it ends as a sentence does.
        if self.left == 0 {
            return Part::End;
        }
        if self.sentence.is_empty() {
            self.sentence = SENTENCES[self.dice.below(SENTENCES.len())];
        }
        let (first, rest) = self
            .sentence
            .split_first()
            .expect("no sentence of the list is empty");
        self.sentence = rest;
        *first
    }
}

impl Iterator for Words {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        self.left = self.left.checked_sub(1)?;
        let words = self.part().words();
        let word = words[self.dice.below(words.len())];
        let begins_line = std::mem::replace(&mut self.begins_line, word.ends_with('\n'));
        Some(if begins_line { word.trim_start() } else { word })
    }
}

impl Part {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Opening => &[
                " The", " A", " Every", " Some", " That", " This", " One", " Each",
            ],
            Self::Article => &[" the", " a", " its", " this", " one", " every", " no"],
            Self::Adjective => &[
                " warm",
                " idle",
                " short",
                " naïve",
                " patient",
                " quick",
                " distant",
                " crowded",
                " \"quiet\"",
                " full",
                " small",
                " R&D",
            ],
            Self::Noun => &[
                " server",
                " fleet",
                " queue",
                " model",
                " token",
                " request",
                " answer",
                " stream",
                " café",
                " cache",
                " prompt",
                " network",
                " herd 🐎",
            ],
            Self::Verb => &[
                " answers", " waits", " loads", " arrives", " streams", " rests", " runs",
                " listens", " wanders",
            ],
            Self::Preposition => &[" in", " for", " with", " behind", " across", " after", " →"],
            Self::Adverb => &[" quickly", " at once", " in turn", " again", " with care"],
            Self::End => &[".", ".", ".", ".", "!", " (1 < 2).", ".\n\n"],
        }
    }
}

const SENTENCES: [&[Part]; 4] = {
    use Part::{Adjective, Adverb, Article, End, Noun, Opening, Preposition, Verb};
    [
        &[
            Opening,
            Adjective,
            Noun,
            Verb,
            Preposition,
            Article,
            Noun,
            End,
        ],
        &[Opening, Noun, Verb, Adverb, End],
        &[Opening, Noun, Preposition, Article, Noun, Verb, Adverb, End],
        &[
            Opening,
            Adjective,
            Noun,
            Verb,
            Preposition,
            Article,
            Adjective,
            Noun,
            End,
        ],
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_has_its_length_and_ends_as_a_sentence() {
        for length in 1..40 {
            let mut words = Words::new(&mut Dice::new(length.into()), length..=length);
            let text: Vec<&str> = words.by_ref().collect();
            assert_eq!(text.len(), length as usize);
            assert!(words.is_over());
            assert!(text.concat().trim_end().ends_with(['.', '!']), "{text:?}");
        }
    }

    #[test]
    fn lines_begin_without_a_space() {
        let text: String = Words::new(&mut Dice::new(1), 2000..=2000).collect();
        assert!(text.contains("\n\n"));
        assert!(text.lines().all(|line| !line.starts_with(' ')));
    }
}
