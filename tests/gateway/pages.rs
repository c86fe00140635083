//! Web pages of other origins: who may ask, who may read the answer, and that no server hears of it.

use serde_json::json;

use super::support::*;

const ALICE: &str = "alice-has-this-key-0";
const LOCAL: &str = "http://localhost:3000";
const FOREIGN: &str = "https://site.example";
const LINE: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":false}"#;
const DONE: &str = r#"{"model":"scripted","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}"#;

/// Every field of that name.
fn all<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let mine = headers.iter().filter(|(own, _)| own == name);
    mine.map(|(_, value)| value.as_str()).collect()
}

/// That a page of `origin` may read the answer, said once.
fn assert_readable(headers: &[(String, String)], origin: &str, what: &str) {
    let said = all(headers, "access-control-allow-origin");
    assert_eq!(said, [origin], "{what}: {headers:?}");
    let varies = all(headers, "vary");
    let by_origin = varies
        .iter()
        .filter(|name| name.eq_ignore_ascii_case("origin"));
    assert_eq!(
        by_origin.count(),
        usize::from(origin != "*"),
        "{what}: {headers:?}"
    );
}

fn assert_closed(headers: &[(String, String)], what: &str) {
    let said = headers
        .iter()
        .filter(|(name, _)| name.starts_with("access-control-"));
    assert_eq!(said.count(), 0, "{what}: {headers:?}");
}

