//! A fake Ollama server that costs as little as possible: it knows one model, always has it loaded,
//! and answers without reading the prompt.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Parser;
use remuda_bench::framing::{self, BodyCounter};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// A fast fake Ollama server.
#[derive(Parser)]
struct Command {
    /// Ports to listen on, one simulated server each.
    #[arg(long, value_delimiter = ',', required = true)]
    ports: Vec<u16>,
    /// Lines of a stream, unless the request's `x-bench-lines` says otherwise.
    #[arg(long, default_value_t = 32)]
    lines: u64,
}

const VERSION: &[u8] = br#"{"version":"0.33.0"}"#;
const TAGS: &[u8] = br#"{"models":[{"name":"llama3.2:latest","model":"llama3.2:latest","modified_at":"2026-01-02T03:04:05Z","size":2019393189,"digest":"a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"},"capabilities":["completion","tools"]}]}"#;
const LOADED: &[u8] = br#"{"models":[{"name":"llama3.2:latest","model":"llama3.2:latest","size":3000000000,"digest":"a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"},"expires_at":"2318-01-01T00:00:00Z","size_vram":3000000000,"context_length":4096}]}"#;
const CHAT: &[u8] = br#"{"model":"llama3.2","created_at":"2026-01-02T03:04:05.1Z","message":{"role":"assistant","content":"The quick brown fox jumps."},"done":true,"done_reason":"stop","total_duration":5043500667,"load_duration":5025959,"prompt_eval_count":26,"prompt_eval_duration":325953000,"eval_count":6,"eval_duration":4709213000}"#;
const CHAT_LINE: &[u8] = b"{\"model\":\"llama3.2\",\"created_at\":\"2026-01-02T03:04:05.1Z\",\"message\":{\"role\":\"assistant\",\"content\":\" fox\"},\"done\":false}\n";
const CHAT_END: &[u8] = b"{\"model\":\"llama3.2\",\"created_at\":\"2026-01-02T03:04:05.2Z\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":5043500667,\"load_duration\":5025959,\"prompt_eval_count\":26,\"prompt_eval_duration\":325953000,\"eval_count\":6,\"eval_duration\":4709213000}\n";
const GENERATE: &[u8] = br#"{"model":"llama3.2","created_at":"2026-01-02T03:04:05.1Z","response":"The quick brown fox jumps.","done":true,"done_reason":"stop","context":[1,2,3],"total_duration":5043500667,"load_duration":5025959,"prompt_eval_count":26,"prompt_eval_duration":325953000,"eval_count":6,"eval_duration":4709213000}"#;
const GENERATE_LINE: &[u8] = b"{\"model\":\"llama3.2\",\"created_at\":\"2026-01-02T03:04:05.1Z\",\"response\":\" fox\",\"done\":false}\n";
const GENERATE_END: &[u8] = b"{\"model\":\"llama3.2\",\"created_at\":\"2026-01-02T03:04:05.2Z\",\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"total_duration\":5043500667,\"load_duration\":5025959,\"prompt_eval_count\":26,\"prompt_eval_duration\":325953000,\"eval_count\":6,\"eval_duration\":4709213000}\n";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Answers, framed once at the start.
struct Answers {
    version: Vec<u8>,
    tags: Vec<u8>,
    loaded: Vec<u8>,
    root: Vec<u8>,
    missing: Vec<u8>,
    chat: Vec<u8>,
    generate: Vec<u8>,
    chat_stream: Lines,
    generate_stream: Lines,
    lines: u64,
}

/// The chunks of a stream, framed.
struct Lines {
    line: Vec<u8>,
    end: Vec<u8>,
}

impl Answers {
    fn new(lines: u64) -> Self {
        const JSON: &str = "application/json; charset=utf-8";
        Answers {
            version: whole("200 OK", JSON, VERSION),
            tags: whole("200 OK", JSON, TAGS),
            loaded: whole("200 OK", JSON, LOADED),
            root: whole("200 OK", "text/plain", b"Ollama is running"),
            missing: whole("404 Not Found", "text/plain", b"404 page not found"),
            chat: whole("200 OK", JSON, CHAT),
            generate: whole("200 OK", JSON, GENERATE),
            chat_stream: Lines::new(CHAT_LINE, CHAT_END),
            generate_stream: Lines::new(GENERATE_LINE, GENERATE_END),
            lines,
        }
    }
}

