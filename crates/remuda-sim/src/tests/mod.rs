//! The simulation as its clients see it, over real connections.

mod doors;
mod faults;
mod fleet;
mod inference;
mod models;
mod openai;
mod scheduling;
mod transcripts;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fault, Machine, Model, Options, Running, Stats};

/// A simulation of one machine that delays nothing, with `models` on its disk.
async fn fast(models: &str) -> Running {
    with(models, |_| {}).await
}

async fn with(models: &str, change: impl FnOnce(&mut Options)) -> Running {
    let mut options = Options {
        models: vec![
            models
                .split(',')
                .map(|name| Model::parse(name).unwrap())
                .collect(),
        ],
        machine: Machine::instant(),
        ..Options::default()
    };
    change(&mut options);
    super::start(options).await.unwrap()
}

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

/// A response, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// NDJSON, every line of which ends in a line feed.
    fn lines(&self) -> Vec<Value> {
        assert!(self.text().ends_with('\n'));
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn content_type(&self) -> &str {
        self.headers["content-type"].to_str().unwrap()
    }

    fn error(&self) -> (u16, String) {
        let text = self.json()["error"].as_str().unwrap().to_owned();
        (self.status.as_u16(), text)
    }
}

/// One request on a connection of its own; fails where the connection does.
async fn try_call(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: &str,
) -> Result<Answer, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "sim")
        .body(Full::new(Bytes::from(body.to_owned())))?;
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    drop(sender);
    let _ = connection.await;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

async fn call(running: &Running, method: Method, path: &str, body: &str) -> Answer {
    try_call(running.addresses()[0], method, path, body)
        .await
        .unwrap()
}

async fn get(running: &Running, path: &str) -> Answer {
    call(running, Method::GET, path, "").await
}

async fn post(running: &Running, path: &str, body: &str) -> Answer {
    call(running, Method::POST, path, body).await
}

/// Sends a request and reads nothing of the answer.
async fn begin(running: &Running, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(running.addresses()[0]).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads to the end of the connection, however it ends.
async fn read_all(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let result = stream.read_to_end(&mut bytes).await;
    (bytes, result.map(|_| ()))
}

/// Returns once the server's counters satisfy `condition`.
async fn until(running: &Running, condition: impl Fn(&Stats) -> bool) {
    let wait = async {
        while !condition(&running.stats()[0]) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("the condition holds within ten seconds");
}

const CHAT: &str = r#"{"model":"llama3.2","messages":[{"role":"user","content":"hi"}]}"#;
