//! The admin listener: every page that tells about the gateway. It belongs on a private address.
//!
//! It answers to the same names as the clients' listener does.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use super::explain;
use super::page::Page;
use super::route;
use super::usage;
use super::{Introspection, PagePath};
use crate::access::Visibility;
use crate::settings::HostRule;

/// Answers the admin listener's requests.
pub struct AdminService(Arc<Introspection>, HostRule);

impl AdminService {
    pub fn new(introspection: Arc<Introspection>) -> AdminService {
        let server = &introspection.settings.server;
        let address = server.admin.unwrap_or(server.listen);
        let hosts = HostRule::new(address, &server.hosts);
        AdminService(introspection, hosts)
    }

    fn page(&self, path: &str) -> Page {
        match PagePath::find(path) {
            Some(path) => self
                .0
                .page(path, false, Visibility::ALL.within(self.0.router.filter())),
            None => Page::error(
                404,
                "not found; the admin listener serves /metrics, /health and what is beneath it, /api/providers, /api/tags/{provider}, /api/usage, /api/route, /api/explain, /__proxy/health and /__proxy/backends",
            ),
        }
    }
}

#[async_trait]
impl ServeHttp for AdminService {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let path = head.uri.path();
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let own = |host: &http::HeaderValue| host.to_str().is_ok_and(|host| self.1.answers(host));
        let authority = head.uri.authority();
        let own =
            hosts.all(own) && authority.is_none_or(|authority| self.1.answers(authority.as_str()));
        let page = match head.method {
            _ if !own => Page::error(
                403,
                "the admin listener does not answer requests for this host; \
                 names besides localhost are in the setting server.hosts",
            ),
            Method::GET | Method::HEAD if usage::is_page(path) => {
                usage::page(self.0.ledger.as_ref(), path, head.uri.query()).await
            }
            Method::GET | Method::HEAD if path == route::PATH => {
                route::page(&self.0, head.uri.query())
            }
            Method::GET | Method::HEAD if path == explain::PATH => {
                explain::page(&self.0, head.uri.query())
            }
            Method::GET | Method::HEAD => self.page(path),
            _ => Page::error(405, "the admin listener answers GET and HEAD"),
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
        if let Some(age) = page.age {
            fields.insert(header::AGE, age.as_secs().into());
        }
        if let Some(seconds) = page.retry_after {
            fields.insert(header::RETRY_AFTER, seconds.into());
        }
        if !bodiless {
            *response.body_mut() = page.body.into();
        }
        response
    }
}
