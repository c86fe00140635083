//! What the tests stand on: processes that end with their test, a configuration in a few words, a client that sees
//! every byte, and waiting for conditions.

#![allow(
    dead_code,
    unused_imports,
    reason = "a toolbox: which tools are used depends on the test modules"
)]

mod config;
mod formats;
mod gateway;
mod http;
mod metrics;
mod process;
mod redis;
mod secure;
mod simulation;
mod upstream;

use std::fmt::Debug;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

pub(crate) use config::Config;
pub(crate) use formats::{Format, Said};
pub(crate) use gateway::Gateway;
pub(crate) use http::{Connection, Ending, Head, Piece, Reply, get, post, request};
pub(crate) use metrics::Metrics;
pub(crate) use process::Process;
pub(crate) use redis::Redis;
pub(crate) use secure::{Certificate, Secure};
pub(crate) use simulation::{Server, Simulation};
pub(crate) use upstream::{Asked, STREAM_HEAD, Step, Upstream, chunk, json};

/// Longer than anything takes that works, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks every few milliseconds until `check` gives `Ok`; panics with its last word after [`PATIENCE`].
pub(crate) async fn eventually<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(last) if deadline <= Instant::now() => {
                panic!("still not so after {PATIENCE:?}: {what}; last seen: {last:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// `future`, or a panic that says `what` was waited for.
pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("nothing within {PATIENCE:?}: {what}"),
    }
}

/// A chat request of one user message; `fields` follow as they are, such as `,"stream":false`.
pub(crate) fn chat(model: &str, text: &str, fields: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]{fields}}}"#)
}

/// A request that came to a server, as its client would have written it that wants the answer whole: a fleet may be asked
/// for a stream of it.
pub(crate) fn unstreamed(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace(r#""stream":true"#, r#""stream":false"#)
}

/// The lines of an NDJSON body, each parsed; panics on one that is no JSON or lacks its newline.
pub(crate) fn lines(body: &[u8]) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line is cut: {text:?}"
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect()
}

/// Whether a stream's last line says that it is done.
pub(crate) fn is_done(lines: &[serde_json::Value]) -> bool {
    lines.last().is_some_and(|line| line["done"] == true)
}

/// Runs `futures` at the same time and gives what they gave, in their order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in running.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// An address of this machine that no other test uses, where a range of ports may be scanned.
pub(crate) fn private_host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    // All of 127.0.0.0/8 is this machine (RFC 1122 section 3.2.1.3).
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(
        127,
        1 + high % 250,
        low,
        NEXT.fetch_add(1, Ordering::Relaxed),
    )
}

/// Whether the median of `times` is within `limit`; says all of them.
pub(crate) fn assert_median(what: &str, mut times: Vec<Duration>, limit: Duration) {
    times.sort();
    eprintln!("{what}: {times:.1?}");
    assert!(times[times.len() / 2] < limit, "{what}: {times:?}");
}
