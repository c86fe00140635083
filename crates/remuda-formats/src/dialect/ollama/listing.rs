//! What servers say they have (`/api/tags`) and have loaded (`/api/ps`), read strictly and merged
//! over a fleet with every entry's own fields kept.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::canonical;
use crate::wire::json::{Scanner, write_string};

/// The body is not what an Ollama server answers, so no Ollama server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ollama listing: {0}")]
pub struct Malformed(&'static str);

/// One model on a server's disk.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// The name with its tag, as the server spells it.
    pub name: String,
    /// The name under which all spellings are found.
    pub canonical: String,
    /// Bytes on disk.
    pub size: u64,
    /// Hex, without `sha256:`.
    pub digest: String,
    pub modified_at: Option<SystemTime>,
    /// The context in tokens for which it was trained, where the server tells that.
    pub context: Option<u32>,
    /// The whole entry as the server wrote it.
    pub raw: Box<RawValue>,
}

/// One model in a server's memory.
#[derive(Clone, Debug)]
pub struct LoadedEntry {
    pub name: String,
    pub canonical: String,
    /// Bytes in all memory.
    pub size: u64,
    /// Bytes in GPU memory; 0 runs on the CPU.
    pub size_vram: u64,
    pub digest: String,
    /// The context in tokens that each of its requests has, where the server tells that.
    pub context: Option<u32>,
    /// When the server will unload it; centuries ahead for "never".
    pub expires_at: Option<SystemTime>,
    pub raw: Box<RawValue>,
}

#[derive(Deserialize)]
struct Listing {
    /// Older servers say `null` when there are none; the key itself is always there.
    #[serde(deserialize_with = "Option::deserialize")]
    models: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    size_vram: u64,
    #[serde(default)]
    digest: String,
    #[serde(borrow, default)]
    modified_at: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    expires_at: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    context_length: Option<&'a RawValue>,
    #[serde(borrow, default)]
    details: Option<&'a RawValue>,
}

/// The part of `details` that newer servers have.
#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    context_length: Option<u64>,
}

/// Reads a context in tokens; 0 and what is no number say nothing.
fn context(tokens: Option<u64>) -> Option<u32> {
    let tokens = tokens.filter(|tokens| *tokens > 0)?;
    Some(u32::try_from(tokens).unwrap_or(u32::MAX))
}

/// Reads a value that says nothing if it is of another type: servers may change what no listing depends on.
fn lenient<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

impl Fields<'_> {
    fn read(raw: &RawValue) -> Result<(Fields<'_>, String), Malformed> {
        let mut fields: Fields<'_> = serde_json::from_str(raw.get())
            .map_err(|_| Malformed("an entry has a field of a wrong type"))?;
        let name = match std::mem::take(&mut fields.name) {
            name if name.is_empty() => std::mem::take(&mut fields.model),
            name => name,
        };
        if name.is_empty() {
            return Err(Malformed("an entry has no name"));
        }
        Ok((fields, name))
    }
}

fn entries(body: &[u8]) -> Result<Vec<Box<RawValue>>, Malformed> {
    let listing: Listing =
        serde_json::from_slice(body).map_err(|_| Malformed("no object with a list of models"))?;
    Ok(listing.models.unwrap_or_default())
}

fn time(text: Option<&str>) -> Option<SystemTime> {
    DateTime::parse_from_rfc3339(text?)
        .ok()
        .map(SystemTime::from)
}

/// Reads the answer of `GET /api/tags`.
pub fn parse_tags(body: &[u8]) -> Result<Vec<ModelEntry>, Malformed> {
    let entry = |raw: Box<RawValue>| {
        let (fields, name) = Fields::read(&raw)?;
        Ok(ModelEntry {
            canonical: canonical(&name).into_owned(),
            size: fields.size,
            modified_at: time(fields.modified_at.as_deref()),
            context: context(
                lenient(fields.details).and_then(|details: Details| details.context_length),
            ),
            digest: fields.digest,
            name,
            raw,
        })
    };
    entries(body)?.into_iter().map(entry).collect()
}

/// Reads the answer of `GET /api/ps`.
pub fn parse_ps(body: &[u8]) -> Result<Vec<LoadedEntry>, Malformed> {
    let entry = |raw: Box<RawValue>| {
        let (fields, name) = Fields::read(&raw)?;
        Ok(LoadedEntry {
            canonical: canonical(&name).into_owned(),
            size: fields.size,
            size_vram: fields.size_vram,
            expires_at: time(fields.expires_at.as_deref()),
            context: context(lenient(fields.context_length)),
            digest: fields.digest,
            name,
            raw,
        })
    };
    entries(body)?.into_iter().map(entry).collect()
}

