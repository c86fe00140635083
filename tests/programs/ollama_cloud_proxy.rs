//! In place of the proxy that puts cloud models behind Ollama's API: its keys, its names of models, its routes.

use serde_json::{Value, json};

use crate::support::*;
use crate::surroundings::*;

const CLAUDE: &str = "claude-sonnet-5-5";
const GPT: &str = "gpt-6-sol";
/// A picture of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// Anthropic, OpenAI and Google, by their keys alone; the addresses are those of the simulated ones.
struct Proxy {
    anthropic: Simulation,
    openai: Simulation,
    google: Simulation,
    gateway: Gateway,
}

impl Proxy {
    async fn start() -> Self {
        let anthropic = provider("anthropic", CLAUDE);
        let openai = provider(
            "openai",
            &format!("{GPT},gpt-4o,gpt-5.4,text-embedding-3-small"),
        );
        let google = provider("google", "gemini-3.8-flash");
        let surroundings = Surroundings::new().file("anthropic.txt", &format!("{KEY}\n"));
        let gateway = surroundings
            .with("ANTHROPIC_API_KEY_FILE", "anthropic.txt")
            .with("OPENAI_API_KEY", KEY)
            .with("GOOGLE_API_KEY", KEY)
            .with("ANTHROPIC_BASE_URL", url(&anthropic, ""))
            .with("OPENAI_BASE_URL", url(&openai, "/v1"))
            .with("GOOGLE_BASE_URL", url(&google, ""))
            .start();
        gateway.healthy(3).await;
        Self {
            anthropic,
            openai,
            google,
            gateway,
        }
    }

    async fn chat(&self, model: &str) -> Value {
        let body = json!({"model": model, "stream": false,
            "messages": [{"role": "user", "content": "say ahoy"}]});
        answer(&self.gateway, "/api/chat", &body).await
    }

    /// Asks for a model and tells which provider answered.
    async fn answered_by(&self, model: &str) -> &'static str {
        let all = [
            ("anthropic", &self.anthropic),
            ("openai", &self.openai),
            ("google", &self.google),
        ];
        let mut before = Vec::new();
        for (_, simulation) in all {
            before.push(asked(simulation).await);
        }
        let said = self.chat(model).await;
        let text = said["message"]["content"].as_str().unwrap();
        assert!(text.contains("ahoy"), "{said}");
        assert_eq!(said["done"], true);
        let mut by = None;
        for ((name, simulation), before) in all.into_iter().zip(before) {
            if asked(simulation).await > before {
                assert_eq!(by.replace(name), None, "two were asked for {model}");
            }
        }
        by.unwrap_or_else(|| panic!("nobody was asked for {model}"))
    }
}

