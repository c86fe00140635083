//! Checks for which host a request is: one that this gateway answers to, named as every server reads it.

use http::{Version, header};
use pingora::http::RequestHeader;
use pingora::http::authority::raw_target_authority;

use crate::proxy::failure::Failure;
use crate::settings::HostRule;

/// Why a request is not let in by its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// The request names no host (RFC 9112 section 3.2).
    Nameless,
    /// The gateway does not answer to the host.
    Foreign,
}

/// Checks for which host a request is.
///
/// # Errors
/// The objection to a request that names no host, or one that the gateway does not answer to.
pub(crate) fn check(rule: &HostRule, head: &RequestHeader) -> Result<(), Objection> {
    let mut hosts = head.headers.get_all(header::HOST).iter().peekable();
    if head.version == Version::HTTP_11 && hosts.peek().is_none() {
        return Err(Objection::Nameless);
    }
    let authority = head.uri.authority();
    // That of a target in absolute form (RFC 9112 section 3.2.2), which Pingora keeps apart. It refuses one that
    // differs from the field Host, but an HTTP/1.0 client need not send that field.
    let written = raw_target_authority(head.raw_path()).authority();
    let answers = |host: &[u8]| str::from_utf8(host).is_ok_and(|host| rule.answers(host));
    let known = hosts.all(|host| answers(host.as_bytes()))
        && authority.is_none_or(|authority| rule.answers(authority.as_str()))
        && written.is_none_or(answers);
    if known {
        Ok(())
    } else {
        Err(Objection::Foreign)
    }
}

impl Objection {
    /// Returns what the client is told.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Objection::Nameless => {
                Failure::bad_request("the request names no host; send the field Host")
            }
            Objection::Foreign => {
                let text = "requests for this host are not served; names besides localhost are in the setting server.hosts";
                Failure::new(403, "host_refused", text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(target: &str, version: Version, hosts: &[&str]) -> Result<(), Objection> {
        let rule = HostRule::new("127.0.0.1:11434".parse().unwrap(), &[]);
        let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        head.set_version(version);
        for host in hosts {
            head.append_header(header::HOST, *host).unwrap();
        }
        check(&rule, &head)
    }

    #[test]
    fn a_request_is_for_a_host_that_the_gateway_answers_to() {
        let checked = |hosts: &[&str]| checked("/", Version::HTTP_11, hosts);
        assert_eq!(checked(&["localhost:11434"]), Ok(()));
        assert_eq!(checked(&["evil.example"]), Err(Objection::Foreign));
        // Two readers could each believe another one.
        let both = ["localhost", "evil.example"];
        assert_eq!(checked(&both), Err(Objection::Foreign));
        assert_eq!(checked(&[]), Err(Objection::Nameless));
    }

    #[test]
    fn old_clients_need_not_name_a_host() {
        assert_eq!(checked("/", Version::HTTP_10, &[]), Ok(()));
        let named = checked("http://evil.example/", Version::HTTP_10, &[]);
        assert_eq!(named, Err(Objection::Foreign));
        let named = checked("http://localhost/", Version::HTTP_10, &[]);
        assert_eq!(named, Ok(()));
    }
}
