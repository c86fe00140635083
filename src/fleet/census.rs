//! One probe of a service: which models it offers, where it can tell; and what its silence means.
//!
//! A service that answers anything is there. If it will not list its models, those that the configuration names are
//! served, and those that it listed before; that it does not serve one is for it to say.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::ask::{Caller, MOST};
use super::catalogue::{self, Model};
use super::control;
use super::offers::Offers;
use super::probe::{Prober, Question};
use super::{Inventory, Miss};
use crate::settings::ProviderKind;

/// Pages of a list at most.
const MAX_PAGES: usize = 20;

/// What a service told.
pub(super) enum Told {
    Models(Vec<Model>),
    /// It lists none.
    Nothing,
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
        Miss::TimedOut(_) | Miss::Garbled { .. } | Miss::TooLong(_) => {
            Ok(settle(prober, question, Told::Unclear(miss.to_string())))
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
        if let Some(told) = without_models(answer.status) {
            return Ok(told);
        }
        bytes += answer.body.len();
        let Some(page) = catalogue::read(kind, &answer.body) else {
            return Ok(Told::Unclear(
                "its list of models makes no sense".to_owned(),
            ));
        };
        models.extend(page.models);
        let Some(next) = page.next.filter(|_| bytes <= MOST) else {
            break;
        };
        path = catalogue::next_page(kind, first, &next);
        caller.keep(answer).await;
    }
    Ok(Told::Models(models))
}

pub(super) fn without_models(status: StatusCode) -> Option<Told> {
    Some(match status {
        status if status.is_success() => return None,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            Told::Nothing
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Told::Unclear(format!(
            "it refuses to list its models with status {}; check its key and what that allows",
            status.as_u16()
        )),
        status => Told::Unclear(format!(
            "it answered its list of models with status {}",
            status.as_u16()
        )),
    })
}

fn settle(prober: &Prober, question: &Question<'_>, told: Told) -> Inventory {
    let provider = question.provider;
    let now = Instant::now();
    let listed = match told {
        Told::Models(models) => {
            provider.complaints.settle(&question.endpoint.name);
            models
        }
        Told::Nothing => {
            provider.complaints.settle(&question.endpoint.name);
            Vec::new()
        }
        Told::Unclear(why) => {
            if provider.complaints.is_new(&question.endpoint.name, &why) {
                log::warn!("{} {}: {why}", provider.name, question.endpoint.name);
            }
            match question.known {
                Some(known) => return known.again(now),
                None => Vec::new(),
            }
        }
    };
    let offers = Offers::new(&prober.models, &provider.settings, &prober.names, listed);
    Inventory::of(Arc::new(offers), now)
}
