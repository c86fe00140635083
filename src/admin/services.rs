//! What Ollama's clients ask about a model before they use it, answered for models of services, which have no such pages.

use serde::Serialize;

use super::page::Page;
use crate::fleet::Fleet;
use remuda_formats::client::ErrorStyle;
use remuda_formats::facts::{Capability, ModelFacts};

/// A context that is safe to assume of a model of which nothing is known.
const SMALLEST_CONTEXT: u64 = 8192;

/// Answers `POST /api/show` for a model that a service runs. Clients read the architecture, and under its name the
/// length of the context; `capabilities` decide what they offer their users. `told` is the length of the context that
/// the server has told, which is as it was started.
pub fn show(name: &str, provider: &str, facts: &ModelFacts, told: Option<u64>) -> Page {
    #[derive(Serialize)]
    struct Show<'a> {
        license: &'static str,
        modelfile: String,
        parameters: &'static str,
        template: &'static str,
        details: Details<'a>,
        model_info: serde_json::Map<String, serde_json::Value>,
        capabilities: Vec<&'static str>,
        modified_at: &'static str,
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
    }
    let family = match &*facts.family {
        "" => provider,
        family => family,
    };
    let context = told.or(facts.context).unwrap_or(SMALLEST_CONTEXT);
    let mut model_info = serde_json::Map::new();
    model_info.insert("general.architecture".into(), family.into());
    model_info.insert("general.basename".into(), name.into());
    model_info.insert(format!("{family}.context_length"), context.into());
    if let Some(embeddings) = &facts.embeddings {
        let length = embeddings.dimensions.into();
        model_info.insert(format!("{family}.embedding_length"), length);
    }
    Page::json(
        200,
        &Show {
            license: "",
            modelfile: format!("FROM {name}\n"),
            parameters: "",
            template: "",
            details: Details {
                parent_model: "",
                format: "api",
                family,
                families: [family],
                parameter_size: "",
                quantization_level: "",
            },
            model_info,
            capabilities: capabilities(facts),
            // The day when nothing of this kind existed: it says that nobody knows.
            modified_at: "1970-01-01T00:00:00Z",
            remote_model: name,
            remote_host: provider,
        },
    )
}

/// Returns a model's capabilities; one of which nothing is known is taken to be for chats with tools.
pub(super) fn capabilities(facts: &ModelFacts) -> Vec<&'static str> {
    if facts.capabilities.is_none() {
        return vec!["completion", "tools"];
    }
    Capability::ALL
        .into_iter()
        .filter(|capability| facts.can(*capability))
        .filter_map(Capability::ollama_name)
        .collect()
}

/// Answers `POST /api/pull` of such a model: there is nothing to fetch.
pub fn pulled(name: &str, streams: bool) -> Page {
    let mut lines = Vec::new();
    if streams {
        #[derive(Serialize)]
        struct Status {
            status: String,
        }
        let status = format!("{name} is an API model and requires no download");
        lines = serde_json::to_vec(&Status { status }).expect("a plain struct");
        lines.push(b'\n');
    }
    lines.extend_from_slice(b"{\"status\":\"success\"}");
    if streams {
        lines.push(b'\n');
    }
    let content_type = if streams {
        "application/x-ndjson"
    } else {
        "application/json; charset=utf-8"
    };
    Page::new(200, content_type, lines.into())
}

/// Answers `GET /v1/models` or one of them, as Anthropic's clients read it.
pub fn anthropic_models(fleet: &Fleet, ids: &[String]) -> Page {
    #[derive(Serialize)]
    struct Listing<'a> {
        data: Vec<AnthropicModel<'a>>,
        first_id: Option<&'a str>,
        last_id: Option<&'a str>,
        has_more: bool,
    }
    if ids.is_empty() && fleet.has_unknown() {
        return Page::nothing_known(fleet, ErrorStyle::Anthropic);
    }
    let page = Page::json(
        200,
        &Listing {
            data: ids.iter().map(|id| AnthropicModel::named(id)).collect(),
            first_id: ids.first().map(String::as_str),
            last_id: ids.last().map(String::as_str),
            has_more: false,
        },
    );
    page.with_age(fleet)
}

/// Returns one model as Anthropic's clients read it.
pub fn anthropic_model(id: &str) -> Page {
    Page::json(200, &AnthropicModel::named(id))
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
}

impl<'a> AnthropicModel<'a> {
    fn named(id: &'a str) -> Self {
        AnthropicModel {
            r#type: "model",
            id,
            display_name: id,
            created_at: "1970-01-01T00:00:00Z",
        }
    }
}

/// Answers `POST /v1/messages/count_tokens` where the provider cannot count: an estimate of four bytes a token, as
/// Ollama's own layer makes it.
pub fn estimated_tokens(body: &[u8]) -> Page {
    counted_tokens(body.len().div_ceil(4).max(1) as u64)
}

/// Answers `POST /v1/messages/count_tokens` where it is known how many there are.
pub fn counted_tokens(input_tokens: u64) -> Page {
    #[derive(Serialize)]
    struct Count {
        input_tokens: u64,
    }
    Page::json(200, &Count { input_tokens })
}
