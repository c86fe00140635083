//! Verifies AWS Signature Version 4, by the written procedure: canonical request, string to sign, chain of keys.
//!
//! Written against the specification and AWS's published vectors, so that it shares no mistake with the gateway's
//! signer. The path is encoded once more than it is on the wire, as for every service but S3.

use ring::digest::{SHA256, digest};
use ring::hmac;

use super::super::super::percent::decoded;
use super::super::Setup;
use super::super::exchange::Request;
use super::refused::Refused;

/// Seconds that the clocks may differ.
const MAX_SKEW: i64 = 300;

/// The service that both of Bedrock's APIs are signed for.
const SERVICE: &str = "bedrock";

/// What an `Authorization` header says.
struct Claim<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

/// Checks the signature of a request.
pub(super) fn verify(request: &Request, setup: &Setup) -> Result<(), Refused> {
    let header = request.header("authorization");
    let Some(claim) = header
        .strip_prefix("AWS4-HMAC-SHA256")
        .and_then(Claim::read)
    else {
        return Err(incomplete(
            "Authorization header is not a complete AWS4-HMAC-SHA256 signature.",
        ));
    };
    let stamp = request.header("x-amz-date");
    in_time(stamp, request.now)?;
    in_scope(&claim, stamp, setup)?;
    everything_is_signed(request, &claim)?;
    token(request, setup)?;
    if claim.access_key != setup.access_key {
        return Err(unrecognized());
    }
    let scope = format!("{}/{}/{SERVICE}/aws4_request", claim.date, claim.region);
    let canonical = canonical_request(request, &claim.signed);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let key = signing_key(&setup.secret_key, claim.date, claim.region);
    let expected = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    if expected == claim.signature {
        Ok(())
    } else {
        Err(Refused::forbidden(
            "InvalidSignatureException",
            format!(
                "The request signature we calculated does not match the signature you provided. Check your AWS \
                 Secret Access Key and signing method. Consult the service documentation for details.\n\n\
                 The Canonical String for this request should have been\n'{canonical}'"
            ),
        ))
    }
}

impl<'a> Claim<'a> {
    /// ` Credential=…, SignedHeaders=…, Signature=…`, in any order.
    fn read(text: &'a str) -> Option<Self> {
        let part = |name: &str| {
            text.split(',').find_map(|part| {
                let (key, value) = part.trim().split_once('=')?;
                (key == name).then_some(value)
            })
        };
        let mut scope = part("Credential")?.split('/');
        let claim = Self {
            access_key: scope.next()?,
            date: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed: part("SignedHeaders")?.split(';').collect(),
            signature: part("Signature")?,
        };
        (scope.next() == Some("aws4_request") && scope.next().is_none()).then_some(claim)
    }
}

fn incomplete(message: &str) -> Refused {
    Refused::forbidden("IncompleteSignatureException", message)
}

fn unrecognized() -> Refused {
    Refused::forbidden(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}

fn in_time(stamp: &str, now: i64) -> Result<(), Refused> {
    let Ok(signed) = chrono::NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%M%SZ") else {
        return Err(incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ));
    };
    let skew = now - signed.and_utc().timestamp();
    let clock = chrono::DateTime::from_timestamp(now, 0).unwrap_or_default();
    let clock = clock.format("%Y%m%dT%H%M%SZ");
    let message = match skew {
        MAX_SKEW.. => format!("Signature expired: {stamp} is now earlier than {clock} - 5 min."),
        ..=-300 => {
            format!("Signature not yet current: {stamp} is still later than {clock} + 5 min.")
        }
        _ => return Ok(()),
    };
    Err(Refused::forbidden("InvalidSignatureException", message))
}

fn in_scope(claim: &Claim, stamp: &str, setup: &Setup) -> Result<(), Refused> {
    let message = if claim.region != setup.region {
        "Credential should be scoped to a valid region."
    } else if claim.service != SERVICE {
        "Credential should be scoped to correct service: 'bedrock'."
    } else if !stamp.starts_with(claim.date) || claim.date.len() != 8 {
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
    } else {
        return Ok(());
    };
    Err(Refused::forbidden("InvalidSignatureException", message))
}

