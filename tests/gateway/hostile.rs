//! Clients and servers that mean harm or are broken: each gets a clear answer or a closed connection, and the others
//! notice nothing.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    Asked, Config, Connection, Ending, Gateway, Reply, STREAM_HEAD, Step, Upstream, chat, chunk,
    get, in_time, json, post, request,
};

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;

async fn gateway() -> (Upstream, Gateway) {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    let gateway = Gateway::over(&Config::over(&[server.address]), 1).await;
    (server, gateway)
}

/// All that the gateway says to these bytes until it closes the connection or, where it does not, until it has
/// answered a request to close that follows.
async fn said(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // What comes after may find a closed connection.
    let _ = stream.write_all(bytes).await;
    let last = b"GET /the-end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let _ = stream.write_all(last).await;
    let mut all = Vec::new();
    let _ = in_time("the connection's end", stream.read_to_end(&mut all)).await;
    String::from_utf8(all).unwrap()
}

/// The statuses of the answers in what was said.
fn statuses(said: &str) -> Vec<u16> {
    said.match_indices("HTTP/1.1 ")
        .map(|(at, _)| said[at + 9..at + 12].parse().unwrap())
        .collect()
}

/// A well-behaved client's request on a connection of its own.
async fn others_are_served(gateway: &Gateway) {
    let body = chat("scripted", "hi", r#","stream":false"#);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!((reply.status, reply.text()), (200, ANSWER));
}

/// Sends what must be refused with one 400, or no answer at all, and must not reach a server.
async fn refused(server: &Upstream, gateway: &Gateway, bytes: &[u8]) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let before = server.asked().len();
    let said = said(gateway, bytes).await;
    let statuses = statuses(&said);
    assert!(
        statuses.is_empty() || statuses == [400],
        "{shown:?}: {said}"
    );
    assert_eq!(server.asked().len(), before, "{shown:?} reached a server");
    others_are_served(gateway).await;
}

/// Requests that two servers could read as different numbers of requests.
#[tokio::test]
async fn smuggled_requests_are_refused_and_the_connection_ends() {
    let (server, gateway) = gateway().await;
    const HEAD: &str = "POST /api/chat HTTP/1.1\r\nHost: x\r\n";
    const SMUGGLED: &str = "GET /api/tags HTTP/1.1\r\nHost: x\r\n\r\n";
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
        "Content-Length: 3, 5\r\n\r\nabc",
        "Content-Length: +3\r\n\r\nabc",
        "Content-Length: -3\r\n\r\nabc",
        "Content-Length: 0x3\r\n\r\nabc",
        "Content-Length: 3 3\r\n\r\nabc",
        "Content-Length: \r\n\r\n",
        "Content-Length: 99999999999999999999999999\r\n\r\nabc",
        "Content-Length : 3\r\n\r\nabc",
        " Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "X-Folded: a\r\n Content-Length: 3\r\n\r\nabc",
        "X-Bare\rContent-Length: 3\r\n\r\nabc",
        "X-Nul: a\0b\r\n\r\n",
        "X(bad): 1\r\n\r\n",
        ": nameless\r\n\r\n",
        "no colon\r\n\r\n",
    ] {
        let bytes = format!("{HEAD}{fields}{SMUGGLED}");
        refused(&server, &gateway, bytes.as_bytes()).await;
    }
}

