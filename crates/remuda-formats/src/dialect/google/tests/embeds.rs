//! Embeddings.

use serde_json::json;

use super::*;
use crate::ir::EmbedInput;

const MODEL: &str = "gemini-embedding-001";

fn request(texts: usize, dimensions: Option<u32>) -> EmbedRequest<'static> {
    let texts = (0..texts).map(|number| Text::plain(&format!("text \"{number}\"")).into_owned());
    EmbedRequest {
        input: EmbedInput::Texts(texts.collect()),
        dimensions,
        truncate: None,
        user: None,
        local: Default::default(),
        dropped: Default::default(),
    }
}

fn sent(request: EmbedRequest<'static>) -> Result<Vec<ProviderRequest>, Refused> {
    at(MODEL, false, |target| write_embed(request, target))
}

#[test]
fn a_hundred_texts_go_in_one_call() {
    let calls = sent(request(201, Some(256))).unwrap();
    let bodies: Vec<Value> = calls
        .iter()
        .map(|call| serde_json::from_slice(&call.body).unwrap())
        .collect();
    let lengths: Vec<usize> = bodies
        .iter()
        .map(|body| body["requests"].as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [100, 100, 1]);
    assert_eq!(
        calls[0].path,
        "/models/gemini-embedding-001:batchEmbedContents"
    );
    assert_eq!(
        bodies[2]["requests"][0],
        json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "text \"200\""}]}, "outputDimensionality": 256})
    );
    assert!(sent(request(0, None)).unwrap().is_empty());
}

#[test]
fn what_the_model_cannot_give_is_refused() {
    let refused = sent(request(1, Some(5000))).unwrap_err();
    assert_eq!(refused.param, Some("dimensions"));
    let tokens = EmbedRequest {
        input: EmbedInput::Tokens(Json::trusted("[[1]]")),
        ..request(0, None)
    };
    assert_eq!(sent(tokens).unwrap_err().param, Some("input"));
    let uncut = EmbedRequest {
        truncate: Some(false),
        ..request(1, None)
    };
    assert_eq!(sent(uncut).unwrap()[0].dropped.fields(), ["truncate"]);
}

#[test]
fn vectors_are_read_in_their_order() {
    let read = |body: &str| read_embeddings(body.as_bytes(), &HeaderMap::new());
    let many = read(r#"{"embeddings":[{"values":[0.5,-1]},{"values":[1e-3]}],"usageMetadata":{"promptTokenCount":4}}"#).unwrap();
    assert_eq!(many.vectors, [vec![0.5, -1.0], vec![0.001]]);
    assert_eq!(many.usage.prompt, Some(4));
    assert_eq!(
        read(r#"{"embedding":{"values":[2]}}"#).unwrap().vectors,
        [vec![2.0]]
    );
    for body in [
        "",
        "{}",
        r#"{"embeddings":[]}"#,
        r#"{"embeddings":[{}]}"#,
        r#"{"embeddings":[{"values":["x"]}]}"#,
    ] {
        assert_eq!(
            read(body).unwrap_err().kind,
            crate::ir::FaultKind::Garbled,
            "{body}"
        );
    }
    let failed = read(r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#);
    assert_eq!(failed.unwrap_err().kind, crate::ir::FaultKind::RateLimit);
}
