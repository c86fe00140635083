//! One connection to a backend during one attempt. Dropping it closes it; a whole answer gives it back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;

/// A connection that carries one request.
pub(super) struct Upstream {
    session: HttpSession,
    connector: Arc<Connector>,
    peer: Arc<HttpPeer>,
    /// Whether it came from the pool, so that the backend may have closed it meanwhile.
    pub(super) reused: bool,
    /// The last piece of an HTTP/2 body.
    piece: Bytes,
}

impl Upstream {
    /// Takes a connection from the pool or makes one; bounded by the peer's connect timeout.
    ///
    /// # Errors
    /// Pingora's, when none can be made.
    pub(super) async fn connect(
        connector: Arc<Connector>,
        peer: Arc<HttpPeer>,
    ) -> pingora::Result<Self> {
        let (session, reused) = connector.get_http_session(&*peer).await?;
        Ok(Self {
            session,
            connector,
            peer,
            reused,
            piece: Bytes::new(),
        })
    }

    /// Sends the request.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn send(&mut self, head: RequestHeader, body: &Bytes) -> pingora::Result<()> {
        self.session.write_request_header(Box::new(head)).await?;
        if !body.is_empty() {
            self.session.write_request_body(body.clone(), true).await?;
        }
        self.session.finish_request_body().await
    }

    /// Reads the answer's head, passing over informational ones.
    ///
    /// # Errors
    /// When the connection ends first or the head is no HTTP.
    pub(super) async fn read_head(&mut self) -> pingora::Result<&ResponseHeader> {
        loop {
            self.session.read_response_header().await?;
            let informational = self
                .session
                .response_header()
                .is_some_and(|head| head.status.is_informational());
            if !informational {
                break;
            }
        }
        self.session
            .response_header()
            .ok_or_else(|| pingora::Error::new(pingora::ErrorType::InvalidHTTPHeader))
    }

    /// The head that [`Self::read_head`] has read.
    pub(super) fn head(&self) -> Option<&ResponseHeader> {
        self.session.response_header()
    }

    /// The next piece of the body; `None` at its proper end.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub(super) async fn read_piece(&mut self) -> pingora::Result<Option<&[u8]>> {
        match &mut self.session {
            HttpSession::H1(http1) => http1.read_body_ref().await,
            other => match other.read_response_body().await? {
                Some(piece) => {
                    self.piece = piece;
                    Ok(Some(&self.piece))
                }
                None => Ok(None),
            },
        }
    }

    /// Whether the body has come to its end, known without waiting.
    pub(super) fn done(&mut self) -> bool {
        self.session.response_done()
    }

    /// Gives the connection back after a whole answer.
    pub(super) async fn release(mut self, idle: Duration) {
        if let HttpSession::H1(http1) = &mut self.session {
            http1.respect_keepalive();
        }
        self.connector
            .release_http_session(self.session, &*self.peer, Some(idle))
            .await;
    }
}
