//! `timeouts:`, the bounds on the upstream side of a request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::Positive;
use super::field::Field;
use super::reader::Section;
use crate::settings;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Timeouts {
    connect: Field<Positive>,
    /// The wait for the start of an answer under its older name; `first_byte` goes before it.
    request: Field<Positive>,
    first_byte: Field<Positive>,
    silent: Field<Positive>,
    between_chunks: Field<Positive>,
    load: Field<Positive>,
    keep_alive: Field<Duration>,
    total: Field<Duration>,
}

impl Timeouts {
    /// Reads the section. `BACKEND_READ_TIMEOUT_SECONDS` bounds every wait for bytes, the first and those between.
    pub(super) fn used(
        self,
        mut at: Section<'_, '_>,
        default: settings::Timeouts,
    ) -> settings::Timeouts {
        let read = "BACKEND_READ_TIMEOUT_SECONDS";
        let request = at.stated("request", self.request);
        let first_byte = match (self.first_byte, request) {
            (Field::Absent, Some(request)) => Some(request),
            (field, _) => at.stated_or("first_byte", field, read),
        };
        let first_byte = first_byte.map_or(default.first_byte, |timeout| timeout.0);
        settings::Timeouts {
            connect: at
                .stated_or("connect", self.connect, "BACKEND_CONNECT_TIMEOUT_SECONDS")
                .map_or(default.connect, |timeout| timeout.0),
            first_byte,
            silent: at
                .stated("silent", self.silent)
                .map_or(default.silent.max(first_byte), |timeout| timeout.0),
            between_chunks: at
                .stated_or("between_chunks", self.between_chunks, read)
                .map_or(default.between_chunks, |timeout| timeout.0),
            load: at
                .stated("load", self.load)
                .map_or(default.load, |timeout| timeout.0),
            keep_alive: at
                .stated("keep_alive", self.keep_alive)
                .map_or(default.keep_alive, unless_zero),
            total: at
                .stated("total", self.total)
                .map_or(default.total, unless_zero),
        }
    }
}

fn unless_zero(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}

/// `timeouts:` of one provider.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct ProviderTimeouts {
    connect: Field<Positive>,
    first_byte: Field<Positive>,
    silent: Field<Positive>,
    between_chunks: Field<Positive>,
    total: Field<Positive>,
}

impl ProviderTimeouts {
    /// Reads the section of a provider. `service` lists the variables that bound the wait for the start of the
    /// service's answers.
    pub(super) fn used(
        self,
        mut at: Section<'_, '_>,
        service: &[String],
    ) -> settings::ProviderTimeouts {
        let time = |timeout: Positive| timeout.0;
        settings::ProviderTimeouts {
            connect: at.stated("connect", self.connect).map(time),
            first_byte: at
                .stated_or_first("first_byte", self.first_byte, service)
                .map(time),
            silent: at.stated("silent", self.silent).map(time),
            between_chunks: at.stated("between_chunks", self.between_chunks).map(time),
            total: at.stated("total", self.total).map(time),
        }
    }
}

impl From<&settings::ProviderTimeouts> for ProviderTimeouts {
    fn from(used: &settings::ProviderTimeouts) -> ProviderTimeouts {
        let field = |time: Option<Duration>| Field::from(time.map(Positive));
        ProviderTimeouts {
            connect: field(used.connect),
            first_byte: field(used.first_byte),
            silent: field(used.silent),
            between_chunks: field(used.between_chunks),
            total: field(used.total),
        }
    }
}

impl From<&settings::Timeouts> for Timeouts {
    fn from(used: &settings::Timeouts) -> Timeouts {
        Timeouts {
            connect: Positive(used.connect).into(),
            request: Field::Absent,
            first_byte: Positive(used.first_byte).into(),
            silent: Positive(used.silent).into(),
            between_chunks: Positive(used.between_chunks).into(),
            load: Positive(used.load).into(),
            keep_alive: used.keep_alive.unwrap_or_default().into(),
            total: used.total.into(),
        }
    }
}
