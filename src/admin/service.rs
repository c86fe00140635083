//! The admin listener: `/metrics`, `/health`, `/health/ready`, `/__proxy/…`. It belongs on a private address.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde::Serialize;

use super::pages::{self, Page};
use super::refresh;
use crate::admission::Dispatcher;
use crate::fleet::Fleet;
use crate::metrics::Metrics;

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

/// Answers the admin listener's requests.
pub struct AdminService {
    pub fleet: Arc<Fleet>,
    pub dispatcher: Arc<Dispatcher>,
    pub metrics: Arc<Metrics>,
    pub lifecycle: Lifecycle,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    healthy_backends: usize,
}

impl AdminService {
    fn page(&self, path: &str) -> Page {
        match path {
            "/metrics" => self.metrics_page(),
            "/health" | "/health/live" => self.health(200, "ok"),
            "/health/ready" => self.ready(),
            "/__proxy/health" => self.health(200, "ok"),
            "/__proxy/backends" => pages::backends(&self.fleet),
            _ => Page::json(
                404,
                &serde_json::json!({"error": "not found; the admin listener serves /metrics, /health, /health/ready, /__proxy/health and /__proxy/backends"}),
            ),
        }
    }

    fn metrics_page(&self) -> Page {
        refresh(&self.metrics, &self.fleet, &self.dispatcher);
        match self.metrics.render() {
            Ok(text) => Page {
                status: 200,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                body: text.into(),
            },
            Err(error) => {
                log::error!("metrics cannot be rendered: {error}");
                Page::json(
                    500,
                    &serde_json::json!({"error": "metrics cannot be rendered"}),
                )
            }
        }
    }

    fn ready(&self) -> Page {
        match (self.lifecycle)() {
            Stage::Starting => return self.health(503, "starting"),
            Stage::Draining => return self.health(503, "draining"),
            Stage::Serving => {}
        }
        match pages::healthy_backends(&self.fleet) {
            0 => self.health(503, "no healthy backend"),
            _ => self.health(200, "ok"),
        }
    }

    fn health(&self, status: u16, text: &'static str) -> Page {
        Page::json(
            status,
            &Health {
                status: text,
                healthy_backends: pages::healthy_backends(&self.fleet),
            },
        )
    }
}

#[async_trait]
impl ServeHttp for AdminService {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let page = match head.method {
            Method::GET | Method::HEAD => self.page(head.uri.path()),
            _ => Page::json(
                405,
                &serde_json::json!({"error": "the admin listener answers GET and HEAD"}),
            ),
        };
        let bodiless = head.method == Method::HEAD;
        let mut response = Response::new(Vec::new());
        *response.status_mut() =
            http::StatusCode::from_u16(page.status).expect("pages use known status codes");
        let fields = response.headers_mut();
        fields.insert(
            header::CONTENT_TYPE,
            http::HeaderValue::from_static(page.content_type),
        );
        fields.insert(header::CONTENT_LENGTH, page.body.len().into());
        if !bodiless {
            *response.body_mut() = page.body.into();
        }
        response
    }
}
