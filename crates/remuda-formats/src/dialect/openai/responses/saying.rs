//! How much of a text has been told in pieces, without keeping it: the whole that follows them is held against it.

use std::borrow::Cow;

use crate::ir::Text;

/// The pieces of one text so far: how many units of UTF-16 they come to, and a hash of those (FNV-1a). Units are the
/// same however a character is escaped, and wherever it is cut.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    units: u64,
    hash: u64,
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces {
            units: 0,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }
}

impl Pieces {
    pub(super) fn of(piece: &Text<'_>) -> Self {
        let mut pieces = Pieces::default();
        pieces.add(piece);
        pieces
    }

    pub(super) fn add(&mut self, piece: &Text<'_>) {
        for unit in Units::of(piece.as_escaped()) {
            self.take(unit);
        }
    }

    /// Returns how many units of UTF-16 have been told.
    pub(super) fn units(&self) -> u64 {
        self.units
    }

    /// Returns what the whole has beyond the pieces, which may be nothing; `None` if it does not begin with them.
    pub(super) fn rest<'a>(&self, whole: Text<'a>) -> Option<Text<'a>> {
        let mut units = Units::of(whole.as_escaped());
        let mut begun = Pieces::default();
        while begun.units < self.units {
            begun.take(units.next()?);
        }
        if begun.hash != self.hash {
            return None;
        }
        let (at, low) = (units.at, units.low);
        let rest = match whole.into_inner() {
            Cow::Borrowed(inside) => Cow::Borrowed(&inside[at..]),
            Cow::Owned(mut inside) => Cow::Owned(inside.split_off(at)),
        };
        Some(match low {
            None => Text::escaped(rest),
            // The first half of this character was told.
            Some(low) => Text::escaped(format!("\\u{low:04x}{rest}")),
        })
    }

    fn take(&mut self, unit: u16) {
        self.units += 1;
        self.hash = (self.hash ^ u64::from(unit)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

/// The units of UTF-16 of the inside of a string literal.
struct Units<'t> {
    inside: &'t str,
    at: usize,
    /// The second unit of the last character.
    low: Option<u16>,
}

impl<'t> Units<'t> {
    fn of(inside: &'t str) -> Self {
        Units {
            inside,
            at: 0,
            low: None,
        }
    }
}

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if let Some(low) = self.low.take() {
            return Some(low);
        }
        let rest = &self.inside[self.at..];
        let mut characters = rest.chars();
        let mut character = characters.next()?;
        self.at += character.len_utf8();
        if character == '\\' {
            let escape = characters.next()?;
            self.at += escape.len_utf8();
            character = match escape {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let digits = rest.get(2..6)?;
                    self.at += digits.len();
                    return u16::from_str_radix(digits, 16).ok();
                }
                other => other,
            };
        }
        let mut units = [0; 2];
        if character.encode_utf16(&mut units).len() == 2 {
            self.low = Some(units[1]);
        }
        Some(units[0])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(pieces: &[&str]) -> Pieces {
        let mut told = Pieces::default();
        for piece in pieces {
            told.add(&Text::escaped(*piece));
        }
        told
    }

    fn rest(pieces: &[&str], whole: &str) -> Option<String> {
        let rest = told(pieces).rest(Text::escaped(whole))?;
        Some(rest.as_escaped().to_owned())
    }

    #[test]
    fn a_whole_that_begins_otherwise_has_no_rest() {
        for (pieces, whole) in [
            (&["a"][..], ""),
            (&["ab"], "a"),
            (&["a"], "bc"),
            (&["a", "b"], "ba"),
            (&[r"\n"], "n"),
        ] {
            assert_eq!(rest(pieces, whole), None, "{pieces:?} {whole}");
        }
    }

    #[test]
    fn characters_are_the_same_however_they_are_escaped_and_cut() {
        for (pieces, whole, expected) in [
            (&[][..], "ab", "ab"),
            (&["a", "b"], "ab", ""),
            (&[r"\u00e9"], "éx", "x"),
            (&["\u{e9}"], r"\u00E9\n", r"\n"),
            (&[r"\/"], r"/\\", r"\\"),
            (&[r"\u000a"], r"\nx", "x"),
            (&[r"\ud83d", r"\ude00"], "😀x", "x"),
            (&[r"\ud83d"], "😀x", r"\ude00x"),
            (&["😀"], r"\ud83d\ude00x", "x"),
        ] {
            assert_eq!(rest(pieces, whole).as_deref(), Some(expected), "{whole}");
        }
    }

    proptest! {
        #[test]
        fn the_rest_is_what_the_pieces_lack(text in any::<String>(), at in any::<prop::sample::Index>()) {
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let (before, after) = text.split_at(cuts[at.index(cuts.len())]);
            let mut pieces = Pieces::default();
            for character in before.chars() {
                pieces.add(&Text::plain(character.encode_utf8(&mut [0; 4])));
            }
            let literal = serde_json::to_string(&text).unwrap();
            let whole = Text::escaped(&literal[1..literal.len() - 1]);
            let rest = pieces.rest(whole).unwrap();
            prop_assert_eq!(&*rest.decoded(), after);
        }
    }
}
