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

    /// The pieces whose concatenation is the shortest name that still carries its tag.
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

/// The name without its source suffix, and the suffix.
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

/// Whether Ollama takes `name` for a model name.
pub fn is_valid(name: &str) -> bool {
    ModelName::parse(name).is_ok()
}

/// The one spelling under which all spellings of a model are found: lower case, tag stated, default
/// host and namespace dropped. A text that is no model name comes back as it is.
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
    /// The canonical form of `name`.
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
