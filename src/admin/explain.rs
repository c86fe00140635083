//! `GET /api/explain?model=NAME`: where a request would go, and on which server it would start there.

use std::cell::RefCell;
use std::sync::Arc;

use serde::Serialize;

use super::route::{Question, planned};
use super::starts::{Named, StartRow};
use super::{Introspection, Page};
use crate::admission::{Scope, StartListener, Want, Wanted, rule_about};
use crate::fleet::Fleet;
use crate::ids::ProviderId;
use crate::routing::{ExplainedStep, Verdict};
use crate::settings::{Elsewhere, PlaceRule};

pub(super) const PATH: &str = "/api/explain";

/// What `/api/route` says, and for each step that a fleet takes part in what is done there.
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    decided_by: &'a [String],
    strategy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    similar: &'a [String],
    steps: Vec<StepRow<'a>>,
    providers: &'a [Verdict],
}

#[derive(Serialize)]
struct StepRow<'a> {
    #[serde(flatten)]
    step: &'a ExplainedStep,
    #[serde(flatten)]
    at_fleet: Option<AtFleet>,
}

/// What is done at a step that a fleet takes part in.
#[derive(Serialize)]
struct AtFleet {
    start: StartRow,
    /// The rule of `place` that is about the model, for each provider that has one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    place: Vec<PlaceRow>,
}

#[derive(Serialize)]
struct PlaceRow {
    provider: String,
    models: String,
    on: Vec<String>,
    #[serde(rename = "else")]
    elsewhere: &'static str,
}

pub(super) fn page(introspection: &Introspection, query: Option<&str>) -> Page {
    let question = match Question::read(query.unwrap_or_default()) {
        Ok(question) => question,
        Err(text) => return Page::error(400, &text),
    };
    let starts = RefCell::new(Vec::new());
    let explained = planned(introspection, &question, |want, scope| {
        starts
            .borrow_mut()
            .push(at_fleet(introspection, want, scope));
    });
    let starts = starts.into_inner();
    let steps = explained.steps.iter().zip(starts);
    let answer = Answer {
        model: &explained.model,
        decided_by: &explained.decided_by,
        strategy: explained.strategy,
        error: explained.error.as_deref(),
        similar: &explained.similar,
        steps: steps
            .map(|(step, at_fleet)| StepRow { step, at_fleet })
            .collect(),
        providers: &explained.providers,
    };
    Page::json(200, &answer)
}

/// Returns what would be done at a step, if a fleet takes part in it.
fn at_fleet(it: &Introspection, want: &Want, scope: &Scope) -> Option<AtFleet> {
    let providers = &it.settings.providers;
    let ids = ProviderId::first(providers.len());
    let fleets: Vec<_> = ids
        .filter(|id| scope.providers.hold(*id) && providers[*id].kind.is_fleet())
        .collect();
    if fleets.is_empty() {
        return None;
    }
    let explained = it.dispatcher.explain(want, scope.clone());
    let name = match want.wanted {
        Wanted::Model(model) => it.fleet.models().name(model),
        Wanted::Any | Wanted::Unlisted => None,
    };
    let canonical = name.as_deref().unwrap_or_default().to_lowercase();
    let rules = fleets.into_iter().filter_map(|id| {
        let provider = &providers[id];
        let rule = rule_about(&provider.copies.place, &canonical)?;
        Some(place_row(&provider.name, rule))
    });
    Some(AtFleet {
        start: Named(&it.fleet).row(&explained),
        place: rules.collect(),
    })
}

fn place_row(provider: &str, rule: &PlaceRule) -> PlaceRow {
    PlaceRow {
        provider: provider.to_owned(),
        models: rule.models.to_string(),
        on: rule.on.iter().map(ToString::to_string).collect(),
        elsewhere: match rule.elsewhere {
            Elsewhere::Never => "never",
            Elsewhere::Overflow => "overflow",
            Elsewhere::Any => "any",
        },
    }
}

/// Returns what writes one line to the log for each start and each load, with its reasons; `None` where the log leaves out
/// such lines.
pub fn start_log(fleet: &Arc<Fleet>) -> Option<StartListener> {
    if !log::log_enabled!(log::Level::Debug) {
        return None;
    }
    let fleet = Arc::clone(fleet);
    Some(Arc::new(move |explained| {
        log::debug!("{}", Named(&fleet).line(explained));
    }))
}
