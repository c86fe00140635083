//! Ollama's API: routes, model names, request scan, response tap, listings, errors and progress.

mod error;
mod fault;
mod keep_alive;
mod listing;
mod multipart;
mod names;
mod operation;
mod progress;
mod route;
mod scan;
mod splice;
mod tap;

pub use error::*;
pub use fault::is_request_fault;
pub use listing::*;
pub use names::*;
pub use operation::*;
pub use progress::*;
pub use route::*;
pub use scan::*;
pub use splice::*;
pub use tap::*;
