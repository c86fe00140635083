//! `routing:`, what happens after a failed attempt.

use serde::{Deserialize, Serialize};

use super::field::Field;
use super::reader::Section;
use super::scalar::Whole;
use crate::settings;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Routing {
    max_retries: Field<Whole<0, 100>>,
}

impl Routing {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Routing {
        let default = settings::Routing::default();
        settings::Routing {
            max_retries: at
                .stated_or("max_retries", self.max_retries, "MAX_RETRIES")
                .map_or(default.max_retries, |retries| retries.0),
            ..default
        }
    }
}

impl From<&settings::Routing> for Routing {
    fn from(used: &settings::Routing) -> Routing {
        Routing {
            max_retries: Whole(used.max_retries).into(),
        }
    }
}
