//! Request bodies that come compressed (`Content-Encoding`): which codings are taken, and how one that is not is refused.

use http::HeaderMap;
use http::header::{self, HeaderValue};

use crate::coding::{Coding, Garbled, listed, named};
use crate::proxy::failure::Failure;

/// The codings that `Accept-Encoding` names beside 415 (RFC 9110 section 15.5.16).
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, deflate, zstd");

/// The most codings of one body, one over the other; nobody needs two.
const MAX_CODINGS: usize = 3;

/// Returns the codings of a request's body, the last of which was put on last.
///
/// # Errors
/// 415.
pub(crate) fn codings(fields: &HeaderMap) -> Result<Vec<Coding>, Failure> {
    let fields = fields.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = Vec::new();
    for name in listed(fields.map(HeaderValue::as_bytes)) {
        let coding = named(name).filter(|_| codings.len() < MAX_CODINGS);
        codings.push(coding.ok_or_else(unknown)?);
    }
    Ok(codings)
}

fn unknown() -> Failure {
    let text = "the request body's Content-Encoding is not supported; send it as it is, or as gzip, deflate or zstd";
    Failure::new(415, "unknown_coding", text).closing()
}

/// Returns what the client is told of a body that is not packed as its coding says.
pub(crate) fn failure(coding: Coding, what: Garbled) -> Failure {
    Failure::bad_request(format!("the request body's {} {what}", coding.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_read_in_any_spelling() {
        let read = |values: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            codings(&fields).map_err(|failure| failure.status)
        };
        assert_eq!(read(&[]), Ok(vec![]));
        assert_eq!(read(&["identity", ""]), Ok(vec![]));
        assert_eq!(read(&[" X-GZip "]), Ok(vec![Coding::Gzip]));
        let two = Ok(vec![Coding::Deflate, Coding::Zstd]);
        assert_eq!(read(&["deflate, zstd"]), two);
        assert_eq!(read(&["deflate", "identity,ZSTD"]), two);
        for bad in ["br", "gzip;q=1", "aws-chunked", "gzip,gzip,gzip,gzip"] {
            assert_eq!(read(&[bad]), Err(415), "{bad}");
        }
    }
}
