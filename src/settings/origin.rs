//! Origins of web pages, as `server.allowed_origins` and `OLLAMA_ORIGINS` name them.

use std::fmt;

/// Bytes of an origin at most: the longest name of a host (RFC 1035 section 2.3.4), its scheme and its port, and more.
const MAX_ORIGIN: usize = 512;

/// An origin, or with one `*` many; in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Box<str>);

impl Origin {
    /// Reads `https://app.example`, `http://10.0.0.*`, `moz-extension://*` or `*`. A slash at the end, as an address
    /// bar shows it, is borne.
    pub fn parse(text: &str) -> Option<Origin> {
        let text = match text.strip_suffix('/') {
            Some(rest) if !rest.ends_with(['/', ':']) => rest,
            _ => text,
        };
        let written = (1..=MAX_ORIGIN).contains(&text.len()) && text.bytes().all(is_written);
        let stars = text.bytes().filter(|byte| *byte == b'*').count();
        let named = text
            .split_once("://")
            .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty());
        let meant = stars == 1 || (stars == 0 && named);
        (written && meant).then(|| Origin(text.to_ascii_lowercase().into()))
    }

    /// Returns whether the pattern stands for every origin, those without a name included.
    pub fn is_any(&self) -> bool {
        &*self.0 == "*"
    }

    /// Returns whether the pattern fits the value of a request's `Origin`.
    pub fn holds(&self, origin: &str) -> bool {
        let Some((before, after)) = self.0.split_once('*') else {
            return self.0.eq_ignore_ascii_case(origin);
        };
        if self.is_any() {
            return true;
        }
        if origin.len() > MAX_ORIGIN || !origin.bytes().all(is_written) {
            return false;
        }
        let origin = origin.to_ascii_lowercase();
        let rest = origin.strip_prefix(before);
        let Some(starred) = rest.and_then(|rest| rest.strip_suffix(after)) else {
            return false;
        };
        // Behind a host's colon comes a port and nothing else.
        let port = before.ends_with(':') && after.is_empty();
        !port || starred.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// Returns whether a byte can be in the one origin that a field holds (RFC 6454 section 7.1): a list has spaces.
fn is_written(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b",\"'<>\\".contains(&byte)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_held_whole_or_by_its_star() {
        for (pattern, held, other) in [
            (
                "https://app.example",
                "https://APP.example",
                "https://app.example.evil",
            ),
            (
                "https://App.example/",
                "https://app.example",
                "http://app.example",
            ),
            (
                "http://localhost:*",
                "http://localhost:3000",
                "http://localhost",
            ),
            (
                "http://localhost:*",
                "http://localhost:1",
                "http://localhost:1.evil.example",
            ),
            (
                "http://localhost:*",
                "http://localhost:80",
                "http://localhost:80, https://evil",
            ),
            ("app://*", "app://obsidian.md", "apps://obsidian.md"),
            (
                "https://*.example",
                "https://a.b.example",
                "https://a.example.evil",
            ),
            ("*.example", "https://a.example", "https://example.org"),
            ("http://10.0.0.*", "http://10.0.0.7:8080", "http://10.0.1.7"),
            ("https://a*a", "https://aa", "https://a"),
        ] {
            let origin = Origin::parse(pattern).unwrap();
            assert!(origin.holds(held), "{pattern} {held}");
            for other in [other, "null", "", &"x".repeat(100_000)] {
                assert!(!origin.holds(other), "{pattern} {other}");
            }
        }
        for origin in ["null", "https://anything", ""] {
            assert!(Origin::parse("*").unwrap().holds(origin));
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "",
            "app.example",
            "null",
            "https://",
            "://x",
            "https://a b",
            "https://a,https://b",
            "https://*.a.*",
            "https://é",
            &format!("https://{}", "a".repeat(600)),
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }
}
