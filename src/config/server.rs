//! `server:`, the listeners and what a client may send through them.

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
        self,
        mut at: Section<'_, '_>,
        default: settings::Server,
    ) -> settings::Server {
        let public = self.public.map(|pages| {
            let mut list = at.section("public");
            let pages = pages.into_iter().enumerate();
            let pages = pages.filter_map(|(index, page)| list.stated_item(index, page));
            pages.collect()
        });
        let listen = match self.listen {
            Field::Absent => listen_from_environment(&mut at, default.listen),
            field => at.stated("listen", field).unwrap_or(default.listen),
        };
        let max_header = at
            .stated("max_header", self.max_header)
            .map_or(default.max_header, Size::bytes);
        if !(MIN_HEADER..=MAX_HEADER).contains(&max_header) {
            at.problem(
                "max_header",
                format!("expected {MIN_HEADER} to {MAX_HEADER} bytes"),
            );
        }
        let mut list = at.section("allow");
        let allow = self.allow.into_iter().enumerate();
        let allow = allow.filter_map(|(index, one)| list.stated_item(index, one));
        let allow = allow.map(|network| network.0).collect();
        let mut list = at.section("hosts");
        let hosts = self.hosts.into_iter().enumerate();
        let hosts = hosts.filter_map(|(index, one)| list.stated_item(index, one));
        let hosts = hosts.collect();
        let allowed_origins = match self.allowed_origins.is_empty() {
            true => origins_from_environment(&mut at),
            false => {
                let mut list = at.section("allowed_origins");
                let origins = self.allowed_origins.into_iter().enumerate();
                let origins = origins.filter_map(|(index, one)| list.stated_item(index, one));
                origins.collect()
            }
        };
        settings::Server {
            listen,
            allow,
            hosts,
            allowed_origins,
            base_path: at
                .stated("base_path", self.base_path)
                .map_or(default.base_path, |path| path.0),
            admin: at
                .stated_or("admin", self.admin, "PROXY_ADMIN")
                .map_or(default.admin, |admin| admin.0),
            max_body: at
                .stated("max_body", self.max_body)
                .map_or(default.max_body, Size::bytes),
            max_buffered: at
                .stated("max_buffered", self.max_buffered)
                .map_or(default.max_buffered, Size::bytes),
            max_unsent: at
                .stated("max_unsent", self.max_unsent)
                .map_or(default.max_unsent, Size::bytes),
            max_header,
            header_timeout: at
                .stated("header_timeout", self.header_timeout)
                .map_or(default.header_timeout, |timeout| timeout.0),
            body_timeout: at
                .stated("body_timeout", self.body_timeout)
                .map_or(default.body_timeout, |timeout| timeout.0),
            max_body_time: at
                .stated("max_body_time", self.max_body_time)
                .map_or(default.max_body_time, |timeout| timeout.0),
            min_body_rate: at
                .stated("min_body_rate", self.min_body_rate)
                .map_or(default.min_body_rate, Size::bytes),
            keepalive_timeout: at
                .stated("keepalive_timeout", self.keepalive_timeout)
                .map_or(default.keepalive_timeout, |timeout| timeout.0),
            max_connections: at
                .stated("max_connections", self.max_connections)
                .map_or(default.max_connections, Whole::size),
            max_connections_per_address: at
                .stated(
                    "max_connections_per_address",
                    self.max_connections_per_address,
                )
                .map_or(default.max_connections_per_address, Whole::size),
            max_streams: at
                .stated("max_streams", self.max_streams)
                .map_or(default.max_streams, |streams| streams.0),
            max_requests_per_address: at
                .stated("max_requests_per_address", self.max_requests_per_address)
                .map_or(default.max_requests_per_address, |rate| rate.0),
            max_in_flight_per_client: at
                .stated("max_in_flight_per_client", self.max_in_flight_per_client)
                .map_or(default.max_in_flight_per_client, Whole::size),
            threads: at
                .stated("threads", self.threads)
                .map_or(default.threads, Whole::size),
            work_stealing: at
                .stated("work_stealing", self.work_stealing)
                .unwrap_or(default.work_stealing),
            drain_timeout: at
                .stated("drain_timeout", self.drain_timeout)
                .unwrap_or(default.drain_timeout),
            expose_backend: at
                .stated("expose_backend", self.expose_backend)
                .unwrap_or(default.expose_backend),
            reject_streaming: at
                .stated_or(
                    "reject_streaming",
                    self.reject_streaming,
                    "REJECT_STREAMING",
                )
                .unwrap_or(default.reject_streaming),
            manage: at.stated("manage", self.manage).unwrap_or(default.manage),
            forwarded: at
                .stated("forwarded", self.forwarded)
                .unwrap_or(default.forwarded),
            public: public.unwrap_or(default.public),
            health_status: at
                .stated("health_status", self.health_status)
                .unwrap_or(default.health_status),
            model_names: at
                .stated("model_names", self.model_names)
                .unwrap_or(default.model_names),
        }
    }
}

/// PROXY_HOST and PROXY_PORT, else HOST and PORT, else OPTILLM_PORT, each for itself.
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

/// `OLLAMA_ORIGINS`, as Ollama's server reads it.
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
