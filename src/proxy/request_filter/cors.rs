//! Which web pages may ask, and read what they are told: cross-origin resource sharing (Fetch standard section 3.3) as
//! Ollama's server has it. A page of another origin gets 403 before anything is done; a browser's question whether it
//! may ask is answered here. No provider hears of it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use pingora_proxy::Session;

use crate::proxy::ctx::Ctx;
use crate::proxy::failure::Stop;
use crate::proxy::heads::{self, X_FORWARDED_HOST};
use crate::proxy::request_filter::body;
use crate::proxy::response_body::client::{self, Framing};
use crate::proxy::response_body::head::Head;
use crate::settings::Origin;
use remuda_formats::client::{Miss, route};

/// The origins that Ollama allows by itself (`envconfig.AllowedOrigins`): pages of the reader's own machine, and
/// applications.
const OF_OLLAMA: [&str; 17] = [
    "http://localhost",
    "https://localhost",
    "http://localhost:*",
    "https://localhost:*",
    "http://127.0.0.1",
    "https://127.0.0.1",
    "http://127.0.0.1:*",
    "https://127.0.0.1:*",
    "http://0.0.0.0",
    "https://0.0.0.0",
    "http://0.0.0.0:*",
    "https://0.0.0.0:*",
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
];

const METHODS: &str = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";

/// The fields that Ollama allows, as it says them.
const FIELDS: &str = "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,\
    X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,\
    X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,\
    X-Stainless-Runtime-Version,X-Stainless-Timeout";

/// The fields that a page may want besides, which are named to whoever asks for one: those of Anthropic's clients and of
/// OpenAI's, and what this gateway reads itself.
const MORE_FIELDS: [&str; 17] = [
    "x-api-key",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "openai-organization",
    "openai-project",
    "x-stainless-helper",
    "idempotency-key",
    "cache-control",
    "content-encoding",
    "http-referer",
    "x-title",
    "x-request-id",
    "x-priority",
    "x-provider",
    "x-backend",
    "x-proxy-tag",
];

/// Seconds for which a browser may remember a preflight's answer.
const MAX_AGE: u32 = 12 * 60 * 60;

const ORIGIN_AND_REQUEST: [&str; 3] = [
    "Origin",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
];

/// Knows the origins whose pages may ask.
pub(crate) struct Origins {
    any: bool,
    allowed: Vec<Origin>,
}

/// The web page that sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// No page of another origin sends it.
    Own,
    /// A page sends it that may not ask.
    Foreign,
    /// A page sends it that may ask; with the value of `Access-Control-Allow-Origin`.
    Allowed(HeaderValue),
}

impl Origins {
    /// Allows the stated origins, and those that Ollama allows by itself.
    pub(crate) fn new(stated: &[Origin]) -> Self {
        let of_ollama = OF_OLLAMA.iter().filter_map(|origin| Origin::parse(origin));
        Self {
            any: stated.iter().any(Origin::is_any),
            allowed: stated.iter().cloned().chain(of_ollama).collect(),
        }
    }

    /// Returns whose page sends a request with this head. `behind` says that the fields of a proxy in front are believed.
    pub(crate) fn sender(
        &self,
        method: &Method,
        fields: &HeaderMap,
        uri: &Uri,
        behind: bool,
    ) -> Sender {
        let mut origins = fields.get_all(header::ORIGIN).iter();
        let (first, more) = (origins.next(), origins.next());
        let Some(origin) = first.filter(|origin| !origin.is_empty() || more.is_some()) else {
            return if !self.any && is_of_foreign_page(method, fields) {
                Sender::Foreign
            } else {
                Sender::Own
            };
        };
        if self.any {
            return Sender::Allowed(HeaderValue::from_static("*"));
        }
        match origin.to_str() {
            // Two say nothing for certain.
            Ok(text) if more.is_none() => {
                if is_own(text, fields, uri, behind) {
                    Sender::Own
                } else if self.allowed.iter().any(|allowed| allowed.holds(text)) {
                    Sender::Allowed(origin.clone())
                } else {
                    Sender::Foreign
                }
            }
            _ => Sender::Foreign,
        }
    }
}

/// Returns whether a browser says that a page of another site asks, where it names no origin, as it does not for images and
/// scripts. A page that its reader goes to is not meant (Fetch metadata request headers, sections 2.2 and 2.4).
fn is_of_foreign_page(method: &Method, fields: &HeaderMap) -> bool {
    let says = |name: &str, value: &[u8]| {
        let mut said = fields.get_all(name).iter();
        said.any(|said| said.as_bytes().eq_ignore_ascii_case(value))
    };
    let goes_there =
        matches!(*method, Method::GET | Method::HEAD) && says("sec-fetch-mode", b"navigate");
    says("sec-fetch-site", b"cross-site") && !goes_there
}

/// Returns whether a page came from this gateway's own address, as the client knows it.
///
/// A page cannot name another host to get past this: `Host` is not its to set, and `X-Forwarded-Host` makes its request
/// one that is asked for first, without that field.
fn is_own(origin: &str, fields: &HeaderMap, uri: &Uri, behind: bool) -> bool {
    let Some((_, place)) = origin
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
    else {
        return false;
    };
    let is_place = |host: &str| host.eq_ignore_ascii_case(place);
    let named = |name: &HeaderName| {
        let host = fields.get(name).and_then(|host| host.to_str().ok());
        host.is_some_and(is_place)
    };
    named(&header::HOST)
        || uri.authority().is_some_and(|own| is_place(own.as_str()))
        || (behind && named(&X_FORWARDED_HOST))
}

