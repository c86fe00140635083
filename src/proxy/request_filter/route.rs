//! The path of a request, made that of the route which it means before anybody decides by it: without the path in front
//! where a proxy passes that on, and without plain mistakes. So what a key may use, which page is whose, and what goes
//! upstream are all asked of the route that is served.

use std::fmt::Write as _;

use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, header};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use crate::admin::PagePath;
use crate::proxy::ctx::{Inbound, Written};
use crate::proxy::failure::Failure;
use crate::proxy::heads::{
    X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO, speaks_anthropic,
};
use crate::proxy::request_filter::body::closing_with_body;
use crate::settings::{Forwarded, Server};
use remuda_formats::client::{self, ErrorStyle, Miss, Operation};

/// An error or a log line repeats at most so many characters of a client's text.
const MAX_SHOWN: usize = 200;
/// An error repeats at most so many bytes of a prefix or a host.
const MAX_PLACE: usize = 255;

/// Puts the route that the client means into the request's head, and returns the operation of Ollama's, OpenAI's or
/// Anthropic's API that it is.
pub(crate) fn route(
    settings: &Server,
    session: &mut Session,
    inbound: &mut Inbound,
) -> Result<Operation, Miss> {
    let uri = &session.req_header().uri;
    let path = uri.path();
    let base = settings.base_path.as_deref();
    let behind = base.and_then(|base| behind(base, path));
    let place = behind.unwrap_or(path);
    if let Some(route) = served(place).or(behind.map(str::to_owned))
        && let Some(meant) = with_path(uri, &route)
    {
        inbound.written = Written {
            path: Some(path.into()),
            behind_base: behind.is_some(),
        };
        session.req_header_mut().set_uri(meant);
    }
    let head = session.req_header();
    let operation = client::route(&head.method, head.uri.path());
    inbound.operation = operation.as_ref().ok().copied();
    operation
}

/// Returns what the client of a request without a route is told: 404, or 405.
pub(crate) fn missed(
    settings: &Server,
    session: &mut Session,
    inbound: &Inbound,
    miss: Miss,
) -> Failure {
    let head = session.req_header();
    let path = written_path(head, inbound);
    let failure = match miss {
        Miss::NotFound => {
            let hint = right_base(settings, head, inbound);
            let text = format!("Endpoint not found: {}{hint}", shown(path));
            Failure::new(404, "not_found", text)
        }
        Miss::MethodNotAllowed { allow } => method_not_allowed(head, inbound, allow),
    };
    closing_with_body(session, failure)
}

/// Makes the failure (405) of a method that the path does not have, with those that it has.
pub(crate) fn method_not_allowed(
    head: &RequestHeader,
    inbound: &Inbound,
    allow: &'static str,
) -> Failure {
    let (method, path) = (&head.method, shown(written_path(head, inbound)));
    let text = format!("Method {method} not allowed for {path}");
    Failure {
        allow: Some(allow),
        ..Failure::new(405, "method_not_allowed", text)
    }
}

/// Returns the end of the error for a path that is no route: the base URL with which its client would have asked for one. It is
/// empty for a path of Ollama's own API, as its clients put paths together themselves.
fn right_base(settings: &Server, head: &RequestHeader, inbound: &Inbound) -> String {
    let path = written_path(head, inbound);
    let style = ErrorStyle::of_path(path, speaks_anthropic(head));
    let base = own_address(settings, head, inbound);
    match style {
        ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => {
            format!("; the base URL for clients of OpenAI's API is {base}/v1")
        }
        ErrorStyle::Anthropic => {
            format!("; the base URL for clients of Anthropic's API is {base}")
        }
        ErrorStyle::Ollama if path.starts_with("/api/") => String::new(),
        ErrorStyle::Ollama => format!(
            "; the base URL is {base} for clients of Ollama's and Anthropic's APIs and {base}/v1 for those of OpenAI's"
        ),
    }
}

/// Returns the address at which the client reaches this gateway, as far as it is known.
fn own_address(settings: &Server, head: &RequestHeader, inbound: &Inbound) -> String {
    let believed = settings.forwarded == Forwarded::Append;
    let of_proxy = |name| believed.then(|| text(&head.headers, name)).flatten();
    let host = of_proxy(X_FORWARDED_HOST)
        .or_else(|| text(&head.headers, header::HOST))
        .or_else(|| head.uri.authority().map(|authority| authority.as_str()))
        .filter(|host| host.len() <= MAX_PLACE && host.bytes().all(is_of_host));
    let scheme = match of_proxy(X_FORWARDED_PROTO) {
        Some("https") => "https",
        _ => "http",
    };
    let mut address = match host {
        Some(host) => format!("{scheme}://{host}"),
        None => "this gateway's address, with the path ".to_owned(),
    };
    address.push_str(&prefix(settings, &head.headers, &inbound.written));
    address
}

/// Returns the path before every route as the client sees it: the part that a proxy in front has taken away, and the part that
/// is taken away here.
pub(crate) fn prefix(settings: &Server, fields: &HeaderMap, written: &Written) -> String {
    let believed = settings.forwarded == Forwarded::Append;
    let taken = believed.then(|| text(fields, X_FORWARDED_PREFIX)).flatten();
    let taken = taken.map(|prefix| prefix.trim_end_matches('/'));
    let taken = taken.filter(|prefix| is_prefix(prefix)).unwrap_or_default();
    match settings.base_path.as_deref() {
        Some(base) if written.behind_base && !taken.ends_with(base) => format!("{taken}{base}"),
        _ => taken.to_owned(),
    }
}

