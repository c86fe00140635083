//! Which pages tell about the gateway itself, and which of them the client listener serves.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::workers::Stuck;
use super::{Page, Workers, health, pages, providers, refresh};
use crate::access::View;
use crate::admission::Dispatcher;
use crate::facts::Facts;
use crate::fleet::Fleet;
use crate::metrics::{Labels, Metrics};
use crate::routing::Router;
use crate::settings::{PublicPage, Settings};
use crate::usage::Ledger;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Clients are not listened to yet.
    Starting,
    Serving,
    /// What is in flight goes on, and nothing else is to come.
    Draining,
}

/// Tells where the process is in its life.
pub type Lifecycle = Arc<dyn Fn() -> Stage + Send + Sync>;

/// What the pages are made from.
pub struct Introspection {
    pub settings: Arc<Settings>,
    pub fleet: Arc<Fleet>,
    pub dispatcher: Arc<Dispatcher>,
    pub metrics: Arc<Metrics>,
    pub facts: Arc<Facts>,
    pub router: Arc<Router>,
    /// `None` where usage is not counted.
    pub ledger: Option<Arc<Ledger>>,
    pub lifecycle: Lifecycle,
    pub workers: Arc<Workers>,
    pub started: Instant,
}

/// One page, as a path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    Health,
    Live,
    Ready,
    Detailed,
    ProvidersHealth,
    ProviderHealth(&'a str),
    Totals,
    Providers,
    Stats(&'a str),
    TagsOf(&'a str),
    BalancerHealth,
    BalancerBackends,
    Metrics,
}

impl<'a> Place<'a> {
    /// The route of every page.
    pub const ROUTES: [&'static str; 13] = [
        "/health",
        "/health/live",
        "/health/ready",
        "/health/detailed",
        "/health/providers",
        "/health/providers/{provider}",
        "/health/metrics",
        "/api/providers",
        "/api/providers/{provider}/stats",
        "/api/tags/{provider}",
        "/__proxy/health",
        "/__proxy/backends",
        "/metrics",
    ];

    /// The page at `path`.
    pub fn find(path: &'a str) -> Option<Self> {
        let named = |name: &'a str| (!name.is_empty() && !name.contains('/')).then_some(name);
        Some(match path {
            "/health" | "/health/" => Place::Health,
            "/health/live" => Place::Live,
            "/health/ready" => Place::Ready,
            "/health/detailed" => Place::Detailed,
            "/health/providers" => Place::ProvidersHealth,
            "/health/metrics" => Place::Totals,
            "/api/providers" => Place::Providers,
            "/__proxy/health" => Place::BalancerHealth,
            "/__proxy/backends" => Place::BalancerBackends,
            "/metrics" => Place::Metrics,
            _ => {
                if let Some(name) = path.strip_prefix("/health/providers/") {
                    return named(name).map(Place::ProviderHealth);
                }
                if let Some(name) = path.strip_prefix("/api/tags/") {
                    return named(name).map(Place::TagsOf);
                }
                let name = path.strip_prefix("/api/providers/")?;
                return named(name.strip_suffix("/stats")?).map(Place::Stats);
            }
        })
    }

    /// The route as it stands in the table of `docs/api.md`, for metrics and logs.
    pub fn route(self) -> &'static str {
        match self {
            Place::Health => "/health",
            Place::Live => "/health/live",
            Place::Ready => "/health/ready",
            Place::Detailed => "/health/detailed",
            Place::ProvidersHealth => "/health/providers",
            Place::ProviderHealth(_) => "/health/providers/{provider}",
            Place::Totals => "/health/metrics",
            Place::Providers => "/api/providers",
            Place::Stats(_) => "/api/providers/{provider}/stats",
            Place::TagsOf(_) => "/api/tags/{provider}",
            Place::BalancerHealth => "/__proxy/health",
            Place::BalancerBackends => "/__proxy/backends",
            Place::Metrics => "/metrics",
        }
    }

    /// What `server.public` calls it.
    pub fn group(self) -> PublicPage {
        match self {
            Place::Health
            | Place::Live
            | Place::Ready
            | Place::Detailed
            | Place::ProvidersHealth
            | Place::ProviderHealth(_)
            | Place::Totals => PublicPage::Health,
            Place::Providers | Place::Stats(_) => PublicPage::Providers,
            Place::TagsOf(_) => PublicPage::Tags,
            Place::BalancerHealth | Place::BalancerBackends => PublicPage::Backends,
            Place::Metrics => PublicPage::Metrics,
        }
    }

    /// Whether whoever asks for it may stay unknown even where clients need keys: probes have none.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Place::Health | Place::Live | Place::Ready | Place::BalancerHealth
        )
    }
}

