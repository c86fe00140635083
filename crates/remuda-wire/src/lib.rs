//! Framing that several dialects share: JSON read in place, streams of lines, events and frames.

pub mod eventstream;
pub mod json;
pub mod ndjson;
pub mod sse;
pub mod units;
