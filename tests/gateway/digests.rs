//! One name, other weights: servers that have different digests under one name.

use serde_json::{Value, json};

use crate::metrics;
use crate::support::{Asked, Config, Gateway, Step, Upstream, chat, get, json as answer, post};

/// A server that has the model with this digest on disk and in memory.
async fn server(digest: &str, modified_at: &str) -> Upstream {
    let tags = json!({"models": [{"name": "scripted:latest", "model": "scripted:latest", "modified_at": modified_at,
        "size": 1000, "digest": digest}]});
    let ps = json!({"models": [{"name": "scripted:latest", "model": "scripted:latest", "size": 1000, "digest": digest,
        "expires_at": "2318-01-02T03:04:05Z", "size_vram": 1000, "context_length": 8192}]});
    let (tags, ps) = (tags.to_string(), ps.to_string());
    Upstream::listing(["0.33.0", &tags, &ps], |_: &Asked| {
        let line = json!({"model": "scripted", "created_at": "2026-01-02T03:04:05Z", "done": true, "done_reason": "stop",
            "message": {"role": "assistant", "content": "word"}, "total_duration": 4, "load_duration": 1,
            "prompt_eval_count": 1, "prompt_eval_duration": 1, "eval_count": 1, "eval_duration": 1});
        vec![Step::Send(answer(200, &line.to_string()))]
    })
    .await
}

/// Two servers with an older digest, and one with a newer one.
async fn servers() -> [Upstream; 3] {
    [
        server("aa", "2026-01-02T03:04:05Z").await,
        server("aa", "2026-01-03T03:04:05Z").await,
        server("bb", "2026-02-02T03:04:05Z").await,
    ]
}

#[tokio::test]
async fn requests_go_to_the_servers_whose_digest_is_wanted() {
    for (rule, expected) in [
        ("any", [true, true, true]),
        ("same", [true, true, false]),
        ("newest", [false, false, true]),
    ] {
        let servers = servers().await;
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        let config = Config::over(&addresses)
            .set("provider.digest", rule)
            .set("provider.selector", "round_robin");
        let gateway = Gateway::over(&config, 3).await;
        for _ in 0..9 {
            let body = chat("scripted", "hi", r#","stream":false"#);
            let reply = post(gateway.address, "/api/chat", &body).await;
            assert_eq!(reply.status, 200, "{rule} {}", reply.text());
        }
        let asked = servers.each_ref().map(|server| !server.asked().is_empty());
        assert_eq!(asked, expected, "{rule}");

        let page = get(gateway.admin, "/api/providers").await.json();
        let mixed = &page["providers"]["test"]["mixed_models"];
        assert_eq!(mixed[0]["name"], "scripted:latest", "{page}");
        let digests = mixed[0]["digests"].as_array().unwrap();
        let told: Vec<(&Value, usize, &Value)> = digests
            .iter()
            .map(|one| {
                let servers = one["servers"].as_array().unwrap().len();
                (&one["digest"], servers, &one["used"])
            })
            .collect();
        let used = [json!(expected[0]), json!(expected[2])];
        assert_eq!(
            told,
            [(&json!("aa"), 2, &used[0]), (&json!("bb"), 1, &used[1])],
            "{rule}"
        );
        let labels = [
            ("remuda_provider", "test"),
            ("gen_ai_request_model", "scripted:latest"),
        ];
        gateway
            .metric_is(metrics::MODEL_DIGESTS, &labels, 2.0)
            .await;
        let page = get(gateway.admin, "/metrics").await;
        metrics::is_as_documented(page.text(), metrics::MODEL_DIGESTS);
        let explained = get(gateway.admin, "/api/explain?model=scripted")
            .await
            .json();
        let out = explained["steps"][0]["start"]["out"]
            .as_array()
            .unwrap()
            .len();
        let kept_out = expected.iter().filter(|used| !**used).count();
        assert_eq!(out, kept_out, "{explained}");
    }
}
