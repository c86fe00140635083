//! How a fleet's servers hold copies of models: with which context and options, how many requests each serves, and where.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What an operator states of the copies that a fleet's servers hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copies {
    /// Contexts in tokens with which models are loaded, in ascending order; empty: they are learned.
    pub contexts: Vec<u32>,
    /// The same for single models, by the names that the servers have.
    pub model_contexts: BTreeMap<Arc<str>, Vec<u32>>,
    pub options: RunnerOptions,
    pub parallel: Parallel,
    pub digest: DigestRule,
    /// Where models may be loaded; the first rule that is about a model holds.
    pub place: Vec<PlaceRule>,
}

impl Copies {
    /// Returns the contexts that are planned for a model, in ascending order.
    pub fn contexts_of(&self, model: &str) -> &[u32] {
        let mut named = self.model_contexts.iter();
        let own = named.find(|(name, _)| is_same_model(name, model));
        own.map_or(&self.contexts, |(_, contexts)| contexts)
    }
}

/// Returns whether two names of an Ollama server's mean one model; `:latest` is the same as no tag.
fn is_same_model(one: &str, other: &str) -> bool {
    let one = one.strip_suffix(":latest").unwrap_or(one);
    let other = other.strip_suffix(":latest").unwrap_or(other);
    one.eq_ignore_ascii_case(other)
}

/// What becomes of a client's options that make a server load the model anew and only tune how it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunnerOptions {
    /// They are left out, so that all requests share the copy (default).
    #[default]
    Pin,
    /// The server gets them.
    Pass,
}

/// Which servers serve a model of which they have different digests under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestRule {
    /// All of them (default).
    #[default]
    Any,
    /// Those with the digest that most of them have; of several, the one that was got last.
    Same,
    /// Those with the digest that was got last.
    Newest,
}

/// How many requests a loaded model of a server serves at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parallel {
    /// It is learned from the time that requests wait inside the server (default).
    #[default]
    Auto,
    Fixed(u32),
}

/// One entry of `place`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceRule {
    /// Names of models, with `*` and `?`, in any case.
    pub models: Arc<str>,
    /// Servers by their host, or by host and port.
    pub on: Vec<Arc<str>>,
    pub elsewhere: Elsewhere,
}

/// Whether a model may be loaded on servers that its rule does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elsewhere {
    /// Its requests wait for the named servers (default).
    #[default]
    Never,
    /// Only while none of the named servers can take it.
    Overflow,
    /// The named servers are only preferred.
    Any,
}
