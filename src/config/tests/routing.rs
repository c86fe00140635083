//! `routing:`, as far as it says which provider serves a request, and what providers say about it.

use std::time::Duration;

use super::*;
use crate::settings::{Matching, ModelRouting, Rule, Strategy};

const TWO: &str = "providers:
  - { name: gpus, backends: [ gpu1 ], priority: 2, fallback_only: true }
  - { name: groq, api_key: k, approaches: yes }
";

#[test]
fn everything_that_is_said_is_used() {
    let filter = tempfile::NamedTempFile::new().unwrap();
    let path = filter.path().display();
    let yaml = format!(
        "{TWO}routing:
  strategy: Least-Loaded
  rules:
    - {{ match: 'gpt-*', provider: groq, model: 'openai/$0' }}
    - {{ regex: 'o[13]', provider: OLLAMA }}
  bundled_rules: no
  models:
    'llama3.3:70b': {{ overflow: [groq/llama-3.3-70b, other], max_wait: 10 }}
    other: {{ strategy: manual }}
  default_model: llama3.2
  models_filter: '{path}'
"
    );
    let loaded = read_with(&yaml, &[("ROUTING_STRATEGY", "manual")]).unwrap();
    assert_eq!(loaded.warnings, []);
    let routing = &loaded.settings.routing;
    assert_eq!(routing.strategy, Strategy::LeastLoaded);
    let rules = [
        Rule {
            matching: Matching::Glob("gpt-*".into()),
            provider: "groq".into(),
            model: Some("openai/$0".into()),
        },
        Rule {
            matching: Matching::Regex("o[13]".into()),
            provider: "OLLAMA".into(),
            model: None,
        },
    ];
    assert_eq!(routing.rules, rules);
    assert!(!routing.bundled_rules);
    let large = ModelRouting {
        strategy: None,
        overflow: vec!["groq/llama-3.3-70b".into(), "other".into()],
        max_wait: Some(Duration::from_secs(10)),
    };
    assert_eq!(routing.models["llama3.3:70b"], large);
    assert_eq!(routing.models["other"].strategy, Some(Strategy::Manual));
    assert_eq!(routing.default_model.as_deref(), Some("llama3.2"));
    assert_eq!(routing.models_filter.as_deref(), Some(filter.path()));
    let [gpus, groq] = &*loaded.settings.providers else {
        panic!("two providers are stated");
    };
    assert_eq!((gpus.priority, gpus.fallback_only), (Some(2), true));
    assert_eq!((groq.priority, groq.fallback_only), (None, false));
    assert!(groq.approaches && !gpus.approaches);
    let printed = to_yaml(&loaded.settings).replace("'***'", "k");
    assert_eq!(used(&printed), loaded.settings, "{printed}");
}

#[test]
fn the_environment_fills_what_is_open() {
    let filter = tempfile::NamedTempFile::new().unwrap();
    let path = filter.path().to_str().unwrap();
    let settings = alone(&[
        ("ROUTING_STRATEGY", "cost_optimized"),
        ("MODELS_FILTER_PATH", path),
        ("OPENAI_API_KEY", "k"),
        ("OPENAI_PRIORITY", "2"),
        ("OLLAMA_BASE_URL", "http://gpu1:11434"),
        ("OLLAMA_PRIORITY", "7"),
    ]);
    assert_eq!(settings.routing.strategy, Strategy::CostOptimized);
    assert_eq!(
        settings.routing.models_filter.as_deref(),
        Some(filter.path())
    );
    let priorities = settings.providers.iter().map(|one| one.priority);
    assert_eq!(priorities.collect::<Vec<_>>(), [Some(2), Some(7)]);

    let strategy = |pairs: &[(&str, &str)]| alone(pairs).routing.strategy;
    assert_eq!(strategy(&[]), Strategy::CapabilityBased);
    assert_eq!(
        strategy(&[("ENABLE_LOAD_BALANCING", "false")]),
        Strategy::Failover
    );
    let both = [
        ("ENABLE_LOAD_BALANCING", "false"),
        ("ROUTING_STRATEGY", "weighted"),
    ];
    assert_eq!(strategy(&both), Strategy::Weighted);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let yaml = format!(
        "{TWO}routing:
  strategy: weihgted
  rules:
    - {{ provider: groq }}
    - {{ match: a, regex: b, provider: groq }}
    - {{ match: a }}
    - {{ regex: '(', provider: groq }}
  models_filter: /nonexistent/filter
"
    );
    let found = problems(&yaml);
    for (found, expected) in found.iter().zip([
        "remuda.yaml:5: routing.strategy: did you mean \"weighted\"? Expected one of",
        "remuda.yaml:7: routing.rules[0]: has no match",
        "remuda.yaml:8: routing.rules[1].regex: is stated together with match",
        "remuda.yaml:9: routing.rules[2]: has no provider",
        "remuda.yaml:10: routing.rules[3].regex: is no regular expression",
        "remuda.yaml:11: routing.models_filter: cannot read /nonexistent/filter",
    ]) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(found.len(), 6, "{found:?}");
}

#[test]
fn what_does_nothing_is_told() {
    let yaml = format!(
        "{}routing:
  rules: [ {{ match: a, provider: grok }} ]
  models: {{ a: {{ max_wait: 5s }} }}
",
        TWO.replace("fallback_only", "approaches")
    );
    let loaded = read_with(&yaml, &[]).unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(|one| &*one.key).collect();
    assert_eq!(
        warnings,
        [
            "providers[0].approaches",
            "routing.models.a.max_wait",
            "routing.rules[0].provider",
        ]
    );
}

#[test]
fn aliases_that_lead_back_to_themselves_are_told_once_with_their_line() {
    let warnings = |aliases: &str| {
        let yaml = format!("{TWO}routing:\n  aliases:\n{aliases}");
        let loaded = read_with(&yaml, &[]).unwrap();
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        warnings.collect::<Vec<_>>()
    };
    let told = warnings("    b: b\n    c: D\n    d: c\n    e: c\n");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("remuda.yaml:6: routing.aliases.b: stands for itself"));
    assert!(
        told[1].starts_with("remuda.yaml:7: routing.aliases.c: leads back to itself (c > d > c)")
    );
    // A model with a reserve, and a chain with an end.
    let told = warnings("    b: [b, c]\n    c: d\n    e: [b, c]\n");
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn names_of_a_provider_that_are_one_are_told_with_their_line() {
    let yaml = "providers:\n  - name: groq\n    api_key: k\n    model_map:\n      Fast: one\n      fast: other\n      slow: one\n";
    let warnings = read_with(yaml, &[]).unwrap().warnings;
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let told = &told[0];
    assert!(
        told.starts_with(
            "remuda.yaml:6: providers[0].model_map.fast: is the same name as \"Fast\""
        ),
        "{told}"
    );
}
