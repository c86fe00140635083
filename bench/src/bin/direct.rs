//! Recipe (c): the whole attempt inside `request_filter`, over a client session of Pingora's, in one
//! task and without channels.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use http::header;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora_proxy::{ProxyHttp, Session};
use remuda_bench::corked;
use remuda_bench::server::{Flags, Rotation};

/// Most pieces of an answer that are written together.
const TOGETHER: usize = 64;

/// A pass-through that makes its attempt inside `request_filter`.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    server: Flags,
    /// Whose upstream connections are used.
    #[arg(long, value_enum, default_value = "pingora")]
    connections: Connections,
}

#[derive(Clone, Copy, ValueEnum)]
enum Connections {
    /// Pingora's connector and its shared pool.
    Pingora,
    /// Head and body in one write, pooled per thread.
    Corked,
}

struct Direct {
    rotation: Rotation,
    connector: Connector,
    connections: Connections,
}

#[async_trait]
impl ProxyHttp for Direct {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let body = read_body(session).await?;
        let head = upstream_head(session, body.len())?;
        let address = self.rotation.pick();
        match self.connections {
            Connections::Pingora => {
                let peer = HttpPeer::new(address, false, String::new());
                let (mut upstream, _reused) = self.connector.get_http_session(&peer).await?;
                exchange(session, &mut upstream, head, body).await?;
                self.connector
                    .release_http_session(upstream, &peer, None)
                    .await;
            }
            Connections::Corked => {
                let (connection, _reused) = corked::obtain(address).await.map_err(connect_error)?;
                let mut upstream = HttpSession::H1(Http1Session::new(connection));
                exchange(session, &mut upstream, head, body).await?;
                keep(address, upstream).await;
            }
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Error::e_explain(InternalError, "request_filter answers every request")
    }
}

fn connect_error(error: io::Error) -> Box<Error> {
    Error::because(ConnectError, "connecting to the upstream", error)
}

async fn keep(address: SocketAddr, upstream: HttpSession) {
    let HttpSession::H1(mut upstream) = upstream else {
        return;
    };
    upstream.respect_keepalive();
    if let Some(connection) = upstream.reuse().await {
        corked::release(address, connection);
    }
}

async fn read_body(session: &mut Session) -> Result<Bytes> {
    let Some(first) = session.read_request_body().await? else {
        return Ok(Bytes::new());
    };
    if session.is_body_done() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(piece) = session.read_request_body().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

fn upstream_head(session: &Session, body: usize) -> Result<Box<RequestHeader>> {
    let mut head = session.req_header().clone();
    head.remove_header(&header::CONNECTION);
    if head.remove_header(&header::TRANSFER_ENCODING).is_some() {
        head.insert_header(header::CONTENT_LENGTH, body)?;
    }
    Ok(Box::new(head))
}

async fn exchange(
    session: &mut Session,
    upstream: &mut HttpSession,
    head: Box<RequestHeader>,
    body: Bytes,
) -> Result<()> {
    upstream.write_request_header(head).await?;
    upstream.write_request_body(body, true).await?;
    upstream.finish_request_body().await?;
    upstream.read_response_header().await?;
    let head = upstream
        .response_header()
        .expect("the head has been read")
        .clone();
    let first = HttpTask::Header(Box::new(head), upstream.response_done());
    relay(session, upstream, first).await
}

/// Moves the answer, until it ends or the client goes. A short answer is written with its head, and
/// chunks that are there already are written together.
async fn relay(session: &mut Session, upstream: &mut HttpSession, first: HttpTask) -> Result<()> {
    let mut tasks = vec![first];
    loop {
        let piece = tokio::select! {
            biased;
            piece = upstream.read_response_body() => piece?,
            gone = session.downstream_session.read_body_or_idle(true) => {
                return gone.and_then(|_| Error::e_explain(ReadError, "data after the request"));
            }
        };
        let mut done = upstream.response_done();
        tasks.push(HttpTask::Body(piece, done));
        while !done && tasks.len() < TOGETHER {
            let Some(piece) = at_once(upstream.read_response_body()).await else {
                break;
            };
            done = upstream.response_done();
            tasks.push(HttpTask::Body(piece?, done));
        }
        session
            .write_response_tasks(std::mem::take(&mut tasks))
            .await?;
        if done {
            return Ok(());
        }
    }
}

/// The outcome of a future that needs no waiting. It is polled once and dropped, so it must be
/// cancel-safe.
async fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(tokio::task::unconstrained(future));
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

fn main() {
    let Command {
        server,
        connections,
    } = Command::parse();
    server.run(|| Direct {
        rotation: Rotation::new(server.upstream.clone()),
        connector: Connector::new(Some(ConnectorOptions::from_server_conf(
            &server.server_conf(),
        ))),
        connections,
    })
}
