//! Embeddings as clients ask for them and as servers give them.

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::exchange::{Reply, Target};
use crate::facts::{self, ModelFacts};
use crate::ir::{Class, EmbedInput, EmbedRequest, Embeddings, FaultKind, Json, Refused, Usage};
use crate::provider::{ProviderKind, ProviderProfile};

fn texts(request: &EmbedRequest<'_>) -> Vec<String> {
    let EmbedInput::Texts(texts) = &request.input else {
        panic!("no texts")
    };
    let texts = texts.iter();
    texts.map(|text| text.decoded().into_owned()).collect()
}

fn reply() -> Reply {
    Reply::sample()
}

fn sent(request: EmbedRequest<'_>, provider: ProviderProfile<'_>) -> Result<Value, Refused> {
    let facts = ModelFacts {
        embeddings: Some(facts::EmbeddingFacts {
            dimensions: 768,
            choices: Vec::new(),
            reducible: true,
            batch: None,
        }),
        ..ModelFacts::default()
    };
    let target = Target {
        model: "nomic-embed-text",
        facts: &facts,
        provider,
        stream: false,
    };
    let mut calls = write_embed(request, &target)?;
    let call = calls.pop().unwrap();
    assert!(calls.is_empty() && call.path == "/api/embed");
    Ok(serde_json::from_slice(&call.body).unwrap())
}

#[test]
fn one_text_or_several() {
    let read = |body: &str| texts(&read_embed(body.as_bytes()).unwrap());
    assert_eq!(read(r#"{"input":"a\n"}"#), ["a\n"]);
    assert_eq!(read(r#"{"INPUT":["a","","b"]}"#), ["a", "", "b"]);
    for body in [
        "{}",
        r#"{"input":""}"#,
        r#"{"input":[]}"#,
        r#"{"input":null}"#,
    ] {
        assert_eq!(read(body), [""; 0], "{body}");
    }
    for body in [r#"{"input":1}"#, r#"{"input":["a",1]}"#, r#"{"input":{}}"#] {
        let refused = read_embed(body.as_bytes()).unwrap_err();
        assert_eq!(refused.text, "invalid input type", "{body}");
    }
    let legacy = |body: &str| texts(&read_embed_legacy(body.as_bytes()).unwrap());
    assert_eq!(legacy(r#"{"prompt":"a","options":{}}"#), ["a"]);
    assert_eq!(legacy(r#"{"prompt":""}"#), [""; 0]);
    assert_eq!(
        read_embed_legacy(br#"{"prompt":[]}"#).unwrap_err().text,
        "json: cannot unmarshal array into Go struct field EmbeddingRequest.prompt of type string"
    );
}

#[test]
fn a_server_gets_all_texts_in_one_call() {
    let body = r#"{"input":["a","b"],"dimensions":256,"truncate":false,"keep_alive":0,"options":{"num_ctx":1}}"#;
    let mut provider = ProviderProfile::of_kind("gpus", ProviderKind::Ollama);
    let expected = json!({"model": "nomic-embed-text", "input": ["a", "b"], "truncate": false, "dimensions": 256,
        "keep_alive": 0, "options": {"num_ctx": 1}});
    let request = || read_embed(body.as_bytes()).unwrap();
    assert_eq!(sent(request(), provider), Ok(expected));
    provider.num_ctx = Some(512);
    assert_eq!(
        sent(request(), provider).unwrap()["options"],
        json!({"num_ctx": 512})
    );
    let plain = read_embed(br#"{"input":"a","dimensions":0}"#).unwrap();
    provider.num_ctx = None;
    let expected = json!({"model": "nomic-embed-text", "input": ["a"]});
    assert_eq!(sent(plain, provider), Ok(expected));
}

#[test]
fn another_length_than_was_asked_for_is_never_given() {
    let request = read_embed(br#"{"input":"a","dimensions":1024}"#).unwrap();
    let refused = sent(request, ProviderProfile::of_kind("g", ProviderKind::Ollama)).unwrap_err();
    assert_eq!(refused.param, Some("dimensions"));
    let tokens = EmbedRequest {
        input: EmbedInput::Tokens(Json::trusted("[[1]]")),
        ..read_embed(b"{}").unwrap()
    };
    let refused = sent(tokens, ProviderProfile::of_kind("g", ProviderKind::Ollama)).unwrap_err();
    assert_eq!(refused.param, Some("input"));
}

#[test]
fn vectors_have_length_one_on_the_newer_route_only() {
    let embeddings = Embeddings {
        vectors: vec![vec![3.0, 4.0], vec![0.0, -1.0]],
        usage: Usage {
            prompt: Some(5),
            load_duration: Some(7),
            ..Usage::default()
        },
    };
    let mut out = Vec::new();
    write_embeddings(&embeddings, &reply(), &mut out);
    let mut answer: Value = serde_json::from_slice(&out).unwrap();
    let total = answer.as_object_mut().unwrap().remove("total_duration");
    assert!(total.unwrap().as_u64() > Some(0));
    let read = read_embeddings(&out, &HeaderMap::new()).unwrap();
    assert_eq!(read.vectors, [vec![0.6, 0.8], vec![0.0, -1.0]]);
    assert_eq!(read.usage.prompt, Some(5));
    assert_eq!(answer["load_duration"], 7);

    out.clear();
    write_embeddings_legacy(&embeddings, &reply(), &mut out);
    assert_eq!(String::from_utf8_lossy(&out), r#"{"embedding":[3.0,4.0]}"#);
}

#[test]
fn loading_gives_no_vectors() {
    let none = Embeddings::default();
    let mut out = Vec::new();
    write_embeddings(&none, &reply(), &mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        r#"{"model":"m","embeddings":[]}"#
    );
    out.clear();
    write_embeddings_legacy(&none, &reply(), &mut out);
    assert_eq!(String::from_utf8_lossy(&out), r#"{"embedding":[]}"#);
}

#[test]
fn answers_that_are_no_vectors_are_faults() {
    let read = |body: &str| read_embeddings(body.as_bytes(), &HeaderMap::new()).unwrap_err();
    for body in [
        "",
        "{}",
        r#"{"embeddings":[["a"]]}"#,
        r#"{"embeddings":[[1e60]]}"#,
    ] {
        assert_eq!(read(body).kind, FaultKind::Garbled, "{body}");
    }
    let fault = read(r#"{"error":"the input length exceeds the context length"}"#);
    assert_eq!(
        (fault.class, fault.kind),
        (Class::Route, FaultKind::ContextLength)
    );
}

proptest! {
    #[test]
    fn vectors_are_read_as_they_were_written(vectors in proptest::collection::vec(
        proptest::collection::vec(-1e3..1e3_f32, 1..5), 0..4)) {
        let mut embeddings = Embeddings { vectors, usage: Usage::default() };
        let mut out = Vec::new();
        write_embeddings(&embeddings, &reply(), &mut out);
        embeddings.normalise();
        let read = read_embeddings(&out, &HeaderMap::new()).unwrap();
        prop_assert_eq!(read.vectors, embeddings.vectors);
    }

    #[test]
    fn nothing_makes_it_panic(body in any::<Vec<u8>>()) {
        let _ = read_embed(&body);
        let _ = read_embed_legacy(&body);
        let _ = read_embeddings(&body, &HeaderMap::new());
    }
}
