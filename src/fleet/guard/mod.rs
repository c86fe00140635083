//! What keeps a provider from being asked in vain. The parts know neither clock nor task: events and the time go in.

mod backoff;

pub use self::backoff::backoff;
