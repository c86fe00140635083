//! A start as people read it: which server is chosen, what the others would take, and why some take no part.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::admission::{
    Bar, BerthRule, CopyState, StartCandidate, StartChoice, StartExplanation, Wanted,
};
use crate::fleet::Fleet;
use crate::ids::{BackendId, ModelId, ProviderId};

/// Servers that a line of the log has of either side.
const LOGGED: usize = 8;

/// What is done for a request at one step of its plan.
#[derive(Debug, Serialize)]
pub(super) struct StartRow {
    /// `start`, `load`, `wait` or `refuse`.
    action: &'static str,
    /// The server that is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    because: String,
    /// How many others wait for the model.
    waiting: usize,
    /// The time until a copy gets to the request if nothing is loaded for it; absent where no copy ever does.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_seconds: Option<f64>,
    candidates: Vec<CandidateRow>,
    out: Vec<OutRow>,
}

/// A server on which the request can start, now or as soon as it is free.
#[derive(Debug, Serialize)]
struct CandidateRow {
    server: String,
    provider: String,
    /// `loaded`, `spilled`, `slow`, `draining`, `loading` or `on_disk`.
    copy: &'static str,
    /// The sum of the next three.
    expected_seconds: f64,
    queue_seconds: f64,
    load_seconds: f64,
    prefill_seconds: f64,
    /// What choosing it costs others or later requests.
    penalty_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<u32>,
    running: u32,
    /// Requests that it may run at once; absent where nothing bounds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
    /// What the load pushes out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evicts: Vec<String>,
    /// What a placement rule says of loading the model here.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'static str>,
}

/// A server on which the request cannot start for now.
#[derive(Debug, Serialize)]
struct OutRow {
    server: String,
    provider: String,
    why: String,
}

/// Gives ids their names.
pub(super) struct Named<'a>(pub(super) &'a Fleet);

