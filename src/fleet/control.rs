//! Bedrock's models are listed by its control plane, at an address of its own, and each question is signed unless
//! there is a bearer key.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use http::HeaderMap;
use tokio::net::lookup_host;

use super::ask::{Caller, MOST};
use super::endpoint::Endpoint;
use super::list_answer::{Told, not_a_list, without_models};
use super::listed_model::Model;
use super::miss::Miss;
use super::question::Question;
use crate::settings::{ProviderKind, StaticBackend};
use remuda_formats::dialect::bedrock::listing;
use remuda_formats::dialect::bedrock::sign::{SignError, Unsigned};

/// Pages of the two lists together, at most.
const MAX_PAGES: usize = 20;

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

/// Returns the fields of one question: those of all requests, and its signature.
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
