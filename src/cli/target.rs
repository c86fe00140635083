//! Which running gateway a subcommand asks, and one plain request to it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Uri;

use crate::config::{self, Report};
use crate::settings::{PublicPage, Server};

/// Larger than any page of the gateway.
const MAX_ANSWER: u64 = 16 << 20;
/// Where the admin listener is unless the configuration says otherwise.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 11435);

/// Flags that say which gateway is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct TargetArgs {
    /// The gateway's configuration, which says where to ask [default: ./remuda.yaml, else /etc/remuda/remuda.yaml, else
    /// ~/.optillm/proxy_config.yaml, else the environment alone]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Where the admin listener is, whatever the configuration says: a URL, an address such as 127.0.0.1:11435, or a
    /// port
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub(super) url: Option<Target>,

    /// How long to wait for the connection and again for the answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// A server that speaks plain HTTP, and what it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
    /// What stands after the port; empty where nothing does.
    path: String,
}

/// Which pages of the gateway will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// Those that only the admin listener has.
    Admin,
    /// Health, which the client listener may have too.
    Health,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{0}")]
    Config(Report),
    #[error("{0} is off, so there is nowhere to ask; pass --url, or switch the admin listener on")]
    Off(&'static str),
    #[error("{0} lets the system choose a free port, another one at each start; pass --url")]
    AnyPort(&'static str),
    #[error("this command asks {asked} of the admin listener; leave {stated} off --url")]
    Path { asked: String, stated: String },
    #[error(
        "{target}: {error}; is the gateway running, and is this its admin listener (server.admin)?"
    )]
    Io { target: Target, error: io::Error },
    #[error("{0}: the answer makes no sense; is this the admin listener of Remuda?")]
    Senseless(Target),
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl TargetArgs {
    /// Returns the gateway that is meant.
    ///
    /// # Errors
    /// If the configuration does not say.
    pub(super) fn target(&self, pages: Pages) -> Result<Target, AskError> {
        if let Some(stated) = &self.url {
            return Ok(stated.clone());
        }
        let glance = match config::glance(self.config.as_deref()) {
            Ok(glance) => glance,
            // Nobody named a file, and one that others may read is no reason not to ask where gateways usually are.
            Err(_) if self.config.is_none() => return Ok(ADMIN.into()),
            Err(report) => return Err(AskError::Config(report)),
        };
        if let Some(problem) = glance.problem_with("server.admin", "PROXY_ADMIN") {
            return Err(AskError::Config(problem.clone().into()));
        }
        told_by(&glance.settings.server, pages)
    }

    /// Asks the gateway that is meant for `path`.
    ///
    /// # Errors
    /// If it is not known, or does not answer.
    pub(super) fn ask(&self, pages: Pages, path: &str) -> Result<(Target, Answer), AskError> {
        let target = self.target(pages)?.asked(pages, path)?;
        let answer = target.get(self.timeout)?;
        Ok((target, answer))
    }
}

fn told_by(server: &Server, pages: Pages) -> Result<Target, AskError> {
    let (key, address) = match server.admin {
        Some(admin) => ("server.admin", admin),
        None if pages == Pages::Health && server.public.contains(&PublicPage::Health) => {
            ("server.listen", server.listen)
        }
        None => return Err(AskError::Off("server.admin")),
    };
    match address.port() {
        0 => Err(AskError::AnyPort(key)),
        _ => Ok(address.into()),
    }
}

impl From<SocketAddr> for Target {
    /// Returns where a gateway is asked: a listener at every address of the machine, at the one that never leaves it.
    fn from(listener: SocketAddr) -> Target {
        let host: IpAddr = match listener.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Target {
            host: host.to_string(),
            port: listener.port(),
            path: String::new(),
        }
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    /// Reads `http://127.0.0.1:11435`, `127.0.0.1:11435`, `localhost`, `:11435` or `11435`, with or without a path.
    fn from_str(text: &str) -> Result<Target, String> {
        const EXPECTED: &str =
            "expected a URL such as http://127.0.0.1:11435, an address, or a port";
        let text = text.trim();
        let (default_port, rest) = match text.split_once("://") {
            None => (ADMIN.port(), text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (80, rest),
            Some(_) => {
                return Err("the admin listener speaks plain HTTP, as in http://…".to_owned());
            }
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(format!("{EXPECTED}, without a user or a password"));
        }
        let digits = authority.strip_prefix(':').unwrap_or(authority);
        let listener = match digits.parse::<u16>() {
            Ok(port) => format!("{}:{port}", Ipv4Addr::LOCALHOST),
            Err(_) => authority.to_owned(),
        };
        let uri: Uri = format!("http://{listener}{path}")
            .parse()
            .map_err(|_| EXPECTED)?;
        let authority = uri.authority().ok_or(EXPECTED)?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = match &listener[authority.host().len()..] {
            "" => Some(default_port),
            rest => rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        };
        let port = port.filter(|_| !host.is_empty()).ok_or(EXPECTED)?;
        let target = match host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0).into(),
            Err(_) => Target {
                host: host.to_owned(),
                port: 0,
                path: String::new(),
            },
        };
        Ok(Target {
            port,
            path: path.trim_end_matches('/').to_owned(),
            ..target
        })
    }
}

