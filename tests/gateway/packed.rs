//! Request bodies that come compressed, as Codex and some proxies send them.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use super::support::*;

const ANSWER: &str = r#"{"model":"scripted","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"ok"},"done":true,"done_reason":"stop","prompt_eval_count":1,"eval_count":1}"#;

async fn gateway(configure: impl FnOnce(Config) -> Config) -> (Upstream, Gateway) {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    let config = configure(Config::over(&[server.address]));
    let gateway = Gateway::over(&config, 1).await;
    (server, gateway)
}

fn packed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" | "x-gzip" | "GZIP" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(bytes, 3).unwrap(),
        other => panic!("{other}"),
    }
}

async fn send(gateway: &Gateway, path: &str, coding: &str, body: &[u8]) -> Reply {
    let fields = [
        ("content-encoding", coding),
        ("content-type", "application/json"),
    ];
    request(gateway.address, "POST", path, &fields, body).await
}

#[tokio::test]
async fn a_packed_body_is_read_in_every_format() {
    let (server, gateway) = gateway(|config| config).await;
    for format in Format::ALL {
        let body = format.ask("scripted", &"many words ".repeat(20_000), false, json!({}));
        let plain = request(gateway.address, "POST", format.path(), &[], body.as_bytes()).await;
        assert_eq!(plain.status, 200, "{}", plain.text());
        let expected = server.asked().pop().unwrap();
        for coding in ["gzip", "x-gzip", "GZIP", "deflate", "zstd"] {
            let reply = send(
                &gateway,
                format.path(),
                coding,
                &packed(coding, body.as_bytes()),
            )
            .await;
            assert_eq!(reply.status, 200, "{format:?} {coding}: {}", reply.text());
            let asked = server.asked().pop().unwrap();
            assert_eq!(asked.header("content-encoding"), None);
            assert!(
                unstreamed(&asked.body) == unstreamed(&expected.body),
                "{format:?} {coding}"
            );
        }
        // In chunks, and one over the other in the order of the field.
        let twice = packed("zstd", &packed("gzip", body.as_bytes()));
        let mut client = Connection::open(gateway.address).await;
        let fields = [
            ("content-encoding", "gzip"),
            ("content-encoding", "identity, zstd"),
        ];
        client
            .request_chunked(format.path(), &fields, &twice, 100)
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let asked = server.asked().pop().unwrap();
        assert!(unstreamed(&asked.body) == unstreamed(&expected.body));
        // The connection goes on.
        client.request("GET", "/api/tags", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
    }
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_refused_in_the_clients_format() {
    let (server, gateway) = gateway(|config| config).await;
    for format in Format::ALL {
        let body = format.ask("scripted", "hi", false, json!({}));
        for coding in ["gzip", "deflate", "zstd"] {
            let whole = packed(coding, body.as_bytes());
            for (bytes, words) in [
                (&whole[..whole.len() - 1], "ends early"),
                (&whole[..2], "ends early"),
                (&[&*whole, b"garbage"].concat(), "behind its end"),
                (body.as_bytes(), "not valid"),
                (
                    &packed(
                        if coding == "zstd" { "gzip" } else { "zstd" },
                        body.as_bytes(),
                    ),
                    "not valid",
                ),
            ] {
                let reply = send(&gateway, format.path(), coding, bytes).await;
                assert_eq!(reply.status, 400, "{coding}: {}", reply.text());
                let message = format.message(&reply);
                assert!(
                    message.contains(words) && message.contains(coding),
                    "{message}"
                );
            }
        }
        for coding in [
            "br",
            "compress",
            "gzip, br",
            "aws-chunked",
            "gzip,gzip,gzip,gzip",
        ] {
            let reply = send(&gateway, format.path(), coding, body.as_bytes()).await;
            assert_eq!(reply.status, 415, "{coding}: {}", reply.text());
            assert_eq!(reply.header("accept-encoding"), Some("gzip, deflate, zstd"));
            format.message(&reply);
        }
    }
    assert!(server.asked().is_empty());
    // No body is no bad one.
    let none = request(
        gateway.address,
        "POST",
        "/api/chat",
        &[("content-encoding", "gzip")],
        b"",
    )
    .await;
    assert_eq!(
        (none.status, none.text().contains("missing request body")),
        (400, true)
    );
}

/// Bodies that are small on the wire and enormous behind it.
#[tokio::test]
async fn a_bomb_goes_off_within_its_bound() {
    let (server, gateway) = gateway(|config| config.set("server.max_body", "4MiB")).await;
    let start = gateway.process.anonymous_memory();
    let zeros = vec![b' '; 256 << 20];
    let zstd = packed("zstd", &zeros);
    let gzip = {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&zeros).unwrap();
        encoder.finish().unwrap()
    };
    drop(zeros);
    let nested = packed("gzip", &gzip);
    let members = packed("gzip", b"").repeat(10_000);
    for (coding, body, status) in [
        ("zstd", &zstd, 413),
        ("gzip", &gzip, 413),
        ("gzip, gzip", &nested, 413),
        ("gzip, gzip, gzip", &packed("gzip", &nested), 413),
        ("gzip", &members, 400),
    ] {
        let mut client = Connection::open(gateway.address).await;
        client
            .request("POST", "/api/chat", &[("content-encoding", coding)], body)
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{coding}: {}", reply.text());
        client.request("GET", "/api/version", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
    }
    let grown = gateway.process.anonymous_memory().saturating_sub(start);
    assert!(grown < 128 << 20, "{grown}");
    assert!(server.asked().is_empty());
    // A body at the bound is served.
    let text = "w".repeat(3 << 20);
    let body = packed(
        "zstd",
        chat("scripted", &text, r#","stream":false"#).as_bytes(),
    );
    let reply = send(&gateway, "/api/chat", "zstd", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn what_unpacked_bodies_take_counts_as_held() {
    let (server, gateway) = gateway(|config| config.set("server.max_buffered", "16MiB")).await;
    let large = chat("scripted", &"w".repeat(20 << 20), r#","stream":false"#);
    for coding in ["gzip", "zstd"] {
        let body = packed(coding, large.as_bytes());
        let reply = send(&gateway, "/api/chat", coding, &body).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.text().contains("server.max_buffered"));
    }
    // All of it is given back.
    let small = chat("scripted", &"w".repeat(4 << 20), r#","stream":false"#);
    for _ in 0..8 {
        let reply = send(
            &gateway,
            "/api/chat",
            "gzip",
            &packed("gzip", small.as_bytes()),
        )
        .await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(server.asked().len(), 8);
}

#[tokio::test]
async fn what_a_key_may_use_is_asked_of_the_unpacked_body() {
    let (server, gateway) =
        gateway(|config| config.key("{ name: alice, key: alice-has-this-key-0, models: [other] }"))
            .await;
    let body = chat("scripted", "hi", "");
    let fields = [
        ("x-api-key", "alice-has-this-key-0"),
        ("content-encoding", "zstd"),
    ];
    let body = packed("zstd", body.as_bytes());
    let reply = request(gateway.address, "POST", "/api/chat", &fields, &body).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert!(server.asked().is_empty());
}
