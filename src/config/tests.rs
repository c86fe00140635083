//! The configuration as a whole: defaults, the documented file, what goes before what, and messages.

mod kinds;
mod mistakes;
mod providers;
mod routing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::yaml::{self, Value};
use super::*;
use crate::settings::{
    HealthStatus, ModelNames, PortRange, Provider, Queue, Server, Strategy, Timeouts,
};

const DOCUMENTED: &str = include_str!("../../conf/remuda.yaml");
const ONE: &str = "providers: [ { name: gpus, backends: [ gpu1 ] } ]\n";

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn read_with(yaml: &str, pairs: &[(&str, &str)]) -> Result<LoadedSettings, Report> {
    from_sources(Some(("remuda.yaml", yaml)), &environment(pairs))
}

fn used(yaml: &str) -> Settings {
    read_with(yaml, &[]).unwrap().settings
}

fn problems(yaml: &str) -> Vec<String> {
    let report = read_with(yaml, &[]).unwrap_err();
    report.problems.iter().map(Problem::to_string).collect()
}

fn alone(pairs: &[(&str, &str)]) -> Settings {
    from_sources(None, &environment(pairs)).unwrap().settings
}

/// The documented file with its `#key:` lines made active.
fn uncommented() -> String {
    let lines = DOCUMENTED.lines().map(|line| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#') {
            // `#  - url`: an item of a list, indented beneath its key.
            Some(rest)
                if !rest.is_empty() && (rest.starts_with("  ") || !rest.starts_with(' ')) =>
            {
                format!("{indent}{rest}\n")
            }
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn the_documented_file_states_the_defaults() {
    let settings = used(DOCUMENTED);
    let mut local = Provider::named("local");
    local.discover = Some(PortRange::default());
    let default = Settings {
        server: Server::default(),
        access: Default::default(),
        providers: vec![local],
        routing: Default::default(),
        timeouts: Default::default(),
        queue: Default::default(),
        monitoring: Default::default(),
        usage: Default::default(),
    };
    assert_eq!(settings, default);
}

#[test]
fn the_documented_file_has_every_known_key_and_no_other() {
    let documented: Value = yaml::from_str(&uncommented()).unwrap();
    let mut documented = known::keys(&documented);
    let known = known::keys(&file::template());
    let free: Vec<&str> = known
        .iter()
        .filter_map(|key| key.strip_suffix(entries::ANY_KEY))
        .collect();
    assert_eq!(free.len(), 6);
    // The first, bare entry of `backends` has no keys of its own.
    documented.retain(|key| !key.ends_with("[]"));
    let documented =
        documented.into_iter().map(
            |key| match free.iter().find(|free| key.starts_with(**free)) {
                Some(free) => {
                    let any = format!("{free}{}", entries::ANY_KEY);
                    // A free key may have keys of its own beneath it.
                    let beneath = known.iter().find(|known| {
                        let end = known.strip_prefix(&any).filter(|end| !end.is_empty());
                        end.is_some_and(|end| key.ends_with(end))
                    });
                    beneath.cloned().unwrap_or(any)
                }
                None => key,
            },
        );
    assert_eq!(documented.collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_documented_file_s_examples_are_good_one_by_one() {
    // Together they contradict each other, and they name a file and a variable of the reader's.
    let together = [
        "is stated here and under discover; keep one of them",
        "is stated together with api_key; keep one of them",
        "cannot read /etc/remuda/ca.pem: ",
        "cannot read /run/secrets/ollama_api_key: ",
        "cannot read /etc/remuda/models.yaml: ",
        "has several credentials; keep one of key, key_sha256 and key_file",
        "cannot read /run/secrets/alice_key: ",
        "variable ALICE_KEY is not set",
        "cannot read /etc/remuda/models.txt: ",
        "variable AWS_ACCESS_KEY_ID is not set",
        "variable AWS_SECRET_ACCESS_KEY is not set",
        "variable AWS_SESSION_TOKEN is not set",
        "variable OLLAMA_API_KEY is not set",
    ];
    for problem in problems(&uncommented()) {
        assert!(
            together.iter().any(|known| problem.contains(known)),
            "{problem}"
        );
    }
}

#[test]
fn every_known_key_refuses_a_value_of_the_wrong_shape_by_its_path() {
    let sections: BTreeSet<_> = known::keys(&file::template());
    let is_leaf = |key: &&String| {
        !sections.iter().any(|other| {
            other.starts_with(&format!("{key}.")) || other.starts_with(&format!("{key}[]"))
        })
    };
    for key in sections.iter().filter(is_leaf) {
        let path = key.replace("[]", "[0]");
        let mut yaml = "{ never: { valid: here } }".to_owned();
        for step in key.rsplit('.') {
            let (name, list) = match step.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (step, false),
            };
            let inner = if list { format!("[ {yaml} ]") } else { yaml };
            yaml = format!("{{ {name}: {inner} }}");
        }
        let found = problems(&yaml);
        let wanted = format!("remuda.yaml:1: {path}: ");
        assert!(
            found.iter().any(|problem| problem.starts_with(&wanted)),
            "{wanted}\n{found:?}"
        );
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let yaml = "
server: { listen: '[::1]:80', admin: off, max_body: 1000, threads: 3, forwarded: replace }
providers:
  - { name: a, discover: { host: gpu1, ports: 5, interval: 1.5, misses: 9 }, max_concurrent: 7, vram: 24GB }
  - name: b
    backends: [ gpu1, { url: 'https://gpu2', weight: 3, cost: 0.5, max_concurrent: 4, vram: 1GiB } ]
    base_url: http://[::1]:5
    selector: cost
    placement: off
    probe_timeout: 250ms
    pool: { size: 5, idle_timeout: 1h, http2: false, verify: false }
timeouts: { connect: 1, request: 2, total: 3 }
queue: { max_concurrent: 0, size: 0, timeout: 0, ageing: 1ms, when_unhealthy: refuse }
monitoring: { log_level: WARNING, log_format: JSON, access_log: no }
";
    let settings = used(yaml);
    assert_eq!(settings.monitoring.log_level, log::LevelFilter::Warn);
    assert_eq!(settings.timeouts.first_byte, Duration::from_secs(2));
    let printed = to_yaml(&settings);
    assert_eq!(used(&printed), settings, "{printed}");
}

#[test]
fn client_keys_are_printed_as_digests_and_read_back_as_the_same() {
    let yaml = "
server: { allow: [10.0.0.0/8, '::1'] }
providers: [ { name: gpus, backends: [ gpu1 ] } ]
keys:
  - { name: a, key: hunter2-hunter2-hunter2 }
  - name: b
    key_sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
    models: [LLAMA*]
    providers: [GPUS]
    priority: low
    strategy: failover
    requests_per_minute: 60
    tokens_per_day: 1_000_000
    max_concurrent: 3
    budget: { usd: 0.5, per: day }
    tag: x
shared: { url: 'valkey://:hunter3@cache:1234/2', prefix: y }
";
    let settings = used(yaml);
    assert_eq!(
        settings.access.keys[1].limits.budget.unwrap().micro_usd,
        500_000
    );
    let url = &settings.access.shared.as_ref().unwrap().url;
    assert_eq!(url.expose(), "redis://:hunter3@cache:1234/2");
    let mut printed = to_yaml(&settings);
    assert!(!printed.contains("hunter"), "{printed}");
    assert!(
        printed.contains("url: redis://:***@cache:1234/2"),
        "{printed}"
    );
    printed = printed.replace("***", "hunter3");
    assert_eq!(used(&printed), settings, "{printed}");
}

#[test]
fn what_is_printed_is_read_and_printed_as_the_same() {
    let secrets = "
providers:
  - name: gpus
    backends: [ http://gpu1, { url: 'https://gpu2.example.org/x', weight: 2 } ]
    timeouts: { connect: 2s, first_byte: 90s, between_chunks: 30s, total: 10m }
  - name: openai
    api_keys: [ hunter2, hunter3 ]
    headers: { X-Team-Token: hunter4, X-Title: mine }
  - { name: bedrock, region: us-east-1, access_key: AK, secret_key: hunter5, session_token: hunter6 }
  - { name: azure, base_url: 'https://r.openai.azure.com', api_key: hunter7, api_version: '2024-10-21' }
keys: [ { name: a, key: hunter8-hunter8-hunter8, budget: { usd: 1, per: total } } ]
usage: { path: usage.db }
shared: { url: 'redis://me:hunter9@cache' }
";
    for yaml in [include_str!("../../conf/remuda.yaml"), secrets] {
        let printed = to_yaml(&used(yaml));
        assert!(!printed.contains("hunter"), "{printed}");
        assert_eq!(to_yaml(&used(&printed)), printed);
    }
}

#[test]
fn secrets_are_used_but_not_printed() {
    let yaml = "providers: [ { name: a, backends: [ b ], api_key: \"${KEY}\" } ]";
    let settings = read_with(yaml, &[("KEY", "hunter2")]).unwrap().settings;
    let key = settings.providers[0].api_key.as_ref().unwrap();
    assert_eq!(key.expose(), "hunter2");
    let printed = to_yaml(&settings);
    assert!(printed.contains("api_key: '***'"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn no_message_shows_what_a_variable_or_a_key_holds() {
    for yaml in [
        "queue: { size: \"${KEY}\" }",
        "server: { listen: \"${KEY}\" }",
        "providers: [ { name: a, backends: [ \"${KEY} \" ], api_key: \"${KEY} x\" } ]",
        "providers: [ { name: a, backends: [ b ], api_key: hunter2 hunter3 } ]",
        "providers: [ { name: a, backends: [ 'http://me:hunter2@gpu1' ] } ]",
        "providers: [ { name: a, backends: [ b ], selector: \"${KEY}\", pool: { size: \"${KEY}\" } } ]",
    ] {
        let report = read_with(yaml, &[("KEY", "hunter2 hunter2")]).unwrap_err();
        assert!(!report.to_string().contains("hunter"), "{report}");
    }
}

#[test]
fn the_environment_alone_is_the_port_range() {
    let settings = alone(&[]);
    assert_eq!(settings.providers.len(), 1);
    assert_eq!(&*settings.providers[0].name, "local");
    assert_eq!(settings.providers[0].discover, Some(PortRange::default()));
    assert_eq!(settings.providers[0].max_concurrent_per_backend, 1);
    assert_eq!(settings.queue.timeout, Duration::from_secs(3600));
    assert_eq!(settings.timeouts.connect, Duration::from_secs(2));
    assert_eq!(settings.timeouts.first_byte, Duration::from_secs(600));
    assert_eq!(settings.server, Server::default());
}

#[test]
fn every_variable_has_its_effect() {
    let settings = alone(&[
        ("PROXY_HOST", "127.0.0.2"),
        ("PROXY_PORT", "8080"),
        ("PROXY_ADMIN", "127.0.0.3:8081"),
        ("BACKEND_HOST", "gpu1"),
        ("BACKEND_PORT_START", "100"),
        ("BACKEND_PORT_END", "200"),
        ("SCAN_INTERVAL_SECONDS", "7"),
        ("PROBE_TIMEOUT_SECONDS", "1.5"),
        ("MAX_RETRIES", "4"),
        ("MAX_CONCURRENT_PER_BACKEND", "3"),
        ("QUEUE_TIMEOUT_SECONDS", "12"),
        ("BACKEND_CONNECT_TIMEOUT_SECONDS", "2.5"),
        ("BACKEND_READ_TIMEOUT_SECONDS", "80"),
        ("REJECT_STREAMING", "true"),
        ("ENABLE_PRIORITIZATION", "false"),
        ("LOG_LEVEL", "DEBUG"),
    ]);
    let provider = &settings.providers[0];
    assert_eq!(settings.server.listen.to_string(), "127.0.0.2:8080");
    assert_eq!(settings.server.admin, "127.0.0.3:8081".parse().ok());
    assert_eq!(
        provider.discover,
        Some(PortRange {
            host: "gpu1".into(),
            ports: 100..=200
        })
    );
    assert_eq!(provider.interval, Duration::from_secs(7));
    assert_eq!(provider.probe_timeout, Duration::from_millis(1500));
    assert_eq!(provider.max_concurrent_per_backend, 3);
    assert_eq!(settings.routing.max_retries, 4);
    assert_eq!(settings.queue.timeout, Duration::from_secs(12));
    assert_eq!(settings.timeouts.connect, Duration::from_millis(2500));
    assert_eq!(settings.timeouts.first_byte, Duration::from_secs(80));
    assert_eq!(settings.timeouts.between_chunks, Duration::from_secs(80));
    assert!(settings.server.reject_streaming);
    assert!(!settings.queue.priorities);
    assert_eq!(settings.monitoring.log_level, log::LevelFilter::Debug);
}

#[test]
fn debug_counts_where_it_says_yes_and_no_level_is_stated() {
    let level = |pairs: &[(&str, &str)]| alone(pairs).monitoring.log_level;
    assert_eq!(level(&[("DEBUG", "1")]), log::LevelFilter::Debug);
    assert_eq!(level(&[("DEBUG", "express:*")]), log::LevelFilter::Info);
    let both = [("DEBUG", "true"), ("LOG_LEVEL", "WARNING")];
    assert_eq!(level(&both), log::LevelFilter::Warn);
    let both = [("OPTILLM_LOG_LEVEL", "ERROR"), ("DEBUG", "true")];
    assert_eq!(level(&both), log::LevelFilter::Error);
}

#[test]
fn a_file_of_optillm_s_plugin_has_its_defaults() {
    let read = |name: &str, yaml: &str, pairs: &[(&str, &str)]| {
        from_sources(Some((name, yaml)), &environment(pairs))
            .unwrap()
            .settings
    };
    for name in ["proxy_config.yaml", "/home/a/.optillm/proxy_config.yml"] {
        let settings = read(name, ONE, &[]);
        assert_eq!(settings.server.listen.to_string(), "0.0.0.0:8000");
        assert_eq!(settings.server.health_status, HealthStatus::Ok);
        assert_eq!(settings.timeouts.first_byte, Duration::from_secs(30));
        assert_eq!(settings.queue.max_concurrent, 100);
        assert_eq!(settings.routing.strategy, Strategy::Weighted);
        let settings = read(name, ONE, &[("OPTILLM_PORT", "8001")]);
        assert_eq!(settings.server.listen.port(), 8001);
        let stated =
            format!("{ONE}timeouts: {{ request: 5 }}\nserver: {{ health_status: states }}");
        let settings = read(name, &stated, &[]);
        assert_eq!(settings.timeouts.first_byte, Duration::from_secs(5));
        assert_eq!(settings.server.health_status, HealthStatus::States);
    }
    let settings = read("my_proxy_config.yaml", ONE, &[]);
    assert_eq!(settings.server, Server::default());
    assert_eq!(settings.queue, Queue::default());
}

#[test]
fn names_with_a_dash_are_listed_where_the_environment_alone_makes_providers() {
    let names = |settings: Settings| settings.server.model_names;
    let key = [("GROQ_API_KEY", "k")];
    assert_eq!(names(alone(&[])), ModelNames::Slash);
    assert_eq!(names(alone(&key)), ModelNames::Both);
    assert_eq!(
        names(read_with(ONE, &key).unwrap().settings),
        ModelNames::Slash
    );
    let file = read_with("server: { model_names: dash }", &key).unwrap();
    assert_eq!(names(file.settings), ModelNames::Dash);
}

#[test]
fn host_and_port_serve_where_the_proxy_s_own_are_not_set() {
    let listen = |pairs: &[(&str, &str)]| alone(pairs).server.listen.to_string();
    assert_eq!(
        listen(&[("HOST", "localhost"), ("PORT", "80")]),
        "127.0.0.1:80"
    );
    assert_eq!(
        listen(&[("HOST", "::"), ("PROXY_PORT", "81"), ("PORT", "80")]),
        "[::]:81"
    );
    assert_eq!(
        listen(&[("PROXY_HOST", ""), ("HOST", "127.0.0.1")]),
        "127.0.0.1:11434"
    );
    assert_eq!(
        listen(&[("PROXY_HOST", "127.0.0.3"), ("HOST", "my-laptop")]),
        "127.0.0.3:11434"
    );
}

#[test]
fn the_file_wins_where_it_states_a_key() {
    let yaml = format!("{ONE}routing: {{ max_retries: 9 }}\nserver: {{ listen: ':80' }}\n");
    let pairs = [
        ("MAX_RETRIES", "not even a number"),
        ("PROXY_PORT", "81"),
        ("QUEUE_TIMEOUT_SECONDS", "12"),
        ("MAX_CONCURRENT_PER_BACKEND", "3"),
    ];
    let settings = read_with(&yaml, &pairs).unwrap().settings;
    assert_eq!(settings.routing.max_retries, 9);
    assert_eq!(settings.server.listen.port(), 80);
    assert_eq!(settings.queue.timeout, Duration::from_secs(12));
    assert_eq!(settings.providers.len(), 1);
    assert_eq!(settings.providers[0].max_concurrent_per_backend, 3);
    assert_eq!(settings.timeouts, Timeouts::default());
    assert_eq!(used(ONE).queue, Queue::default());
}

#[test]
fn a_backend_variable_adds_the_port_range_to_the_file_s_providers() {
    let loaded = read_with(ONE, &[("BACKEND_PORT_START", "24050")]).unwrap();
    let names: Vec<&str> = loaded.settings.providers.iter().map(|p| &*p.name).collect();
    assert_eq!(names, ["gpus", "local"]);
    assert_eq!(
        loaded.settings.providers[1]
            .discover
            .as_ref()
            .unwrap()
            .ports,
        24050..=24100
    );
    assert_eq!(loaded.settings.queue, Queue::default());
    let warning = loaded.warnings[0].to_string();
    assert!(
        warning.starts_with("environment: BACKEND_PORT_START: turns on the port range"),
        "{warning}"
    );

    let yaml = "providers: [ { name: local, discover: { ports: 5-6 }, weight: 2 } ]";
    let settings = read_with(yaml, &[("BACKEND_HOST", "gpu9"), ("BACKEND_PORT_END", "9")])
        .unwrap()
        .settings;
    let range = settings.providers[0].discover.as_ref().unwrap();
    assert_eq!((range.host.as_str(), range.ports.clone()), ("gpu9", 5..=6));
    assert_eq!(settings.providers.len(), 1);
}

#[test]
fn a_bad_variable_is_named() {
    let report = from_sources(
        None,
        &environment(&[
            ("BACKEND_PORT_START", "30000"),
            ("PROXY_PORT", "http"),
            ("LOG_LEVEL", "wanring"),
            ("BACKEND_READ_TIMEOUT_SECONDS", "soon"),
        ]),
    )
    .unwrap_err();
    let text = report.to_string();
    for wanted in [
        "environment: BACKEND_PORT_START: the range is empty, as BACKEND_PORT_START is 30000 and \
         BACKEND_PORT_END is 24100",
        "environment: PROXY_PORT: expected a whole number from 0 to 65535, got \"http\"",
        "environment: LOG_LEVEL: did you mean \"warning\"? Expected one of trace, debug, info, warning, warn, error, \
         critical, fatal, off, got \"wanring\"",
        "environment: BACKEND_READ_TIMEOUT_SECONDS: expected a duration",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert_eq!(report.problems.len(), 4, "{text}");
}

#[test]
fn mistakes_are_collected_in_the_order_of_their_lines() {
    let yaml = "\
providers:
  - name: gpus
    discvoer: { ports: 24000-24100 }
    backends: [ gpu1, gpu1 ]
  - name: gpus
    backends:
      - url: https://10.0.0.1
        weight: -1
routing:
  max_retries: ${RETRIES}
server:
  admin: 127.0.0.1:11434
queue: 5
";
    assert_eq!(
        problems(yaml),
        [
            "remuda.yaml:3: providers[0].discvoer: unknown key; did you mean \"discover\"?",
            "remuda.yaml:4: providers[0].backends: gpu1:11434 is listed twice; remove one",
            "remuda.yaml:5: providers[1].name: a provider named \"gpus\" is already there; choose another name",
            "remuda.yaml:7: providers[1].backends[0].url: https to a bare IP address cannot be verified; use \
             the host name of its certificate, or say pool: { verify: false }",
            "remuda.yaml:10: routing.max_retries: variable RETRIES is not set; set it, or give it a default \
             as in ${RETRIES:-default} (a literal ${ is written $${)",
            "remuda.yaml:12: server.admin: is the address of server.listen, 0.0.0.0:11434; choose another \
             port, or off",
            "remuda.yaml:13: queue: expected a mapping with the keys max_concurrent, size, timeout, ageing, \
             aged_share, when_unhealthy, priorities",
        ]
    );
}

#[test]
fn warnings_do_not_stop_the_start() {
    let yaml = "providers:\n  - { name: a, weight: 0, backends: [ gpu1 ] }\n  - { name: b, base_url: gpu1 }\n";
    let loaded = read_with(yaml, &[]).unwrap();
    assert_eq!(loaded.settings.providers[0].weight, 1);
    let warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        [
            "remuda.yaml:2: providers[0].weight: is not positive and counts as 1",
            "remuda.yaml:3: providers[1].backends: gpu1:11434 is in another provider too, and gets the \
             slots of both",
        ]
    );
}

#[test]
fn anchors_merge_and_empty_sections_are_fine() {
    let yaml = "\
server:
providers:
  - &one
    name: a
    backends: [ gpu1 ]
    weight: 5
  - <<: *one
    name: b
    backends: [ gpu2 ]
";
    let settings = used(yaml);
    assert_eq!(settings.providers[1].weight, 5);
    assert_eq!(settings.server, Server::default());
    assert_eq!(used("").providers.len(), 1);
    assert_eq!(used("# nothing\n").queue.timeout, Duration::from_secs(3600));
}

#[test]
fn a_report_stays_short() {
    let yaml: String = (0..5000).map(|n| format!("zz{n}: 1\n")).collect();
    assert_eq!(problems(&yaml).len(), 50);
}

proptest! {
    #[test]
    fn never_panics(yaml in "((server|providers|queue|name|pool|discover|ports|- |[a-z]{1,3})(: |:\n|\n| )|  |[\\[\\]{},$0-9-]){0,30}") {
        let _ = read_with(&yaml, &[]);
    }

    #[test]
    fn a_damaged_file_never_panics(cut in 0usize..DOCUMENTED.len(), byte in "[ -~\n]") {
        let mut text = DOCUMENTED.to_owned();
        if text.is_char_boundary(cut) {
            text.insert_str(cut, &byte);
            if let Err(report) = read_with(&text, &[]) {
                prop_assert!(!report.problems.is_empty());
            }
        }
    }
}
