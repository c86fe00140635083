//! What is written for Gemini, held against the simulated API, which has its own opinion of what is legal; and what
//! that says is read back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use remuda::settings::{Provider, ProviderKind};
use remuda_formats::dialect::exchange::{ProviderRequest, Target};
use remuda_formats::dialect::{anthropic, bedrock, google, signature};
use remuda_formats::facts::Facts;
use remuda_formats::ir::{
    Assembler, ChatRequest, Effort, EmbedInput, EmbedRequest, Event, Finish, Format, Image, Json,
    Message, Part, Response, ResponseItem, Role, Sampling, Text, Thinking, Thought, Tool, ToolCall,
    ToolChoice, ToolResult,
};
use remuda_sim::{self as sim, Dialect, Machine, Options, Running, Setup};
use tokio::net::TcpStream;

const MODELS: &[&str] = &[
    "gemini-4-argon",
    "gemini-3.8-flash",
    "gemini-3.5-flash",
    "gemini-3.1-pro-preview",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.0-flash",
];
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The simulated API and a client of it.
struct Service {
    address: SocketAddr,
    facts: Facts,
    provider: Provider,
    _running: Running,
}

impl Service {
    async fn start() -> Self {
        let running = sim::start(Options {
            machine: Machine::instant(),
            provider: Some(Setup::new(Dialect::Google)),
            ..Options::default()
        });
        let running = running.await.unwrap();
        Service {
            address: running.addresses()[0],
            facts: Facts::bundled(),
            provider: Provider::of_kind("google", ProviderKind::Google),
            _running: running,
        }
    }

    fn target<'a>(&'a self, model: &'a str, stream: bool) -> Target<'a> {
        Target {
            model,
            facts: self.facts.find(ProviderKind::Google, model),
            provider: self.provider.profile(),
            stream,
        }
    }

    async fn post(&self, outgoing: &ProviderRequest) -> (u16, Bytes) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("/v1beta{}", outgoing.path))
            .header("host", self.address.to_string())
            .header("x-goog-api-key", "sim-key")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(outgoing.body.clone())))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    }

    /// The whole answer, streamed or not.
    async fn chat(&self, model: &str, stream: bool, request: ChatRequest<'_>) -> Response {
        let outgoing = google::write_chat(request, &self.target(model, stream)).unwrap();
        let (status, body) = self.post(&outgoing).await;
        let sent = String::from_utf8_lossy(&outgoing.body);
        assert_eq!(
            status,
            200,
            "{model}\n{sent}\n{}",
            String::from_utf8_lossy(&body)
        );
        let mut assembler = Assembler::default();
        let mut emit = |event: Event<'_>| assembler.event(&event);
        if stream {
            let mut decoder = google::decoder(outgoing.names);
            for piece in body.chunks(7) {
                decoder.feed(piece, &mut emit);
            }
            decoder.finish(&mut emit);
        } else {
            google::read_whole(&body, &outgoing.names, &mut emit);
        }
        assembler.finish().unwrap()
    }
}

fn block_on<R>(test: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test)
}

fn says(text: &str) -> Part<'static> {
    Part::Text(Text::plain(text).into_owned())
}

fn ask(text: &str) -> Message<'static> {
    Message::new(Role::User, vec![says(text)])
}

fn tool(name: &str, parameters: &'static str) -> Tool<'static> {
    Tool {
        name: Text::plain(name).into_owned(),
        description: Some(Text::escaped("what it does")),
        parameters: Some(Json::trusted(parameters)),
        strict: None,
        cache: None,
    }
}

const SCHEMAS: &[&str] = &[
    "{}",
    r#"{"type":"object","properties":{}}"#,
    r##"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"city":{"type":["string","null"],"default":"Oslo"},"near":{"$ref":"#/$defs/place"}},"required":["city"],"additionalProperties":false,"$defs":{"place":{"type":"object","properties":{"x":{"type":"number"}},"propertyNames":{"pattern":"^x"}}}}"##,
    r#"{"type":"object","properties":{"kind":{"enum":["a","b",null]},"n":{"type":"integer","enum":[1,2]},"of":{"anyOf":[{"type":"array"},{"type":"object"}]},"at":{"type":"string","format":"uuid"},"free":{"type":"object","additionalProperties":true},"fixed":{"const":"x"}}}"#,
];

fn text() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![
        3 => "[a-zé\"\\\\<\n ]{1,12}",
        1 => "[ \t\n]{0,3}",
    ]
    .prop_map(|text| Text::plain(&text).into_owned())
}

fn name() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![
        4 => "[a-c]{1,2}",
        1 => "[a-c._é /0-9-]{1,3}",
        1 => "[a-z]{60,140}",
    ]
    .prop_map(|name| Text::plain(&name).into_owned())
}

