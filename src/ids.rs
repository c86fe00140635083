//! Small numbers that stand for backends and models, so that the hot path compares and hashes integers.

/// One address of a provider, for as long as the process knows it. Handed out by the fleet, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

/// One model name in its canonical form (Ollama's rules: `:latest` filled in, case folded). Handed out by the fleet
/// for names that a backend has listed, never for names that only a client has sent, so their number is bounded. A name
/// that no backend has for a while is freed; its number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(pub u32);

/// One client key, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);
