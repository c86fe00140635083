//! The head of an answer while it is put together.
//!
//! Pingora's own header map parses and copies every name that is put into it, and keeps a second map of how names are
//! spelled. Here names are constants or the backend's, and they leave as Pingora spells those that come without a
//! spelling (`Content-Type`, `x-request-id`), as they do with one.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use pingora::http::ResponseHeader;

/// Status and fields.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    fields: HeaderMap,
}

impl Head {
    /// Makes a head with room for so many fields.
    pub(crate) fn new(status: StatusCode, fields: usize) -> Head {
        Head {
            status,
            fields: HeaderMap::with_capacity(fields),
        }
    }

    /// Makes a head of that status; 500 in place of what is none: the gateway's own are all constants.
    pub(crate) fn of_status(status: u16, fields: usize) -> Head {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Head::new(status, fields)
    }

    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.fields
    }

    /// Sets a field in place of all of that name.
    pub(crate) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.insert(name, value);
    }

    /// Adds a field after those of that name.
    pub(crate) fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.fields.append(name, value.clone());
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        self.fields.remove(name);
    }

    /// Says to a browser that pages of that origin may read the answer (Fetch standard section 3.3.3).
    pub(crate) fn allow_origin(&mut self, origin: &HeaderValue) {
        self.set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if origin != "*" && !self.varies_by_origin() {
            self.add(&header::VARY, &HeaderValue::from_static("Origin"));
        }
    }

    fn varies_by_origin(&self) -> bool {
        self.fields.get_all(header::VARY).iter().any(|value| {
            let mut names = value.as_bytes().split(|byte| *byte == b',');
            names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"origin"))
        })
    }
}

impl From<Head> for ResponseHeader {
    fn from(head: Head) -> ResponseHeader {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = head.status;
        parts.headers = head.fields;
        ResponseHeader::from(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_said_once() {
        let mut head = Head::new(StatusCode::OK, 4);
        head.add(&header::VARY, &HeaderValue::from_static("Accept, origin"));
        head.allow_origin(&HeaderValue::from_static("http://localhost"));
        let fields = head.fields();
        assert_eq!(fields.get_all(header::VARY).iter().count(), 1);
        assert_eq!(
            fields[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "http://localhost"
        );
    }

    #[test]
    fn names_leave_as_pingora_spells_them() {
        let mut head = Head::new(StatusCode::OK, 2);
        let id = HeaderName::from_static("x-request-id");
        head.set(header::CONTENT_TYPE, HeaderValue::from_static("a"));
        head.set(id.clone(), HeaderValue::from_static("1"));
        head.add(&id, &HeaderValue::from_static("2"));
        let mut spelled = ResponseHeader::build(200, None).unwrap();
        spelled.append_header(header::CONTENT_TYPE, "a").unwrap();
        spelled.append_header(&id, "1").unwrap();
        spelled.append_header(&id, "2").unwrap();
        let (mut own, mut pingoras) = (Vec::new(), Vec::new());
        ResponseHeader::from(head).header_to_h1_wire(&mut own);
        spelled.header_to_h1_wire(&mut pingoras);
        assert_eq!(own, pingoras);
    }
}
