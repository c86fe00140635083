//! Sends one request over one connection, and reads the head of its answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::ErrorType;
use pingora::http::RequestHeader;

use crate::proxy::ctx::Sending;
use crate::proxy::upstream::Upstream;

/// How soon a pooled connection shows that the backend had closed it, which takes a round trip. One that ends later has failed
/// the request.
const STALE_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer is waited for after the backend stopped taking the request's body.
const EARLY_ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// Why a connection gave no head.
pub(super) enum NoHead {
    /// The connection came from the pool, and the backend had closed it.
    Stale,
    /// The connection broke, or what came is no HTTP.
    Broken,
}

/// Sends the request, notes in `sending` that all of it has been sent, and reads the head of the answer.
///
/// # Errors
/// The reason why the connection gave no head.
pub(super) async fn send(
    upstream: &mut Upstream,
    head: RequestHeader,
    body: &Bytes,
    sending: Option<Sending>,
) -> Result<(), NoHead> {
    let began = Instant::now();
    let broken = |upstream: &Upstream| {
        if upstream.reused && began.elapsed() < STALE_WITHIN {
            NoHead::Stale
        } else {
            NoHead::Broken
        }
    };
    if upstream.send(head, body).await.is_err() {
        // A backend may answer (413, 503) without taking the whole body.
        let answered = tokio::time::timeout(EARLY_ANSWER_TIMEOUT, upstream.read_head()).await;
        return match answered {
            Ok(Ok(_)) => Ok(()),
            _ => Err(broken(upstream)),
        };
    }
    if let Some(sending) = sending {
        sending.done();
    }
    match upstream.read_head().await {
        Ok(_) => Ok(()),
        // A server that closed an idle connection answers what comes after by FIN or by RST.
        Err(error) => match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::ReadError => Err(broken(upstream)),
            _ => Err(NoHead::Broken),
        },
    }
}
