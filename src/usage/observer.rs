//! The fleet tells the ledger which models are nowhere any more, so that no account is kept for them.

use std::sync::Arc;

use super::Ledger;
use crate::fleet::{Backend, Inventory, Observer};
use crate::ids::{BackendId, ModelId};

impl Observer for Ledger {
    fn joined(&self, _: &Arc<Backend>) {}

    fn left(&self, _: BackendId) {}

    fn probed(&self, _: &Backend, _: &Arc<Inventory>) {}

    fn unhealthy(&self, _: BackendId) {}

    fn forgotten(&self, models: &[ModelId]) {
        self.forget_models(models);
    }
}
