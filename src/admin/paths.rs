//! Which pages tell about the gateway itself, and which of them the client listener serves.

use std::time::Instant;

use super::gauges::refresh;
use super::introspection::{Introspection, Stage};
use super::page::Page;
use super::workers::Stuck;
use super::{backends, health, providers, state};
use crate::access::Visibility;
use crate::metrics::Labels;
use crate::settings::PublicPage;

/// One page, as a path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagePath<'a> {
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

impl<'a> PagePath<'a> {
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

    /// Returns the page at `path`.
    pub fn find(path: &'a str) -> Option<Self> {
        let named = |name: &'a str| (!name.is_empty() && !name.contains('/')).then_some(name);
        Some(match path {
            "/health" | "/health/" => PagePath::Health,
            "/health/live" => PagePath::Live,
            "/health/ready" => PagePath::Ready,
            "/health/detailed" => PagePath::Detailed,
            "/health/providers" => PagePath::ProvidersHealth,
            "/health/metrics" => PagePath::Totals,
            "/api/providers" => PagePath::Providers,
            "/__proxy/health" => PagePath::BalancerHealth,
            "/__proxy/backends" => PagePath::BalancerBackends,
            "/metrics" => PagePath::Metrics,
            _ => {
                if let Some(name) = path.strip_prefix("/health/providers/") {
                    return named(name).map(PagePath::ProviderHealth);
                }
                if let Some(name) = path.strip_prefix("/api/tags/") {
                    return named(name).map(PagePath::TagsOf);
                }
                let name = path.strip_prefix("/api/providers/")?;
                return named(name.strip_suffix("/stats")?).map(PagePath::Stats);
            }
        })
    }

    /// Returns the route as it stands in the table of `docs/api.md`, for metrics and logs.
    pub fn route(self) -> &'static str {
        match self {
            PagePath::Health => "/health",
            PagePath::Live => "/health/live",
            PagePath::Ready => "/health/ready",
            PagePath::Detailed => "/health/detailed",
            PagePath::ProvidersHealth => "/health/providers",
            PagePath::ProviderHealth(_) => "/health/providers/{provider}",
            PagePath::Totals => "/health/metrics",
            PagePath::Providers => "/api/providers",
            PagePath::Stats(_) => "/api/providers/{provider}/stats",
            PagePath::TagsOf(_) => "/api/tags/{provider}",
            PagePath::BalancerHealth => "/__proxy/health",
            PagePath::BalancerBackends => "/__proxy/backends",
            PagePath::Metrics => "/metrics",
        }
    }

    /// Returns the name of the page in `server.public`.
    pub fn group(self) -> PublicPage {
        match self {
            PagePath::Health
            | PagePath::Live
            | PagePath::Ready
            | PagePath::Detailed
            | PagePath::ProvidersHealth
            | PagePath::ProviderHealth(_)
            | PagePath::Totals => PublicPage::Health,
            PagePath::Providers | PagePath::Stats(_) => PublicPage::Providers,
            PagePath::TagsOf(_) => PublicPage::Tags,
            PagePath::BalancerHealth | PagePath::BalancerBackends => PublicPage::Backends,
            PagePath::Metrics => PublicPage::Metrics,
        }
    }

    /// Returns whether a client may stay unknown here even where clients need keys: probes have none.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            PagePath::Health | PagePath::Live | PagePath::Ready | PagePath::BalancerHealth
        )
    }
}

impl Introspection {
    /// Returns the page at `path`, if the client listener serves it.
    pub fn public<'a>(&self, path: &'a str) -> Option<PagePath<'a>> {
        PagePath::find(path).filter(|path| self.settings.server.public.contains(&path.group()))
    }

    /// Answers a `GET` of whoever sees `view`. With `terse`, pages that are open say no more than how things are.
    pub fn page(&self, path: PagePath<'_>, terse: bool, view: Visibility<'_>) -> Page {
        let seen = view.unfiltered();
        match path {
            PagePath::Health => health::overall(self, terse, seen),
            PagePath::Live => self.live(),
            PagePath::Ready => self.ready(),
            PagePath::Detailed => health::detailed(self, seen),
            PagePath::ProvidersHealth => health::providers(self, seen),
            PagePath::ProviderHealth(name) => health::provider(self, name, seen),
            PagePath::Totals => health::totals(self, seen),
            PagePath::Providers => providers::all(self, seen),
            PagePath::Stats(name) => providers::stats(self, name, seen),
            PagePath::TagsOf(name) => providers::tags(self, name, view),
            PagePath::BalancerHealth => self.balancer_health(200, "ok"),
            PagePath::BalancerBackends => backends::page(self, view),
            PagePath::Metrics => self.metrics_page(seen),
        }
    }

    fn metrics_page(&self, view: Visibility<'_>) -> Page {
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

    /// Answers whether the process does what it is there for, or has to be started anew.
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
        match state::healthy_backends(&self.fleet) {
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
            healthy_backends: state::healthy_backends(&self.fleet),
        };
        Page::json(status, &health)
    }
}

/// Returns whether a sample is about what the key may see: its own use, and its providers and models.
fn is_seen(labels: &Labels<'_>, key: &str, view: Visibility<'_>) -> bool {
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
        for route in PagePath::ROUTES {
            let path = route.replace("{provider}", "openai");
            assert_eq!(PagePath::find(&path).map(PagePath::route), Some(route));
        }
    }

    #[test]
    fn paths_name_pages() {
        for (path, page, route) in [
            ("/health", PagePath::Health, "/health"),
            ("/health/", PagePath::Health, "/health"),
            (
                "/health/providers/openai",
                PagePath::ProviderHealth("openai"),
                "/health/providers/{provider}",
            ),
            (
                "/api/providers/gpus/stats",
                PagePath::Stats("gpus"),
                "/api/providers/{provider}/stats",
            ),
            (
                "/api/tags/openai",
                PagePath::TagsOf("openai"),
                "/api/tags/{provider}",
            ),
        ] {
            assert_eq!(PagePath::find(path), Some(page), "{path}");
            assert_eq!(page.route(), route);
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
            assert_eq!(PagePath::find(path), None, "{path}");
        }
    }
}
