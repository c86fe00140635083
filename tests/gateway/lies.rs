//! A Redis server at which gateways count together, and which says what cannot be: it is believed in nothing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::support::*;

const ANSWER: &str =
    r#"{"model":"scripted","message":{"role":"assistant","content":"ok"},"done":true}"#;
const ALICE: &str = "alice-has-this-key-0";

/// What a liar answers to scripts and to `TIME`, as RESP has it.
#[derive(Clone, Copy, Debug)]
struct Lies {
    script: &'static str,
    time: Option<u64>,
    /// Whether it names scripts otherwise than they are.
    hash: bool,
}

/// A server that takes every command, and lies.
async fn liar(lies: Arc<Mutex<Lies>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&lies)));
        }
    });
    address
}

async fn converse(stream: TcpStream, lies: Arc<Mutex<Lies>>) {
    let mut stream = BufReader::new(stream);
    let mut queued: Option<Vec<String>> = None;
    while let Some(command) = command(&mut stream).await {
        let now = *lies.lock().unwrap();
        let answer = match &*command[0].to_ascii_uppercase() {
            "TIME" => {
                let system = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let seconds = now.time.unwrap_or(system.unwrap().as_secs()).to_string();
                format!("*2\r\n${}\r\n{seconds}\r\n$1\r\n0\r\n", seconds.len())
            }
            "SCRIPT" if now.hash => format!("$40\r\n{}\r\n", "a".repeat(40)),
            "SCRIPT" => {
                let digest = redis::Script::new(&command[2]).get_hash().to_owned();
                format!("$40\r\n{digest}\r\n")
            }
            "EVALSHA" => now.script.to_owned(),
            "ZRANGE" | "ZRANGEBYSCORE" => "*0\r\n".to_owned(),
            "ZADD" | "ZREM" | "ZREMRANGEBYSCORE" => ":1\r\n".to_owned(),
            "MULTI" => {
                queued = Some(Vec::new());
                "+OK\r\n".to_owned()
            }
            "EXEC" => {
                let all = queued.take().unwrap_or_default();
                format!("*{}\r\n{}", all.len(), all.concat())
            }
            _ => "+OK\r\n".to_owned(),
        };
        let said = match &mut queued {
            Some(all) if !command[0].eq_ignore_ascii_case("MULTI") => {
                all.push(answer);
                "+QUEUED\r\n".to_owned()
            }
            _ => answer,
        };
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let count = line(stream).await?.strip_prefix('*')?.parse().ok()?;
    let mut words = Vec::new();
    for _ in 0..count {
        let length: usize = line(stream).await?.strip_prefix('$')?.parse().ok()?;
        let mut word = vec![0; length + 2];
        stream.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word[..length]).into_owned());
    }
    Some(words)
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream
        .read_line(&mut line)
        .await
        .ok()
        .filter(|count| *count > 0)?;
    Some(line.trim_end().to_owned())
}

#[tokio::test]
async fn a_server_that_says_what_cannot_be_opens_no_limit_and_ends_nothing() {
    const HUGE: &str = "*9\r\n:9223372036854775807\r\n:9223372036854775807\r\n:1\r\n:0\r\n:9223372036854775807\r\n:9223372036854775807\r\n:9223372036854775807\r\n:9223372036854775807\r\n:9223372036854775807\r\n";
    let server = Upstream::start(|_: &Asked| vec![Step::Send(json(200, ANSWER))]).await;
    for (script, time) in [
        (HUGE, None),
        (
            "*7\r\n:1000000\r\n:1\r\n:1\r\n:0\r\n:0\r\n:1\r\n:0\r\n",
            None,
        ),
        ("*7\r\n:-1\r\n:-1\r\n:1\r\n:0\r\n:-5\r\n:1\r\n:-7\r\n", None),
        (
            "*9\r\n:0\r\n:9000000000\r\n:1\r\n:0\r\n:9000000000000000000\r\n:1\r\n:0\r\n:18446744073709551615\r\n:9000000000000000000\r\n",
            None,
        ),
        ("$-1\r\n", None),
        ("*-1\r\n", None),
        ("*0\r\n", None),
        ("$5\r\nhello\r\n", None),
        ("-ERR no such script\r\n", None),
        ("*1\r\n*1\r\n:1\r\n", None),
        ("*7\r\n:1\r\n:1\r\n:1\r\n:0\r\n:0\r\n:1\r\n:0\r\n", Some(0)),
        (
            "*7\r\n:1\r\n:1\r\n:1\r\n:0\r\n:0\r\n:1\r\n:0\r\n",
            Some(u64::MAX),
        ),
    ] {
        let lies = Arc::new(Mutex::new(Lies {
            script,
            time,
            hash: script == "*0\r\n",
        }));
        let redis = liar(Arc::clone(&lies)).await;
        let config = Config::over(&[server.address])
            .key(format!(
                "{{ name: alice, key: {ALICE}, requests_per_minute: 5, budget: {{ usd: 1, per: day }} }}"
            ))
            .set("provider.max_concurrent_per_backend", 50)
            .set("shared.url", format!("redis://{redis}"));
        let gateway = Gateway::over(&config, 1).await;
        let body = chat("scripted", "hi", r#","stream":false"#);
        let asking = (0..30).map(|_| async {
            let fields = [("x-api-key", ALICE)];
            let reply = request(
                gateway.address,
                "POST",
                "/api/chat",
                &fields,
                body.as_bytes(),
            );
            reply.await.status
        });
        let statuses = join_all(asking).await;
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert!(served <= 5, "{script:?} {time:?}: {statuses:?}");
        let clear = statuses.iter().all(|status| matches!(status, 200 | 429));
        assert!(clear, "{script:?} {time:?}: {statuses:?}");
        let lines = gateway.process.output();
        let panics: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("panicked"))
            .collect();
        assert!(panics.is_empty(), "{script:?} {time:?}: {panics:?}");
        assert_eq!(get(gateway.address, "/health/live").await.status, 200);
    }
}