/// A body in chunks that two servers could read differently.
#[tokio::test]
async fn chunks_that_two_servers_read_differently_are_refused() {
    let (server, gateway) = gateway().await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    let head = |coding: &str| {
        format!("POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n")
    };
    const SMUGGLED: &str = "GET /api/tags HTTP/1.1\r\nHost: x\r\n\r\n";
    for chunks in [
        format!("{chunk}\r\n\r\n"),
        format!("{chunk};a=b\r\n\r\n"),
        format!("{chunk} \r\n\r\n"),
        format!("\r\n{chunk}0\r\n\r\n"),
        "\r\n\r\n".to_owned(),
        format!("{chunk}-0\r\n\r\n"),
        format!("{chunk}0x0\r\n\r\n"),
    ] {
        let bytes = format!("{}{chunks}{SMUGGLED}", head("chunked"));
        refused(&server, &gateway, bytes.as_bytes()).await;
        // Also where the head comes by itself, and the body a byte at a time.
        let mut client = Connection::open(gateway.address).await;
        client.send(head("chunked").as_bytes()).await;
        let before = server.asked().len();
        let mut status = None;
        for byte in chunks.as_bytes() {
            if status.is_some() || !client.try_send(&[*byte]).await {
                break;
            }
            let pause = Duration::from_millis(1);
            if let Ok(head) = tokio::time::timeout(pause, client.try_head()).await {
                status = Some(head.map(|head| head.status));
            }
        }
        let status = match status {
            Some(status) => status,
            None => client.try_head().await.map(|head| head.status),
        };
        assert_eq!(status, Some(400), "{chunks:?}");
        assert_eq!(server.asked().len(), before, "{chunks:?} reached a server");
    }
    for coding in [
        "gzip, chunked",
        "identity, chunked",
        "chunked, chunked",
        "deflate\r\nTransfer-Encoding: chunked",
    ] {
        let bytes = format!("{}{chunk}0\r\n\r\n{SMUGGLED}", head(coding));
        refused(&server, &gateway, bytes.as_bytes()).await;
    }
    // As it should be, whatever its case and its extensions.
    for (coding, chunks) in [
        ("chunked", format!("{chunk}0\r\n\r\n")),
        (
            "Chunked",
            format!(
                "{:X};a=\"b\"\r\n{body}\r\n000\r\nX-Last: y\r\n\r\n",
                body.len()
            ),
        ),
    ] {
        let mut client = Connection::open(gateway.address).await;
        for _ in 0..2 {
            client
                .send(format!("{}{chunks}", head(coding)).as_bytes())
                .await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.text()), (200, ANSWER), "{chunks}");
        }
    }
}

