//! Members of a request that Ollama's servers alone take, in one that passes to another provider: its API refuses what it does
//! not know ("Extra inputs are not permitted"), so they are left out and named.

use crate::ir::Dropped;
use crate::wire::json::Object;

/// The last is what the others may stand in, where who writes the body has no parameter for them.
const LOCAL: [&str; 7] = [
    "keep_alive",
    "options",
    "num_ctx",
    "think",
    "truncate",
    "shift",
    "extra_body",
];

pub(super) fn leave_out(body: &mut Object<'_>, dropped: &mut Dropped) {
    for name in LOCAL {
        let says = body
            .get(name)
            .is_some_and(|value| !matches!(value, b"null" | b"{}"));
        if body.remove(name) {
            dropped.add_if(says, name);
        }
    }
}
