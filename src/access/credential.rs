//! The credential that a request shows: `Authorization: Bearer …`, `Authorization: Basic …` or `x-api-key: …`, and only
//! one.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

/// With and without its padding, which some clients leave out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The field in which Anthropic's clients send their key.
const X_API_KEY: &str = "x-api-key";
/// RFC 6750 section 2.1; the scheme is case-insensitive (RFC 9110 section 11.1).
const BEARER: &[u8] = b"bearer ";
/// RFC 7617 section 2: the credential is the password, whoever the user is said to be.
const BASIC: &[u8] = b"basic ";

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

/// Returns the credential in a request's head.
///
/// # Errors
/// [`BadCredential::Missing`] and [`BadCredential::Ambiguous`].
pub fn presented(fields: &HeaderMap) -> Result<Cow<'_, [u8]>, BadCredential> {
    let authorized = fields.get_all(AUTHORIZATION).iter().map(authorized);
    let keys = fields.get_all(X_API_KEY).iter();
    let keys = keys.map(|value| Some(Cow::Borrowed(value.as_bytes().trim_ascii())));
    let mut found: Option<Cow<'_, [u8]>> = None;
    for credential in authorized.chain(keys) {
        let credential = credential.filter(|text| !text.is_empty());
        let credential = credential.ok_or(BadCredential::Missing)?;
        match &found {
            Some(other) if !bool::from(other.ct_eq(&credential)) => {
                return Err(BadCredential::Ambiguous);
            }
            _ => found = Some(credential),
        }
    }
    found.ok_or(BadCredential::Missing)
}

fn authorized(value: &HeaderValue) -> Option<Cow<'_, [u8]>> {
    let behind = |name: &[u8]| {
        let (scheme, rest) = value.as_bytes().split_at_checked(name.len())?;
        scheme.eq_ignore_ascii_case(name).then(|| rest.trim_ascii())
    };
    match behind(BEARER) {
        Some(key) => Some(key.into()),
        None => password(behind(BASIC)?).map(Cow::Owned),
    }
}

/// Returns what follows the first colon, which no user's name has.
fn password(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut pair = BASE64.decode(encoded).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair.split_off(colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &[(&'static str, &'static str)]) -> Result<String, BadCredential> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        presented(&map).map(|bytes| String::from_utf8(bytes.into_owned()).unwrap())
    }

    #[test]
    fn either_field_carries_it() {
        for fields in [
            &[("authorization", "Bearer k")][..],
            &[("authorization", "bEARER  k ")],
            &[("x-api-key", " k ")],
            &[("x-api-key", "k"), ("authorization", "Bearer k")],
            &[("authorization", "Bearer k"), ("authorization", "Bearer k")],
            // `me:k`, `:k`, and without padding.
            &[("authorization", "Basic bWU6aw==")],
            &[("authorization", "bAsIc  Oms= ")],
            &[("authorization", "Basic bWU6aw"), ("x-api-key", "k")],
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
            // `k`, `k:`, and what is no base64.
            &[("authorization", "Basic aw==")],
            &[("authorization", "Basic azo=")],
            &[("authorization", "Basic k:k")],
            &[("authorization", "Basic")],
            &[("x-api-key", "")],
            // One of two that cannot be read is as good as one that differs.
            &[("authorization", "Basic aw=="), ("x-api-key", "k")],
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
            // A password may have colons.
            &[("authorization", "Basic dTphOmI="), ("x-api-key", "b")],
            &[
                ("authorization", "Basic dTpr"),
                ("authorization", "Bearer j"),
            ],
        ] {
            assert_eq!(shown(fields), Err(BadCredential::Ambiguous), "{fields:?}");
        }
    }
}