/// `host` and every `x-amz-` header must be among those that are signed, and those that are must be there.
fn everything_is_signed(request: &Request, claim: &Claim) -> Result<(), Refused> {
    let is_signed = |name: &str| claim.signed.contains(&name);
    let amazon = request.headers.keys().map(|name| name.as_str());
    let mut must = std::iter::once("host").chain(amazon.filter(|name| name.starts_with("x-amz-")));
    if let Some(name) = must.find(|name| !is_signed(name)) {
        return Err(Refused::forbidden(
            "AccessDeniedException",
            format!("There were headers present in the request which were not signed: {name}"),
        ));
    }
    let missing = claim
        .signed
        .iter()
        .find(|name| !request.headers.contains_key(**name));
    match missing {
        Some(name) => Err(incomplete(&format!(
            "Signed header '{name}' is not in the request."
        ))),
        None if !claim.signed.is_sorted() => Err(incomplete("SignedHeaders must be sorted.")),
        None => Ok(()),
    }
}

fn token(request: &Request, setup: &Setup) -> Result<(), Refused> {
    let given = request.header("x-amz-security-token");
    match setup.session_token.as_deref() {
        None if given.is_empty() => Ok(()),
        Some(expected) if expected == given => Ok(()),
        Some(_) if !given.is_empty() => Err(Refused::forbidden(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )),
        _ => Err(unrecognized()),
    }
}

fn canonical_request(request: &Request, signed: &[&str]) -> String {
    let headers: String = signed
        .iter()
        .map(|name| {
            let values = request.headers.get_all(*name).iter();
            let values = values.map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            });
            format!("{name}:{}\n", values.collect::<Vec<_>>().join(","))
        })
        .collect();
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        request.method,
        encode(&without_dots(&request.path), true),
        canonical_query(&request.query),
        signed.join(";"),
        sha256(&request.body),
    )
}

/// Returns the path with `.` and `..` and empty segments resolved.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                encode(&decoded(name), false),
                encode(&decoded(value), false),
            )
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Percent-encoding of everything but `A-Za-z0-9-_.~`, and but slashes where they are kept.
fn encode(text: &str, keeps_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || (byte == b'/' && keeps_slashes);
        if plain {
            encoded.push(char::from(byte))
        } else {
            encoded.push_str(&format!("%{byte:02X}"))
        }
    }
    encoded
}

