//! A server of the test's own that passes probes and otherwise sends exactly the bytes it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::eventually;

/// One thing that a scripted answer does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Writes these bytes one to a packet.
    Trickle(Vec<u8>),
    Pause(Duration),
    /// Waits for a permit, which it takes.
    Until(Arc<Semaphore>),
    /// Waits until the peer closes, and notes when that was.
    Hold,
    /// Ends the connection by FIN.
    Close,
    /// Ends the connection by RST.
    Reset,
}

/// A request that is not a probe.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Counted from 0 over the whole server.
    pub(crate) number: usize,
    /// Counted from 0 over the connection.
    pub(crate) on_connection: usize,
    pub(crate) at: Instant,
    /// Head as it came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

type Script = dyn Fn(&Asked) -> Vec<Step> + Send + Sync;

/// A server that has the model `scripted`, loaded.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    /// When the peer closed a connection that was held.
    left: Vec<Instant>,
    probes: usize,
    /// Probes are read and not answered.
    deaf: bool,
}

impl Upstream {
    /// Answers every request that is not a probe with the steps of `script`; the connection stays open after them.
    pub(crate) async fn start(
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::listing(["0.33.0", TAGS, PS], script).await
    }

    /// As [`Self::start`], of a server with that version, that says this of its models and of those in memory.
    pub(crate) async fn listing(
        [version, tags, ps]: [&str; 3],
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let version = format!(r#"{{"version":"{version}"}}"#);
        let pages = Arc::new([version, tags.to_owned(), ps.to_owned()]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let (script, shared): (Arc<Script>, _) = (Arc::new(script), seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, pages.clone(), script.clone(), shared.clone()));
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().asked.clone()
    }

    /// The request with this number, as soon as it has come.
    pub(crate) async fn asked_for(&self, number: usize) -> Asked {
        eventually(&format!("request {number}"), || async {
            let asked = self.asked();
            asked.get(number).cloned().ok_or(asked.len())
        })
        .await
    }

    /// Whether probes are left without an answer from now on.
    pub(crate) fn deaf(&self, deaf: bool) {
        self.seen.lock().unwrap().deaf = deaf;
    }

    /// Requests of probes so far.
    pub(crate) fn probes(&self) -> usize {
        self.seen.lock().unwrap().probes
    }

    /// When peers closed connections that were held.
    pub(crate) fn left(&self) -> Vec<Instant> {
        self.seen.lock().unwrap().left.clone()
    }
}

impl Asked {
    /// A header of the request.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) const TAGS: &str = r#"{"models":[{"name":"scripted:latest","model":"scripted:latest","modified_at":"2026-01-02T03:04:05Z","size":1000,"digest":"aa","details":{"format":"gguf","family":"llama","families":["llama"],"parameter_size":"1B","quantization_level":"Q4_0"}}]}"#;
pub(super) const PS: &str = r#"{"models":[{"name":"scripted:latest","model":"scripted:latest","size":1000,"digest":"aa","details":{"format":"gguf","family":"llama","families":["llama"],"parameter_size":"1B","quantization_level":"Q4_0"},"expires_at":"2318-01-02T03:04:05Z","size_vram":1000}]}"#;

async fn serve(
    mut stream: TcpStream,
    pages: Arc<[String; 3]>,
    script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
) {
    let mut buffer = Vec::new();
    let mut on_connection = 0;
    while let Some((head, body)) = read_request(&mut stream, &mut buffer).await {
        let probe = match head.split(' ').nth(1) {
            Some("/api/version") => Some(&pages[0]),
            Some("/api/tags") => Some(&pages[1]),
            Some("/api/ps") => Some(&pages[2]),
            _ => None,
        };
        if let Some(answer) = probe {
            let deaf = {
                let mut seen = seen.lock().unwrap();
                seen.probes += 1;
                seen.deaf
            };
            if deaf {
                continue;
            }
            let answer = json(200, answer);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            continue;
        }
        let asked = {
            let mut seen = seen.lock().unwrap();
            let number = seen.asked.len();
            let asked = Asked {
                number,
                on_connection,
                at: Instant::now(),
                head,
                body,
            };
            seen.asked.push(asked.clone());
            asked
        };
        on_connection += 1;
        for step in script(&asked) {
            if !play(&mut stream, step, &seen).await {
                return;
            }
        }
    }
}

/// Takes one step; false when the connection is over.
async fn play(stream: &mut TcpStream, step: Step, seen: &Mutex<Seen>) -> bool {
    match step {
        Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
        Step::Trickle(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                // The reader gets its turn, so that what it reads is this byte alone.
                tokio::task::yield_now().await;
            }
            true
        }
        Step::Pause(time) => {
            tokio::time::sleep(time).await;
            true
        }
        Step::Until(gate) => {
            gate.acquire().await.unwrap().forget();
            true
        }
        Step::Hold => {
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
            seen.lock().unwrap().left.push(Instant::now());
            false
        }
        Step::Close => false,
        Step::Reset => {
            stream.set_zero_linger().unwrap();
            false
        }
    }
}

/// A request's head and body; `None` when the connection ends before it.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = loop {
        match memchr::memmem::find(buffer, b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => read_more(stream, buffer).await?,
        }
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    Some((head, buffer.drain(..length).collect()))
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(buffer).await.ok()?;
    (count > 0).then_some(())
}

/// A JSON answer of known length.
pub(crate) fn json(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head of a chunked NDJSON stream, as Ollama's.
pub(crate) const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nDate: Fri, 02 Jan 2026 03:04:05 GMT\r\nTransfer-Encoding: chunked\r\n\r\n";

/// `data` as one chunk.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
