//! Chat completions against what clients send and read.

mod client_reads;
mod client_writes;
mod provider_writes;

use serde_json::Value;

use crate::dialect::exchange::Reply;

fn reply() -> Reply {
    Reply::sample()
}

/// The data of a stream's events: JSON, or a string for what is none. Fails on anything else between them.
fn events(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).unwrap();
    text.split_terminator("\n\n")
        .filter(|event| !event.starts_with(':'))
        .map(|event| {
            let data = event.strip_prefix("data: ").unwrap();
            serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()))
        })
        .collect()
}