/// A server that has its own idea of who may read its answers.
async fn server() -> Upstream {
    Upstream::start(|asked: &Asked| {
        let fields = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n";
        let fails = asked.body.windows(4).any(|word| word == b"fail");
        let status = if fails { "400 Bad Request" } else { "200 OK" };
        let whole = asked.body.windows(14).any(|word| word == br#""stream":false"#);
        let body = match (fails, whole) {
            (true, _) => r#"{"error":"no"}"#.to_owned(),
            (false, true) => DONE.replace(r#""content":"""#, r#""content":"ok""#),
            (false, false) => format!("{LINE}\n{DONE}\n"),
        };
        let kind = if fails || whole {
"application/json; charset=utf-8"
} else {
"application/x-ndjson"
};
        vec![Step::Send(
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )]
    })
    .await
}

async fn ask(gateway: &Gateway, format: Format, origin: &str, body: &str) -> Reply {
    let fields = [("origin", origin), ("content-type", "application/json")];
    request(
        gateway.address,
        "POST",
        format.path(),
        &fields,
        body.as_bytes(),
    )
    .await
}

#[tokio::test]
async fn every_answer_says_once_who_may_read_it() {
    let server = server().await;
    let gateway = Gateway::over(&Config::over(&[server.address]), 1).await;
    for format in Format::ALL {
        for (model, stream, text, status) in [
            ("scripted", true, "hi", 200),
            ("scripted", false, "hi", 200),
            ("scripted", false, "fail", 400),
            ("nothing", true, "hi", 404),
        ] {
            let body = format.ask(model, text, stream, json!({}));
            let reply = ask(&gateway, format, LOCAL, &body).await;
            let what = format!("{format:?} {model} {stream} {text}");
            assert_eq!(reply.status, status, "{what}: {}", reply.text());
            assert_readable(&reply.headers, LOCAL, &what);
            assert_eq!(
                all(&reply.headers, "access-control-allow-credentials"),
                [""; 0]
            );
        }
        let reply = ask(&gateway, format, LOCAL, "{").await;
        assert_eq!(reply.status, 400);
        assert_readable(&reply.headers, LOCAL, "a bad body");
    }
    for path in [
        "/",
        "/api/tags",
        "/v1/models",
        "/v1/models/scripted",
        "/health",
        "/nothing",
        "/v1/x",
    ] {
        let reply = request(gateway.address, "GET", path, &[("origin", LOCAL)], b"").await;
        assert_readable(&reply.headers, LOCAL, path);
    }
    let head = request(
        gateway.address,
        "DELETE",
        "/api/chat",
        &[("origin", LOCAL)],
        b"",
    )
    .await;
    assert_eq!(head.status, 405);
    assert_readable(&head.headers, LOCAL, "405");
    for asked in server.asked() {
        assert_eq!(asked.header("origin"), None, "{}", asked.head);
    }
}

#[tokio::test]
async fn a_page_that_may_not_ask_is_refused_before_anything_is_done() {
    let server = server().await;
    let config = Config::over(&[server.address]).key(format!("{{ name: alice, key: {ALICE} }}"));
    let gateway = Gateway::over(&config, 1).await;
    let body = chat("scripted", "hi", "");
    let long = format!("https://{}.example", "a".repeat(20_000));
    for origin in [
        FOREIGN,
        "null",
        "http://localhost.evil.example",
        "http://localhost:1.evil.example",
        "http://localhost:3000, https://site.example",
        "http://evil.example/http://localhost",
        "https://site.example\u{e9}",
        &long,
    ] {
        let key = ("x-api-key", ALICE);
        let fields = [("origin", origin), key];
        for (method, path, body) in [
            ("POST", "/api/chat", &*body),
            ("POST", "/v1/messages", &*body),
            ("GET", "/api/tags", ""),
            ("GET", "/nothing", ""),
        ] {
            let reply = request(gateway.address, method, path, &fields, body.as_bytes()).await;
            assert_eq!(reply.status, 403, "{origin} {path}");
            assert!(reply.body.is_empty());
            assert_closed(&reply.headers, origin);
        }
        let asks = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        let reply = request(gateway.address, "OPTIONS", "/api/chat", &asks, b"").await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (403, Some("POST")),
            "{origin}"
        );
        assert_closed(&reply.headers, origin);
    }
    let two = [("origin", LOCAL), ("origin", LOCAL), ("x-api-key", ALICE)];
    let reply = request(gateway.address, "GET", "/api/tags", &two, b"").await;
    assert_eq!(reply.status, 403);
    assert!(server.asked().is_empty());
    let refused = [("reason", "origin")];
    let count = gateway
        .metric("remuda_rejected_requests_total", &refused)
        .await;
    assert_eq!(count, 8.0 * 5.0 + 1.0);
    // The same connection serves the next request, where none was left unread.
    let mut client = Connection::open(gateway.address).await;
    for (origin, status) in [(FOREIGN, 403), (LOCAL, 401)] {
        client
            .request("GET", "/api/tags", &[("origin", origin)], b"")
            .await;
        assert_eq!(client.reply().await.status, status);
    }
}

#[tokio::test]
async fn whoever_is_no_page_of_another_origin_is_served_as_before() {
    let server = server().await;
    let gateway = Gateway::over(&Config::over(&[server.address]), 1).await;
    let own = format!("http://{}", gateway.address);
    let secure = format!("https://{}", gateway.address);
    let host = gateway.address.to_string();
    for origin in [None, Some(&*own), Some(&*secure), Some("")] {
        let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        let mut client = Connection::open(gateway.address).await;
        let head = format!("GET /api/tags HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
        client.send(head.as_bytes()).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{origin}");
        assert_closed(&reply.headers, &origin);
        assert_eq!(reply.header("vary"), None);
    }
    // Behind a proxy that has set `Host` anew, as Ollama's own documentation has nginx do.
    let fields = [
        ("origin", "https://llm.example"),
        ("x-forwarded-host", "llm.example"),
    ];
    let reply = request(gateway.address, "GET", "/api/tags", &fields, b"").await;
    assert_eq!(reply.status, 200);
}

/// A browser names no origin where a page shows an image, and says that the page is of another site all the same.
#[tokio::test]
async fn what_a_page_of_another_site_embeds_is_refused_without_an_origin_too() {
    let server = server().await;
    let gateway = Gateway::over(&Config::over(&[server.address]), 1).await;
    let body = Format::ALL[0].ask("scripted", "hi", false, json!({}));
    let open = Gateway::over(
        &Config::over(&[server.address]).set("server.allowed_origins", "['*']"),
        1,
    )
    .await;
    for (method, path, site, mode, status) in [
        ("GET", "/api/tags", "cross-site", "no-cors", 403),
        ("GET", "/health", "Cross-Site", "no-cors", 403),
        ("POST", Format::ALL[0].path(), "cross-site", "no-cors", 403),
        ("POST", Format::ALL[0].path(), "cross-site", "navigate", 403),
        ("OPTIONS", "/api/chat", "cross-site", "cors", 403),
        ("GET", "/", "cross-site", "navigate", 200),
        ("GET", "/api/tags", "same-origin", "no-cors", 200),
        ("GET", "/api/tags", "none", "navigate", 200),
        ("POST", Format::ALL[0].path(), "same-origin", "cors", 200),
    ] {
        let fields = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
        let body = if method == "POST" {
            body.as_bytes()
        } else {
            b""
        };
        let asked = server.asked().len();
        let reply = request(gateway.address, method, path, &fields, body).await;
        assert_eq!(reply.status, status, "{method} {path} {site} {mode}");
        if status == 403 {
            assert_eq!(
                server.asked().len(),
                asked,
                "{method} {path} reached a server"
            );
            let reply = request(open.address, method, path, &fields, body).await;
            assert_ne!(
                reply.status, 403,
                "{method} {path} where every page may ask"
            );
        }
    }
}

#[tokio::test]
async fn preflights_are_answered_here_without_a_key() {
    let server = server().await;
    let config = Config::over(&[server.address]).key(format!("{{ name: alice, key: {ALICE} }}"));
    let gateway = Gateway::over(&config, 1).await;
    let asks = [
        ("origin", LOCAL),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    for (path, allow) in [
        ("/api/chat", Some("POST")),
        ("/v1/messages", Some("POST")),
        ("/api/tags", Some("GET, HEAD")),
        ("/v1/v1/models", Some("GET")),
        ("/health", None),
        ("/nothing", None),
    ] {
        let mut client = Connection::open(gateway.address).await;
        for _ in 0..2 {
            client.request("OPTIONS", path, &asks, b"").await;
            let reply = client.reply().await;
            assert_eq!(reply.status, 204, "{path}");
            assert!(reply.body.is_empty());
            assert_eq!(reply.header("content-length"), None);
            assert_eq!(reply.header("allow"), allow, "{path}");
            // As a server of Ollama's says it.
            for (name, value) in [
                ("access-control-allow-origin", LOCAL),
                (
                    "access-control-allow-methods",
                    "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
                ),
                (
                    "access-control-allow-headers",
                    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout",
                ),
                ("access-control-max-age", "43200"),
            ] {
                assert_eq!(all(&reply.headers, name), [value], "{path}");
            }
            let varies = [
                "Origin",
                "Access-Control-Request-Method",
                "Access-Control-Request-Headers",
            ];
            assert_eq!(all(&reply.headers, "vary"), varies);
        }
    }
    let wants = [
        ("origin", LOCAL),
        (
            "access-control-request-headers",
            "x-api-key,anthropic-version,x-evil",
        ),
    ];
    let reply = request(gateway.address, "OPTIONS", "/v1/messages", &wants, b"").await;
    let fields = reply.header("access-control-allow-headers").unwrap();
    assert!(fields.ends_with(",x-api-key,anthropic-version"), "{fields}");
    let with_body = request(gateway.address, "OPTIONS", "/api/chat", &asks, b"{}").await;
    assert_eq!(with_body.status, 204);
    // What a refused request is told, the page may read.
    let reply = ask(&gateway, Format::Anthropic, LOCAL, "{}").await;
    assert_eq!(reply.status, 401);
    assert_readable(&reply.headers, LOCAL, "401");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn origins_are_added_by_the_file_or_the_environment() {
    let server = server().await;
    let over = || Config::over(&[server.address]);
    for (config, origin, status) in [
        (
            over().environment("OLLAMA_ORIGINS", "https://a.example, https://*.b.example"),
            FOREIGN,
            403,
        ),
        (
            over().environment("OLLAMA_ORIGINS", "https://a.example, https://*.b.example"),
            "https://a.example",
            200,
        ),
        (
            over().environment("OLLAMA_ORIGINS", "https://a.example, https://*.b.example"),
            "https://x.b.example",
            200,
        ),
        (
            over().environment("OLLAMA_ORIGINS", "https://a.example"),
            LOCAL,
            200,
        ),
        (
            over().set("server.allowed_origins", "[https://site.example/]"),
            FOREIGN,
            200,
        ),
        (
            over()
                .set("server.allowed_origins", "['chrome-extension://*']")
                .environment("OLLAMA_ORIGINS", FOREIGN),
            FOREIGN,
            403,
        ),
    ] {
        let gateway = Gateway::over(&config, 1).await;
        let reply = request(
            gateway.address,
            "GET",
            "/api/tags",
            &[("origin", origin)],
            b"",
        )
        .await;
        assert_eq!(reply.status, status, "{origin}");
        if status == 200 {
            assert_readable(&reply.headers, origin, origin);
        }
    }
    let gateway = Gateway::over(&over().environment("OLLAMA_ORIGINS", "*"), 1).await;
    for origin in [FOREIGN, "null"] {
        let reply = request(
            gateway.address,
            "GET",
            "/api/tags",
            &[("origin", origin)],
            b"",
        )
        .await;
        assert_eq!(reply.status, 200);
        assert_readable(&reply.headers, "*", origin);
    }
}

#[tokio::test]
async fn a_stream_that_is_waited_for_may_be_read() {
    let server = Upstream::start(|_: &Asked| vec![Step::Hold]).await;
    let config = Config::over(&[server.address]).set("timeouts.keep_alive", "20ms");
    let gateway = Gateway::over(&config, 1).await;
    for format in Format::ALL {
        let body = format.ask("scripted", "hi", true, json!({}));
        let mut client = Connection::open(gateway.address).await;
        let fields = [("origin", LOCAL)];
        client
            .request("POST", format.path(), &fields, body.as_bytes())
            .await;
        let head = client.head().await;
        assert_eq!(head.status, 200);
        assert_readable(&head.headers, LOCAL, "waiting");
    }
}
