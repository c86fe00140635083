//! Model names: `[host/][namespace/]model[:tag]`, read and compared by Ollama's rules.

use std::borrow::{Borrow, Cow};
use std::hash::{Hash, Hasher};

const DEFAULT_HOST: &str = "registry.ollama.ai";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// Longest host, and longest of each other part, in bytes.
const MAX_HOST: usize = 350;
const MAX_PART: usize = 80;
/// Three parts, a host, three separators, and the `-cloud` that a source suffix can add.
const MAX_CANONICAL: usize = MAX_HOST + 3 * MAX_PART + 3 + CLOUD_SUFFIX.len();
const CLOUD_SUFFIX: &str = "-cloud";

/// Why a text is not a model name. The words are Ollama's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("model is required")]
    Missing,
    #[error("invalid model name")]
    Invalid,
    #[error("use either :local or :cloud, not both")]
    ConflictingSource,
}

/// A valid name in its parts, defaults filled in, in the case that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelName<'a> {
    pub host: &'a str,
    pub namespace: &'a str,
    pub model: &'a str,
    pub tag: &'a str,
    /// The name carried a tag and then `:cloud`, which Ollama stores as `tag-cloud`.
    pub cloud: bool,
}

impl<'a> ModelName<'a> {
    /// Reads a name as Ollama's handlers do.
    ///
    /// A last `:local` ("not ollama.com") is dropped: it says where to run, not what.
    pub fn parse(name: &'a str) -> Result<Self, NameError> {
        let name = name.trim();
        if name.is_empty() {
            return Err(NameError::Missing);
        }
        let (name, cloud) = split_source(name)?;
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (name, DEFAULT_TAG),
        };
        let mut parts = path.rsplitn(3, '/');
        let model = parts.next().unwrap_or_default();
        let namespace = parts.next().unwrap_or(DEFAULT_NAMESPACE);
        let host = parts.next().unwrap_or(DEFAULT_HOST);
        let host = host.split_once("://").map_or(host, |(_, host)| host);
        let valid = is_part(host, MAX_HOST, b"-_.:")
            && is_part(namespace, MAX_PART, b"-_")
            && is_part(model, MAX_PART, b"-_.")
            && is_part(tag, MAX_PART, b"-_.");
        if !valid {
            return Err(NameError::Invalid);
        }
        Ok(ModelName {
            host,
            namespace,
            model,
            tag,
            cloud,
        })
    }

    /// Returns the pieces whose concatenation is the shortest name that still carries its tag.
    fn pieces(&self) -> impl Iterator<Item = &'a str> {
        let default_host = self.host.eq_ignore_ascii_case(DEFAULT_HOST);
        let default_namespace = self.namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE);
        let host = if default_host {
            ["", ""]
        } else {
            [self.host, "/"]
        };
        let namespace = if default_host && default_namespace {
            ["", ""]
        } else {
            [self.namespace, "/"]
        };
        let cloud = if self.cloud { CLOUD_SUFFIX } else { "" };
        [
            host[0],
            host[1],
            namespace[0],
            namespace[1],
            self.model,
            ":",
            self.tag,
            cloud,
        ]
        .into_iter()
    }
}

/// Splits off a last `:local` or, after a tag, `:cloud`.
fn split_source(name: &str) -> Result<(&str, bool), NameError> {
    let Some((base, source)) = source_of(name) else {
        return Ok((name, false));
    };
    if source_of(base).is_some() {
        return Err(NameError::ConflictingSource);
    }
    match source {
        Source::Local => Ok((base, false)),
        Source::CloudAfterTag => Ok((base, true)),
        Source::CloudTag => Ok((name, false)),
    }
}

enum Source {
    Local,
    /// `model:tag:cloud`
    CloudAfterTag,
    /// `model:cloud` or `model:tag-cloud`: the tag itself says it.
    CloudTag,
}

