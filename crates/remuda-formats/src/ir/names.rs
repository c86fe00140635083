//! Names of tools as a provider takes them, and the client's own for each.

use std::borrow::Cow;

use ahash::AHashMap;
use ring::digest::{SHA256, digest};

use super::Text;

/// Characters that tell apart two names that begin alike and are too long.
const MARK: usize = 8;

/// Room for the number that tells names apart.
const NUMBER: usize = 8;

/// Names in the alphabet and length that a provider allows, and the client's own for each.
#[derive(Clone, Debug, Default)]
pub struct ToolNames {
    /// What is sent for a name; those that are the same only as far as they were reserved.
    sent: AHashMap<String, String>,
    /// The client's own name for what is sent.
    own: AHashMap<String, String>,
    /// The last number that was given to a name that is this before it.
    numbers: AHashMap<String, usize>,
}

impl ToolNames {
    /// Keeps the names that fit from being taken by those that have to be made fit, and makes these so, in their order:
    /// that of the tools, which is the same in every turn. To be called with all names of a request before the first is
    /// sent.
    pub fn reserve<'n, 'a: 'n>(
        &mut self,
        names: impl Iterator<Item = &'n Text<'a>> + Clone,
        longest: usize,
    ) {
        if self.keep(names.clone(), |name| fits(name, longest)) {
            return;
        }
        for name in names {
            self.sent(name, longest);
        }
    }

    /// Reserves names that are valid identifiers, so that [`Self::sent_as_identifier`] gives none of them to another.
    pub fn reserve_identifiers<'n, 'a: 'n>(
        &mut self,
        names: impl Iterator<Item = &'n Text<'a>> + Clone,
        longest: usize,
    ) {
        if self.keep(names.clone(), |name| {
            fits(name, longest) && begins_with_letter(name)
        }) {
            return;
        }
        for name in names {
            self.sent_as_identifier(name, longest);
        }
    }

    /// Keeps those that stay as they are; whether these are all.
    fn keep<'n, 'a: 'n>(
        &mut self,
        names: impl Iterator<Item = &'n Text<'a>> + Clone,
        stays: impl Fn(&Text<'a>) -> bool,
    ) -> bool {
        if names.clone().all(&stays) {
            return true;
        }
        for name in names.filter(|name| stays(name)) {
            let name = name.as_escaped().to_owned();
            self.note(name.clone(), name);
        }
        false
    }

    fn note(&mut self, own: String, sent: String) {
        self.own.insert(sent.clone(), own.clone());
        self.sent.insert(own, sent);
    }

    /// Returns `name` in letters, digits, `_` and `-`, at most `longest` of them (Anthropic, Bedrock, OpenAI: 64); the
    /// same each time, and different for different names.
    pub fn sent<'a>(&mut self, name: &Text<'a>, longest: usize) -> Text<'a> {
        self.sent_after("", name, longest)
    }

    /// Returns the name that is sent, with a `_` before one that does not begin with a letter or `_`, as Gemini wants
    /// it.
    pub fn sent_as_identifier<'a>(&mut self, name: &Text<'a>, longest: usize) -> Text<'a> {
        let start = if name.is_empty() || begins_with_letter(name) {
            ""
        } else {
            "_"
        };
        self.sent_after(start, name, longest)
    }

    fn sent_after<'a>(&mut self, start: &str, name: &Text<'a>, longest: usize) -> Text<'a> {
        let escaped = name.as_escaped();
        let is_taken = || self.own.get(escaped).is_some_and(|own| own != escaped);
        if start.is_empty() && fits(name, longest) && !is_taken() {
            return name.clone();
        }
        if let Some(sent) = self.sent.get(escaped) {
            return Text::escaped(sent.clone());
        }
        let stem = stem(start, &name.decoded(), longest);
        let sent = self.unlike_others(stem, longest);
        self.note(escaped.to_owned(), sent.clone());
        Text::escaped(sent)
    }

    /// Returns `stem`, or what begins so and is nobody else's.
    fn unlike_others(&mut self, stem: String, longest: usize) -> String {
        if !self.own.contains_key(&stem) {
            return stem;
        }
        // Stems that are cut to the same count together: each number is tried once, however many there are.
        let begins = &stem[..stem.len().min(longest - NUMBER)];
        let number = self.numbers.entry(begins.to_owned()).or_insert(1);
        loop {
            *number += 1;
            let other = format!("{begins}_{number}");
            if !self.own.contains_key(&other) {
                return other;
            }
        }
    }

    /// Returns the client's own name for one that came back.
    pub fn original<'a>(&'a self, sent: Text<'a>) -> Text<'a> {
        match self.own.get(sent.as_escaped()) {
            Some(own) => Text::escaped(Cow::Borrowed(own.as_str())),
            None => sent,
        }
    }
}

