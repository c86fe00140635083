//! What the pages about the gateway are made from.

use std::sync::Arc;
use std::time::Instant;

use super::workers::Workers;
use crate::admission::Dispatcher;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::routing::Router;
use crate::settings::Settings;
use crate::usage::Ledger;
use remuda_formats::facts::Facts;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Clients are not listened to yet.
    Starting,
    Serving,
    /// What is in flight goes on, and nothing else is to come.
    Draining,
}

/// Tells where the process is in its life.
pub type Lifecycle = Arc<dyn Fn() -> Stage + Send + Sync>;

/// What the pages are made from.
pub struct Introspection {
    pub settings: Arc<Settings>,
    pub fleet: Arc<Fleet>,
    pub dispatcher: Arc<Dispatcher>,
    pub metrics: Arc<Metrics>,
    pub facts: Arc<Facts>,
    pub router: Arc<Router>,
    /// `None` where usage is not counted.
    pub ledger: Option<Arc<Ledger>>,
    pub lifecycle: Lifecycle,
    pub workers: Arc<Workers>,
    pub started: Instant,
}
