//! Bedrock's models are listed by its control plane, at an address of its own, and each question is signed unless
//! there is a bearer key.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use http::{HeaderMap, Uri};
use tokio::net::lookup_host;

use super::ask::{Caller, MOST};
use super::catalogue::Model;
use super::census::{Told, not_a_list, without_models};
use super::probe::Question;
use super::{Endpoint, Miss};
use crate::dialect::bedrock::listing;
use crate::dialect::bedrock::sign::{SignError, Signer, Unsigned};
use crate::settings::{Provider, ProviderKind, Secret, StaticBackend};

/// Pages of the two lists together, at most.
const MAX_PAGES: usize = 20;

/// Where a Bedrock provider's models are listed, if that is not where they are served.
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

/// What signs the requests of a Bedrock provider without a bearer key.
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

/// Asks for all models that can be called by a name of Bedrock's own. Whether the service is there shows where
/// it serves them: if only the list cannot be had, that is no reason to do without.
pub(super) async fn list(question: &Question<'_>, caller: &Caller<'_>) -> Result<Told, Miss> {
    let Some(place) = &question.provider.control else {
        return ask_all(question, caller).await;
    };
    caller.connect().await?;
    let endpoint = match resolve(place).await {
        Some(addr) => question.provider.listed(place, addr, true),
        None => {
            let what = format!(
                "the address of {}, which lists its models, is not known",
                place.host
            );
            return Ok(Told::Unclear(what));
        }
    };
    // What the control plane answers says nothing of whether the service does.
    let answered = AtomicBool::new(false);
    let control = Caller {
        endpoint: &endpoint,
        answered: &answered,
        ..*caller
    };
    let told = ask_all(question, &control).await;
    Ok(told.unwrap_or_else(|miss| Told::Unclear(format!("{}: {miss}", endpoint.name))))
}

async fn resolve(place: &StaticBackend) -> Option<SocketAddr> {
    let addresses = lookup_host((place.host.as_str(), place.port)).await.ok()?;
    // Those of version 4 first, as for all backends.
    addresses.min_by_key(|addr| (addr.is_ipv6(), *addr))
}

async fn ask_all(question: &Question<'_>, caller: &Caller<'_>) -> Result<Told, Miss> {
    let first = [listing::FOUNDATION_MODELS, listing::INFERENCE_PROFILES];
    let mut paths: Vec<String> = first.iter().rev().map(|path| (*path).to_owned()).collect();
    let (mut models, mut bytes) = (Vec::new(), 0);
    for _ in 0..MAX_PAGES {
        let Some(path) = paths.pop() else {
            break;
        };
        let path = format!("{}{path}", caller.endpoint.path);
        let Ok(fields) = fields(question, caller.endpoint, &path) else {
            return Ok(Told::Unclear(
                "its list of models cannot be asked for: check its credentials".to_owned(),
            ));
        };
        let answer = caller.get(&path, &fields).await?;
        if let Some(told) = without_models(ProviderKind::Bedrock, &answer) {
            return Ok(told);
        }
        let Some(page) = listing::read(&answer.body) else {
            return Ok(not_a_list());
        };
        bytes += answer.body.len();
        models.extend(page.models.into_iter().map(|model| Model {
            name: model.id.into(),
            created: None,
            context: None,
        }));
        let next = page.next.filter(|_| bytes <= MOST);
        paths.extend(next.map(|next| listing::next_page(&next)));
        caller.keep(answer).await;
    }
    Ok(Told::Models(models))
}

/// The fields of one question: those of all requests, and its signature.
fn fields(
    question: &Question<'_>,
    endpoint: &Endpoint,
    path: &str,
) -> Result<HeaderMap, SignError> {
    let mut fields = question.provider.fields().clone();
    if let Some(signer) = question.provider.signer() {
        let unsigned = Unsigned {
            method: "GET",
            host: endpoint.host.to_str().map_err(|_| SignError)?,
            path,
            content_type: None,
            body: b"",
        };
        for (name, value) in signer.sign(&unsigned, SystemTime::now())? {
            fields.insert(name, value);
        }
    }
    Ok(fields)
}

/// Whether the certificate of a place could not be checked, as it has an address for a name.
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
