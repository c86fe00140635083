//! The configuration as written: every section, each key absent, stated or wrong.

use serde::{Deserialize, Serialize};

use super::access::{self, Key};
use super::discover::{self, LOCAL};
use super::enabled;
use super::monitoring::Monitoring;
use super::provider::Provider;
use super::queue::Queue;
use super::reader::{Reader, Section};
use super::routing::Routing;
use super::server::Server;
use super::shared::Shared;
use super::timeouts::Timeouts;
use super::usage::Usage;
use super::yaml::{self, Value};
use crate::settings::{self, HealthStatus, ModelNames, Settings};

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct File {
    server: Server,
    providers: Vec<Option<Provider>>,
    keys: Vec<Option<Key>>,
    shared: Shared,
    routing: Routing,
    timeouts: Timeouts,
    queue: Queue,
    monitoring: Monitoring,
    usage: Usage,
}

/// Returns every known key, as `known::check` wants it.
pub(super) fn template() -> Value {
    let file = File {
        server: Server::template(),
        keys: vec![Some(Key::template())],
        providers: vec![Some(Provider::template())],
        routing: Routing::template(),
        ..File::default()
    };
    yaml::to_value(file).expect("fields and sections are plain values")
}

impl File {
    /// Reads the file into settings. It never fails: what is wrong is kept by the reader.
    pub(super) fn used(mut self, reader: &mut Reader<'_>) -> Settings {
        let range = discover::turned_on_by(reader);
        let listed = !self.providers.is_empty();
        if !listed {
            self.providers = enabled::providers(reader).into_iter().map(Some).collect();
        }
        // The bounds of a proxy that knows nothing but one range of ports are those of the
        // balancer whose environment it takes over.
        let (queue, timeouts) = if self.providers.is_empty() {
            (range_queue(), range_timeouts())
        } else if reader.is_optillm() {
            (optillm_queue(), optillm_timeouts())
        } else {
            Default::default()
        };
        reader.health_check = self.routing.health_check();
        let server = if reader.is_optillm() {
            optillm_server()
        } else {
            settings::Server {
                model_names: if listed || self.providers.is_empty() {
                    ModelNames::Slash
                } else {
                    // As of the proxies that have no other configuration.
                    ModelNames::Both
                },
                ..Default::default()
            }
        };
        let server = self.server.used(reader.section("server"), server);
        let providers = used_providers(self.providers, listed, reader.section("providers"), range);
        Settings {
            server,
            access: access::used(self.keys, self.shared, &providers, reader),
            providers,
            routing: self.routing.used(reader.section("routing")),
            timeouts: self.timeouts.used(reader.section("timeouts"), timeouts),
            queue: self.queue.used(reader.section("queue"), queue),
            monitoring: self.monitoring.used(reader.section("monitoring")),
            usage: self.usage.used(reader.section("usage")),
        }
    }
}

/// Returns the server's section as OptiLLM's server and its proxy plugin have it, for what their file leaves out.
fn optillm_server() -> settings::Server {
    let default = settings::Server::default();
    settings::Server {
        listen: (default.listen.ip(), 8000).into(),
        health_status: HealthStatus::Ok,
        ..default
    }
}

fn optillm_queue() -> settings::Queue {
    settings::Queue {
        max_concurrent: 100,
        ..Default::default()
    }
}

fn optillm_timeouts() -> settings::Timeouts {
    settings::Timeouts {
        first_byte: std::time::Duration::from_secs(30),
        ..Default::default()
    }
}

fn range_queue() -> settings::Queue {
    settings::Queue {
        timeout: std::time::Duration::from_secs(3600),
        ..Default::default()
    }
}

fn range_timeouts() -> settings::Timeouts {
    let read = std::time::Duration::from_secs(600);
    settings::Timeouts {
        connect: std::time::Duration::from_secs(2),
        first_byte: read,
        between_chunks: read,
        ..Default::default()
    }
}

/// Returns the providers that are written, `listed` in the file or made of the environment, and the environment's port
/// range where a variable turns it on or there is nothing else. In a provider of that name in the file it fills what is
/// open.
fn used_providers(
    mut written: Vec<Option<Provider>>,
    listed: bool,
    mut at: Section<'_, '_>,
    range: Option<&'static str>,
) -> Vec<settings::Provider> {
    let mut local = None;
    if written.is_empty() || range.is_some() {
        let named = |provider: &Option<Provider>| provider.as_ref().is_some_and(Provider::is_local);
        local = written.iter().position(named).or_else(|| {
            written.push(Some(Provider::local()));
            Some(written.len() - 1)
        });
    }
    if let (Some(variable), true) = (range, listed) {
        let what =
            format!("turns on the port range, as provider {LOCAL:?} beside those of the file");
        at.reader.variable_warning(variable, what);
    }
    written
        .into_iter()
        .enumerate()
        .filter_map(|(index, provider)| Some(provider?.used(at.item(index), local == Some(index))))
        .collect()
}

impl From<&Settings> for File {
    fn from(used: &Settings) -> File {
        File {
            server: (&used.server).into(),
            keys: used
                .access
                .keys
                .iter()
                .map(|key| Some(key.into()))
                .collect(),
            shared: (&used.access.shared).into(),
            providers: used
                .providers
                .iter()
                .map(|provider| Some(provider.into()))
                .collect(),
            routing: (&used.routing).into(),
            timeouts: (&used.timeouts).into(),
            queue: (&used.queue).into(),
            monitoring: (&used.monitoring).into(),
            usage: (&used.usage).into(),
        }
    }
}
