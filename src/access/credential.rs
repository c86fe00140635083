//! The credential that a request shows: `Authorization: Bearer …` or `x-api-key: …`, and only one.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

/// As Anthropic's clients send it.
const X_API_KEY: &str = "x-api-key";
/// RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1).
const BEARER: &[u8] = b"bearer ";

/// Why a request shows no credential that could be looked up. The texts are those of a provider balancer, which its
/// clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCredential {
    #[error("Invalid Authorization header. Expected format: 'Authorization: Bearer YOUR_API_KEY'")]
    Missing,
    /// Which of them counts would be for the reader to guess, and two readers may guess differently.
    #[error("the request carries two API keys that differ; send one")]
    Ambiguous,
    #[error("Invalid API key")]
    Unknown,
}

/// The credential of a request's head.
///
/// # Errors
/// [`BadCredential::Missing`] and [`BadCredential::Ambiguous`].
pub fn presented(fields: &HeaderMap) -> Result<&[u8], BadCredential> {
    let bearers = fields.get_all(AUTHORIZATION).iter().map(bearer);
    let keys = fields.get_all(X_API_KEY).iter();
    let keys = keys.map(|value| Some(value.as_bytes().trim_ascii()));
    let mut found: Option<&[u8]> = None;
    for credential in bearers.chain(keys) {
        let credential = credential.filter(|text| !text.is_empty());
        let credential = credential.ok_or(BadCredential::Missing)?;
        match found {
            Some(other) if !bool::from(other.ct_eq(credential)) => {
                return Err(BadCredential::Ambiguous);
            }
            _ => found = Some(credential),
        }
    }
    found.ok_or(BadCredential::Missing)
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(BEARER.len())?;
    scheme
        .eq_ignore_ascii_case(BEARER)
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &[(&'static str, &'static str)]) -> Result<String, BadCredential> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        presented(&map).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn either_field_carries_it() {
        for fields in [
            &[("authorization", "Bearer k")][..],
            &[("authorization", "bEARER  k ")],
            &[("x-api-key", " k ")],
            &[("x-api-key", "k"), ("authorization", "Bearer k")],
            &[("authorization", "Bearer k"), ("authorization", "Bearer k")],
        ] {
            assert_eq!(shown(fields), Ok("k".to_owned()), "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_credential_is_refused() {
        for fields in [
            &[][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "k")],
            &[("authorization", "Basic azpr")],
            &[("x-api-key", "")],
            // One of two that cannot be read is as good as one that differs.
            &[("authorization", "Basic azpr"), ("x-api-key", "k")],
            &[("authorization", "Bearer k"), ("x-api-key", "")],
            &[("cookie", "k")],
        ] {
            assert_eq!(shown(fields), Err(BadCredential::Missing), "{fields:?}");
        }
    }

    #[test]
    fn two_that_differ_are_refused() {
        for fields in [
            &[("x-api-key", "k"), ("authorization", "Bearer j")][..],
            &[
                ("authorization", "Bearer k"),
                ("authorization", "Bearer kk"),
            ],
            &[("x-api-key", "k"), ("x-api-key", "K")],
        ] {
            assert_eq!(shown(fields), Err(BadCredential::Ambiguous), "{fields:?}");
        }
    }
}
