//! Ollama's API: routes, model names, request scan, listings, errors and progress; and, in `chat`,
//! `generate` and `embed`, what is said by it in the words of the neutral model.

mod answer;
pub mod chat;
pub mod embed;
mod error;
mod error_form;
mod error_text;
mod fault;
mod fields;
pub mod generate;
mod go;
mod keep_alive;
mod listing;
mod load;
mod mistyped;
mod multipart;
mod names;
mod operation;
mod progress;
mod refusal;
mod route;
mod scan;
mod splice;

pub use answer::Joined;
pub use error::*;
pub use fault::is_request_fault;
pub use fields::{read_foreign, read_foreign_embed};
pub use listing::*;
pub use load::LoadOrUnload;
pub use mistyped::meant;
pub use multipart::{form_boundary, is_plain_boundary};
pub use names::*;
pub use operation::*;
pub use progress::*;
pub use refusal::{fault, fault_within};
pub use route::*;
pub use scan::*;
pub use splice::*;
