//! What budgets of client keys are held against: the figures that the ledger keeps.

use std::sync::Arc;

use crate::access::{Nothing, Spending};
use crate::ids::KeyId;
use crate::settings::{self, Period};
use crate::usage::{Ledger, Moment, Spent};

struct ByKey {
    /// What each key has spent, by its position in the configuration.
    spent: Vec<Arc<Spent>>,
    books: u64,
}

impl Spending for ByKey {
    fn spent(&self, key: KeyId, period: Period) -> u64 {
        let spent = self.spent.get(key.0 as usize);
        spent.map_or(0, |spent| spent.of(period, Moment::now()).micros())
    }

    fn books(&self) -> u64 {
        self.books
    }
}

/// Returns what keys have spent by the ledger, if there is one.
pub(super) fn spending(access: &settings::Access, ledger: Option<&Ledger>) -> Arc<dyn Spending> {
    let Some(ledger) = ledger else {
        return Arc::new(Nothing);
    };
    let keys = access.keys.iter();
    Arc::new(ByKey {
        spent: keys.map(|key| ledger.spent_by(&key.name)).collect(),
        books: ledger.books(),
    })
}