/// Returns whole seconds, by which Ollama sorts: those of the same second stay as they came.
fn seconds(time: Option<SystemTime>) -> Option<u64> {
    let since = time?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

/// Returns the answer of `GET /api/tags` for a fleet: every model once, as its most recently modified copy is
/// described, newest first as Ollama sorts.
pub fn merge_tags<'a>(entries: impl IntoIterator<Item = &'a ModelEntry>) -> Bytes {
    let mut models: Vec<&ModelEntry> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for entry in entries {
        let place = *places.entry(&entry.canonical).or_insert(models.len());
        match models.get_mut(place) {
            None => models.push(entry),
            Some(known) if entry.modified_at > known.modified_at => *known = entry,
            Some(_) => {}
        }
    }
    models.sort_by_key(|entry| Reverse(seconds(entry.modified_at)));
    let mut body = open_models(models.into_iter().map(|entry| (&*entry.raw, None)));
    body.push(b'}');
    body.into()
}

/// Returns the answer of `GET /api/ps` for a fleet: one row per loaded copy, because memory is held and freed per copy;
/// latest expiry first as Ollama sorts. A row that comes with its backend's name carries it as `"backend"`.
///
/// What is being loaded is no row, since clients take every row for a model in memory: `loading` stands in a field of its own,
/// and without any there is none.
pub fn merge_ps<'a>(
    entries: impl IntoIterator<Item = (&'a LoadedEntry, Option<&'a str>)>,
    loading: &[impl Serialize],
) -> Bytes {
    let mut rows: Vec<(&LoadedEntry, Option<&str>)> = entries.into_iter().collect();
    rows.sort_by_key(|(entry, _)| Reverse(seconds(entry.expires_at)));
    let rows = rows.into_iter();
    let mut body = open_models(rows.map(|(entry, backend)| (&*entry.raw, backend)));
    if !loading.is_empty() {
        body.extend_from_slice(b",\"loading\":");
        serde_json::to_writer(&mut body, loading).expect("plain values can be written to memory");
    }
    body.push(b'}');
    body.into()
}

/// Writes the listing up to the end of its rows.
fn open_models<'a>(rows: impl Iterator<Item = (&'a RawValue, Option<&'a str>)>) -> Vec<u8> {
    let mut body = b"{\"models\":[".to_vec();
    for (index, (raw, backend)) in rows.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_row(raw.get().as_bytes(), backend, &mut body);
    }
    body.push(b']');
    body
}