/// Answers what is decided by whose page asks: a preflight, and a page that may not ask. Returns whether it did.
///
/// # Errors
/// [`Stop::ClientGone`] when the connection is dead.
pub(crate) async fn answer(
    session: &mut Session,
    ctx: &mut Ctx,
    framing: &Framing,
    sender: &Sender,
) -> Result<bool, Stop> {
    let mut head = match sender {
        Sender::Foreign => {
            ctx.outcome.code = Some("origin_refused");
            let mut head = Head::new(StatusCode::FORBIDDEN, 6);
            heads::state_length(&mut head, 0);
            head
        }
        Sender::Allowed(origin) if framing.method == Method::OPTIONS => {
            preflight(&session.req_header().headers, origin)
        }
        _ => return Ok(false),
    };
    let path = session.req_header().uri.path();
    if framing.method == Method::OPTIONS
        && let Err(Miss::MethodNotAllowed { allow }) = route(&framing.method, path)
    {
        head.set(header::ALLOW, HeaderValue::from_static(allow));
    }
    head.set(heads::X_REQUEST_ID, ctx.inbound.request_id.clone());
    ctx.outcome.status = head.status.as_u16();
    let client = &mut session.downstream_session;
    let has_body = !client.is_body_empty();
    if has_body {
        client.set_keepalive(None);
    }
    client::write_head(client, head, ctx.inbound.allow_origin.as_ref()).await?;
    client::finish(client).await?;
    if has_body {
        body::linger(client).await;
    }
    Ok(true)
}

/// Returns the head of the answer to a browser's question whether a page may ask.
fn preflight(asked: &HeaderMap, origin: &HeaderValue) -> Head {
    let mut head = Head::new(StatusCode::NO_CONTENT, 12);
    let methods = HeaderValue::from_static(METHODS);
    head.set(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    head.set(header::ACCESS_CONTROL_ALLOW_HEADERS, fields_for(asked));
    head.set(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE.into());
    if origin != "*" {
        for name in ORIGIN_AND_REQUEST {
            head.add(&header::VARY, &HeaderValue::from_static(name));
        }
    }
    head
}

/// Returns the fields that a page may send.
fn fields_for(asked: &HeaderMap) -> HeaderValue {
    let asked = asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let wanted = |name: &&&str| {
        asked.iter().any(|list| {
            let mut names = list.as_bytes().split(|byte| *byte == b',');
            names.any(|one| one.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    let mut fields = FIELDS.to_owned();
    for name in MORE_FIELDS.iter().filter(wanted) {
        fields.push(',');
        fields.push_str(name);
    }
    HeaderValue::try_from(fields).unwrap_or(HeaderValue::from_static(FIELDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(stated: &[&str], fields: &[(&'static str, &'static str)]) -> Sender {
        let stated: Vec<Origin> = stated.iter().filter_map(|one| Origin::parse(one)).collect();
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        Origins::new(&stated).sender(&Method::POST, &map, &Uri::from_static("/api/chat"), true)
    }

    fn of(origin: &'static str) -> Sender {
        page(&[], &[("host", "llm.example:11434"), ("origin", origin)])
    }

    #[test]
    fn ollamas_own_origins_may_ask() {
        for pattern in OF_OLLAMA {
            assert!(Origin::parse(pattern).is_some(), "{pattern}");
        }
        for origin in [
            "http://localhost",
            "https://localhost:8443",
            "http://127.0.0.1:5173",
            "http://0.0.0.0:80",
            "app://obsidian.md",
            "file://",
            "tauri://localhost",
            "vscode-webview://abc",
            "vscode-file://vscode-app",
        ] {
            let allowed = Sender::Allowed(HeaderValue::from_static(origin));
            assert_eq!(of(origin), allowed, "{origin}");
        }
        for origin in [
            "null",
            "https://site.example",
            "http://localhost.evil.example",
            "http://localhost:1@evil.example",
            "http://[::1]:3000",
            "chrome-extension://abc",
            "http://localhost:1, https://evil.example",
        ] {
            assert_eq!(of(origin), Sender::Foreign, "{origin}");
        }
    }

    #[test]
    fn a_page_of_the_gateways_own_address_is_no_other() {
        assert_eq!(of("http://llm.example:11434"), Sender::Own);
        assert_eq!(of("https://LLM.example:11434"), Sender::Own);
        assert_eq!(of(""), Sender::Own);
        assert_eq!(page(&[], &[("host", "x")]), Sender::Own);
        assert_eq!(of("ftp://llm.example:11434"), Sender::Foreign);
        let proxied = [
            ("host", "localhost:11434"),
            ("x-forwarded-host", "llm.example"),
            ("origin", "https://llm.example"),
        ];
        assert_eq!(page(&[], &proxied), Sender::Own);
    }

    #[test]
    fn two_origins_are_foreign_unless_all_may_ask() {
        let two = [
            ("origin", "http://localhost"),
            ("origin", "http://localhost"),
        ];
        assert_eq!(page(&[], &two), Sender::Foreign);
        let any = Sender::Allowed(HeaderValue::from_static("*"));
        assert_eq!(page(&["*"], &two), any);
        assert_eq!(page(&["*"], &[("origin", "null")]), any);
    }

    #[test]
    fn fields_of_other_clients_are_allowed_when_they_are_asked_for() {
        let mut asked = HeaderMap::new();
        assert_eq!(fields_for(&asked), FIELDS);
        let names = HeaderValue::from_static("content-type, X-Api-Key,x-evil,anthropic-version");
        asked.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, names);
        let expected = format!("{FIELDS},x-api-key,anthropic-version");
        assert_eq!(fields_for(&asked), *expected);
    }
}