#[tokio::test]
async fn every_key_makes_its_provider_from_a_variable_or_a_file() {
    let services = [
        "anthropic",
        "openai",
        "google",
        "perplexity",
        "groq",
        "deepseek",
        "mistral",
        "xai",
        "openrouter",
    ];
    let by_variable = services.iter().fold(Surroundings::new(), |all, name| {
        all.with(&format!("{}_API_KEY", name.to_uppercase()), KEY)
    });
    let keys = Surroundings::new().file("key", &format!("{KEY}\n"));
    let by_file = services.iter().fold(keys, |all, name| {
        all.with(&format!("{}_API_KEY_FILE", name.to_uppercase()), "key")
    });
    for surroundings in [by_variable, by_file] {
        let (effective, warnings) = surroundings.check();
        assert_eq!(warnings, "");
        let providers = effective["providers"].as_sequence().unwrap();
        let mut names: Vec<&str> = providers
            .iter()
            .map(|provider| provider["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        let mut expected = services;
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert!(providers.iter().all(|one| one["api_key"] == "***"));
    }
    // Left empty, as `.env.example` leaves them, a key makes nothing.
    let empty = Surroundings::new()
        .with("OPENAI_API_KEY", "")
        .with("GROQ_API_KEY", KEY);
    assert_eq!(empty.check().0["providers"].as_sequence().unwrap().len(), 1);
    // HOST and PORT default to Ollama's own, and DEBUG turns on debugging.
    let debug = Surroundings::new()
        .with("DEBUG", "true")
        .with("GROQ_API_KEY", KEY);
    assert_eq!(debug.check().0["monitoring"]["log_level"], "debug");
}

#[tokio::test]
async fn its_page_says_what_works() {
    let proxy = Proxy::start().await;
    crate::migration::ask_all("ollama-cloud-proxy", &proxy.gateway).await;
}

#[tokio::test]
async fn a_model_has_an_alias_a_prefix_and_an_id() {
    let proxy = Proxy::start().await;
    for (name, provider) in [
        ("claude-sonnet", "anthropic"),
        ("Claude-Sonnet:latest", "anthropic"),
        (" claude-sonnet ", "anthropic"),
        (CLAUDE, "anthropic"),
        ("anthropic-claude-sonnet-5-5", "anthropic"),
        ("anthropic/claude-sonnet-5-5:latest", "anthropic"),
        ("chatgpt", "openai"),
        ("gpt-4o", "openai"),
        ("openai-gpt-4o", "openai"),
        ("openai-gpt-4o:latest", "openai"),
        ("gemini", "google"),
        ("gemini-flash:latest", "google"),
        ("google/gemini-3.8-flash", "google"),
    ] {
        assert_eq!(proxy.answered_by(name).await, provider, "{name}");
    }
    // The original answered with its default model.
    let body = json!({"model": "nobody-has-this", "messages": [{"role": "user", "content": "x"}]});
    let reply = ask(&proxy.gateway, "/api/chat", &body).await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"], "model 'nobody-has-this' not found");
}

#[tokio::test]
async fn tags_list_what_may_be_asked_for_with_all_that_clients_read() {
    let proxy = Proxy::start().await;
    let tags = page(&proxy.gateway, "/api/tags").await;
    let models = tags["models"].as_array().unwrap();
    for name in [
        "anthropic-claude-sonnet-5-5:latest",
        "openai-gpt-6-sol:latest",
        "openai-gpt-4o:latest",
        "google-gemini-3.8-flash:latest",
        "claude-sonnet:latest",
        "chatgpt:latest",
        "gemini:latest",
        "anthropic/claude-sonnet-5-5:latest",
    ] {
        let row = models.iter().find(|row| row["name"] == name);
        let row = row.unwrap_or_else(|| panic!("{name}: {tags}"));
        assert_eq!(row["model"], name);
        chrono::DateTime::parse_from_rfc3339(row["modified_at"].as_str().unwrap()).unwrap();
        assert!(row["size"].is_u64());
        let digest = row["digest"].as_str().unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()));
        let details = &row["details"];
        for field in [
            "parent_model",
            "format",
            "family",
            "parameter_size",
            "quantization_level",
        ] {
            assert!(details[field].is_string(), "{name}: {field}");
        }
        assert_eq!(details["families"], json!([details["family"]]));
    }
    // What is listed can be asked for by that name.
    for name in ["anthropic-claude-sonnet-5-5:latest", "chatgpt:latest"] {
        proxy.chat(name).await;
    }
    assert_eq!(
        page(&proxy.gateway, "/api/tags").await,
        tags,
        "digests stay"
    );
}