/// Returns the name without its source suffix, and the suffix.
fn source_of(name: &str) -> Option<(&str, Source)> {
    let (base, last) = name.rsplit_once(':')?;
    if last.eq_ignore_ascii_case("local") {
        return Some((base, Source::Local));
    }
    if last.eq_ignore_ascii_case("cloud") {
        let tagged = base
            .rsplit_once(':')
            .is_some_and(|(_, tag)| !tag.contains('/'));
        return Some((
            base,
            if tagged {
                Source::CloudAfterTag
            } else {
                Source::CloudTag
            },
        ));
    }
    let start = last.len().checked_sub(CLOUD_SUFFIX.len())?;
    let is_cloud = last.get(start..)?.eq_ignore_ascii_case(CLOUD_SUFFIX) && !last.contains('/');
    is_cloud.then(|| (&name[..name.len() - CLOUD_SUFFIX.len()], Source::CloudTag))
}

/// Begins with a letter, a digit or `_`; `others` may follow too.
fn is_part(part: &str, max: usize, others: &[u8]) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|&first| word(first))
        && bytes.len() <= max
        && bytes
            .iter()
            .all(|&byte| word(byte) || others.contains(&byte))
}

/// Returns whether Ollama takes `name` for a model name.
pub fn is_valid(name: &str) -> bool {
    ModelName::parse(name).is_ok()
}

/// Returns the shortest name that still carries its tag, in the case that it came in, as Ollama shows it. A text that
/// is no model name comes back as it is.
pub fn displayed(name: &str) -> Cow<'_, str> {
    match ModelName::parse(name) {
        Ok(parsed) => Cow::Owned(parsed.pieces().collect()),
        Err(_) => Cow::Borrowed(name),
    }
}

/// Returns the one spelling under which all spellings of a model are found: lower case, tag stated, default host and
/// namespace dropped. A text that is no model name comes back as it is.
pub fn canonical(name: &str) -> Cow<'_, str> {
    match CanonicalKey::new(name) {
        Ok(key) if key.as_str() == name => Cow::Borrowed(name),
        Ok(key) => Cow::Owned(key.as_str().to_owned()),
        Err(_) => Cow::Borrowed(name),
    }
}

/// A canonical name on the stack, to look a model up without allocating.
///
/// Hashes, compares and borrows as its `str`, so that it finds entries of a `HashMap<Box<str>, _>`.
#[derive(Clone, Copy)]
pub struct CanonicalKey {
    bytes: [u8; MAX_CANONICAL],
    len: usize,
}

impl CanonicalKey {
    /// Creates the canonical form of `name`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let parsed = ModelName::parse(name)?;
        let mut key = CanonicalKey {
            bytes: [0; MAX_CANONICAL],
            len: 0,
        };
        for piece in parsed.pieces() {
            let place = &mut key.bytes[key.len..key.len + piece.len()];
            place.copy_from_slice(piece.as_bytes());
            place.make_ascii_lowercase();
            key.len += piece.len();
        }
        Ok(key)
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).expect("the parts of a valid name are ASCII")
    }
}

impl Borrow<str> for CanonicalKey {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for CanonicalKey {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for CanonicalKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes[..self.len] == other.bytes[..other.len]
    }
}

impl Eq for CanonicalKey {}

