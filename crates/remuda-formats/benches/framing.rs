//! What the same-format route costs per byte: the request scan, the reader beside bytes that pass, the line splitter.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use remuda_formats::client::{Operation, route, scan_request};
use remuda_formats::dialect::ollama::CanonicalKey;
use remuda_formats::translate::Passing;
use remuda_formats::wire::ndjson::LineSplitter;

/// A chat of about `size` bytes in paragraphs with the escapes that prompts have.
fn chat(size: usize) -> Vec<u8> {
    let paragraph = "A horse is fresh until it has been ridden; \\\"then\\\" it rests.\\n";
    let content = paragraph.repeat(size / paragraph.len());
    format!(
        r#"{{"model":"llama3.2:latest","messages":[{{"role":"user","content":"{content}"}}],"options":{{"temperature":0.2,"num_ctx":8192}},"stream":true}}"#
    )
    .into_bytes()
}

/// As `chat`, with the text in one base64 image.
fn chat_with_image(size: usize) -> Vec<u8> {
    let image = "aGVsbG8gd29ybGQh".repeat(size / 16);
    format!(
        r#"{{"model":"llava","messages":[{{"role":"user","content":"what is it","images":["{image}"]}}]}}"#
    )
    .into_bytes()
}

/// A generate with a context of about `size` bytes of numbers.
fn generate_with_context(size: usize) -> Vec<u8> {
    let context = "128006,".repeat(size / 7);
    format!(r#"{{"model":"llama3.2","prompt":"hi","context":[{context}1]}}"#).into_bytes()
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for (name, operation, body) in [
        ("chat/600B", Operation::Chat, chat(450)),
        ("chat/100KiB", Operation::Chat, chat(100 << 10)),
        ("chat/1MiB", Operation::Chat, chat(1 << 20)),
        ("image/1MiB", Operation::Chat, chat_with_image(1 << 20)),
        (
            "context/1MiB",
            Operation::Generate,
            generate_with_context(1 << 20),
        ),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| scan_request(operation, black_box(&body)))
        });
    }
    group.finish();
}

fn begun(operation: Operation, streaming: bool) -> Passing {
    let mut passing = Passing::new(operation, streaming);
    passing.begin(true, None);
    passing
}

fn passing(c: &mut Criterion) {
    let line = br#"{"model":"llama3.2","created_at":"2026-01-02T03:04:05.678901234Z","message":{"role":"assistant","content":" the"},"done":false}
"#;
    let event = br#"data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1767323045,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":" the"},"finish_reason":null}]}

"#;
    let mut group = c.benchmark_group("passing");
    for (name, operation, piece) in [
        ("ndjson", Operation::Chat, &line[..]),
        ("sse", Operation::OpenAiChat, &event[..]),
    ] {
        group.throughput(Throughput::Elements(1));
        let mut passing = begun(operation, true);
        group.bench_function(BenchmarkId::new("chunk", name), |b| {
            b.iter(|| passing.feed(black_box(piece)).len());
        });
        let (head, tail) = piece.split_at(piece.len() / 2);
        let mut passing = begun(operation, true);
        group.bench_function(BenchmarkId::new("chunk_in_two", name), |b| {
            b.iter(|| passing.feed(black_box(head)).len() + passing.feed(black_box(tail)).len());
        });
    }
    let whole = br#"{"model":"llama3.2","created_at":"2026-01-02T03:04:05.678901234Z","message":{"role":"assistant","content":"A fresh horse."},"done":true,"done_reason":"stop","total_duration":5043500667,"load_duration":5025959,"prompt_eval_count":26,"prompt_eval_duration":325953000,"eval_count":290,"eval_duration":4709213000}"#;
    group.bench_function("whole_answer", |b| {
        b.iter(|| {
            let mut passing = begun(Operation::Chat, false);
            passing.feed(black_box(whole));
            passing.finish().1.len()
        });
    });
    group.finish();
}

fn lines(c: &mut Criterion) {
    let line = [vec![b'x'; 119], vec![b'\n']].concat();
    let burst = line.repeat(100);
    let mut group = c.benchmark_group("lines");
    for (name, size) in [("whole", burst.len()), ("pieces_of_100", 100)] {
        let mut splitter = LineSplitter::default();
        group.throughput(Throughput::Elements(100));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut bytes = 0;
                for piece in black_box(&burst).chunks(size) {
                    splitter.feed(piece, |line| bytes += line.len()).ok();
                }
                bytes
            });
        });
    }
    group.finish();
}

fn head(c: &mut Criterion) {
    let mut group = c.benchmark_group("head");
    group.bench_function("route", |b| {
        b.iter(|| route(black_box(&http::Method::POST), black_box("/api/chat")));
    });
    group.bench_function("route_last", |b| {
        b.iter(|| {
            route(
                black_box(&http::Method::POST),
                black_box("/api/blobs/sha256:ab"),
            )
        });
    });
    group.bench_function("canonical_key", |b| {
        b.iter(|| CanonicalKey::new(black_box("Llama3.2")));
    });
    group.finish();
}

criterion_group!(framing, scan, passing, lines, head);
criterion_main!(framing);
