//! Recipe (b): the attempt is a Pingora subrequest, pumped by its parent, either in a task of its own
//! or polled by the parent.

use std::future::Future;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use clap::Parser;
use http::header;
use pingora::prelude::*;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::subrequest::server::SubrequestHandle;
use pingora_proxy::subrequest::{BodyMode, Ctx};
use pingora_proxy::{ProxyHttp, Session};
use remuda_bench::server::{Flags, Rotation};

/// A pass-through that makes its attempt as a subrequest.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    server: Flags,
    /// Poll the subrequest in its parent's task instead of spawning it.
    #[arg(long)]
    inline: bool,
}

struct Subrequest {
    rotation: Rotation,
    inline: bool,
}

#[async_trait]
impl ProxyHttp for Subrequest {
    type CTX = ();
    fn new_ctx(&self) {}

    fn allow_spawning_subrequest(&self, session: &Session, _ctx: &()) -> bool {
        session.subrequest_ctx.is_none()
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        if session.subrequest_ctx.is_some() {
            return Ok(false);
        }
        let body = read_body(session).await?;
        if session
            .req_header_mut()
            .remove_header(&header::TRANSFER_ENCODING)
            .is_some()
        {
            session
                .req_header_mut()
                .insert_header(header::CONTENT_LENGTH, body.len())?;
        }
        let spawner = session
            .subrequest_spawner
            .as_ref()
            .expect("parents may spawn subrequests");
        let mode = match body.len() {
            0 => BodyMode::NoBody,
            _ => BodyMode::ExpectBody,
        };
        let ctx = Ctx::builder().body_mode(mode).build();
        let (prepared, handle) = spawner.create_subrequest(session.as_ref(), ctx);
        if body.is_empty() {
            // The child reads no body; nothing is sent.
        } else {
            handle
                .tx
                .try_send(HttpTask::Body(Some(body), true))
                .or_err(InternalError, "a new subrequest's channel has room")?;
        }
        if self.inline {
            pump(session, handle, prepared.run()).await?;
        } else {
            let child = tokio::spawn(prepared.run());
            let outcome = pump(session, handle, std::future::pending()).await;
            if outcome.is_err() {
                child.abort();
            }
            outcome?;
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let peer = HttpPeer::new(self.rotation.pick(), false, String::new());
        Ok(Box::new(peer))
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

/// Writes what the child produces until it ends, fails, or the client goes.
async fn pump(
    session: &mut Session,
    handle: SubrequestHandle,
    child: impl Future<Output = ()>,
) -> Result<()> {
    let SubrequestHandle {
        mut rx,
        mut subreq_proxy_error,
        tx: _tx,
        subreq_wants_body: _wants_body,
    } = handle;
    let mut child = std::pin::pin!(child);
    let mut running = true;
    let mut may_fail = true;
    loop {
        tokio::select! {
            biased;
            () = &mut child, if running => running = false,
            task = rx.recv() => {
                let Some(task) = task else { break };
                let mut tasks = vec![task];
                while let Ok(task) = rx.try_recv() {
                    tasks.push(task);
                }
                if session.write_response_tasks(tasks).await? {
                    break;
                }
            }
            error = &mut subreq_proxy_error, if may_fail => match error {
                Ok(error) => return Err(error),
                Err(_) => may_fail = false,
            },
            gone = session.downstream_session.read_body_or_idle(true) => {
                return gone.and_then(|_| Error::e_explain(ReadError, "data after the request"));
            }
        }
    }
    if running {
        drain(child, rx).await;
    }
    Ok(())
}

/// Lets an inline child end in order, so that its connection returns to the pool.
async fn drain(
    child: std::pin::Pin<&mut impl Future<Output = ()>>,
    mut rx: tokio::sync::mpsc::Receiver<HttpTask>,
) {
    let emptied = async { while rx.recv().await.is_some() {} };
    tokio::select! {
        () = child => {}
        () = emptied => {}
    }
}

fn main() {
    let Command { server, inline } = Command::parse();
    server.run(|| Subrequest {
        rotation: Rotation::new(server.upstream.clone()),
        inline,
    })
}
