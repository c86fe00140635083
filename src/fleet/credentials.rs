//! The header fields that go with every request to a provider: its key in the field that its kind asks for, and what
//! the operator adds.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::settings::{Provider, ProviderKind, Secret};

/// The version of Anthropic's API that this gateway speaks.
const ANTHROPIC_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("anthropic-version"),
    HeaderValue::from_static("2023-06-01"),
);

/// Returns the fields with each of the provider's keys, or the fields alone if it has none.
///
/// # Errors
/// If a key or a field cannot be one.
pub(super) fn fields_of_all(provider: &Provider) -> Result<Vec<HeaderMap>, http::Error> {
    let keys = provider.api_key.iter().chain(&provider.api_keys);
    let with_keys: Result<Vec<_>, _> = keys.map(|key| fields(provider, Some(key))).collect();
    match with_keys? {
        none if none.is_empty() => Ok(vec![fields(provider, None)?]),
        all => Ok(all),
    }
}

/// Returns the header fields of requests with that key. Credentials are marked sensitive, so that no debug output shows them.
fn fields(provider: &Provider, key: Option<&Secret>) -> Result<HeaderMap, http::Error> {
    let mut fields = HeaderMap::new();
    for (name, value) in &provider.headers {
        let (name, mut value) = (
            HeaderName::try_from(&**name)?,
            HeaderValue::try_from(&**value)?,
        );
        value.set_sensitive(true);
        fields.append(name, value);
    }
    if provider.kind == ProviderKind::Anthropic {
        let (name, value) = ANTHROPIC_VERSION;
        fields.entry(name).or_insert(value);
    }
    if let Some(key) = key {
        let (name, text) = match provider.kind {
            ProviderKind::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().into()),
            ProviderKind::Google => (
                HeaderName::from_static("x-goog-api-key"),
                key.expose().into(),
            ),
            ProviderKind::Azure => (HeaderName::from_static("api-key"), key.expose().into()),
            ProviderKind::Ollama
            | ProviderKind::OpenAi
            | ProviderKind::OpenAiCompatible
            | ProviderKind::Bedrock
            | ProviderKind::OpenRouter
            | ProviderKind::Perplexity => {
                (header::AUTHORIZATION, format!("Bearer {}", key.expose()))
            }
        };
        let mut value = HeaderValue::try_from(text)?;
        value.set_sensitive(true);
        fields.insert(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(provider: &Provider) -> Result<HeaderMap, http::Error> {
        fields_of_all(provider).map(|mut all| all.swap_remove(0))
    }

    #[test]
    fn every_kind_has_its_key_in_its_own_field() {
        for (name, kind) in ProviderKind::NAMES {
            let mut provider = Provider::of_kind(name, *kind);
            assert_eq!(
                first(&provider).unwrap().len(),
                usize::from(*kind == ProviderKind::Anthropic)
            );
            provider.api_key = Some(Secret::new("hunter2"));
            provider.headers = vec![("X-Title".into(), "Remuda".into())];
            let fields = first(&provider).unwrap();
            let (field, value) = match kind {
                ProviderKind::Anthropic => ("x-api-key", "hunter2"),
                ProviderKind::Google => ("x-goog-api-key", "hunter2"),
                ProviderKind::Azure => ("api-key", "hunter2"),
                _ => ("authorization", "Bearer hunter2"),
            };
            assert_eq!(fields[field], value, "{name}");
            assert_eq!(fields["x-title"], "Remuda");
            assert!(!format!("{fields:?}").contains("hunter2"), "{name}");
        }
    }

    #[test]
    fn what_can_be_no_field_is_refused() {
        let mut provider = Provider::of_kind("a", ProviderKind::OpenAi);
        provider.api_key = Some(Secret::new("a\nb"));
        assert!(first(&provider).is_err());
        provider.api_key = None;
        provider.headers = vec![("a b".into(), "c".into())];
        assert!(first(&provider).is_err());
    }

    #[test]
    fn every_key_has_fields_of_its_own() {
        let mut provider = Provider::of_kind("openai", ProviderKind::OpenAi);
        provider.headers = vec![("X-Title".into(), "Remuda".into())];
        provider.api_key = Some(Secret::new("one"));
        provider.api_keys = vec![Secret::new("two"), Secret::new("three")];
        let all = fields_of_all(&provider).unwrap();
        let keys: Vec<_> = all.iter().map(|fields| &fields["authorization"]).collect();
        assert_eq!(keys, ["Bearer one", "Bearer two", "Bearer three"]);
        assert!(all.iter().all(|fields| fields["x-title"] == "Remuda"));
    }
}
