//! Framing that several dialects share: JSON read in place, streams of lines, events and frames.

#![cfg_attr(
    test,
    allow(
        clippy::too_many_lines,
        reason = "a test is as long as its table or its story; without tests, the limit holds"
    )
)]

pub mod eventstream;
pub mod json;
pub mod ndjson;
pub mod sse;
pub mod units;