impl Named<'_> {
    fn server(&self, id: BackendId) -> String {
        let backend = self.0.backend(id);
        backend.map_or_else(
            || "a server that has left".to_owned(),
            |one| one.name.to_string(),
        )
    }

    fn provider(&self, id: ProviderId) -> String {
        self.0.provider_at(id).name.to_string()
    }

    fn model(&self, id: ModelId) -> String {
        let name = self.0.models().name(id);
        name.map_or_else(|| "another model".to_owned(), |name| name.to_string())
    }

    pub(super) fn row(&self, of: &StartExplanation) -> StartRow {
        let action = match of.choice {
            StartChoice::Start(_) => "start",
            StartChoice::Load(_) => "load",
            StartChoice::Wait => "wait",
            StartChoice::Refuse(_) => "refuse",
        };
        let out = of.barred.iter().map(|one| OutRow {
            server: self.server(one.backend),
            provider: self.provider(one.provider),
            why: self.why(one.bar),
        });
        StartRow {
            action,
            server: of.choice.backend().map(|id| self.server(id)),
            because: because(of),
            waiting: of.waiting,
            wait_seconds: of.wait.map(rounded),
            candidates: of
                .candidates
                .iter()
                .map(|one| self.candidate(one))
                .collect(),
            out: out.collect(),
        }
    }

    fn candidate(&self, one: &StartCandidate) -> CandidateRow {
        CandidateRow {
            server: self.server(one.backend),
            provider: self.provider(one.provider),
            copy: match one.state {
                CopyState::Loaded => "loaded",
                CopyState::Spilled => "spilled",
                CopyState::Slow => "slow",
                CopyState::Draining => "draining",
                CopyState::Loading => "loading",
                CopyState::OnDisk => "on_disk",
            },
            expected_seconds: rounded(one.expected.total()),
            queue_seconds: rounded(one.expected.queue),
            load_seconds: rounded(one.expected.load),
            prefill_seconds: rounded(one.expected.prefill),
            penalty_seconds: rounded(one.penalty),
            context: one.context,
            running: one.running,
            parallel: Some(one.places).filter(|places| *places < u32::MAX),
            evicts: one.evicts.iter().map(|model| self.model(*model)).collect(),
            place: match one.rule {
                BerthRule::Allowed => None,
                BerthRule::Second => Some("second"),
                BerthRule::Overflow => Some("overflow"),
                BerthRule::Never => Some("never"),
            },
        }
    }

    fn why(&self, bar: Bar) -> String {
        let text = match bar {
            Bar::Unprobed => "it has not answered its first probe",
            Bar::Unhealthy => "it is not healthy",
            Bar::NotAsked => "the request asks for another server",
            Bar::Excluded => "it has been tried",
            Bar::Full => "as many requests run as queue.max_concurrent allows",
            Bar::ProviderFull => "as many requests run as its provider allows",
            Bar::Closed => "it may be sent nothing for now",
            Bar::NotOnDisk => "the model is not on its disk",
            Bar::Suspect { heals: true } => "its copy hung or was slow, and is being tried",
            Bar::Suspect { heals: false } => "its copy hangs, and is left alone",
            Bar::Heals => "its copy of another model is being tried",
            Bar::Rule => "a rule of place keeps the model from being loaded there",
            Bar::NoRoom => "what would have to leave its memory is in use, or came only of late",
            Bar::Paused { left } => {
                let left = left.as_secs_f64();
                return format!(
                    "loading the model there has failed, and is not tried again for {left:.0} s"
                );
            }
            Bar::TooSmall { largest: 0 } => "none of its contexts holds the request",
            Bar::TooSmall { largest } => {
                return format!("its largest context holds {largest} tokens");
            }
            Bar::Loads { model, left } => {
                let (model, left) = (self.model(model), left.as_secs_f64());
                return format!("it loads {model}, for about {left:.1} s more");
            }
        };
        text.to_owned()
    }

    /// Returns a start or a load as one line of the log.
    pub(super) fn line(&self, of: &StartExplanation) -> String {
        let row = self.row(of);
        let wanted = match of.wanted {
            Wanted::Model(model) => self.model(model),
            Wanted::Any | Wanted::Unlisted => "any model".to_owned(),
        };
        let server = row.server.as_deref().unwrap_or("no server");
        let mut line = format!("{} of {wanted} on {server}: {}", row.action, row.because);
        for (index, one) in row.candidates.iter().take(LOGGED).enumerate() {
            let before = if index == 0 { "; candidates: " } else { ", " };
            // Writing to a text cannot fail.
            let _ = write!(
                line,
                "{before}{} {:.3} s (queue {:.3}, load {:.3}, prefill {:.3}, penalty {:.3})",
                one.server,
                one.expected_seconds,
                one.queue_seconds,
                one.load_seconds,
                one.prefill_seconds,
                one.penalty_seconds
            );
        }
        for (index, one) in row.out.iter().take(LOGGED).enumerate() {
            let before = if index == 0 { "; out: " } else { ", " };
            let _ = write!(line, "{before}{} ({})", one.server, one.why);
        }
        let more = |count: usize| count.saturating_sub(LOGGED);
        match more(row.candidates.len()) + more(row.out.len()) {
            0 => {}
            more => {
                let _ = write!(line, "; and {more} more");
            }
        }
        line
    }
}

/// Says why the choice is what it is.
fn because(of: &StartExplanation) -> String {
    let chosen = of.candidates.first();
    let cost = |one: &StartCandidate| one.cost().as_secs_f64();
    let wait = of.wait.map(|wait| wait.as_secs_f64());
    match of.choice {
        StartChoice::Start(_) => match chosen.map(|one| one.state) {
            Some(CopyState::OnDisk) => "the model is loaded there with the request".to_owned(),
            _ if chosen.is_some_and(|one| one.running >= one.places) => {
                "its copy is tried with one request more than it is known to serve at once"
                    .to_owned()
            }
            _ => "it has a free slot and nothing to load".to_owned(),
        },
        StartChoice::Load(_) => {
            let cost = chosen.map_or(0.0, cost);
            match wait {
                Some(wait) => format!(
                    "a load costs {cost:.1} s there, and a copy would get to the request after {wait:.1} s"
                ),
                None => format!("no copy serves the request, and a load costs {cost:.1} s there"),
            }
        }
        StartChoice::Wait => {
            let mut loads = of.candidates.iter();
            let load = loads.find(|one| one.state == CopyState::OnDisk).map(cost);
            let twice = if of.second {
                ", which has to be worth twice that while another load is under way"
            } else {
                ""
            };
            match (wait, load) {
                (Some(wait), Some(load)) => format!(
                    "a copy gets to the request after {wait:.1} s, and another load would cost {load:.1} s{twice}"
                ),
                (Some(wait), None) => format!("a copy gets to the request after {wait:.1} s"),
                (None, Some(_)) => "its turn to be weighed for a load comes".to_owned(),
                (None, None) => "no server can start it or load the model now".to_owned(),
            }
        }
        StartChoice::Refuse(refusal) => refusal.to_string(),
    }
}

/// Returns seconds to the millisecond.
fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}