fn signing_key(secret: &str, date: &str, region: &str) -> hmac::Key {
    let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
    let first = key(format!("AWS4{secret}").as_bytes());
    [date, region, SERVICE, "aws4_request"]
        .into_iter()
        .fold(first, |last, part| {
            key(hmac::sign(&last, part.as_bytes()).as_ref())
        })
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::Dialect;
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};
    use hyper::{HeaderMap, Method};

    /// 2026-01-02T03:04:05Z
    const NOW: i64 = 1_767_323_045;
    const HAIKU: &str = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse";
    const PROFILE: &str = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Aapplication-inference-profile%2Fabc123def456/converse-stream";

    fn signed(path: &str, names: &str, signature: &str) -> Request {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/bedrock/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        let headers = [
            ("host", "bedrock-runtime.us-east-1.amazonaws.com"),
            ("content-type", "application/json"),
            ("x-amz-date", "20260102T030405Z"),
            ("authorization", authorization.as_str()),
        ];
        let header = |(name, value): (&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        Request {
            method: Method::POST,
            path: path.into(),
            query: String::new(),
            headers: HeaderMap::from_iter(headers.map(header)),
            body: br#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#
                .to_vec()
                .into(),
            number: 1,
            now: NOW,
        }
    }

    fn with_token() -> Request {
        let names = "content-type;host;x-amz-date;x-amz-security-token";
        let signature = "e7efb368563ad4499f0e8f69145fd60fc71c7d3047e09df8250b8f6624efb393";
        let mut request = signed(PROFILE, names, signature);
        request.headers.insert(
            "x-amz-security-token",
            HeaderValue::from_static("SESSIONTOKEN"),
        );
        request
    }

    fn haiku() -> Request {
        let signature = "a9e2ddee7983975acfe7ec4ddc10af309020f208d27103fa23c25efb8a5133e9";
        signed(HAIKU, "content-type;host;x-amz-date", signature)
    }

    fn setup(session_token: Option<&str>) -> Setup {
        Setup {
            session_token: session_token.map(String::from),
            ..Setup::new(Dialect::Bedrock)
        }
    }

    fn exception(request: &Request, setup: &Setup) -> &'static str {
        verify(request, setup)
            .err()
            .map_or("none", |refused| refused.exception)
    }

    #[test]
    fn vectors_of_another_signer_are_taken() {
        assert_eq!(verify(&haiku(), &setup(None)), Ok(()));
        assert_eq!(verify(&with_token(), &setup(Some("SESSIONTOKEN"))), Ok(()));
        let names = ["content-type", "host", "x-amz-date"];
        let canonical = canonical_request(&haiku(), &names);
        assert_eq!(
            sha256(canonical.as_bytes()),
            "e7718ad84f401e097e6a5912b9219710ea6d025520e65ced1da3ad3ac45000f1"
        );
    }

    #[test]
    fn any_change_is_seen() {
        let changes: [&dyn Fn(&mut Request); 5] = [
            &|request| request.body = b"{}".to_vec().into(),
            &|request| request.path.push('x'),
            &|request| request.query = "a=b".into(),
            &|request| request.method = Method::GET,
            &|request| {
                drop(
                    request
                        .headers
                        .insert("content-type", HeaderValue::from_static("text/plain")),
                )
            },
        ];
        for change in changes {
            let mut request = haiku();
            change(&mut request);
            assert_eq!(
                exception(&request, &setup(None)),
                "InvalidSignatureException"
            );
        }
    }

    #[test]
    fn clocks_tokens_and_keys() {
        for skew in [300, -300] {
            let mut request = haiku();
            request.now += skew;
            let refused = verify(&request, &setup(None)).unwrap_err();
            assert!(refused.message.contains("5 min."), "{refused:?}");
        }
        let mut request = haiku();
        request.now += 299;
        assert_eq!(verify(&request, &setup(None)), Ok(()));
        assert_eq!(
            exception(&haiku(), &setup(Some("SESSIONTOKEN"))),
            "UnrecognizedClientException"
        );
        assert_eq!(
            exception(&with_token(), &setup(Some("OTHER"))),
            "ExpiredTokenException"
        );
        let other = Setup {
            access_key: "AKIDOTHER".into(),
            ..setup(None)
        };
        assert_eq!(exception(&haiku(), &other), "UnrecognizedClientException");
        let elsewhere = Setup {
            region: "eu-west-1".into(),
            ..setup(None)
        };
        assert!(
            verify(&haiku(), &elsewhere)
                .unwrap_err()
                .message
                .contains("valid region")
        );
    }

    #[test]
    fn headers_of_amazon_must_be_signed() {
        let mut request = haiku();
        request.headers.insert(
            "x-amz-security-token",
            HeaderValue::from_static("SESSIONTOKEN"),
        );
        let refused = verify(&request, &setup(Some("SESSIONTOKEN"))).unwrap_err();
        assert!(
            refused
                .message
                .ends_with("not signed: x-amz-security-token"),
            "{refused:?}"
        );
    }

    #[test]
    fn paths_and_queries() {
        assert_eq!(without_dots("/a/./b/../c/"), "/a/c/");
        assert_eq!(without_dots("//"), "/");
        assert_eq!(encode("/m/a%3Ab ü", true), "/m/a%253Ab%20%C3%BC");
        assert_eq!(canonical_query("b=2&a=x%2Fy&a=1&c"), "a=1&a=x%2Fy&b=2&c=");
    }
}