/// Returns `name` in the alphabet that all take. One that is too long ends with what its whole text comes to, so that
/// it does not depend on the others of the request.
fn stem(start: &str, name: &str, longest: usize) -> String {
    let mut stem: String = start
        .chars()
        .chain(name.chars())
        .take(longest + 1)
        .map(|character| match u8::try_from(character) {
            Ok(byte) if allowed(byte) => character,
            _ => '_',
        })
        .collect();
    if stem.len() > longest {
        stem.truncate(longest - MARK - 1);
        stem.push('_');
        let digest = digest(&SHA256, name.as_bytes());
        for byte in &digest.as_ref()[..MARK / 2] {
            stem.push_str(&format!("{byte:02x}"));
        }
    }
    if stem.is_empty() {
        stem.push('_');
    }
    stem
}

fn fits(name: &Text<'_>, longest: usize) -> bool {
    let escaped = name.as_escaped();
    !escaped.is_empty() && escaped.len() <= longest && escaped.bytes().all(allowed)
}

fn begins_with_letter(name: &Text<'_>) -> bool {
    let first = name.as_escaped().bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fits_is_nobody_elses() {
        let tools = ["a.b", "a_b", "a/b", "a_b_2"].map(Text::plain);
        let mut names = ToolNames::default();
        names.reserve(tools.iter(), 64);
        let sent: Vec<String> = tools
            .iter()
            .map(|tool| names.sent(tool, 64).as_escaped().to_owned())
            .collect();
        assert_eq!(sent, ["a_b_3", "a_b", "a_b_4", "a_b_2"]);
        for (tool, sent) in tools.iter().zip(sent) {
            assert_eq!(names.original(Text::escaped(sent)), *tool);
        }
        // Not reserved, but taken.
        let mut names = ToolNames::default();
        assert_eq!(names.sent(&Text::plain("a.b"), 64).as_escaped(), "a_b");
        assert_eq!(names.sent(&Text::plain("a_b"), 64).as_escaped(), "a_b_2");
        assert_eq!(names.original(Text::escaped("a_b_2")), Text::plain("a_b"));
    }

    #[test]
    fn names_are_made_fit_and_found_again() {
        let mut names = ToolNames::default();
        let fits = Text::escaped("get_weather");
        assert_eq!(names.sent(&fits, 64), fits);
        let odd = Text::plain("wetter für/ort");
        let sent = names.sent(&odd, 64);
        assert_eq!(sent.as_escaped(), "wetter_f_r_ort");
        assert_eq!(names.sent(&odd, 64), sent);
        let other = names.sent(&Text::plain("wetter.f_r.ort"), 64);
        assert_eq!(other.as_escaped(), "wetter_f_r_ort_2");
        assert_eq!(names.original(sent), odd);
        assert_eq!(names.original(Text::escaped("get_weather")), fits);
        let long = Text::escaped("x".repeat(70));
        assert_eq!(names.sent(&long, 64).as_escaped().len(), 64);
    }

    #[test]
    fn a_long_name_is_the_same_whatever_stands_beside_it() {
        let long = |end: &str| Text::plain(&format!("{}{end}", "x".repeat(64))).into_owned();
        let mut names = ToolNames::default();
        let (one, two) = (names.sent(&long("one"), 64), names.sent(&long("two"), 64));
        assert_ne!(one, two);
        assert!(one.as_escaped().len() == 64 && two.as_escaped().len() == 64);
        let mut other_way_round = ToolNames::default();
        assert_eq!(other_way_round.sent(&long("two"), 64), two);
        assert_eq!(other_way_round.sent(&long("one"), 64), one);
        assert_eq!(names.original(two), long("two"));
    }

    #[test]
    fn names_are_made_fit_in_the_order_of_the_tools() {
        let tools = ["a.b", "a/b"].map(Text::plain);
        let mut names = ToolNames::default();
        names.reserve(tools.iter(), 64);
        // The history may have called the second one first.
        assert_eq!(names.sent(&tools[1], 64).as_escaped(), "a_b_2");
        assert_eq!(names.sent(&tools[0], 64).as_escaped(), "a_b");
    }
}
