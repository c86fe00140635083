//! Embeddings and listings.

use super::*;
use crate::ir::{Dropped, EmbedInput, Json, Text};
use http::HeaderValue;
use serde_json::json;

const TITAN_1: &str = "amazon.titan-embed-text-v1";
const TITAN_2: &str = "amazon.titan-embed-text-v2:0";
const COHERE_3: &str = "cohere.embed-english-v3";
const COHERE_4: &str = "us.cohere.embed-v4:0";
const NOVA_EMBED: &str = "amazon.nova-2-multimodal-embeddings-v1:0";

fn request(texts: &[&'static str], dimensions: Option<u32>) -> EmbedRequest<'static> {
    EmbedRequest {
        input: EmbedInput::Texts(texts.iter().map(|text| Text::plain(text)).collect()),
        dimensions,
        truncate: None,
        user: None,
        local: Default::default(),
        dropped: Dropped::default(),
    }
}

fn bodies(model: &str, request: EmbedRequest<'_>) -> Vec<Value> {
    let calls = with_target(model, false, |target| write_embed(request, target)).unwrap();
    let path = path::RuntimeOperation::Invoke.path(model);
    assert!(calls.iter().all(|call| call.path == path));
    calls.iter().map(|call| json(&call.body)).collect()
}

#[test]
fn every_maker_is_asked_in_its_own_way() {
    let texts = ["a \"b\"", "c"];
    assert_eq!(
        bodies(TITAN_1, request(&texts, None)),
        [json!({"inputText": "a \"b\""}), json!({"inputText": "c"})]
    );
    assert_eq!(
        bodies(TITAN_2, request(&texts, Some(256))),
        [
            json!({"inputText": "a \"b\"", "dimensions": 256}),
            json!({"inputText": "c", "dimensions": 256})
        ]
    );
    let cohere = json!({"texts": texts, "input_type": "search_document", "truncate": "END"});
    let mut shorter = cohere.clone();
    assert_eq!(bodies(COHERE_3, request(&texts, None)), [cohere]);
    shorter["output_dimension"] = json!(512);
    shorter["truncate"] = json!("NONE");
    let strict = EmbedRequest {
        truncate: Some(false),
        ..request(&texts, Some(512))
    };
    assert_eq!(bodies(COHERE_4, strict), [shorter]);
    assert_eq!(
        bodies(NOVA_EMBED, request(&["c"], Some(384))),
        [json!({
            "schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 384,
                "text": {"truncationMode": "END", "value": "c"}
            }
        })]
    );
}

#[test]
fn batches_are_as_long_as_cohere_takes_them() {
    let texts = vec!["x"; 200];
    let lengths: Vec<usize> = bodies(COHERE_3, request(&texts, None))
        .iter()
        .map(|body| body["texts"].as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [96, 96, 8]);
}

#[test]
fn what_cannot_be_embedded_is_refused() {
    let refused = |model: &str, request: EmbedRequest<'_>| {
        with_target(model, false, |target| write_embed(request, target))
            .unwrap_err()
            .param
    };
    assert_eq!(
        refused(TITAN_1, request(&["a"], Some(256))),
        Some("dimensions")
    );
    assert_eq!(
        refused(COHERE_3, request(&["a"], Some(512))),
        Some("dimensions")
    );
    assert_eq!(refused(UNKNOWN, request(&["a"], None)), Some("model"));
    let tokens = EmbedRequest {
        input: EmbedInput::Tokens(Json::trusted("[[1,2]]")),
        ..request(&[], None)
    };
    assert_eq!(refused(TITAN_2, tokens), Some("input"));
    // The length that it gives anyway may be asked for.
    assert_eq!(
        bodies(TITAN_1, request(&["a"], Some(1536))),
        [json!({"inputText": "a"})]
    );
}

#[test]
fn vectors_of_every_maker_are_read() {
    let mut headers = HeaderMap::new();
    headers.insert(
        "x-amzn-bedrock-input-token-count",
        HeaderValue::from_static("7"),
    );
    let two = vec![vec![0.5, -1.0], vec![2.0, 1e-3]];
    for (body, vectors, tokens) in [
        (
            r#"{"embedding":[0.5,-1],"embeddingsByType":{"float":[0.5,-1]},"inputTextTokenCount":3}"#,
            vec![vec![0.5, -1.0]],
            3,
        ),
        (
            r#"{"embeddings":[[0.5,-1],[2,0.001]],"id":"x","response_type":"embeddings_floats"}"#,
            two.clone(),
            7,
        ),
        (r#"{"embeddings":{"float":[[0.5,-1],[2,0.001]]}}"#, two, 7),
        (
            r#"{"embeddings":[{"embedding":[0.5,-1],"embeddingType":"TEXT"}]}"#,
            vec![vec![0.5, -1.0]],
            7,
        ),
    ] {
        let read = read_embeddings(body.as_bytes(), &headers).unwrap();
        assert_eq!(
            (read.vectors, read.usage.prompt),
            (vectors, Some(tokens)),
            "{body}"
        );
    }
    for body in ["", "{}", r#"{"embeddings":"no"}"#] {
        assert!(
            read_embeddings(body.as_bytes(), &headers).is_err(),
            "{body}"
        );
    }
}

#[test]
fn models_that_can_be_called_are_listed() {
    let models = br#"{"modelSummaries":[
        {"modelArn":"arn:aws:bedrock:us-east-1::foundation-model/a.chat-v1:0","modelId":"a.chat-v1:0","outputModalities":["TEXT"],"inferenceTypesSupported":["ON_DEMAND"],"modelLifecycle":{"status":"ACTIVE"}},
        {"modelId":"a.by-profile-v1:0","outputModalities":["TEXT"],"inferenceTypesSupported":["INFERENCE_PROFILE"]},
        {"modelId":"a.embed-v1","outputModalities":["EMBEDDING"],"inferenceTypesSupported":["ON_DEMAND"]},
        {"modelId":"a.paint-v1","outputModalities":["IMAGE"],"inferenceTypesSupported":["ON_DEMAND"]},
        {"modelId":"a.plain"}]}"#;
    let ids = |page: listing::BedrockPage| -> Vec<String> {
        page.models.into_iter().map(|model| model.id).collect()
    };
    assert_eq!(
        ids(listing::read(models).unwrap()),
        ["a.chat-v1:0", "a.embed-v1", "a.plain"]
    );
    let profiles = br#"{"inferenceProfileSummaries":[
        {"inferenceProfileId":"us.a.by-profile-v1:0","status":"ACTIVE","type":"SYSTEM_DEFINED","models":[{"modelArn":"arn"}]}],
        "nextToken":"a+b/c="}"#;
    let page = listing::read(profiles).unwrap();
    let next = listing::next_page(page.next.as_deref().unwrap());
    assert_eq!(
        next,
        "/inference-profiles?maxResults=1000&nextToken=a%2Bb%2Fc%3D"
    );
    assert_eq!(ids(page), ["us.a.by-profile-v1:0"]);
    assert_eq!(listing::read(b"<html>"), None);
}
