//! `routing:`, which model a name stands for, and what happens after a failed attempt.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::entries::{Entries, ModelName};
use super::field::Field;
use super::reader::Section;
use super::scalar::{Choice, Whole};
use crate::settings::{self, Fidelity, ReasoningField};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Routing {
    max_retries: Field<Whole<0, 100>>,
    fidelity: Field<Fidelity>,
    aliases: Entries<ModelName>,
    bundled_aliases: Field<bool>,
    models_file: Field<PathBuf>,
    reasoning_field: Field<ReasoningField>,
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

impl Routing {
    pub(super) fn template() -> Routing {
        Routing {
            aliases: Entries::template(),
            ..Routing::default()
        }
    }

    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Routing {
        let default = settings::Routing::default();
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
            fidelity: at
                .stated("fidelity", self.fidelity)
                .unwrap_or(default.fidelity),
            aliases: self.aliases.names(&mut at, "aliases"),
            bundled_aliases: at
                .stated("bundled_aliases", self.bundled_aliases)
                .unwrap_or(default.bundled_aliases),
            models_file,
            reasoning_field: at
                .stated("reasoning_field", self.reasoning_field)
                .unwrap_or(default.reasoning_field),
        }
    }
}

impl From<&settings::Routing> for Routing {
    fn from(used: &settings::Routing) -> Routing {
        Routing {
            max_retries: Whole(used.max_retries).into(),
            fidelity: used.fidelity.into(),
            aliases: (&used.aliases).into(),
            bundled_aliases: used.bundled_aliases.into(),
            models_file: used.models_file.clone().into(),
            reasoning_field: used.reasoning_field.into(),
        }
    }
}
