//! The provider that the path of a page names, by its name or its kind.

use std::sync::Arc;

use serde::Serialize;

use super::page::Page;
use crate::access::Visibility;
use crate::fleet::{Fleet, Provider};
use crate::settings::ProviderKind;

/// Further names of kinds, and services that are known by their name though they have no kind of their own: a client
/// that asks for one of these asks for a provider that could be there.
const KNOWN: &[(&str, Option<ProviderKind>)] = &[
    ("aws_bedrock", Some(ProviderKind::Bedrock)),
    ("aws-bedrock", Some(ProviderKind::Bedrock)),
    ("azure_openai", Some(ProviderKind::Azure)),
    ("azure-openai", Some(ProviderKind::Azure)),
    ("claude", Some(ProviderKind::Anthropic)),
    ("gemini", Some(ProviderKind::Google)),
    ("groq", None),
    ("deepseek", None),
    ("mistral", None),
    ("xai", None),
    ("together", None),
    ("fireworks", None),
    ("cerebras", None),
    ("deepinfra", None),
    ("cohere", None),
    ("huggingface", None),
];

/// Why a name stands for no provider.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("Invalid provider type: {name}; the providers here are {}", there.join(", "))]
    NoSuchType { name: String, there: Vec<String> },
    #[error("Provider {0} not configured")]
    NotConfigured(String),
}

impl Unknown {
    /// Returns a page of status 400 or 404, with the text under both keys that clients read.
    pub(super) fn page(&self) -> Page {
        #[derive(Serialize)]
        struct Body {
            error: String,
            detail: String,
        }
        let text = self.to_string();
        let body = Body {
            error: text.clone(),
            detail: text,
        };
        match self {
            Unknown::NoSuchType { .. } => Page::json(400, &body),
            Unknown::NotConfigured(_) => Page::json(404, &body),
        }
    }
}

/// Returns the provider of that name in any case, else the first of that kind, of those that may be seen.
pub(super) fn find<'a>(
    fleet: &'a Fleet,
    name: &str,
    view: Visibility<'_>,
) -> Result<&'a Arc<Provider>, Unknown> {
    let seen = || {
        let providers = fleet.providers();
        providers.filter(|provider| view.asks(&provider.name))
    };
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    if let Some(provider) = seen().find(|provider| is(&provider.name)) {
        return Ok(provider);
    }
    let kinds = ProviderKind::NAMES
        .iter()
        .map(|(name, kind)| (*name, Some(*kind)));
    let known = kinds
        .chain(KNOWN.iter().copied())
        .find(|(known, _)| is(known));
    // What was not understood is shown, but not all of it.
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let Some((_, kind)) = known else {
        let there = seen().map(|provider| provider.name.to_string());
        return Err(Unknown::NoSuchType {
            name,
            there: there.collect(),
        });
    };
    let of_kind = kind.and_then(|kind| {
        let mut providers = seen();
        providers.find(|provider| provider.settings.kind == kind)
    });
    of_kind.ok_or(Unknown::NotConfigured(name))
}
