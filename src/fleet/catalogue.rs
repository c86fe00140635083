//! How each kind of service is asked for its models, and how its answer is read.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::list_entry::ListEntry;
use super::listed_model::Model;
use crate::settings::{Provider, ProviderKind};
use remuda_formats::dialect::google::listing as google;

/// Longer than any ARN.
const MAX_NAME: usize = 2048;

/// Models, and what asks for those after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) models: Vec<Model>,
    pub(super) next: Option<String>,
}

/// Returns where a service lists its models, after the base path; `None` if it is not asked.
pub(super) fn first_page(provider: &Provider) -> Option<String> {
    if !provider.list_models {
        return None;
    }
    Some(match provider.kind {
        ProviderKind::OpenAi
        | ProviderKind::OpenAiCompatible
        | ProviderKind::OpenRouter
        | ProviderKind::Perplexity => "/models".to_owned(),
        ProviderKind::Anthropic => "/v1/models?limit=1000".to_owned(),
        ProviderKind::Google => google::MODELS.to_owned(),
        ProviderKind::Azure => match &provider.azure.api_version {
            Some(version) => format!("/openai/models?api-version={version}"),
            None => "/openai/v1/models".to_owned(),
        },
        ProviderKind::Ollama | ProviderKind::Bedrock => return None,
    })
}

/// Returns the page that `next` asks for.
pub(super) fn next_page(kind: ProviderKind, first: &str, next: &str) -> String {
    match kind {
        ProviderKind::Google => google::next_page(next),
        _ => format!(
            "{first}&after_id={}",
            utf8_percent_encode(next, NON_ALPHANUMERIC)
        ),
    }
}

/// What OpenAI's and Anthropic's lists, and those of servers like them, have between them.
#[derive(Deserialize)]
struct Listing {
    data: Option<Vec<Box<RawValue>>>,
    models: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    id: Option<String>,
    name: Option<String>,
    /// Seconds; some servers have a fraction.
    created: Option<f64>,
    created_at: Option<String>,
}

/// Reads one answer. `None` if it is no list of models; an entry that makes no sense is left out.
pub(super) fn read(kind: ProviderKind, body: &[u8]) -> Option<Page> {
    if kind == ProviderKind::Google {
        let page = google::read(body)?;
        let models = page.models.iter();
        return Some(Page {
            models: models
                .filter_map(|model| named(&model.id, None, model.context))
                .collect(),
            next: page.next,
        });
    }
    // Together answers with the bare list.
    let bare: Result<Vec<Box<RawValue>>, _> = serde_json::from_slice(body);
    let (entries, next) = match bare {
        Ok(entries) => (entries, None),
        Err(_) => {
            let listing: Listing = serde_json::from_slice(body).ok()?;
            let next = listing.last_id.filter(|_| listing.has_more);
            (listing.data.or(listing.models)?, next)
        }
    };
    let models = entries.iter().filter_map(|entry| model(entry));
    Some(Page {
        models: models.collect(),
        next: next.filter(|next| !next.is_empty()),
    })
}

fn model(entry: &RawValue) -> Option<Model> {
    let context = ListEntry::read(entry).tokens();
    let entry: Entry = serde_json::from_str(entry.get()).ok()?;
    let created = entry.created.filter(|seconds| *seconds > 0.0);
    let created = created.map(|seconds| seconds as u64);
    let created = created.or_else(|| seconds(entry.created_at.as_deref()?));
    named(&entry.id.or(entry.name)?, created, context)
}

fn named(name: &str, created: Option<u64>, context: Option<u64>) -> Option<Model> {
    let fits = (1..=MAX_NAME).contains(&name.len())
        && !name.contains(|c: char| c.is_control() || c.is_whitespace());
    fits.then(|| Model {
        name: name.into(),
        created,
        context,
    })
}

