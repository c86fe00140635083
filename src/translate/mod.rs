//! Joins two dialects: a client's request becomes a provider's, and the provider's answer the client's.
//!
//! Which formats meet is decided in `way`; `forms` is the one table that knows every dialect's functions; `order` makes
//! the provider's request; `answer` turns what comes back, as it comes.

mod answer;
mod count;
mod forms;
mod order;
mod stops;
mod way;

pub use answer::{Ending, Translation};
pub use count::{counted, counting};
pub use forms::{ClientForm, Form, fault};
pub use order::{Order, Translating, order};
pub use way::{Question, Way, way};
