//! Names by which clients may call a listener: a page can have its own name resolved to any address once it is loaded (DNS
//! rebinding), and its reader's browser then takes what that address answers for the page's own.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Bytes of a host's name at most (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
/// Names that no public name server resolves (RFC 6761 section 6.3, RFC 6762 section 3, ICANN's resolution on
/// `.internal`), which Ollama allows too.
const PRIVATE: [&str; 3] = ["localhost", "local", "internal"];

/// One name of `server.hosts`, in lower case: `llm.example`, `*.llm.example`, or `*` for every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Box<str>);

impl HostName {
    pub fn parse(text: &str) -> Option<HostName> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let rest = match name {
            "*" => return Some(HostName(name.into())),
            _ => name.strip_prefix("*.").unwrap_or(name),
        };
        let is_label = |label: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(known)
        };
        let is_name = (1..=MAX_NAME).contains(&name.len()) && rest.split('.').all(is_label);
        is_name.then(|| HostName(name.to_ascii_lowercase().into()))
    }

    fn holds(&self, name: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some("") => true,
            Some(domain) => name
                .len()
                .checked_sub(domain.len())
                .filter(|at| *at > 0)
                .and_then(|at| name.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(domain)),
            None => self.0.eq_ignore_ascii_case(name),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Which names a listener answers to.
#[derive(Clone, Debug)]
pub struct HostRule {
    /// `None`: all.
    named: Option<Vec<HostName>>,
}

impl HostRule {
    /// Names are looked at on a loopback address, and wherever the operator has stated some.
    pub fn new(listen: SocketAddr, stated: &[HostName]) -> HostRule {
        let loopback = listen.ip().to_canonical().is_loopback();
        HostRule {
            named: (loopback || !stated.is_empty()).then(|| {
                let machine = std::fs::read_to_string("/proc/sys/kernel/hostname");
                let machine = machine.ok().and_then(|name| HostName::parse(name.trim()));
                stated.iter().cloned().chain(machine).collect()
            }),
        }
    }

    /// Returns whether the host that a request is for, with or without a port, is one that this listener answers to. An
    /// address is always one: a page cannot have it resolved to another.
    pub fn answers(&self, host: &str) -> bool {
        let Some(named) = &self.named else {
            return true;
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bare.unwrap_or(host).parse::<IpAddr>().is_ok() || host.parse::<SocketAddr>().is_ok() {
            return true;
        }
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.strip_suffix('.').unwrap_or(name);
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_private = if name.contains('.') {
            PRIVATE.iter().any(|top| last.eq_ignore_ascii_case(top))
        } else {
            name.is_empty() || name.eq_ignore_ascii_case(PRIVATE[0])
        };
        is_private || named.iter().any(|own| own.holds(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(listen: &str, stated: &[&str]) -> HostRule {
        let stated: Vec<_> = stated
            .iter()
            .map(|name| HostName::parse(name).unwrap())
            .collect();
        HostRule::new(listen.parse().unwrap(), &stated)
    }

    #[test]
    fn a_loopback_listener_answers_to_private_names_and_addresses() {
        for listen in ["127.0.0.1:11434", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let rule = rule(listen, &[]);
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
                ("host.docker.internal:11434", true),
                ("desk.local", true),
                ("", true),
                ("localhost.example", false),
                ("evil.example:11435", false),
                ("127.0.0.1.example", false),
                ("notlocalhost", false),
                ("internal", false),
                ("local", false),
                ("evilinternal", false),
                ("[evil.example]", false),
                ("[evil.example]:1", false),
            ] {
                assert_eq!(rule.answers(host), own, "{host} on {listen}");
            }
        }
    }

    #[test]
    fn elsewhere_every_name_is_answered_until_names_are_stated() {
        assert!(rule("0.0.0.0:1", &[]).answers("any.example"));
        let rule = rule("0.0.0.0:1", &["LLM.example", "*.apps.example."]);
        for (host, own) in [
            ("llm.example", true),
            ("LLM.Example:80", true),
            ("a.apps.example", true),
            ("a.b.apps.example:1", true),
            ("10.0.0.1:11434", true),
            ("localhost", true),
            ("apps.example", false),
            ("evilapps.example", false),
            ("x.llm.example", false),
            ("llm.example.evil", false),
        ] {
            assert_eq!(rule.answers(host), own, "{host}");
        }
    }

    #[test]
    fn any_name_can_be_stated() {
        assert!(rule("127.0.0.1:1", &["*"]).answers("any.example"));
    }

    #[test]
    fn what_is_no_name_cannot_be_stated() {
        for bad in [
            "", ".", "a b", "http://a", "a:80", "*a", "a.*.b", "**", "a..b", "é",
        ] {
            assert_eq!(HostName::parse(bad), None, "{bad}");
        }
    }
}