/// Returns the Unix time of a text in the format of RFC 3339, which Anthropic uses.
fn seconds(text: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp()).ok().filter(|at| *at > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(kind: ProviderKind, body: &str) -> Vec<(String, Option<u64>)> {
        let page = read(kind, body.as_bytes()).unwrap();
        let pair = |model: Model| (model.name.to_string(), model.created);
        page.models.into_iter().map(pair).collect()
    }

    fn pairs(pairs: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
        let owned = |(name, created): &(&str, _)| ((*name).to_owned(), *created);
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn openai_s_list_and_what_others_make_of_it_is_read() {
        let kind = ProviderKind::OpenAiCompatible;
        for (body, expected) in [
            (
                r#"{"object":"list","data":[{"id":"gpt-5.4","object":"model","created":1767323045,"owned_by":"openai"}]}"#,
                pairs(&[("gpt-5.4", Some(1_767_323_045))]),
            ),
            (
                r#"[{"id":"meta-llama/Llama-3.3-70B-Instruct-Turbo","created":0,"type":"chat"}]"#,
                pairs(&[("meta-llama/Llama-3.3-70B-Instruct-Turbo", None)]),
            ),
            (
                r#"{"data":[{"id":"a","created":1.5e9},{"id":7},{"id":""},{"id":"b c"},null,{"name":"d"}],"models":[]}"#,
                pairs(&[("a", Some(1_500_000_000)), ("d", None)]),
            ),
            (r#"{"data":[]}"#, Vec::new()),
        ] {
            assert_eq!(names(kind, body), expected, "{body}");
        }
        for body in [
            "",
            "null",
            "{}",
            r#"{"data":{}}"#,
            r#"{"error":"no"}"#,
            "<html>",
        ] {
            assert_eq!(read(kind, body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn anthropic_s_pages_follow_one_another() {
        let body = r#"{"data":[{"type":"model","id":"claude-sonnet-5-5","display_name":"C","created_at":"2026-01-02T03:04:05Z"}],
            "first_id":"claude-sonnet-5-5","has_more":true,"last_id":"claude-sonnet-5-5"}"#;
        let page = read(ProviderKind::Anthropic, body.as_bytes()).unwrap();
        assert_eq!(page.models[0].created, Some(1_767_323_045));
        assert_eq!(
            next_page(
                ProviderKind::Anthropic,
                "/v1/models?limit=1000",
                &page.next.unwrap()
            ),
            "/v1/models?limit=1000&after_id=claude%2Dsonnet%2D5%2D5"
        );
        let body = body.replace("true", "false");
        assert_eq!(
            read(ProviderKind::Anthropic, body.as_bytes()).unwrap().next,
            None
        );
    }

    #[test]
    fn google_s_names_lose_their_prefix_and_pictures_are_left_out() {
        let body = r#"{"models":[
            {"name":"models/gemini-3.8-flash","supportedGenerationMethods":["generateContent","countTokens"]},
            {"name":"models/gemini-embedding-2","supportedGenerationMethods":["embedContent"]},
            {"name":"models/imagen-5","supportedGenerationMethods":["predict"]},
            {"name":"tunedModels/mine"}],"nextPageToken":"a=b&c"}"#;
        assert_eq!(
            names(ProviderKind::Google, body),
            pairs(&[
                ("gemini-3.8-flash", None),
                ("gemini-embedding-2", None),
                ("tunedModels/mine", None)
            ])
        );
        let page = read(ProviderKind::Google, body.as_bytes()).unwrap();
        let first = first_page(&Provider::of_kind("google", ProviderKind::Google)).unwrap();
        assert_eq!(
            next_page(ProviderKind::Google, &first, &page.next.unwrap()),
            "/models?pageSize=1000&pageToken=a%3Db%26c"
        );
    }

    #[test]
    fn every_kind_is_asked_where_it_lists() {
        for (name, kind) in ProviderKind::NAMES {
            let provider = Provider::of_kind(name, *kind);
            let asked = first_page(&provider).is_some();
            let silent = [
                ProviderKind::Ollama,
                ProviderKind::Azure,
                ProviderKind::Bedrock,
            ];
            assert_eq!(asked, !silent.contains(kind), "{name}");
            let quiet = Provider {
                list_models: false,
                ..provider
            };
            assert_eq!(first_page(&quiet), None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(body in prop_oneof![any::<String>(), r#"\{"(data|models)":\[(\{"(id|name)":("a"|1|null)\},?){0,3}\]\}"#]) {
            for (_, kind) in ProviderKind::NAMES {
                let _ = read(*kind, body.as_bytes());
            }
        }
    }
}
