//! Loads of models that are under way, as the pages tell of them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::access::Visibility;
use crate::admission::{Dispatcher, LoadView};
use crate::fleet::{Backend, Fleet};

/// A load of a model that is under way on one server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LoadRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    /// The model's name, as its server lists it.
    name: String,
    /// The context in tokens that is asked for, where it is not left to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u32>,
    /// Seconds since the load began.
    elapsed_seconds: f64,
    /// Seconds that it is expected to take in all, as loads of the model and of the server have been.
    expected_seconds: f64,
}

/// Returns the loads that are under way and that `view` shows, each with its server, by model and server.
pub(super) fn all(
    fleet: &Fleet,
    dispatcher: &Dispatcher,
    view: Visibility<'_>,
) -> Vec<(Arc<Backend>, LoadRow)> {
    let loads = dispatcher.loads().into_iter();
    let rows = loads.filter_map(|load| {
        let server = fleet.backend(load.backend)?;
        let row = LoadRow::of(&load, &server)?;
        let shown = view.shows(&server.provider.name, &[&row.name]);
        shown.then_some((server, row))
    });
    rows.collect()
}

impl LoadRow {
    /// Leaves the server out, where it is known already or not for everybody.
    pub(super) fn unnamed(self) -> Self {
        LoadRow {
            backend: None,
            ..self
        }
    }

    fn of(load: &LoadView, server: &Backend) -> Option<Self> {
        let tenths = |time: Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
        Some(LoadRow {
            backend: Some(server.name.to_string()),
            name: server.inventory().model(load.model)?.name.clone(),
            context_length: load.context,
            elapsed_seconds: tenths(load.elapsed),
            expected_seconds: tenths(load.expected),
        })
    }
}
