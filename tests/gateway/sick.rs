//! Copies that answer nobody, while their server answers everything else: requests are answered elsewhere, and the copy is
//! unloaded, tried and back, so that later requests do not pay for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{
    Config, Format, Gateway, Reply, Server, Simulation, eventually, get, join_all, post, request,
};

/// Before that no copy is late.
const FLOOR: Duration = Duration::from_secs(5);
/// What a request pays for a copy that hangs: the time until that is late, and a load elsewhere.
const PAID: Duration = Duration::from_secs(20);
/// What a request takes that does not pay.
const QUICK: Duration = Duration::from_secs(4);

/// How clients ask in these tests, each for a model of its own.
#[derive(Clone, Copy, Debug)]
enum Way {
    Chat(Format, bool),
    Embed(&'static str),
}

impl Way {
    fn model(self) -> String {
        match self {
            Way::Chat(format, streamed) => format!("{format:?}-{streamed}").to_lowercase(),
            Way::Embed(path) => format!("embed{}", path.replace('/', "-")),
        }
    }

    async fn ask(self, gateway: &Gateway) -> Reply {
        let model = self.model();
        let (path, body) = match self {
            Way::Chat(format, streamed) => {
                let body = format.ask(&model, "Say something.", streamed, json!({}));
                (format.path(), body)
            }
            Way::Embed(path) => (path, json!({"model": model, "input": "hi"}).to_string()),
        };
        let reply = post(gateway.address, path, &body).await;
        assert_eq!(reply.status, 200, "{self:?}: {}", reply.text());
        if let Way::Chat(format, true) = self {
            let said = format.read(&reply.body);
            assert!(said.success && said.errors.is_empty(), "{self:?}: {said:?}");
        }
        reply
    }

