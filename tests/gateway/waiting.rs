//! A stream that does not begin: its client hears from the gateway all the same, and still gets the answer of another
//! backend, or the error in its own format.

use serde_json::json;

use super::support::{Config, Connection, Format, Gateway, Simulation, post};

const QUIET: &str = r#""content":""},"done":false}"#;

/// Two servers with the model loaded, and a gateway that lets no client wait in silence for longer than 50 ms.
async fn pair() -> (Simulation, Gateway) {
    let sim = Simulation::start(2, &["--loaded", "llama3.2", "--answer-tokens", "30"]);
    let config = Config::over(&sim.servers)
        .set("timeouts.keep_alive", "50ms")
        .set("timeouts.first_byte", "700ms");
    let gateway = Gateway::over(&config, 2).await;
    (sim, gateway)
}

/// How often the client was told that nothing has come yet.
fn quiet(format: Format, body: &[u8]) -> usize {
    let text = std::str::from_utf8(body).unwrap();
    let is_quiet = |line: &&str| match format {
        Format::Ollama => line.ends_with(QUIET),
        _ => line.starts_with(':'),
    };
    text.lines().filter(is_quiet).count()
}

#[tokio::test]
async fn a_waiting_client_hears_from_the_gateway_and_then_gets_the_answer() {
    let (sim, gateway) = pair().await;
    for format in Format::ALL {
        // The first to be asked says nothing until it is given up.
        sim.fault(0, r#"{"kind":"stall","seconds":60,"route":"/api/chat"}"#)
            .await;
        let body = format.ask("llama3.2", "hi", true, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 200, "{format:?} {}", reply.text());
        let told = quiet(format, &reply.body);
        assert!((3..=14).contains(&told), "{format:?}: {told} times");
        let said = format.read(&reply.body);
        assert!(said.success, "{format:?} {}", reply.text());
        assert!(said.words.len() > 20, "{format:?} {}", reply.text());
        assert_eq!(said.errors, [""; 0], "{format:?}");
        sim.reset().await;
        gateway.healthy(2).await;
    }
    gateway.idle().await;
}

#[tokio::test]
async fn what_goes_wrong_after_that_is_told_in_the_stream() {
    let (sim, gateway) = pair().await;
    for format in Format::ALL {
        sim.fault_everywhere(r#"{"kind":"stall","seconds":60,"route":"/api/chat"}"#)
            .await;
        let body = format.ask("llama3.2", "hi", true, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 200, "{format:?} {}", reply.text());
        assert!(quiet(format, &reply.body) > 3, "{format:?}");
        let said = format.read(&reply.body);
        assert!(!said.success, "{format:?} {}", reply.text());
        assert_eq!(said.errors.len(), 1, "{format:?} {}", reply.text());
        sim.reset().await;
        gateway.healthy(2).await;
    }
    gateway.idle().await;
}

#[tokio::test]
async fn a_backends_own_error_is_told_in_the_stream_too() {
    let (sim, gateway) = pair().await;
    // One does not answer in time; the other says why it will not.
    sim.fault(
        0,
        r#"{"kind":"stall","seconds":60,"times":1,"route":"/api/chat"}"#,
    )
    .await;
    sim.fault(
        1,
        r#"{"kind":"status","status":503,"body":"{\"error\":\"its own words\"}","route":"/api/chat"}"#,
    )
    .await;
    let body = Format::Ollama.ask("llama3.2", "hi", true, json!({}));
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200);
    assert!(quiet(Format::Ollama, &reply.body) > 3);
    let said = Format::Ollama.read(&reply.body);
    assert!(said.errors[0].contains("its own words"), "{said:?}");
    assert!(!said.success);
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_keeps_its_status() {
    let (sim, gateway) = pair().await;
    for format in Format::ALL {
        sim.fault_everywhere(r#"{"kind":"stall","seconds":60,"route":"/api/chat"}"#)
            .await;
        let body = format.ask("llama3.2", "hi", false, json!({}));
        let reply = post(gateway.address, format.path(), &body).await;
        assert_eq!(reply.status, 502, "{format:?} {}", reply.text());
        sim.reset().await;
        gateway.healthy(2).await;
    }
}

/// One slot, taken: the other request waits in the queue, hears, leaves, and leaves nothing behind.
#[tokio::test]
async fn a_client_that_waits_in_the_queue_hears_too_and_may_leave() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    let config = Config::over(&sim.servers).set("timeouts.keep_alive", "50ms");
    let gateway = Gateway::over(&config, 1).await;
    sim.fault(
        0,
        r#"{"kind":"stall","at":"body","tokens":2,"seconds":120,"times":1,"route":"/api/chat"}"#,
    )
    .await;
    let body = Format::Ollama.ask("llama3.2", "hi", true, json!({}));
    let mut first = Connection::open(gateway.address).await;
    first
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    first.head().await;
    first.body_until("\n").await;

    let mut second = Connection::open(gateway.address).await;
    second
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    assert_eq!(second.head().await.status, 200);
    let heard = second.body_until(QUIET).await;
    assert_eq!(quiet(Format::Ollama, &heard), 1);
    gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
    drop(second);
    gateway.metric_is("remuda_queue_depth", &[], 0.0).await;
    drop(first);
    gateway.idle().await;
}
