//! `pool:` of a provider, its upstream connections.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::duration::Positive;
use super::field::Field;
use super::reader::Section;
use super::scalar::{Count, Whole};
use crate::settings;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Pool {
    size: Field<Count<1>>,
    idle_timeout: Field<Positive>,
    http2: Field<bool>,
    verify: Field<bool>,
    ca_file: Field<PathBuf>,
}

impl Pool {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Pool {
        let default = settings::Pool::default();
        let ca_file = at.stated("ca_file", self.ca_file);
        if let Some(path) = &ca_file
            && let Err(error) = std::fs::File::open(path)
        {
            at.problem(
                "ca_file",
                format!("cannot read {}: {error}", path.display()),
            );
        }
        settings::Pool {
            size: at
                .stated("size", self.size)
                .map_or(default.size, Whole::size),
            idle_timeout: at
                .stated("idle_timeout", self.idle_timeout)
                .map_or(default.idle_timeout, |timeout| timeout.0),
            http2: at.stated("http2", self.http2).unwrap_or(default.http2),
            verify: at.stated("verify", self.verify).unwrap_or(default.verify),
            ca_file,
        }
    }
}

impl From<&settings::Pool> for Pool {
    fn from(used: &settings::Pool) -> Pool {
        Pool {
            size: Whole::of(used.size).into(),
            idle_timeout: Positive(used.idle_timeout).into(),
            http2: used.http2.into(),
            verify: used.verify.into(),
            ca_file: used.ca_file.clone().into(),
        }
    }
}
