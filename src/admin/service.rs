//! The admin listener: every page that tells about the gateway. It belongs on a private address.
//!
//! On a loopback address it answers no request for another host's name: a web page can have its own name resolved to
//! 127.0.0.1 once it is loaded (DNS rebinding), and what its reader's browser then gets from here it may read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use super::pages::Page;
use super::route;
use super::usage;
use super::{Introspection, Place};
use crate::access::View;

/// Answers the admin listener's requests.
pub struct AdminService(pub Arc<Introspection>);

impl AdminService {
    fn is_private(&self) -> bool {
        let address = self.0.settings.server.admin;
        address.is_some_and(|address| address.ip().to_canonical().is_loopback())
    }

    fn page(&self, path: &str) -> Page {
        match Place::find(path) {
            Some(place) => self
                .0
                .page(place, false, View::ALL.within(self.0.router.filter())),
            None => Page::error(
                404,
                "not found; the admin listener serves /metrics, /health and what is beneath it, /api/providers, /api/tags/{provider}, /api/usage, /api/route, /__proxy/health and /__proxy/backends",
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
        let own = |host: &http::HeaderValue| host.to_str().is_ok_and(is_own);
        let page = match head.method {
            _ if self.is_private() && !hosts.all(own) => Page::error(
                403,
                "on a loopback address, the admin listener answers requests for localhost and for addresses, not for other names; \
                 behind a proxy, send Host: localhost",
            ),
            Method::GET | Method::HEAD if usage::is_page(path) => {
                usage::page(self.0.ledger.as_ref(), path, head.uri.query()).await
            }
            Method::GET | Method::HEAD if path == route::PATH => {
                route::page(&self.0, head.uri.query())
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

/// Whether a `Host` field is one that no other page's name can have: an address, or a name that is never resolved
/// elsewhere (RFC 6761 section 6.3).
fn is_own(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<IpAddr>();
    if address.is_ok() || host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.is_empty() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for (host, own) in [
            ("127.0.0.1:11435", true),
            ("127.0.0.1", true),
            ("[::1]:11435", true),
            ("[::1]", true),
            ("192.168.1.2:80", true),
            ("localhost", true),
            ("LocalHost:11435", true),
            ("remuda.localhost:11435", true),
            ("localhost.:11435", true),
            ("", true),
            ("localhost.example", false),
            ("evil.example:11435", false),
            ("127.0.0.1.example", false),
            ("notlocalhost", false),
            ("[evil.example]", false),
        ] {
            assert_eq!(is_own(host), own, "{host}");
        }
    }
}
