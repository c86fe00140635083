//! One connection to a backend during one attempt. Dropping it closes it; a whole answer gives it back.
//!
//! Plaintext connections are our own below HTTP (`corked`, `pool`); TLS and HTTP/2 are Pingora's.

mod corked;
mod packed;
mod pool;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Stream;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr};

use self::corked::Corked;
use self::packed::{Packed, packed};
pub(crate) use self::pool::ConnectionPool;
use crate::fleet::{Backend, Pulse};
use crate::ids::BackendId;

/// How long a body may take to end after its answer has.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that may come meanwhile.
const MOST_AFTER_THE_END: usize = 16 << 10;

/// What the attempts at one provider share.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) connector: Arc<Connector>,
    pub(crate) pool: Arc<ConnectionPool>,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

/// A connection that carries one request.
pub(crate) struct Upstream {
    session: HttpSession,
    home: Home,
    /// Whether it came from a pool, so that the backend may have closed it meanwhile.
    pub(crate) reused: bool,
    /// The last piece of an HTTP/2 body.
    piece: Bytes,
    /// How the answer is packed, and its head as it is without that. Boxed: hardly any is.
    packed: Option<Box<(Packed, ResponseHeader)>>,
    /// The backend's pulse, which is told of everything that is read.
    pulse: Arc<Pulse>,
}

/// Where a connection goes back to.
enum Home {
    Ours(Arc<ConnectionPool>, BackendId),
    Pingoras(Arc<Connector>, Arc<HttpPeer>, Duration),
}

impl Connections {
    /// Takes a connection from the pool or makes one; bounded by the connect timeout.
    ///
    /// # Errors
    /// When none can be made.
    pub(crate) async fn open(&self, backend: &Backend) -> pingora::Result<Upstream> {
        if backend.tls {
            return Box::pin(self.pingoras(backend)).await;
        }
        match self.pool.take(backend.id) {
            Some(stream) => Ok(self.ours(backend, stream, true)),
            None => self.dial(backend).await,
        }
    }

    /// Does what [`Self::open`] does without taking a plaintext connection from the pool, for requests that must not be sent
    /// twice.
    ///
    /// # Errors
    /// When none can be made.
    pub(crate) async fn open_new(&self, backend: &Backend) -> pingora::Result<Upstream> {
        if backend.tls {
            Box::pin(self.pingoras(backend)).await
        } else {
            self.dial(backend).await
        }
    }

    /// Takes or makes a connection of Pingora's, with TLS or HTTP/2. Callers box the future, as that of a TLS handshake has 9
    /// KB, which every stream would carry otherwise.
    async fn pingoras(&self, backend: &Backend) -> pingora::Result<Upstream> {
        let peer = Arc::clone(&backend.peer);
        let (session, reused) = self.connector.get_http_session(&*peer).await?;
        let home = Home::Pingoras(Arc::clone(&self.connector), peer, self.idle_timeout);
        Ok(Upstream {
            session,
            home,
            reused,
            piece: Bytes::new(),
            packed: None,
            pulse: Arc::clone(backend.pulse()),
        })
    }

    async fn dial(&self, backend: &Backend) -> pingora::Result<Upstream> {
        let stream: Stream = Box::new(self.connect(backend).await?);
        Ok(self.ours(backend, stream, false))
    }

    fn ours(&self, backend: &Backend, stream: Stream, reused: bool) -> Upstream {
        Upstream {
            session: HttpSession::H1(Http1Session::new(stream)),
            home: Home::Ours(Arc::clone(&self.pool), backend.id),
            reused,
            piece: Bytes::new(),
            packed: None,
            pulse: Arc::clone(backend.pulse()),
        }
    }

    async fn connect(&self, backend: &Backend) -> pingora::Result<Corked> {
        tokio::time::timeout(self.connect_timeout, Corked::connect(backend.addr))
            .await
            .map_err(|_| Error::new(ErrorType::ConnectTimedout))?
            .or_err(ErrorType::ConnectError, "connecting to a backend")
    }
}

impl Upstream {
    /// Sends the request.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn send(&mut self, head: RequestHeader, body: &Bytes) -> pingora::Result<()> {
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
    pub(crate) async fn read_head(&mut self) -> pingora::Result<&ResponseHeader> {
        loop {
            self.session.read_response_header().await?;
            self.pulse.beat();
            let informational = self
                .session
                .response_header()
                .is_some_and(|head| head.status.is_informational());
            if !informational {
                break;
            }
        }
        self.packed = self
            .session
            .response_header()
            .and_then(packed)
            .map(Box::new);
        self.head()
            .ok_or_else(|| Error::new(ErrorType::InvalidHTTPHeader))
    }

