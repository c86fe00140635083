//! What a client may send, how much, how fast and how often: each bound answers with its status and names its setting,
//! and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use super::support::{
    Asked, Config, Connection, Ending, Gateway, Reply, Simulation, Step, Upstream, chat,
    eventually, is_done, join_all, json, post, request,
};

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;

/// A server that answers at once, or never where a request says `x-hold`.
async fn holding() -> Upstream {
    Upstream::start(|asked: &Asked| {
        if asked.head.to_ascii_lowercase().contains("x-hold: ") {
            vec![Step::Hold]
        } else {
            vec![Step::Send(json(200, ANSWER))]
        }
    })
    .await
}

/// A gateway in front of one such server with `slots`.
async fn gateway(slots: u32, configure: impl FnOnce(Config) -> Config) -> (Upstream, Gateway) {
    let server = holding().await;
    let config = Config::over(&[server.address])
        .set("provider.max_concurrent_per_backend", slots)
        .set("server.expose_backend", "false");
    let gateway = Gateway::over(&configure(config), 1).await;
    (server, gateway)
}

fn ask(length: usize) -> String {
    let text = "x".repeat(length);
    chat("scripted", &text, r#","stream":false"#)
}

/// A request of a well-behaved client.
async fn works(gateway: &Gateway) {
    let reply = post(gateway.address, "/api/chat", &ask(2)).await;
    assert_eq!((reply.status, reply.text()), (200, ANSWER));
}

fn assert_refused(reply: &Reply, status: u16, setting: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.ending, Ending::Whole);
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let body = reply.json();
    let text = body["error"].as_str().unwrap();
    assert!(text.contains(setting), "{text}");
}

/// The answer to what was sent, after which the gateway closes the connection.
async fn last_reply(connection: &mut Connection) -> Reply {
    let reply = connection.reply().await;
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(connection.try_head().await.is_none(), "still open");
    reply
}