impl Target {
    /// Returns the target with the path that is asked for. Of health, the operator's URL may say which page.
    fn asked(self, pages: Pages, path: &str) -> Result<Target, AskError> {
        match (pages, self.path.as_str()) {
            (_, "") => Ok(Target {
                path: path.to_owned(),
                ..self
            }),
            (Pages::Health, _) => Ok(self),
            (Pages::Admin, stated) => Err(AskError::Path {
                asked: path.split('?').next().unwrap_or_default().to_owned(),
                stated: stated.split('?').next().unwrap_or_default().to_owned(),
            }),
        }
    }

    fn get(&self, timeout: Duration) -> Result<Answer, AskError> {
        let bytes = self.bytes(timeout).map_err(|error| AskError::Io {
            target: self.clone(),
            error,
        })?;
        answer(bytes).ok_or_else(|| AskError::Senseless(self.clone()))
    }

    fn bytes(&self, timeout: Duration) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let path = match self.path.strip_prefix('?') {
            Some(query) => format!("/?{query}"),
            None => self.path.clone(),
        };
        let host = self.authority();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Tries every address of the name, as `localhost` may be `::1` first.
    fn connect(&self, timeout: Duration) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    /// Writes the target without its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "http://{}{path}", self.authority())
    }
}

fn answer(mut bytes: Vec<u8>) -> Option<Answer> {
    let end = memchr::memmem::find(&bytes, b"\r\n\r\n")? + 4;
    let body = bytes.split_off(end);
    let status = status(&bytes)?;
    Some(Answer { status, body })
}

/// Returns the status code of a line such as `HTTP/1.1 200 OK` (RFC 9112 section 4).
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_prefix("HTTP/1.")?.split_ascii_whitespace();
    words.nth(1)?.parse().ok()
}

/// Returns the error with which the gateway has refused a request.
pub(super) fn refusal(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        error: String,
    }
    serde_json::from_slice::<Refusal>(body)
        .ok()
        .map(|refusal| refusal.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        text.parse::<Target>().map(|target| target.to_string())
    }

    #[test]
    fn an_address_may_be_written_in_many_ways() {
        for (text, target) in [
            ("http://127.0.0.1:11435", "http://127.0.0.1:11435"),
            (
                "HTTP://127.0.0.1:7/health/live",
                "http://127.0.0.1:7/health/live",
            ),
            ("http://gate/", "http://gate:80"),
            ("127.0.0.1:7", "http://127.0.0.1:7"),
            ("localhost:7/", "http://localhost:7"),
            ("localhost", "http://localhost:11435"),
            ("0.0.0.0:7", "http://127.0.0.1:7"),
            ("http://[::]:7", "http://[::1]:7"),
            (":7", "http://127.0.0.1:7"),
            ("7", "http://127.0.0.1:7"),
            (" 7/health ", "http://127.0.0.1:7/health"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(target), "{text}");
        }
        for text in [
            "",
            "https://gate",
            "ftp://gate",
            "http://",
            "gate:70000",
            "gate:x",
            "a b",
            "::1:7",
        ] {
            assert!(shown(text).is_err(), "{text}: {:?}", shown(text));
        }
        let error = shown("http://user:hunter2@gate").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_configuration_says_where_the_gateway_is() {
        let with = |admin: Option<&str>| Server {
            listen: "0.0.0.0:80".parse().unwrap(),
            admin: admin.map(|admin| admin.parse().unwrap()),
            ..Server::default()
        };
        let told = |admin, pages| told_by(&with(admin), pages).map(|target| target.to_string());
        let admin = told(Some("0.0.0.0:7"), Pages::Admin).unwrap();
        assert_eq!(admin, "http://127.0.0.1:7");
        // Without an admin listener, clients' own tells of health.
        assert_eq!(told(None, Pages::Health).unwrap(), "http://127.0.0.1:80");
        assert!(matches!(told(None, Pages::Admin), Err(AskError::Off(_))));
        let any = told(Some("127.0.0.1:0"), Pages::Health);
        assert!(matches!(any, Err(AskError::AnyPort(_))));
        let closed = Server {
            public: Vec::new(),
            ..with(None)
        };
        assert!(matches!(
            told_by(&closed, Pages::Health),
            Err(AskError::Off(_))
        ));
    }

    #[test]
    fn a_path_is_for_health_alone() {
        let target: Target = "7/health/live".parse().unwrap();
        let health = target
            .clone()
            .asked(Pages::Health, "/health/ready")
            .unwrap();
        assert_eq!(health.path, "/health/live");
        let refused = target
            .asked(Pages::Admin, "/api/route?model=m")
            .unwrap_err();
        assert!(
            refused.to_string().contains("leave /health/live off"),
            "{refused}"
        );
    }

    #[test]
    fn a_status_is_read() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        assert_eq!(status(b"SSH-2.0-OpenSSH_9.9\r\n"), None);
        assert!(answer(b"HTTP/1.1 200 OK\r\n".to_vec()).is_none());
    }
}
