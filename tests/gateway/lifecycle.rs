//! How the process starts, tells that it is ready, and ends.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{
    Asked, Config, Connection, Ending, Gateway, PATIENCE, Piece, Process, Simulation, Step,
    Upstream, chat, eventually, get, is_done, lines, post,
};

/// One server that answers for about `seconds`, and a gateway.
async fn slow(seconds: u32, configure: impl FnOnce(Config) -> Config) -> (Simulation, Gateway) {
    let tokens = (seconds * 50).to_string();
    let arguments = [
        "--loaded",
        "llama3.2",
        "--answer-tokens",
        &tokens,
        "--decode-speed",
        "50",
    ];
    let sim = Simulation::start(1, &arguments);
    let gateway = Gateway::over(&configure(Config::over(&sim.servers)), 1).await;
    (sim, gateway)
}

/// A stream whose first line has come; gives what came so far.
async fn begun(gateway: &Gateway) -> (Connection, Vec<u8>) {
    let mut client = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "hi", "");
    client
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    assert_eq!(client.head().await.status, 200);
    let first = client.body_until("\n").await;
    (client, first)
}

async fn refuses(address: SocketAddr) {
    eventually("new connections are refused", || async {
        match tokio::net::TcpStream::connect(address).await {
            Err(_) => Ok(()),
            Ok(_) => Err("connected"),
        }
    })
    .await;
}

async fn ended(gateway: &mut Gateway) -> ExitStatus {
    tokio::task::block_in_place(|| gateway.process.exit(PATIENCE))
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_streams_end_and_takes_no_more() {
    let (_sim, mut gateway) = slow(3, |config| config).await;
    let (mut client, mut body) = begun(&gateway).await;
    let mut idle = Connection::open(gateway.address).await;
    idle.request("GET", "/api/version", &[], b"").await;
    assert_eq!(idle.reply().await.status, 200);
    assert_eq!(get(gateway.admin, "/health/ready").await.status, 200);

    gateway.process.signal(Signal::SIGTERM);
    eventually("readiness says that it drains", || async {
        let reply = get(gateway.admin, "/health/ready").await;
        match (reply.status, reply.text().contains("draining")) {
            (503, true) => Ok(()),
            _ => Err(reply),
        }
    })
    .await;
    assert_eq!(get(gateway.admin, "/health/live").await.status, 200);
    refuses(gateway.address).await;
    // A connection that is idle would otherwise only time out.
    assert!(idle.try_head().await.is_none());

    let (rest, ending) = client.rest().await;
    body.extend_from_slice(&rest);
    assert_eq!(ending, Ending::Whole);
    let lines = lines(&body);
    assert!(is_done(&lines));
    assert_eq!(lines.len(), 151);
    let last = Instant::now();
    let status = ended(&mut gateway).await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(
        last.elapsed() < Duration::from_secs(10),
        "it waited for nothing: {:?}",
        last.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlasts_the_drain_ends_with_an_error_line() {
    let (sim, mut gateway) = slow(1000, |config| config.set("server.drain_timeout", "500ms")).await;
    let (mut client, mut body) = begun(&gateway).await;
    gateway.process.signal(Signal::SIGTERM);
    let (rest, ending) = client.rest().await;
    body.extend_from_slice(&rest);
    assert_eq!(ending, Ending::Whole);
    let lines = lines(&body);
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("shutting down"), "{error}");
    let status = ended(&mut gateway).await;
    assert_eq!(status.code(), Some(0), "{status}");
    eventually("the server is rid of it", || async {
        let stats = sim.stats().await;
        if stats[0].active == 0 {
            Ok(())
        } else {
            Err(stats)
        }
    })
    .await;
}

/// A request that waits for a slot is in flight, too: it is served if one comes free in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_request_is_served_while_the_gateway_drains() {
    let (_sim, mut gateway) = slow(2, |config| config).await;
    let (mut first, _) = begun(&gateway).await;
    let mut second = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    second
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
    gateway.process.signal(Signal::SIGTERM);
    assert_eq!(first.rest().await.1, Ending::Whole);
    let reply = second.reply().await;
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    assert_eq!(reply.json()["done"], true);
    assert_eq!(ended(&mut gateway).await.code(), Some(0));
}

/// Nobody is left hanging: what is no stream yet is answered or its connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_request_that_outlasts_the_drain_does_not_hang() {
    let (_sim, mut gateway) =
        slow(1000, |config| config.set("server.drain_timeout", "300ms")).await;
    let (_first, _) = begun(&gateway).await;
    let mut second = Connection::open(gateway.address).await;
    let body = chat("llama3.2", "hi", "");
    second
        .request("POST", "/api/chat", &[], body.as_bytes())
        .await;
    gateway.metric_is("remuda_queue_depth", &[], 1.0).await;
    gateway.process.signal(Signal::SIGTERM);
    let reply = second.reply().await;
    match reply.status {
        // The stream before it was cut, and its slot was free for a moment.
        200 => assert!(
            reply.text().ends_with("shutting down\"}\n"),
            "{}",
            reply.text()
        ),
        status => assert_eq!(status, 503),
    }
    assert!(reply.text().contains("shutting down"), "{}", reply.text());
    assert_eq!(ended(&mut gateway).await.code(), Some(0));
}

