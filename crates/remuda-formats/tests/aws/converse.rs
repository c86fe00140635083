//! Any chat becomes a request that the service's model and its written rules have no objection to.

use crate::{ask, samples};
use proptest::prelude::*;
use remuda_formats::dialect::bedrock;
use remuda_formats::dialect::exchange::Target;
use remuda_formats::facts::Facts;
use remuda_formats::ir::{
    CacheTtl, ChatRequest, Document, Effort, Format, Image, Json, Message, Part, Role, Sampling,
    Text, Thinking, Thought, Tool, ToolCall, ToolChoice, ToolResult,
};
use remuda_formats::provider::{ProviderKind, ProviderProfile};
use serde_json::{Value, json};

const MODELS: &[&str] = &[
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
    "anthropic.claude-opus-4-6-v1:0",
    "anthropic.claude-opus-5-v1:0",
    "anthropic.claude-sonnet-5-5-v1:0",
    "us.amazon.nova-pro-v1:0",
    "amazon.titan-text-express-v1",
    "zephyr.llama9-v1:0",
];

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

fn text() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![
        2 => "[a-zé\"\\\\<\n ]{1,12}",
        1 => "[ \t\n]{0,3}",
    ]
    .prop_map(|text| Text::plain(&text).into_owned())
}

fn name() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![
        4 => "[a-c]{1,2}",
        1 => "[a-c._é /]{1,3}",
        1 => "[a-z]{60,70}",
    ]
    .prop_map(|name| Text::plain(&name).into_owned())
}

fn id() -> impl Strategy<Value = Option<Text<'static>>> {
    prop::option::of(name())
}

fn file() -> impl Strategy<Value = Part<'static>> {
    let types: &'static [&str] = &[
        "application/pdf",
        "text/csv",
        "text/plain; charset=utf-8",
        "audio/wav",
    ];
    let document =
        (prop::option::of(text()), prop::sample::select(types)).prop_map(|(name, kind)| {
            let (media_type, data) = (kind.into(), "SGk=".into());
            Part::Document(Document {
                name,
                media_type,
                data,
            })
        });
    let image = Part::Image(Image::from_base64(PNG.into()).unwrap());
    prop_oneof![document, Just(image)]
}

fn result() -> impl Strategy<Value = Part<'static>> {
    let parts = prop_oneof![
        3 => text().prop_map(Part::Text),
        1 => Just(Part::Image(Image::from_base64(PNG.into()).unwrap())),
    ];
    (
        id(),
        prop::option::of(name()),
        prop::collection::vec(parts, 0..3),
        any::<bool>(),
    )
        .prop_map(|(id, name, parts, is_error)| {
            Part::ToolResult(ToolResult {
                id,
                name,
                parts,
                is_error,
            })
        })
}

fn call() -> impl Strategy<Value = Part<'static>> {
    (id(), name()).prop_map(|(id, name)| {
        let (arguments, signature) = (Json::trusted(r#"{"a":[1,{}]}"#), None);
        Part::ToolCall(ToolCall {
            id,
            name,
            arguments,
            signature,
        })
    })
}

fn thought() -> impl Strategy<Value = Part<'static>> {
    (text(), id(), any::<bool>()).prop_map(|(text, signature, redacted)| {
        // Redacted ones are data.
        let signature = if redacted {
            Some(Text::plain("cmVk"))
        } else {
            signature
        };
        let text = if redacted { Text::default() } else { text };
        Part::Thought(Thought {
            text,
            signature,
            redacted,
            id: None,
        })
    })
}

fn ttl() -> impl Strategy<Value = CacheTtl> {
    prop_oneof![Just(CacheTtl::Short), Just(CacheTtl::Hour)]
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let say = || text().prop_map(Part::Text);
    let mark = || ttl().prop_map(Part::Breakpoint);
    let of = |role| move |parts| Message::new(role, parts);
    let system = prop_oneof![3 => say(), 1 => mark()];
    let system = prop::collection::vec(system, 0..3).prop_map(of(Role::System));
    let user = prop_oneof![3 => say(), 3 => result(), 1 => file(), 1 => mark()];
    let user = prop::collection::vec(user, 0..4).prop_map(of(Role::User));
    let assistant = prop_oneof![2 => say(), 2 => call(), 1 => thought(), 1 => mark()];
    let assistant = prop::collection::vec(assistant, 0..4).prop_map(of(Role::Assistant));
    prop_oneof![1 => system, 3 => user, 3 => assistant]
}

