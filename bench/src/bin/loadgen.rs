//! Sends requests and reads answers as cheaply as it can, and says what they cost the server: one line
//! of JSON with rates, latency percentiles, and the CPU time and memory of the processes in `--pid`.

use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use remuda_bench::framing::{self, BodyCounter};
use remuda_bench::procfs;
use serde_json::{Value, json};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Load generator.
#[derive(Clone, Parser)]
struct Command {
    #[arg(value_enum)]
    mode: Mode,
    /// The server to load.
    #[arg(long)]
    target: SocketAddr,
    /// Processes whose CPU time and memory are reported.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// Requests over all connections.
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    /// Requests per second over all connections; 0 sends as fast as answers come.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Bytes of the prompt.
    #[arg(long, default_value_t = 600)]
    prompt: usize,
    /// Send the request body in chunks of 64 KiB instead of with a Content-Length.
    #[arg(long)]
    chunked: bool,
    /// Lines that each stream is asked to have.
    #[arg(long, default_value_t = 200)]
    lines: u64,
    /// Time between two lines of a stream.
    #[arg(long, default_value_t = 0)]
    interval_us: u64,
    /// How long open streams are held.
    #[arg(long, default_value_t = 5.0)]
    hold: f64,
    /// The format of the requests.
    #[arg(long, value_enum, default_value_t = Format::Ollama)]
    format: Format,
    #[arg(long, default_value = "llama3.2")]
    model: String,
    /// Sent as `Authorization: Bearer`.
    #[arg(long)]
    key: Option<String>,
    /// Sentences with escaped characters instead of one letter.
    #[arg(long)]
    prose: bool,
}

/// A format of chats, with its path and what it wants besides model and messages.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Ollama,
    Openai,
    Anthropic,
}

