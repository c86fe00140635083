//! What stands between the accept loop and Pingora's proxy: a place for each connection, within the bounds on their number,
//! and around each of them the bounds on request heads (slow-loris), which Pingora sets per read only, and not at all until
//! it has told HTTP/1 from HTTP/2.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::{Shutdown, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncWriteExt;

use crate::metrics::Metrics;
use crate::proxy::listener::guarded::{Bounds, Guarded};
use crate::proxy::listener::places::{Full, Place, Places};
use crate::proxy::response_body::unsent::Unsent;

const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 75\r\nRetry-After: 1\r\n\
    Connection: close\r\n\r\n{\"error\":\"too many open connections; raise server.max_connections or wait\"}";
const TOO_MANY_OF_ONE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 117\r\nRetry-After: 1\r\n\
    Connection: close\r\n\r\n{\"error\":\"too many open connections of this address; \
    raise server.max_connections_per_address or close some of them\"}";

/// How long a client that gets no place may take to be told so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Hands accepted connections to `app`, within [`Bounds`] and as many as there are [`Places`].
pub struct Gate<A> {
    app: Arc<A>,
    bounds: Bounds,
    places: Arc<Places>,
    unsent: Arc<Unsent>,
    metrics: Arc<Metrics>,
}

impl<A> Gate<A> {
    pub fn new(
        app: A,
        bounds: Bounds,
        places: Arc<Places>,
        unsent: Arc<Unsent>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            app: Arc::new(app),
            bounds,
            places,
            unsent,
            metrics,
        }
    }
}

/// One open connection, which counts itself out when it is dropped.
struct Open {
    metrics: Arc<Metrics>,
    _place: Place,
}

impl Open {
    fn enter<A>(gate: &Gate<A>, client: Option<IpAddr>) -> Result<Self, Full> {
        let place = gate.places.take(client)?;
        gate.metrics.downstream.connections.inc();
        Ok(Open {
            metrics: Arc::clone(&gate.metrics),
            _place: place,
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.downstream.connections.dec();
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Gate<A> {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let digest = stream.get_socket_digest();
        let client = client_address(digest.as_ref().and_then(|digest| digest.peer_addr()));
        let _open = match Open::enter(self, client) {
            Ok(open) => open,
            Err(full) => {
                self.metrics.downstream.rejected_connections.inc();
                let told = tokio::time::timeout(FAREWELL, farewell(&mut stream, full));
                // The client may be gone already; there is nobody to tell.
                let _ = told.await;
                return None;
            }
        };
        let mut next: Stream = Box::new(Guarded::new(stream, self.bounds, &self.unsent));
        // Pingora hands a reusable connection back for its next request.
        loop {
            next = self.app.process_new(next, shutdown).await?;
        }
    }

    async fn cleanup(&self) {
        self.app.cleanup().await;
    }
}

/// Tells a client why there is no place for it, and ends its connection.
async fn farewell(stream: &mut Stream, full: Full) {
    let answer = match full {
        Full::All => TOO_MANY_CONNECTIONS,
        Full::Address => TOO_MANY_OF_ONE,
    };
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    Shutdown::shutdown(&mut **stream).await;
}

/// Returns the client's address, one of IPv4 also where it came through an IPv6 socket; Unix sockets have none.
pub(crate) fn client_address(address: Option<&SocketAddr>) -> Option<IpAddr> {
    let address = address?.as_inet()?;
    Some(address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_address_through_either_socket() {
        for (came, address) in [
            ("[::ffff:10.0.0.9]:5", "10.0.0.9"),
            ("10.0.0.9:5", "10.0.0.9"),
            ("[2001:db8::1]:5", "2001:db8::1"),
        ] {
            let came = SocketAddr::Inet(came.parse().unwrap());
            assert_eq!(client_address(Some(&came)), address.parse().ok());
        }
        assert_eq!(client_address(None), None);
    }

    #[test]
    fn refusals_state_their_length() {
        for answer in [TOO_MANY_CONNECTIONS, TOO_MANY_OF_ONE] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{text}"
            );
        }
    }
}
