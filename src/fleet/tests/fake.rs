//! A server that answers as Ollama's listing routes do, or fails to in a chosen way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How a fake server behaves.
#[derive(Clone, Debug)]
pub(super) enum Mood {
    /// Lists these models, with the first one loaded.
    Has(&'static [&'static str]),
    /// Accepts connections and says nothing.
    Silent,
    /// Says nothing to the question for its models, and 404 to all others.
    Slow,
    /// Accepts connections and closes them.
    Closes,
    /// Answers everything with this status and body.
    Says(u16, String),
    /// Answers each path and query with a body, and others with 404.
    Lists(&'static [(&'static str, &'static str)]),
}

/// A fake server; its port is closed when this is dropped.
pub(super) struct Fake {
    pub(super) addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    mood: Mutex<Mood>,
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// An address of this machine on which no other test listens.
pub(super) fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(
        127,
        high,
        low,
        NEXT.fetch_add(1, Ordering::Relaxed),
    ))
}

impl Fake {
    pub(super) async fn start(mood: Mood) -> Self {
        Self::start_at(SocketAddr::new(own_address(), 0), mood).await
    }

    pub(super) async fn start_at(addr: SocketAddr, mood: Mood) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            mood: Mutex::new(mood),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { addr, state, task }
    }

    pub(super) fn set(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Acquire)
    }

    /// Request heads received so far, in lower case.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Closes the port and all connections.
    pub(super) async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.addr
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::AcqRel);
        connections.spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        if matches!(*state.mood.lock().unwrap(), Mood::Closes) {
            return Ok(());
        }
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        state.requests.lock().unwrap().push(head.to_lowercase());
        let mood = state.mood.lock().unwrap().clone();
        let (status, body) = match mood {
            Mood::Has(models) => answer(&path, models),
            Mood::Says(status, body) => (status, body),
            Mood::Lists(pages) => match pages.iter().find(|(page, _)| *page == path) {
                Some((_, body)) => (200, (*body).to_owned()),
                None => (404, "{}".to_owned()),
            },
            Mood::Closes => return Ok(()),
            Mood::Slow if !path.ends_with("/models") => (404, "{}".to_owned()),
            Mood::Silent | Mood::Slow => {
                std::future::pending::<()>().await;
                return Ok(());
            }
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} Any\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn answer(path: &str, models: &[&str]) -> (u16, String) {
    let list = |models: &[&str]| {
        let entry = |name: &&str| {
            format!(
                r#"{{"name":"{name}","model":"{name}","size":7,"size_vram":5,"digest":"ab",
                "modified_at":"2026-05-04T00:00:00Z","expires_at":"2026-05-04T00:05:00Z"}}"#
            )
        };
        let entries: Vec<_> = models.iter().map(entry).collect();
        (200, format!(r#"{{"models":[{}]}}"#, entries.join(",")))
    };
    match path {
        "/api/tags" => list(models),
        "/api/ps" => list(&models[..models.len().min(1)]),
        "/api/version" => (200, r#"{"version":"0.33.0"}"#.to_owned()),
        _ => (404, "404 page not found".to_owned()),
    }
}
