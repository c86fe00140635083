//! What every answer and every chunk of one begins with.

use std::time::UNIX_EPOCH;

use crate::dialect::exchange::Reply;

/// `{"id":…,"object":…,"created":…,"model":…`, without the closing brace.
pub(super) fn open(id_prefix: &str, object: &str, reply: &Reply) -> Vec<u8> {
    let created = reply
        .created
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    format!(
        r#"{{"id":"{id_prefix}{}","object":"{object}","created":{created},"model":"{}""#,
        reply.id,
        reply.model.as_escaped()
    )
    .into_bytes()
}