/// Writes an entry, with `backend` as its first field.
fn write_row(raw: &[u8], backend: Option<&str>, out: &mut Vec<u8>) {
    let Some(backend) = backend else {
        out.extend_from_slice(raw);
        return;
    };
    out.extend_from_slice(b"{\"backend\":");
    write_string(backend, out);
    let mut fields = Scanner::starting_at(raw, 1);
    if fields.peek() != Some(b'}') {
        out.push(b',');
    }
    out.extend_from_slice(&raw[fields.position()..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    const TAGS: &[u8] = include_bytes!("fixtures/tags.json");
    const PS: &[u8] = include_bytes!("fixtures/ps.json");

    fn tags(models: Value) -> Vec<ModelEntry> {
        parse_tags(json!({ "models": models }).to_string().as_bytes()).unwrap()
    }

    fn names(body: &Bytes) -> Vec<String> {
        let body: Value = serde_json::from_slice(body).unwrap();
        let models = body["models"].as_array().unwrap().iter();
        models
            .map(|model| model["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn a_server_s_disk_is_read() {
        let models = parse_tags(TAGS).unwrap();
        assert_eq!(models.len(), 2);
        assert_eq!(models[0].name, "qwen3:8b");
        assert_eq!(
            (models[0].size, &*models[0].digest),
            (5_200_000_000, "aa11")
        );
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_772_355_600, 123_456_789);
        assert_eq!(models[0].modified_at, Some(time));
        assert_eq!(merge_tags(&models), TAGS);
    }

    #[test]
    fn a_server_s_memory_is_read() {
        let loaded = parse_ps(PS).unwrap();
        assert_eq!(loaded[1].canonical, "qwen3:8b");
        assert_eq!(
            (loaded[0].size, loaded[0].size_vram),
            (3_000_000_000, 2_500_000_000)
        );
        let centuries = Duration::from_secs(292 * 365 * 24 * 3600);
        let forever = SystemTime::UNIX_EPOCH + centuries;
        assert!(loaded[0].expires_at.unwrap() > forever);
        assert_eq!(merge(loaded.iter().map(|entry| (entry, None))), PS);
    }

    /// Merges what servers have in memory while they load nothing.
    fn merge<'a>(entries: impl IntoIterator<Item = (&'a LoadedEntry, Option<&'a str>)>) -> Bytes {
        merge_ps(entries, &[] as &[Value])
    }

    #[test]
    fn what_is_being_loaded_is_no_row() {
        let loaded = parse_ps(PS).unwrap();
        let loading = [json!({"name": "gemma3:latest"})];
        let merged = merge_ps(loaded.iter().map(|entry| (entry, None)), &loading);
        assert_eq!(parse_ps(&merged).unwrap().len(), loaded.len());
        let body: Value = serde_json::from_slice(&merged).unwrap();
        assert_eq!(body["loading"], json!(loading));
        let nothing = merge_ps([], &loading);
        assert_eq!(
            nothing,
            r#"{"models":[],"loading":[{"name":"gemma3:latest"}]}"#
        );
    }

    #[test]
    fn other_bodies_are_refused() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "Ollama is running",
            "<html>",
            "{\"models\":{}}",
            "{\"models\":[1]}",
            "{\"models\":[{}]}",
            "{\"models\":[{\"name\":1}]}",
            "{\"models\":[{\"name\":\"a\",\"size\":\"1\"}]}",
            "{\"models\":[]",
            "{\"models\":[]} x",
            "{\"object\":\"list\",\"data\":[]}",
        ] {
            assert!(parse_tags(body.as_bytes()).is_err(), "{body}");
            assert!(parse_ps(body.as_bytes()).is_err(), "{body}");
        }
        for empty in ["{\"models\":[]}", "{\"models\":null}"] {
            assert!(parse_tags(empty.as_bytes()).unwrap().is_empty());
        }
        assert_eq!(tags(json!([{"model": "A"}]))[0].canonical, "a:latest");
        assert_eq!(
            tags(json!([{"name": "a", "modified_at": "yesterday"}]))[0].modified_at,
            None
        );
    }

    #[test]
    fn contexts_are_read_where_they_are_told() {
        let listed = tags(json!([
            {"name": "a:1", "details": {"context_length": 32768}},
            {"name": "b:1", "details": {"context_length": "much"}},
            {"name": "c:1", "details": null},
        ]));
        let trained: Vec<_> = listed.iter().map(|entry| entry.context).collect();
        assert_eq!(trained, [Some(32_768), None, None]);
        let body = json!({"models": [
            {"name": "a:1", "context_length": 4096},
            {"name": "b:1", "context_length": 0},
            {"name": "c:1", "context_length": []},
            {"name": "d:1"},
        ]});
        let loaded = parse_ps(body.to_string().as_bytes()).unwrap();
        let contexts: Vec<_> = loaded.iter().map(|entry| entry.context).collect();
        assert_eq!(contexts, [Some(4096), None, None, None]);
    }

    #[test]
    fn a_model_is_listed_once_as_its_newest_copy_is() {
        let one = tags(json!([
            {"name": "a:latest", "modified_at": "2026-01-01T00:00:00Z", "digest": "old"},
            {"name": "b:1", "modified_at": "2026-02-01T00:00:00Z"},
        ]));
        let two = tags(json!([
            {"name": "A:latest", "modified_at": "2026-03-01T00:00:00Z", "digest": "new", "extra": [1]},
            {"name": "c:1"},
        ]));
        for order in [[&one[..], &two[..]], [&two[..], &one[..]]] {
            let merged = merge_tags(order.into_iter().flatten());
            assert_eq!(names(&merged), ["A:latest", "b:1", "c:1"]);
            let body: Value = serde_json::from_slice(&merged).unwrap();
            assert_eq!(
                (&body["models"][0]["digest"], &body["models"][0]["extra"]),
                (&json!("new"), &json!([1]))
            );
        }
        assert_eq!(merge_tags([]), r#"{"models":[]}"#);
    }

    /// Ollama compares seconds, and those of the same second come as its folders do.
    #[test]
    fn models_of_the_same_second_stay_as_their_server_lists_them() {
        let listed = tags(json!([
            {"name": "b:1", "modified_at": "2026-01-01T00:00:00.1Z"},
            {"name": "c:1", "modified_at": "2026-01-01T00:00:00.9Z"},
            {"name": "a:1", "modified_at": "2026-01-01T00:00:00.5Z"},
            {"name": "d:1", "modified_at": "2026-01-01T00:00:01Z"},
        ]));
        assert_eq!(names(&merge_tags(&listed)), ["d:1", "b:1", "c:1", "a:1"]);
    }

    #[test]
    fn every_loaded_copy_is_a_row_that_can_name_its_backend() {
        let loaded = parse_ps(PS).unwrap();
        let merged = merge(
            loaded
                .iter()
                .map(|entry| (entry, Some("gpu\"1")))
                .chain(loaded[1..].iter().map(|entry| (entry, Some("gpu2")))),
        );
        assert_eq!(names(&merged), ["llama3.2:latest", "qwen3:8b", "qwen3:8b"]);
        let body: Value = serde_json::from_slice(&merged).unwrap();
        let backends: Vec<_> = body["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| &row["backend"])
            .collect();
        assert_eq!(
            backends,
            [&json!("gpu\"1"), &json!("gpu\"1"), &json!("gpu2")]
        );
        assert_eq!(body["models"][2]["context_length"], 8192);
    }

    proptest! {
        #[test]
        fn damaged_listings_are_read_or_refused(
            at in any::<prop::sample::Index>(),
            damage in any::<u8>(),
        ) {
            for original in [TAGS, PS] {
                let mut body = original.to_vec();
                let at = at.index(body.len());
                body[at] = damage;
                if let Ok(models) = parse_tags(&body) {
                    prop_assert!(parse_tags(&merge_tags(&models)).is_ok());
                }
                if let Ok(loaded) = parse_ps(&body) {
                    prop_assert_eq!(parse_ps(&merge(loaded.iter().map(|entry| (entry, Some("b"))))).unwrap().len(), loaded.len());
                }
            }
        }
    }
}
