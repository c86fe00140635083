//! In place of the multi-provider Ollama proxy: its variables, its rules, strategies and fallbacks, its pages.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;
use crate::surroundings::*;

/// OpenAI, Anthropic, Google, OpenRouter and a local Ollama, by a `.env` file.
struct Proxy {
    openai: Simulation,
    anthropic: Simulation,
    google: Simulation,
    openrouter: Simulation,
    ollama: Simulation,
    gateway: Gateway,
}

impl Proxy {
    async fn start(variables: &[(&str, &str)]) -> Self {
        Self::with(variables, |surroundings| surroundings).await
    }

    async fn with(
        variables: &[(&str, &str)],
        surround: impl FnOnce(Surroundings) -> Surroundings,
    ) -> Self {
        let openai = provider("openai", "gpt-4,gpt-4o,text-embedding-3-small");
        let anthropic = provider("anthropic", "claude-3-opus,claude-sonnet-5-5");
        let google = provider("google", "gemini-3.8-flash");
        let openrouter = provider("openrouter", "gpt-4o,deepseek/deepseek-v4-flash");
        let ollama = Simulation::start(1, &["--loaded", "llama3.2"]);
        let mut dotenv =
            String::from("# as its document has it\nENVIRONMENT=production\nLOG_LEVEL=info\n");
        for (name, simulation, path) in [
            ("OPENAI", &openai, "/v1"),
            ("ANTHROPIC", &anthropic, ""),
            ("GOOGLE", &google, "/v1beta"),
            ("OPENROUTER", &openrouter, "/api/v1"),
        ] {
            let address = url(simulation, path);
            dotenv += &format!(
                "{name}_ENABLED=true\n{name}_API_KEY={KEY}\n{name}_BASE_URL={address}\n{name}_TIMEOUT=300\n"
            );
        }
        dotenv += &format!(
            "OLLAMA_ENABLED=true\nOLLAMA_BASE_URL={}\n",
            url(&ollama, "")
        );
        let surroundings = variables.iter().fold(
            Surroundings::new().file(".env", &dotenv),
            |all, (name, value)| all.with(name, value),
        );
        let gateway = surround(surroundings).start();
        gateway
            .metric_is("remuda_backends", &[("health", "healthy")], 5.0)
            .await;
        Self {
            openai,
            anthropic,
            google,
            openrouter,
            ollama,
            gateway,
        }
    }

