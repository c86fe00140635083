//! What crossing from one format to another costs: a request on its way out, and one event of a streamed answer on its
//! way back, for each pair of formats. CPU time of the thread, so that a busy machine shows less.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use remuda_formats::dialect::exchange::{Reply, Target};
use remuda_formats::facts::ModelFacts;
use remuda_formats::ir::Text;
use remuda_formats::preferences::{Fidelity, ReasoningField};
use remuda_formats::provider::{ProviderKind, ProviderProfile};
use remuda_formats::translate::{ClientForm, ProviderForm, Translating, Translation, order};
use remuda_formats::wire::eventstream::{self, Frame};

/// CPU time of this thread; shown as criterion shows time.
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        // The kernel brings its account up to date when a thread yields.
        std::thread::yield_now();
        let account = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
        let nanoseconds = account.split(' ').next().and_then(|time| time.parse().ok());
        Duration::from_nanos(nanoseconds.expect("the first is the time on a CPU"))
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Bytes of text that make a chat of the named size.
const SIZES: [(&str, usize); 3] = [("600B", 420), ("100KiB", 100 << 10), ("1MiB", 1 << 20)];

/// A format of clients: its name, and a chat's body around a text.
struct Client {
    name: &'static str,
    form: ClientForm,
    before: &'static str,
    after: &'static str,
}

const CLIENTS: [Client; 4] = [
    Client {
        name: "ollama",
        form: ClientForm::OllamaChat,
        before: r#"{"model":"m","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":""#,
        after: r#""}],"options":{"temperature":0.2,"num_predict":256},"stream":true}"#,
    },
    Client {
        name: "openai",
        form: ClientForm::OpenAiChat,
        before: r#"{"model":"m","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":""#,
        after: r#""}],"temperature":0.2,"max_tokens":256,"stream":true}"#,
    },
    Client {
        name: "responses",
        form: ClientForm::OpenAiResponses,
        before: r#"{"model":"m","instructions":"You are a helpful assistant.","input":[{"role":"user","content":""#,
        after: r#""}],"temperature":0.2,"max_output_tokens":256,"stream":true,"store":false}"#,
    },
    Client {
        name: "anthropic",
        form: ClientForm::AnthropicMessages,
        before: r#"{"model":"m","system":"You are a helpful assistant.","messages":[{"role":"user","content":""#,
        after: r#""}],"temperature":0.2,"max_tokens":256,"stream":true}"#,
    },
];

impl Client {
    fn body(&self, size: usize) -> Vec<u8> {
        const SENTENCE: &str = r#"The quick brown fox said \"no\".\n"#;
        let text = SENTENCE.repeat(size / SENTENCE.len());
        [self.before, &text, self.after].concat().into_bytes()
    }
}

/// A format of providers: how its streams open, and the event that says one word.
struct Server {
    name: &'static str,
    form: ProviderForm,
    kind: ProviderKind,
    opening: Vec<u8>,
    event: Vec<u8>,
}