impl Hash for CanonicalKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl std::fmt::Debug for CanonicalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn spellings_of_one_model_meet() {
        for (name, expected) in [
            ("llama3.2", "llama3.2:latest"),
            ("llama3.2:latest", "llama3.2:latest"),
            (" Llama3.2:LATEST\n", "llama3.2:latest"),
            ("library/llama3.2", "llama3.2:latest"),
            ("Registry.Ollama.AI/Library/llama3.2", "llama3.2:latest"),
            (
                "https://registry.ollama.ai/library/llama3.2:1b",
                "llama3.2:1b",
            ),
            ("registry.ollama.ai/mike/m", "mike/m:latest"),
            ("mike/M:Q4_0", "mike/m:q4_0"),
            (
                "hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M",
                "hf.co/unsloth/qwen3-8b-gguf:q4_k_m",
            ),
            (
                "localhost:5000/library/m",
                "localhost:5000/library/m:latest",
            ),
            ("localhost:5000/ns/m:t", "localhost:5000/ns/m:t"),
            ("m:local", "m:latest"),
            ("m:8b:LOCAL", "m:8b"),
            ("m:cloud", "m:cloud"),
            ("m:8b-cloud", "m:8b-cloud"),
            ("m:8b:cloud", "m:8b-cloud"),
            ("_m", "_m:latest"),
        ] {
            assert_eq!(canonical(name), expected, "{name}");
            assert!(is_valid(name));
        }
        assert!(matches!(canonical("m:8b"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_displayed_name_keeps_its_case_and_has_a_tag() {
        for (name, expected) in [
            ("Llama3.2", "Llama3.2:latest"),
            ("registry.ollama.ai/library/m:8B", "m:8B"),
            ("mike/m:local", "mike/m:latest"),
            ("no name", "no name"),
        ] {
            assert_eq!(displayed(name), expected);
        }
    }

    #[test]
    fn what_ollama_refuses_is_refused_and_left_as_it_is() {
        let long = "m".repeat(81);
        let long_host = format!("{}/n/m", "h".repeat(351));
        for name in [
            ":",
            ":t",
            "m:",
            "/m",
            "n/",
            "a/b/c/d",
            "//m",
            "m:t:u",
            ".m",
            "-m",
            "m m",
            "m@sha256",
            "n.s/m",
            "é",
            "m:é",
            "m\0",
            "m\"",
            "h//m",
            &long,
            &format!("m:{long}"),
            &long_host,
        ] {
            assert_eq!(ModelName::parse(name), Err(NameError::Invalid), "{name:?}");
            assert_eq!(canonical(name), name);
        }
        assert_eq!(ModelName::parse(" \t"), Err(NameError::Missing));
        for name in [
            "m:local:cloud",
            "m:cloud:local",
            "m:8b-cloud:local",
            "m:cloud:cloud",
        ] {
            assert_eq!(
                ModelName::parse(name),
                Err(NameError::ConflictingSource),
                "{name}"
            );
        }
    }

    #[test]
    fn the_longest_name_has_a_key() {
        let part = "p".repeat(MAX_PART);
        let name = format!("{}/{part}/{part}:{part}:cloud", "h".repeat(MAX_HOST));
        assert_eq!(
            CanonicalKey::new(&name).unwrap().as_str().len(),
            MAX_CANONICAL
        );
    }

    #[test]
    fn a_key_finds_what_its_text_was_stored_under() {
        let models: HashMap<Box<str>, u32, ahash::RandomState> =
            [("llama3.2:latest".into(), 1), ("mike/m:q4".into(), 2)]
                .into_iter()
                .collect();
        let find = |name| {
            models
                .get(CanonicalKey::new(name).unwrap().as_str())
                .copied()
        };
        assert_eq!(find("LLAMA3.2"), Some(1));
        assert_eq!(find("Mike/m:Q4"), Some(2));
        assert_eq!(find("m:q4"), None);
        let keys: HashMap<CanonicalKey, u32> = [(CanonicalKey::new("A").unwrap(), 3)].into();
        assert_eq!(keys.get("a:latest"), Some(&3));
    }

    proptest! {
        #[test]
        fn canonical_names_are_their_own_canonical_names(
            name in prop_oneof!["([a-zA-Z0-9._:-]{1,12}/){0,3}[a-zA-Z0-9._-]{1,12}(:[a-zA-Z0-9._-]{1,9}){0,2}", any::<String>()],
        ) {
            let once = canonical(&name).into_owned();
            if is_valid(&name) {
                prop_assert!(is_valid(&once), "{once}");
                let shouted = name.to_uppercase();
                prop_assert_eq!(canonical(&shouted), once.as_str());
            }
            prop_assert_eq!(canonical(&once), once.as_str());
        }
    }
}
