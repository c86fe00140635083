//! The fields that `/api/generate` and `/api/chat` share, read from clients and written to servers.

mod attachment;
mod common;
mod foreign;
mod options;
mod write;

pub(super) use attachment::{read_attachments, text_of_file, write_attachment};
pub(super) use common::Common;
pub use foreign::{read_foreign, read_foreign_embed};
pub(super) use write::{Body, write_common};
