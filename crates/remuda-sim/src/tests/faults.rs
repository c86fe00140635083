//! Every way in which a server can fail a client.

use super::*;

fn ends_well(bytes: &[u8]) -> bool {
    bytes.ends_with(b"0\r\n\r\n")
}

#[tokio::test]
async fn an_error_status_and_what_it_carries() {
    let running = fast("llama3.2").await;
    running.inject(&fault("429:times=1,retry_after=7,body=slow down"));
    let answer = post(&running, "/api/chat", CHAT).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers["retry-after"], "7");
    assert_eq!(answer.text(), "slow down");
    assert_eq!(post(&running, "/api/chat", CHAT).await.status, 200);
    running.inject(&fault("500:route=/api/chat"));
    assert_eq!(
        post(&running, "/api/chat", CHAT).await.error(),
        (500, "internal server error".to_owned())
    );
    assert_eq!(get(&running, "/api/tags").await.status, 200);
}

#[tokio::test]
async fn an_error_line_first_or_later() {
    let running = fast("llama3.2").await;
    for tokens in [0, 3] {
        running.inject(&fault(&format!(
            "error:times=1,message=oh no,tokens={tokens}"
        )));
        let answer = post(&running, "/api/chat", CHAT).await;
        assert_eq!(answer.status, 200);
        let lines = answer.lines();
        assert_eq!(lines.len(), tokens + 1);
        assert_eq!(lines[tokens], serde_json::json!({"error": "oh no"}));
    }
    running.inject(&fault("error:times=1,message=oh no,tokens=3"));
    let whole = CHAT.replace("]}", r#"],"stream":false}"#);
    let answer = post(&running, "/api/chat", &whole).await;
    assert_eq!(answer.error(), (500, "oh no".to_owned()));
    assert_eq!(running.stats()[0].failed, 3);
}

#[tokio::test]
async fn a_cut_after_bytes_is_exact() {
    let running = fast("llama3.2").await;
    for bytes in [0, 1, 40, 300] {
        running.inject(&fault(&format!("cut:times=1,bytes={bytes}")));
        let mut stream = begin(&running, "/api/chat", CHAT).await;
        let (seen, end) = read_all(&mut stream).await;
        assert_eq!(seen.len(), bytes);
        end.unwrap();
    }
    until(&running, |stats| stats.connections_open == 0).await;
}

#[tokio::test]
async fn a_cut_after_tokens_ends_within_the_stream() {
    let running = fast("llama3.2").await;
    running.inject(&fault("cut:times=1,tokens=2"));
    let mut stream = begin(&running, "/api/chat", CHAT).await;
    let (seen, end) = read_all(&mut stream).await;
    end.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&seen)
            .matches("\"done\":false")
            .count(),
        2
    );
    assert!(!ends_well(&seen));
    until(&running, |stats| stats.aborted == 1).await;
}

#[tokio::test]
async fn a_cut_by_reset_is_a_reset() {
    let running = fast("llama3.2").await;
    for place in ["tokens=2", "bytes=100", "at=head"] {
        running.inject(&fault(&format!("cut:times=1,reset,{place}")));
        let mut stream = begin(&running, "/api/chat", CHAT).await;
        let (_, end) = read_all(&mut stream).await;
        let error = end.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{place}");
    }
}

#[tokio::test]
async fn bytes_by_themselves_make_the_same_answer() {
    let running = fast("llama3.2").await;
    let contents = |answer: Answer| -> Vec<Value> {
        let lines = answer.lines();
        lines
            .into_iter()
            .map(|line| line["message"].clone())
            .collect()
    };
    let expected = contents(post(&running, "/api/chat", CHAT).await);
    running.inject(&fault("one_byte:times=1"));
    assert_eq!(contents(post(&running, "/api/chat", CHAT).await), expected);
}

#[tokio::test]
async fn bytes_with_pauses_are_read_one_by_one() {
    let running = fast("llama3.2").await;
    running.inject(&fault("one_byte:seconds=1ms"));
    let mut stream = begin(&running, "/api/copy", "").await;
    let (mut seen, mut reads) = (Vec::new(), 0);
    while !seen.ends_with(b"}") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        reads += 1;
    }
    // A busy machine may read late, but not everything in a few pieces.
    assert!(reads > 10, "{reads} reads of {} bytes", seen.len());
}

