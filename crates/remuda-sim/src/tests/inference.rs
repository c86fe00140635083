//! Generate, chat and embeddings, in Ollama's own words.

use super::*;

fn said(lines: &[Value]) -> String {
    lines
        .iter()
        .map(|line| line["message"]["content"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_chat_streams_lines_and_ends_with_its_metrics() {
    let running = fast("llama3.2").await;
    let answer = post(&running, "/api/chat", CHAT).await;
    assert_eq!(answer.content_type(), "application/x-ndjson");
    assert_eq!(answer.headers["transfer-encoding"], "chunked");
    let lines = answer.lines();
    let (last, rest) = lines.split_last().unwrap();
    assert!(
        rest.iter()
            .all(|line| line["done"] == false && line["model"] == "llama3.2")
    );
    assert!(rest[0]["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(last["done"], true);
    assert_eq!(last["done_reason"], "stop");
    assert_eq!(last["eval_count"], rest.len());
    assert!(last["total_duration"].as_u64().unwrap() > 0);
    assert!(last["prompt_eval_count"].as_u64().unwrap() > 0);
    let stats = &running.stats()[0];
    assert_eq!((stats.completed, stats.active, stats.loads), (1, 0, 1));
}

#[tokio::test]
async fn whole_and_streamed_answers_say_the_same() {
    let running = fast("llama3.2").await;
    let streamed = post(&running, "/api/chat", CHAT).await.lines();
    let body = CHAT.replace("]}", r#"],"stream":false}"#);
    let whole = post(&running, "/api/chat", &body).await;
    assert_eq!(whole.content_type(), "application/json; charset=utf-8");
    assert_eq!(whole.json()["message"]["content"], said(&streamed));
    assert_eq!(whole.json()["done"], true);
}

#[tokio::test]
async fn generate_answers_with_a_context() {
    let running = fast("llama3.2").await;
    let body = r#"{"model":"llama3.2","prompt":"hi","options":{"num_predict":3}}"#;
    let lines = post(&running, "/api/generate", body).await.lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3]["done_reason"], "length");
    assert_eq!(lines[3]["response"], "");
    assert!(lines[3]["context"].as_array().unwrap().len() > 3);
    let raw = body.replace("\"prompt\"", "\"raw\":true,\"prompt\"");
    let lines = post(&running, "/api/generate", &raw).await.lines();
    assert!(lines[3].get("context").is_none());
}

#[tokio::test]
async fn markup_is_escaped_as_go_does() {
    let running = with("llama3.2", |options| {
        options.machine.answer_tokens = 2000..=2000
    })
    .await;
    let answer = post(&running, "/api/chat", CHAT).await;
    assert!(answer.text().contains(r"R\u0026D") && answer.text().contains(r"1 \u003c 2"));
    assert!(!answer.text().contains('<'));
    assert!(said(&answer.lines()).contains("R&D"));
}

#[tokio::test]
async fn an_empty_prompt_loads_and_unloads() {
    let running = fast("llama3.2").await;
    let load = post(&running, "/api/generate", r#"{"model":"llama3.2"}"#).await;
    assert_eq!(load.content_type(), "application/json; charset=utf-8");
    assert_eq!(load.json()["done_reason"], "load");
    assert_eq!(running.stats()[0].loaded, ["llama3.2:latest"]);
    let body = r#"{"model":"llama3.2","messages":[],"keep_alive":0}"#;
    let unload = post(&running, "/api/chat", body).await.json();
    assert_eq!(unload["done_reason"], "unload");
    assert_eq!(unload["message"]["content"], "");
    assert!(unload.get("total_duration").is_none());
    assert!(running.stats()[0].loaded.is_empty());
}

#[tokio::test]
async fn keep_alive_zero_runs_and_unloads() {
    let running = fast("llama3.2").await;
    let body = CHAT.replace("]}", r#"],"keep_alive":"0"}"#);
    assert!(post(&running, "/api/chat", &body).await.lines().len() > 2);
    assert!(running.stats()[0].loaded.is_empty());
}

#[tokio::test]
async fn thinking_comes_before_content() {
    let running = fast("deepseek-r1:8b").await;
    let body = CHAT.replace("llama3.2", "deepseek-r1:8b");
    let lines = post(&running, "/api/chat", &body).await.lines();
    let thinks = |line: &Value| line["message"].get("thinking").is_some();
    assert!(thinks(&lines[0]));
    assert_eq!(lines[0]["message"]["content"], "");
    let first_content = lines.iter().position(|line| !thinks(line)).unwrap();
    assert!(!lines[first_content..].iter().any(thinks));
}

#[tokio::test]
async fn tool_calls_stand_where_the_model_puts_them() {
    let running = fast("llama3.2,qwen3:0.6b").await;
    let tools = r#"],"tools":[{"type":"function","function":{"name":"get_weather","parameters":
        {"type":"object","properties":{"city":{"type":"string"}}}}}]}"#;
    for (model, from_end) in [("llama3.2", 2), ("qwen3:0.6b", 1)] {
        let body = CHAT.replace("llama3.2", model).replace("]}", tools);
        let lines = post(&running, "/api/chat", &body).await.lines();
        let call = &lines[lines.len() - from_end]["message"]["tool_calls"][0];
        assert_eq!(call["function"]["name"], "get_weather", "{model}");
        assert!(call["function"]["arguments"]["city"].is_string());
        assert!(call["id"].as_str().unwrap().starts_with("call_"));
        assert_eq!(lines.last().unwrap()["done_reason"], "stop");
    }
}

#[tokio::test]
async fn logprobs_come_with_their_tokens() {
    let running = fast("llama3.2").await;
    let body = CHAT.replace("]}", r#"],"logprobs":true,"top_logprobs":2}"#);
    let line = &post(&running, "/api/chat", &body).await.lines()[0];
    assert_eq!(line["logprobs"][0]["token"], line["message"]["content"]);
    assert_eq!(
        line["logprobs"][0]["top_logprobs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn refusals_have_ollamas_words() {
    let running = fast("llama3.2,gemma3,nomic-embed-text").await;
    let chat = |more: &str| CHAT.replace("]}", &format!("],{more}}}"));
    let of = |model: &str, body: String| body.replace("llama3.2", model);
    let rows = [
        ("/api/chat", String::new(), 400, "missing request body"),
        ("/api/chat", "{".into(), 400, "unexpected EOF"),
        (
            "/api/chat",
            r#"{"messages":[]}"#.into(),
            400,
            "model is required",
        ),
        ("/api/generate", "{}".into(), 404, "model '' not found"),
        (
            "/api/chat",
            of("nope", CHAT.into()),
            404,
            "model 'nope' not found",
        ),
        (
            "/api/chat",
            of("a b", CHAT.into()),
            400,
            "invalid model name",
        ),
        (
            "/api/chat",
            chat(r#""think":true"#),
            400,
            r#""llama3.2" does not support thinking"#,
        ),
        (
            "/api/chat",
            of("gemma3", chat(r#""tools":[{"type":"function"}]"#)),
            400,
            "registry.ollama.ai/library/gemma3:latest does not support tools",
        ),
        (
            "/api/chat",
            of("nomic-embed-text", CHAT.into()),
            400,
            r#""nomic-embed-text" does not support chat"#,
        ),
        (
            "/api/chat",
            CHAT.replace("\"hi\"", "[]"),
            400,
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string",
        ),
    ];
    for (path, body, status, text) in rows {
        refused(&running, path, &body, status, text).await;
    }
}

#[tokio::test]
async fn refusals_of_embeddings_have_ollamas_words() {
    let running = fast("llama3.2").await;
    let rows: [(&str, String, u16, &str); 3] = [
        (
            "/api/embed",
            r#"{"model":"x","input":"a"}"#.into(),
            404,
            r#"model "x" not found, try pulling it first"#,
        ),
        ("/api/embeddings", "{}".into(), 400, "model is required"),
        (
            "/api/embed",
            r#"{"model":"llama3.2","input":5}"#.into(),
            400,
            "invalid input type",
        ),
    ];
    for (path, body, status, text) in rows {
        refused(&running, path, &body, status, text).await;
    }
}

async fn refused(running: &Running, path: &str, body: &str, status: u16, text: &str) {
    let answer = post(running, path, body).await;
    assert_eq!(answer.error(), (status, text.to_owned()), "{path} {body}");
    assert_eq!(answer.content_type(), "application/json; charset=utf-8");
}

#[tokio::test]
async fn images_need_a_model_that_sees() {
    let running = fast("llava,llama3.2").await;
    let body = |model: &str, image: &str| {
        format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"?","images":["{image}"]}}]}}"#
        )
    };
    let seen = post(&running, "/api/chat", &body("llava", "iVBORw0KGgo=")).await;
    assert_eq!(seen.status, 200);
    let blind = post(&running, "/api/chat", &body("llama3.2", "iVBORw0KGgo=")).await;
    let said = r#"{"error":{"code":400,"message":"Multimodal data provided, but model does not support multimodal requests.","type":"invalid_request_error"}}"#;
    assert_eq!(blind.error(), (400, said.to_owned()));
    let bad = post(
        &running,
        "/api/chat",
        &body("llava", "data:image/png;base64,AA=="),
    )
    .await;
    assert_eq!(bad.error().1, "illegal base64 data at input byte 4");
}

#[tokio::test]
async fn embeddings_of_one_and_of_several() {
    let running = fast("nomic-embed-text").await;
    let body = r#"{"model":"nomic-embed-text","input":["a","b"],"dimensions":32}"#;
    let answer = post(&running, "/api/embed", body).await.json();
    assert_eq!(answer["embeddings"].as_array().unwrap().len(), 2);
    assert_eq!(answer["embeddings"][0].as_array().unwrap().len(), 32);
    assert!(answer["prompt_eval_count"].as_u64().unwrap() > 0);
    let legacy = r#"{"model":"nomic-embed-text","prompt":"a"}"#;
    let answer = post(&running, "/api/embeddings", legacy).await.json();
    assert_eq!(answer["embedding"].as_array().unwrap().len(), 768);
    let empty = r#"{"model":"nomic-embed-text","input":[]}"#;
    let answer = post(&running, "/api/embed", empty).await.json();
    assert_eq!(
        answer,
        serde_json::json!({"model":"nomic-embed-text","embeddings":[]})
    );
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let running = with("llama3.2", |options| {
        options.machine.decode_speed = 20.0;
        options.machine.answer_tokens = 10_000..=10_000;
    })
    .await;
    let first = begin(&running, "/api/chat", CHAT).await;
    until(&running, |stats| stats.active == 1).await;
    let second = begin(&running, "/api/chat", CHAT).await;
    until(&running, |stats| stats.waiting == 1).await;
    drop(first);
    until(&running, |stats| {
        (stats.aborted, stats.active, stats.waiting) == (1, 1, 0)
    })
    .await;
    drop(second);
    until(&running, |stats| (stats.aborted, stats.active) == (2, 0)).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_leaves_the_line() {
    let running = with("llama3.2", |options| {
        options.machine.load = crate::LoadTime::Fixed(Duration::from_secs(3600));
    })
    .await;
    let client = begin(&running, "/api/chat", CHAT).await;
    until(&running, |stats| stats.waiting == 1).await;
    drop(client);
    until(&running, |stats| {
        stats.abandoned_loads == 1 && stats.waiting == 0
    })
    .await;
}

#[tokio::test]
async fn a_full_line_is_503_in_ollamas_words() {
    let running = with("a=20GiB,b=20GiB,c=20GiB", |options| {
        options.machine.load = crate::LoadTime::Fixed(Duration::from_secs(3600));
        options.machine.max_queue = 1;
    })
    .await;
    let chat = |model: &str| CHAT.replace("llama3.2", model);
    let _one = begin(&running, "/api/chat", &chat("a")).await;
    let _two = begin(&running, "/api/chat", &chat("b")).await;
    until(&running, |stats| stats.waiting == 2).await;
    let refused = post(&running, "/api/chat", &chat("c")).await;
    let text = "server busy, please try again.  maximum pending requests exceeded";
    assert_eq!(refused.error(), (503, text.to_owned()));
}

#[tokio::test]
async fn tokens_take_their_time() {
    let running = with("llama3.2", |options| {
        options.machine.decode_speed = 100.0;
        options.machine.answer_tokens = 20..=20;
    })
    .await;
    let start = std::time::Instant::now();
    let lines = post(&running, "/api/chat", CHAT).await.lines();
    assert!(start.elapsed() >= Duration::from_millis(200));
    let eval = lines.last().unwrap()["eval_duration"].as_u64().unwrap();
    assert!(eval >= 200_000_000, "{eval}");
}