fn image() -> Part<'static> {
    Part::Image(Image::from_base64(PNG.into()).unwrap())
}

fn part(role: Role) -> BoxedStrategy<Part<'static>> {
    let id = || prop::option::of(name());
    let word = text().prop_map(Part::Text);
    match role {
        Role::System => word.boxed(),
        Role::User => prop_oneof![
            3 => word,
            1 => Just(image()),
            3 => (id(), id(), text(), any::<bool>(), any::<bool>()).prop_map(
                |(id, name, text, picture, is_error)| {
                    let mut parts = vec![Part::Text(text)];
                    parts.extend(picture.then(image));
                    Part::ToolResult(ToolResult { id, name, parts, is_error })
                }
            ),
        ]
        .boxed(),
        Role::Assistant => prop_oneof![
            2 => word,
            1 => (text(), prop::option::of("[A-Za-z0-9+/]{8}")).prop_map(|(text, signature)| {
                let signature = signature.map(Text::escaped);
                Part::Thought(Thought { text, signature, ..Thought::default() })
            }),
            3 => (id(), name()).prop_map(|(id, name)| {
                let arguments = Json::trusted(r#"{"a":[1,{"b":null}]}"#);
                Part::ToolCall(ToolCall { id, name, arguments, signature: None })
            }),
        ]
        .boxed(),
    }
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant)];
    role.prop_flat_map(|role| {
        prop::collection::vec(part(role), 0..4).prop_map(move |parts| Message::new(role, parts))
    })
}

fn sampling() -> impl Strategy<Value = Sampling<'static>> {
    let number = || prop::option::of(-1.0..3.0_f64);
    let numbers = (number(), number(), number(), number());
    let integer = || prop::option::of(prop_oneof![-1..50_i64, Just(i64::MAX)]);
    (numbers, integer(), integer()).prop_map(|(numbers, top_k, seed)| Sampling {
        temperature: numbers.0,
        top_p: numbers.1,
        presence_penalty: numbers.2,
        frequency_penalty: numbers.3,
        top_k,
        seed,
        ..Sampling::default()
    })
}

fn thinking() -> impl Strategy<Value = Option<Thinking>> {
    prop_oneof![
        Just(None),
        Just(Some(Thinking::Off)),
        Just(Some(Thinking::On)),
        prop::sample::select(vec![
            Effort::Minimal,
            Effort::Low,
            Effort::Medium,
            Effort::High,
            Effort::XHigh,
            Effort::Max
        ])
        .prop_map(|effort| Some(Thinking::Effort(effort))),
        (0..100_000_u64).prop_map(|tokens| Some(Thinking::Budget(tokens))),
    ]
}

fn tools() -> impl Strategy<Value = (Vec<Tool<'static>>, ToolChoice<'static>)> {
    let names = prop::collection::btree_set("[a-c._é0-9-]{1,2}", 0..4);
    (names, prop::sample::select(SCHEMAS), 0..4_usize).prop_map(|(names, schema, choice)| {
        let tools: Vec<_> = names.iter().map(|name| tool(name, schema)).collect();
        let choice = match (choice, tools.last()) {
            (1, _) => ToolChoice::None,
            (2, _) => ToolChoice::Required,
            (3, Some(last)) => ToolChoice::Named(last.name.clone()),
            _ => ToolChoice::Auto,
        };
        (tools, choice)
    })
}

fn request() -> impl Strategy<Value = ChatRequest<'static>> {
    let format = prop_oneof![
        2 => Just(Format::Text),
        1 => Just(Format::Json),
        1 => prop::sample::select(SCHEMAS).prop_map(|schema| Format::Schema {
            name: None,
            description: None,
            schema: Json::trusted(schema),
            strict: None,
        }),
    ];
    let bounds = (
        prop::option::of(prop_oneof![0..200_u64, Just(1 << 40)]),
        prop::collection::vec(text(), 0..7),
        prop::option::of(0..30_u8),
    );
    let messages = prop::collection::vec(message(), 0..7);
    (messages, tools(), sampling(), thinking(), format, bounds).prop_map(
        |(messages, (tools, tool_choice), sampling, thinking, format, bounds)| ChatRequest {
            messages,
            tools,
            tool_choice,
            sampling,
            thinking,
            format,
            max_tokens: bounds.0,
            stop: bounds.1,
            logprobs: bounds.2,
            ..ChatRequest::default()
        },
    )
}