    /// Asks, and returns how long that took.
    async fn timed(self, gateway: &Gateway) -> Duration {
        let began = Instant::now();
        self.ask(gateway).await;
        began.elapsed()
    }
}

fn ways() -> Vec<Way> {
    let chats = Format::ALL
        .into_iter()
        .flat_map(|format| [true, false].map(|streamed| Way::Chat(format, streamed)));
    let embeds = ["/api/embed", "/v1/embeddings"].map(Way::Embed);
    chats.chain(embeds).collect()
}

/// So many servers with the models of all ways on their disks and in no memory, and a gateway that hedges nothing.
async fn fleet(
    count: usize,
    arguments: &[&str],
    set: impl FnOnce(Config) -> Config,
) -> (Simulation, Gateway) {
    let models: Vec<String> = ways()
        .into_iter()
        .map(|way| format!("{}=64MiB", way.model()))
        .collect();
    let models = models.join(",");
    let usual = [
        ["--models", &models],
        ["--load-time", "300ms"],
        ["--answer-tokens", "3"],
        ["--parallel", "4"],
        ["--max-loaded", "99"],
        ["--context-length", "4096"],
    ];
    // What a test states goes before these.
    let usual = usual
        .into_iter()
        .filter(|pair| !arguments.contains(&pair[0]));
    let all: Vec<&str> = arguments.iter().copied().chain(usual.flatten()).collect();
    let sim = Simulation::start(count, &all);
    let config = Config::over(&sim.servers)
        .set("provider.max_concurrent_per_backend", "99")
        .set("provider.parallel", "4")
        .set("routing.retry", "{ hedge_after: off }");
    let gateway = Gateway::over(&set(config), count).await;
    (sim, gateway)
}

/// The place of the server that has given an answer.
fn server(sim: &Simulation, reply: &Reply) -> usize {
    let name = reply.header("x-remuda-backend").unwrap();
    let places = sim.servers.iter();
    let mut places = places.map(|server| format!(":{}", server.port()));
    places.position(|port| name.ends_with(&port)).unwrap()
}

/// What each server has seen, in their order.
async fn seen(sim: &Simulation) -> Vec<Server> {
    let mut stats = sim.stats().await;
    stats.sort_by_key(|server| server.port);
    stats
}

/// The copies that `/api/providers` lists of a model.
async fn copies(gateway: &Gateway, model: &str) -> Vec<Value> {
    let page = get(gateway.address, "/api/providers").await.json();
    let rows = page["providers"]["test"]["copies"].as_array().cloned();
    let rows = rows.unwrap_or_default().into_iter();
    let of_model = |row: &Value| {
        row["name"]
            .as_str()
            .is_some_and(|name| name.starts_with(model))
    };
    rows.filter(of_model).collect()
}

async fn heals(gateway: &Gateway, result: &str) -> f64 {
    let labels = [("result", result)];
    gateway.metric("remuda_copy_heals_total", &labels).await
}

/// A copy hangs of which nobody knows. Two requests find that out, and are answered by another server; the next do not pay.
#[tokio::test]
async fn a_copy_that_answers_nobody_is_left_and_comes_back() {
    let (sim, gateway) = fleet(3, &[], |config| config).await;
    let (sim, gateway) = (&sim, &gateway);
    let ways = ways();
    let found = ways.iter().map(|way| async move {
        let model = way.model();
        let first = server(sim, &way.ask(gateway).await);
        let hang = json!({"kind": "hang", "model": model, "times": 1});
        sim.fault(first, &hang.to_string()).await;
        let pair = join_all([way.timed(gateway), way.timed(gateway)]).await;
        for took in pair {
            assert!(FLOOR <= took && took < PAID, "{way:?}: {took:?}");
        }
        eventually(&format!("{model} is well again"), || async {
            let copies = copies(gateway, &model).await;
            let well = copies.iter().all(|copy| copy["condition"] == "well");
            if well && !copies.is_empty() {
                Ok(())
            } else {
                Err(copies)
            }
        })
        .await;
        for _ in 0..4 {
            let took = way.timed(gateway).await;
            assert!(took < QUICK, "{way:?}: {took:?}");
        }
        first
    });
    let firsts = join_all(found).await;
    for (place, server) in seen(sim).await.into_iter().enumerate() {
        let hung = firsts.iter().filter(|first| **first == place).count();
        assert_eq!(server.unloads, hung as u64, "{server:?}");
    }
    // Nobody hangs there any more.
    eventually("no server serves anybody", || async {
        let stats = seen(sim).await;
        let idle = stats.iter().all(|one| one.waiting + one.active == 0);
        if idle { Ok(()) } else { Err(stats) }
    })
    .await;
    let count = ways.len() as f64;
    assert_eq!(heals(gateway, "healed").await, count);
    assert_eq!(heals(gateway, "failed").await, 0.0);
    let late = gateway.metric("remuda_late_requests_total", &[]).await;
    assert_eq!(late, 2.0 * count);
    // It was the copy's fault, and no server's.
    assert_eq!(gateway.attempts("server_error").await, 0.0);
    gateway.healthy(3).await;
    gateway.idle().await;
}

/// Where nobody else has the model, whoever hangs waits until the copy is back; one whose process has stopped is no other.
#[tokio::test]
async fn the_only_copy_is_healed_for_those_who_hang_on_it() {
    let (sim, gateway) = fleet(1, &[], |config| config).await;
    let (sim, gateway) = (&sim, &gateway);
    let faults = [(true, "hang"), (false, "freeze")];
    let healed = faults.map(|(streamed, kind)| async move {
        let way = Way::Chat(Format::Ollama, streamed);
        way.ask(gateway).await;
        let fault = json!({"kind": kind, "model": way.model(), "times": 1});
        sim.fault(0, &fault.to_string()).await;
        let pair = join_all([way.timed(gateway), way.timed(gateway)]).await;
        for took in pair {
            assert!(FLOOR <= took && took < PAID, "{kind}: {took:?}");
        }
    });
    join_all(healed).await;
    assert_eq!(heals(gateway, "healed").await, 2.0);
    assert_eq!(sim.stats().await[0].unloads, 2);
    gateway.idle().await;
}

/// A copy that does not come back is left alone, and its server serves other models all the same.
#[tokio::test]
async fn a_copy_that_cannot_be_healed_is_left_alone() {
    let [way, other] = [true, false].map(|streamed| Way::Chat(Format::Ollama, streamed));
    let (sim, gateway) = fleet(2, &[], |config| config.set("timeouts.load", "2s")).await;
    let first = server(&sim, &way.ask(&gateway).await);
    let hang = json!({"kind": "hang", "model": way.model()});
    sim.fault(first, &hang.to_string()).await;
    join_all([way.ask(&gateway), way.ask(&gateway)]).await;
    let failed = [("result", "failed")];
    let heals = "remuda_copy_heals_total";
    gateway.metric_is(heals, &failed, 1.0).await;
    let suspect = [("condition", "suspect")];
    gateway.metric_is("remuda_copies", &suspect, 1.0).await;
    let port = sim.servers[first].port().to_string();
    let listed = copies(&gateway, &way.model()).await;
    let suspect = listed.iter().find(|copy| copy["condition"] == "suspect");
    let suspect = suspect.unwrap_or_else(|| panic!("{listed:?}"));
    assert!(suspect["backend"].as_str().unwrap().ends_with(&port));
    for _ in 0..4 {
        let began = Instant::now();
        let reply = way.ask(&gateway).await;
        assert_ne!(server(&sim, &reply), first);
        assert!(began.elapsed() < QUICK);
    }
    let pinned = sim.servers[first].to_string();
    let body = Format::Ollama.ask(&other.model(), "hi", false, json!({}));
    let fields = [("x-backend", &*pinned)];
    let reply = request(
        gateway.address,
        "POST",
        "/api/chat",
        &fields,
        body.as_bytes(),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.healthy(2).await;
    gateway.idle().await;
}

/// A load without an end is given up after its budget, the server's next one is the gateway's trial, and whoever waits is
/// served by another server.
#[tokio::test]
async fn a_load_without_an_end_is_left_and_its_server_comes_back() {
    let way = Way::Chat(Format::Anthropic, true);
    let (sim, gateway) = fleet(2, &[], |config| config.set("timeouts.load", "2s")).await;
    // The first of equals is loaded first.
    let stuck = json!({"kind": "stuck_load", "model": way.model(), "times": 1});
    sim.fault(0, &stuck.to_string()).await;
    let began = Instant::now();
    let reply = way.ask(&gateway).await;
    assert!(began.elapsed() < PAID, "{:?}", began.elapsed());
    assert_eq!(server(&sim, &reply), 1);
    let healed = [("result", "healed")];
    gateway
        .metric_is("remuda_copy_heals_total", &healed, 1.0)
        .await;
    let stats = seen(&sim).await;
    assert_eq!((stats[0].loads, stats[1].loads), (1, 1));
    assert_eq!(copies(&gateway, &way.model()).await.len(), 2);
    gateway.healthy(2).await;
    gateway.idle().await;
}

/// Nothing has been learned of how fast a copy is, but another has shown how long the same request takes.
#[tokio::test]
async fn a_copy_that_another_has_outrun_by_far_is_late() {
    let way = Way::Chat(Format::Ollama, true);
    let model = way.model();
    let set = |config: Config| config.set("routing.retry", "{ hedge_after: 5500ms }");
    let (sim, gateway) = fleet(2, &["--loaded", &model], set).await;
    let hang = json!({"kind": "hang", "model": model, "times": 1});
    // The first of equals is asked first.
    sim.fault(0, &hang.to_string()).await;
    let reply = way.ask(&gateway).await;
    assert_eq!(server(&sim, &reply), 1);
    assert_eq!(reply.header("x-remuda-attempts"), Some("2"));
    gateway
        .metric_is("remuda_late_requests_total", &[], 1.0)
        .await;
    // One is no proof.
    assert_eq!(heals(&gateway, "healed").await, 0.0);
    let copies = copies(&gateway, &model).await;
    assert!(copies.iter().all(|copy| copy["condition"] == "well"));
    assert_eq!(copies.len(), 2);
}

/// Requests in turn, one at a time: no more than two of them pay for a copy that hangs, wherever it hangs.
#[tokio::test]
async fn of_requests_in_turn_two_pay_at_most() {
    let way = Way::Chat(Format::Chat, true);
    let model = way.model();
    let (sim, gateway) = fleet(2, &["--loaded", &model], |config| config).await;
    // What usual requests take is known.
    for _ in 0..4 {
        way.ask(&gateway).await;
    }
    let first = server(&sim, &way.ask(&gateway).await);
    let hang = json!({"kind": "hang", "model": model, "times": 1});
    sim.fault(first, &hang.to_string()).await;
    let mut paid = 0;
    for _ in 0..12 {
        let took = way.timed(&gateway).await;
        assert!(took < PAID, "{took:?}");
        paid += u32::from(took >= QUICK);
    }
    assert!((1..=2).contains(&paid), "{paid}");
    gateway.idle().await;
}

/// The rows of `/api/providers` of a model, as condition and cause, in the order of their servers.
async fn conditions(
    sim: &Simulation,
    gateway: &Gateway,
    model: &str,
) -> Vec<(usize, Value, Value)> {
    let place = |row: &Value| {
        let name = row["backend"].as_str().unwrap();
        let mut servers = sim.servers.iter();
        servers
            .position(|server| server.to_string() == name)
            .unwrap()
    };
    let rows = copies(gateway, model).await.into_iter();
    let rows = rows.map(|row| (place(&row), row["condition"].clone(), row["cause"].clone()));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(place, _, _)| *place);
    rows
}

/// A copy of which a part runs on the CPU says so, and so does one on a GPU that has become slow.
#[tokio::test]
async fn slow_copies_are_told_with_their_cause() {
    let way = Way::Chat(Format::Ollama, false);
    let model = way.model();
    let fast = ["--loaded", &model, "--decode-speed", "100"];
    let (sim, gateway) = fleet(
        3,
        &[&fast[..], &["--answer-tokens", "24"]].concat(),
        |config| config,
    )
    .await;
    let slow = json!({"kind": "slow_gpu", "factor": 4, "model": model});
    sim.fault(1, &slow.to_string()).await;
    eventually("the slow copy is found", || async {
        join_all((0..6).map(|_| way.ask(&gateway))).await;
        let rows = conditions(&sim, &gateway, &model).await;
        let found = rows.iter().any(|(place, condition, cause)| {
            let slow = *condition == "slow" || *condition == "draining";
            *place == 1 && slow && *cause == "decode"
        });
        if found { Ok(()) } else { Err(rows) }
    })
    .await;
    let rows = conditions(&sim, &gateway, &model).await;
    for (place, condition, _) in &rows {
        assert_eq!(*condition == "well", *place != 1, "{rows:?}");
    }
    let metrics = gateway.metrics().await;
    let counted = |condition| metrics.sum("remuda_copies", &[("condition", condition)]);
    assert_eq!((counted("well"), counted("suspect")), (2.0, 0.0));
    assert_eq!(
        counted("slow") + counted("draining") + counted("healing"),
        1.0
    );
    assert_eq!(metrics.sum("remuda_late_requests_total", &[]), 0.0);
    assert_eq!(metrics.sum("remuda_copy_heals_total", &[]), 0.0);
}

#[tokio::test]
async fn a_copy_that_is_not_all_in_vram_is_slow_by_that_alone() {
    let sim = Simulation::start(
        1,
        &[
            "--models",
            "big=8GiB",
            "--vram",
            "4GiB",
            "--context-length",
            "4096",
        ],
    );
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    let body = Format::Ollama.ask("big", "hi", false, json!({}));
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    eventually("the copy counts as slow", || async {
        let rows = conditions(&sim, &gateway, "big").await;
        if rows == [(0, "slow".into(), "spilled".into())] {
            Ok(())
        } else {
            Err(rows)
        }
    })
    .await;
    // It is the last of its model.
    let reply = post(gateway.address, "/api/chat", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Where all who are well are busy and others wait for them, a late request has its place among those.
#[tokio::test]
async fn a_late_request_has_its_turn_among_those_that_wait() {
    let way = Way::Chat(Format::Ollama, true);
    let model = way.model();
    let busy = [
        "--loaded",
        &model,
        "--decode-speed",
        "100",
        "--parallel",
        "1",
    ];
    let one = |config: Config| config.set("provider.parallel", "1");
    let (sim, gateway) = fleet(2, &[&busy[..], &["--answer-tokens", "20"]].concat(), one).await;
    let hang = json!({"kind": "hang", "model": model});
    sim.fault(0, &hang.to_string()).await;
    let began = Instant::now();
    // Requests wait for the other server all the time.
    let clients = (0..6).map(|_| async {
        let mut moved = Vec::new();
        while began.elapsed() < Duration::from_secs(10) {
            let reply = way.ask(&gateway).await;
            if reply.header("x-remuda-attempts") != Some("1") {
                moved.push(began.elapsed());
            }
        }
        moved
    });
    let moved = join_all(clients).await.concat();
    let first = moved.iter().min().expect("one has hung");
    assert!(
        FLOOR <= *first && *first < Duration::from_secs(9),
        "{moved:?}"
    );
}

/// A copy that needs long for a prompt is not late, whether or not that has been learned.
#[tokio::test]
async fn a_long_prompt_is_no_silence() {
    let way = Way::Chat(Format::Ollama, true);
    let model = way.model();
    let slow = ["--loaded", &model, "--prompt-speed", "250"];
    let (_sim, gateway) = fleet(2, &slow, |config| config).await;
    for number in 0..2 {
        let text = format!("{number} {}", "word ".repeat(2_000));
        let body = Format::Ollama.ask(&model, &text, true, json!({}));
        let began = Instant::now();
        let reply = post(gateway.address, "/api/chat", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let took = began.elapsed();
        assert!(took > FLOOR, "{took:?}");
        assert_eq!(reply.header("x-remuda-attempts"), Some("1"));
    }
    let late = gateway.metric("remuda_late_requests_total", &[]).await;
    assert_eq!(late, 0.0);
}
