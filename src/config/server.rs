//! `server:`, the listeners and what a client may send through them.

use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Allowed;
use super::address::Listener;
use super::duration::Positive;
use super::field::Field;
use super::origin::{BasePath, Origins};
use super::rate::MaybeRate;
use super::reader::Section;
use super::scalar::{Choice, Count, Whole};
use super::size::Size;
use crate::settings::{self, Forwarded, HealthStatus, HostName, ModelNames, Origin, PublicPage};

/// Pingora reads no request head beyond this (`MAX_HEADER_SIZE`).
const MAX_HEADER: usize = (1 << 20) - 1;
/// Below this an ordinary browser's request does not pass.
const MIN_HEADER: usize = 1 << 10;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Server {
    listen: Field<SocketAddr>,
    allow: Vec<Field<Allowed>>,
    hosts: Vec<Field<HostName>>,
    allowed_origins: Vec<Field<Origin>>,
    base_path: Field<BasePath>,
    admin: Field<Listener>,
    max_body: Field<Size>,
    max_buffered: Field<Size>,
    max_unsent: Field<Size>,
    max_header: Field<Size>,
    header_timeout: Field<Positive>,
    body_timeout: Field<Positive>,
    max_body_time: Field<Positive>,
    min_body_rate: Field<Size>,
    keepalive_timeout: Field<Positive>,
    max_connections: Field<Count<1>>,
    max_connections_per_address: Field<Count<0>>,
    max_streams: Field<Whole<1, 10_000>>,
    max_requests_per_address: Field<MaybeRate>,
    max_in_flight_per_client: Field<Count<0>>,
    threads: Field<Whole<1, 1024>>,
    work_stealing: Field<bool>,
    drain_timeout: Field<Duration>,
    expose_backend: Field<bool>,
    reject_streaming: Field<bool>,
    manage: Field<bool>,
    forwarded: Field<Forwarded>,
    public: Option<Vec<Field<PublicPage>>>,
    health_status: Field<HealthStatus>,
    model_names: Field<ModelNames>,
}

impl Choice for Forwarded {
    const NAMES: &'static [(&'static str, Forwarded)] = &[
        ("append", Forwarded::Append),
        ("replace", Forwarded::Replace),
        ("off", Forwarded::Off),
    ];
}

impl Choice for PublicPage {
    const NAMES: &'static [(&'static str, PublicPage)] = &[
        ("health", PublicPage::Health),
        ("providers", PublicPage::Providers),
        ("tags", PublicPage::Tags),
        ("backends", PublicPage::Backends),
        ("metrics", PublicPage::Metrics),
    ];
}

impl Choice for HealthStatus {
    const NAMES: &'static [(&'static str, HealthStatus)] =
        &[("states", HealthStatus::States), ("ok", HealthStatus::Ok)];
}

impl Choice for ModelNames {
    const NAMES: &'static [(&'static str, ModelNames)] = &[
        ("slash", ModelNames::Slash),
        ("dash", ModelNames::Dash),
        ("both", ModelNames::Both),
    ];
}

impl Server {
    pub(super) fn template() -> Server {
        Server {
            public: Some(vec![Field::Absent]),
            allow: vec![Field::Absent],
            hosts: vec![Field::Absent],
            allowed_origins: vec![Field::Absent],
            ..Server::default()
        }
    }

    pub(super) fn used(
        mut self,
        mut at: Section<'_, '_>,
        default: settings::Server,
    ) -> settings::Server {
        let mut used = default;
        self.set_clients(&mut at, &mut used);
        self.set_requests(&mut at, &mut used);
        self.set_connections(&mut at, &mut used);
        self.set_pages(&mut at, &mut used);
        used
    }

    /// Sets where clients and operators ask, and which clients may.
    fn set_clients(&mut self, at: &mut Section<'_, '_>, used: &mut settings::Server) {
        match &mut self.listen {
            Field::Absent => used.listen = listen_from_environment(at, used.listen),
            field => at.set("listen", field, &mut used.listen),
        }
        let allow = at.stated_list("allow", take(&mut self.allow)).into_iter();
        used.allow = allow.map(|network| network.0).collect();
        used.hosts = at.stated_list("hosts", take(&mut self.hosts));
        used.allowed_origins = if self.allowed_origins.is_empty() {
            origins_from_environment(at)
        } else {
            at.stated_list("allowed_origins", take(&mut self.allowed_origins))
        };
        at.set("base_path", &mut self.base_path, &mut used.base_path);
        at.set_or("admin", &mut self.admin, "PROXY_ADMIN", &mut used.admin);
        at.set("forwarded", &mut self.forwarded, &mut used.forwarded);
    }

    /// Sets the bounds on heads and bodies.
    fn set_requests(&mut self, at: &mut Section<'_, '_>, used: &mut settings::Server) {
        at.set("max_header", &mut self.max_header, &mut used.max_header);
        if !(MIN_HEADER..=MAX_HEADER).contains(&used.max_header) {
            let expected = format!("expected {MIN_HEADER} to {MAX_HEADER} bytes");
            at.problem("max_header", expected);
        }
        at.set("max_body", &mut self.max_body, &mut used.max_body);
        at.set(
            "max_buffered",
            &mut self.max_buffered,
            &mut used.max_buffered,
        );
        at.set("max_unsent", &mut self.max_unsent, &mut used.max_unsent);
        at.set(
            "header_timeout",
            &mut self.header_timeout,
            &mut used.header_timeout,
        );
        at.set(
            "body_timeout",
            &mut self.body_timeout,
            &mut used.body_timeout,
        );
        at.set(
            "max_body_time",
            &mut self.max_body_time,
            &mut used.max_body_time,
        );
        at.set(
            "min_body_rate",
            &mut self.min_body_rate,
            &mut used.min_body_rate,
        );
        at.set_or(
            "reject_streaming",
            &mut self.reject_streaming,
            "REJECT_STREAMING",
            &mut used.reject_streaming,
        );
    }

