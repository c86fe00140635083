//! An answer of the gateway's own.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use super::listing;
use crate::fleet::Fleet;
use remuda_formats::client::ErrorStyle;
use remuda_formats::dialect::ollama;

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// HTTP status.
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
    /// How old a part of it may be, for `Age`.
    pub age: Option<Duration>,
    /// The seconds of `Retry-After`.
    pub retry_after: Option<u32>,
}

impl Page {
    pub fn new(status: u16, content_type: &'static str, body: Bytes) -> Self {
        Self {
            status,
            content_type,
            body,
            age: None,
            retry_after: None,
        }
    }

    pub fn text(body: &'static str) -> Self {
        Self::new(200, TEXT, Bytes::from_static(body.as_bytes()))
    }

    /// Returns the page `{"error":"…"}`.
    pub fn error(status: u16, text: &str) -> Self {
        Self::new(status, JSON, ollama::error_body(text))
    }

    pub fn raw_json(body: Bytes) -> Self {
        Self::new(200, JSON, body)
    }

    /// Returns a page with the value as JSON.
    ///
    /// # Panics
    /// Never for the types of this module: they hold no maps with keys that are not strings.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("pages are plain structs");
        Self::new(status, JSON, body.into())
    }

    /// Makes the page of a list of models, some of which may be of backends that are down.
    pub(super) fn with_age(self, fleet: &Fleet) -> Self {
        Self {
            age: listing::age(fleet),
            ..self
        }
    }

    /// Returns the answer in place of an empty list while somebody may have models.
    pub(super) fn nothing_known(fleet: &Fleet, style: ErrorStyle) -> Self {
        fleet.missed_by_a_request();
        let text = "no models are known: not all backends have answered yet, /health says why";
        Self {
            retry_after: Some(1),
            ..Self::new(503, JSON, style.body(503, text))
        }
    }
}

/// Returns the seconds since 1970.
pub(super) fn unix(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
