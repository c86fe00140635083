//! Addresses: where the gateway listens, and where its backends are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use super::scalar::{Scalar, text};
use super::yaml::Value;

/// Where a server listens: `0.0.0.0:11434`, `[::]:11434`, `localhost:11434`, or at all addresses `:11434` or `11434`.
impl Scalar for SocketAddr {
    fn read(value: &Value) -> Result<SocketAddr, String> {
        listener(value, Ipv4Addr::UNSPECIFIED)
    }

    fn write(&self) -> Value {
        self.to_string().into()
    }
}

/// Reads an address to listen at; a port alone is one at `alone`.
fn listener(value: &Value, alone: Ipv4Addr) -> Result<SocketAddr, String> {
    text(value)
        .and_then(|text| match text.rsplit_once(':') {
            Some((host, port)) => Some(SocketAddr::new(listen_host(host)?, port.parse().ok()?)),
            None => Some(SocketAddr::new(alone.into(), text.parse().ok()?)),
        })
        .ok_or_else(|| "expected an IP address and a port such as 0.0.0.0:11434, or a port".into())
}

/// Reads where the gateway or a simulated server listens, as the command line gives it: in the form that
/// `server.listen` takes.
///
/// # Errors
/// What should have been written.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    SocketAddr::read(&text.into())
}

/// Reads where only this machine is to look, as the command line gives it: in the form that `server.admin` takes,
/// without `off`.
///
/// # Errors
/// What should have been written.
pub fn local_address(text: &str) -> Result<SocketAddr, String> {
    listener(&text.into(), Ipv4Addr::LOCALHOST)
}

/// Reads an address as [`local_address`] does; `None` stands for `off`.
///
/// # Errors
/// What should have been written.
pub fn admin_address(text: &str) -> Result<AdminAddress, String> {
    Listener::read(&text.into()).map(|listener| AdminAddress(listener.0))
}

/// What [`admin_address`] has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddress(pub Option<SocketAddr>);

/// Reads an address without a port, as the command line gives it.
///
/// # Errors
/// What should have been written.
pub fn host_address(text: &str) -> Result<IpAddr, String> {
    IpAddr::read(&text.into())
}

/// The address alone, as the environment gives it.
impl Scalar for IpAddr {
    fn read(value: &Value) -> Result<IpAddr, String> {
        text(value)
            .and_then(|text| listen_host(&text).or_else(|| text.parse().ok()))
            .ok_or_else(|| "expected an IP address such as 0.0.0.0, or localhost".into())
    }

    fn write(&self) -> Value {
        self.to_string().into()
    }
}