impl Introspection {
    /// The page at `path`, if the client listener serves it.
    pub fn public<'a>(&self, path: &'a str) -> Option<Place<'a>> {
        Place::find(path).filter(|place| self.settings.server.public.contains(&place.group()))
    }

    /// Answers a `GET` of whoever sees `view`. With `terse`, pages that are open say no more than how things are.
    pub fn page(&self, place: Place<'_>, terse: bool, view: View<'_>) -> Page {
        let seen = view.unfiltered();
        match place {
            Place::Health => health::overall(self, terse, seen),
            Place::Live => self.live(),
            Place::Ready => self.ready(),
            Place::Detailed => health::detailed(self, seen),
            Place::ProvidersHealth => health::providers(self, seen),
            Place::ProviderHealth(name) => health::provider(self, name, seen),
            Place::Totals => health::totals(self, seen),
            Place::Providers => providers::all(self, seen),
            Place::Stats(name) => providers::stats(self, name, seen),
            Place::TagsOf(name) => providers::tags(self, name, view),
            Place::BalancerHealth => self.balancer_health(200, "ok"),
            Place::BalancerBackends => pages::backends(&self.fleet, &self.router, view),
            Place::Metrics => self.metrics_page(seen),
        }
    }

    fn metrics_page(&self, view: View<'_>) -> Page {
        refresh(&self.metrics, &self.fleet, &self.dispatcher);
        let rendered = match view.limited_to() {
            None => self.metrics.render(),
            Some(key) => self
                .metrics
                .render_where(|labels| is_seen(labels, key, view)),
        };
        match rendered {
            Ok(text) => {
                let content_type = "text/plain; version=0.0.4; charset=utf-8";
                Page::new(200, content_type, text.into())
            }
            Err(error) => {
                log::error!("metrics cannot be rendered: {error}");
                Page::error(500, "metrics cannot be rendered")
            }
        }
    }

    /// Whether the process does what it is there for, or has to be started anew.
    fn live(&self) -> Page {
        #[derive(serde::Serialize)]
        struct Dead {
            status: &'static str,
            reason: String,
        }
        let Some(stuck) = self.workers.stuck(Instant::now()) else {
            return self.balancer_health(200, "ok");
        };
        let Stuck { count, of, longest } = stuck;
        let dead = Dead {
            status: "stuck",
            reason: format!(
                "{count} of {of} workers have run nothing for up to {} s",
                longest.as_secs()
            ),
        };
        Page::json(503, &dead)
    }

    fn ready(&self) -> Page {
        match (self.lifecycle)() {
            Stage::Starting => return self.balancer_health(503, "starting"),
            Stage::Draining => return self.balancer_health(503, "draining"),
            Stage::Serving => {}
        }
        match pages::healthy_backends(&self.fleet) {
            0 => self.balancer_health(503, "no healthy backend"),
            _ => self.balancer_health(200, "ok"),
        }
    }

    fn balancer_health(&self, status: u16, text: &'static str) -> Page {
        #[derive(serde::Serialize)]
        struct Health {
            status: &'static str,
            healthy_backends: usize,
        }
        let health = Health {
            status: text,
            healthy_backends: pages::healthy_backends(&self.fleet),
        };
        Page::json(status, &health)
    }
}

/// Seconds since 1970.
pub(super) fn unix(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Whether a sample is about what the key may see: its own use, and its providers and models.
fn is_seen(labels: &Labels<'_>, key: &str, view: View<'_>) -> bool {
    let of_another = labels.get("remuda_key").is_some_and(|of| of != key);
    let provider = labels.get("remuda_provider");
    let of_provider = provider.is_none_or(|provider| view.asks(provider));
    // Models without a name of their own may be any.
    let model = labels.get("gen_ai_request_model");
    let of_model = model.is_none_or(|model| view.shows(provider.unwrap_or_default(), &[model]));
    !of_another && of_provider && of_model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_leads_to_its_page() {
        for route in Place::ROUTES {
            let path = route.replace("{provider}", "openai");
            assert_eq!(Place::find(&path).map(Place::route), Some(route));
        }
    }

    #[test]
    fn paths_name_pages() {
        for (path, place, route) in [
            ("/health", Place::Health, "/health"),
            ("/health/", Place::Health, "/health"),
            (
                "/health/providers/openai",
                Place::ProviderHealth("openai"),
                "/health/providers/{provider}",
            ),
            (
                "/api/providers/gpus/stats",
                Place::Stats("gpus"),
                "/api/providers/{provider}/stats",
            ),
            (
                "/api/tags/openai",
                Place::TagsOf("openai"),
                "/api/tags/{provider}",
            ),
        ] {
            assert_eq!(Place::find(path), Some(place), "{path}");
            assert_eq!(place.route(), route);
        }
        for path in [
            "/",
            "/api/tags",
            "/api/tags/",
            "/api/tags/a/b",
            "/api/providers/",
            "/api/providers/gpus",
            "/api/providers//stats",
            "/api/providers/a/b/stats",
            "/health/providers/",
            "/healthy",
        ] {
            assert_eq!(Place::find(path), None, "{path}");
        }
    }
}