    fn providers(&self) -> [(&'static str, &Simulation); 5] {
        [
            ("openai", &self.openai),
            ("anthropic", &self.anthropic),
            ("google", &self.google),
            ("openrouter", &self.openrouter),
            ("ollama", &self.ollama),
        ]
    }

    async fn chat(&self, model: &str, fields: &[(&str, &str)]) -> Reply {
        let body = chat(model, "say ahoy", r#","stream":false"#);
        request(
            self.gateway.address,
            "POST",
            "/api/chat",
            fields,
            body.as_bytes(),
        )
        .await
    }

    /// Asks for a model and tells who was asked, once for each time.
    async fn asked_for(&self, model: &str, fields: &[(&str, &str)]) -> Vec<&'static str> {
        let mut before = Vec::new();
        for (_, simulation) in self.providers() {
            before.push(asked(simulation).await);
        }
        let reply = self.chat(model, fields).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let said = reply.json();
        assert_eq!(said["done"], true, "{said}");
        let mut all = Vec::new();
        for ((name, simulation), before) in self.providers().into_iter().zip(before) {
            let times = asked(simulation).await - before;
            all.extend((0..times).map(|_| name));
        }
        all
    }
}

/// Ollama's simulated server counts its probes too; what is asked of it is known by its answers.
#[tokio::test]
async fn its_variables_are_read() {
    let mut surroundings = Surroundings::bare()
        .file(
            ".env",
            "PORT=8080\nOPENAI_API_KEY=from-file\nMAX_QUEUE_SIZE=5\n",
        )
        .file("models-filter.txt", "gpt-4*\n")
        // The process's own go before the file's.
        .with("PORT", "8081");
    for (name, value) in [
        ("HOST", "127.0.0.1"),
        ("ROUTING_STRATEGY", "cost_optimized"),
        ("FALLBACK_STRATEGY", "best_alternative"),
        ("HEALTH_CHECK_INTERVAL", "45"),
        ("OPENAI_PRIORITY", "2"),
        ("OPENAI_MAX_CONCURRENT_REQUESTS", "50"),
        ("OPENAI_TIMEOUT", "120"),
        ("ANTHROPIC_ENABLED", "false"),
        ("ANTHROPIC_API_KEY", "key"),
        ("GOOGLE_ENABLED", "true"),
        ("GOOGLE_API_KEY", "key"),
        ("AZURE_ENABLED", "true"),
        ("AZURE_API_KEY", "key"),
        ("AZURE_BASE_URL", "https://your-resource.openai.azure.com"),
        ("OPENROUTER_API_KEY", "key"),
        ("OLLAMA_ENABLED", "true"),
        ("OLLAMA_BASE_URL", "http://gpu1:11434"),
        ("AWS_BEDROCK_ENABLED", "true"),
        ("AWS_BEDROCK_ACCESS_KEY", "key"),
        ("AWS_BEDROCK_SECRET_KEY", "key"),
        ("AWS_BEDROCK_SESSION_TOKEN", "key"),
        ("AWS_BEDROCK_REGION", "eu-west-1"),
        ("AWS_BEDROCK_TIMEOUT", "200"),
        ("MAX_CONCURRENT_REQUESTS", "10"),
        ("ENABLE_PRIORITIZATION", "false"),
        ("MODELS_FILTER_PATH", "models-filter.txt"),
    ] {
        surroundings = surroundings.with(name, value);
    }
    let (effective, _) = surroundings.check();
    let providers = effective["providers"].as_sequence().unwrap();
    let find = |name: &str| providers.iter().find(|one| one["name"] == name);
    let mut names: Vec<&str> = providers
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "azure",
            "bedrock",
            "google",
            "ollama",
            "openai",
            "openrouter"
        ]
    );
    assert_eq!(effective["server"]["listen"], "127.0.0.1:8081");
    assert_eq!(effective["routing"]["strategy"], "cost_optimized");
    assert_eq!(effective["routing"]["fallback"], "best_alternative");
    assert_eq!(effective["routing"]["models_filter"], "models-filter.txt");
    assert_eq!(effective["queue"]["size"], 5);
    assert_eq!(effective["queue"]["max_concurrent"], 10);
    assert_eq!(effective["queue"]["priorities"], false);
    let openai = find("openai").unwrap();
    assert_eq!(openai["timeouts"]["first_byte"], "2m");
    let bedrock = find("bedrock").unwrap();
    assert_eq!(bedrock["timeouts"]["first_byte"], "3m 20s");
    assert_eq!(openai["priority"], 2);
    assert_eq!(openai["max_concurrent"], 50);
    assert_eq!(openai["interval"], "45s");
    assert_eq!(find("bedrock").unwrap()["region"], "eu-west-1");
}

#[tokio::test]
async fn its_page_says_what_works() {
    let proxy = Proxy::start(&[]).await;
    crate::migration::ask_all("multi-provider-proxy", &proxy.gateway).await;
}

