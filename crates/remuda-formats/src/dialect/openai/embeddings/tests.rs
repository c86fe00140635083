//! Embeddings in both directions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::exchange::{Reply, Target};
use crate::facts::{self, ModelFacts};
use crate::ir::{Class, EmbedInput, Embeddings, Usage};
use crate::provider::{ProviderKind, ProviderProfile, SamplingFields};

fn reply(base64: bool) -> Reply {
    Reply {
        base64,
        ..Reply::sample()
    }
}

fn refusal(fields: Value) -> &'static str {
    read_embed(fields.to_string().as_bytes())
        .unwrap_err()
        .param
        .unwrap()
}

/// The bodies that are sent for a request.
fn sent(kind: ProviderKind, facts: &ModelFacts, fields: Value) -> Result<Vec<Value>, &'static str> {
    let mut provider = ProviderProfile::of_kind("p", kind);
    provider.sampling = SamplingFields::Standard;
    let target = Target {
        model: "m",
        facts,
        provider,
        stream: false,
    };
    let body = fields.to_string();
    let calls = write_embed(read_embed(body.as_bytes()).unwrap().0, &target)
        .map_err(|refused| refused.param.unwrap())?;
    Ok(calls
        .iter()
        .map(|call| serde_json::from_slice(&call.body).unwrap())
        .collect())
}

fn model(dimensions: u32, choices: &[u32], reducible: bool, batch: Option<u32>) -> ModelFacts {
    ModelFacts {
        embeddings: Some(facts::EmbeddingFacts {
            dimensions,
            choices: choices.to_vec(),
            reducible,
            batch,
        }),
        ..ModelFacts::default()
    }
}

#[test]
fn every_form_of_input_is_read() {
    let read = |input: Value| {
        let body = json!({"model": "m", "input": input}).to_string();
        match read_embed(body.as_bytes()).unwrap().0.input {
            EmbedInput::Texts(texts) => {
                let texts: Vec<_> = texts
                    .iter()
                    .map(|text| text.decoded().into_owned())
                    .collect();
                json!(texts)
            }
            EmbedInput::Tokens(tokens) => serde_json::from_str(tokens.as_str()).unwrap(),
        }
    };
    assert_eq!(read(json!("a\"")), json!(["a\""]));
    assert_eq!(read(json!(["a", "b"])), json!(["a", "b"]));
    assert_eq!(read(json!([1, 2])), json!([[1, 2]]));
    assert_eq!(read(json!([[1], [2, 3]])), json!([[1], [2, 3]]));
}

#[test]
fn wrong_requests_are_refused_by_name() {
    for (fields, blamed) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": ["a", 1]}), "input"),
        (json!({"input": [-1]}), "input"),
        (
            json!({"input": "a", "encoding_format": "hex"}),
            "encoding_format",
        ),
        (json!({"input": "a", "dimensions": 0}), "dimensions"),
    ] {
        assert_eq!(refusal(fields.clone()), blamed, "{fields}");
    }
}

/// The client gets the `encoding_format` that it asks for (BerriAI/litellm#42421); the provider is never asked for
/// base64, which some servers do not know (plastic-labs/honcho#932).
#[test]
fn base64_is_for_the_client_and_never_for_the_provider() {
    let encoded = |format: Value| {
        let body = json!({"input": "a", "encoding_format": format}).to_string();
        read_embed(body.as_bytes()).unwrap().1
    };
    assert!(encoded(json!("base64")));
    assert!(!encoded(json!("float")) && !encoded(Value::Null));

    let asks = json!({"input": "a", "encoding_format": "base64", "user": "u"});
    let facts = ModelFacts::default();
    assert_eq!(
        sent(ProviderKind::OpenAi, &facts, asks.clone()).unwrap(),
        [json!({"model": "m", "input": ["a"], "encoding_format": "float", "user": "u"})]
    );
    assert_eq!(
        sent(ProviderKind::OpenAiCompatible, &facts, asks).unwrap(),
        [json!({"model": "m", "input": ["a"]})]
    );

    let embeddings = Embeddings {
        vectors: vec![vec![0.25, -1.5, 3.4028235e38], vec![]],
        usage: Usage {
            prompt: Some(7),
            ..Usage::default()
        },
    };
    let written = |base64| -> Value {
        let mut out = Vec::new();
        write_embeddings(&embeddings, &reply(base64), &mut out);
        serde_json::from_slice(&out).unwrap()
    };
    let mut expected = json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.5, 3.4028235e38]},
            {"object": "embedding", "index": 1, "embedding": []}]});
    assert_eq!(written(false), expected);
    let bytes = [
        0x00, 0x00, 0x80, 0x3E, 0x00, 0x00, 0xC0, 0xBF, 0xFF, 0xFF, 0x7F, 0x7F,
    ];
    expected["data"][0]["embedding"] = json!(STANDARD.encode(bytes));
    expected["data"][1]["embedding"] = json!("");
    assert_eq!(written(true), expected);
}

