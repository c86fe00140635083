//! What crossing from one format to another costs: a request on its way out, and one event of a streamed answer on its
//! way back, for each pair of formats.

use std::hint::black_box;
use std::time::{Instant, SystemTime};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use remuda::dialect::exchange::{Reply, Target};
use remuda::facts::ModelFacts;
use remuda::ir::Text;
use remuda::settings::{Fidelity, Provider, ProviderKind, ReasoningField};
use remuda::translate::{ClientForm, Form, Translating, Translation, order};

/// A chat in OpenAI's format, of about `size` bytes of text.
fn openai_chat(size: usize) -> Vec<u8> {
    let text = "The quick brown fox said \\\"no\\\".\\n".repeat(size / 35);
    format!(
        r#"{{"model":"llama3.2","messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{text}"}}],"temperature":0.2,"max_tokens":256,"stop":["END"],"stream":true}}"#
    )
    .into_bytes()
}

/// The same in Ollama's.
fn ollama_chat(size: usize) -> Vec<u8> {
    let text = "The quick brown fox said \\\"no\\\".\\n".repeat(size / 35);
    format!(
        r#"{{"model":"gpt","messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{text}"}}],"options":{{"temperature":0.2,"num_predict":256,"stop":["END"]}},"stream":true}}"#
    )
    .into_bytes()
}

/// A pair of formats: who asks, who answers, and one event of that answer.
struct Pair {
    name: &'static str,
    client: ClientForm,
    form: Form,
    kind: ProviderKind,
    body: fn(usize) -> Vec<u8>,
    event: &'static [u8],
}

const PAIRS: &[Pair] = &[
    Pair {
        name: "openai from ollama",
        client: ClientForm::OpenAiChat,
        form: Form::OllamaChat,
        kind: ProviderKind::Ollama,
        body: openai_chat,
        event: br#"{"model":"llama3.2","created_at":"2026-01-02T03:04:05.678901234Z","message":{"role":"assistant","content":" the"},"done":false}
"#,
    },
    Pair {
        name: "ollama from openai",
        client: ClientForm::OllamaChat,
        form: Form::OpenAiChat,
        kind: ProviderKind::OpenAi,
        body: ollama_chat,
        event: br#"data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1767323045,"model":"gpt-5","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" the"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"p4XjVsd"}

"#,
    },
];

fn reply() -> Reply {
    Reply {
        model: Text::plain("llama3.2"),
        id: "0123456789abcdef".into(),
        created: SystemTime::now(),
        started: Instant::now(),
        include_usage: false,
        reasoning_field: ReasoningField::Both,
        base64: false,
    }
}

/// Translates the request; gives the provider's body and what will read its answer.
fn translated(pair: &Pair, body: &[u8], provider: &Provider) -> (Vec<u8>, Box<Translation>) {
    let facts = ModelFacts::default();
    let target = Target {
        model: "llama3.2:latest",
        facts: &facts,
        provider,
        stream: true,
    };
    let translating = Translating {
        client: pair.client,
        form: pair.form,
        body,
        streams: true,
        fidelity: Fidelity::Lenient,
    };
    let order = order(&translating, target, reply()).expect("both formats can say it");
    (order.outgoing.body, order.translation)
}

fn provider(kind: ProviderKind) -> Provider {
    Provider {
        kind,
        ..Provider::named("bench")
    }
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for pair in PAIRS {
        let provider = provider(pair.kind);
        for (name, size) in [("600B", 350), ("100KiB", 100 << 10), ("1MiB", 1 << 20)] {
            let body = (pair.body)(size);
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("{}/{name}", pair.name), |bencher| {
                bencher.iter(|| translated(pair, black_box(&body), &provider));
            });
        }
    }
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    for pair in PAIRS {
        let body = (pair.body)(350);
        let (_, mut translation) = translated(pair, &body, &provider(pair.kind));
        group.bench_function(pair.name, |bencher| {
            bencher.iter(|| translation.feed(black_box(pair.event)).len());
        });
        assert!(
            !translation.feed(pair.event).is_empty(),
            "{}: the event has to say something",
            pair.name
        );
    }
    group.finish();
}

criterion_group!(benches, requests, events);
criterion_main!(benches);
