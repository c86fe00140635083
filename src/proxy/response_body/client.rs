//! The client's side of a request: writing to it, and noticing that it has gone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Version};
use pingora::protocols::http::ServerSession;

use crate::proxy::failure::{Failure, Stop};
use crate::proxy::heads;
use crate::proxy::listener::watch::Watch;
use crate::proxy::response_body::head::Head;
use crate::proxy::response_body::unsent::{self, Line};

/// Bytes of an answer by HTTP/1 that are not counted while they wait to be sent: each connection has room for so many.
const SMALL: usize = 4 * 1024;
/// Bytes that are written at a time, so that a client is seen to read.
const PART: usize = 256 * 1024;
/// How long a part may wait while too much waits on all connections.
const STALL: Duration = Duration::from_secs(2);

/// The version and method that decide how answers are framed.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    pub(crate) version: Version,
    pub(crate) method: Method,
}

/// Resolves when the client has closed its connection or reset its stream; never otherwise.
pub(crate) async fn departed(client: &mut ServerSession) {
    if let ServerSession::H1(_) = client
        && let Some(watch) = Watch::of(client.digest())
    {
        watch.request_is_whole();
    }
    // Reads nothing but the connection's end: the body is read, and a pipelined request is put aside.
    while client.read_body_or_idle(true).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Sends a head; it goes out with the first bytes of the body. Pages of `allow_origin` may read the answer.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
pub(crate) async fn write_head(
    client: &mut ServerSession,
    mut head: Head,
    allow_origin: Option<&HeaderValue>,
) -> Result<(), Stop> {
    if let Some(origin) = allow_origin {
        head.allow_origin(origin);
    }
    client
        .write_response_header(Box::new(head.into()))
        .await
        .map_err(|_| Stop::ClientGone)
}

/// Sends a piece of the body. HTTP/1.1 writes it without a copy.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead, the client reads too slowly, or too much waits for clients to read it.
pub(crate) async fn write_piece(client: &mut ServerSession, piece: &[u8]) -> Result<(), Stop> {
    let line = line_of(client);
    let gone = |_| Stop::ClientGone;
    match client {
        _ if piece.is_empty() => Ok(()),
        ServerSession::H1(http1) if piece.len() <= SMALL => {
            http1.write_body(piece).await.map(drop).map_err(gone)
        }
        ServerSession::H1(http1) => {
            let line = line.as_ref();
            let _share = line.map(|line| line.take(piece.len())).transpose();
            let _share = _share.map_err(|unsent::TooMuchUnsent| Stop::ClientGone)?;
            for part in piece.chunks(PART) {
                patiently(http1.write_body(part), line).await?;
            }
            Ok(())
        }
        _ => write_shared(client, Bytes::copy_from_slice(piece)).await,
    }
}

/// Does what [`write_piece`] does by HTTP/2, which keeps the bytes until they are sent.
async fn write_shared(client: &mut ServerSession, mut piece: Bytes) -> Result<(), Stop> {
    let line = line_of(client);
    if let Some(line) = &line {
        // What has been handed over waits within the connection, until it is sent or its stream is reset.
        let share = line.take(piece.len());
        piece = unsent::counted(
            piece,
            share.map_err(|unsent::TooMuchUnsent| Stop::ClientGone)?,
        );
    }
    while !piece.is_empty() {
        let part = piece.split_to(piece.len().min(PART));
        let writing = client.write_response_body(part, false);
        patiently(writing, line.as_ref()).await?;
    }
    Ok(())
}

/// Returns the connection of a client, where it is counted what waits on it.
pub(crate) fn line_of(client: &ServerSession) -> Option<Arc<Line>> {
    Watch::of(client.digest()).map(|watch| Arc::clone(watch.line()))
}

/// Checks that a page of some size can be sent, before it is made.
///
/// # Errors
/// 503 when too much waits for clients to read it, on this connection or on all.
pub(crate) fn has_room(client: &ServerSession) -> Result<(), Failure> {
    if !line_of(client).is_some_and(|line| line.is_full()) {
        return Ok(());
    }
    let text = "too much waits for clients to read it; the limit is the setting server.max_unsent";
    Err(Failure::new(503, "unread", text).retry_after(1))
}

/// Waits for a part to be written: for as long as Pingora does, and only for a moment while too much waits.
async fn patiently<T>(
    writing: impl Future<Output = pingora::Result<T>>,
    line: Option<&Arc<Line>>,
) -> Result<(), Stop> {
    let mut writing = pin!(writing);
    loop {
        match tokio::time::timeout(STALL, &mut writing).await {
            Ok(written) => return written.map(drop).map_err(|_| Stop::ClientGone),
            Err(_) if line.is_some_and(|line| line.is_pressed()) => return Err(Stop::ClientGone),
            Err(_) => {}
        }
    }
}

/// Ends the body.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
pub(crate) async fn finish(client: &mut ServerSession) -> Result<(), Stop> {
    client
        .write_response_body(Bytes::new(), true)
        .await
        .map_err(|_| Stop::ClientGone)
}

/// Sends a whole answer of the gateway's own. Returns the bytes of its body.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead, and 503 when too much waits for clients already.
pub(crate) async fn respond(
    client: &mut ServerSession,
    framing: &Framing,
    mut head: Head,
    body: Bytes,
    allow_origin: Option<&HeaderValue>,
) -> Result<u64, Stop> {
    if body.len() > SMALL {
        has_room(client)?;
    }
    heads::state_length(&mut head, body.len());
    write_head(client, head, allow_origin).await?;
    let length = body.len() as u64;
    match client {
        _ if framing.method == Method::HEAD => {}
        ServerSession::H1(_) => write_piece(client, &body).await?,
        _ => write_shared(client, body).await?,
    }
    finish(client).await?;
    Ok(length)
}
