//! Token counts as OpenAI and its likes state them, in both directions.

use std::io::Write as _;

use crate::ir::Usage;

/// Appends `{"prompt_tokens":…}`; what is not known is 0.
pub(super) fn write(usage: &Usage, out: &mut Vec<u8>) {
    let known = |count: Option<u64>| count.unwrap_or(0);
    write!(
        out,
        r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"cache_write_tokens":{}}},"completion_tokens_details":{{"reasoning_tokens":{}}}}}"#,
        known(usage.prompt),
        known(usage.output),
        usage.total(),
        known(usage.cache_read),
        known(usage.cache_write),
        known(usage.reasoning),
    )
    .expect("writing to a vector cannot fail");
}
