//! What the header fields of a request ask for besides its body: a priority (`X-Priority`), a provider (`X-Provider`), and
//! one backend of all (`X-Backend`).

use std::sync::Arc;

use http::HeaderMap;
use pingora::http::RequestHeader;

use crate::access::{self, ClientKey};
use crate::ids::BackendId;
use crate::proxy::ctx::Inbound;
use crate::proxy::failure::Failure;
use crate::proxy::request_filter::plan::Planner;

/// The wishes that the header fields of a request state.
#[derive(Debug)]
pub(crate) struct Preferences {
    /// Higher goes first; 0 is normal.
    pub(crate) priority: i32,
    /// The only backend that may serve the request.
    pub(crate) pinned: Option<BackendId>,
    /// The provider that is to serve the request.
    pub(crate) provider: Option<String>,
}

impl Preferences {
    /// Reads the header fields.
    ///
    /// # Errors
    /// 400 for a field whose value cannot be followed.
    pub(crate) fn of(
        head: &RequestHeader,
        inbound: &Inbound,
        planner: &Planner,
    ) -> Result<Preferences, Failure> {
        Ok(Preferences {
            priority: priority(&head.headers, inbound.key.as_ref())?,
            pinned: planner.pinned(&head.headers, inbound)?,
            provider: provider(&head.headers)?,
        })
    }
}

/// Reads `X-Priority: high|normal|low`, or a number where higher goes first, as far as the client's key allows it.
///
/// # Errors
/// 400 for anything else.
fn priority(fields: &HeaderMap, key: Option<&Arc<ClientKey>>) -> Result<i32, Failure> {
    let stated = match fields.get("x-priority") {
        None => None,
        Some(value) => Some(parsed(value.to_str().unwrap_or_default().trim())?),
    };
    Ok(match key {
        Some(key) => key.priority(stated),
        None => access::unentitled(stated),
    })
}

fn parsed(text: &str) -> Result<i32, Failure> {
    let named = [("high", access::HIGH), ("normal", 0), ("low", -10)];
    let mut named = named.into_iter();
    if let Some((_, priority)) = named.find(|(name, _)| text.eq_ignore_ascii_case(name)) {
        return Ok(priority);
    }
    text.parse().map_err(|_| {
        Failure::bad_request(
            "X-Priority must be high, normal, low, or a whole number (higher goes first)",
        )
    })
}

/// Reads `X-Provider`.
///
/// # Errors
/// 400 if it is no text.
pub(crate) fn provider(fields: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(value) = fields.get("x-provider") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(_) => Err(Failure::bad_request("X-Provider is not a provider's name")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_priority_is_a_word_or_a_number() {
        for (text, priority) in [
            ("HIGH", Some(access::HIGH)),
            ("normal", Some(0)),
            ("Low", Some(-10)),
            ("-3", Some(-3)),
            ("7", Some(7)),
            ("", None),
            ("urgent", None),
            ("1.5", None),
        ] {
            assert_eq!(parsed(text).ok(), priority, "{text:?}");
        }
    }

    #[test]
    fn whoever_has_no_key_is_not_put_first() {
        let mut fields = HeaderMap::new();
        assert_eq!(priority(&fields, None).ok(), Some(access::unentitled(None)));
        fields.insert("x-priority", HeaderValue::from_static("high"));
        let high = priority(&fields, None).ok();
        assert_eq!(high, Some(access::unentitled(Some(access::HIGH))));
        fields.insert("x-priority", HeaderValue::from_static("soon"));
        assert_eq!(priority(&fields, None).unwrap_err().status, 400);
    }

    #[test]
    fn a_provider_is_named_by_a_text() {
        let mut fields = HeaderMap::new();
        assert_eq!(provider(&fields), Ok(None));
        fields.insert("x-provider", HeaderValue::from_static(" openai "));
        assert_eq!(provider(&fields), Ok(Some("openai".to_owned())));
        fields.insert("x-provider", HeaderValue::from_static(" "));
        assert_eq!(provider(&fields), Ok(None));
        let bytes = HeaderValue::from_bytes(b"\xff").unwrap();
        fields.insert("x-provider", bytes);
        assert_eq!(provider(&fields).unwrap_err().status, 400);
    }
}