#[tokio::test]
async fn a_client_of_ollama_finds_what_it_looks_for() {
    let proxy = Proxy::start().await;
    let root = get(proxy.gateway.address, "/").await;
    assert_eq!((root.status, root.text()), (200, "Ollama is running"));
    let mut client = Connection::open(proxy.gateway.address).await;
    client.request("HEAD", "/", &[], b"").await;
    assert_eq!(client.head().await.status, 200);

    for name in ["claude-sonnet", "anthropic-claude-sonnet-5-5:latest"] {
        for key in ["model", "name"] {
            let show = answer(&proxy.gateway, "/api/show", &json!({key: name})).await;
            let capabilities = show["capabilities"].as_array().unwrap();
            for one in ["completion", "vision", "tools", "thinking"] {
                assert!(capabilities.contains(&one.into()), "{name}: {show}");
            }
            let family = show["model_info"]["general.architecture"].as_str().unwrap();
            let context = &show["model_info"][format!("{family}.context_length")];
            assert!(context.as_u64().unwrap() > 100_000, "{show}");
            assert_eq!(show["details"]["family"], family);
        }
    }
    assert!(page(&proxy.gateway, "/api/ps").await["models"].is_array());
    let version = page(&proxy.gateway, "/api/version").await;
    assert!(
        version["version"]
            .as_str()
            .unwrap()
            .starts_with(|c: char| c.is_ascii_digit())
    );

    let pull = json!({"model": "claude-sonnet", "stream": false});
    let pulled = answer(&proxy.gateway, "/api/pull", &pull).await;
    assert_eq!(pulled, json!({"status": "success"}));
    let reply = ask(
        &proxy.gateway,
        "/api/pull",
        &json!({"model": "claude-sonnet"}),
    )
    .await;
    let said: Vec<Value> = reply.lines();
    assert_eq!(
        said[0]["status"],
        "claude-sonnet is an API model and requires no download"
    );
    assert_eq!(said.last().unwrap()["status"], "success");

    let reply = get(proxy.gateway.address, "/api/nothing").await;
    assert_eq!(reply.status, 404);
    assert_eq!(
        reply.json(),
        json!({"error": "Endpoint not found: /api/nothing"})
    );
    let reply = get(proxy.gateway.address, "/api/chat").await;
    assert_eq!(reply.status, 405);
    assert_eq!(
        reply.json(),
        json!({"error": "Method GET not allowed for /api/chat"})
    );
}

