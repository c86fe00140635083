//! An HTTP/1.1 client that hides nothing: where pieces begin and end, and whether a body came to its end.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::in_time;

/// A client's connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Read and not yet consumed.
    buffer: Vec<u8>,
    framing: Framing,
}

/// The status line and headers of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

/// What the body goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A chunk, or what one read gave of a body with a length.
    Bytes(Vec<u8>),
    /// The body's proper end.
    End,
    /// The connection ended before the body did.
    Broken,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As its framing says: the last chunk, or its length.
    Whole,
    /// Before that.
    Short,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = in_time("a connection", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("{address}: {error}"));
        Self::of(stream)
    }

    /// A connection that was made elsewhere.
    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            framing: Framing::Length(0),
        }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        in_time("room to send", self.stream.write_all(bytes))
            .await
            .unwrap();
    }

    /// As [`Self::send`], where the other side may have closed.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        let sent = in_time("room to send", self.stream.write_all(bytes)).await;
        sent.is_ok()
    }

    /// Sends a request with a body of known length.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let mut bytes = request_head(method, path, headers);
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        self.send(&bytes).await;
    }

    /// Sends a request whose body goes out in chunks of `chunk` bytes.
    pub(crate) async fn request_chunked(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        chunk: usize,
    ) {
        let mut head = request_head("POST", path, headers);
        head.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        self.send(&head).await;
        for piece in body.chunks(chunk) {
            self.send(format!("{:x}\r\n", piece.len()).as_bytes()).await;
            self.send(piece).await;
            self.send(b"\r\n").await;
        }
        self.send(b"0\r\n\r\n").await;
    }

    /// The head of the next answer; panics if the connection ends before it.
    pub(crate) async fn head(&mut self) -> Head {
        self.try_head().await.expect("an answer before the end")
    }

    /// The head of the next answer; `None` if the connection ends before it.
    pub(crate) async fn try_head(&mut self) -> Option<Head> {
        let end = loop {
            match find(&self.buffer, b"\r\n\r\n") {
                Some(end) => break end,
                None if self.more().await => {}
                None => return None,
            }
        };
        let bytes: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = parse_head(std::str::from_utf8(&bytes).unwrap());
        self.framing = framing(&head);
        Some(head)
    }

    /// The next piece of the body.
    pub(crate) async fn piece(&mut self) -> Piece {
        match self.framing {
            Framing::Chunked => self.chunk().await,
            Framing::Length(0) => Piece::End,
            Framing::Length(left) => {
                if self.buffer.is_empty() && !self.more().await {
                    return Piece::Broken;
                }
                let count = left.min(self.buffer.len());
                self.framing = Framing::Length(left - count);
                Piece::Bytes(self.buffer.drain(..count).collect())
            }
            Framing::UntilClose => {
                if self.buffer.is_empty() && !self.more().await {
                    Piece::End
                } else {
                    Piece::Bytes(std::mem::take(&mut self.buffer))
                }
            }
        }
    }

    /// The rest of the body, and how it ended.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, Ending) {
        let mut body = Vec::new();
        loop {
            match self.piece().await {
                Piece::Bytes(bytes) => body.extend_from_slice(&bytes),
                Piece::End => return (body, Ending::Whole),
                Piece::Broken => return (body, Ending::Short),
            }
        }
    }

    /// Reads a whole answer.
    pub(crate) async fn reply(&mut self) -> Reply {
        self.reply_to("GET").await
    }

    /// Reads a whole answer to such a request; one to `HEAD` states the length of what it does not have.
    pub(crate) async fn reply_to(&mut self, method: &str) -> Reply {
        let head = self.head().await;
        if method == "HEAD" {
            self.framing = Framing::Length(0);
        }
        let (body, ending) = self.rest().await;
        Reply {
            status: head.status,
            headers: head.headers,
            body,
            ending,
        }
    }

    /// Waits for the next line of a streamed body and all before it.
    pub(crate) async fn body_until(&mut self, needle: &str) -> Vec<u8> {
        let mut body = Vec::new();
        while find(&body, needle.as_bytes()).is_none() {
            match self.piece().await {
                Piece::Bytes(bytes) => body.extend_from_slice(&bytes),
                end => panic!(
                    "{end:?} before {needle:?}: {}",
                    String::from_utf8_lossy(&body)
                ),
            }
        }
        body
    }

    /// Ends this side of the connection; the other may go on.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves by RST instead of FIN.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    async fn chunk(&mut self) -> Piece {
        let end = loop {
            match find(&self.buffer, b"\r\n") {
                Some(end) => break end,
                None if self.more().await => {}
                None => return Piece::Broken,
            }
        };
        let size = std::str::from_utf8(&self.buffer[..end]).unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16)
            .unwrap_or_else(|error| panic!("{error}: {size:?}"));
        while self.buffer.len() < end + 2 + size + 2 {
            if !self.more().await {
                return Piece::Broken;
            }
        }
        let data = self.buffer[end + 2..end + 2 + size].to_vec();
        assert_eq!(&self.buffer[end + 2 + size..end + 4 + size], b"\r\n");
        self.buffer.drain(..end + 4 + size);
        if size == 0 {
            self.framing = Framing::Length(0);
            return Piece::End;
        }
        Piece::Bytes(data)
    }

    /// Reads more; false at the end of the connection, by FIN or by RST.
    async fn more(&mut self) -> bool {
        let read = in_time("more of an answer", self.stream.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|count| count > 0)
    }
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The lines of a body that is NDJSON; see [`super::lines`].
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        super::lines(&self.body)
    }
}

/// `GET` on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    request(address, "GET", path, &[], b"").await
}

/// `POST` on a connection of its own.
pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> Reply {
    request(address, "POST", path, &[], body.as_bytes()).await
}

/// Any request on a connection of its own.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut connection = Connection::open(address).await;
    connection.request(method, path, headers, body).await;
    connection.reply_to(method).await
}

fn request_head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.into_bytes()
}

fn parse_head(text: &str) -> Head {
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    Head {
        status: status.parse().unwrap(),
        headers: lines
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect(),
    }
}

fn framing(head: &Head) -> Framing {
    let length = head
        .header("content-length")
        .map(|text| text.parse().unwrap());
    match (head.header("transfer-encoding"), length) {
        (Some("chunked"), None) => Framing::Chunked,
        (None, Some(length)) => Framing::Length(length),
        (None, None) if matches!(head.status, 100..=199 | 204 | 304) => Framing::Length(0),
        (None, None) => Framing::UntilClose,
        other => panic!("ambiguous framing: {other:?}"),
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(own, _)| own == name)
        .map(|(_, value)| value.as_str())
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}
