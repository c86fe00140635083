//! Reading a request's body: within `max_body`, not slower than `body_timeout`, held once.

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

/// The whole body; empty when the request has none.
///
/// # Errors
/// 400 for framing that two servers may read differently, 408 for a body that stalls, 413 past the
/// bound, 415 for a compressed one; [`Stop::ClientGone`] when the client leaves.
pub(super) async fn read(session: &mut ServerSession, bounds: BodyBounds) -> Result<Bytes, Stop> {
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
    collect(session, stated, bounds).await
}

async fn collect(
    session: &mut ServerSession,
    stated: Option<usize>,
    bounds: BodyBounds,
) -> Result<Bytes, Stop> {
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
