//! Ways by the side: of a client to what only the operator may do, of a key to models that are not its own, and of a
//! server's own words past the gateway.

use serde_json::json;

use super::support::*;

const ALICE: &str = "alice-has-this-key-0";
const SECRET: &str = "the-operators-own-secret";

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"mini","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;

/// A service that answers everything, as an entry of the configuration.
fn service(name: &str, kind: &str, server: &Upstream) -> String {
    let mut entry = json!({
        "name": name, "kind": kind, "base_url": format!("http://{}", server.address), "api_key": SECRET,
        "models": ["mini", "big"], "list_models": false, "interval": "200ms",
    });
    if matches!(kind, "openai_compatible" | "openrouter") {
        entry["base_url"] = format!("http://{}/v1", server.address).into();
    }
    entry.to_string()
}

async fn answering() -> Upstream {
    Upstream::start(|_| vec![Step::Send(json(200, ANSWER))]).await
}

/// The names of all backends.
async fn backends(gateway: &Gateway) -> Vec<String> {
    let page = get(gateway.address, "/__proxy/backends").await.json();
    let rows = page["backends"].as_array().unwrap();
    let names = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[tokio::test]
async fn a_service_is_not_managed() {
    let digest = format!("/api/blobs/sha256:{}", "0".repeat(64));
    for kind in [
        "openai",
        "openai_compatible",
        "anthropic",
        "google",
        "openrouter",
    ] {
        let server = answering().await;
        let config = Config::of([service("vendor", kind, &server)]).set("server.manage", "true");
        let gateway = Gateway::over(&config, 1).await;
        let name = backends(&gateway).await.remove(0);
        let probes = server.asked().len();
        for (method, path) in [
            ("POST", "/api/pull"),
            ("POST", "/api/push"),
            ("POST", "/api/create"),
            ("POST", "/api/copy"),
            ("DELETE", "/api/delete"),
            ("POST", &*digest),
            ("HEAD", &*digest),
            ("POST", "/api/blobs/..%2f.."),
            ("HEAD", "/api/blobs/..%2f..%2fv1%2fmodels"),
        ] {
            for pinned in [true, false] {
                if path == "/api/pull" && !pinned {
                    continue;
                }
                let fields = [("X-Backend", &*name)];
                let fields = if pinned { &fields[..] } else { &[] };
                let mut client = Connection::open(gateway.address).await;
                let body = br#"{"model":"mini","source":"mini","destination":"x"}"#;
                let body = if method == "HEAD" { &b""[..] } else { body };
                client.request(method, path, fields, body).await;
                let reply = client.reply_to(method).await;
                assert_eq!(
                    reply.status,
                    400,
                    "{kind} {method} {path}: {}",
                    reply.text()
                );
            }
        }
        let asked = server.asked();
        let managing = asked[probes..].iter().filter(|asked| {
            let line = asked.head.lines().next().unwrap();
            line.contains("/api/") || line.starts_with("HEAD") || line.starts_with("DELETE")
        });
        assert_eq!(managing.count(), 0, "{kind}");
    }
}

#[tokio::test]
async fn a_blob_has_a_digest_and_options_stay_here() {
    let server = answering().await;
    let config = Config::over(&[server.address])
        .set("server.manage", "true")
        .set("provider.api_key", SECRET)
        .key(format!("{{ name: alice, key: {ALICE} }}"));
    let gateway = Gateway::over(&config, 1).await;
    let fields = [("x-api-key", ALICE)];
    for path in [
        "/api/blobs/..%2f..",
        "/api/blobs/sha256:..%2f..",
        "/api/blobs/sha256:12",
    ] {
        let reply = request(gateway.address, "POST", path, &fields, b"x").await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
        assert!(
            reply.text().contains("invalid digest format"),
            "{}",
            reply.text()
        );
    }
    for path in [
        "/api/chat",
        "/api/create",
        "/anything",
        "/v1/files",
        "*",
        "/",
    ] {
        for fields in [&[][..], &[("Origin", "http://localhost:3000")]] {
            let mut client = Connection::open(gateway.address).await;
            client.request("OPTIONS", path, fields, b"").await;
            client.head().await;
        }
    }
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_keys_request_stays_with_its_models() {
    let server = answering().await;
    let config = Config::of([service("router", "openrouter", &server)])
        .key(format!(
            "{{ name: alice, key: {ALICE}, models: [mini, \"mini-*\"] }}"
        ))
        .key("{ name: bob, key: bob-may-use-everything }")
        .set("routing.default_model", "big");
    let gateway = Gateway::over(&config, 1).await;
    let probes = server.asked().len();
    let ask = |fields: &str| {
        format!(
            r#"{{"model":"mini"{fields},"messages":[{{"role":"user","content":"hi"}}],"input":"hi","prompt":"hi","max_tokens":9}}"#
        )
    };
    let as_alice = [("x-api-key", ALICE)];
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/responses",
    ] {
        for fields in [
            r#","models":["mini","big"]"#,
            r#","\u006dodels":["big"]"#,
            r#","models":"big""#,
            r#","route":"fallback""#,
            r#","plugins":[{"id":"auto-router"}]"#,
            r#","plugin\u0073":[{"id":"fusion"}]"#,
        ] {
            let body = ask(fields);
            let reply = request(gateway.address, "POST", path, &as_alice, body.as_bytes()).await;
            let sent: Vec<_> = server.asked().split_off(probes);
            let leaks = |body: &[u8]| {
                let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
                ["models", "route", "plugins"]
                    .iter()
                    .any(|name| !body[*name].is_null())
            };
            assert!(
                !sent.iter().any(|asked| leaks(&asked.body)),
                "{path} {fields}"
            );
            if matches!(path, "/v1/chat/completions" | "/v1/embeddings") {
                assert_eq!(reply.status, 403, "{path} {fields}: {}", reply.text());
            }
        }
    }
    // What is the key's own, and whoever may use all.
    for (key, fields) in [
        (ALICE, r#","models":["mini"],"plugins":[]"#),
        (
            "bob-may-use-everything",
            r#","models":["mini","big"],"route":"fallback""#,
        ),
    ] {
        let body = ask(fields);
        let path = "/v1/chat/completions";
        let shown = [("x-api-key", key)];
        let reply = request(gateway.address, "POST", path, &shown, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{fields}: {}", reply.text());
    }
    // The default is a model of its own.
    let body = ask("").replace("mini", "mini-nonsense");
    let path = "/v1/chat/completions";
    let reply = request(gateway.address, "POST", path, &as_alice, body.as_bytes()).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
}

#[tokio::test]
async fn a_key_sees_its_own_part_of_the_fleet() {
    let (first, second) = (answering().await, answering().await);
    let config = Config::of([
        service("mine", "openai_compatible", &first),
        service("theirs", "openai_compatible", &second),
    ])
    .set("server.public", "[health, providers, tags, backends]")
    .key(format!(
        "{{ name: alice, key: {ALICE}, models: [mini], providers: [mine] }}"
    ));
    let gateway = Gateway::start(&config);
    gateway.healthy(2).await;
    for (path, status) in [
        ("/__proxy/backends", 200),
        ("/api/providers", 200),
        ("/api/providers/mine/stats", 200),
        ("/api/providers/theirs/stats", 400),
        ("/api/providers/nonsense/stats", 400),
        ("/api/tags/mine", 200),
        ("/health/detailed", 200),
        ("/health/providers", 200),
        ("/health/providers/theirs", 400),
    ] {
        let reply = request(gateway.address, "GET", path, &[("x-api-key", ALICE)], b"").await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        let address = second.address.to_string();
        // What was asked for may be repeated.
        let text = reply.text().replacen("type: theirs", "", 2);
        for hidden in ["theirs", "big", &*address] {
            assert!(!text.contains(hidden), "{path}: {hidden}: {}", reply.text());
        }
    }
    let fields = [("x-api-key", ALICE), ("x-provider", "nonsense")];
    let body = chat("mini", "hi", "");
    let reply = request(
        gateway.address,
        "POST",
        "/api/chat",
        &fields,
        body.as_bytes(),
    )
    .await;
    assert_eq!(reply.status, 400);
    assert!(!reply.text().contains("theirs"), "{}", reply.text());
}

/// A server that answers every request with this status and nothing else.
async fn wordless(status: u16) -> Upstream {
    let answer = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: 0\r\n\r\n");
    Upstream::start(move |_| vec![Step::Send(answer.clone().into_bytes())]).await
}

#[tokio::test]
async fn an_answer_without_a_word_is_told_and_marks_nobody() {
    for (status, told) in [(403, 403), (400, 400), (404, 404), (429, 429)] {
        let servers = [wordless(status).await, wordless(status).await];
        let config = Config::over(&[servers[0].address, servers[1].address]);
        let gateway = Gateway::over(&config, 2).await;
        let message = r#""messages":[{"role":"user","content":"hi"}],"max_tokens":9"#;
        for stream in ["true", "false"] {
            let ask = format!(r#"{{"model":"scripted","stream":{stream},{message},"input":"hi"}}"#);
            for (path, key) in [
                ("/api/chat", "/error"),
                ("/v1/chat/completions", "/error/message"),
                ("/v1/messages", "/error/message"),
                ("/v1/responses", "/error/message"),
                ("/api/embed", "/error"),
                ("/api/show", "/error"),
            ] {
                let reply = post(gateway.address, path, &ask).await;
                let what = format!("{status} {path} {stream}: {}", reply.text());
                assert_eq!(reply.status, told, "{what}");
                let words = reply
                    .json()
                    .pointer(key)
                    .and_then(|text| text.as_str().map(str::to_owned));
                assert!(words.is_some_and(|words| words.len() > 8), "{what}");
            }
        }
        let page = get(gateway.address, "/__proxy/backends").await.json();
        for row in page["backends"].as_array().unwrap() {
            assert_eq!(row["healthy"], true, "{status}: {page}");
        }
    }
}

#[tokio::test]
async fn a_servers_address_and_the_gateways_own_fields_do_not_reach_clients() {
    let body = r#"{"model":"scripted","message":{"role":"assistant","content":"hi"},"done":true}"#;
    let fields = "Location: http://10.0.0.1/\r\nContent-Location: http://10.0.0.1/\r\nRefresh: 0; url=http://10.0.0.1/\r\nX-Remuda-Backend: other\r\nX-Remuda-Dropped: none\r\nLink: <http://10.0.0.1/>\r\nVia: 1.1 gpu1\r\nX-Accel-Redirect: /secret\r\nX-Sendfile: /etc/passwd\r\nClear-Site-Data: \"*\"\r\nWWW-Authenticate: Basic\r\nContent-Security-Policy: sandbox\r\nX-Ratelimit-Remaining-Requests: 7\r\nAnthropic-Ratelimit-Tokens-Limit: 7\r\nX-Should-Retry: true\r\nRetry-After: 7\r\nX-Forwarded-For: 10.0.0.1\r\nSet-Cookie: a=b\r\nServer: gpu1\r\nAlt-Svc: h3=\":443\"\r\nX-Anything: 1\r\nRequest-Id: kept";
    let server = Upstream::start(move |asked: &Asked| {
        let status = if asked.number == 0 { "200 OK" } else { "307 Moved" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{fields}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        vec![Step::Send(head.into_bytes())]
    })
    .await;
    let config = Config::over(&[server.address]).set("server.expose_backend", "false");
    let gateway = Gateway::over(&config, 1).await;
    let ask = chat("scripted", "hi", r#","stream":false"#);
    for status in [200, 502] {
        let reply = post(gateway.address, "/api/chat", &ask).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        for hidden in [
            "location",
            "content-location",
            "refresh",
            "x-remuda-backend",
            "x-remuda-dropped",
            "link",
            "via",
            "x-accel-redirect",
            "x-sendfile",
            "clear-site-data",
            "www-authenticate",
            "content-security-policy",
            "x-ratelimit-remaining-requests",
            "anthropic-ratelimit-tokens-limit",
            "retry-after",
            "x-forwarded-for",
            "set-cookie",
            "server",
            "alt-svc",
            "x-anything",
        ] {
            assert_eq!(reply.header(hidden), None, "{status} {hidden}");
        }
        assert_ne!(reply.header("x-should-retry"), Some("true"));
        assert_eq!(reply.header("request-id").is_some(), status == 200);
    }
}

/// A key of the gateway's own that a server refuses is nothing to a client, whose own key may be well.
#[tokio::test]
async fn a_server_that_refuses_the_gateways_key_is_502_for_clients() {
    let message = r#""messages":[{"role":"user","content":"hi"}],"max_tokens":9"#;
    for (status, said) in [
        (401, r#"{"error":"no token sk-secret here"}"#),
        (401, ""),
        (402, r#"{"error":"sk-secret has to pay"}"#),
        (403, "<html>sk-secret may not</html>"),
        (403, ""),
        // A server that is not signed in says so in the first line.
        (
            200,
            r#"{"error":"unauthorized","signin_url":"https://ollama.com/connect?key=sk-secret"}"#,
        ),
    ] {
        let server = Upstream::start(move |_: &Asked| {
            let head = format!(
                "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nWWW-Authenticate: Basic\r\nContent-Length: {}\r\n\r\n",
                said.len()
            );
            vec![Step::Send([head.as_bytes(), said.as_bytes()].concat())]
        })
        .await;
        let entry = format!(
            "{{ name: gpus, api_key: wrong, backends: [\"http://{}\"] }}",
            server.address
        );
        let config = Config::of([entry]).set("server.manage", "true");
        let gateway = Gateway::over(&config, 1).await;
        for stream in ["true", "false"] {
            for (path, key) in [
                ("/api/chat", "/error"),
                ("/api/generate", "/error"),
                ("/v1/chat/completions", "/error/message"),
                ("/v1/completions", "/error/message"),
                ("/v1/messages", "/error/message"),
                ("/v1/responses", "/error/message"),
                ("/api/embed", "/error"),
                ("/v1/embeddings", "/error/message"),
                ("/api/show", "/error"),
                ("/api/pull", "/error"),
                ("/api/push", "/error"),
            ] {
                // To the Responses API a prompt is something that is stored.
                let prompt = if path.ends_with("responses") {
                    ""
                } else {
                    r#","prompt":"hi""#
                };
                let ask = format!(
                    r#"{{"model":"scripted","stream":{stream},{message},"input":"hi"{prompt}}}"#
                );
                let is_line = status == 200;
                let manages = path.ends_with("pull") || path.ends_with("push");
                if is_line && manages {
                    continue;
                }
                let reply = post(gateway.address, path, &ask).await;
                let what = format!(
                    "{status} {path} {stream}: {} {}",
                    reply.status,
                    reply.text()
                );
                assert!(!reply.text().contains("sk-secret"), "{what}");
                let told = if manages && stream == "true" {
                    200
                } else {
                    502
                };
                assert_eq!(reply.status, told, "{what}");
                assert_eq!(reply.header("www-authenticate"), None, "{what}");
                let words = match told {
                    200 => reply.text().to_owned(),
                    _ => reply.json().pointer(key).unwrap().to_string(),
                };
                assert!(
                    words.contains("refuses the gateway's credentials"),
                    "{what}"
                );
            }
        }
    }
}
