//! Every field that Perplexity's strict decoder knows, at every depth; another one is a 400.

use serde_json::{Map, Value};

use super::super::openai::error::Refusal;
use super::super::openai::fields::{Kind, typed};

const BODY: [(&str, Kind); 18] = [
    ("input", Kind::Any),
    ("instructions", Kind::Text),
    ("model", Kind::Text),
    ("models", Kind::List),
    ("preset", Kind::Text),
    ("effort", Kind::Text),
    ("max_output_tokens", Kind::Integer(1, i64::MAX)),
    ("temperature", Kind::Decimal(0.0, 2.0)),
    ("top_p", Kind::Decimal(0.0, 1.0)),
    ("reasoning", Kind::Object),
    ("response_format", Kind::Object),
    ("tools", Kind::List),
    ("tool_choice", Kind::Any),
    ("max_steps", Kind::Integer(1, 100)),
    ("store", Kind::Flag),
    ("previous_response_id", Kind::Text),
    ("stream", Kind::Flag),
    ("language_preference", Kind::Text),
];

const ITEM: &[&str] = &[
    "type",
    "role",
    "content",
    "id",
    "status",
    "call_id",
    "name",
    "arguments",
    "output",
    "thought_signature",
];
const PART: &[&str] = &["type", "text", "image_url", "refusal", "annotations"];
const REASONING: &[&str] = &["effort"];
const FORMAT: &[&str] = &["type", "json_schema"];
const SCHEMA: &[&str] = &["name", "schema", "description", "strict"];
const TOOL: &[&str] = &[
    "type",
    "name",
    "description",
    "parameters",
    "strict",
    "filters",
    "search_context_size",
    "max_tokens",
    "max_tokens_per_page",
    "max_results",
    "user_location",
];
const FILTERS: &[&str] = &[
    "search_domain_filter",
    "search_recency_filter",
    "search_after_date_filter",
    "search_before_date_filter",
    "last_updated_after_filter",
    "last_updated_before_filter",
];

/// Checks a whole body.
pub(super) fn check(map: &Map<String, Value>) -> Result<(), Refusal> {
    let names: Vec<&str> = BODY.iter().map(|(name, _)| *name).collect();
    known(&Value::Object(map.clone()), &names)?;
    typed(map, &BODY, "")
        .map_err(|refusal| Refusal::bad(format!("invalid request body: {}", refusal.message)))?;
    let field = |name: &str| map.get(name).unwrap_or(&Value::Null);
    for item in list(field("input")) {
        known(item, ITEM)?;
        for part in list(&item["content"]).chain(list(&item["output"])) {
            known(part, PART)?;
        }
    }
    known(field("reasoning"), REASONING)?;
    known(field("response_format"), FORMAT)?;
    known(&field("response_format")["json_schema"], SCHEMA)?;
    for tool in list(field("tools")) {
        known(tool, TOOL)?;
        known(&tool["filters"], FILTERS)?;
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Refuses what `names` does not have; what is no object is left to others.
fn known(value: &Value, names: &[&str]) -> Result<(), Refusal> {
    let mut fields = value.as_object().into_iter().flat_map(Map::keys);
    match fields.find(|field| !names.contains(&field.as_str())) {
        None => Ok(()),
        Some(field) => Err(Refusal::bad(format!(
            "invalid request body: json: unknown field \"{field}\""
        ))),
    }
}
