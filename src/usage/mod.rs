//! What answers cost: tokens and money by key, tag, provider and model, and what each key has spent.
//!
//! A request resolves its [`Account`] (provider, model, price) and its [`Party`] (key, tag) to shared handles, counts
//! on their instruments, and puts one small value into a bounded channel. One thread adds those up by the hour and
//! keeps the sums in SQLite (`store`), in a file or in memory; reports are asked of it (`report`).

mod account;
mod counts;
mod ledger;
mod moment;
mod money;
mod observer;
mod party;
mod report;
mod spent;
mod store;
mod tag;
mod tokens;
mod writer;

pub use account::{Account, Description, Pricing};
pub use counts::Counts;
pub use ledger::{Charge, Ledger, ReportError};
pub use moment::Moment;
pub use money::Usd;
pub use party::Party;
pub use report::{By, Row, Since, Table, numbers};
pub use spent::Spent;
pub use store::{StoreError, StoreReader};
pub use tag::{Tag, TagError};
pub use tokens::Tokens;