fn tool() -> impl Strategy<Value = Tool<'static>> {
    let schemas: &'static [&str] = &[
        "{}",
        r#"{"type":"object"}"#,
        r#"{"properties":{"a":{"type":"string"}}}"#,
    ];
    let schema = prop::option::of(prop::sample::select(schemas).prop_map(Json::trusted));
    (
        name(),
        prop::option::of(text()),
        schema,
        prop::option::of(any::<bool>()),
        prop::option::of(ttl()),
    )
        .prop_map(|(name, description, parameters, strict, cache)| Tool {
            name,
            description,
            parameters,
            strict,
            cache,
        })
}

fn thinking() -> impl Strategy<Value = Option<Thinking>> {
    use Effort::{High, Low, Max, Medium, Minimal, XHigh};
    let effort = prop::sample::select(&[Minimal, Low, Medium, High, XHigh, Max]);
    prop::option::of(prop_oneof![
        Just(Thinking::Off),
        Just(Thinking::On),
        effort.prop_map(Thinking::Effort),
        (0..100_000_u64).prop_map(Thinking::Budget),
    ])
}

fn format() -> impl Strategy<Value = Format<'static>> {
    let schema =
        (prop::option::of(name()), prop::option::of(text())).prop_map(|(name, description)| {
            Format::Schema {
                name,
                description,
                schema: Json::trusted(r#"{"type":"object"}"#),
                strict: None,
            }
        });
    prop_oneof![Just(Format::Text), Just(Format::Json), schema]
}

fn chat() -> impl Strategy<Value = ChatRequest<'static>> {
    let number = || prop::option::of(-1.0..3.0_f64);
    let sampling = (number(), number(), prop::option::of(-1..100_i64));
    let tools = prop::collection::vec(tool(), 0..4);
    let choice = 0..4_u8;
    let limits = (
        prop::option::of(0..200_000_u64),
        prop::collection::vec(text(), 0..3),
    );
    let messages = prop::collection::vec(message(), 0..8);
    (
        messages,
        tools,
        choice,
        sampling,
        limits,
        thinking(),
        format(),
    )
        .prop_map(
            |(messages, mut tools, choice, sampling, (max_tokens, stop), thinking, format)| {
                // A client does not offer two tools of one name.
                let mut names = Vec::new();
                tools.retain(|tool| {
                    let is_new = !names.contains(&tool.name);
                    names.push(tool.name.clone());
                    is_new
                });
                let (temperature, top_p, top_k) = sampling;
                ChatRequest {
                    messages,
                    tool_choice: match (choice, tools.first()) {
                        (0, _) => ToolChoice::None,
                        (1, _) => ToolChoice::Required,
                        (2, Some(tool)) => ToolChoice::Named(tool.name.clone()),
                        _ => ToolChoice::Auto,
                    },
                    tools,
                    sampling: Sampling {
                        temperature,
                        top_p,
                        top_k,
                        ..Sampling::default()
                    },
                    max_tokens,
                    stop,
                    thinking,
                    format,
                    ..ChatRequest::default()
                }
            },
        )
}

#[test]
fn any_chat_becomes_a_request_that_the_service_accepts() {
    let facts = Facts::bundled();
    let chats = samples(&(chat(), prop::sample::select(MODELS)), 3000);
    let questions: Vec<Value> = chats
        .iter()
        .map(|(chat, model)| {
            let target = Target {
                model,
                facts: facts.find(ProviderKind::Bedrock, model),
                provider: ProviderProfile::of_kind("bedrock", ProviderKind::Bedrock),
                stream: false,
            };
            let outgoing = bedrock::write_chat(chat.clone(), &target).unwrap();
            let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
            json!({"ask": "validate", "body": body})
        })
        .collect();
    let mut objections = Vec::new();
    for (question, problems) in questions.iter().zip(ask(&questions)) {
        for problem in problems.as_array().unwrap() {
            objections.push(format!("{problem}\n  {question}"));
        }
    }
    let few = objections.iter().take(5).cloned().collect::<Vec<_>>();
    assert!(
        objections.is_empty(),
        "{} objections:\n{}",
        objections.len(),
        few.join("\n")
    );
}