#[test]
fn a_length_that_cannot_be_had_is_refused() {
    let ask = |facts: &ModelFacts, dimensions: u32| {
        let fields = json!({"input": "a", "dimensions": dimensions});
        sent(ProviderKind::OpenAi, facts, fields).map(|calls| calls[0]["dimensions"].clone())
    };
    let reducible = model(1536, &[], true, None);
    assert_eq!(ask(&reducible, 256), Ok(json!(256)));
    assert_eq!(ask(&reducible, 2000), Err("dimensions"));
    let fixed = model(1536, &[], false, None);
    assert_eq!(ask(&fixed, 1536), Ok(Value::Null));
    assert_eq!(ask(&fixed, 256), Err("dimensions"));
    assert_eq!(ask(&ModelFacts::default(), 5), Ok(json!(5)));
}

#[test]
fn large_batches_become_several_calls() {
    let texts: Vec<_> = (0..5000).map(|number| number.to_string()).collect();
    let calls = sent(
        ProviderKind::OpenAi,
        &ModelFacts::default(),
        json!({"input": texts}),
    )
    .unwrap();
    let lengths: Vec<_> = calls
        .iter()
        .map(|call| call["input"].as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [2048, 2048, 904]);
    assert_eq!(calls[1]["input"][0], "2048");
    let small = model(8, &[], false, Some(2));
    let calls = sent(
        ProviderKind::OpenAi,
        &small,
        json!({"input": [[1], [2], [3]]}),
    )
    .unwrap();
    assert_eq!(calls[1]["input"], json!([[3]]));
}

#[test]
fn tokens_go_only_where_they_are_understood() {
    let tokens = json!({"input": [1, 2]});
    let facts = ModelFacts::default();
    assert!(sent(ProviderKind::Azure, &facts, tokens.clone()).is_ok());
    assert_eq!(sent(ProviderKind::OpenRouter, &facts, tokens), Err("input"));
}

#[test]
fn vectors_are_read_in_the_order_of_their_inputs() {
    let read = |body: Value| read_embeddings(body.to_string().as_bytes(), &HeaderMap::new());
    let base64 = STANDARD.encode([0x00, 0x00, 0x80, 0x3E]);
    let answer = read(
        json!({"object": "list", "data": [{"index": 1, "embedding": base64},
        {"index": 0, "embedding": [1, 2.5]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}),
    )
    .unwrap();
    assert_eq!(answer.vectors, [vec![1.0, 2.5], vec![0.25]]);
    assert_eq!(answer.usage.prompt, Some(3));
    let unnumbered = read(json!({"data": [{"embedding": [1]}, {"embedding": [2]}]})).unwrap();
    assert_eq!(unnumbered.vectors, [[1.0], [2.0]]);
    for wrong in [
        json!({"data": [{"index": 1, "embedding": [1]}]}),
        json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}),
        json!({"data": [{"index": 0}]}),
        json!({"data": [{"index": 0, "embedding": "abc"}]}),
        json!([]),
        json!({}),
        json!({"data": []}),
        json!([[{"embedding": [1]}]]),
        json!({"ok": true}),
    ] {
        assert_eq!(
            read(wrong.clone()).unwrap_err().class,
            Class::Transient,
            "{wrong}"
        );
    }
    let error = read(json!({"error": {"message": "full", "code": 429}})).unwrap_err();
    assert_eq!((error.class, &*error.message), (Class::Capacity, "full"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in any::<Vec<u8>>()) {
        let _ = read_embed(&body);
        let _ = read_embeddings(&body, &HeaderMap::new());
    }

    /// Vectors that are written are read again, bit for bit, in both encodings.
    #[test]
    fn what_is_written_is_read(vectors in prop::collection::vec(prop::collection::vec(-1e30_f32..1e30, 0..9), 1..4),
        base64 in any::<bool>()) {
        let embeddings = Embeddings { vectors, usage: Usage::default() };
        let mut body = Vec::new();
        write_embeddings(&embeddings, &reply(base64), &mut body);
        prop_assert_eq!(read_embeddings(&body, &HeaderMap::new()).unwrap(), embeddings);
    }
}