fn listen_host(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(inner) => {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            Some(address.into())
        }
        None if host.is_empty() || host == "*" => Some(Ipv4Addr::UNSPECIFIED.into()),
        None if host.eq_ignore_ascii_case("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        // Without brackets only IPv4: in `::1:11434` the port is anyone's guess.
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}

/// A listener for this machine that can be switched off; a port alone is one at its loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener(pub(super) Option<SocketAddr>);

impl From<Listener> for Option<SocketAddr> {
    fn from(Listener(address): Listener) -> Option<SocketAddr> {
        address
    }
}

impl Scalar for Listener {
    fn read(value: &Value) -> Result<Listener, String> {
        match text(value).as_deref() {
            Some("off" | "none" | "false") => Ok(Listener(None)),
            _ => listener(value, Ipv4Addr::LOCALHOST)
                .map(|address| Listener(Some(address)))
                .map_err(|expected| format!("{expected}, or off")),
        }
    }

    fn write(&self) -> Value {
        self.0.map_or("off".into(), |address| address.write())
    }
}

/// Ports to scan: `24000-24100`, or one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports(pub(super) RangeInclusive<u16>);

impl Scalar for Ports {
    fn read(value: &Value) -> Result<Ports, String> {
        let text = text(value).unwrap_or_default();
        let (start, end) = text.split_once('-').unwrap_or((&text, &text));
        let port = |text: &str| text.trim().parse::<NonZeroU16>().ok();
        let Some((start, end)) = port(start).zip(port(end)) else {
            return Err("expected ports from 1 to 65535 such as 24000-24100, or one port".into());
        };
        if start > end {
            return Err(format!(
                "the range is empty, as {start} is above {end}; write {end}-{start}"
            ));
        }
        Ok(Ports(start.get()..=end.get()))
    }

    fn write(&self) -> Value {
        if self.0.start() == self.0.end() {
            (*self.0.start()).into()
        } else {
            format!("{}-{}", self.0.start(), self.0.end()).into()
        }
    }
}

/// A host name or address; an IPv6 address has no brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host(pub(super) String);

impl Scalar for Host {
    fn read(value: &Value) -> Result<Host, String> {
        text(value)
            .and_then(|text| host(&text))
            .map(Host)
            .ok_or_else(|| "expected a host name or an IP address such as 127.0.0.1".into())
    }

    fn write(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Returns the host if it is an RFC 1123 name (in which container networks use underscores too) or an IP address.
fn host(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Some(inner) = bare.or_else(|| text.contains(':').then_some(text)) {
        return inner
            .parse::<Ipv6Addr>()
            .ok()
            .map(|address| address.to_string());
    }
    let labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let valid = text.len() <= 253
        && labels.into_iter().all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    valid.then(|| text.to_ascii_lowercase())
}

/// Where one backend is: `http://gpu1:11434`, `https://api.openai.com/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackendUrl {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Empty, or with a leading and no trailing slash.
    pub(super) path: String,
    /// Whether `http` or `https` was written.
    pub(super) has_scheme: bool,
}

/// Where Ollama listens unless told otherwise.
pub(super) const OLLAMA_PORT: u16 = 11434;

const URL_EXPECTED: &str = "expected a URL such as http://gpu1:11434";

impl BackendUrl {
    /// Reads a backend's URL by the rules of OLLAMA_HOST: without a scheme the port is Ollama's, with one it is the
    /// scheme's.
    pub(super) fn parse(text: &str) -> Result<BackendUrl, String> {
        let (tls, default_port, rest) = match text.split_once("://") {
            None => (false, OLLAMA_PORT, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, 80, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, 443, rest),
            Some(_) => return Err(format!("{URL_EXPECTED}; only http and https are spoken")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (host, port) = parse_authority(authority)?;
        Ok(BackendUrl {
            tls,
            host,
            port: port.unwrap_or(default_port),
            path: parse_path(path)?.to_owned(),
            has_scheme: text.contains("://"),
        })
    }

    /// Returns whether this is TLS to a bare address, which no certificate names, so that there is nothing to check it
    /// against.
    pub(super) fn is_tls_to_address(&self) -> bool {
        self.tls && self.host.parse::<IpAddr>().is_ok()
    }
}

fn parse_authority(authority: &str) -> Result<(String, Option<u16>), String> {
    if authority.contains('@') {
        return Err(format!(
            "{URL_EXPECTED}; a credential goes into api_key or api_key_file"
        ));
    }
    let (name, port) = match authority.rsplit_once(':') {
        // The last colon of `[::1]` is part of the address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    if name.is_empty() {
        return Err(format!("{URL_EXPECTED}; this one has no host"));
    }
    if name.contains(':') && !name.starts_with('[') {
        return Err(format!(
            "{URL_EXPECTED}; an IPv6 address goes into [brackets]"
        ));
    }
    let port = port.map(str::parse::<NonZeroU16>).transpose();
    let port = port.map_err(|_| format!("{URL_EXPECTED}; ports go from 1 to 65535"))?;
    let host = host(name).ok_or_else(|| format!("{URL_EXPECTED}; this is no host name"))?;
    Ok((host, port.map(NonZeroU16::get)))
}

/// Returns the path without the slashes at its end, as it stands before every request's own path.
fn parse_path(path: &str) -> Result<&str, String> {
    if path.contains(['?', '#']) {
        return Err(format!(
            "{URL_EXPECTED} without ? and #; an api-version goes into api_version"
        ));
    }
    let path = path.trim_end_matches('/');
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&b))
    };
    if path.split('/').skip(1).all(plain) {
        Ok(path)
    } else {
        Err(format!("{URL_EXPECTED}; its path holds what no path can"))
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

impl Scalar for BackendUrl {
    fn read(value: &Value) -> Result<BackendUrl, String> {
        let text = text(value).ok_or(URL_EXPECTED)?;
        BackendUrl::parse(&text)
    }

    fn write(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Result<String, String> {
        BackendUrl::parse(text).map(|url| url.to_string())
    }

    #[test]
    fn listeners() {
        for (text, address) in [
            ("0.0.0.0:11434", "0.0.0.0:11434"),
            ("[::]:11434", "[::]:11434"),
            (":80", "0.0.0.0:80"),
            ("*:80", "0.0.0.0:80"),
            ("localhost:0", "127.0.0.1:0"),
            ("33004", "0.0.0.0:33004"),
        ] {
            assert_eq!(
                SocketAddr::read(&text.into()),
                Ok(address.parse().unwrap()),
                "{text}"
            );
        }
        assert_eq!(
            SocketAddr::read(&11434.into()),
            Ok("0.0.0.0:11434".parse().unwrap())
        );
        for text in [
            "",
            "65536",
            "-1",
            "gpu1",
            "::1:80",
            "gpu1:80",
            "0.0.0.0:65536",
            "0.0.0.0:",
            "[1.2.3.4]:80",
        ] {
            assert!(SocketAddr::read(&text.into()).is_err(), "{text}");
        }
        assert_eq!(Listener::read(&"off".into()), Ok(Listener(None)));
        let local = "127.0.0.1:11435".parse().unwrap();
        assert_eq!(Listener::read(&11435.into()), Ok(Listener(Some(local))));
        assert_eq!(Listener::read(&false.into()), Ok(Listener(None)));
        assert_eq!(IpAddr::read(&"::1".into()), Ok("::1".parse().unwrap()));
    }

    #[test]
    fn ports() {
        assert_eq!(Ports::read(&"24000-24100".into()), Ok(Ports(24000..=24100)));
        assert_eq!(Ports::read(&" 1 - 65535 ".into()), Ok(Ports(1..=65535)));
        assert_eq!(Ports::read(&24000.into()), Ok(Ports(24000..=24000)));
        for text in ["", "0-5", "1-65536", "1-2-3", "1,2", "a-b", "-"] {
            let error = Ports::read(&text.into()).unwrap_err();
            assert!(error.starts_with("expected ports"), "{text}: {error}");
        }
        let error = Ports::read(&"24100-24000".into()).unwrap_err();
        assert!(error.contains("empty"), "{error}");
    }

    #[test]
    fn backend_urls_follow_the_rules_of_ollama_host() {
        for (text, parsed) in [
            ("http://gpu1:11434", "http://gpu1:11434"),
            ("gpu1:8000", "http://gpu1:8000"),
            ("GPU1", "http://gpu1:11434"),
            ("http://gpu1", "http://gpu1:80"),
            ("HTTPS://gpu1.example.org/", "https://gpu1.example.org:443"),
            ("http://[::1]:11434", "http://[::1]:11434"),
            ("http://10.0.0.1", "http://10.0.0.1:80"),
            ("my_gpu-1.local.", "http://my_gpu-1.local.:11434"),
            (
                "https://Api.OpenAI.com/v1/",
                "https://api.openai.com:443/v1",
            ),
            ("http://[::1]:1/a/b//", "http://[::1]:1/a/b"),
        ] {
            assert_eq!(url(text).as_deref(), Ok(parsed), "{text}");
        }
    }

    #[test]
    fn bad_backend_urls_say_why() {
        for (text, why) in [
            ("", "has no host"),
            ("http://", "has no host"),
            ("http://:80", "has no host"),
            ("ftp://gpu1", "only http and https"),
            ("http://user:pw@gpu1", "a credential goes into api_key"),
            ("http://gpu1?x=1", "without ? and #"),
            (
                "https://r.openai.azure.com/openai?api-version=1",
                "into api_version",
            ),
            ("http://gpu1/a//b", "no path can"),
            ("http://gpu1/a/../b", "no path can"),
            ("http://gpu1/a b", "no path can"),
            ("http://gpu1/ä", "no path can"),
            ("http://gpu1:99999", "ports go from"),
            ("http://gpu1:0", "ports go from"),
            ("http://gpu1:", "ports go from"),
            ("http://::1:80", "[brackets]"),
            ("http://gpu 1", "no host name"),
            ("http://..", "no host name"),
        ] {
            let error = url(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn tls_to_an_address_is_known() {
        assert!(
            BackendUrl::parse("https://10.0.0.1")
                .unwrap()
                .is_tls_to_address()
        );
        assert!(
            BackendUrl::parse("https://[::1]")
                .unwrap()
                .is_tls_to_address()
        );
        assert!(
            !BackendUrl::parse("https://gpu1")
                .unwrap()
                .is_tls_to_address()
        );
        assert!(
            !BackendUrl::parse("http://10.0.0.1")
                .unwrap()
                .is_tls_to_address()
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "(https?://)?[\\[\\]a-z0-9.:@/?%é-]{0,30}") {
            let value = Value::from(text);
            let _ = (SocketAddr::read(&value), Ports::read(&value), Host::read(&value));
            if let Ok(url) = BackendUrl::read(&value) {
                let has_scheme = true;
                prop_assert_eq!(BackendUrl::read(&url.write()), Ok(BackendUrl { has_scheme, ..url }));
            }
        }
    }
}
