//! What a request's head has to be before anything else is asked of it: for a host that this gateway answers to, and framed
//! in the one way that every server reads alike.

use http::{Version, header};
use pingora::http::authority::raw_target_authority;
use pingora::proxy::Session;

use crate::proxy::Gateway;
use crate::proxy::failure::told::Failure;
use crate::proxy::listener::guarded::Watch;
use crate::proxy::request_filter::prepare::closing_with_body;

impl Gateway {
    /// Lets a request in by the host that it is for.
    ///
    /// # Errors
    /// 400 where it names none (RFC 9112 section 3.2), 403 for another.
    pub(crate) fn for_here(&self, session: &mut Session) -> Result<(), Failure> {
        let head = session.req_header();
        let mut hosts = head.headers.get_all(header::HOST).iter().peekable();
        if head.version == Version::HTTP_11 && hosts.peek().is_none() {
            let text = "the request names no host; send the field Host";
            return Err(closing_with_body(session, Failure::bad_request(text)));
        }
        let authority = head.uri.authority();
        // That of a target in absolute form (RFC 9112 section 3.2.2), which Pingora keeps apart. It refuses one that
        // differs from the field Host, but an HTTP/1.0 client need not send that field.
        let written = raw_target_authority(head.raw_path()).authority();
        let answers = |host: &[u8]| str::from_utf8(host).is_ok_and(|host| self.hosts.answers(host));
        let known = hosts.all(|host| answers(host.as_bytes()))
            && authority.is_none_or(|authority| self.hosts.answers(authority.as_str()))
            && written.is_none_or(answers);
        if known {
            return Ok(());
        }
        self.count_rejected("host", "none");
        let text = "requests for this host are not served; names besides localhost are in the setting server.hosts";
        let failure = Failure::new(403, "host_refused", text);
        Err(closing_with_body(session, failure))
    }
}

/// Notes that the head is whole, and follows its body where that comes in chunks.
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

/// That a body's transfer coding is the one that is read here.
///
/// # Errors
/// 400.
pub(crate) fn plainly_chunked(fields: &http::HeaderMap) -> Result<(), Failure> {
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let only = codings.next().is_none_or(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        coding.eq_ignore_ascii_case(b"chunked")
    });
    match only && codings.next().is_none() {
        true => Ok(()),
        false => {
            let text = "Transfer-Encoding has to be chunked and nothing else; state a body's packing in Content-Encoding";
            Err(Failure::bad_request(text).closing())
        }
    }
}