#[tokio::test]
async fn stalls_before_the_head_the_body_and_a_token() {
    let running = fast("llama3.2").await;
    for place in ["at=head", "at=body", "tokens=2", "bytes=120"] {
        running.inject(&fault(&format!("stall:times=1,seconds=100ms,{place}")));
        let start = std::time::Instant::now();
        let answer = post(&running, "/api/chat", CHAT).await;
        assert!(start.elapsed() >= Duration::from_millis(100), "{place}");
        assert_eq!(answer.lines().last().unwrap()["done"], true);
        running.inject(&fault(&format!("stall:times=1,seconds=100ms,{place}")));
        get(&running, "/api/tags").await;
    }
}

#[tokio::test]
async fn a_stall_before_the_body_sends_the_head() {
    let running = fast("llama3.2").await;
    for (path, body) in [
        ("/api/chat", CHAT),
        ("/api/show", r#"{"model":"llama3.2"}"#),
    ] {
        running.inject(&fault("stall:times=1,seconds=3600,at=body"));
        let mut stream = begin(&running, path, body).await;
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
        assert!(seen.starts_with(b"HTTP/1.1 200 OK"));
        let more = tokio::time::timeout(Duration::from_millis(50), stream.read_buf(&mut seen));
        assert!(more.await.is_err());
    }
}

#[tokio::test]
async fn a_cut_before_the_body_sends_the_head() {
    let running = fast("llama3.2").await;
    let whole = CHAT.replace("]}", r#"],"stream":false}"#);
    for body in [CHAT, &whole] {
        running.inject(&fault("cut:times=1,at=body"));
        let mut stream = begin(&running, "/api/chat", body).await;
        let (seen, end) = read_all(&mut stream).await;
        end.unwrap();
        assert!(seen.starts_with(b"HTTP/1.1 200 OK") && seen.ends_with(b"\r\n\r\n"));
    }
}

#[tokio::test]
async fn silence_lasts_until_the_client_leaves() {
    let running = fast("llama3.2").await;
    running.inject(&fault("silent:times=1"));
    let mut stream = begin(&running, "/api/chat", CHAT).await;
    until(&running, |stats| {
        stats.requests.contains_key("POST /api/chat")
    })
    .await;
    let read = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
    assert!(read.is_err());
    drop(stream);
    until(&running, |stats| stats.connections_open == 0).await;
}

#[tokio::test]
async fn a_slow_load_is_slow_once() {
    let running = fast("llama3.2").await;
    running.inject(&fault("slow_load:times=1,seconds=100ms"));
    let lines = post(&running, "/api/chat", CHAT).await.lines();
    let load = |lines: &[Value]| lines.last().unwrap()["load_duration"].as_u64().unwrap_or(0);
    assert!(load(&lines) >= 100_000_000);
    let lines = post(&running, "/api/chat", CHAT).await.lines();
    assert!(load(&lines) < 100_000_000);
}

#[tokio::test]
async fn a_server_that_dies_takes_its_connections_and_may_come_back() {
    let running = with("llama3.2", |options| {
        options.machine.decode_speed = 50.0;
        options.machine.answer_tokens = 10_000..=10_000;
    })
    .await;
    let mut stream = begin(&running, "/api/chat", CHAT).await;
    until(&running, |stats| stats.tokens > 2).await;
    running.inject(&fault("die:after=10ms,back_after=50ms"));
    let (seen, _) = read_all(&mut stream).await;
    assert!(!ends_well(&seen) && !seen.is_empty());
    until(&running, |stats| !stats.listening).await;
    assert!(TcpStream::connect(running.addresses()[0]).await.is_err());
    until(&running, |stats| stats.listening).await;
    assert_eq!(get(&running, "/api/version").await.status, 200);
    assert!(running.stats()[0].loaded.is_empty());
}

#[tokio::test]
async fn a_server_that_refuses_keeps_its_connections() {
    let running = fast("llama3.2").await;
    let address = running.addresses()[0];
    let mut open = TcpStream::connect(address).await.unwrap();
    until(&running, |stats| stats.connections_open == 1).await;
    running.inject(&fault("refuse"));
    until(&running, |stats| !stats.listening).await;
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    open.write_all(b"GET / HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let (seen, _) = read_all(&mut open).await;
    assert!(seen.ends_with(b"Ollama is running"));
    running.reset().unwrap();
    assert_eq!(get(&running, "/").await.status, 200);
}
