//! How a model of a service looks to clients of Ollama: one more row of `/api/tags`, with every field that they read.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::listing::ListedModel;
use super::services::capabilities;
use crate::settings::ModelNames;
use remuda_formats::dialect::ollama::{ModelEntry, canonical};
use remuda_formats::facts::Facts;

/// The age of a model whose provider does not tell when it was made; clients show how long ago that was.
static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    model: &'a str,
    modified_at: String,
    size: u64,
    digest: &'a str,
    details: Details<'a>,
    capabilities: Vec<&'static str>,
    remote_model: &'a str,
    remote_host: &'a str,
}

#[derive(Serialize)]
struct Details<'a> {
    parent_model: &'static str,
    format: &'static str,
    family: &'a str,
    families: [&'a str; 1],
    parameter_size: &'static str,
    quantization_level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_length: Option<u32>,
}

/// Returns the row of a model that a service offers, under `name`.
pub(super) fn row(name: &str, model: &ListedModel, facts: &Facts) -> ModelEntry {
    let name = tagged(name);
    let facts = facts.find(model.kind, &model.runs);
    let family = match &*facts.family {
        "" => &*model.provider,
        family => family,
    };
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
            format: "api",
            family,
            families: [family],
            parameter_size: "",
            quantization_level: "",
            context_length: model.context.or(facts.context),
            embedding_length: facts.embeddings.as_ref().map(|known| known.dimensions),
        },
        capabilities: capabilities(facts),
        remote_model: &model.own,
        remote_host: &model.provider,
    };
    entry(name.clone(), &row, Some(modified_at), digest.clone())
}

fn entry(
    name: String,
    row: &impl Serialize,
    modified_at: Option<SystemTime>,
    digest: String,
) -> ModelEntry {
    ModelEntry {
        canonical: canonical(&name).into_owned(),
        raw: serde_json::value::to_raw_value(row).expect("a row is a plain struct"),
        size: 0,
        context: None,
        modified_at,
        digest,
        name,
    }
}

/// Returns the name with a tag, as names that Ollama shows always have one.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

/// Returns 64 hexadecimal digits, always the same for a name. Clients take them for the SHA-256 of a manifest, and tell
/// by them whether two names are one model, so that it need only be different for each (FNV-1a, four times).
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

/// Returns the rows of all models that services offer, each with its provider's name.
pub(super) fn rows(models: &[ListedModel], facts: &Facts, names: ModelNames) -> Vec<ModelEntry> {
    let named = models.iter().filter(|model| model.is_full);
    named
        .flat_map(|model| {
            let slash = (names != ModelNames::Dash).then(|| model.id.clone());
            let dash = (names != ModelNames::Slash).then(|| model.id.replacen('/', "-", 1));
            let ids = slash.into_iter().chain(dash);
            ids.map(|id| row(&id, model, facts))
        })
        .collect()
}

/// Returns a server's own row under another name.
pub(super) fn renamed(name: &str, model: &ModelEntry) -> Option<ModelEntry> {
    let name = tagged(name);
    let mut row: Map<String, Value> = serde_json::from_str(model.raw.get()).ok()?;
    row.insert("name".into(), name.as_str().into());
    row.insert("model".into(), name.as_str().into());
    Some(entry(name, &row, model.modified_at, model.digest.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ProviderKind;
    use remuda_formats::dialect::ollama::{merge_tags, parse_tags};

    fn listed(id: &str, created: u64) -> ListedModel {
        let own: std::sync::Arc<str> = id.rsplit('/').next().unwrap().into();
        ListedModel {
            id: id.to_owned(),
            is_full: id.starts_with("openai/"),
            provider: "openai".into(),
            kind: ProviderKind::OpenAi,
            runs: own.clone(),
            own,
            created,
            context: None,
            owned_by: "openai".into(),
        }
    }

    fn names(entries: &[ModelEntry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn a_row_has_what_clients_of_ollama_read() {
        let facts = Facts::bundled();
        let entry = row(
            "openai/gpt-5.4",
            &listed("openai/gpt-5.4", 1_767_323_045),
            &facts,
        );
        let value: Value = serde_json::from_str(entry.raw.get()).unwrap();
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
        assert_eq!(value["details"]["families"][0], value["details"]["family"]);
        assert!(value["details"]["context_length"].as_u64().unwrap() > 1_000_000);
        let capabilities = value["capabilities"].as_array().unwrap();
        assert!(capabilities.contains(&"tools".into()), "{capabilities:?}");
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
        let facts = Facts::bundled();
        for (form, expected) in [
            (ModelNames::Slash, ["openai/gpt-5.4:latest"].as_slice()),
            (ModelNames::Dash, &["openai-gpt-5.4:latest"]),
            (
                ModelNames::Both,
                &["openai/gpt-5.4:latest", "openai-gpt-5.4:latest"],
            ),
        ] {
            assert_eq!(names(&rows(&models, &facts, form)), expected);
        }
    }

    #[test]
    fn a_servers_row_under_another_name_is_the_same_but_for_that() {
        let server = br#"{"models":[{"name":"llama3.2:latest","digest":"ab","size":5,"extra":1}]}"#;
        let server = parse_tags(server).unwrap();
        let row = renamed("mine", &server[0]).unwrap();
        assert_eq!(row.name, "mine:latest");
        let mine: Value = serde_json::from_str(row.raw.get()).unwrap();
        assert_eq!(mine["model"], "mine:latest");
        assert_eq!((&mine["digest"], &mine["extra"]), (&"ab".into(), &1.into()));
    }
}