/// What a server has been sent has cost its prompt, however the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_their_answer_are_accounted_when_the_gateway_ends() {
    for (signals, limit) in [
        (&[Signal::SIGTERM][..], "300ms"),
        (&[Signal::SIGTERM, Signal::SIGTERM], "1h"),
        (&[Signal::SIGTERM, Signal::SIGINT], "1h"),
        (&[Signal::SIGINT], "1h"),
    ] {
        let server = Upstream::start(|_: &Asked| vec![Step::Hold]).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("usage.db");
        let config = Config::over(&[server.address])
            .set("provider.max_concurrent_per_backend", "3")
            .set("server.drain_timeout", limit)
            .set("usage.path", file.display());
        let mut gateway = Gateway::over(&config, 1).await;
        let mut clients = Vec::new();
        for stream in ["", r#","stream":false"#] {
            let mut client = Connection::open(gateway.address).await;
            let body = chat("scripted", "hi", stream);
            client
                .request("POST", "/api/chat", &[], body.as_bytes())
                .await;
            clients.push(client);
        }
        eventually("both are asked", || async {
            match server.asked().len() {
                2 => Ok(()),
                other => Err(other),
            }
        })
        .await;
        for signal in signals {
            gateway.process.signal(*signal);
            if signals.len() > 1 && *signal == signals[0] {
                gateway.process.wait_for("that it drains", |line| {
                    line.contains("draining").then_some(())
                });
            }
        }
        for client in &mut clients {
            let reply = client.reply().await;
            assert_eq!(reply.status, 503, "{signals:?}: {}", reply.text());
            assert!(reply.text().contains("shutting down"), "{}", reply.text());
        }
        assert_eq!(ended(&mut gateway).await.code(), Some(0));
        let output = Process::remuda()
            .args(["usage", "--json", "--path"])
            .arg(&file)
            .output()
            .unwrap();
        let page: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(page["total"]["requests"], 2, "{signals:?}: {page}");
        assert!(page["total"]["input_tokens"].as_u64() > Some(0), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_ends_at_once_and_no_stream_looks_complete() {
    let (_sim, mut gateway) = slow(1000, |config| config).await;
    let (mut client, _) = begun(&gateway).await;
    let started = Instant::now();
    gateway.process.signal(Signal::SIGINT);
    ended(&mut gateway).await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    let mut rest = Vec::new();
    let end = loop {
        match client.piece().await {
            Piece::Bytes(bytes) => rest.extend_from_slice(&bytes),
            end => break end,
        }
    };
    let rest = String::from_utf8_lossy(&rest);
    assert!(end == Piece::Broken || rest.contains("\"error\""), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_while_draining_ends_at_once() {
    let (_sim, mut gateway) = slow(1000, |config| config).await;
    let (_client, _) = begun(&gateway).await;
    gateway.process.signal(Signal::SIGTERM);
    gateway.process.wait_for("that it drains", |line| {
        line.contains("draining").then_some(())
    });
    let started = Instant::now();
    gateway.process.signal(Signal::SIGINT);
    ended(&mut gateway).await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

fn serve(config: &Config, folder: &Path) -> Output {
    let path = folder.join("remuda.yaml");
    std::fs::write(&path, config.yaml()).unwrap();
    Process::remuda()
        .args(["serve", "-c"])
        .arg(&path)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn a_port_in_use_is_told_with_its_setting_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for setting in ["server.listen", "server.admin"] {
        let config = Config::over(&["127.0.0.1:1".parse().unwrap()]).set(setting, address);
        let output = serve(&config, folder.path());
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        for part in [
            &address.to_string(),
            setting,
            "in use",
            "choose another port",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn a_bad_configuration_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::over(&["127.0.0.1:1".parse().unwrap()]).set("server.max_boddy", "1MiB");
    let output = serve(&config, folder.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("max_boddy") && said.contains("max_body"),
        "{said}"
    );
    assert!(said.contains("remuda.yaml:"), "{said}");
}

fn health(address: SocketAddr, path: &str) -> Output {
    Process::remuda()
        .args(["health", "--url", &format!("http://{address}{path}")])
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_with_its_exit_code() {
    let sim = Simulation::start(1, &[]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    assert!(health(gateway.admin, "/health/ready").status.success());
    assert!(health(gateway.admin, "/health/live").status.success());
    sim.stop(0).await;
    gateway.healthy(0).await;
    let output = health(gateway.admin, "/health/ready");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("503"));
    assert!(health(gateway.admin, "/health/live").status.success());
    let admin = gateway.admin;
    drop(gateway);
    assert_eq!(health(admin, "/health/live").status.code(), Some(1));
}

/// Backends may be known before Pingora has bound the address of clients, above all those that need no probe; many
/// processes on few cores show it.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_waits_for_the_listener_of_clients() {
    let sim = Simulation::start(8, &["--dialect", "azure"]);
    let config = Config::of(sim.servers.iter().map(|server| {
        format!(
            "{{ name: azure{0}, kind: azure, base_url: \"http://{server}\", api_key: sim-key, deployments: {{ a: gpt-4o }} }}",
            server.port()
        )
    }));
    let starting = (0..24).map(|_| {
        let (mut command, folder) = Gateway::command(&config);
        tokio::task::spawn_blocking(move || Gateway::begin(&mut command, folder))
    });
    let checks = starting.collect::<Vec<_>>().into_iter().map(|gateway| {
        tokio::spawn(async move {
            let gateway = gateway.await.unwrap();
            eventually("it is ready", || async {
                match get(gateway.admin, "/health/ready").await.status {
                    200 => Ok(()),
                    status => Err(status),
                }
            })
            .await;
            tokio::net::TcpStream::connect(gateway.address).await
        })
    });
    for check in checks.collect::<Vec<_>>() {
        check.await.unwrap().expect("it listens once it is ready");
    }
}

#[tokio::test]
async fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let sim = Simulation::start(1, &[]);
    let config = Config::over(&sim.servers).environment("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut gateway = Gateway::start(&config);
    let receive = || {
        let mut message = [0; 256];
        let count = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..count].to_vec()).unwrap()
    };
    assert!(receive().lines().any(|line| line == "READY=1"));
    // It is told only once connections are taken.
    assert_eq!(get(gateway.address, "/").await.status, 200);
    assert_eq!(get(gateway.admin, "/health/live").await.status, 200);
    gateway.process.signal(Signal::SIGTERM);
    assert!(receive().lines().any(|line| line == "STOPPING=1"));
    assert_eq!(gateway.process.exit(PATIENCE).code(), Some(0));
}

#[tokio::test]
async fn the_admin_listener_can_be_off() {
    let sim = Simulation::start(1, &["--loaded", "llama3.2"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("remuda.yaml");
    let config = Config::over(&sim.servers).set("server.admin", "off");
    std::fs::write(&path, config.yaml()).unwrap();
    let mut command = Process::remuda();
    command.args(["serve", "-c"]).arg(&path);
    let process = Process::start("remuda serve", &mut command);
    let address: SocketAddr = process.wait_for("where it listens", |line| {
        let (_, address) = line.split_once("listening on http://")?;
        address.trim().parse().ok()
    });
    process.wait_for("that admin is off", |line| {
        line.contains("admin listener is off").then_some(())
    });
    process.wait_for("that it is ready", |line| {
        line.ends_with("ready").then_some(())
    });
    eventually("a server is found", || async {
        let reply = post(address, "/api/chat", &chat("llama3.2", "x", "")).await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}
