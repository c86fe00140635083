//! Reading a request's body: within `max_body`, not slower than `body_timeout`, held once, and all
//! bodies together within `max_buffered`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::protocols::http::ServerSession;

use super::failure::{Failure, Stop};

/// Bounds on a request body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyBounds {
    /// Bytes.
    pub(super) max: usize,
    /// Between two pieces.
    pub(super) pause: Duration,
}

/// Bodies up to this are not counted: as many as there are connections fit.
const SMALL: usize = 64 * 1024;

/// How long a refused request's body is still read.
const LINGER: Duration = Duration::from_secs(2);
/// Between two pieces of it.
const LINGER_PAUSE: Duration = Duration::from_millis(250);

/// What all large bodies may take together.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max,
        })
    }
}

/// A body's share of the budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    fn none(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// Makes room for a body of `length` bytes.
    fn grow(&mut self, length: usize) -> Result<(), Failure> {
        if length <= SMALL || length <= self.bytes {
            return Ok(());
        }
        let more = length - self.bytes;
        let used = self.budget.used.fetch_add(more, Ordering::AcqRel) + more;
        self.bytes = length;
        if used > self.budget.max {
            let text = "too many large request bodies at once; the limit is the setting server.max_buffered";
            return Err(Failure::new(503, "bodies_too_large", text)
                .retry_after(1)
                .closing());
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A request's body, counted against the budget while it is held.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    _share: Option<Share>,
}

impl Body {
    /// No body.
    pub(super) fn empty() -> Self {
        Self {
            bytes: Bytes::new(),
            _share: None,
        }
    }

    /// The same body with other bytes of about the same length.
    pub(super) fn with(self, bytes: Bytes) -> Self {
        Self { bytes, ..self }
    }
}

/// The whole body; empty when the request has none.
///
/// # Errors
/// 400 for framing that two servers may read differently, 408 for a body that stalls, 413 past the
/// bound, 415 for a compressed one, 503 when all bodies together are too large; [`Stop::ClientGone`] when the client leaves.
pub(super) async fn read(
    session: &mut ServerSession,
    bounds: BodyBounds,
    budget: &Arc<Budget>,
) -> Result<Body, Stop> {
    let head = session.req_header();
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    if chunked && has_raw_content_length(session) {
        // RFC 9112 §6.1: a smuggling attempt or a broken client.
        return Err(Failure::bad_request(
            "both Content-Length and Transfer-Encoding are given; send one",
        )
        .closing()
        .into());
    }
    let head = session.req_header();
    if let Some(encoding) = head.headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Failure::new(
            415,
            "compressed_body",
            "compressed request bodies are not supported; send the body as it is",
        )
        .closing()
        .into());
    }
    let stated = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.trim().parse::<usize>().ok());
    if stated.is_some_and(|length| length > bounds.max) {
        return Err(too_large(bounds.max).into());
    }
    let continues = head
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if continues {
        session
            .write_continue_response()
            .await
            .map_err(|_| Stop::ClientGone)?;
    }
    let mut share = Share::none(budget);
    let bytes = collect(session, stated, bounds, &mut share).await?;
    Ok(Body {
        bytes,
        _share: Some(share),
    })
}

async fn collect(
    session: &mut ServerSession,
    stated: Option<usize>,
    bounds: BodyBounds,
    share: &mut Share,
) -> Result<Bytes, Stop> {
    share.grow(stated.unwrap_or(0))?;
    let Some(first) = piece(session, bounds.pause).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > bounds.max {
        return Err(too_large(bounds.max).into());
    }
    if stated == Some(first.len()) {
        // Tells the session that the body is whole; the usual small request is never copied.
        return match piece(session, bounds.pause).await? {
            None => Ok(first),
            Some(_) => Err(Failure::bad_request("more body than Content-Length states")
                .closing()
                .into()),
        };
    }
    let mut whole = BytesMut::with_capacity(stated.unwrap_or(first.len() * 2));
    whole.extend_from_slice(&first);
    drop(first);
    while let Some(next) = piece(session, bounds.pause).await? {
        if whole.len() + next.len() > bounds.max {
            return Err(too_large(bounds.max).into());
        }
        if whole.len() + next.len() > whole.capacity() {
            // Doubling, as the buffer itself grows.
            share.grow((2 * whole.capacity()).min(bounds.max))?;
        }
        whole.extend_from_slice(&next);
    }
    Ok(whole.freeze())
}

async fn piece(session: &mut ServerSession, pause: Duration) -> Result<Option<Bytes>, Stop> {
    match tokio::time::timeout(pause, session.read_request_body()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(match error.etype() {
            pingora::ErrorType::InvalidHTTPHeader | pingora::ErrorType::Custom(_) => {
                Failure::bad_request("the request body's framing is invalid")
                    .closing()
                    .into()
            }
            _ => Stop::ClientGone,
        }),
        Err(_) => Err(Failure::new(
            408,
            "slow_body",
            "the request body stalled; the limit is the setting server.body_timeout",
        )
        .closing()
        .into()),
    }
}

fn too_large(max: usize) -> Failure {
    Failure::new(
        413,
        "body_too_large",
        format!("request body larger than {max} bytes; the limit is the setting server.max_body"),
    )
    .closing()
}

/// Reads on after a refusal, for a moment, and throws away: a connection that is closed with unread bytes
/// is reset, and a reset takes the refusal with it before the client has read it (RFC 9112 §9.6).
pub(super) async fn linger(session: &mut ServerSession) {
    let discarding = async {
        while let Ok(Ok(Some(_))) =
            tokio::time::timeout(LINGER_PAUSE, session.read_request_body()).await
        {}
    };
    let _ = tokio::time::timeout(LINGER, discarding).await;
}

/// Pingora drops Content-Length when both are given, so the raw head is asked.
fn has_raw_content_length(session: &ServerSession) -> bool {
    session.as_http1().is_some_and(|http1| {
        http1
            .get_headers_raw_bytes()
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b':').next())
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"content-length"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_a_budget_and_give_it_back() {
        let budget = Budget::new(300 * 1024);
        let mut first = Share::none(&budget);
        let mut second = Share::none(&budget);
        first.grow(200 * 1024).unwrap();
        assert_eq!(second.grow(200 * 1024).unwrap_err().status, 503);
        drop(second);
        let mut small = Share::none(&budget);
        small.grow(SMALL).unwrap();
        assert_eq!(budget.used.load(Ordering::Acquire), 200 * 1024);
        drop(first);
        assert_eq!(budget.used.load(Ordering::Acquire), 0);
    }
}
