//! `monitoring:`, what is logged and how.

use log::LevelFilter;
use serde::{Deserialize, Serialize};

use super::field::Field;
use super::reader::Section;
use super::scalar::{Choice, Scalar};
use crate::settings::{self, LogFormat};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Monitoring {
    log_level: Field<LevelFilter>,
    log_format: Field<LogFormat>,
    access_log: Field<bool>,
}

/// Ours and those of Python's logging, which the environment of other proxies uses.
impl Choice for LevelFilter {
    const NAMES: &'static [(&'static str, LevelFilter)] = &[
        ("trace", LevelFilter::Trace),
        ("debug", LevelFilter::Debug),
        ("info", LevelFilter::Info),
        ("warning", LevelFilter::Warn),
        ("warn", LevelFilter::Warn),
        ("error", LevelFilter::Error),
        ("critical", LevelFilter::Error),
        ("fatal", LevelFilter::Error),
        ("off", LevelFilter::Off),
    ];
}

impl Choice for LogFormat {
    const NAMES: &'static [(&'static str, LogFormat)] =
        &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}

impl Monitoring {
    pub(super) fn used(self, mut at: Section<'_, '_>) -> settings::Monitoring {
        let default = settings::Monitoring::default();
        settings::Monitoring {
            log_level: log_level(&mut at, self.log_level).unwrap_or(default.log_level),
            log_format: at
                .stated("log_format", self.log_format)
                .unwrap_or(default.log_format),
            access_log: at
                .stated("access_log", self.access_log)
                .unwrap_or(default.access_log),
        }
    }
}

/// Reads the level of the log. `DEBUG` is set for many programs, to many things: only a plain yes counts.
fn log_level(at: &mut Section<'_, '_>, field: Field<LevelFilter>) -> Option<LevelFilter> {
    let names = ["LOG_LEVEL", "OPTILLM_LOG_LEVEL"];
    let stated = at.stated_or_first("log_level", field, &names);
    let debug = at.reader.environment.setting("DEBUG");
    let debug = debug.is_some_and(|text| bool::read(&text.into()) == Ok(true));
    stated.or(debug.then_some(LevelFilter::Debug))
}

impl From<&settings::Monitoring> for Monitoring {
    fn from(used: &settings::Monitoring) -> Monitoring {
        Monitoring {
            log_level: used.log_level.into(),
            log_format: used.log_format.into(),
            access_log: used.access_log.into(),
        }
    }
}
