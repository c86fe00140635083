//! Listing, showing and changing what is on disk.

use super::*;
use serde_json::json;

#[tokio::test]
async fn the_small_routes() {
    let running = fast("llama3.2").await;
    let root = get(&running, "/").await;
    assert_eq!(
        (root.text(), root.content_type()),
        ("Ollama is running", "text/plain; charset=utf-8")
    );
    let head = call(&running, Method::HEAD, "/", "").await;
    assert_eq!((head.status.as_u16(), head.text()), (200, ""));
    let head = call(&running, Method::HEAD, "/api/tags", "").await;
    assert_ne!(head.headers["content-length"], "0");
    assert_eq!(
        get(&running, "/api/version").await.json(),
        json!({"version": "0.33.0"})
    );
    let unknown = get(&running, "/api/nothing").await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.text()),
        (404, "404 page not found")
    );
    for (method, path) in [
        (Method::GET, "/api/chat"),
        (Method::POST, "/api/tags"),
        (Method::POST, "/"),
        (Method::POST, "/api/delete"),
        (Method::GET, "/api/blobs/sha256:0"),
    ] {
        let wrong = call(&running, method, path, "").await;
        assert_eq!(wrong.status, 405, "{path}");
        assert_eq!(wrong.text(), "405 method not allowed");
    }
}

#[tokio::test]
async fn tags_and_show_describe_the_models() {
    let running = fast("llama3.2,qwen3:8b").await;
    let tags = get(&running, "/api/tags").await.json();
    assert_eq!(tags["models"].as_array().unwrap().len(), 2);
    for model in tags["models"].as_array().unwrap() {
        assert_eq!(model["name"], model["model"]);
        assert_eq!(model["digest"].as_str().unwrap().len(), 64);
        assert!(model["size"].as_u64().unwrap() > 1 << 30);
    }
    let show = post(&running, "/api/show", r#"{"name":"QWEN3:8B"}"#)
        .await
        .json();
    let architecture = show["model_info"]["general.architecture"].as_str().unwrap();
    assert_eq!(
        show["model_info"][format!("{architecture}.context_length")],
        40_960
    );
    assert_eq!(
        show["capabilities"],
        json!(["completion", "tools", "thinking"])
    );
    let missing = post(&running, "/api/show", r#"{"model":"nope"}"#).await;
    assert_eq!(
        missing.error(),
        (404, "model 'nope:latest' not found".to_owned())
    );
}

#[tokio::test]
async fn ps_shows_what_is_loaded_and_until_when() {
    let running = fast("llama3.2,qwen3:8b").await;
    assert_eq!(get(&running, "/api/ps").await.json(), json!({"models": []}));
    post(&running, "/api/chat", CHAT).await;
    post(
        &running,
        "/api/generate",
        r#"{"model":"qwen3:8b","keep_alive":-1}"#,
    )
    .await;
    let ps = get(&running, "/api/ps").await.json();
    let expires = |at: usize| {
        let text = ps["models"][at]["expires_at"].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(text).unwrap()
    };
    assert_eq!(ps["models"][0]["name"], "qwen3:8b");
    assert_eq!(expires(0).format("%Y").to_string().len(), 4);
    assert!(expires(0) - expires(1) > chrono::TimeDelta::days(365 * 200));
    let left = expires(1).signed_duration_since(chrono::Utc::now());
    assert!((290..=300).contains(&left.num_seconds()), "{left}");
    assert_eq!(ps["models"][1]["size"], ps["models"][1]["size_vram"]);
    assert_eq!(ps["models"][1]["context_length"], 32_768);
}

#[tokio::test]
async fn pulling_adds_a_model_of_the_catalogue() {
    let running = fast("llama3.2").await;
    let lines = post(&running, "/api/pull", r#"{"model":"mistral"}"#)
        .await
        .lines();
    assert_eq!(lines[0], json!({"status": "pulling manifest"}));
    assert!(lines[1].get("completed").is_none());
    assert!(lines[1]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(lines.last().unwrap(), &json!({"status": "success"}));
    assert_eq!(
        get(&running, "/api/tags").await.json()["models"][0]["name"],
        "mistral:latest"
    );
}

#[tokio::test]
async fn pulling_what_is_nowhere_is_an_error_line_after_a_200() {
    let running = fast("llama3.2").await;
    let text = "pull model manifest: file does not exist";
    let streamed = post(&running, "/api/pull", r#"{"model":"nowhere"}"#).await;
    assert_eq!(streamed.status, 200);
    assert_eq!(streamed.lines().last().unwrap(), &json!({ "error": text }));
    let whole = post(
        &running,
        "/api/pull",
        r#"{"model":"nowhere","stream":false}"#,
    )
    .await;
    assert_eq!(whole.error(), (500, text.to_owned()));
}

#[tokio::test]
async fn copy_create_and_delete() {
    let running = fast("llama3.2").await;
    let copy = r#"{"source":"llama3.2","destination":"mine"}"#;
    let copied = post(&running, "/api/copy", copy).await;
    assert_eq!((copied.status.as_u16(), copied.text()), (200, ""));
    let create = r#"{"model":"yours","from":"mine","stream":false}"#;
    assert_eq!(
        post(&running, "/api/create", create).await.json(),
        json!({"status": "success"})
    );
    let chat = CHAT.replace("llama3.2", "yours");
    assert_eq!(post(&running, "/api/chat", &chat).await.status, 200);
    let delete = |name: &str| format!(r#"{{"model":"{name}"}}"#);
    let gone = call(&running, Method::DELETE, "/api/delete", &delete("yours")).await;
    assert_eq!(gone.status, 200);
    assert!(running.stats()[0].loaded.is_empty());
    let again = call(&running, Method::DELETE, "/api/delete", &delete("yours")).await;
    assert_eq!(again.error(), (404, "model 'yours' not found".to_owned()));
    let push = post(&running, "/api/push", r#"{"model":"mine"}"#)
        .await
        .lines();
    assert_eq!(push.last().unwrap(), &json!({"status": "success"}));
}

#[tokio::test]
async fn blobs_are_checked_against_their_digest() {
    let running = fast("llama3.2").await;
    let path = "/api/blobs/sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(call(&running, Method::HEAD, path, "").await.status, 404);
    assert_eq!(post(&running, path, "hullo").await.status, 400);
    assert_eq!(post(&running, path, "hello").await.status, 201);
    assert_eq!(post(&running, path, "hello").await.status, 200);
    assert_eq!(call(&running, Method::HEAD, path, "").await.status, 200);
}
