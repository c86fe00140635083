//! Tags: short names that clients give their requests to tell apart what they cost.

use std::sync::Arc;
use std::sync::{PoisonError, RwLock};

use ahash::AHashSet;

use crate::settings::Settings;

/// Characters of a tag at most.
const LONGEST: usize = 64;
/// Distinct tags that are kept apart; further ones are `other`.
const MOST: usize = 1000;
/// A deployment of Azure's by its address is no tag.
const OF_AZURE: &str = ".openai.azure.com";

/// A tag that can be one: letters, digits, `-`, `_` and `.`, the first of them a letter or a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a>(&'a str);

/// Why a text is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tag has 1 to {LONGEST} letters, digits, '-', '_' and '.', and begins with a letter or a digit"
)]
pub struct TagError;

impl<'a> Tag<'a> {
    /// Reads a tag.
    ///
    /// # Errors
    /// If the text is empty, too long, or has other characters.
    pub fn parse(text: &'a str) -> Result<Tag<'a>, TagError> {
        let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let first = text.bytes().next().ok_or(TagError)?;
        let good =
            first.is_ascii_alphanumeric() && text.len() <= LONGEST && text.bytes().all(within);
        good.then_some(Tag(text)).ok_or(TagError)
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Splits a tag from a model's name; a name that is known as it stands, to servers (`is_listed`) or to the
    /// operator, has none.
    pub fn behind(
        name: &'a str,
        settings: &Settings,
        is_listed: impl Fn(&str) -> bool,
    ) -> (&'a str, Option<Tag<'a>>) {
        let is_known = || {
            let mut providers = settings.providers.iter();
            is_listed(name)
                || settings.routing.aliases.contains_key(name)
                || providers.any(|provider| provider.model_map.contains_key(name))
        };
        match Tag::split(name).filter(|_| !is_known()) {
            Some((model, tag)) => (model, Some(tag)),
            None => (name, None),
        }
    }

    /// Splits `model@tag`, with or without a `:latest` behind it, into the model's name and its tag. `None` for a name
    /// without a tag; what follows the `@` of other names is part of them.
    pub fn split(name: &'a str) -> Option<(&'a str, Tag<'a>)> {
        let plain = name.strip_suffix(":latest").unwrap_or(name);
        let (model, tag) = plain.rsplit_once('@')?;
        let tag = Tag::parse(tag).ok()?;
        let of_azure = tag.0.len() >= OF_AZURE.len()
            && tag.0.as_bytes()[tag.0.len() - OF_AZURE.len()..]
                .eq_ignore_ascii_case(OF_AZURE.as_bytes());
        (!model.is_empty() && !of_azure).then_some((model, tag))
    }
}

/// The tags that have been seen, so that no request makes a text of its own and no client makes endless series.
#[derive(Debug, Default)]
pub(super) struct Tags {
    known: RwLock<AHashSet<Arc<str>>>,
}

impl Tags {
    /// Returns the shared text of a tag; `other` for one that is too many.
    pub(super) fn intern(&self, tag: &str) -> Arc<str> {
        if let Some(known) = self.read(tag) {
            return known;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(tag) {
            return Arc::clone(known);
        }
        let tag: Arc<str> = if known.len() < MOST {
            tag.into()
        } else {
            "other".into()
        };
        known.insert(Arc::clone(&tag));
        tag
    }

    fn read(&self, tag: &str) -> Option<Arc<str>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(tag).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_follows_the_model_s_name() {
        for (name, split) in [
            ("llama3.2@team-a", Some(("llama3.2", "team-a"))),
            ("llama3.2:1b@team_a", Some(("llama3.2:1b", "team_a"))),
            ("claude-sonnet@ci.7:latest", Some(("claude-sonnet", "ci.7"))),
            (
                "vertex/claude@20240620@x",
                Some(("vertex/claude@20240620", "x")),
            ),
            ("llama3.2", None),
            ("llama3.2@", None),
            ("@cf", None),
            ("workers/@cf/meta/llama-3-8b", None),
            ("gpt-4@mine.openai.azure.com", None),
            ("gpt-4@MINE.OpenAI.Azure.com", None),
            ("llama3.2@two words", None),
        ] {
            let found = Tag::split(name).map(|(model, tag)| (model, tag.as_str()));
            assert_eq!(found, split, "{name}");
        }
    }

    #[test]
    fn tags_are_short_and_plain() {
        for good in ["a", "Team-A", "0", "a.b_c-d", &"x".repeat(LONGEST)] {
            assert_eq!(Tag::parse(good).map(Tag::as_str), Ok(good));
        }
        for bad in [
            "",
            "-a",
            ".",
            "a b",
            "a/b",
            "a,b",
            "=1",
            "ä",
            &"x".repeat(LONGEST + 1),
        ] {
            assert_eq!(Tag::parse(bad), Err(TagError), "{bad}");
        }
    }

    #[test]
    fn endless_tags_share_one_name() {
        let tags = Tags::default();
        for number in 0..2 * MOST {
            tags.intern(&format!("t{number}"));
        }
        assert_eq!(&*tags.intern("t1"), "t1");
        assert_eq!(&*tags.intern("t1999"), "other");
        assert!(tags.known.read().unwrap().len() <= MOST + 1);
    }
}
