//! Every key of a provider with every kind: it is used, or the report says by its name that it is not.

use super::*;
use crate::config::provider::Provider as Written;
use crate::config::yaml;
use crate::settings::ProviderKind::{self, *};

/// What each key is stated as, where that is not its default for any kind.
const STATED: &[(&str, &str)] = &[
    ("discover", "{ ports: 5000-5010 }"),
    ("backends", "[{ url: 'http://b/v1', weight: 3 }]"),
    ("base_url", "http://b/v1"),
    ("api_key", "another"),
    ("api_key_file", "KEY_FILE"),
    ("api_keys", "[one, two]"),
    ("models", "[m]"),
    ("model_map", "{ a: b }"),
    ("list_models", "false"),
    ("headers", "{ x-a: b }"),
    ("chat_api", "responses"),
    ("sampling_fields", "vllm"),
    ("num_ctx", "9999"),
    ("api_version", "2024-10-21"),
    ("deployments", "{ d: gpt-5.4 }"),
    ("region", "eu-west-3"),
    ("access_key", "AKIDEXAMPLE"),
    ("secret_key", "secret"),
    ("session_token", "token"),
    ("control_url", "http://control:1"),
    ("interval", "77s"),
    ("probe_timeout", "7s"),
    ("misses", "7"),
    ("max_concurrent", "7"),
    ("max_concurrent_per_backend", "7"),
    ("selector", "cost"),
    ("placement", "off"),
    ("weight", "7"),
    ("priority", "7"),
    ("fallback_only", "true"),
    ("approaches", "true"),
    ("cost", "7.5"),
    ("vram", "7GiB"),
    ("contexts", "[7k]"),
    ("model_contexts", "{ m: [7k] }"),
    ("options", "pass"),
    ("parallel", "7"),
    ("digest", "same"),
    ("place", "[{ models: m, on: [a] }]"),
    ("pool", "{ size: 7 }"),
    ("timeouts", "{ connect: 7s }"),
];

/// To which kinds a key means something; the others to all.
fn kinds(key: &str) -> &'static [ProviderKind] {
    const SERVICES: &[ProviderKind] = &[
        OpenAi,
        OpenAiCompatible,
        Anthropic,
        Google,
        Azure,
        Bedrock,
        OpenRouter,
        Perplexity,
    ];
    match key {
        "discover" | "num_ctx" | "placement" | "vram" | "contexts" | "model_contexts"
        | "options" | "parallel" | "digest" | "place" => &[Ollama],
        "approaches" | "list_models" => SERVICES,
        "chat_api" => &[OpenAi, OpenAiCompatible, Azure, OpenRouter],
        "sampling_fields" => &[OpenAiCompatible],
        "api_version" | "deployments" => &[Azure],
        "region" | "access_key" | "secret_key" | "session_token" | "control_url" => &[Bedrock],
        _ => &[
            Ollama,
            OpenAi,
            OpenAiCompatible,
            Anthropic,
            Google,
            Azure,
            Bedrock,
            OpenRouter,
            Perplexity,
        ],
    }
}

/// What a provider of the kind cannot do without, but for what `key` states.
fn entry(kind: ProviderKind, key: &str, value: Option<&str>) -> String {
    let mut keys = vec![("name", "p".to_owned()), ("kind", kind.name().to_owned())];
    if !matches!(key, "backends" | "base_url" | "discover") || value.is_none() {
        keys.push(("base_url", "'http://a/'".to_owned()));
    }
    if kind == Bedrock {
        match key {
            "access_key" | "secret_key" | "session_token" => {
                keys.push(("access_key", "A".to_owned()));
                keys.push(("secret_key", "s".to_owned()));
            }
            _ => keys.push(("api_key", "k".to_owned())),
        }
        keys.push(("region", "us-east-1".to_owned()));
    } else {
        keys.push(("api_key", "k".to_owned()));
    }
    if let Some(value) = value {
        let replaced = match key {
            "api_key_file" => "api_key",
            key => key,
        };
        keys.retain(|(known, _)| *known != replaced);
        keys.push((key, value.to_owned()));
    }
    let keys: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    format!("providers: [ {{ {} }} ]", keys.join(", "))
}

#[test]
fn every_key_is_used_by_a_kind_or_named_as_idle() {
    let key_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key_file.path(), "from-a-file").unwrap();
    let path = key_file.path().display().to_string();
    let template = yaml::to_value(Written::template()).unwrap();
    let known = template.as_mapping().unwrap().keys();
    for key in known.filter_map(Value::as_str) {
        if matches!(key, "name" | "kind") {
            continue;
        }
        let stated = STATED.iter().find(|(known, _)| *known == key);
        let (_, value) = stated.unwrap_or_else(|| panic!("{key} has no place in this table"));
        for (name, kind) in ProviderKind::NAMES {
            let value = match (key, kind) {
                // Its list is not asked for unless the operator says so.
                ("list_models", Azure) => "true",
                ("api_key_file", _) => &path,
                _ => value,
            };
            let yaml = entry(*kind, key, Some(value));
            let what = format!("{key} of {name}: {yaml}");
            let mentions = |text: &str| text.contains(&format!("providers[0].{key}: "));
            let (settings, told): (Option<Settings>, Vec<String>) = match read_with(&yaml, &[]) {
                Ok(loaded) => {
                    let told = loaded.warnings.iter().map(Problem::to_string).collect();
                    (Some(loaded.settings), told)
                }
                Err(report) => (
                    None,
                    report.problems.iter().map(Problem::to_string).collect(),
                ),
            };
            let is_named = told.iter().any(|text| mentions(text));
            let is_used = kinds(key).contains(kind);
            assert_eq!(is_named, !is_used, "{what}: {told:?}");
            if is_used {
                let plain = entry(*kind, key, None);
                let settings = settings.unwrap_or_else(|| panic!("{what}: {told:?}"));
                let changed = settings.providers[0] != used(&plain).providers[0];
                assert!(changed, "{what}");
            }
        }
    }
}