    /// Sets the bounds on connections and on what one client may have, and who serves them.
    fn set_connections(&mut self, at: &mut Section<'_, '_>, used: &mut settings::Server) {
        at.set(
            "keepalive_timeout",
            &mut self.keepalive_timeout,
            &mut used.keepalive_timeout,
        );
        at.set(
            "max_connections",
            &mut self.max_connections,
            &mut used.max_connections,
        );
        at.set(
            "max_connections_per_address",
            &mut self.max_connections_per_address,
            &mut used.max_connections_per_address,
        );
        at.set("max_streams", &mut self.max_streams, &mut used.max_streams);
        at.set(
            "max_requests_per_address",
            &mut self.max_requests_per_address,
            &mut used.max_requests_per_address,
        );
        at.set(
            "max_in_flight_per_client",
            &mut self.max_in_flight_per_client,
            &mut used.max_in_flight_per_client,
        );
        at.set("threads", &mut self.threads, &mut used.threads);
        at.set(
            "work_stealing",
            &mut self.work_stealing,
            &mut used.work_stealing,
        );
        at.set(
            "drain_timeout",
            &mut self.drain_timeout,
            &mut used.drain_timeout,
        );
    }

    /// Sets what the gateway says of itself and its backends.
    fn set_pages(&mut self, at: &mut Section<'_, '_>, used: &mut settings::Server) {
        if let Some(pages) = self.public.take() {
            used.public = at.stated_list("public", pages);
        }
        at.set(
            "expose_backend",
            &mut self.expose_backend,
            &mut used.expose_backend,
        );
        at.set("manage", &mut self.manage, &mut used.manage);
        at.set(
            "health_status",
            &mut self.health_status,
            &mut used.health_status,
        );
        at.set("model_names", &mut self.model_names, &mut used.model_names);
    }
}

/// Reads PROXY_HOST and PROXY_PORT, else HOST and PORT, else OPTILLM_PORT, each for itself.
fn listen_from_environment(at: &mut Section<'_, '_>, default: SocketAddr) -> SocketAddr {
    let host: Option<IpAddr> = at.stated_or_first("listen", Field::Absent, &["PROXY_HOST", "HOST"]);
    let ports = ["PROXY_PORT", "PORT", "OPTILLM_PORT"];
    let port: Option<Whole<0, 65535>> = at.stated_or_first("listen", Field::Absent, &ports);
    SocketAddr::new(
        host.unwrap_or(default.ip()),
        port.and_then(|port| u16::try_from(port.0).ok())
            .unwrap_or(default.port()),
    )
}

/// Reads `OLLAMA_ORIGINS`, as Ollama's server does.
fn origins_from_environment(at: &mut Section<'_, '_>) -> Vec<Origin> {
    let origins = at.stated_or("allowed_origins", Field::Absent, "OLLAMA_ORIGINS");
    origins.map_or_else(Vec::new, |Origins(origins)| origins)
}

impl From<&settings::Server> for Server {
    fn from(used: &settings::Server) -> Server {
        Server {
            listen: used.listen.into(),
            allow: used.allow.iter().map(|one| Allowed(*one).into()).collect(),
            hosts: used.hosts.iter().cloned().map(Field::from).collect(),
            allowed_origins: used
                .allowed_origins
                .iter()
                .cloned()
                .map(Field::from)
                .collect(),
            base_path: used
                .base_path
                .clone()
                .map(|path| BasePath(Some(path)))
                .into(),
            admin: Listener(used.admin).into(),
            max_body: Size::from(used.max_body).into(),
            max_buffered: Size::from(used.max_buffered).into(),
            max_unsent: Size::from(used.max_unsent).into(),
            max_header: Size::from(used.max_header).into(),
            header_timeout: Positive(used.header_timeout).into(),
            body_timeout: Positive(used.body_timeout).into(),
            max_body_time: Positive(used.max_body_time).into(),
            min_body_rate: Size::from(used.min_body_rate).into(),
            keepalive_timeout: Positive(used.keepalive_timeout).into(),
            max_connections: Whole::of(used.max_connections).into(),
            max_connections_per_address: Whole::of(used.max_connections_per_address).into(),
            max_streams: Whole(used.max_streams).into(),
            max_requests_per_address: used
                .max_requests_per_address
                .map(|rate| MaybeRate(Some(rate)))
                .into(),
            max_in_flight_per_client: Whole::of(used.max_in_flight_per_client).into(),
            threads: Whole::of(used.threads).into(),
            work_stealing: used.work_stealing.into(),
            drain_timeout: used.drain_timeout.into(),
            expose_backend: used.expose_backend.into(),
            reject_streaming: used.reject_streaming.into(),
            manage: used.manage.into(),
            forwarded: used.forwarded.into(),
            public: Some(used.public.iter().map(|page| (*page).into()).collect()),
            health_status: used.health_status.into(),
            model_names: used.model_names.into(),
        }
    }
}