    /// Returns the head that [`Self::read_head`] has read, as that of what [`Self::read_piece`] gives.
    pub(crate) fn head(&self) -> Option<&ResponseHeader> {
        match &self.packed {
            Some(packed) => Some(&packed.1),
            None => self.session.response_header(),
        }
    }

    /// Returns whether the body is packed in a way that cannot be undone.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.packed
            .as_ref()
            .is_some_and(|packed| matches!(packed.0, Packed::Unknown))
    }

    /// Returns the next piece of the body; `None` at its proper end.
    ///
    /// # Errors
    /// When the connection ends before the body does, or when it is not packed as its head says.
    pub(crate) async fn read_piece(&mut self) -> pingora::Result<Option<&[u8]>> {
        let Upstream {
            session,
            piece,
            pulse,
            packed,
            ..
        } = self;
        match packed {
            None => raw_piece(session, piece, pulse).await,
            Some(packed) => unpacked_piece(session, piece, pulse, &mut packed.0).await,
        }
    }

    /// Returns whether the body has come to its end, known without waiting.
    pub(crate) fn done(&mut self) -> bool {
        self.packed.is_none() && self.session.response_done()
    }

    /// Leaves an answer that is over although its body may not have ended. The connection is given back if the end follows
    /// soon, for which the caller does not wait, and is closed otherwise.
    pub(crate) async fn let_end(mut self) {
        // Most often it has come with the last of the answer.
        let ended = self.done()
            || poll_fn(|context| {
                let reading = pin!(self.read_piece());
                Poll::Ready(matches!(reading.poll(context), Poll::Ready(Ok(None))))
            })
            .await;
        if ended {
            return self.release().await;
        }
        tokio::spawn(async move {
            let ended = tokio::time::timeout(LINGER, self.skip_rest()).await;
            if ended == Ok(true) {
                self.release().await;
            }
        });
    }

    /// Reads to the body's end. Returns whether it came within [`MOST_AFTER_THE_END`] bytes.
    async fn skip_rest(&mut self) -> bool {
        let mut left = MOST_AFTER_THE_END;
        loop {
            match self.read_piece().await {
                Ok(Some(piece)) if piece.len() <= left => left -= piece.len(),
                Ok(None) => return true,
                _ => return false,
            }
        }
    }

    /// Gives the connection back after a whole answer.
    pub(crate) async fn release(mut self) {
        if let HttpSession::H1(http1) = &mut self.session {
            http1.respect_keepalive();
        }
        match (self.home, self.session) {
            (Home::Ours(pool, backend), HttpSession::H1(http1)) => {
                if let Some(stream) = http1.reuse().await {
                    pool.put(backend, stream);
                }
            }
            (Home::Pingoras(connector, peer, idle), session) => {
                // Boxed for its size, as above.
                Box::pin(connector.release_http_session(session, &*peer, Some(idle))).await;
            }
            (Home::Ours(..), _) => {}
        }
    }
}

async fn raw_piece<'a>(
    session: &'a mut HttpSession,
    last: &'a mut Bytes,
    pulse: &Pulse,
) -> pingora::Result<Option<&'a [u8]>> {
    let piece = match session {
        HttpSession::H1(http1) => http1.read_body_ref().await?,
        other => match other.read_response_body().await? {
            Some(piece) => {
                *last = piece;
                Some(&**last)
            }
            None => None,
        },
    };
    pulse.beat();
    Ok(piece)
}

async fn unpacked_piece<'a>(
    session: &mut HttpSession,
    last: &mut Bytes,
    pulse: &Pulse,
    packed: &'a mut Packed,
) -> pingora::Result<Option<&'a [u8]>> {
    let garbled = || Error::new(ErrorType::ReadError);
    let Packed::Known(unpacker) = packed else {
        return Err(garbled());
    };
    while !unpacker.step().map_err(|_| garbled())? {
        match raw_piece(session, last, pulse).await? {
            Some(piece) => unpacker.feed(piece),
            None if unpacker.is_whole() => return Ok(None),
            None => return Err(garbled()),
        }
    }
    Ok(Some(unpacker.out()))
}
