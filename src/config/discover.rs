//! `discover:` of a provider, the ports that are scanned; and the environment's port range.

use serde::{Deserialize, Serialize};

use super::address::{Host, Ports};
use super::field::Field;
use super::probes::Probes;
use super::reader::{Reader, Section};
use super::scalar::Whole;
use crate::settings::PortRange;

/// The provider that the environment describes.
pub(super) const LOCAL: &str = "local";

/// Each of these turns that provider on.
const VARIABLES: [&str; 5] = [
    "BACKEND_HOST",
    START,
    END,
    "BACKEND_CONNECT_TIMEOUT_SECONDS",
    "BACKEND_READ_TIMEOUT_SECONDS",
];
const START: &str = "BACKEND_PORT_START";
const END: &str = "BACKEND_PORT_END";

/// Returns the variable that turns the port range of the environment on, if any does.
pub(super) fn turned_on_by(reader: &Reader<'_>) -> Option<&'static str> {
    VARIABLES
        .into_iter()
        .find(|name| reader.environment.setting(name).is_some())
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Discover {
    host: Field<Host>,
    ports: Field<Ports>,
    #[serde(flatten)]
    pub(super) probes: Probes,
}

impl Discover {
    /// Returns the range. The environment fills what is open in the provider that it describes, and in no other.
    pub(super) fn used(self, at: &mut Section<'_, '_>, from_environment: bool) -> PortRange {
        let default = PortRange::default();
        let (host, ports) = if from_environment {
            (
                at.stated_or("host", self.host, "BACKEND_HOST"),
                match self.ports {
                    Field::Absent => range_from_environment(at.reader),
                    field => at.stated("ports", field),
                },
            )
        } else {
            (at.stated("host", self.host), at.stated("ports", self.ports))
        };
        PortRange {
            host: host.map_or(default.host, |host| host.0),
            ports: ports.map_or(default.ports, |ports| ports.0),
        }
    }
}

fn range_from_environment(reader: &mut Reader<'_>) -> Option<Ports> {
    let default = PortRange::default().ports;
    let start: Option<Whole<1, 65535>> = reader.variable(START);
    let end: Option<Whole<1, 65535>> = reader.variable(END);
    let start = start.map_or(u32::from(*default.start()), |port| port.0);
    let end = end.map_or(u32::from(*default.end()), |port| port.0);
    if start > end {
        let what = format!("the range is empty, as {START} is {start} and {END} is {end}");
        reader.variable_problem(START, what);
        return None;
    }
    Some(Ports(u16::try_from(start).ok()?..=u16::try_from(end).ok()?))
}

impl From<(&PortRange, Probes)> for Discover {
    fn from((range, probes): (&PortRange, Probes)) -> Discover {
        Discover {
            host: Host(range.host.clone()).into(),
            ports: Ports(range.ports.clone()).into(),
            probes,
        }
    }
}