/// The service may run out of tokens, but never finds fault with what it was asked.
#[test]
fn any_chat_becomes_a_request_that_the_service_takes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(Service::start());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(400));
    let asked = (request(), prop::sample::select(MODELS), any::<bool>());
    let outcome = runner.run(&asked, |(request, model, stream)| {
        runtime.block_on(service.chat(model, stream, request));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_call_comes_back_with_its_signature() {
    block_on(async {
        let service = Service::start().await;
        for model in MODELS {
            for stream in [false, true] {
                let names = ["get weather", "9lives"];
                let tools = || names.map(|name| tool(name, SCHEMAS[2])).into();
                let question = ChatRequest {
                    messages: vec![ask("What is the weather in Oslo and in Rome?")],
                    tools: tools(),
                    tool_choice: ToolChoice::Required,
                    ..ChatRequest::default()
                };
                let answer = service.chat(model, stream, question.clone()).await;
                assert_eq!(answer.finish, Finish::ToolCalls, "{model}");
                let mut turn = Vec::new();
                let mut results = Vec::new();
                for item in answer.items {
                    turn.push(match item {
                        ResponseItem::Thought(thought) => Part::Thought(thought),
                        ResponseItem::Text(text) | ResponseItem::Refusal(text) => Part::Text(text),
                        ResponseItem::Call(call) => {
                            let name = call.name.decoded().into_owned();
                            assert!(names.contains(&name.as_str()), "{name}");
                            results.push(Part::ToolResult(ToolResult {
                                id: call.id.clone(),
                                name: Some(call.name.clone()),
                                parts: vec![says("4 °C")],
                                is_error: false,
                            }));
                            Part::ToolCall(ToolCall {
                                arguments: call.arguments(),
                                id: call.id,
                                name: call.name,
                                signature: call.signature,
                            })
                        }
                    });
                }
                let signs = model.starts_with("gemini-4") || model.starts_with("gemini-3");
                let signed = |part: &Part<'_>| matches!(part, Part::ToolCall(call) if call.signature.is_some());
                assert_eq!(turn.iter().any(signed), signs, "{model}");
                let mut messages = question.messages.clone();
                messages.push(Message::new(Role::Assistant, turn));
                messages.push(Message::new(Role::User, results));
                let end = ChatRequest {
                    messages,
                    tools: tools(),
                    ..ChatRequest::default()
                };
                let answer = service.chat(model, stream, end).await;
                assert!(!answer.text().is_empty(), "{model}");
                assert!(answer.usage.prompt.is_some() && answer.usage.output.is_some());
            }
        }
    });
}

/// Claude refuses a request that holds another's signature.
#[test]
fn a_signature_of_geminis_goes_to_nobody_else() {
    let facts = Facts::bundled();
    let request = || ChatRequest {
        messages: vec![
            ask("q"),
            Message::new(
                Role::Assistant,
                vec![
                    Part::Thought(Thought {
                        text: Text::escaped("plan"),
                        signature: Some(signature::mark_gemini(&Text::escaped("EqQ="))),
                        ..Thought::default()
                    }),
                    says("a"),
                ],
            ),
            ask("r"),
        ],
        ..ChatRequest::default()
    };
    for (kind, holds) in [
        (ProviderKind::Anthropic, false),
        (ProviderKind::Bedrock, false),
        (ProviderKind::Google, true),
    ] {
        let provider = Provider::of_kind("p", kind);
        let target = Target {
            model: "m",
            facts: facts.find(kind, "m"),
            provider: provider.profile(),
            stream: false,
        };
        let written = match kind {
            ProviderKind::Anthropic => anthropic::write_chat(request(), &target),
            ProviderKind::Bedrock => bedrock::write_chat(request(), &target),
            _ => google::write_chat(request(), &target),
        };
        let body = String::from_utf8(written.unwrap().body).unwrap();
        assert_eq!(body.contains("EqQ="), holds, "{body}");
        assert!(!body.contains("gemini:"), "{body}");
    }
}

#[test]
fn texts_become_vectors_in_their_order() {
    block_on(async {
        let service = Service::start().await;
        let model = "gemini-embedding-001";
        let vectors = async |texts: Vec<Text<'static>>| {
            let request = EmbedRequest {
                input: EmbedInput::Texts(texts),
                dimensions: Some(256),
                truncate: None,
                user: None,
                local: Default::default(),
                dropped: remuda_formats::ir::Dropped::default(),
            };
            let calls = google::write_embed(request, &service.target(model, false)).unwrap();
            let mut all = Vec::new();
            for call in calls {
                let (status, body) = service.post(&call).await;
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                let read = google::read_embeddings(&body, &hyper::HeaderMap::new()).unwrap();
                all.extend(read.vectors);
            }
            all
        };
        let texts: Vec<_> = (0..130)
            .map(|number| Text::plain(&format!("text {number}")).into_owned())
            .collect();
        let all = vectors(texts.clone()).await;
        assert_eq!(all.len(), texts.len());
        assert!(all.iter().all(|vector| vector.len() == 256));
        assert_eq!(vectors(vec![texts[120].clone()]).await, [all[120].clone()]);
        assert_ne!(all[0], all[120]);
    });
}
