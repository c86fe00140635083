//! How a request is to be served and kept: the fields that chat completions and Responses have alike.

use super::field::{self, Field};
use super::object::Object;
use crate::ir::{Json, Refused, Serving, Text};

/// The fields as a client wrote them; those of verbosity stand elsewhere in each API.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) service_tier: Field<'a>,
    pub(super) prompt_cache_key: Field<'a>,
    pub(super) prompt_cache_retention: Field<'a>,
    pub(super) prompt_cache_options: Field<'a>,
    pub(super) metadata: Field<'a>,
    pub(super) safety_identifier: Field<'a>,
    pub(super) store: Field<'a>,
}

pub(super) fn read<'a>(
    fields: Fields<'a>,
    verbosity: Option<Text<'a>>,
) -> Result<Serving<'a>, Refused> {
    Ok(Serving {
        tier: field::text(fields.service_tier, "service_tier")?,
        cache_key: field::text(fields.prompt_cache_key, "prompt_cache_key")?,
        cache_retention: field::text(fields.prompt_cache_retention, "prompt_cache_retention")?,
        cache_options: fields.prompt_cache_options.map(Json::of),
        metadata: metadata(fields.metadata)?,
        safety_identifier: field::text(fields.safety_identifier, "safety_identifier")?,
        store: field::flag(fields.store, "store")?,
        verbosity,
    })
}

/// Reads an object; an empty one says nothing.
fn metadata(field: Field<'_>) -> Result<Option<Json<'_>>, Refused> {
    let metadata = field.map(Json::of);
    if metadata.as_ref().is_none_or(Json::is_object) {
        Ok(metadata.filter(|json| json.as_str()[1..].trim_ascii_start() != "}"))
    } else {
        Err(Refused::field("metadata", "`metadata` must be an object"))
    }
}

/// Writes all but the verbosity, and but `store`, of which each API has a default of its own.
pub(super) fn write(serving: &Serving<'_>, body: &mut Object<'_>) {
    for (name, text) in [
        ("service_tier", &serving.tier),
        ("prompt_cache_key", &serving.cache_key),
        ("prompt_cache_retention", &serving.cache_retention),
        ("safety_identifier", &serving.safety_identifier),
    ] {
        if let Some(text) = text {
            body.text(name, text);
        }
    }
    for (name, json) in [
        ("prompt_cache_options", &serving.cache_options),
        ("metadata", &serving.metadata),
    ] {
        if let Some(json) = json {
            body.json(name, json);
        }
    }
}
