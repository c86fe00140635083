//! What every answer and every chunk of one begins with.

use std::time::UNIX_EPOCH;

use crate::dialect::exchange::Reply;
use crate::ir::Text;

/// Returns `{"id":…,"object":…,"created":…,"model":…`, without the closing brace.
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

/// How the provider serves an answer, at the end of what its chunks begin with.
#[derive(Default)]
pub(super) struct Served {
    /// Bytes of the head before it.
    before: Option<usize>,
    tier: Option<Text<'static>>,
    fingerprint: Option<Text<'static>>,
}

impl Served {
    /// Takes over what is stated, and writes it anew.
    pub(super) fn note(
        &mut self,
        tier: &Option<Text<'_>>,
        fingerprint: &Option<Text<'_>>,
        head: &mut Vec<u8>,
    ) {
        head.truncate(*self.before.get_or_insert(head.len()));
        let owned = |text: &Option<Text<'_>>| text.clone().map(Text::into_owned);
        self.tier = owned(tier).or(self.tier.take());
        self.fingerprint = owned(fingerprint).or(self.fingerprint.take());
        write_served(&self.tier, &self.fingerprint, head);
    }
}

/// Appends the members that say how an answer was served.
pub(super) fn write_served(
    tier: &Option<Text<'_>>,
    fingerprint: &Option<Text<'_>>,
    out: &mut Vec<u8>,
) {
    for (name, text) in [("service_tier", tier), ("system_fingerprint", fingerprint)] {
        if let Some(text) = text {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            text.write(out);
        }
    }
}
