//! What servers say they have (`/api/tags`) and have loaded (`/api/ps`), read strictly and merged
//! over a fleet with every entry's own fields kept.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::DateTime;
use serde::Deserialize;
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
    /// With its tag, as the server spells it.
    pub name: String,
    /// The name under which all spellings are found.
    pub canonical: String,
    /// Bytes on disk.
    pub size: u64,
    /// Hex, without `sha256:`.
    pub digest: String,
    pub modified_at: Option<SystemTime>,
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
            digest: fields.digest,
            name,
            raw,
        })
    };
    entries(body)?.into_iter().map(entry).collect()
}

/// The answer of `GET /api/tags` for a fleet: every model once, as its most recently modified copy
/// is described, newest first as Ollama sorts.
pub fn merge_tags<'a>(listings: impl IntoIterator<Item = &'a [ModelEntry]>) -> Bytes {
    let mut newest: HashMap<&str, &ModelEntry> = HashMap::new();
    for entry in listings.into_iter().flatten() {
        let known = newest.entry(&entry.canonical).or_insert(entry);
        if entry.modified_at > known.modified_at {
            *known = entry;
        }
    }
    let mut models: Vec<&ModelEntry> = newest.into_values().collect();
    models.sort_unstable_by(|a, b| {
        b.modified_at
            .cmp(&a.modified_at)
            .then_with(|| a.canonical.cmp(&b.canonical))
    });
    write_models(models.into_iter().map(|entry| (&*entry.raw, None)))
}

/// The answer of `GET /api/ps` for a fleet: one row per loaded copy, because memory is held and
/// freed per copy; latest expiry first as Ollama sorts. Where a listing comes with its backend's
/// name, its rows carry it as `"backend"`.
pub fn merge_ps<'a>(
    listings: impl IntoIterator<Item = (&'a [LoadedEntry], Option<&'a str>)>,
) -> Bytes {
    let mut rows: Vec<(&LoadedEntry, Option<&str>)> = listings
        .into_iter()
        .flat_map(|(entries, backend)| entries.iter().map(move |entry| (entry, backend)))
        .collect();
    rows.sort_by(|(a, a_backend), (b, b_backend)| {
        b.expires_at
            .cmp(&a.expires_at)
            .then_with(|| a.canonical.cmp(&b.canonical))
            .then_with(|| a_backend.cmp(b_backend))
    });
    write_models(
        rows.into_iter()
            .map(|(entry, backend)| (&*entry.raw, backend)),
    )
}

fn write_models<'a>(rows: impl Iterator<Item = (&'a RawValue, Option<&'a str>)>) -> Bytes {
    let mut body = b"{\"models\":[".to_vec();
    for (index, (raw, backend)) in rows.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write_row(raw.get().as_bytes(), backend, &mut body);
    }
    body.extend_from_slice(b"]}");
    body.into()
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