impl Lines {
    fn new(line: &[u8], end: &[u8]) -> Self {
        let mut last = chunk(end);
        last.extend_from_slice(b"0\r\n\r\n");
        Lines {
            line: chunk(line),
            end: last,
        }
    }
}

fn whole(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn chunk(data: &[u8]) -> Vec<u8> {
    let mut framed = format!("{:x}\r\n", data.len()).into_bytes();
    framed.extend_from_slice(data);
    framed.extend_from_slice(b"\r\n");
    framed
}

/// What a request asks for, taken from its head and the first piece of its body.
enum Wanted<'a> {
    Whole(&'a [u8]),
    Stream {
        lines: &'a Lines,
        count: u64,
        interval: Duration,
    },
}

impl Answers {
    fn to(&self, head: &[u8], body: &[u8]) -> Wanted<'_> {
        let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let (answer, lines) = match target {
            b"/api/chat" => (&self.chat, &self.chat_stream),
            b"/api/generate" => (&self.generate, &self.generate_stream),
            b"/api/tags" => return Wanted::Whole(&self.tags),
            b"/api/ps" => return Wanted::Whole(&self.loaded),
            b"/api/version" => return Wanted::Whole(&self.version),
            b"/" => return Wanted::Whole(&self.root),
            _ => return Wanted::Whole(&self.missing),
        };
        // The load generator writes `stream` before the prompt.
        let opening = &body[..body.len().min(256)];
        if memchr::memmem::find(opening, b"\"stream\":false").is_some() {
            return Wanted::Whole(answer);
        }
        let interval = framing::number(head, "x-bench-interval-us").unwrap_or(0);
        Wanted::Stream {
            lines,
            count: framing::number(head, "x-bench-lines").unwrap_or(self.lines),
            interval: Duration::from_micros(interval),
        }
    }
}

async fn serve(mut socket: TcpStream, answers: &Answers) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let Some(length) = framing::head_len(&buffer[..filled]) else {
            if filled == buffer.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            match socket.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
            continue;
        };
        let mut body = BodyCounter::new(framing::body_of(&buffer[..length]));
        if length == filled && !body.is_done() {
            match socket.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
        }
        let wanted = answers.to(&buffer[..length], &buffer[length..filled]);
        let used = length + take(&mut body, &buffer[length..filled])?;
        buffer.copy_within(used..filled, 0);
        filled -= used;
        if !body.is_done() {
            discard(&mut socket, &mut body).await?;
        }
        answer(&mut socket, wanted).await?;
    }
}

fn take(body: &mut BodyCounter, bytes: &[u8]) -> io::Result<usize> {
    let used = body.take(bytes, |_| {});
    used.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads the rest of a large body.
async fn discard(socket: &mut TcpStream, body: &mut BodyCounter) -> io::Result<()> {
    let mut scratch = vec![0; 256 * 1024];
    while !body.is_done() {
        let read = socket.read(&mut scratch).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(body, &scratch[..read])?;
    }
    Ok(())
}

/// One write per line, as a server that generates tokens does.
async fn answer(socket: &mut TcpStream, wanted: Wanted<'_>) -> io::Result<()> {
    let (lines, count, interval) = match wanted {
        Wanted::Whole(answer) => return socket.write_all(answer).await,
        Wanted::Stream {
            lines,
            count,
            interval,
        } => (lines, count, interval),
    };
    socket.write_all(STREAM_HEAD).await?;
    let start = Instant::now();
    for line in 1..count {
        socket.write_all(&lines.line).await?;
        if !interval.is_zero() {
            pause(socket, start + interval.saturating_mul(line as u32)).await?;
        }
    }
    socket.write_all(&lines.end).await
}

/// Waits for the next line's time, or fails when the peer goes.
async fn pause(socket: &mut TcpStream, until: Instant) -> io::Result<()> {
    let mut byte = [0];
    tokio::select! {
        () = sleep_until(until) => Ok(()),
        _ = socket.peek(&mut byte) => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let command = Command::parse();
    let answers: &'static Answers = Box::leak(Box::new(Answers::new(command.lines)));
    for port in command.ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        tokio::spawn(accept(listener, answers));
    }
    tokio::signal::ctrl_c().await
}

async fn accept(listener: TcpListener, answers: &'static Answers) {
    loop {
        if let Ok((socket, _)) = listener.accept().await {
            // A client that went away is no news to a benchmark's upstream.
            tokio::spawn(async move { serve(socket, answers).await.unwrap_or_default() });
        }
    }
}
