//! Token counts of a streamed chat whose client did not ask for them. They are asked for all the same, so that what a request
//! cost is known; the event that tells them is kept from the client, whose other bytes pass untouched.

use memchr::memmem;

use crate::wire::ndjson::MAX_LINE;

/// A field that asks for them, to be put first into the request's object.
pub const ASK: &[u8] = b"\"stream_options\":{\"include_usage\":true},";

/// Takes the event with the token counts out of a stream.
#[derive(Debug, Default)]
pub struct UsageFilter {
    /// The beginning of an event whose end has not come.
    held: Vec<u8>,
    out: Vec<u8>,
}

impl UsageFilter {
    /// What of the stream passes; whole events, as far as they have come.
    pub fn feed(&mut self, piece: &[u8]) -> &[u8] {
        self.out.clear();
        self.held.extend_from_slice(piece);
        let mut start = 0;
        while let Some(end) = event_end(&self.held[start..]) {
            let event = &self.held[start..start + end];
            if !tells_usage_alone(event) {
                self.out.extend_from_slice(event);
            }
            start += end;
        }
        self.held.drain(..start);
        if self.held.len() > MAX_LINE {
            // No event of token counts is as long.
            self.out.append(&mut self.held);
        }
        &self.out
    }

    /// What is left when the stream has ended.
    pub fn finish(&mut self) -> &[u8] {
        self.out.clear();
        if !tells_usage_alone(&self.held) {
            self.out.append(&mut self.held);
        }
        &self.out
    }
}

/// Where the first event ends, its blank line included.
fn event_end(bytes: &[u8]) -> Option<usize> {
    let plain = memmem::find(bytes, b"\n\n").map(|at| at + 2);
    let returns = memmem::find(bytes, b"\n\r\n").map(|at| at + 3);
    match (plain, returns) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// OpenAI's last event before `[DONE]`: no choices, and an object of token counts. Quotes inside of texts are escaped, so the
/// needles are fields.
fn tells_usage_alone(event: &[u8]) -> bool {
    let has = |name: &[u8], opens: u8, closes: Option<u8>| {
        memmem::find(event, name).is_some_and(|at| {
            let rest = event[at + name.len()..].trim_ascii_start();
            let Some(rest) = rest.strip_prefix(b":") else {
                return false;
            };
            let rest = rest.trim_ascii_start();
            rest.first() == Some(&opens)
                && closes.is_none_or(|closes| rest[1..].trim_ascii_start().first() == Some(&closes))
        })
    };
    has(b"\"choices\"", b'[', Some(b']')) && has(b"\"usage\"", b'{', None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"choices\\\":[] \\\"usage\\\":{\"}}],\"usage\":null}\n\n\
        data: {\"choices\":[],\"prompt_filter_results\":[]}\r\n\r\n\
        data: {\"choices\": [ ], \"usage\": {\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n";

    fn filtered<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut filter = UsageFilter::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(filter.feed(piece));
        }
        out.extend_from_slice(filter.finish());
        out
    }

    #[test]
    fn trap_15_only_the_event_with_the_counts_is_kept_back_wherever_the_stream_is_split() {
        let at = memmem::find(STREAM, b"data: {\"choices\": [ ]").unwrap();
        let done = memmem::find(STREAM, b"data: [DONE]").unwrap();
        let expected = [&STREAM[..at], &STREAM[done..]].concat();
        for split in 0..=STREAM.len() {
            let (first, second) = STREAM.split_at(split);
            assert_eq!(filtered([first, second].into_iter()), expected, "{split}");
        }
        assert_eq!(filtered(STREAM.chunks(1)), expected);
    }

    proptest! {
        #[test]
        fn what_holds_no_counts_passes_unchanged(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..20) {
            prop_assume!(memmem::find(&bytes, b"usage").is_none());
            prop_assert_eq!(filtered(bytes.chunks(size)), bytes);
        }
    }
}
