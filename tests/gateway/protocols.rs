//! The versions of HTTP that clients speak, and how each marks the end of a request and of an answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::support::{
    Asked, Config, Connection, Ending, Gateway, Simulation, Step, Upstream, chat, eventually, get,
    in_time, is_done, json, lines, unstreamed,
};

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;

async fn simulated(arguments: &[&str]) -> (Simulation, Gateway) {
    let sim = Simulation::start(1, &[&["--loaded", "llama3.2"], arguments].concat());
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    (sim, gateway)
}

/// A server that notes what it is asked and answers everything alike.
async fn scripted() -> (Upstream, Gateway) {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    let gateway = Gateway::over(&Config::over(&[server.address]), 1).await;
    (server, gateway)
}

/// All that comes until the connection ends.
async fn until_close(address: SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    let _ = in_time("the connection's end", stream.read_to_end(&mut all)).await;
    String::from_utf8(all).unwrap()
}

fn with_length(head: &str, body: &str) -> Vec<u8> {
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn the_shortest_request_of_http_1_0_is_answered() {
    let (_sim, gateway) = simulated(&[]).await;
    let answer = until_close(gateway.address, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    assert!(answer.contains(" 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nOllama is running"), "{answer}");
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_stream_that_ends_with_the_connection() {
    let (_sim, gateway) = simulated(&["--answer-tokens", "9"]).await;
    let body = chat("llama3.2", "hi", "");
    let request = with_length("POST /api/chat HTTP/1.0", &body);
    let answer = until_close(gateway.address, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{head}");
    assert!(
        !head.to_ascii_lowercase().contains("transfer-encoding"),
        "{head}"
    );
    let all = lines(body.as_bytes());
    assert_eq!(all.len(), 10);
    assert!(is_done(&all));
    gateway.idle().await;
}

#[tokio::test]
async fn an_http_1_1_connection_serves_one_request_after_another() {
    let (sim, gateway) = simulated(&["--answer-tokens", "5"]).await;
    let mut client = Connection::open(gateway.address).await;
    for round in 0..3 {
        for fields in ["", r#","stream":false"#] {
            let body = chat("llama3.2", "hi", fields);
            client
                .request("POST", "/api/chat", &[], body.as_bytes())
                .await;
            let reply = client.reply().await;
            assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
            client
                .request_chunked("/api/chat", &[], body.as_bytes(), 1 + round)
                .await;
            assert_eq!(client.reply().await.status, 200);
        }
        client.request("GET", "/nothing", &[], b"").await;
        assert_eq!(client.reply().await.status, 404);
        client.request("GET", "/api/tags", &[], b"").await;
        assert_eq!(client.reply().await.status, 200);
    }
    assert_eq!(sim.inferences().await, 12);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (sim, gateway) = simulated(&["--answer-tokens", "5"]).await;
    let mut client = Connection::open(gateway.address).await;
    let mut bytes = Vec::new();
    for number in 0..4 {
        let body = chat("llama3.2", "hi", r#","stream":true"#);
        let head = format!("POST /api/chat HTTP/1.1\r\nHost: x\r\nX-Request-Id: chat-{number}");
        bytes.extend_from_slice(&with_length(&head, &body));
        let head = format!(
            "GET /api/version HTTP/1.1\r\nHost: x\r\nX-Request-Id: version-{number}\r\n\r\n"
        );
        bytes.extend_from_slice(head.as_bytes());
    }
    client.send(&bytes).await;
    for number in 0..4 {
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
        assert_eq!(
            reply.header("x-request-id"),
            Some(&*format!("chat-{number}"))
        );
        assert!(is_done(&reply.lines()));
        let reply = client.reply().await;
        assert_eq!(
            reply.header("x-request-id"),
            Some(&*format!("version-{number}"))
        );
        assert!(reply.json()["version"].is_string());
    }
    assert_eq!(sim.inferences().await, 4);
    gateway.idle().await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let (server, gateway) = scripted().await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let head = format!(
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).await;
    assert_eq!(client.head().await.status, 100);
    client.send(body.as_bytes()).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.text()), (200, ANSWER));
    let asked = server.asked().pop().unwrap();
    assert_eq!(unstreamed(&asked.body), body);
    assert!(!asked.head.to_ascii_lowercase().contains("expect"));
}

/// Two servers may disagree on where such a request ends (RFC 9112 section 6.1).
#[tokio::test]
async fn a_length_and_chunks_together_are_refused_and_the_connection_closed() {
    let (server, gateway) = scripted().await;
    for request in [
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/version HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\ncontent-length : 4\r\n\r\n0\r\n\r\nGET /api/version HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /api/chat HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let answer = until_close(gateway.address, request.as_bytes()).await;
        assert!(answer.contains(" 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{answer}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn head_requests_get_heads() {
    let (_sim, gateway) = simulated(&[]).await;
    for path in ["/", "/api/tags", "/api/version"] {
        let length = get(gateway.address, path).await.body.len();
        let mut client = Connection::open(gateway.address).await;
        client.request("HEAD", path, &[], b"").await;
        let head = client.head().await;
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.header("content-length"), Some(&*length.to_string()));
        // The next head follows at once: no byte of a body came.
        client.request("HEAD", path, &[], b"").await;
        assert_eq!(client.head().await.status, 200, "{path}");
    }
    for (path, status) in [("/nothing", 404), ("/api/ps", 405)] {
        let mut client = Connection::open(gateway.address).await;
        for _ in 0..2 {
            client.request("HEAD", path, &[], b"").await;
            assert_eq!(client.head().await.status, status, "{path}");
        }
    }
}

/// A connection that speaks HTTP/2 from its first byte.
async fn http2(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn http2_request(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let body = body.into();
    Request::builder()
        .method(if body.is_empty() { "GET" } else { "POST" })
        .uri(format!("http://remuda.example{path}"))
        .body(Full::new(body))
        .unwrap()
}

async fn whole(answer: Response<Incoming>) -> (u16, Bytes) {
    let status = answer.status().as_u16();
    let body = in_time("the answer's end", answer.into_body().collect()).await;
    (status, body.unwrap().to_bytes())
}

#[tokio::test]
async fn http_2_with_prior_knowledge_serves_requests_at_the_same_time() {
    let sim = Simulation::start(2, &["--loaded", "llama3.2", "--answer-tokens", "20"]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 2).await;
    let client = http2(gateway.address).await;
    let asking = (0..20).map(|number| {
        let mut client = client.clone();
        async move {
            let stream = number % 2 == 0;
            let body = chat("llama3.2", "hi", &format!(r#","stream":{stream}"#));
            let answer = client.send_request(http2_request("/api/chat", body)).await;
            (stream, whole(answer.unwrap()).await)
        }
    });
    for (stream, (status, body)) in super::support::join_all(asking).await {
        assert_eq!(status, 200);
        if stream {
            assert_eq!(lines(&body).len(), 21)
        } else {
            let one: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(one["done"], true);
        }
    }
    let mut client = client;
    for (path, status) in [
        ("/", 200),
        ("/api/tags", 200),
        ("/nothing", 404),
        ("/api/chat", 405),
    ] {
        let answer = client.send_request(http2_request(path, "")).await.unwrap();
        assert!(!answer.headers().contains_key("connection"));
        assert!(!answer.headers().contains_key("transfer-encoding"));
        assert!(answer.headers().contains_key("x-request-id"));
        assert_eq!(whole(answer).await.0, status, "{path}");
    }
    let answer = client
        .send_request(http2_request("/api/chat", "{"))
        .await
        .unwrap();
    assert_eq!(whole(answer).await.0, 400);
    gateway.idle().await;
}

#[tokio::test]
async fn http_2_streams_line_by_line() {
    let (_sim, gateway) = simulated(&["--answer-tokens", "30", "--decode-speed", "60"]).await;
    let mut client = http2(gateway.address).await;
    let request = http2_request("/api/chat", chat("llama3.2", "hi", ""));
    let answer = in_time("a head", client.send_request(request))
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let mut body = answer.into_body();
    let mut pieces = 0;
    let mut all = Vec::new();
    while let Some(frame) = in_time("a frame", body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        pieces += usize::from(!data.is_empty());
        all.extend_from_slice(&data);
    }
    assert!(is_done(&lines(&all)));
    assert!(pieces > 5, "the stream came in {pieces} pieces");
}

/// What is decided by a request's head and its packing is the same over either protocol.
#[tokio::test]
async fn the_door_is_the_same_over_http_2() {
    let (server, gateway) = scripted().await;
    let mut client = http2(gateway.address).await;
    let packed = zstd::encode_all(chat("scripted", "hi", r#","stream":false"#).as_bytes(), 1);
    let packed = packed.unwrap();
    for (origin, status, told) in [
        ("http://localhost:3000", 200, true),
        ("http://remuda.example", 200, false),
        ("https://site.example", 403, false),
    ] {
        let mut request = http2_request("/v1/api//chat/?a=b", packed.clone());
        let fields = request.headers_mut();
        fields.insert("origin", origin.parse().unwrap());
        fields.insert("content-encoding", "zstd".parse().unwrap());
        let answer = client.send_request(request).await.unwrap();
        let said = answer.headers().get("access-control-allow-origin");
        let said = said.map(|said| said.to_str().unwrap().to_owned());
        assert_eq!(said.as_deref(), told.then_some(origin));
        assert_eq!(whole(answer).await.0, status, "{origin}");
    }
    let mut preflight = http2_request("/api/chat", "");
    *preflight.method_mut() = hyper::Method::OPTIONS;
    let fields = preflight.headers_mut();
    fields.insert("origin", "http://localhost:3000".parse().unwrap());
    let answer = client.send_request(preflight).await.unwrap();
    assert!(
        answer
            .headers()
            .contains_key("access-control-allow-methods")
    );
    assert_eq!(whole(answer).await, (204, Bytes::new()));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert!(
            asked.head.starts_with("POST /api/chat?a=b HTTP/1.1\r\n"),
            "{}",
            asked.head
        );
        assert_eq!(asked.header("origin"), None);
    }
}

#[tokio::test]
async fn the_host_of_http_2_is_told_to_the_server() {
    let (server, gateway) = scripted().await;
    let mut client = http2(gateway.address).await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let mut request = http2_request("/api/chat?a=b", body.clone());
    request
        .headers_mut()
        .insert("authorization", "Bearer mine".parse().unwrap());
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(whole(answer).await, (200, Bytes::from(ANSWER)));
    let asked = server.asked().pop().unwrap();
    let head = asked.head.to_ascii_lowercase();
    assert!(
        head.starts_with("post /api/chat?a=b http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("\r\nhost: {}\r\n", server.address)),
        "{head}"
    );
    assert!(
        head.contains("\r\nx-forwarded-host: remuda.example\r\n"),
        "{head}"
    );
    assert!(!head.contains("mine"), "{head}");
    assert_eq!(unstreamed(&asked.body), body);
}

#[tokio::test]
async fn an_http_2_client_that_resets_its_stream_frees_the_slot() {
    let (sim, gateway) = simulated(&["--answer-tokens", "100000", "--decode-speed", "50"]).await;
    let mut client = http2(gateway.address).await;
    for stream in [true, false] {
        let body = chat("llama3.2", "hi", &format!(r#","stream":{stream}"#));
        let answer = client.send_request(http2_request("/api/chat", body));
        let mut answer = Box::pin(answer);
        if stream {
            let answer = in_time("a head", answer.as_mut()).await.unwrap();
            gateway.metric_is("remuda_slots_used", &[], 1.0).await;
            drop(answer);
        } else {
            let polled = tokio::time::timeout(Duration::from_millis(50), answer.as_mut()).await;
            assert!(polled.is_err());
            gateway.metric_is("remuda_slots_used", &[], 1.0).await;
            drop(answer);
        }
        let left = Instant::now();
        gateway.idle().await;
        eventually("the server is rid of it", || async {
            let stats = sim.stats().await;
            if stats[0].active == 0 {
                Ok(())
            } else {
                Err(stats)
            }
        })
        .await;
        eprintln!("freed within {:?}", left.elapsed());
    }
    let gone = [("http_response_status_code", "499")];
    gateway.metric_is("remuda_requests_total", &gone, 2.0).await;
    // The connection serves on.
    let answer = client.send_request(http2_request("/api/version", "")).await;
    assert_eq!(whole(answer.unwrap()).await.0, 200);
}

#[tokio::test]
async fn a_broken_answer_does_not_look_whole_over_http_2() {
    let half = &ANSWER[..ANSWER.len() / 2];
    let cut = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n",
        half.len()
    );
    let server = Upstream::start(move |_: &Asked| {
        vec![
            Step::Send(cut.clone().into_bytes()),
            Step::Pause(Duration::from_millis(5)),
            Step::Close,
        ]
    })
    .await;
    let config = Config::over(&[server.address]).set("routing.max_retries", 0);
    let gateway = Gateway::over(&config, 1).await;
    let mut client = http2(gateway.address).await;
    let body = chat("scripted", "hi", r#","stream":false"#);
    let answer = client.send_request(http2_request("/api/chat", body)).await;
    // Either no head at all, or a body that ends with an error.
    if let Ok(answer) = answer
        && answer.status() == 200
    {
        let body = in_time("the body's end", answer.into_body().collect()).await;
        assert!(body.is_err(), "{body:?}");
    }
    gateway.idle().await;
}

#[tokio::test]
async fn http_2_is_bounded_as_http_1_is() {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    let config = Config::over(&[server.address]).set("server.max_body", "64KiB");
    let gateway = Gateway::over(&config, 1).await;
    let mut client = http2(gateway.address).await;
    let body = chat("scripted", &"x".repeat(100 * 1024), r#","stream":false"#);
    let answer = client
        .send_request(http2_request("/api/chat", body))
        .await
        .unwrap();
    let (status, body) = whole(answer).await;
    assert_eq!(status, 413);
    assert!(String::from_utf8_lossy(&body).contains("server.max_body"));
    let body = chat("scripted", &"x".repeat(60 * 1024), r#","stream":false"#);
    let answer = client
        .send_request(http2_request("/api/chat", body))
        .await
        .unwrap();
    assert_eq!(whole(answer).await.0, 200);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_idle_http_2_connection_ends_after_keepalive_timeout() {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    let config = Config::over(&[server.address]).set("server.keepalive_timeout", "1s");
    let gateway = Gateway::over(&config, 1).await;
    let mut client = http2(gateway.address).await;
    let answer = client.send_request(http2_request("/api/version", ""));
    assert_eq!(whole(answer.await.unwrap()).await.0, 200);
    assert!(!client.is_closed());
    eventually("it is closed", || async {
        if client.is_closed() {
            Ok(())
        } else {
            Err("open")
        }
    })
    .await;
    gateway.metric_is("remuda_connections", &[], 0.0).await;
}

#[tokio::test]
async fn a_large_head_of_http_2_is_refused() {
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    let config = Config::over(&[server.address]).set("server.max_header", "4KiB");
    let gateway = Gateway::over(&config, 1).await;
    let mut client = http2(gateway.address).await;
    let mut request = http2_request("/api/version", "");
    let filling = "x".repeat(6 * 1024).parse().unwrap();
    request.headers_mut().insert("x-filling", filling);
    // The client's own library knows the gateway's bound, and may not even send it.
    if let Ok(answer) = client.send_request(request).await {
        assert_eq!(answer.status(), 431);
    }
    let mut other = http2(gateway.address).await;
    let answer = other.send_request(http2_request("/api/version", ""));
    assert_eq!(whole(answer.await.unwrap()).await.0, 200);
}
