//! For which host a request may be: a page whose own name resolves to this machine (DNS rebinding) reads nothing.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::support::{Asked, Config, Connection, Format, Gateway, Step, Upstream, json, request};

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;
const EVIL: &str = "evil.example:11434";

async fn gateway(hosts: &str) -> (Upstream, Gateway) {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    let config = Config::over(&[server.address]).set("server.hosts", hosts);
    let gateway = Gateway::start(&config);
    (server, gateway)
}

/// The status of a request for that host; `None` where the connection ends without an answer.
async fn status(gateway: &Gateway, target: &str, host: &str) -> Option<u16> {
    let mut client = Connection::open(gateway.address).await;
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.send(head.as_bytes()).await;
    client.try_head().await.map(|head| head.status)
}

#[tokio::test]
async fn a_loopback_listener_answers_to_no_name_of_the_web() {
    let (server, gateway) = gateway("[]").await;
    for host in [
        "127.0.0.1:11434",
        "localhost",
        "LOCALHOST:1",
        "remuda.localhost",
        "host.docker.internal:11434",
        "desk.local",
        "[::1]:5",
        "10.1.2.3",
        "",
    ] {
        assert_eq!(
            status(&gateway, "/api/version", host).await,
            Some(200),
            "{host}"
        );
    }
    for host in [
        EVIL,
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil",
    ] {
        assert_eq!(
            status(&gateway, "/api/version", host).await,
            Some(403),
            "{host}"
        );
        let target = format!("http://{host}/api/version");
        assert_eq!(status(&gateway, &target, host).await, Some(403), "{target}");
    }
    let target = format!("http://{EVIL}/api/version");
    assert_eq!(status(&gateway, &target, "localhost").await, Some(400));
    // Whatever is asked, in whose format ever, and nobody hears of it; the page is its own site to the browser.
    for format in Format::ALL {
        let mut client = Connection::open(gateway.address).await;
        let body = format.ask("scripted", "hi", false, serde_json::json!({}));
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {EVIL}\r\nOrigin: http://{EVIL}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            format.path(),
            body.len()
        );
        client.send(head.as_bytes()).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 403, "{format:?}");
        let error = &reply.json()["error"];
        let text = error["message"].as_str().or(error.as_str()).unwrap();
        assert!(text.contains("server.hosts"), "{format:?}: {text}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    for path in [
        "/",
        "/health",
        "/health/live",
        "/api/tags",
        "/api/providers",
        "/__proxy/backends",
        "/nothing",
    ] {
        assert_eq!(status(&gateway, path, EVIL).await, Some(403), "{path}");
    }
    assert!(server.asked().is_empty());
    let refused = [("reason", "host")];
    assert!(
        gateway
            .metric("remuda_rejected_requests_total", &refused)
            .await
            >= 10.0
    );
}

/// RFC 9112 section 3.2.2: the authority of such a target is the host, and an old client may send no other.
#[tokio::test]
async fn the_authority_of_a_target_in_absolute_form_is_such_a_name() {
    let (_server, gateway) = gateway("[]").await;
    for (authority, expected) in [("localhost:11434", 200), (EVIL, 403)] {
        for fields in ["", "Connection: keep-alive\r\n"] {
            let mut client = Connection::open(gateway.address).await;
            let head = format!("GET http://{authority}/api/version HTTP/1.0\r\n{fields}\r\n");
            client.send(head.as_bytes()).await;
            let status = client.try_head().await.map(|head| head.status);
            assert_eq!(status, Some(expected), "{head}");
        }
    }
}

#[tokio::test]
async fn the_authority_of_http_2_is_such_a_name() {
    let (_server, gateway) = gateway("[]").await;
    let stream = tokio::net::TcpStream::connect(gateway.address)
        .await
        .unwrap();
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for (authority, host, expected) in [
        ("localhost:11434", None, 200),
        (EVIL, None, 403),
        (EVIL, Some("localhost"), 400),
    ] {
        let mut asking = Request::builder().uri(format!("http://{authority}/health"));
        if let Some(host) = host {
            asking = asking.header("host", host);
        }
        let asking = asking.body(Empty::<Bytes>::new()).unwrap();
        let answer = client.send_request(asking).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        // /health says 503 while the server is unknown.
        let status = if status == 503 { 200 } else { status };
        assert_eq!(status, expected, "{authority} {host:?}: {text}");
    }
}

#[tokio::test]
async fn names_are_added_by_the_setting() {
    let (_server, gateway) = gateway("[llm.example, '*.apps.example']").await;
    for (host, expected) in [
        ("llm.example", 200),
        ("LLM.example:8080", 200),
        ("a.apps.example", 200),
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("apps.example", 403),
        (EVIL, 403),
    ] {
        assert_eq!(
            status(&gateway, "/api/version", host).await,
            Some(expected),
            "{host}"
        );
    }
}

#[tokio::test]
async fn elsewhere_any_name_is_answered_until_some_are_stated() {
    for (hosts, expected) in [("[]", 200), ("[llm.example]", 403), ("['*']", 200)] {
        let config = Config::new()
            .backend("127.0.0.1:9".parse().unwrap())
            .set("server.listen", "0.0.0.0:0")
            .set("server.admin", "127.0.0.1:0")
            .set("server.hosts", hosts);
        let gateway = Gateway::start(&config);
        let address = std::net::SocketAddr::new([127, 0, 0, 1].into(), gateway.address.port());
        let mut client = Connection::open(address).await;
        client
            .send(format!("GET /api/version HTTP/1.1\r\nHost: {EVIL}\r\n\r\n").as_bytes())
            .await;
        assert_eq!(client.head().await.status, expected, "{hosts}");
    }
}

/// It tells more than the clients' listener does.
#[tokio::test]
async fn the_admin_listener_answers_to_the_same_names() {
    let (_server, gateway) = gateway("[llm.example]").await;
    for (host, expected) in [("localhost", 200), ("llm.example:1", 200), (EVIL, 403)] {
        let mut client = Connection::open(gateway.admin).await;
        client
            .send(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await;
        let reply = client.reply().await;
        assert_eq!(reply.status, expected, "{host}");
        assert_eq!(
            reply.text().contains("server.hosts"),
            expected == 403,
            "{host}"
        );
    }
    assert_eq!(
        request(gateway.admin, "GET", "/health/live", &[], b"")
            .await
            .status,
        200
    );
}
