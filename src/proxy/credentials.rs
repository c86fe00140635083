//! What proves to a provider who asks: fields that go with every request, or a signature over each.

use http::HeaderValue;
use http::header::{self, HeaderName};

use crate::dialect::bedrock::sign::Signer;
use crate::settings::{Provider, ProviderKind, Secret};

/// The version of Anthropic's API that requests are written in; a client's own goes before it.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// The fields; the configuration has checked that keys can be field values.
pub(super) fn fields(provider: &Provider) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    for (name, value) in &provider.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_bytes()),
            HeaderValue::try_from(value.as_bytes()),
        ) {
            fields.push((name, value));
        }
    }
    if let Some(key) = &provider.api_key {
        fields.extend(match provider.kind {
            ProviderKind::Anthropic => secret("x-api-key", key.expose()),
            ProviderKind::Google => secret("x-goog-api-key", key.expose()),
            ProviderKind::Azure => secret("api-key", key.expose()),
            _ => secret("authorization", &format!("Bearer {}", key.expose())),
        });
    }
    if provider.kind == ProviderKind::Anthropic {
        fields.push((
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static(ANTHROPIC_VERSION),
        ));
    }
    fields
}

/// For Bedrock without a bearer key.
pub(super) fn signer(provider: &Provider) -> Option<Signer> {
    if provider.kind != ProviderKind::Bedrock || provider.api_key.is_some() {
        return None;
    }
    let aws = &provider.aws;
    Some(Signer::new(
        aws.access_key.as_ref()?.expose(),
        aws.secret_key.as_ref()?.expose(),
        aws.session_token.as_ref().map(Secret::expose),
        &aws.region,
    ))
}

fn secret(name: &'static str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    let name = match name {
        "authorization" => header::AUTHORIZATION,
        name => HeaderName::from_static(name),
    };
    Some((name, value))
}
