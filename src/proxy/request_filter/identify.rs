//! Finds out under which id and from which address a request comes, and how its answer has to be framed.

use std::time::Instant;

use http::{HeaderMap, HeaderValue, header};
use pingora_proxy::Session;

use crate::proxy::ctx::Ctx;
use crate::proxy::failure::Failure;
use crate::proxy::heads;
use crate::proxy::listener::gate::client_address;
use crate::proxy::listener::watch::Watch;
use crate::proxy::request_ids::RequestIds;
use crate::proxy::response_body::client::Framing;

/// The most characters of a client's `X-Request-Id`.
const MAX_REQUEST_ID: usize = 128;

/// Ends the watch over a request's head, which is whole, and follows its body where that comes in chunks.
pub(crate) fn head_is_whole(session: &mut Session) {
    let Some(watch) = Watch::of(session.digest()) else {
        return;
    };
    let Some(http1) = session.downstream_session.as_http1() else {
        return;
    };
    let length = http1.get_headers_raw_bytes().len();
    let chunked = session
        .req_header()
        .headers
        .contains_key(header::TRANSFER_ENCODING);
    let followed = watch.head_is_whole(length, chunked);
    if chunked && !followed {
        // What comes after such a body is not taken for a request.
        session.set_keepalive(None);
    }
}

/// Returns how the client's answer has to be framed.
pub(crate) fn framing(session: &Session) -> Framing {
    let head = session.req_header();
    Framing {
        version: head.version,
        method: head.method.clone(),
    }
}

/// Notes who asks, and under which id.
pub(crate) fn identify(ids: &RequestIds, session: &Session, ctx: &mut Ctx) {
    ctx.inbound.started = Instant::now();
    ctx.outcome.counted = true;
    ctx.inbound.client = client_address(session.client_addr());
    let stated = stated_id(&session.req_header().headers);
    ctx.inbound.request_id = stated.cloned().unwrap_or_else(|| ids.make());
}

/// Returns the id that the client gives its request, where it may be repeated in a head and in a line of the log.
fn stated_id(fields: &HeaderMap) -> Option<&HeaderValue> {
    fields.get(heads::X_REQUEST_ID).filter(|id| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    })
}

/// Holds the head of a request by HTTP/1 to its bound. The listener ends one that does not come to an end, but counts
/// what it reads at once, which is more than a small head and may be less than all of a large one.
///
/// # Errors
/// 431.
pub(crate) fn head_fits(session: &Session, max: usize) -> Result<(), Failure> {
    let http1 = session.downstream_session.as_http1();
    if http1.is_none_or(|http1| http1.get_headers_raw_bytes().len() <= max) {
        return Ok(());
    }
    let text = "request head too large; the limit is the setting server.max_header";
    Err(Failure::new(431, "head_too_large", text).closing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_id_is_kept_if_a_line_of_the_log_can_hold_it() {
        let long = "x".repeat(MAX_REQUEST_ID + 1);
        for (stated, kept) in [
            ("req-1", true),
            (&long[1..], true),
            ("", false),
            ("two words", false),
            ("tab\tin it", false),
            (&*long, false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(heads::X_REQUEST_ID, HeaderValue::from_str(stated).unwrap());
            assert_eq!(stated_id(&fields).is_some(), kept, "{stated:?}");
        }
    }

    #[test]
    fn ids_are_not_repeated() {
        let ids = RequestIds::new();
        let made: std::collections::HashSet<_> = (0..100).map(|_| ids.make()).collect();
        assert_eq!(made.len(), 100);
        let one = ids.make();
        assert_eq!(one.len(), 24);
        assert!(!made.contains(&one));
    }
}
