//! Where a Bedrock provider's models are listed, and what signs the questions for them.

use std::net::IpAddr;

use http::Uri;

use crate::settings::{Provider, ProviderKind, Secret, StaticBackend};
use remuda_formats::dialect::bedrock::sign::Signer;

/// Returns where a Bedrock provider's models are listed, if that is not where they are served.
pub(super) fn place(provider: &Provider) -> Option<StaticBackend> {
    if let Some(url) = &provider.aws.control_url {
        return parse(url);
    }
    let entry = provider.backends.first()?;
    let rest = entry.host.strip_prefix("bedrock-runtime.")?;
    Some(StaticBackend {
        host: format!("bedrock.{rest}"),
        path: "".into(),
        ..entry.clone()
    })
}

fn parse(url: &str) -> Option<StaticBackend> {
    let url: Uri = url.parse().ok()?;
    let tls = url.scheme_str() == Some("https");
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    Some(StaticBackend {
        tls,
        host: host.to_owned(),
        port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        path: url.path().trim_end_matches('/').into(),
        weight: None,
        cost: None,
        max_concurrent: None,
        vram: None,
    })
}

/// Returns the signer of the requests of a Bedrock provider without a bearer key.
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

/// Returns whether the certificate of a place could not be checked, as it has an address for a name.
pub(super) fn is_bare(place: &StaticBackend) -> bool {
    place.tls && place.host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bedrock(base: &str, control_url: Option<&str>) -> Provider {
        let mut provider = Provider::of_kind("bedrock", ProviderKind::Bedrock);
        provider.backends = parse(base).into_iter().collect();
        provider.aws.control_url = control_url.map(Into::into);
        provider
    }

    fn shown(place: Option<StaticBackend>) -> String {
        place.map_or_else(String::new, |place| {
            let scheme = if place.tls { "https" } else { "http" };
            format!("{scheme}://{}:{}{}", place.host, place.port, place.path)
        })
    }

    #[test]
    fn models_are_listed_at_the_region_s_control_plane() {
        let runtime = "https://bedrock-runtime.eu-west-1.amazonaws.com";
        let private = "https://bedrock.example.org/aws";
        for (base, control_url, expected) in [
            (runtime, None, "https://bedrock.eu-west-1.amazonaws.com:443"),
            (
                runtime,
                Some("http://127.0.0.1:5/x/"),
                "http://127.0.0.1:5/x",
            ),
            (private, Some("https://[::1]"), "https://::1:443"),
            // Where they are served.
            (private, None, ""),
        ] {
            assert_eq!(
                shown(place(&bedrock(base, control_url))),
                expected,
                "{base}"
            );
        }
    }

    #[test]
    fn a_bearer_key_goes_before_a_signature() {
        let mut provider = bedrock("https://bedrock.example.org", None);
        assert!(signer(&provider).is_none());
        provider.aws.access_key = Some(Secret::new("AK"));
        provider.aws.secret_key = Some(Secret::new("SK"));
        assert!(signer(&provider).is_some());
        provider.api_key = Some(Secret::new("bearer"));
        assert!(signer(&provider).is_none());
    }
}
