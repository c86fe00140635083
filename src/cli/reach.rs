//! `remuda check --reach`: asks every provider once, as the gateway would, and says what each has answered.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::{Backend, Fleet, Provider};
use crate::routing::{Changes, Router};
use crate::settings::{ProviderKind, Settings};
use remuda_formats::facts::Facts;

/// Servers of one provider that are shown; a range may hold a hundred.
const SHOWN: usize = 20;

/// What was found.
pub(super) struct Reached {
    /// A line for each provider and each of its servers.
    pub(super) text: String,
    /// Whether every provider answered and took its key, and every name leads somewhere.
    pub(super) well: bool,
}

/// Why nobody could be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReachError {
    #[error("{0}")]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Fleet(#[from] crate::fleet::FleetError),
    #[error(transparent)]
    Router(#[from] crate::routing::RouterError),
    #[error("routing.models_file: {0}")]
    Facts(String),
}

/// Asks all of them at once, for no longer than `patience`.
///
/// # Errors
/// If nobody can be asked.
pub(super) fn reach(settings: &Settings, patience: Duration) -> Result<Reached, ReachError> {
    let settings = Arc::new(settings.clone());
    let changes = Arc::new(Changes::default());
    let fleet = Fleet::guarded(
        &settings.providers,
        &settings.timeouts,
        &settings.routing,
        vec![Arc::clone(&changes) as _],
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // What has not answered by then shows in what is known.
    let _ = runtime.block_on(async { tokio::time::timeout(patience, fleet.refresh()).await });
    let mut told = Told::default();
    for provider in fleet.providers() {
        told.provider(&fleet, provider, patience);
    }
    if told.well {
        told.names(&settings, &fleet, changes)?;
    }
    // Whoever is still being asked is not waited for.
    runtime.shutdown_background();
    Ok(Reached {
        text: told.text,
        well: told.well,
    })
}

struct Told {
    text: String,
    well: bool,
}

impl Default for Told {
    fn default() -> Told {
        Told {
            text: String::new(),
            well: true,
        }
    }
}

impl Told {
    fn provider(&mut self, fleet: &Fleet, provider: &Provider, patience: Duration) {
        let snapshot = fleet.snapshot();
        let mine: Vec<_> = snapshot
            .iter()
            .filter(|backend| backend.provider.id == provider.id)
            .collect();
        let unresolved = provider.unresolved();
        let answering = mine.iter().filter(|backend| backend.healthy()).count();
        let expected = mine.len() + unresolved.len();
        let refused = provider.refusal().is_some();
        let wanting = |backend: &Backend| backend.healthy() && unlisted(backend).is_some();
        let lists = !mine.iter().any(|backend| wanting(backend));
        self.well &= answering == expected && answering > 0 && !refused && lists;
        let settings = &provider.settings;
        let how = match (answering, expected) {
            (0, 0) => "nobody answers".to_owned(),
            (0, 1) => "does not answer".to_owned(),
            (1, 1) => "answers".to_owned(),
            (answering, expected) => format!("{answering} of {expected} answer"),
        };
        let key = key(provider, answering > 0 && lists)
            .map_or_else(String::new, |key| format!("; {key}"));
        self.line(&format!(
            "{} ({}): {how}{key}",
            settings.name,
            settings.kind.name()
        ));
        for backend in mine.iter().take(SHOWN) {
            let found = match (backend.trouble(), backend.was_probed()) {
                _ if backend.healthy() => unlisted(backend).unwrap_or_else(|| found(backend)),
                (Some(trouble), _) => trouble.text,
                (None, true) => "is down".to_owned(),
                (None, false) => {
                    format!("no answer within {}", humantime::format_duration(patience))
                }
            };
            self.line(&format!("  {}: {found}", backend.name));
        }
        if mine.len() > SHOWN {
            self.line(&format!("  and {} more", mine.len() - SHOWN));
        }
        for name in unresolved {
            self.line(&format!("  {}: {}", name.name, name.trouble.text));
        }
        if let Some(range) = &settings.discover
            && mine.is_empty()
        {
            let (first, last) = (range.ports.start(), range.ports.end());
            self.line(&format!(
                "  no server on the ports {first} to {last} of {}",
                range.host
            ));
        }
    }

    /// Names of the configuration that nobody serves. It can be told once everybody has said what there is.
    fn names(
        &mut self,
        settings: &Arc<Settings>,
        fleet: &Arc<Fleet>,
        changes: Arc<Changes>,
    ) -> Result<(), ReachError> {
        let facts = match &settings.routing.models_file {
            None => Facts::bundled(),
            Some(path) => {
                let text = std::fs::read_to_string(path)?;
                Facts::with(&text).map_err(|problem| ReachError::Facts(problem.to_string()))?
            }
        };
        let view = Arc::clone(fleet);
        let router = Router::new(Arc::clone(settings), Arc::new(facts), view as _, changes)?;
        for one in router.unresolved() {
            self.well = false;
            self.line(&format!("{}: {:?}: {}", one.setting, one.name, one.why));
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }
}

/// Returns what the provider says of the key, as far as that can be told without a request that costs.
fn key(provider: &Provider, answers: bool) -> Option<String> {
    let settings = &provider.settings;
    if let Some(refusal) = provider.refusal() {
        return Some(refusal.text);
    }
    let has_key = settings.api_key.is_some() || settings.aws.access_key.is_some();
    if !has_key || !answers {
        return None;
    }
    let told = match settings.kind {
        // Whoever asks is shown its list.
        ProviderKind::OpenRouter => "its list of models is public, so the key was not tried",
        _ if !settings.list_models => {
            "it is not asked for a list of models, so the key was not tried"
        }
        _ => "key accepted",
    };
    Some(told.to_owned())
}

/// Returns what a service that answers has said in place of its models.
fn unlisted(backend: &Backend) -> Option<String> {
    let provider = &backend.provider;
    let untold = backend.inventory().is_untold() && provider.refusal().is_none();
    let complaints = || provider.complaints(&backend.name).into_iter();
    untold.then(|| complaints().next()).flatten()
}

fn found(backend: &Backend) -> String {
    let inventory = backend.inventory();
    let settings = &backend.provider.settings;
    let models = inventory.models.len() + inventory.offers().len();
    let mut found = vec![match models {
        1 => "1 model".to_owned(),
        models => format!("{models} models"),
    }];
    if !inventory.version.is_empty() {
        found.insert(0, format!("version {}", inventory.version));
    }
    for loaded in &inventory.loaded {
        let context = context(loaded.entry.raw.get());
        let context = context.map_or_else(String::new, |tokens| {
            format!(" with a context of {tokens} tokens")
        });
        found.push(format!("{} loaded{context}", loaded.entry.name));
    }
    if let Some(tokens) = settings.num_ctx {
        found.push(format!("num_ctx {tokens} for requests of other formats"));
    }
    found.join(", ")
}

/// Returns the `context_length` of an entry of `/api/ps`; older servers do not tell.
fn context(entry: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Entry {
        context_length: Option<u64>,
    }
    serde_json::from_str::<Entry>(entry).ok()?.context_length
}
