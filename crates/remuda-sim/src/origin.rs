//! Which pages of a browser may ask, and what their preflights are answered.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};

use super::reply::{Reply, empty};

/// Hosts whose pages may ask by default, by HTTP and HTTPS and from any port.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "0.0.0.0"];

/// What the origins of applications begin with.
const APPLICATIONS: [&str; 5] = [
    "app://",
    "file://",
    "tauri://",
    "vscode-webview://",
    "vscode-file://",
];

const METHODS: &str = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";
const FIELDS: &str = "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout";

/// The page that a request comes from.
pub(super) struct Page {
    origin: HeaderValue,
    may_ask: bool,
}

impl Page {
    /// The page that these fields tell of; `None` if no page asks.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let origin = headers.get(header::ORIGIN)?.clone();
        let may_ask = origin.to_str().is_ok_and(may_ask);
        Some(Self { origin, may_ask })
    }

    /// The answer, if it does not depend on the route: a refusal, or the answer to a preflight.
    ///
    /// `allow` names the methods of the path.
    pub(super) fn answer(&self, method: &Method, allow: Option<&'static str>) -> Option<Reply> {
        let preflight = *method == Method::OPTIONS;
        let mut reply = match (self.may_ask, preflight) {
            (true, false) => return None,
            (true, true) => empty(StatusCode::NO_CONTENT),
            (false, _) => empty(StatusCode::FORBIDDEN),
        };
        let headers = reply.headers_mut();
        if let (true, Some(allow)) = (preflight, allow) {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.may_ask {
            let fixed = [
                (header::ACCESS_CONTROL_ALLOW_HEADERS, FIELDS),
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (header::ACCESS_CONTROL_MAX_AGE, "43200"),
            ];
            for (name, value) in fixed {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let varies = [
                "Origin",
                "Access-Control-Request-Method",
                "Access-Control-Request-Headers",
            ];
            self.mark(headers, &varies);
        }
        Some(reply)
    }

    /// Says in an answer that the page may read it.
    pub(super) fn allow(&self, reply: &mut Reply) {
        self.mark(reply.headers_mut(), &["Origin"]);
    }

    fn mark(&self, headers: &mut HeaderMap, varies: &[&'static str]) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        for name in varies {
            headers.append(header::VARY, HeaderValue::from_static(name));
        }
    }
}

fn may_ask(origin: &str) -> bool {
    if APPLICATIONS.iter().any(|begins| origin.starts_with(begins)) {
        return true;
    }
    let rest = origin.strip_prefix("http://");
    let Some(rest) = rest.or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    HOSTS.iter().any(|host| match rest.strip_prefix(host) {
        Some("") => true,
        Some(port) => port.starts_with(':'),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine_and_of_applications_may_ask() {
        for good in [
            "http://localhost",
            "https://localhost:8443",
            "http://127.0.0.1:3000",
            "http://0.0.0.0",
            "app://obsidian.md",
            "vscode-webview://x",
        ] {
            assert!(may_ask(good), "{good}");
        }
        for bad in [
            "https://site.example",
            "http://localhost.example",
            "null",
            "ftp://localhost",
        ] {
            assert!(!may_ask(bad), "{bad}");
        }
    }
}
