//! The alerts ask for metrics that there are, with labels and values that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_yaml::Value;

use crate::support::*;

fn expressions() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/prometheus-alerts.yml");
    let rules: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let groups = rules["groups"].as_sequence().unwrap();
    let alerts = groups
        .iter()
        .flat_map(|group| group["rules"].as_sequence().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    alerts
        .map(|alert| (text(&alert["alert"]), text(&alert["expr"])))
        .collect()
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The metrics that an expression names, each with the labels that it is to have, and a pattern where there is one.
fn asked(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        // `by (labels)` and `on (labels)`.
        if ["by", "on", "without", "ignoring"].contains(&name) {
            rest = &rest[rest.find(')').unwrap()..];
            continue;
        }
        let ours = ["remuda_", "gen_ai_", "process_"];
        if !ours.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            let (inside, after) = inside.split_once('}').unwrap();
            for pair in inside.split("\",").map(|pair| pair.trim_end_matches('"')) {
                let (label, value) = pair.split_once('"').unwrap();
                let label = label.trim().trim_end_matches(['=', '~', '!']);
                labels.push((label.to_owned(), value.to_owned()));
            }
            rest = after;
        }
        found.push((name.to_owned(), labels));
    }
    found
}

#[test]
fn an_expression_is_taken_apart() {
    let text = r#"sum by (remuda_provider) (rate(remuda_a_total{outcome=~"x|y", job="remuda"}[5m])) and on (instance) remuda_b > 0"#;
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let first = vec![pair("outcome", "x|y"), pair("job", "remuda")];
    let expected = [
        ("remuda_a_total".to_owned(), first),
        ("remuda_b".to_owned(), Vec::new()),
    ];
    assert_eq!(asked(text), expected);
}

/// Every sample's name and, for each of its labels, the values that were seen.
fn exposed(text: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut all: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let labels = rest.rsplit_once("\"}").map_or("", |(labels, _)| labels);
        let known = all.entry(name.to_owned()).or_default();
        for pair in labels.split("\",") {
            if let Some((label, value)) = pair.split_once("=\"") {
                known
                    .entry(label.to_owned())
                    .or_default()
                    .insert(value.to_owned());
            }
        }
    }
    all
}

/// The program's text, for what happens too seldom to be provoked here.
struct Source(String);

impl Source {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = vec![root.join("access/refusal.rs")];
        let metrics = std::fs::read_dir(root.join("metrics")).unwrap();
        files.extend(metrics.map(|entry| entry.unwrap().path()));
        files.retain(|file| file.is_file());
        let texts = files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap());
        Self(texts.collect())
    }

    /// Whether it is one of its constants.
    fn has(&self, text: &str) -> bool {
        self.0.contains(&format!("\"{text}\""))
    }
}

#[tokio::test]
async fn alerts_ask_for_metrics_that_there_are() {
    let sim = Simulation::start(1, &[]);
    let gateway = Gateway::over(&Config::over(&sim.servers), 1).await;
    // A cold load, and a stream that breaks: their counters appear with the first.
    let body = chat("llama3.2", "hi", r#","stream":false"#);
    assert_eq!(post(gateway.address, "/api/chat", &body).await.status, 200);
    sim.fault(0, r#"{"kind":"cut","tokens":2,"route":"inference"}"#)
        .await;
    post(gateway.address, "/api/chat", &chat("llama3.2", "hi", "")).await;
    gateway
        .metric_is("remuda_broken_streams_total", &[], 1.0)
        .await;
    let exposed = exposed(get(gateway.admin, "/metrics").await.text());
    let source = Source::read();
    let mut checked = 0;
    for (alert, expression) in expressions() {
        for (metric, labels) in asked(&expression) {
            let known = exposed.get(&metric);
            // A family without a sample is not exposed, such as that of spent budgets.
            assert!(
                known.is_some() || source.has(metric.trim_end_matches("_bucket")),
                "{alert}: there is no {metric}"
            );
            for (label, pattern) in labels {
                // Those that Prometheus adds, and those whose values depend on what happens.
                if ["job", "instance"].contains(&label.as_str()) {
                    continue;
                }
                let values = known.map(|labels| labels.get(&label));
                assert_ne!(values, Some(None), "{alert}: {metric} has no label {label}");
                let values = values.flatten();
                if label != "http_response_status_code" {
                    for value in pattern.split('|') {
                        let seen = values.is_some_and(|values| values.contains(value));
                        assert!(
                            seen || source.has(value),
                            "{alert}: {label}={value}: {values:?}"
                        );
                    }
                }
                checked += 1;
            }
        }
    }
    assert!(checked >= 8, "{checked}");
}