#[tokio::test]
async fn a_body_beyond_max_body_is_refused_before_it_is_sent() {
    let (server, gateway) = gateway(1, |config| config.set("server.max_body", "100KiB")).await;
    let mut client = Connection::open(gateway.address).await;
    client
        .send(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 102401\r\n\r\n")
        .await;
    assert_refused(&last_reply(&mut client).await, 413, "server.max_body");
    // Nor is a client told to send it that asks first.
    let mut client = Connection::open(gateway.address).await;
    client
        .send(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 102401\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_refused(&last_reply(&mut client).await, 413, "server.max_body");
    assert!(server.asked().is_empty());
    works(&gateway).await;
}

#[tokio::test]
async fn a_chunked_body_beyond_max_body_is_refused_when_it_gets_there() {
    let (server, gateway) = gateway(1, |config| config.set("server.max_body", "100KiB")).await;
    let mut client = Connection::open(gateway.address).await;
    client
        .send(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
    for _ in 0..26 {
        client.send(&chunk).await;
    }
    assert_refused(&last_reply(&mut client).await, 413, "server.max_body");
    assert!(server.asked().is_empty());
    works(&gateway).await;
}

#[tokio::test]
async fn a_body_of_exactly_max_body_passes() {
    let (server, gateway) = gateway(1, |config| config.set("server.max_body", "100KiB")).await;
    let body = ask(100 * 1024 - ask(0).len());
    assert_eq!(body.len(), 100 * 1024);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut client = Connection::open(gateway.address).await;
    client
        .request_chunked("/api/chat", &[], body.as_bytes(), 4096)
        .await;
    assert_eq!(client.reply().await.status, 200);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    for one in asked {
        // A whole answer may be asked for as a stream.
        let came = String::from_utf8(one.body).unwrap();
        let came = came.replace(r#""stream":true"#, r#""stream":false"#);
        assert!(came == body, "{} bytes", came.len());
    }
}

/// The client that is still sending when it is refused reads the refusal, not a reset.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let (_server, gateway) = gateway(1, |config| config.set("server.max_body", "64KiB")).await;
    let sending = (0..16).map(|_| async {
        let mut client = Connection::open(gateway.address).await;
        let mut head =
            b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n".to_vec();
        head.extend_from_slice(&[b'x'; 256 * 1024]);
        client.send(&head).await;
        client.reply().await
    });
    for reply in join_all(sending).await {
        assert_refused(&reply, 413, "server.max_body");
    }
    works(&gateway).await;
}

#[tokio::test]
async fn large_bodies_together_stay_within_max_buffered() {
    let (server, gateway) = gateway(4, |config| config.set("server.max_buffered", "300KiB")).await;
    let mut first = Connection::open(gateway.address).await;
    let body = ask(200 * 1024);
    first
        .request("POST", "/api/chat", &[("X-Hold", "yes")], body.as_bytes())
        .await;
    eventually("the first is at the server", || async {
        match server.asked().len() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    for chunked in [false, true] {
        let mut second = Connection::open(gateway.address).await;
        if chunked {
            second
                .request_chunked("/api/chat", &[], body.as_bytes(), 8192)
                .await
        } else {
            second
                .request("POST", "/api/chat", &[], body.as_bytes())
                .await
        }
        let reply = second.reply().await;
        assert_refused(&reply, 503, "server.max_buffered");
        assert!(reply.header("retry-after").is_some());
    }
    // Small ones do not count.
    works(&gateway).await;
    drop(first);
    gateway.idle().await;
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// What a body is said to be is not what it takes.
#[tokio::test]
async fn bodies_count_as_far_as_they_have_come() {
    let (_server, gateway) = gateway(4, |config| {
        config
            .set("server.max_buffered", "1MiB")
            .set("provider.max_concurrent_per_backend", 4)
    })
    .await;
    let before = gateway.process.anonymous_memory();
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut client = Connection::open(gateway.address).await;
        let length = match number % 2 {
            0 => "Content-Length: 60000000",
            _ => "Transfer-Encoding: chunked",
        };
        let head = format!("POST /api/chat HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n");
        client.send(head.as_bytes()).await;
        client.send(b"3\r\n{\"m\r\n").await;
        slow.push(client);
    }
    gateway
        .metric_is("remuda_requests_in_flight", &[], 200.0)
        .await;
    let grown = gateway.process.anonymous_memory().saturating_sub(before);
    assert!(
        grown < 40 << 20,
        "200 bodies of a few bytes take {grown} bytes"
    );
    // Everybody else's fit.
    let body = ask(500 * 1024);
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    drop(slow);
    gateway.idle().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_408() {
    let (server, gateway) = gateway(1, |config| {
        config
            .set("server.body_timeout", "300ms")
            .set("server.max_body_time", "1500ms")
    })
    .await;
    for (path, packed) in [
        ("/api/chat", false),
        ("/v1/chat/completions", false),
        ("/api/chat", true),
    ] {
        for (size, setting) in [(1, "server.min_body_rate"), (4096, "server.max_body_time")] {
            let mut client = Connection::open(gateway.address).await;
            let packing = if packed {
                "Content-Encoding: gzip\r\n"
            } else {
                ""
            };
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\n{packing}Content-Length: 60000000\r\n\r\n"
            );
            client.send(head.as_bytes()).await;
            let piece = vec![b' '; size];
            let mut answer = None;
            while answer.is_none() {
                client.try_send(&piece).await;
                let pause = Duration::from_millis(50);
                answer = tokio::time::timeout(pause, client.try_head()).await.ok();
            }
            let status = answer.flatten().map(|head| head.status);
            assert_eq!(status, Some(408), "{path} {setting}");
            let (body, _) = client.rest().await;
            let text = String::from_utf8(body).unwrap();
            assert!(text.contains(setting), "{path}: {text}");
            let openai = path.starts_with("/v1");
            assert_eq!(text.contains(r#""error":{"#), openai, "{path}: {text}");
        }
    }
    works(&gateway).await;
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_head_beyond_max_header_is_431() {
    let (_server, gateway) = gateway(1, |config| config.set("server.max_header", "4KiB")).await;
    let head = |length: usize| {
        let filling = "x".repeat(length);
        format!("GET /api/version HTTP/1.1\r\nHost: x\r\nX-Filling: {filling}\r\n\r\n")
    };
    let mut client = Connection::open(gateway.address).await;
    client.send(head(3 * 1024).as_bytes()).await;
    assert_eq!(client.reply().await.status, 200);
    // The bound is that of every head on the connection, not of their sum.
    client.send(head(3 * 1024).as_bytes()).await;
    assert_eq!(client.reply().await.status, 200);
    client.send(head(8 * 1024).as_bytes()).await;
    assert_refused(&last_reply(&mut client).await, 431, "server.max_header");
    // To the byte, however much is read at once.
    let around = head(0).len();
    for (length, status) in [(4096, 200), (4097, 431)] {
        let mut client = Connection::open(gateway.address).await;
        client.send(head(length - around).as_bytes()).await;
        assert_eq!(client.reply().await.status, status, "{length}");
    }
    let mut client = Connection::open(gateway.address).await;
    client.send(head(64 * 1024).as_bytes()).await;
    assert_refused(&last_reply(&mut client).await, 431, "server.max_header");
    works(&gateway).await;
}

#[tokio::test]
async fn slow_heads_are_408_and_hold_nobody_up() {
    let (_server, gateway) =
        gateway(1, |config| config.set("server.header_timeout", "700ms")).await;
    let heads: [&[u8]; 5] = [
        b"G",
        b"GET /",
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Le",
    ];
    let slow = heads.iter().cycle().take(20).map(|head| async {
        let mut client = Connection::open(gateway.address).await;
        client.send(head).await;
        (*head, client.try_head().await.map(|head| head.status))
    });
    let normal = async {
        for _ in 0..5 {
            works(&gateway).await;
        }
    };
    let (slow, ()) = tokio::join!(join_all(slow), normal);
    for (head, status) in slow {
        assert_eq!(status, Some(408), "{:?}", String::from_utf8_lossy(head));
    }
    let mut client = Connection::open(gateway.address).await;
    client.send(b"GET /api/version HTT").await;
    assert_refused(&last_reply(&mut client).await, 408, "server.header_timeout");
}

/// The bound is on the whole head, so a byte now and then does not extend it.
#[tokio::test]
async fn a_trickled_head_is_408_too() {
    let (_server, gateway) =
        gateway(1, |config| config.set("server.header_timeout", "600ms")).await;
    let mut client = Connection::open(gateway.address).await;
    let started = std::time::Instant::now();
    client
        .send(b"GET /api/version HTTP/1.1\r\nHost: x\r\nX-A: ")
        .await;
    let mut status = None;
    while status.is_none() {
        client.try_send(b"x").await;
        let pause = Duration::from_millis(50);
        if let Ok(head) = tokio::time::timeout(pause, client.try_head()).await {
            status = Some(head.map(|head| head.status));
        }
        assert!(
            started.elapsed() < super::support::PATIENCE,
            "never refused"
        );
    }
    assert_eq!(status, Some(Some(408)));
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_keepalive_timeout() {
    let (_server, gateway) =
        gateway(1, |config| config.set("server.keepalive_timeout", "1s")).await;
    let mut silent = Connection::open(gateway.address).await;
    let mut used = Connection::open(gateway.address).await;
    for _ in 0..2 {
        used.request("GET", "/api/version", &[], b"").await;
        let reply = used.reply().await;
        assert_eq!(reply.status, 200);
        assert_ne!(reply.header("connection"), Some("close"));
    }
    assert!(used.try_head().await.is_none());
    assert!(silent.try_head().await.is_none());
}

#[tokio::test]
async fn a_stalled_body_is_408() {
    let (server, gateway) = gateway(1, |config| config.set("server.body_timeout", "400ms")).await;
    let stalled: [&[u8]; 3] = [
        b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"mod",
        b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"mod\r\n",
    ];
    for bytes in stalled {
        let mut client = Connection::open(gateway.address).await;
        client.send(bytes).await;
        works(&gateway).await;
        assert_refused(&last_reply(&mut client).await, 408, "server.body_timeout");
    }
    assert_eq!(server.asked().len(), stalled.len());
    gateway.idle().await;
}

#[tokio::test]
async fn connections_beyond_max_connections_are_503() {
    let (_server, gateway) = gateway(1, |config| config.set("server.max_connections", 5)).await;
    gateway.metric_is("remuda_connections", &[], 0.0).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut client = Connection::open(gateway.address).await;
        client.request("GET", "/api/version", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
        open.push(client);
    }
    let mut sixth = Connection::open(gateway.address).await;
    let reply = last_reply(&mut sixth).await;
    assert_refused(&reply, 503, "server.max_connections");
    assert!(reply.header("retry-after").is_some());
    let rejected = gateway
        .metric("remuda_rejected_connections_total", &[])
        .await;
    assert_eq!(rejected, 1.0);
    // Those that are open go on.
    for client in &mut open {
        client.request("GET", "/api/version", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
    }
    open.pop();
    gateway.metric_is("remuda_connections", &[], 4.0).await;
    works(&gateway).await;
}

#[tokio::test]
async fn a_client_may_have_so_many_requests_in_flight() {
    let (server, gateway) =
        gateway(8, |config| config.set("server.max_in_flight_per_client", 2)).await;
    // What asked for its health counts until it is done.
    gateway.idle().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Connection::open(gateway.address).await;
        client
            .request("POST", "/api/chat", &[("X-Hold", "yes")], ask(2).as_bytes())
            .await;
        held.push(client);
    }
    eventually("two at the server", || async {
        match server.asked().len() {
            2 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let reply = post(gateway.address, "/api/chat", &ask(2)).await;
    assert_refused(&reply, 429, "server.max_in_flight_per_client");
    assert!(reply.header("retry-after").is_some());
    // Another address has a share of its own.
    let other = from("127.0.0.2", gateway.address).await;
    assert_eq!(other, 200);
    held.clear();
    gateway.idle().await;
    works(&gateway).await;
}

#[tokio::test]
async fn an_address_may_send_so_many_requests_in_a_stretch_of_time() {
    let (_server, gateway) = gateway(8, |config| {
        config.set("server.max_requests_per_address", "3/h")
    })
    .await;
    for _ in 0..3 {
        works(&gateway).await;
    }
    let reply = post(gateway.address, "/api/chat", &ask(2)).await;
    assert_refused(&reply, 429, "server.max_requests_per_address");
    let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((3600..=7200).contains(&wait), "{wait}");
    // In the client's own format, and whatever it asks for.
    for (path, kind) in [("/v1/chat/completions", "code"), ("/v1/messages", "type")] {
        let reply = post(gateway.address, path, &ask(2)).await;
        assert_eq!(reply.status, 429, "{path}");
        let error = &reply.json()["error"];
        let said = error[kind].as_str().unwrap();
        assert!(said.starts_with("rate_limit"), "{path}: {error}");
    }
    assert_eq!(from("127.0.0.1", gateway.address).await, 429);
    // Probes are answered, and another address has a rate of its own.
    let health = request(gateway.address, "GET", "/health", &[], b"").await;
    assert_eq!(health.status, 200);
    assert_eq!(from("127.0.0.2", gateway.address).await, 200);
    let refused = [("reason", "address_rate"), ("remuda_key", "none")];
    gateway
        .metric_is("remuda_rejected_requests_total", &refused, 4.0)
        .await;
}

/// The status of a look-up from another local address.
async fn from(own: &str, address: SocketAddr) -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
    let mut client = Connection::of(socket.connect(address).await.unwrap());
    client.request("GET", "/api/version", &[], b"").await;
    client.reply().await.status
}

#[tokio::test]
async fn an_attempt_takes_no_longer_than_timeouts_total() {
    let slow = [
        "--loaded",
        "llama3.2",
        "--answer-tokens",
        "100000",
        "--decode-speed",
        "50",
    ];
    let sim = Simulation::start(1, &slow);
    let config = Config::over(&sim.servers)
        .set("timeouts.total", "1500ms")
        .set("routing.max_retries", 0);
    let gateway = Gateway::over(&config, 1).await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    let lines = reply.lines();
    let (last, before) = lines.split_last().unwrap();
    assert!(last["error"].as_str().unwrap().contains("timeouts.total"));
    assert!(before.len() > 1 && !is_done(before));
    let reply = post(
        gateway.address,
        "/api/chat",
        &chat("llama3.2", "hi", r#","stream":false"#),
    )
    .await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    let told = reply.json()["error"].to_string();
    assert!(told.contains("timeouts.total (1.5 s)"), "{told}");
    gateway.idle().await;
    assert_eq!(gateway.attempts("timeout").await, 1.0);
    // It was the request's limit.
    gateway.healthy(1).await;
}

#[tokio::test]
async fn a_server_that_never_begins_is_502_after_first_byte() {
    let (_server, gateway) = gateway(1, |config| {
        config
            .set("timeouts.first_byte", "300ms")
            .set("routing.max_retries", 0)
    })
    .await;
    let reply = request(
        gateway.address,
        "POST",
        "/api/chat",
        &[("X-Hold", "yes")],
        ask(2).as_bytes(),
    )
    .await;
    assert_eq!(reply.status, 502);
    let error = reply.json()["error"].to_string();
    assert!(
        error.starts_with("\"All backend attempts failed. Errors: ["),
        "{error}"
    );
    assert!(error.contains("did not answer in time"), "{error}");
    assert_eq!(gateway.attempts("timeout").await, 1.0);
    gateway.idle().await;
}
