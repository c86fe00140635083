//! How a model of a service looks to clients of Ollama: one more row of `/api/tags`, with every field that they read.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::listing::Listed;
use crate::dialect::ollama::ModelEntry;

/// Of a model whose provider does not tell when it was made; clients show how long ago that was.
static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    model: &'a str,
    modified_at: String,
    size: u64,
    digest: &'a str,
    details: Details,
}

#[derive(Serialize)]
struct Details {
    parent_model: &'static str,
    format: &'static str,
    family: &'static str,
    families: [&'static str; 0],
    parameter_size: &'static str,
    quantization_level: &'static str,
}

/// The row of a model that a service offers, under `name`.
pub(super) fn row(name: &str, model: &Listed) -> ModelEntry {
    let name = tagged(name);
    let modified_at = match model.created {
        0 => *STARTED,
        seconds => UNIX_EPOCH + Duration::from_secs(seconds),
    };
    let digest = digest(&name);
    let row = Row {
        name: &name,
        model: &name,
        modified_at: DateTime::<Utc>::from(modified_at).to_rfc3339_opts(SecondsFormat::Secs, true),
        // Nothing of it is on a disk here.
        size: 0,
        digest: &digest,
        details: Details {
            parent_model: "",
            format: "",
            family: "",
            families: [],
            parameter_size: "",
            quantization_level: "",
        },
    };
    ModelEntry {
        canonical: name.to_ascii_lowercase(),
        raw: serde_json::value::to_raw_value(&row).expect("a row is a plain struct"),
        size: 0,
        modified_at: Some(modified_at),
        digest,
        name,
    }
}

/// With a tag, as names that Ollama shows always have one.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.contains(':') {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    }
}

/// 64 hexadecimal digits, always the same for a name. Clients take it for the SHA-256 of a manifest, and tell by it
/// whether two names are one model, so that it need only be different for each (FNV-1a, four times).
fn digest(name: &str) -> String {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let part = |seed: u64| {
        let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(PRIME);
        let hash = name.bytes().fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(PRIME)
        });
        format!("{hash:016x}")
    };
    (0..4).map(part).collect()
}

/// The rows of all models that services offer, each with its provider's name.
pub(super) fn rows(models: &[Listed]) -> impl Iterator<Item = ModelEntry> {
    let prefixed = |model: &&Listed| {
        let rest = model.id.strip_prefix(&*model.provider);
        !model.kind.is_fleet() && rest.is_some_and(|rest| rest.starts_with('/'))
    };
    models
        .iter()
        .filter(prefixed)
        .map(|model| row(&model.id, model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ollama::{merge_tags, parse_tags};
    use crate::settings::ProviderKind;

    fn listed(id: &str, created: u64) -> Listed {
        Listed {
            id: id.to_owned(),
            provider: "openai".into(),
            kind: ProviderKind::OpenAi,
            own: id.rsplit('/').next().unwrap().into(),
            created,
            owned_by: "openai".into(),
        }
    }

    #[test]
    fn a_row_has_what_clients_of_ollama_read() {
        let entry = row("openai/gpt-5.4", &listed("openai/gpt-5.4", 1_767_323_045));
        let value: serde_json::Value = serde_json::from_str(entry.raw.get()).unwrap();
        assert_eq!(value["name"], "openai/gpt-5.4:latest");
        assert_eq!(value["model"], value["name"]);
        assert_eq!(value["modified_at"], "2026-01-02T03:04:05Z");
        assert_eq!(value["size"], 0);
        assert_eq!(value["digest"].as_str().unwrap().len(), 64);
        for field in [
            "parent_model",
            "format",
            "family",
            "parameter_size",
            "quantization_level",
        ] {
            assert!(value["details"][field].is_string(), "{field}");
        }
        assert!(value["details"]["families"].is_array());
        // It passes for one that a server has listed.
        let again = parse_tags(&merge_tags([&entry])).unwrap();
        assert_eq!(again[0].canonical, entry.canonical);
        assert_eq!(again[0].digest, entry.digest);
    }

    #[test]
    fn digests_stay_and_differ() {
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
        assert_ne!(digest("a")[..16], digest("a")[16..32]);
        assert_ne!(digest("ab"), digest("ba"));
    }

    #[test]
    fn names_have_one_tag_and_models_one_row() {
        assert_eq!(tagged("openai/gpt-5.4"), "openai/gpt-5.4:latest");
        assert_eq!(tagged("aws/amazon.titan-v2:0"), "aws/amazon.titan-v2:0");
        assert_eq!(tagged("aws/arn:aws:x/y"), "aws/arn:aws:x/y:latest");
        let models = ["gpt-5.4", "openai/gpt-5.4", "openai-x/y"].map(|id| listed(id, 0));
        let names: Vec<String> = rows(&models).map(|entry| entry.name).collect();
        assert_eq!(names, ["openai/gpt-5.4:latest"]);
    }
}
