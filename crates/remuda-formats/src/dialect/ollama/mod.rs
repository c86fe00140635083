//! Ollama's wire format: model names, listings, errors and progress; and, in `chat`, `generate` and `embed`, what is said
//! by it in the words of the neutral model.

mod answer;
pub mod chat;
pub mod embed;
mod error;
mod error_text;
mod fault;
mod fields;
pub mod generate;
mod go;
mod listing;
mod load;
mod names;
mod progress;
mod refusal;
mod rendered;

pub use answer::Joined;
pub use error::*;
pub use fault::is_request_fault;
pub use fields::{read_foreign, read_foreign_embed};
pub use listing::*;
pub use load::LoadOrUnload;
pub use names::*;
pub use progress::*;
pub use refusal::{fault, fault_within};
pub use rendered::{asking_for_prompt, going_on};
