//! Several servers in one process, and the control routes.

use super::*;

async fn three() -> Running {
    with("llama3.2", |options| {
        options.ports = vec![0; 3];
        options.control = Some(([127, 0, 0, 1], 0).into());
    })
    .await
}

async fn command(running: &Running, method: Method, path: &str, body: &str) -> Value {
    let control = running.control().unwrap();
    let answer = try_call(control, method, path, body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn is_up(running: &Running, index: usize) -> bool {
    let address = running.addresses()[index];
    try_call(address, Method::GET, "/", "").await.is_ok()
}

#[tokio::test]
async fn servers_have_ports_disks_and_loads_of_their_own() {
    let running = with("llama3.2", |options| {
        options.ports = vec![0; 3];
        options.models.push(vec![Model::parse("mistral").unwrap()]);
        options.loaded = vec!["mistral".into()];
    })
    .await;
    let mut ports: Vec<u16> = running.addresses().iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
    let loaded: Vec<_> = running
        .stats()
        .into_iter()
        .map(|stats| stats.loaded)
        .collect();
    assert_eq!(loaded, [vec![], vec!["mistral:latest".to_owned()], vec![]]);
}

#[tokio::test]
async fn servers_go_down_and_come_up_by_command() {
    let running = three().await;
    let port = running.addresses()[1].port();
    let target = format!(r#"{{"port":{port}}}"#);
    command(&running, Method::POST, "/sim/stop", &target).await;
    assert!(is_up(&running, 0).await && !is_up(&running, 1).await);
    command(&running, Method::POST, "/sim/start", &target).await;
    assert!(is_up(&running, 1).await);
    command(&running, Method::POST, "/sim/restart", &target).await;
    assert!(is_up(&running, 1).await);
    command(&running, Method::POST, "/sim/stop", "").await;
    assert!(!is_up(&running, 2).await);
    command(&running, Method::POST, "/sim/reset", "").await;
    for index in 0..3 {
        assert!(is_up(&running, index).await);
    }
}

#[tokio::test]
async fn faults_are_injected_where_they_are_for() {
    let running = three().await;
    let port = running.addresses()[2].port();
    let fault = format!(r#"{{"kind":"status","status":503,"port":{port},"route":"/api/version"}}"#);
    command(&running, Method::POST, "/sim/fault", &fault).await;
    let status = async |index: usize| {
        let address = running.addresses()[index];
        let answer = try_call(address, Method::GET, "/api/version", "").await;
        answer.unwrap().status.as_u16()
    };
    assert_eq!((status(0).await, status(2).await), (200, 503));
    command(&running, Method::DELETE, "/sim/fault", "").await;
    assert_eq!(status(2).await, 200);
    let bad = try_call(running.control().unwrap(), Method::POST, "/sim/fault", "{}").await;
    assert_eq!(bad.unwrap().status, 400);
}

#[tokio::test]
async fn control_answers_on_a_servers_own_port_for_that_server() {
    let running = three().await;
    let fault = r#"[{"kind":"status","route":"/"},{"kind":"one_byte"}]"#;
    assert_eq!(
        post(&running, "/sim/fault", fault).await.json()["faults"],
        2
    );
    let faults: Vec<_> = running.stats().iter().map(|stats| stats.faults).collect();
    assert_eq!(faults, [2, 0, 0]);
    let help = get(&running, "/sim/help").await;
    assert!(help.text().contains("/sim/stats"));
}

#[tokio::test]
async fn stats_tell_what_came_in() {
    let running = three().await;
    get(&running, "/api/tags").await;
    get(&running, "/nowhere").await;
    post(&running, "/api/chat?x=1", CHAT).await;
    let port = running.addresses()[0].port();
    let path = format!("/sim/stats?port={port}");
    let answer = command(&running, Method::GET, &path, "").await;
    let stats: Vec<Stats> = serde_json::from_value(answer["servers"].clone()).unwrap();
    assert_eq!(stats.len(), 1);
    assert_eq!(stats[0].requests["GET /api/tags"], 1);
    assert_eq!(stats[0].requests["other"], 1);
    assert_eq!(stats[0].requests["POST /api/chat"], 1);
    let last = stats[0].last_request.as_ref().unwrap();
    assert_eq!(
        (last.method.as_str(), last.target.as_str()),
        ("POST", "/api/chat?x=1")
    );
    assert!(last.headers.contains(&("host".into(), "sim".into())));
    assert_eq!(last.body_bytes, CHAT.len() as u64);
    assert_eq!(last.body_sha256, crate::digest::sha256(CHAT.as_bytes()));
    assert!(stats[0].tokens > 0 && stats[0].connections_accepted == 3);
}

#[tokio::test]
async fn dropping_the_simulation_closes_its_ports() {
    let running = three().await;
    let (servers, control) = (running.addresses(), running.control().unwrap());
    let mut open = TcpStream::connect(servers[0]).await.unwrap();
    until(&running, |stats| stats.connections_open == 1).await;
    running.stop().await;
    for address in servers {
        assert!(TcpStream::connect(address).await.is_err());
    }
    let (seen, _) = read_all(&mut open).await;
    assert!(seen.is_empty());
    let closed = async {
        while TcpStream::connect(control).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_thousand_streams_at_once() {
    let running = with("llama3.2", |options| {
        options.machine.parallel = 1000;
        options.machine.decode_speed = 100.0;
        options.machine.vram = 1 << 50;
        options.machine.answer_tokens = 30..=30;
    })
    .await;
    let address = running.addresses()[0];
    let streams: Vec<_> = (0..1000)
        .map(|_| {
            tokio::spawn(async move {
                let answer = try_call(address, Method::POST, "/api/chat", CHAT).await;
                answer.unwrap().lines().len()
            })
        })
        .collect();
    for stream in streams {
        assert_eq!(stream.await.unwrap(), 31);
    }
    let stats = &running.stats()[0];
    assert_eq!((stats.completed, stats.active, stats.loads), (1000, 0, 1));
}
