//! The client's side of a request: writing to it, and noticing that it has gone.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use super::access::state_limits;
use super::ctx::Inbound;
use super::failure::{Failure, Stop};
use super::heads;
use crate::dialect::ollama::ErrorStyle;

/// The version and method that decide how answers are framed.
#[derive(Clone, Debug)]
pub(super) struct Framing {
    pub(super) version: Version,
    pub(super) method: Method,
}

/// Resolves when the client has closed its connection or reset its stream; never otherwise.
pub(super) async fn departed(client: &mut ServerSession) {
    // Reads nothing but the connection's end: the body is read, and a pipelined request is put aside.
    while client.read_body_or_idle(true).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Sends a head; it goes out with the first bytes of the body.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
pub(super) async fn write_head(
    client: &mut ServerSession,
    head: ResponseHeader,
) -> Result<(), Stop> {
    client
        .write_response_header(Box::new(head))
        .await
        .map_err(|_| Stop::ClientGone)
}

/// Sends a piece of the body. HTTP/1.1 writes it without a copy.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead or the client reads too slowly.
pub(super) async fn write_piece(client: &mut ServerSession, piece: &[u8]) -> Result<(), Stop> {
    if piece.is_empty() {
        return Ok(());
    }
    let written = match client {
        ServerSession::H1(http1) => http1.write_body(piece).await.map(|_| ()),
        other => {
            other
                .write_response_body(Bytes::copy_from_slice(piece), false)
                .await
        }
    };
    written.map_err(|_| Stop::ClientGone)
}

/// Ends the body.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
pub(super) async fn finish(client: &mut ServerSession) -> Result<(), Stop> {
    client
        .write_response_body(Bytes::new(), true)
        .await
        .map_err(|_| Stop::ClientGone)
}

/// Sends a whole answer of the gateway's own. Returns the bytes of its body.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
pub(super) async fn respond(
    client: &mut ServerSession,
    framing: &Framing,
    mut head: ResponseHeader,
    body: Bytes,
) -> Result<u64, Stop> {
    let _ = head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    write_head(client, head).await?;
    if framing.method != Method::HEAD {
        write_piece(client, &body).await?;
    }
    finish(client).await?;
    Ok(body.len() as u64)
}

/// Answers with an error in the client's format. Returns the bytes of its body.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
pub(super) async fn refuse(
    client: &mut ServerSession,
    framing: &Framing,
    style: ErrorStyle,
    failure: &Failure,
    inbound: &Inbound,
) -> Result<u64, Stop> {
    let mut head = refusal_head(failure, &inbound.request_id).map_err(|_| Stop::Broken)?;
    state_limits(inbound.key.as_ref(), style, &mut head);
    if failure.close {
        client.set_keepalive(None);
    }
    respond(client, framing, head, failure.body(style)).await
}

fn refusal_head(failure: &Failure, request_id: &HeaderValue) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(failure.status, Some(7))?;
    head.insert_header(header::CONTENT_TYPE, "application/json; charset=utf-8")?;
    head.insert_header(heads::X_REQUEST_ID, request_id)?;
    if let Some(seconds) = failure.retry_after {
        head.insert_header(header::RETRY_AFTER, HeaderValue::from(seconds))?;
    }
    if failure.final_word {
        // Read by OpenAI's and Anthropic's clients, which ask twice more by themselves otherwise.
        head.insert_header("x-should-retry", "false")?;
    }
    if failure.status == 401 {
        // RFC 9110 section 11.6.1.
        head.insert_header(header::WWW_AUTHENTICATE, "Bearer")?;
    }
    if let Some(allow) = failure.allow {
        head.insert_header(header::ALLOW, allow)?;
    }
    Ok(head)
}
