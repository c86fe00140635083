//! One probe of a service: which models it offers, where it can tell; and what its silence means.
//!
//! A service that answers anything is there. If it will not list its models, those that the configuration names are
//! served, and those that it listed before; that it does not serve one is for it to say.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::ask::{Answer, Caller, MOST};
use super::catalogue::{self, Model};
use super::complaints::Topic;
use super::context::Elsewhere;
use super::control;
use super::offers::Offers;
use super::probe::{Prober, Question};
use super::refusal::{Asked, Why};
use super::{Inventory, Miss};
use crate::dialect::faults;
use crate::ir::Class;
use crate::settings::ProviderKind;

/// Pages of a list at most.
const MAX_PAGES: usize = 20;

/// What is told besides the list may take this part of the time that a probe has.
const PATIENCE: u32 = 4;

/// What a service told.
pub(super) enum Told {
    Models(Vec<Model>),
    /// It lists none.
    Nothing,
    /// It refuses the key, or to say it, with that status.
    Refused(Why, u16),
    /// It does not say, and why.
    Unclear(String),
}

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

/// What a failed probe of a service means.
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

/// What a server tells of its models elsewhere. That it does not is no fault.
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

/// What an answer in place of a list of models means; `None` if it may be one.
pub(super) fn without_models(kind: ProviderKind, answer: &Answer) -> Option<Told> {
    let status = answer.status;
    let code = status.as_u16();
    let fault = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            return Some(Told::Nothing);
        }
        status if status.is_success() => faults::within(kind, &answer.body)?,
        _ => faults::answered(kind, code, answer.headers(), &answer.body),
    };
    let by_fault = match code {
        401 | 403 => Some(Why::Key),
        _ => Why::of(&fault),
    };
    // Another address than the API's, or an error that no waiting mends.
    let lasting = matches!(fault.class, Class::Route | Class::Permanent) || status.is_success();
    let otherwise = (code < 400 && lasting).then_some(Why::Error);
    Some(match by_fault.or(otherwise) {
        Some(why) => Told::Refused(why, code),
        None => Told::Unclear(format!("it answered its list of models with status {code}")),
    })
}

pub(super) fn not_a_list() -> Told {
    Told::Unclear("what it answered is not a list of models".to_owned())
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

/// What it listed before, or else what the configuration says of it.
fn known_or_stated(prober: &Prober, question: &Question<'_>) -> Inventory {
    let now = Instant::now();
    if let Some(known) = question.known {
        return known.again(now);
    }
    let settings = &question.provider.settings;
    let offers = Offers::new(&prober.models, settings, &prober.names, Vec::new());
    Inventory::of(Arc::new(offers), now).untold()
}