fn servers() -> [Server; 6] {
    let server = |name, form, kind, opening: &str, event: &str| Server {
        name,
        form,
        kind,
        opening: opening.into(),
        event: event.into(),
    };
    [
        server(
            "ollama",
            ProviderForm::OllamaChat,
            ProviderKind::Ollama,
            "",
            "{\"model\":\"m\",\"created_at\":\"2026-01-02T03:04:05.678901234Z\",\"message\":{\"role\":\"assistant\",\"content\":\" the\"},\"done\":false}\n",
        ),
        server(
            "openai",
            ProviderForm::OpenAiChat,
            ProviderKind::OpenAi,
            "",
            "data: {\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1767323045,\"model\":\"m\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" the\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"p4XjVsd\"}\n\n",
        ),
        server(
            "responses",
            ProviderForm::OpenAiResponses,
            ProviderKind::OpenAi,
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"model\":\"m\",\"output\":[]},\"sequence_number\":0}\n\nevent: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"msg_1\",\"type\":\"message\",\"status\":\"in_progress\",\"content\":[],\"role\":\"assistant\"},\"sequence_number\":1}\n\n",
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"content_index\":0,\"delta\":\" the\",\"item_id\":\"msg_67ccd3acc8d48190a77525dc6de64b4104becb25c45c1d42\",\"logprobs\":[],\"obfuscation\":\"p4XjVsd\",\"output_index\":0,\"sequence_number\":7}\n\n",
        ),
        server(
            "anthropic",
            ProviderForm::AnthropicMessages,
            ProviderKind::Anthropic,
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" the\"}}\n\n",
        ),
        server(
            "google",
            ProviderForm::GoogleContent,
            ProviderKind::Google,
            "",
            "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" the\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"candidatesTokenCount\": 7,\"totalTokenCount\": 16},\"modelVersion\": \"m\",\"responseId\": \"kz1XaZ2mCtHqz7IP\"}\r\n\r\n",
        ),
        Server {
            name: "bedrock",
            form: ProviderForm::BedrockConverse,
            kind: ProviderKind::Bedrock,
            opening: frame("messageStart", r#"{"p":"abcdefgh","role":"assistant"}"#),
            event: frame(
                "contentBlockDelta",
                r#"{"contentBlockIndex":0,"delta":{"text":" the"},"p":"abcdefghijklmnop"}"#,
            ),
        },
    ]
}

fn frame(kind: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = payload.as_bytes();
    eventstream::write(&Frame::Event { kind, payload }, &mut out).expect("a short frame");
    out
}

fn reply() -> Reply {
    Reply {
        model: Text::plain("m"),
        id: "0123456789abcdef".into(),
        created: SystemTime::now(),
        started: Instant::now(),
        include_usage: false,
        reasoning_field: ReasoningField::Both,
        base64: false,
        functions: false,
        prompt_estimate: 0,
        tools: Arc::default(),
    }
}

/// Translates the request; gives the provider's body and what will read its answer.
fn translated(client: &Client, server: &Server, body: &[u8]) -> (Vec<u8>, Box<Translation>) {
    let facts = ModelFacts::default();
    let target = Target {
        model: "m",
        facts: &facts,
        provider: ProviderProfile::of_kind("bench", server.kind),
        stream: true,
    };
    let translating = Translating {
        mend: None,
        spare: &[],
        client: client.form,
        form: server.form,
        body,
        streams: true,
        gathered: false,
        fidelity: Fidelity::Lenient,
    };
    let order = order(&translating, target, reply()).expect("both formats can say it");
    (order.outgoing.body, order.translation)
}

/// All pairs but those of one format, which are not translated.
fn pairs(servers: &[Server]) -> impl Iterator<Item = (&'static Client, &Server)> {
    CLIENTS
        .iter()
        .flat_map(move |client| servers.iter().map(move |server| (client, server)))
        .filter(|(client, server)| client.name != server.name)
}

fn requests(criterion: &mut Criterion<ThreadTime>) {
    let servers = servers();
    for (name, size) in SIZES {
        let mut group = criterion.benchmark_group(format!("request of {name}"));
        for (client, server) in pairs(&servers) {
            let body = client.body(size);
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("{} to {}", client.name, server.name), |bencher| {
                bencher.iter(|| translated(client, server, black_box(&body)));
            });
        }
        group.finish();
    }
}

fn events(criterion: &mut Criterion<ThreadTime>) {
    let servers = servers();
    let mut group = criterion.benchmark_group("event");
    for (client, server) in pairs(&servers) {
        let (_, mut translation) = translated(client, server, &client.body(420));
        translation.feed(&server.opening);
        translation.feed(&server.event);
        group.bench_function(format!("{} from {}", client.name, server.name), |bencher| {
            bencher.iter(|| translation.feed(black_box(&server.event)).len());
        });
        assert!(
            !translation.feed(&server.event).is_empty(),
            "{} from {}: the event has to say something",
            client.name,
            server.name
        );
    }
    group.finish();
}

/// KiB of this process that are resident.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok())
        .expect("Linux tells the resident size")
}

/// Long answers: nothing may be kept of an event that grows with the stream, where the client's format does not end
/// with the whole text.
fn long_streams(_: &mut Criterion<ThreadTime>) {
    const EVENTS: usize = 1_000_000;
    let servers = servers();
    for (client, server) in pairs(&servers) {
        let (_, mut translation) = translated(client, server, &client.body(420));
        translation.feed(&server.opening);
        let feed = |translation: &mut Translation| {
            black_box(translation.feed(black_box(&server.event)));
        };
        (0..1000).for_each(|_| feed(&mut translation));
        let before = resident();
        (0..EVENTS).for_each(|_| feed(&mut translation));
        let grown = resident().saturating_sub(before);
        eprintln!(
            "{} from {}: {grown} KiB more after {EVENTS} events",
            client.name, server.name
        );
        // The Responses API ends with all of the text, four bytes of each event here; a vector that grows has twice as
        // much, and its encoder keeps the text for the part and for the item.
        let text = 4 * 4 * EVENTS / 1024;
        let most = 256 + if client.name == "responses" { text } else { 0 };
        assert!(
            grown <= most,
            "{} from {}: {grown} KiB",
            client.name,
            server.name
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .with_measurement(ThreadTime)
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = requests, events, long_streams
}
criterion_main!(benches);
