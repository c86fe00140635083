//! What clients speak, whichever API it is of: the routes and the operations behind them, what routing needs of a body,
//! changes of single fields, and the form of an error.

mod copy;
mod error;
mod keep_alive;
mod mistyped;
mod multipart;
mod operation;
pub mod optillm;
mod route;
mod scan;
mod splice;

pub(crate) use copy::only_tunes;
pub use copy::{CopyFacts, OptionsPlace, Splice, Tuning};
pub(crate) use error::write_ollama_error;
pub use error::{ErrorBody, ErrorStyle};
pub use mistyped::meant;
pub use multipart::{form_boundary, is_plain_boundary};
pub use operation::{AnswerFraming, Operation, is_digest};
pub use route::{Miss, ROUTES, Route, route};
pub use scan::{BadRequest, RequestFacts, is_form, named_early, scan_request};
pub use splice::{replace_model, set_stream, streamed};