#[tokio::test]
async fn a_client_of_openai_finds_what_it_looks_for() {
    let proxy = Proxy::start().await;
    let gateway = &proxy.gateway;
    let listed = page(gateway, "/v1/models").await;
    assert_eq!(listed["object"], "list");
    let ids: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert!(ids.contains(&CLAUDE) && ids.contains(&"gpt-4o"), "{ids:?}");
    assert_eq!(page(gateway, "/v1/models/gpt-4o").await["id"], "gpt-4o");

    let chat =
        json!({"model": "claude-sonnet", "messages": [{"role": "user", "content": "say ahoy"}]});
    let said = answer(gateway, "/v1/chat/completions", &chat).await;
    let text = said["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("ahoy"), "{said}");
    assert!(said["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    let completion = json!({"model": "claude-sonnet", "prompt": "say ahoy", "max_tokens": 100});
    let said = answer(gateway, "/v1/completions", &completion).await;
    assert!(
        said["choices"][0]["text"]
            .as_str()
            .unwrap()
            .contains("ahoy"),
        "{said}"
    );
    let embedding = json!({"model": "text-embedding-3-small", "input": "ahoy"});
    let said = answer(gateway, "/v1/embeddings", &embedding).await;
    assert!(said["data"][0]["embedding"].as_array().unwrap().len() > 10);
}

#[tokio::test]
async fn reasoning_models_are_asked_in_a_form_that_they_take() {
    let proxy = Proxy::start().await;
    let body = json!({"model": "gpt-5.4", "stream": false,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "say ahoy"}],
        "options": {"temperature": 0.2, "top_p": 0.5, "num_predict": 2000}});
    let said = answer(&proxy.gateway, "/api/chat", &body).await;
    let text = said["message"]["content"].as_str().unwrap();
    // The simulated model repeats the system text that it was given; the original kept the last one alone.
    assert!(
        text.contains("ahoy") && text.contains("Be brief."),
        "{said}"
    );
}

#[tokio::test]
async fn pictures_are_seen_in_both_forms_whatever_they_are_called() {
    let proxy = Proxy::start().await;
    for model in ["claude-sonnet", "gpt-4o", "gemini"] {
        let ollama = json!({"model": model, "stream": false,
            "messages": [{"role": "user", "content": "say ahoy", "images": [PIXEL]}]});
        let said = answer(&proxy.gateway, "/api/chat", &ollama).await;
        let text = said["message"]["content"].as_str().unwrap();
        assert!(text.contains("[images: 1]"), "{model}: {said}");
        // It calls itself a JPEG and is none.
        let address = format!("data:image/jpeg;base64,{PIXEL}");
        let openai = json!({"model": model, "messages": [{"role": "user", "content": [
            {"type": "text", "text": "say ahoy"}, {"type": "image_url", "image_url": {"url": address}}]}]});
        if model == "gpt-4o" {
            // The same format: what the client says passes as it came.
            continue;
        }
        let said = answer(&proxy.gateway, "/v1/chat/completions", &openai).await;
        let text = said["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(text.contains("[images: 1]"), "{model}: {said}");
    }
}

#[tokio::test]
async fn streams_are_ollamas_own() {
    let proxy = Proxy::start().await;
    for (path, field) in [("/api/chat", "message"), ("/api/generate", "response")] {
        let body = match path {
            "/api/chat" => {
                json!({"model": "claude-sonnet", "messages": [{"role": "user", "content": "say ahoy"}]})
            }
            _ => json!({"model": "claude-sonnet", "prompt": "say ahoy"}),
        };
        // No Content-Type, which the original insisted on.
        let reply = ask(&proxy.gateway, path, &body).await;
        assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
        let lines = reply.lines();
        assert!(
            lines.iter().all(|line| line.get(field).is_some()),
            "{lines:?}"
        );
        assert!(is_done(&lines));
        let last = lines.last().unwrap();
        assert_eq!(last["done_reason"], "stop");
        assert!(last["eval_count"].as_u64().unwrap() > 0);
        assert!(last["prompt_eval_count"].as_u64().unwrap() > 0);
    }
    // num_predict counts, and the reason for the end is told.
    let body = json!({"model": "claude-sonnet", "prompt": "say ahoy", "stream": false,
        "options": {"num_predict": 2}});
    let said = answer(&proxy.gateway, "/api/generate", &body).await;
    assert_eq!(said["done_reason"], "length", "{said}");
    // Tools arrive, and their calls come back.
    let tool = json!({"type": "function", "function": {"name": "get_weather", "description": "d",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
    let body = json!({"model": "claude-sonnet", "stream": false, "tools": [tool],
        "messages": [{"role": "user", "content": "call get_weather"}]});
    let said = answer(&proxy.gateway, "/api/chat", &body).await;
    let call = &said["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "get_weather", "{said}");
}

#[tokio::test]
async fn usage_is_told_by_the_tag_of_the_request() {
    let proxy = Proxy::start().await;
    let ask = async |model: &str, fields: &[(&str, &str)]| {
        let body = chat(model, "say ahoy", r#","stream":false"#);
        let gateway = proxy.gateway.address;
        let reply = request(gateway, "POST", "/api/chat", fields, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
    };
    ask("claude-sonnet", &[("X-Proxy-Tag", "paperless")]).await;
    // The original passed the tag on as a part of the name.
    ask("claude-sonnet@webui", &[]).await;
    ask("chatgpt@webui", &[("X-Proxy-Tag", "paperless")]).await;
    ask("chatgpt", &[]).await;
    let tags = eventually("four requests in the accounts", || async {
        let usage = get(proxy.gateway.admin, "/api/usage/tags").await.json();
        if usage["total"]["requests"] == 4 {
            Ok(usage["tags"].clone())
        } else {
            Err(usage)
        }
    })
    .await;
    let requests = |tag: &str| {
        let rows = tags.as_array().unwrap();
        let row = rows.iter().find(|row| row["tag"] == tag);
        row.unwrap_or_else(|| panic!("{tag}: {tags}"))["requests"].clone()
    };
    assert_eq!(requests("paperless"), 2, "the header goes before the name");
    assert_eq!(requests("webui"), 1);
}
