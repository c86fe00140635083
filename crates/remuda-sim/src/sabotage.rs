//! Makes a strike come true: on the connection before the request is looked at, and between head and body of a reply.

use std::time::Duration;

use hyper::header::CONTENT_LENGTH;

use super::body::Body;
use super::fault::At;
use super::link::Wire;
use super::reply::Reply;
use super::strike::Strike;

/// What goes wrong on the connection before the request is looked at.
pub(super) async fn go_wrong(wire: &Wire, strike: &Strike) {
    if let Some(pause) = strike.one_byte {
        wire.one_byte(pause);
    }
    for (at, time) in &strike.stalls {
        match at {
            At::Head => tokio::time::sleep(*time).await,
            At::Bytes(bytes) => wire.stall_after(*bytes, *time),
            At::Body | At::Tokens(_) | At::Events(_) | At::Last => {}
        }
    }
    match strike.cut {
        Some((At::Bytes(bytes), reset)) => wire.cut_after(bytes, reset),
        Some((At::Head, reset)) => wire.cut_after(0, reset),
        _ => {}
    }
    if strike.silent {
        std::future::pending::<()>().await;
    }
}

/// Sends the head now and the body after `pause`, or never; streams of tokens see to it themselves.
pub(super) fn hold_back(reply: Reply, pause: Duration, cut: Option<(Wire, bool)>) -> Reply {
    let (mut head, body) = reply.into_parts();
    let body = match body {
        Body::Whole(Some(bytes)) => {
            head.headers.insert(CONTENT_LENGTH, bytes.len().into());
            Body::flow(move |lines| async move {
                tokio::time::sleep(pause).await;
                if let Some((wire, reset)) = cut {
                    wire.flushed().await;
                    wire.cut_after(0, reset);
                    std::future::pending::<()>().await;
                }
                // No receiver, no client: there is nobody to tell.
                let _ = lines.send(bytes).await;
            })
        }
        other => other,
    };
    Reply::from_parts(head, body)
}
