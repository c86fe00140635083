//! The control routes: faults in, counters out, servers down and up.
//!
//! They answer on a listener of their own, and under `/sim/` on every server that listens.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::body::collect;
use super::fault::Fault;
use super::fleet::Fleet;
use super::reply::{Refusal, Reply, ok, text};
use super::server::Server;

/// Serves the control routes until the task is dropped.
pub(super) async fn listen(
    fleet: Arc<Fleet>,
    address: SocketAddr,
) -> io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                continue;
            };
            let fleet = fleet.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| serve(fleet.clone(), request));
                // A client that breaks off has its answer or does not want it.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok((address, task))
}

async fn serve(
    fleet: Arc<Fleet>,
    request: Request<hyper::body::Incoming>,
) -> Result<Reply, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let Some(body) = collect(body).await else {
        return Ok(Refusal::bad("the body broke off").reply());
    };
    Ok(answer(&fleet, None, &head.method, head.uri, &body).await)
}

/// Which servers a command is for; none named is all, or the one that was asked.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Target {
    port: Option<u16>,
    ports: Vec<u16>,
}

/// One fault or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Faults {
    Several(Vec<serde_json::Value>),
    One(serde_json::Value),
}

/// Answers a control request; `port` is the server that it came to, if it came to one.
pub(super) async fn answer(
    fleet: &Fleet,
    port: Option<u16>,
    method: &Method,
    target: Uri,
    body: &[u8],
) -> Reply {
    let result = match (method, target.path()) {
        (&Method::GET, "/sim/stats") => stats(fleet, target.query()),
        (&Method::POST, "/sim/fault") => faults(fleet, port, body),
        (&Method::DELETE, "/sim/fault") => on_servers(fleet, port, body, |server| {
            server.faults.clear();
            Ok(())
        }),
        (&Method::POST, "/sim/reset") => on_servers(fleet, port, body, Server::reset),
        (&Method::POST, "/sim/start") => on_servers(fleet, port, body, Server::open),
        (&Method::POST, command @ ("/sim/stop" | "/sim/restart")) => {
            take_down(fleet, port, body, command == "/sim/restart").await
        }
        _ => Ok(text(StatusCode::NOT_FOUND, HELP)),
    };
    result.unwrap_or_else(|refusal| refusal.reply())
}

const HELP: &str = "\
GET    /sim/stats[?port=N]  what the servers have seen
POST   /sim/fault           {\"kind\":\"status\",\"status\":503,\"times\":2,\"route\":\"/api/chat\",\"port\":24000}
DELETE /sim/fault           no more faults
POST   /sim/reset           no faults, counters at 0, all servers up
POST   /sim/stop            {\"port\":24000}: the server dies
POST   /sim/start           {\"port\":24000}: it comes back
POST   /sim/restart         {\"port\":24000}: it dies and comes back
";

fn stats(fleet: &Fleet, query: Option<&str>) -> Result<Reply, Refusal> {
    let port = query.and_then(|query| query.strip_prefix("port="));
    let ports: Vec<u16> = match port.map(str::parse) {
        None => Vec::new(),
        Some(Ok(port)) => vec![port],
        Some(Err(_)) => return Err(Refusal::bad("`port` is a number")),
    };
    let servers: Vec<_> = fleet
        .chosen(&ports)
        .iter()
        .map(|server| server.stats())
        .collect();
    Ok(ok(&json!({ "servers": servers })))
}

fn faults(fleet: &Fleet, port: Option<u16>, body: &[u8]) -> Result<Reply, Refusal> {
    let bad = |error: serde_json::Error| Refusal::bad(error.to_string());
    let written = match serde_json::from_slice(body).map_err(bad)? {
        Faults::Several(list) => list,
        Faults::One(fault) => vec![fault],
    };
    let mut faults = Vec::with_capacity(written.len());
    for value in written {
        let mut fault: Fault = serde_json::from_value(value).map_err(bad)?;
        if fault.ports.is_empty() {
            fault.ports.extend(port);
        }
        faults.push(fault);
    }
    for fault in &faults {
        fleet.inject(fault);
    }
    Ok(ok(&json!({ "faults": faults.len() })))
}

fn ports(port: Option<u16>, body: &[u8]) -> Result<Vec<u16>, Refusal> {
    let target: Target = match body {
        [] => Target::default(),
        body => serde_json::from_slice(body).map_err(|error| Refusal::bad(error.to_string()))?,
    };
    let mut ports = target.ports;
    ports.extend(target.port);
    if ports.is_empty() {
        ports.extend(port);
    }
    Ok(ports)
}

fn on_servers(
    fleet: &Fleet,
    port: Option<u16>,
    body: &[u8],
    command: impl Fn(&Arc<Server>) -> io::Result<()>,
) -> Result<Reply, Refusal> {
    let ports = ports(port, body)?;
    let servers = fleet.chosen(&ports);
    for server in &servers {
        command(server).map_err(|error| Refusal::internal(error.to_string()))?;
    }
    Ok(ok(&json!({ "servers": servers.len() })))
}

async fn take_down(
    fleet: &Fleet,
    port: Option<u16>,
    body: &[u8],
    and_up: bool,
) -> Result<Reply, Refusal> {
    let ports = ports(port, body)?;
    let servers = fleet.chosen(&ports);
    for server in &servers {
        server.die().await;
        if and_up {
            server
                .open()
                .map_err(|error| Refusal::internal(error.to_string()))?;
        }
    }
    Ok(ok(&json!({ "servers": servers.len() })))
}
