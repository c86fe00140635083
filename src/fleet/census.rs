//! One probe of a service: which models it offers, where it can tell; and what its silence means.
//!
//! A service that answers anything is there. If it will not list its models, those that the configuration names are
//! served, and those that it listed before; that it does not serve one is for it to say.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::ask::{Caller, MOST};
use super::complaints::Topic;
use super::context::Elsewhere;
use super::inventory::Inventory;
use super::list_answer::{Told, not_a_list, without_models};
use super::listed_model::Model;
use super::miss::Miss;
use super::offers::Offers;
use super::question::{Prober, Question};
use super::refusal::Asked;
use super::{catalogue, control};
use crate::settings::ProviderKind;

/// Pages of a list at most.
const MAX_PAGES: usize = 20;

/// What is told besides the list may take this part of the time that a probe has.
const PATIENCE: u32 = 4;

/// Asks a service for its models.
pub(super) async fn ask(
    prober: &Prober,
    question: &Question<'_>,
    caller: &Caller<'_>,
) -> Result<Inventory, Miss> {
    let settings = &question.provider.settings;
    if question.doubted {
        // Any answer will do, and is had sooner than a long list.
        caller.rouse().await?;
        if let Some(known) = question.known {
            return Ok(known.again(Instant::now()));
        }
    }
    let told = match catalogue::first_page(settings) {
        Some(first) => list(question, caller, &first).await?,
        None if settings.kind == ProviderKind::Bedrock && settings.list_models => {
            control::list(question, caller).await?
        }
        None => {
            caller.connect().await?;
            Told::Nothing
        }
    };
    Ok(settle(prober, question, told))
}

/// Returns what a failed probe of a service means.
pub(super) fn judge(
    prober: &Prober,
    question: &Question<'_>,
    miss: Miss,
) -> Result<Inventory, Miss> {
    match miss {
        // Nothing at all is answered: requests will not be either.
        Miss::TimedOut(_) => Err(miss),
        Miss::Stuck { .. } | Miss::Garbled { .. } | Miss::Packed { .. } | Miss::TooLong(_) => {
            let why = match miss {
                Miss::Stuck { within, .. } => {
                    format!("no answer to the question for its list of models within {within:?}")
                }
                miss => miss.to_string(),
            };
            Ok(settle(prober, question, Told::Unclear(why)))
        }
        miss => Err(miss),
    }
}

async fn list(question: &Question<'_>, caller: &Caller<'_>, first: &str) -> Result<Told, Miss> {
    let kind = question.provider.settings.kind;
    let base = &question.endpoint.path;
    let (mut models, mut bytes) = (Vec::new(), 0);
    let mut path = first.to_owned();
    for _ in 0..MAX_PAGES {
        let path_there = format!("{base}{path}");
        let answer = caller.get(&path_there, question.provider.fields()).await?;
        if let Some(told) = without_models(kind, &answer) {
            return Ok(told);
        }
        bytes += answer.body.len();
        let Some(page) = catalogue::read(kind, &answer.body) else {
            return Ok(not_a_list());
        };
        models.extend(page.models);
        let Some(next) = page.next.filter(|_| bytes <= MOST) else {
            if kind == ProviderKind::OpenAiCompatible
                && let Some(further) = Elsewhere::of(&answer.body, &models)
            {
                caller.keep(answer).await;
                ask_further(question, caller, further, &mut models).await;
            }
            break;
        };
        path = catalogue::next_page(kind, first, &next);
        caller.keep(answer).await;
    }
    Ok(Told::Models(models))
}

/// Asks a server what it tells of its models elsewhere. It is no fault if it tells nothing.
async fn ask_further(
    question: &Question<'_>,
    caller: &Caller<'_>,
    further: Elsewhere,
    models: &mut [Model],
) {
    let path = further.path(&question.endpoint.path);
    let asked = caller.get(&path, question.provider.fields());
    // The list that is there already must not be lost for it.
    if let Ok(Ok(answer)) = tokio::time::timeout(question.timeout / PATIENCE, asked).await
        && answer.status == StatusCode::OK
    {
        further.enter(&answer.body, models);
    }
}

fn settle(prober: &Prober, question: &Question<'_>, told: Told) -> Inventory {
    let provider = question.provider;
    let now = Instant::now();
    let name = &question.endpoint.name;
    if let Told::Models(_) | Told::Nothing = told {
        provider.complaints.settle(name, Topic::List);
        provider.settle_refusal(Asked::List);
    }
    let listed = match told {
        Told::Models(models) => models,
        Told::Nothing => Vec::new(),
        Told::Refused(why, status) => {
            provider.complaints.settle(name, Topic::List);
            provider.note_refusal(Asked::List, why, status);
            return known_or_stated(prober, question);
        }
        Told::Unclear(why) => {
            question.complain(Topic::List, &why);
            return known_or_stated(prober, question);
        }
    };
    let offers = Offers::new(&prober.models, &provider.settings, &prober.names, listed);
    Inventory::of(Arc::new(offers), now)
}

/// Returns what the service listed before, or else what the configuration says of it.
fn known_or_stated(prober: &Prober, question: &Question<'_>) -> Inventory {
    let now = Instant::now();
    if let Some(known) = question.known {
        return known.again(now);
    }
    let settings = &question.provider.settings;
    let offers = Offers::new(&prober.models, settings, &prober.names, Vec::new());
    Inventory::of(Arc::new(offers), now).untold()
}
