//! Framing that several dialects share: JSON read in place, and streams of lines.

pub mod json;
pub mod ndjson;
