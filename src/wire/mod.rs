//! Framing that several dialects share: JSON read in place, streams of lines and of events.

pub mod json;
pub mod ndjson;
pub mod sse;
