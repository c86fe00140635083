//! What an operator decides about every translation.

/// What happens to what a provider cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// It is left out and named in `X-Remuda-Dropped` (default).
    Lenient,
    /// The request is refused with 400.
    Strict,
}

/// The field that holds reasoning text; servers and clients differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningField {
    /// Both (default).
    Both,
    Reasoning,
    ReasoningContent,
}