/// Returns the path as the client wrote it.
pub(crate) fn written_path<'a>(head: &'a RequestHeader, inbound: &'a Inbound) -> &'a str {
    let written = inbound.written.path.as_deref();
    written.unwrap_or_else(|| head.uri.path())
}

/// Returns a client's text as an error or a log line may repeat it: on one line, without a blank, and not too long.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_SHOWN));
    for (index, character) in text.chars().enumerate() {
        if index == MAX_SHOWN {
            shown.push('…');
            break;
        }
        if character.is_control() || character.is_whitespace() || is_invisible(character) {
            let _ = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns whether a character changes how those around it are shown (Unicode's bidirectional and format characters).
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Returns the rest of a path that begins with `base`.
fn behind<'a>(base: &str, path: &'a str) -> Option<&'a str> {
    match path.strip_prefix(base)? {
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// Returns the route that is served for a path, where it is another.
fn served(path: &str) -> Option<String> {
    if PagePath::find(path).is_some() {
        return None;
    }
    // A page about the gateway is found by its own path, or with one slash more.
    match path
        .strip_suffix('/')
        .filter(|path| PagePath::find(path).is_some())
    {
        Some(page) => Some(page.to_owned()),
        None => client::meant(path),
    }
}

/// Returns the same address with another path.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

/// Returns the text of the field of that name, if there is one such field and no second.
fn text(fields: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = fields.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value.trim())
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)
}

fn is_prefix(prefix: &str) -> bool {
    let is_of_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    prefix.starts_with('/')
        && !prefix.starts_with("//")
        && prefix.len() <= MAX_PLACE
        && prefix.bytes().all(is_of_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut head = RequestHeader::build("POST", path.as_bytes(), None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn behind_a_proxy() -> Server {
        Server {
            forwarded: Forwarded::Append,
            base_path: Some("/llm".into()),
            ..Server::default()
        }
    }

    #[test]
    fn who_has_the_wrong_base_url_is_told_the_right_one() {
        let inbound = Inbound::default();
        let host = ("host", "gate:11434");
        let hint = |path: &str| right_base(&Server::default(), &asked(path, &[host]), &inbound);
        let openai = "; the base URL for clients of OpenAI's API is http://gate:11434/v1";
        assert_eq!(hint("/v1/chats"), openai);
        assert_eq!(hint("/api/chats"), "");
        assert!(hint("/chats").ends_with("and http://gate:11434/v1 for those of OpenAI's"));
        let fields = [host, ("anthropic-version", "2023-06-01")];
        let hint = right_base(&Server::default(), &asked("/v1/chats", &fields), &inbound);
        assert!(
            hint.ends_with("Anthropic's API is http://gate:11434"),
            "{hint}"
        );
        // What a client may write into a field is not repeated to it as an address.
        let odd = asked("/v1/chats", &[("host", "gate/<b>")]);
        let hint = right_base(&Server::default(), &odd, &inbound);
        assert!(hint.contains("this gateway's address"), "{hint}");
    }

    #[test]
    fn an_address_is_the_one_that_the_proxy_in_front_has() {
        let fields = [
            ("host", "inner:1"),
            ("x-forwarded-host", "llm.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/ai/"),
        ];
        let head = asked("/v1/chats", &fields);
        let mut inbound = Inbound::default();
        inbound.written.behind_base = true;
        let outer = own_address(&behind_a_proxy(), &head, &inbound);
        assert_eq!(outer, "https://llm.example/ai/llm");
        let distrusted = Server {
            forwarded: Forwarded::Off,
            ..behind_a_proxy()
        };
        let inner = own_address(&distrusted, &head, &inbound);
        assert_eq!(inner, "http://inner:1/llm");
    }

    #[test]
    fn a_base_path_is_taken_from_whole_segments() {
        for (path, rest) in [
            ("/ollama", Some("/")),
            ("/ollama/", Some("/")),
            ("/ollama/api/chat", Some("/api/chat")),
            ("/ollama//metrics", Some("//metrics")),
            ("/ollama/../metrics", Some("/../metrics")),
            ("/ollamax/api/chat", None),
            ("/Ollama/api/chat", None),
            ("/api/chat", None),
            ("//ollama/api/chat", None),
        ] {
            assert_eq!(behind("/ollama", path), rest, "{path}");
        }
    }

    #[test]
    fn pages_about_the_gateway_are_found_by_their_own_paths() {
        for (path, page) in [
            ("/health/live/", "/health/live"),
            ("/metrics/", "/metrics"),
            ("/api/tags/openai/", "/api/tags/openai"),
        ] {
            assert_eq!(served(path).as_deref(), Some(page));
        }
        for path in [
            "/health",
            "/health/",
            "/metrics",
            "//metrics",
            "/metrics//",
            "/v1/metrics",
            "/../metrics",
            "/%2e/metrics",
            "/v1//__proxy/backends",
            "/openai/health",
        ] {
            assert_eq!(served(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_shown_is_short_and_on_one_line() {
        assert_eq!(
            shown("/api/x y\n\u{202e}é"),
            "/api/x\\u{20}y\\u{a}\\u{202e}é"
        );
        let long = shown(&"é".repeat(1000));
        assert_eq!(long.chars().count(), MAX_SHOWN + 1);
    }

    #[test]
    fn a_path_is_exchanged_and_the_rest_stays() {
        let uri = Uri::from_static("http://h:1/v1/v1/messages?beta=true");
        let uri = with_path(&uri, "/v1/messages").unwrap();
        assert_eq!(uri, "http://h:1/v1/messages?beta=true");
        assert_eq!(with_path(&Uri::from_static("/a/"), "/a").unwrap(), "/a");
    }
}
