//! The shape of the code, read from its sources: no circle of files, one meaning for every name of a type, and
//! a place in `ARCHITECTURE.md` for every file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod circles;
mod homonyms;
mod sources;
