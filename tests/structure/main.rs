//! The shape of the code, read from its sources: no circle of files, and one meaning for every name of a type.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod circles;
mod homonyms;
mod sources;
