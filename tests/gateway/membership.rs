//! Servers come and go while requests run: who is known, who is healthy, and who is left alone.

use std::time::{Duration, Instant};

use super::support::{
    Config, Connection, Ending, Gateway, STREAM_HEAD, Simulation, Step, Upstream, chat, chunk,
    eventually, get, is_done, lines, post, private_host,
};

/// The ports of `/__proxy/backends`, with their health.
async fn backends(gateway: &Gateway) -> Vec<(u64, bool)> {
    let reply = get(gateway.address, "/__proxy/backends").await.json();
    let list = reply["backends"].as_array().unwrap();
    list.iter()
        .map(|one| (one["port"].as_u64().unwrap(), one["healthy"] == true))
        .collect()
}

async fn healthy_ports(gateway: &Gateway, ports: &[u64]) {
    eventually(&format!("exactly {ports:?} are healthy"), || async {
        let all = backends(gateway).await;
        let healthy = all.iter().filter(|(_, healthy)| *healthy);
        let healthy: Vec<u64> = healthy.map(|(port, _)| *port).collect();
        if healthy == ports { Ok(()) } else { Err(all) }
    })
    .await;
}

#[tokio::test]
async fn servers_join_and_leave_a_scanned_range() {
    let host = private_host().to_string();
    let arguments = ["--host", &*host, "--loaded", "llama3.2"];
    let sim = Simulation::on("24000-24002", &arguments);
    let config = Config::new().set(
        "provider.discover",
        format!("{{host: {host}, ports: 24000-24199, interval: 200ms, probe_timeout: 2s}}"),
    );
    let gateway = Gateway::start(&config);
    healthy_ports(&gateway, &[24000, 24001, 24002]).await;
    sim.stop(1).await;
    healthy_ports(&gateway, &[24000, 24002]).await;
    let other = Simulation::on("24199", &arguments);
    healthy_ports(&gateway, &[24000, 24002, 24199]).await;
    sim.revive(1).await;
    healthy_ports(&gateway, &[24000, 24001, 24002, 24199]).await;
    drop(other);
    drop(sim);
    healthy_ports(&gateway, &[]).await;
    let last = Simulation::on("24100", &arguments);
    healthy_ports(&gateway, &[24100]).await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert!(is_done(&reply.lines()));
    assert_eq!(last.inferences().await, 1);
    gateway.idle().await;
}

#[tokio::test]
async fn a_backend_that_is_serving_is_not_ejected_for_missed_probes() {
    const LINE: &[u8] = b"{\"message\":{\"content\":\"hi\"},\"done\":false}\n";
    const DONE: &[u8] = b"{\"message\":{\"content\":\"\"},\"done\":true}\n";
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let own = gate.clone();
    let upstream = Upstream::start(move |_| {
        let mut first = STREAM_HEAD.to_vec();
        first.extend_from_slice(&chunk(LINE));
        let mut last = chunk(DONE);
        last.extend_from_slice(b"0\r\n\r\n");
        vec![
            Step::Send(first),
            Step::Until(own.clone()),
            Step::Send(last),
        ]
    })
    .await;
    let config = Config::over(&[upstream.address])
        .set("provider.interval", "100ms")
        .set("provider.probe_timeout", "200ms");
    let gateway = Gateway::over(&config, 1).await;
    let mut client = Connection::open(gateway.address).await;
    let body = chat("scripted", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    client.head().await;
    let mut answer = client.body_until("\n").await;
    upstream.deaf(true);
    let before = upstream.probes();
    // Several times the misses that eject an idle backend.
    eventually("six probes are missed", || async {
        let health = get(gateway.address, "/__proxy/health").await.json();
        assert_eq!(health["healthy_backends"], 1, "a busy backend was ejected");
        let probes = upstream.probes() - before;
        if probes >= 7 { Ok(()) } else { Err(probes) }
    })
    .await;
    gate.add_permits(1);
    let (rest, ending) = client.rest().await;
    answer.extend_from_slice(&rest);
    assert_eq!(ending, Ending::Whole);
    assert!(is_done(&lines(&answer)));
    // Now that it is idle, the same silence counts.
    gateway.healthy(0).await;
    upstream.deaf(false);
    gateway.healthy(1).await;
    gateway.idle().await;
}

#[tokio::test]
async fn a_server_that_dies_under_a_request_is_out_at_once_and_back_after_a_probe() {
    let sim = Simulation::start(2, &["--loaded", "llama3.2", "--keep-alive", "-1"]);
    // The regular probe would take a minute to find out, and another to find it well.
    let config = Config::over(&sim.servers).set("provider.interval", "60s");
    let gateway = Gateway::over(&config, 2).await;
    sim.stop(0).await;
    let reply = post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    assert!(is_done(&reply.lines()));
    assert_eq!(reply.header("x-remuda-attempts"), Some("2"));
    let first = u64::from(sim.servers[0].port());
    assert!(backends(&gateway).await.contains(&(first, false)));
    sim.revive(0).await;
    let up = Instant::now();
    gateway.healthy(2).await;
    let after = up.elapsed();
    eprintln!("healthy again {after:.1?} after the server came back");
    assert!(after < Duration::from_secs(20), "{after:?}");
}
