//! How a model of a service looks to clients of Ollama: one more row of `/api/tags`, with every field that they read.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ahash::{AHashMap, AHashSet};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::listing::{Listed, bare};
use super::services::capabilities;
use crate::access::View;
use crate::dialect::ollama::{ModelEntry, canonical};
use crate::facts::Facts;
use crate::settings::{ModelNames, Routing};

/// Of a model whose provider does not tell when it was made; clients show how long ago that was.
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

/// The row of a model that a service offers, under `name`.
fn row(name: &str, model: &Listed, facts: &Facts) -> ModelEntry {
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
            context_length: facts.context,
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
        modified_at,
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
pub(super) fn rows(models: &[Listed], facts: &Facts, names: ModelNames) -> Vec<ModelEntry> {
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

/// The rows of all aliases whose models are there and may be seen under them: the operator's, and the bundled ones that
/// those leave. A server's model goes by its name alone, and by that of its provider before it.
pub(super) fn aliases<'a>(
    models: &[Listed],
    servers: impl Iterator<Item = (&'a str, &'a ModelEntry)>,
    facts: &Facts,
    routing: &Routing,
    view: View<'_>,
) -> Vec<ModelEntry> {
    let by_id: AHashMap<String, &Listed> = models.iter().map(|one| (bare(&one.id), one)).collect();
    let mut on_servers: AHashMap<String, Vec<(&str, &ModelEntry)>> = AHashMap::new();
    let mut providers: AHashSet<String> = models.iter().map(|one| bare(&one.provider)).collect();
    for (provider, entry) in servers {
        let name = bare(&entry.name);
        let provider_name = provider.to_ascii_lowercase();
        let full = format!("{provider_name}/{name}");
        providers.insert(provider_name);
        for name in [full, name] {
            on_servers.entry(name).or_default().push((provider, entry));
        }
    }
    let own = routing.aliases.iter();
    let own = own.map(|(alias, target)| (bare(alias), bare(target)));
    let bundled = facts.aliases().filter(|_| routing.bundled_aliases);
    let bundled = bundled.map(|(alias, target)| (bare(alias), bare(target)));
    // What a backend has under the very name is what is meant by it. A bundled alias is of the provider that its target
    // names, and of nobody else who calls a model so.
    let is_there = |target: &str| {
        let provider = target.split_once('/');
        provider.is_some_and(|(provider, _)| providers.contains(provider))
    };
    let bundled = bundled.filter(|(alias, target)| !by_id.contains_key(alias) && is_there(target));
    let mut seen = AHashSet::new();
    let mut rows: Vec<ModelEntry> = own
        .chain(bundled)
        .filter(|(alias, _)| seen.insert(alias.clone()))
        .filter_map(|(alias, target)| match on_servers.get(&target) {
            Some(entries) => {
                let shown = |(provider, entry): &&(&str, &ModelEntry)| {
                    view.shows_as(provider, &[&entry.name], &[&alias])
                };
                renamed(&alias, entries.iter().find(shown)?.1)
            }
            None => {
                let model = by_id.get(&target)?;
                view.shows_as(&model.provider, &model.names(), &[&alias])
                    .then(|| row(&alias, model, facts))
            }
        })
        .collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows
}

/// A server's own row under another name.
fn renamed(name: &str, model: &ModelEntry) -> Option<ModelEntry> {
    let name = tagged(name);
    let mut row: Map<String, Value> = serde_json::from_str(model.raw.get()).ok()?;
    row.insert("name".into(), name.as_str().into());
    row.insert("model".into(), name.as_str().into());
    Some(entry(name, &row, model.modified_at, model.digest.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ollama::{merge_tags, parse_tags};
    use crate::settings::ProviderKind;

    fn listed(id: &str, created: u64) -> Listed {
        let own: std::sync::Arc<str> = id.rsplit('/').next().unwrap().into();
        Listed {
            id: id.to_owned(),
            is_full: id.starts_with("openai/"),
            provider: "openai".into(),
            kind: ProviderKind::OpenAi,
            runs: own.clone(),
            own,
            created,
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
    fn aliases_of_models_that_are_there_have_rows() {
        let facts = Facts::bundled();
        let (alias, target) = facts
            .aliases()
            .find(|(_, target)| target.starts_with("openai/"))
            .unwrap();
        let models = [listed(target, 7), listed("openai/gpt-x", 8)];
        let server = br#"{"models":[{"name":"llama3.2:latest","digest":"ab","size":5,"extra":1}]}"#;
        let server = parse_tags(server).unwrap();
        let mut routing = Routing::default();
        let servers = || server.iter().map(|entry| ("gpus", entry));
        let aliases = |routing: &Routing| aliases(&models, servers(), &facts, routing, View::ALL);
        let bundled = format!("{alias}:latest");
        assert!(names(&aliases(&routing)).contains(&bundled.as_str()));

        routing.bundled_aliases = false;
        assert_eq!(names(&aliases(&routing)), [""; 0]);
        routing.aliases = [
            ("Fast", "OpenAI/gpt-x"),
            ("mine", "llama3.2"),
            ("there", "GPUs/llama3.2"),
            ("lost", "openai/nothing"),
        ]
        .map(|(alias, target)| (alias.into(), target.into()))
        .into();
        let rows = aliases(&routing);
        assert_eq!(names(&rows), ["fast:latest", "mine:latest", "there:latest"]);
        let mine: Value = serde_json::from_str(rows[1].raw.get()).unwrap();
        assert_eq!(mine["model"], "mine:latest");
        assert_eq!((&mine["digest"], &mine["extra"]), (&"ab".into(), &1.into()));
    }
}
