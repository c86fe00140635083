//! What a client asks of a run, once the request has passed the checks.

use super::super::mind::Prompt;
use super::super::responses::words::Manner;

/// A request that has been read and found good.
pub(super) struct Asked {
    pub(super) prompt: Prompt,
    pub(super) manner: Manner,
    pub(super) stream: bool,
    /// Whether the run searches, and with which query.
    pub(super) search: Option<String>,
    /// Whether the reasoning is told of.
    pub(super) reasons: bool,
}
