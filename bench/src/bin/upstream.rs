//! A fake server that costs as little as possible, with Ollama's API and OpenAI's: it knows one model of each, always has
//! it loaded, and answers without reading the prompt.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Parser;
use remuda_bench::framing::{self, BodyCounter};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// A fast fake server with Ollama's API and OpenAI's.
#[derive(Parser)]
struct Command {
    /// Ports to listen on, one simulated server each.
    #[arg(long, value_delimiter = ',', required = true)]
    ports: Vec<u16>,
    /// Lines of a stream, unless the prompt's `x-bench-lines` says otherwise.
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
const SERVICE_MODELS: &[u8] = br#"{"object":"list","data":[{"id":"gpt-bench","object":"model","created":1767323045,"owned_by":"bench"}]}"#;
const COMPLETION: &[u8] = br#"{"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion","created":1767323045,"model":"gpt-bench","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps."},"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":6,"total_tokens":32}}"#;
const COMPLETION_EVENT: &[u8] = b"data: {\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1767323045,\"model\":\"gpt-bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" fox\"},\"finish_reason\":null}]}\n\n";
const COMPLETION_END: &[u8] = b"data: {\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1767323045,\"model\":\"gpt-bench\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1767323045,\"model\":\"gpt-bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":26,\"completion_tokens\":6,\"total_tokens\":32}}\n\ndata: [DONE]\n\n";
/// How much of a body's beginning and of its end is looked at for what the request asks.
const LOOKED_AT: usize = 256;
const EVENTS_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
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
    service_models: Vec<u8>,
    completion: Vec<u8>,
    completion_stream: Lines,
    lines: u64,
}

/// The chunks of a stream, framed.
struct Lines {
    head: &'static [u8],
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
            chat_stream: Lines::new(STREAM_HEAD, CHAT_LINE, CHAT_END),
            generate_stream: Lines::new(STREAM_HEAD, GENERATE_LINE, GENERATE_END),
            service_models: whole("200 OK", JSON, SERVICE_MODELS),
            completion: whole("200 OK", JSON, COMPLETION),
            completion_stream: Lines::new(EVENTS_HEAD, COMPLETION_EVENT, COMPLETION_END),
            lines,
        }
    }
}

impl Lines {
    fn new(head: &'static [u8], line: &[u8], end: &[u8]) -> Self {
        let mut last = chunk(end);
        last.extend_from_slice(b"0\r\n\r\n");
        Lines {
            head,
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

/// What a request asks for.
enum Wanted<'a> {
    Whole(&'a [u8]),
    Stream {
        lines: &'a Lines,
        count: u64,
        interval: Duration,
    },
}

/// The parts of a body that tell what is wanted: formats differ in where they have `stream`.
struct Ends<'a> {
    opening: &'a [u8],
    closing: &'a [u8],
}

impl Ends<'_> {
    fn has(&self, text: &[u8]) -> bool {
        let found = |part| memchr::memmem::find(part, text).is_some();
        found(self.opening) || found(self.closing)
    }

    /// The number after `name=`, which the load generator writes at the beginning of the prompt.
    fn number(&self, name: &str) -> Option<u64> {
        let after = memchr::memmem::find(self.opening, name.as_bytes())? + name.len() + 1;
        let digits = self.opening[after..].split(|byte| !byte.is_ascii_digit());
        std::str::from_utf8(digits.into_iter().next()?)
            .ok()?
            .parse()
            .ok()
    }
}

impl Answers {
    fn to(&self, head: &[u8], body: &Ends<'_>) -> Wanted<'_> {
        let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let (answer, lines, streams) = match target {
            b"/api/chat" => (&self.chat, &self.chat_stream, true),
            b"/api/generate" => (&self.generate, &self.generate_stream, true),
            b"/v1/chat/completions" => (&self.completion, &self.completion_stream, false),
            b"/api/tags" => return Wanted::Whole(&self.tags),
            b"/api/ps" => return Wanted::Whole(&self.loaded),
            b"/api/version" => return Wanted::Whole(&self.version),
            b"/v1/models" => return Wanted::Whole(&self.service_models),
            b"/" => return Wanted::Whole(&self.root),
            _ => return Wanted::Whole(&self.missing),
        };
        let streams = if streams {
            !body.has(b"\"stream\":false")
        } else {
            body.has(b"\"stream\":true")
        };
        if !streams {
            return Wanted::Whole(answer);
        }
        Wanted::Stream {
            lines,
            count: body.number("x-bench-lines").unwrap_or(self.lines),
            interval: Duration::from_micros(body.number("x-bench-interval-us").unwrap_or(0)),
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
        let used = length + take(&mut body, &buffer[length..filled])?;
        let mut closing = last(&buffer[length..used]).to_vec();
        if !body.is_done() {
            discard(&mut socket, &mut body, &mut closing).await?;
        }
        let ends = Ends {
            opening: &buffer[length..used.min(length + LOOKED_AT)],
            closing: &closing,
        };
        let wanted = answers.to(&buffer[..length], &ends);
        buffer.copy_within(used..filled, 0);
        filled -= used;
        answer(&mut socket, wanted).await?;
    }
}

fn take(body: &mut BodyCounter, bytes: &[u8]) -> io::Result<usize> {
    let used = body.take(bytes, |_| {});
    used.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn last(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(LOOKED_AT)..]
}

/// Reads the rest of a large body, of which `closing` is to be the end.
async fn discard(
    socket: &mut TcpStream,
    body: &mut BodyCounter,
    closing: &mut Vec<u8>,
) -> io::Result<()> {
    let mut scratch = vec![0; 256 * 1024];
    while !body.is_done() {
        let read = socket.read(&mut scratch).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(body, &scratch[..read])?;
        closing.extend_from_slice(last(&scratch[..read]));
        closing.drain(..closing.len().saturating_sub(LOOKED_AT));
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
    socket.write_all(lines.head).await?;
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