#[tokio::test]
async fn names_go_where_the_rules_say() {
    let proxy = Proxy::start(&[]).await;
    for (model, provider) in [
        ("gpt-4", "openai"),
        // OpenRouter lists it as well.
        ("GPT-4o", "openai"),
        ("claude-3-opus", "anthropic"),
        ("claude-sonnet-5-5", "anthropic"),
        ("gemini-3.8-flash", "google"),
    ] {
        for _ in 0..3 {
            assert_eq!(proxy.asked_for(model, &[]).await, [provider], "{model}");
        }
    }
    let local = proxy.chat("llama3.2", &[]).await;
    assert_eq!(local.status, 200, "{}", local.text());
    // A provider that the client prefers goes before the rule; one that is not there is an error that lists those that are.
    let preferred = [("X-Provider", "openrouter")];
    assert_eq!(proxy.asked_for("gpt-4o", &preferred).await, ["openrouter"]);
    let reply = proxy.chat("gpt-4", &[("X-Provider", "nonsense")]).await;
    assert_eq!(reply.status, 400);
    let text = reply.json()["error"].as_str().unwrap().to_owned();
    for name in ["openai", "anthropic", "google", "openrouter", "ollama"] {
        assert!(text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn every_documented_route_answers_as_ollama_does() {
    let proxy = Proxy::start(&[]).await;
    let gateway = &proxy.gateway;
    let tags = page(gateway, "/api/tags").await;
    assert!(tags["models"].as_array().unwrap().len() > 5);
    let of_openai = page(gateway, "/api/tags/openai").await;
    let names: Vec<&str> = of_openai["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"openai/gpt-4:latest"), "{names:?}");
    assert!(
        names.iter().all(|name| name.starts_with("openai")),
        "{names:?}"
    );
    assert_eq!(get(gateway.address, "/api/tags/nonsense").await.status, 400);
    assert_eq!(get(gateway.address, "/api/tags/azure").await.status, 404);
    let said = answer(
        gateway,
        "/api/generate",
        &json!({"model": "gpt-4", "prompt": "say ahoy", "stream": false}),
    )
    .await;
    assert!(said["response"].as_str().unwrap().contains("ahoy"));
    let embed = json!({"model": "text-embedding-3-small", "input": ["a", "b"]});
    assert_eq!(
        answer(gateway, "/api/embed", &embed).await["embeddings"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let embed = json!({"model": "text-embedding-3-small", "prompt": "a"});
    assert!(answer(gateway, "/api/embeddings", &embed).await["embedding"].is_array());
    assert!(
        answer(gateway, "/api/show", &json!({"model": "gpt-4o"})).await["capabilities"].is_array()
    );
    assert!(page(gateway, "/api/ps").await["models"].is_array());
    assert!(page(gateway, "/api/version").await["version"].is_string());
    // Streams are Ollama's, and tools are not refused.
    let reply = post(gateway.address, "/api/chat", &chat("gpt-4", "say ahoy", "")).await;
    assert!(is_done(&reply.lines()));
    let tool = json!({"type": "function", "function": {"name": "get_weather", "description": "d",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}});
    let body = json!({"model": "gpt-4", "stream": false, "tools": [tool],
        "messages": [{"role": "user", "content": "call get_weather"}]});
    let said = answer(gateway, "/api/chat", &body).await;
    assert_eq!(
        said["message"]["tool_calls"][0]["function"]["name"], "get_weather",
        "{said}"
    );
}

#[tokio::test]
async fn its_pages_have_its_keys() {
    let proxy = Proxy::start(&[
        ("ROUTING_STRATEGY", "least_loaded"),
        ("FALLBACK_STRATEGY", "retry_same"),
    ])
    .await;
    let gateway = &proxy.gateway;
    assert_eq!(proxy.chat("gpt-4", &[]).await.status, 200);
    let all = page(gateway, "/api/providers").await;
    assert_eq!(all["routing_strategy"], "least_loaded");
    assert_eq!(all["fallback_strategy"], "retry_same");
    assert_eq!(all["load_balancing_enabled"], true);
    let openai = &all["providers"]["openai"];
    assert_eq!(openai["healthy"], true);
    assert_eq!(openai["current_load"], 0);
    assert!(openai["avg_response_time"].as_f64().unwrap() > 0.0);
    assert!(openai["last_used"].as_f64().unwrap() > 1.7e9);
    assert_eq!(openai["circuit_breaker"]["state"], "closed");
    let stats = page(gateway, "/api/providers/openai/stats").await;
    assert_eq!(stats["provider_type"], "openai");
    assert_eq!(stats["request_count"], 1);
    assert_eq!(stats["error_count"], 0);
    assert_eq!(stats["error_rate"], 0.0);
    assert_eq!(stats["success_rate"], 100.0);
    assert!(
        stats["capabilities"]
            .as_array()
            .unwrap()
            .contains(&"chat_completion".into())
    );
    assert_eq!(stats["model_usage"].as_object().unwrap().len(), 1);
    assert!(!stats["health_history"].as_array().unwrap().is_empty());

    for path in ["/health", "/health/", "/health/detailed"] {
        let health = page(gateway, path).await;
        assert_eq!(health["status"], "healthy", "{health}");
        for key in ["timestamp", "version", "uptime", "providers", "metrics"] {
            assert!(!health[key].is_null(), "{key}");
        }
    }
    assert_eq!(
        page(gateway, "/health/providers")
            .await
            .as_object()
            .unwrap()
            .len(),
        5
    );
    assert_eq!(
        page(gateway, "/health/providers/openai").await["status"],
        "operational"
    );
    assert_eq!(page(gateway, "/health/metrics").await["total_requests"], 1);
    assert!(
        get(gateway.admin, "/metrics")
            .await
            .text()
            .contains("remuda_requests_total")
    );
}

#[tokio::test]
async fn the_filter_says_which_models_there_are() {
    let filter = "# OpenAI\ngpt-4*\n!gpt-4o\nllama3.?\n";
    let with_filter = |all: Surroundings| {
        all.file("filter.txt", filter)
            .with("MODELS_FILTER_PATH", "filter.txt")
    };
    let proxy = Proxy::with(&[], with_filter).await;
    assert_eq!(proxy.chat("gpt-4", &[]).await.status, 200);
    assert_eq!(proxy.chat("llama3.2", &[]).await.status, 200);
    for model in ["gpt-4o", "gemini-3.8-flash", "openai/gpt-4o"] {
        assert_eq!(proxy.chat(model, &[]).await.status, 404, "{model}");
    }
    let tags = page(&proxy.gateway, "/api/tags").await;
    let names: Vec<&str> = tags["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"openai/gpt-4:latest"), "{names:?}");
    assert!(
        !names
            .iter()
            .any(|name| name.contains("gpt-4o") || name.contains("gemini")),
        "{names:?}"
    );
}

const UNAVAILABLE: &str = r#"{"kind":"status","status":503,"route":"inference"}"#;
const ONCE: &str = r#"{"kind":"status","status":503,"times":1,"route":"inference"}"#;

#[tokio::test]
async fn fallbacks_do_as_they_are_called() {
    let proxy = Proxy::start(&[("FALLBACK_STRATEGY", "none")]).await;
    proxy.openai.fault_everywhere(ONCE).await;
    assert!(proxy.chat("gpt-4o", &[]).await.status >= 500);
    assert_eq!(asked(&proxy.openrouter).await, 0);

    for strategy in ["next_available", "best_alternative"] {
        let proxy = Proxy::start(&[("FALLBACK_STRATEGY", strategy)]).await;
        proxy.openai.fault_everywhere(UNAVAILABLE).await;
        assert_eq!(
            proxy.asked_for("gpt-4o", &[]).await,
            ["openai", "openrouter"],
            "{strategy}"
        );
    }

    let proxy = Proxy::start(&[("FALLBACK_STRATEGY", "retry_same")]).await;
    let cut = r#"{"kind":"cut","bytes":0,"times":1,"route":"inference"}"#;
    proxy.openai.fault_everywhere(cut).await;
    let started = Instant::now();
    assert_eq!(proxy.asked_for("gpt-4o", &[]).await, ["openai", "openai"]);
    // The first pause is a second, with jitter.
    let took = started.elapsed();
    assert!(took > Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn what_is_permanent_is_not_tried_again() {
    for status in [400, 401, 404] {
        let proxy = Proxy::start(&[("FALLBACK_STRATEGY", "retry_same")]).await;
        let fault = format!(r#"{{"kind":"status","status":{status},"route":"inference"}}"#);
        proxy.openai.fault_everywhere(&fault).await;
        let reply = proxy.chat("gpt-4", &[]).await;
        assert!(reply.status >= 400, "{status}: {}", reply.text());
        assert_eq!(asked(&proxy.openai).await, 1, "{status}");
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_for_a_while() {
    let proxy = Proxy::start(&[("FALLBACK_STRATEGY", "next_available")]).await;
    // Not 503, which says for how long a provider that is overloaded is to be left alone.
    let broken = r#"{"kind":"status","status":500,"route":"inference"}"#;
    proxy.openai.fault_everywhere(broken).await;
    for _ in 0..20 {
        assert_eq!(proxy.chat("gpt-4o", &[]).await.status, 200);
    }
    let tried = asked(&proxy.openai).await;
    assert!((5..15).contains(&tried), "{tried}");
    let openai = page(&proxy.gateway, "/api/providers").await["providers"]["openai"].clone();
    assert_eq!(openai["circuit_breaker"]["state"], "open", "{openai}");
    let stats: Value = page(&proxy.gateway, "/api/providers/openai/stats").await;
    assert_eq!(stats["error_count"], tried);
    assert_eq!(page(&proxy.gateway, "/health").await["status"], "degraded");
}
