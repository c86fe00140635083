//! What a search found, as clients of Perplexity's old chat API read it.

use serde::Deserialize;

use crate::ir::{Json, Text};

/// Appends `,"citations":[…],"search_results":[…]`: the addresses alone, and all that is known of each.
pub(super) fn write(sources: &Json<'_>, out: &mut Vec<u8>) {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(borrow)]
        url: Option<Text<'a>>,
    }
    let found: Vec<Source<'_>> = serde_json::from_str(sources.as_str()).unwrap_or_default();
    out.extend_from_slice(b",\"citations\":[");
    for (place, url) in found
        .iter()
        .filter_map(|source| source.url.as_ref())
        .enumerate()
    {
        if place > 0 {
            out.push(b',');
        }
        url.write(out);
    }
    out.extend_from_slice(b"],\"search_results\":");
    sources.write(out);
}
