//! Joins two dialects: a client's request becomes a provider's, and the provider's answer the client's.
//!
//! Which formats meet is decided in `way`; `forms` is the one table that knows every dialect's functions; `order` makes
//! the provider's request, `serving` what it keeps of how one is to be served, and `mend` what is left out of it where it was
//! refused for that alone; `answer` turns what comes back, as it comes, `passing` reads what
//! needs no turning, and `gathering` puts together what was streamed for a client that wants it whole. `resume` is about
//! a stream that broke and goes on with what another server says.

mod answer;
mod bounds;
mod count;
mod forms;
mod gathering;
mod halves;
mod ids;
mod inputs;
mod mend;
mod order;
mod passing;
mod pending;
mod resume;
mod serving;
mod stops;
mod way;

pub use answer::{Ending, Translation};
pub use count::{counted, counting};
pub use forms::{ClientForm, ProviderForm, WHOLE_TYPE as WHOLE, fault};
pub use gathering::Gathering;
pub use ids::refitted;
pub use mend::{fitted, mended};
pub use order::{TranslatedRequest, Translating, faithful, order};
pub use passing::Passing;
pub use pending::is_whole;
pub use resume::interrupted::Interrupted;
pub use resume::retelling::{can_be_told_again, can_be_written_on, retelling, writing_on};
pub use resume::sent::{Obstacle, Sent};
pub use way::{Question, Way, way};

#[cfg(test)]
mod growth;
#[cfg(test)]
mod tests;