/// RFC 9112 section 3.2.
#[tokio::test]
async fn a_request_names_one_host() {
    let (server, gateway) = gateway().await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let rest = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    for head in [
        "POST /api/chat HTTP/1.1\r\n",
        "POST http://x/api/chat HTTP/1.1\r\n",
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nHost: y\r\n",
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nHost: x\r\n",
        "POST http://x/api/chat HTTP/1.1\r\nHost: y\r\n",
        "POST /api/chat HTTP/1.1\r\nHost: me@x\r\n",
    ] {
        refused(&server, &gateway, format!("{head}{rest}").as_bytes()).await;
    }
    let said = said(
        &gateway,
        b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(statuses(&said), [400], "{said}");
    assert!(
        said.contains(r#""message":"the request names no host"#),
        "{said}"
    );
    // HTTP/1.0 needs none.
    let said = self::said(&gateway, b"GET /api/version HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&said), [200], "{said}");
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let (server, gateway) = gateway().await;
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n".as_slice(),
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
        b"GET / FTP/1.1\r\nHost: x\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        refused(&server, &gateway, bytes).await;
    }
}

#[tokio::test]
async fn a_thousand_fields_are_refused() {
    let (server, gateway) = gateway().await;
    let fields: String = (0..1000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect();
    let bytes = format!("GET /api/tags HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    refused(&server, &gateway, bytes.as_bytes()).await;
}

/// Pingora answers what it cannot read; the client is told what it did wrong all the same.
#[tokio::test]
async fn a_bad_head_is_told_in_ollamas_format() {
    let (_server, gateway) = gateway().await;
    for (bytes, status) in [
        ("GET /api/tags HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (
            "POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n",
            400,
        ),
        (
            "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
            405,
        ),
    ] {
        let mut client = Connection::open(gateway.address).await;
        client.send(bytes.as_bytes()).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{bytes}");
        assert!(
            reply.json()["error"].is_string(),
            "{bytes}: {}",
            reply.text()
        );
        assert!(client.try_head().await.is_none());
    }
    others_are_served(&gateway).await;
}

#[tokio::test]
async fn odd_targets_are_not_found_and_never_forwarded() {
    let (server, gateway) = gateway().await;
    let long = format!("/{}", "a".repeat(30_000));
    let traversal = format!("/api/blobs/sha256:{}/../../etc/passwd", "0".repeat(64));
    for target in [
        "/api/chat%2f",
        "/api/chat/.",
        "/api/chat/%2f",
        "/api%2fchat",
        "/api/chat%00",
        "/API/CHAT",
        "/api/../api/chat",
        "/./api/chat",
        "/api/chat;x=1",
        "/%61pi/chat",
        "/v1/models/../../api/chat",
        "/__proxy/../api/chat",
        "*",
        "api/chat",
        &traversal,
        &long,
    ] {
        let body = chat("scripted", "hi", r#","stream":false"#);
        let bytes = format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let said = said(&gateway, bytes.as_bytes()).await;
        let first = statuses(&said).first().copied();
        assert!(
            matches!(first, Some(400 | 403 | 404 | 405)),
            "{}: {said}",
            &target[..target.len().min(100)]
        );
        assert!(
            said.len() < 2000,
            "it repeats what was sent: {}",
            said.len()
        );
    }
    assert!(server.asked().is_empty(), "{:?}", server.asked());
    others_are_served(&gateway).await;
}

/// RFC 9112 section 3.2.2: a server must accept the absolute form.
#[tokio::test]
async fn a_target_in_absolute_form_is_served_by_its_path() {
    let (server, gateway) = gateway().await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let bytes = format!(
        "POST http://elsewhere.example/api/chat?a=1 HTTP/1.1\r\nHost: elsewhere.example\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut client = Connection::open(gateway.address).await;
    client.send(bytes.as_bytes()).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, ANSWER));
    let asked = server.asked().pop().unwrap();
    // The backend is asked as an origin server is (section 3.2.1).
    assert!(
        asked.head.starts_with("POST /api/chat?a=1 HTTP/1.1\r\n"),
        "{}",
        asked.head
    );
    assert!(!asked.head.contains("Host: elsewhere"), "{}", asked.head);
}

#[tokio::test]
async fn odd_methods_are_405() {
    let (server, gateway) = gateway().await;
    for method in ["TRACE", "PATCH", "PUT", "GETT", "get", "M-SEARCH"] {
        let reply = request(gateway.address, method, "/api/chat", &[], b"").await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("POST"), "{method}");
    }
    assert!(server.asked().is_empty());
}

fn error(reply: &Reply) -> String {
    let body: Value = reply.json();
    body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn bodies_that_are_no_json_are_400() {
    let (server, gateway) = gateway().await;
    let nested = "[".repeat(200_000);
    let nested_model = format!(r#"{{"model":"scripted","options":{nested}"#);
    let closed = format!(
        r#"{{"model":"scripted","messages":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for body in [
        b"\xff\xfe\xfd".as_slice(),
        b"{\"model\":\xff}",
        b"\0\0\0\0",
        nested.as_bytes(),
        nested_model.as_bytes(),
        closed.as_bytes(),
        b"{\"model\":\"scripted\",\"messages\":[}",
        b"{\"model\":\"a\nb\"}",
        b"{\"model\":\"\\ud800\\x\"}",
        b"{\"model\" \"scripted\"}",
    ] {
        let reply = request(gateway.address, "POST", "/api/chat", &[], body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!(reply.status, 400, "{shown}: {}", reply.text());
        let error = error(&reply);
        assert!(error.len() < 300, "{error}");
        others_are_served(&gateway).await;
    }
    assert_eq!(server.asked().len(), 10, "only the others'");
}

#[tokio::test]
async fn model_names_that_cannot_be_are_refused() {
    let (server, gateway) = gateway().await;
    let long = "m".repeat(100_000);
    for name in [
        "../../etc/passwd",
        "..",
        "/",
        "a/../b",
        "a\\u0000b",
        "a\\r\\nX-Injected: 1",
        "a\\u001b[31m",
        "a b",
        "a:b:c",
        "%2e%2e",
        "http://elsewhere.example/x",
        "\\ud800",
        &long,
    ] {
        for path in ["/api/chat", "/api/generate", "/api/embed", "/api/show"] {
            let body = format!(r#"{{"model":"{name}","messages":[],"input":"x"}}"#);
            let reply = post(gateway.address, path, &body).await;
            let shown = &name[..name.len().min(40)];
            assert!(
                matches!(reply.status, 400 | 404),
                "{path} {shown}: {}",
                reply.status
            );
            assert!(reply.header("x-injected").is_none());
            error(&reply);
        }
    }
    assert!(server.asked().is_empty());
    others_are_served(&gateway).await;
    // None of them has become a label.
    let metrics = get(gateway.admin, "/metrics").await;
    for part in ["passwd", "elsewhere", "mmmm", "Injected"] {
        assert!(!metrics.text().contains(part), "{part}");
    }
}

#[tokio::test]
async fn fields_cannot_be_injected() {
    let (server, gateway) = gateway().await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    for (name, value) in [
        ("X-Request-Id", "a\rX-Injected: 1"),
        ("X-Request-Id", "a\nX-Injected: 1"),
        ("X-Request-Id", "a\u{7f}b"),
        ("X-Backend", "a\nX-Injected: 1"),
        ("X-Backend", "nowhere"),
        ("X-Backend", "\u{e9}"),
        ("X-Priority", "high\nX-Injected: 1"),
        ("X-Priority", "99999999999999999999"),
    ] {
        let bytes = format!(
            "POST /api/chat HTTP/1.1\r\nHost: x\r\n{name}: {value}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = Connection::open(gateway.address).await;
        client.send(bytes.as_bytes()).await;
        if let Some(head) = client.try_head().await {
            assert!(head.header("x-injected").is_none(), "{value:?}");
            assert!(
                matches!(head.status, 200 | 400),
                "{value:?}: {}",
                head.status
            );
        }
    }
    for asked in server.asked() {
        let ids: Vec<&str> = asked
            .head
            .lines()
            .filter(|line| line.to_ascii_lowercase().starts_with("x-request-id:"))
            .collect();
        assert_eq!(ids.len(), 1, "{}", asked.head);
    }
    others_are_served(&gateway).await;
}

/// A server that answers the requests that say `x-bad` with `bytes` and then `end`, and the others well.
async fn bad_server(bytes: Vec<u8>, end: Step) -> (Upstream, Gateway) {
    let server = Upstream::start(move |asked: &Asked| {
        if asked.head.to_ascii_lowercase().contains("x-bad: ") {
            vec![
                Step::Send(bytes.clone()),
                Step::Pause(Duration::from_millis(20)),
                end.clone(),
            ]
        } else {
            vec![Step::Send(json(200, ANSWER))]
        }
    })
    .await;
    let config = Config::over(&[server.address])
        .set("routing.max_retries", 0)
        .set("timeouts.first_byte", "1s")
        .set("timeouts.between_chunks", "1s");
    let gateway = Gateway::over(&config, 1).await;
    (server, gateway)
}

/// What a client gets from such a server: one well-formed answer, or a connection that ends.
async fn asked_badly(gateway: &Gateway, fields: &str) -> Option<Reply> {
    gateway.healthy(1).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("scripted", "hi", fields);
    client
        .request("POST", "/api/chat", &[("X-Bad", "yes")], body.as_bytes())
        .await;
    let head = client.try_head().await?;
    let (body, ending) = client.rest().await;
    Some(Reply {
        status: head.status,
        headers: head.headers,
        body,
        ending,
    })
}

#[tokio::test]
async fn servers_that_speak_no_http_are_502() {
    let huge = format!(
        "HTTP/1.1 200 OK\r\nX-Huge: {}\r\nContent-Length: 2\r\n\r\n{{}}",
        "x".repeat(2 << 20)
    );
    let many: String = (0..5000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect();
    let many = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\n{{}}");
    for bytes in [
        b"\x16\x03\x03 no http at all\r\n\r\n".as_slice(),
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\nabc\r\n",
        huge.as_bytes(),
        many.as_bytes(),
        b"HTTP/1.1 200 OK\r\n",
        b"",
    ] {
        let (_server, gateway) = bad_server(bytes.to_vec(), Step::Close).await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        for fields in ["", r#","stream":false"#] {
            let reply = asked_badly(&gateway, fields).await.unwrap();
            assert_eq!(reply.status, 502, "{shown}: {}", reply.text());
            let told = error(&reply);
            assert!(
                told.starts_with("All backend attempts failed. Errors: ["),
                "{told}"
            );
            assert!(
                told.contains("broke the connection before its answer"),
                "{told}"
            );
            gateway.healthy(1).await;
            others_are_served(&gateway).await;
        }
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_length_that_never_comes_does_not_look_complete() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999999999999\r\n\r\n{\"done\":true}";
    let (_server, gateway) = bad_server(bytes.to_vec(), Step::Close).await;
    for fields in ["", r#","stream":false"#] {
        let reply = asked_badly(&gateway, fields).await;
        if let Some(reply) = reply {
            assert!(
                reply.status == 502 || reply.ending == Ending::Short,
                "{} {}",
                reply.status,
                reply.text()
            );
        }
        gateway.healthy(1).await;
        others_are_served(&gateway).await;
    }
    gateway.idle().await;
}

/// Heads that announce nothing but more heads are passed over, for no longer than `timeouts.first_byte`.
#[tokio::test]
async fn informational_heads_are_passed_over_and_bounded() {
    let mut bytes =
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
            .repeat(50)
            .to_vec();
    bytes.extend_from_slice(&json(200, ANSWER));
    let (_server, gateway) = bad_server(bytes, Step::Pause(Duration::ZERO)).await;
    let reply = asked_badly(&gateway, r#","stream":false"#).await.unwrap();
    assert_eq!((reply.status, reply.text()), (200, ANSWER));

    let storm = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(10_000).to_vec();
    let server = Upstream::start(move |asked: &Asked| {
        if asked.head.to_ascii_lowercase().contains("x-bad: ") {
            (0..2000)
                .flat_map(|_| {
                    [
                        Step::Send(storm.clone()),
                        Step::Pause(Duration::from_millis(1)),
                    ]
                })
                .collect()
        } else {
            vec![Step::Send(json(200, ANSWER))]
        }
    })
    .await;
    let config = Config::over(&[server.address])
        .set("routing.max_retries", 0)
        .set("timeouts.first_byte", "700ms");
    let gateway = Gateway::over(&config, 1).await;
    let before = gateway.process.resident_memory();
    let reply = asked_badly(&gateway, "").await.unwrap();
    assert_eq!(reply.status, 502);
    gateway.healthy(1).await;
    others_are_served(&gateway).await;
    let grown = gateway.process.resident_memory().saturating_sub(before);
    assert!(grown < 32 << 20, "it kept {grown} bytes");
}

/// A server that never ends its first line must not fill the gateway's memory.
#[tokio::test]
async fn an_endless_beginning_is_bounded() {
    for filling in [b' ', b'\n'] {
        let piece = chunk(&vec![filling; 1 << 20]);
        let server = Upstream::start(move |asked: &Asked| {
            if asked.head.to_ascii_lowercase().contains("x-bad: ") {
                std::iter::once(Step::Send(STREAM_HEAD.to_vec()))
                    .chain(std::iter::repeat_n(Step::Send(piece.clone()), 256))
                    .chain([Step::Hold])
                    .collect()
            } else {
                vec![Step::Send(json(200, ANSWER))]
            }
        })
        .await;
        let config = Config::over(&[server.address])
            .set("routing.max_retries", 0)
            .set("timeouts.first_byte", "5s")
            .set("timeouts.between_chunks", "2s");
        let gateway = Gateway::over(&config, 1).await;
        let before = gateway.process.resident_memory();
        let asking = asked_badly(&gateway, "");
        let watching = async {
            let mut most = 0;
            while gateway.metric("remuda_attempts_total", &[]).await == 0.0 {
                most = most.max(gateway.process.resident_memory());
            }
            most
        };
        let (reply, most) = tokio::join!(asking, watching);
        assert_eq!(reply.unwrap().status, 502);
        let grown = most.saturating_sub(before);
        assert!(grown < 64 << 20, "{filling}: it took {grown} bytes");
        gateway.idle().await;
        gateway.healthy(1).await;
        others_are_served(&gateway).await;
    }
}
