//! Connections by HTTP/1.1: each request on one counts for itself, a client may end its own side, and nobody's take all.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::support::{Asked, Config, Connection, Gateway, Step, Upstream, chat, get, json, post};

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;

async fn gateway(configure: impl FnOnce(Config) -> Config) -> (Upstream, Gateway) {
    let server = Upstream::start(|asked: &Asked| match asked.header("x-slow") {
        Some(pause) => {
            let pause = Duration::from_millis(pause.parse().unwrap());
            vec![Step::Pause(pause), Step::Send(json(200, ANSWER))]
        }
        None => vec![Step::Send(json(200, ANSWER))],
    })
    .await;
    let gateway = Gateway::over(&configure(Config::over(&[server.address])), 1).await;
    (server, gateway)
}

/// Nothing of a request without a body, or one whose body came with its head, is read after its head.
#[tokio::test]
async fn each_head_on_a_connection_has_its_own_size_and_time() {
    let (_server, gateway) = gateway(|config| {
        config
            .set("server.max_header", "4KiB")
            .set("server.header_timeout", "500ms")
    })
    .await;
    let mut client = Connection::open(gateway.address).await;
    let filling = "x".repeat(1024);
    let body = chat("scripted", "hi", r#","stream":false"#);
    let requests: [(&str, &str, &[u8]); 4] = [
        ("GET", "/api/version", b""),
        ("POST", "/api/chat", body.as_bytes()),
        // Answered here, its body read and not.
        ("POST", "/api/chat", b"{"),
        ("GET", "/nothing", b""),
    ];
    for (method, path, body) in requests.iter().cycle().take(100) {
        client
            .request(method, path, &[("X-Filling", &filling)], body)
            .await;
        let reply = client.reply().await;
        assert!(matches!(reply.status, 200 | 400 | 404), "{}", reply.status);
        assert_ne!(reply.header("connection"), Some("close"), "{path}");
    }
    // A pause that is longer than a head may take is no part of any.
    for _ in 0..3 {
        let pause = Duration::from_millis(700);
        let unasked = tokio::time::timeout(pause, client.try_head()).await;
        assert!(unasked.is_err(), "{unasked:?} without a request");
        client.request("GET", "/api/version", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let (_server, gateway) = gateway(|config| {
        config
            .set("server.header_timeout", "300ms")
            .set("server.keepalive_timeout", "2s")
    })
    .await;
    for (method, path, body) in [
        ("GET", "/api/version", &b""[..]),
        ("POST", "/api/chat", b"{"),
    ] {
        let mut client = Connection::open(gateway.address).await;
        client.request(method, path, &[], body).await;
        client.reply().await;
        let idle = Instant::now();
        assert!(client.try_head().await.is_none(), "an answer to nothing");
        assert!(idle.elapsed() > Duration::from_secs(1));
    }
}

/// As `nc` does, and clients of old.
#[tokio::test]
async fn a_client_that_has_ended_its_own_side_gets_its_answer() {
    let (_server, gateway) = gateway(|config| config).await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        for pause in [0, 30, 600] {
            let mut client = Connection::open(gateway.address).await;
            let head = format!(
                "POST /api/chat {version}\r\nHost: x\r\nX-Slow: {pause}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.send(head.as_bytes()).await;
            client.finish().await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.text()), (200, ANSWER), "{version}");
            assert!(client.try_head().await.is_none());
        }
    }
    let mut client = Connection::open(gateway.address).await;
    client
        .send(b"GET /api/version HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    client.finish().await;
    assert_eq!(client.reply().await.status, 200);
    // One that has gone altogether is not served on.
    let mut client = Connection::open(gateway.address).await;
    client
        .request("POST", "/api/chat", &[("X-Slow", "20000")], body.as_bytes())
        .await;
    gateway.metric_is("remuda_slots_used", &[], 1.0).await;
    drop(client);
    gateway.idle().await;
}

#[tokio::test]
async fn a_stream_goes_on_to_a_client_that_has_ended_its_own_side() {
    use super::support::{STREAM_HEAD, chunk, is_done};
    const LINE: &[u8] = b"{\"model\":\"scripted\",\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"done\":false}\n";
    let last = format!("{ANSWER}\n");
    let server = Upstream::start(move |_: &Asked| {
        let mut steps = vec![
            Step::Pause(Duration::from_millis(150)),
            Step::Send(STREAM_HEAD.to_vec()),
        ];
        for _ in 0..5 {
            steps.push(Step::Send(chunk(LINE)));
            steps.push(Step::Pause(Duration::from_millis(100)));
        }
        steps.push(Step::Send(chunk(last.as_bytes())));
        steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
        steps
    })
    .await;
    let gateway = Gateway::over(&Config::over(&[server.address]), 1).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("scripted", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    client.finish().await;
    let reply = client.reply().await;
    assert!(is_done(&reply.lines()), "{}", reply.text());
    assert_eq!(reply.lines().len(), 6);
}

/// An address of this machine that is none of loopback's, if it has one.
fn own_address() -> Option<IpAddr> {
    // Nothing is sent: connecting tells which address would be used (RFC 5737's TEST-NET-1 is nobody's).
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn one_address_does_not_take_every_connection() {
    let (_server, gateway) = gateway(|config| {
        config
            .set("server.listen", "0.0.0.0:0")
            .set("server.max_connections_per_address", 3)
    })
    .await;
    let local = SocketAddr::new([127, 0, 0, 1].into(), gateway.address.port());
    // A proxy on this machine is many clients.
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut client = Connection::open(local).await;
        client.request("GET", "/api/version", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
        open.push(client);
    }
    let Some(own) = own_address() else {
        return;
    };
    let own = SocketAddr::new(own, gateway.address.port());
    for _ in 0..3 {
        let mut client = Connection::open(own).await;
        client.request("GET", "/api/version", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
        open.push(client);
    }
    let reply = Connection::open(own).await.reply().await;
    assert_eq!(reply.status, 503);
    assert!(
        reply.text().contains("server.max_connections_per_address"),
        "{}",
        reply.text()
    );
    assert_eq!(get(local, "/api/version").await.status, 200);
    open.truncate(10);
    gateway.metric_is("remuda_connections", &[], 10.0).await;
    assert_eq!(get(own, "/api/version").await.status, 200);
    let body = chat("scripted", "hi", r#","stream":false"#);
    assert_eq!(post(own, "/api/chat", &body).await.status, 200);
}

/// The admin listener has few places; whoever comes takes that of the oldest.
#[tokio::test]
async fn slow_connections_do_not_keep_the_admin_listener_from_answering() {
    let (_server, gateway) = gateway(|config| config).await;
    let mut slow = Vec::new();
    for number in 0..300 {
        let mut client = Connection::open(gateway.admin).await;
        let begun: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /metr",
            // It does not read.
            _ => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        client.try_send(begun).await;
        slow.push(client);
    }
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(get(gateway.admin, path).await.status, 200, "{path}");
    }
    assert_eq!(get(gateway.address, "/health/live").await.status, 200);
}
