//! The copies of models that servers have in memory: how each of them is, and how fast.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::page::unix;
use crate::access::Visibility;
use crate::admission::{Condition, CopyView, Dispatcher, SlowCause};
use crate::fleet::{Backend, Fleet};

/// A copy of a model in the memory of one server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CopyRow {
    backend: String,
    /// The model's name, as its server lists it.
    name: String,
    /// Tokens that each of its requests has, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u32>,
    /// Requests that it serves at once, as stated or learned; absent where only its server is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
    running: u32,
    condition: &'static str,
    /// By what it is known to be slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    /// When its condition became what it is, in seconds since 1970.
    since: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_per_second: Option<f64>,
}

/// The conditions, as they are called.
pub(super) const CONDITIONS: [&str; 5] = ["well", "slow", "draining", "suspect", "healing"];

/// Returns what a condition is called, and its cause if there is one.
pub(super) fn called(condition: Condition) -> (&'static str, Option<&'static str>) {
    match condition {
        Condition::Well => ("well", None),
        Condition::Slow(cause) => ("slow", Some(by(cause))),
        Condition::Draining(cause) => ("draining", Some(by(cause))),
        Condition::Suspect => ("suspect", None),
        Condition::Healing => ("healing", None),
    }
}

fn by(cause: SlowCause) -> &'static str {
    match cause {
        SlowCause::Spilled => "spilled",
        SlowCause::Decode => "decode",
        SlowCause::Prefill => "prefill",
        SlowCause::Drift => "drift",
    }
}

/// Returns the copies that are in memory and that `view` shows, each with its server, by model and server.
pub(super) fn all(
    fleet: &Fleet,
    dispatcher: &Dispatcher,
    view: Visibility<'_>,
) -> Vec<(Arc<Backend>, CopyRow)> {
    let copies = dispatcher.copies().into_iter();
    let rows = copies.filter_map(|copy| {
        let server = fleet.backend(copy.backend)?;
        let row = CopyRow::of(&copy, &server)?;
        let shown = view.shows(&server.provider.name, &[&row.name]);
        shown.then_some((server, row))
    });
    rows.collect()
}

impl CopyRow {
    fn of(copy: &CopyView, server: &Backend) -> Option<Self> {
        let (condition, cause) = called(copy.condition);
        let since = SystemTime::now().checked_sub(copy.since);
        Some(CopyRow {
            backend: server.name.to_string(),
            name: server.inventory().model(copy.model)?.name.clone(),
            context_length: copy.context,
            parallel: Some(copy.parallel).filter(|width| *width != u32::MAX),
            running: copy.running,
            condition,
            cause,
            since: since.map_or(0.0, unix),
            prompt_tokens_per_second: copy.prefill.map(rounded),
            output_tokens_per_second: copy.decode.map(rounded),
        })
    }
}

/// Returns a rate with one digit after its point, as more are not known.
fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