impl Format {
    fn path(self) -> &'static str {
        match self {
            Format::Ollama => "/api/chat",
            Format::Openai => "/v1/chat/completions",
            Format::Anthropic => "/v1/messages",
        }
    }

    /// Further header fields, and fields of the body with the comma that follows them.
    fn required(self) -> (&'static str, &'static str) {
        match self {
            Format::Ollama | Format::Openai => ("", ""),
            Format::Anthropic => ("Anthropic-Version: 2023-06-01\r\n", "\"max_tokens\":256,"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Whole answers.
    Requests,
    /// Streams, to their end.
    Streams,
    /// Streams that stay open while memory is sampled.
    OpenStreams,
}

/// The longest time told apart, in nanoseconds; longer ones count as this.
const TEN_MINUTES: u64 = 600_000_000_000;

/// What all connections measured together.
struct Figures {
    answered: u64,
    errors: u64,
    lines: u64,
    bytes: u64,
    latency: Histogram<u64>,
    first_byte: Histogram<u64>,
    between: Histogram<u64>,
}

impl Figures {
    fn new() -> Self {
        let histogram = || {
            Histogram::new_with_max(TEN_MINUTES, 3).expect("the range is one that the crate takes")
        };
        Figures {
            answered: 0,
            errors: 0,
            lines: 0,
            bytes: 0,
            latency: histogram(),
            first_byte: histogram(),
            between: histogram(),
        }
    }
}

type Shared = Rc<RefCell<Figures>>;

/// One keep-alive connection.
struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// What arrived, as the reader saw it.
struct Arrivals<'a> {
    figures: &'a Shared,
    sent: Instant,
    last: Option<Instant>,
    /// Told at the first byte of the body.
    opened: Option<Rc<tokio::sync::Semaphore>>,
}

impl Arrivals<'_> {
    fn note(&mut self, payload: u64, lines: u64) {
        let now = Instant::now();
        let mut figures = self.figures.borrow_mut();
        figures.bytes += payload;
        figures.lines += lines;
        let (since, histogram) = match self.last {
            None => (self.sent, &mut figures.first_byte),
            Some(last) => (last, &mut figures.between),
        };
        histogram.saturating_record(nanoseconds(now - since));
        if let (None, Some(opened)) = (self.last, &self.opened) {
            opened.add_permits(1);
        }
        self.last = Some(now);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

impl Client {
    async fn connect(target: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(target).await?;
        socket.set_nodelay(true)?;
        Ok(Client {
            socket,
            buffer: vec![0; 16 * 1024],
        })
    }

    /// Sends one request and reads its answer to the end; an error when the status is not 200 or the
    /// answer breaks off.
    async fn exchange(&mut self, request: &[u8], arrivals: &mut Arrivals<'_>) -> io::Result<()> {
        self.socket.write_all(request).await?;
        let mut filled = 0;
        let (head, mut body) = loop {
            filled += self.read(filled).await?;
            if let Some(length) = framing::head_len(&self.buffer[..filled]) {
                let head = &self.buffer[..length];
                if framing::status(head) != Some(200) {
                    return Err(io::Error::other("the status is not 200"));
                }
                break (length, BodyCounter::new(framing::body_of(head)));
            }
        };
        let mut from = head;
        loop {
            let (mut payload, mut lines) = (0, 0);
            let used = body.take(&self.buffer[from..filled], |run| {
                payload += run.len() as u64;
                lines += memchr::memchr_iter(b'\n', run).count() as u64;
            });
            if used != Some(filled - from) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if payload > 0 {
                arrivals.note(payload, lines);
            }
            if body.is_done() {
                return Ok(());
            }
            from = 0;
            filled = self.read(0).await?;
        }
    }

    async fn read(&mut self, at: usize) -> io::Result<usize> {
        if at == self.buffer.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match self.socket.read(&mut self.buffer[at..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

impl Command {
    fn request(&self) -> Vec<u8> {
        let stream = self.mode != Mode::Requests;
        let (fields, required) = self.format.required();
        let body = format!(
            r#"{{"model":"{}",{required}"stream":{stream},"messages":[{{"role":"user","content":"{}"}}]}}"#,
            self.model,
            self.prompt()
        );
        let authorization = match &self.key {
            Some(key) => format!("Authorization: Bearer {key}\r\n"),
            None => String::new(),
        };
        let framing = if self.chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", body.len())
        };
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: remuda-bench\r\nAccept: */*\r\n\
             Content-Type: application/json\r\n{fields}{authorization}{framing}\r\n\r\n",
            self.format.path(),
            self.target,
        )
        .into_bytes();
        if self.chunked {
            append_chunks(&mut request, body.as_bytes());
        } else {
            request.extend_from_slice(body.as_bytes());
        }
        request
    }

    /// As it stands in JSON. The upstream reads its orders in the prompt, as gateways do not pass unknown header fields
    /// on to every provider.
    fn prompt(&self) -> String {
        let mut prompt = format!(
            "x-bench-lines={} x-bench-interval-us={} ",
            self.lines, self.interval_us
        );
        let text = if self.prose {
            r#"The quick brown fox said \"no\".\n"#
        } else {
            "x"
        };
        while prompt.len() + text.len() <= self.prompt {
            prompt.push_str(text);
        }
        prompt
    }

    /// When the request that is `turn`th overall is due; `None` when the rate is not fixed.
    fn due(&self, start: Instant, turn: u64) -> Option<Instant> {
        (self.rate > 0.0).then(|| start + Duration::from_secs_f64(turn as f64 / self.rate))
    }
}

fn append_chunks(request: &mut Vec<u8>, body: &[u8]) {
    for piece in body.chunks(64 * 1024) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
}

/// The requests of one connection: every `concurrency`th of all.
async fn connection(
    command: Rc<Command>,
    request: Rc<Vec<u8>>,
    index: u64,
    start: Instant,
    figures: Shared,
) {
    let mut client = None;
    let mut turn = index;
    while turn < command.requests {
        let due = command.due(start, turn);
        turn += command.concurrency as u64;
        let late = due.is_some_and(|due| due <= Instant::now());
        if let Some(due) = due {
            sleep_until(due).await;
        }
        // A late request counts from when it was due, so that a stall is not hidden; one on time counts
        // from now, so that the timer's grain is not counted.
        let sent = due.filter(|_| late).unwrap_or_else(Instant::now);
        let mut arrivals = Arrivals {
            figures: &figures,
            sent,
            last: None,
            opened: None,
        };
        let outcome = one(&mut client, &command, &request, &mut arrivals).await;
        let mut figures = figures.borrow_mut();
        match outcome {
            Ok(()) => {
                figures.answered += 1;
                figures
                    .latency
                    .saturating_record(nanoseconds(sent.elapsed()));
            }
            Err(_) => {
                figures.errors += 1;
                client = None;
            }
        }
    }
}

async fn one(
    client: &mut Option<Client>,
    command: &Command,
    request: &[u8],
    arrivals: &mut Arrivals<'_>,
) -> io::Result<()> {
    let client = match client {
        Some(client) => client,
        None => client.insert(Client::connect(command.target).await?),
    };
    client.exchange(request, arrivals).await
}

/// Opens all streams, waits until each has its first byte, holds them, and samples memory at the end.
async fn hold_streams(command: Rc<Command>, request: Rc<Vec<u8>>, figures: Shared) -> Value {
    let before = procfs::memory(&command.pid);
    let opened = Rc::new(tokio::sync::Semaphore::new(0));
    let mut streams = JoinSet::new();
    for _ in 0..command.concurrency {
        let (command, request) = (command.clone(), request.clone());
        let (figures, opened) = (figures.clone(), opened.clone());
        streams.spawn_local(async move {
            let mut arrivals = Arrivals {
                figures: &figures,
                sent: Instant::now(),
                last: None,
                opened: Some(opened),
            };
            let outcome = one(&mut None, &command, &request, &mut arrivals).await;
            figures.borrow_mut().errors += u64::from(outcome.is_err());
        });
    }
    let all = opened.acquire_many(command.concurrency as u32);
    let opened_in_time = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .is_ok();
    sleep(Duration::from_secs_f64(command.hold)).await;
    let during = procfs::memory(&command.pid);
    streams.abort_all();
    let per_stream =
        |after: u64, before: u64| after.saturating_sub(before) as f64 / command.concurrency as f64;
    json!({
        "all_opened": opened_in_time,
        "rss_before_kib": before.rss,
        "rss_kib": during.rss,
        "pss_kib": during.pss,
        "rss_kib_per_stream": per_stream(during.rss, before.rss),
        "pss_kib_per_stream": per_stream(during.pss, before.pss),
    })
}

async fn send_all(command: Rc<Command>, request: Rc<Vec<u8>>, figures: Shared) -> Value {
    let start = Instant::now();
    let mut connections = JoinSet::new();
    for index in 0..command.concurrency as u64 {
        connections.spawn_local(connection(
            command.clone(),
            request.clone(),
            index,
            start,
            figures.clone(),
        ));
    }
    connections.join_all().await;
    let memory = procfs::memory(&command.pid);
    json!({ "rss_kib": memory.rss, "pss_kib": memory.pss, "peak_rss_kib": memory.peak })
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let microseconds = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    json!({
        "p50": microseconds(0.5),
        "p90": microseconds(0.9),
        "p99": microseconds(0.99),
        "max": histogram.max() as f64 / 1_000.0,
    })
}

fn report(figures: &Figures, seconds: f64, cpu: Duration, extra: Value) -> Value {
    let cpu_us = cpu.as_secs_f64() * 1e6;
    let per = |count: u64| (count > 0).then(|| cpu_us / count as f64);
    let mut report = json!({
        "requests": figures.answered,
        "errors": figures.errors,
        "lines": figures.lines,
        "bytes": figures.bytes,
        "seconds": seconds,
        "requests_per_second": figures.answered as f64 / seconds,
        "lines_per_second": figures.lines as f64 / seconds,
        "cpu_us": cpu_us,
        "cpu_us_per_request": per(figures.answered),
        "cpu_us_per_line": per(figures.lines),
        "latency_us": percentiles(&figures.latency),
        "ttft_us": percentiles(&figures.first_byte),
        "between_us": percentiles(&figures.between),
    });
    if let (Value::Object(report), Value::Object(extra)) = (&mut report, extra) {
        report.extend(extra);
    }
    report
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let command = Rc::new(Command::parse());
    let request = Rc::new(command.request());
    let figures: Shared = Rc::new(RefCell::new(Figures::new()));
    let cpu = procfs::cpu_time(&command.pid);
    let start = Instant::now();
    let run = async {
        match command.mode {
            Mode::OpenStreams => hold_streams(command.clone(), request, figures.clone()).await,
            Mode::Requests | Mode::Streams => {
                send_all(command.clone(), request, figures.clone()).await
            }
        }
    };
    let extra = LocalSet::new().run_until(run).await;
    let cpu = procfs::cpu_time(&command.pid).saturating_sub(cpu);
    let report = report(&figures.borrow(), start.elapsed().as_secs_f64(), cpu, extra);
    writeln!(std::io::stdout().lock(), "{report}").expect("standard output is open");
}
