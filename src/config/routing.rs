//! `routing:`, which model a name stands for, and what happens after a failed attempt.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::adaptive::{Adaptive, HealthCheck};
use super::breaker::Breaker;
use super::entries::{AnyOf, Entries};
use super::field::Field;
use super::reader::Section;
use super::retry::Retry;
use super::route::Route;
use super::scalar::{Choice, Whole};
use crate::settings::{self, Fallback, Fidelity, ReasoningField, Resume, Strategy, Truncate};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Routing {
    #[serde(flatten)]
    route: Route,
    max_retries: Field<Whole<0, 100>>,
    fallback: Field<Fallback>,
    slot_wait: Field<Duration>,
    retry: Retry,
    breaker: Breaker,
    adaptive: Adaptive,
    health_check: HealthCheck,
    fidelity: Field<Fidelity>,
    aliases: Entries<AnyOf>,
    bundled_aliases: Field<bool>,
    models_file: Field<PathBuf>,
    reasoning_field: Field<ReasoningField>,
    truncate: Field<Truncate>,
    resume: Field<Resume>,
}

impl Choice for Fidelity {
    const NAMES: &'static [(&'static str, Fidelity)] =
        &[("lenient", Fidelity::Lenient), ("strict", Fidelity::Strict)];
}

impl Choice for ReasoningField {
    const NAMES: &'static [(&'static str, ReasoningField)] = &[
        ("both", ReasoningField::Both),
        ("reasoning", ReasoningField::Reasoning),
        ("reasoning_content", ReasoningField::ReasoningContent),
    ];
}

impl Choice for Truncate {
    const NAMES: &'static [(&'static str, Truncate)] = &[
        ("never", Truncate::Never),
        ("as_client", Truncate::AsClient),
    ];
}

impl Choice for Resume {
    const NAMES: &'static [(&'static str, Resume)] = &[
        ("same_model", Resume::SameModel),
        ("off", Resume::Off),
        ("any", Resume::Any),
    ];
}

impl Routing {
    pub(super) fn template() -> Routing {
        Routing {
            route: Route::template(),
            aliases: Entries::template(),
            ..Routing::default()
        }
    }

    /// Returns what the section says of the checks of all cloud services.
    pub(super) fn health_check(&self) -> settings::HealthCheck {
        self.health_check.stated()
    }

    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Routing {
        let mut default = settings::Routing::default();
        if at.reader.is_optillm() {
            default.strategy = Strategy::Weighted;
        }
        self.route.used(&mut at, &mut default);
        let models_file = at.stated("models_file", self.models_file);
        if let Some(path) = &models_file
            && let Err(error) = std::fs::File::open(path)
        {
            at.problem(
                "models_file",
                format!("cannot read {}: {error}", path.display()),
            );
        }
        settings::Routing {
            max_retries: at
                .stated_or("max_retries", self.max_retries, "MAX_RETRIES")
                .map_or(default.max_retries, |retries| retries.0),
            fallback: at
                .stated_or("fallback", self.fallback, "FALLBACK_STRATEGY")
                .unwrap_or(default.fallback),
            slot_wait: at
                .stated("slot_wait", self.slot_wait)
                .unwrap_or(default.slot_wait),
            retry: self.retry.used(at.section("retry")),
            breaker: self.breaker.used(at.section("breaker")),
            adaptive: self.adaptive.used(at.section("adaptive")),
            health_check: self.health_check.used(at.section("health_check")),
            fidelity: at
                .stated("fidelity", self.fidelity)
                .unwrap_or(default.fidelity),
            aliases: self.aliases.lists(&mut at, "aliases"),
            bundled_aliases: at
                .stated("bundled_aliases", self.bundled_aliases)
                .unwrap_or(default.bundled_aliases),
            models_file,
            reasoning_field: at
                .stated("reasoning_field", self.reasoning_field)
                .unwrap_or(default.reasoning_field),
            truncate: at.stated("truncate", self.truncate).or(default.truncate),
            resume: at.stated("resume", self.resume).unwrap_or(default.resume),
            ..default
        }
    }
}

impl From<&settings::Routing> for Routing {
    fn from(used: &settings::Routing) -> Routing {
        Routing {
            route: used.into(),
            max_retries: Whole(used.max_retries).into(),
            fallback: used.fallback.into(),
            slot_wait: used.slot_wait.into(),
            retry: (&used.retry).into(),
            breaker: (&used.breaker).into(),
            adaptive: (&used.adaptive).into(),
            health_check: (&used.health_check).into(),
            fidelity: used.fidelity.into(),
            aliases: (&used.aliases).into(),
            bundled_aliases: used.bundled_aliases.into(),
            models_file: used.models_file.clone().into(),
            reasoning_field: used.reasoning_field.into(),
            truncate: used.truncate.into(),
            resume: used.resume.into(),
        }
    }
}
