//! The answers to clients whose head never becomes a request.

pub(super) const HEAD_TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 78\r\nConnection: close\r\n\r\n\
    {\"error\":\"request head too large; the limit is the setting server.max_header\"}";
pub(super) const HEAD_TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 81\r\nConnection: close\r\n\r\n\
    {\"error\":\"request head too slow; the limit is the setting server.header_timeout\"}";

/// The answer to a head that Pingora refuses: one that is no HTTP, or has more than the 256 fields that Pingora parses.
const BAD_HEAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 82\r\nConnection: close\r\n\r\n\
    {\"error\":\"the request head is not valid HTTP, or has more than 256 header fields\"}";
const NO_TUNNELS: &[u8] = b"HTTP/1.1 405 Method Not Allowed\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 72\r\nConnection: close\r\n\r\n\
    {\"error\":\"Method CONNECT not allowed; this gateway is no forward proxy\"}";

/// Returns the answer with a body that goes out in place of Pingora's own, which has none, to a head that it refuses.
pub(super) fn in_place_of(answer: &[u8]) -> Option<&'static [u8]> {
    match answer.strip_prefix(b"HTTP/1.")?.get(2..5)? {
        b"400" => Some(BAD_HEAD),
        b"405" => Some(NO_TUNNELS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_state_their_length() {
        for answer in [HEAD_TOO_LARGE, HEAD_TOO_SLOW, BAD_HEAD, NO_TUNNELS] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_pingora_refuses_is_told_in_words_and_its_other_answers_stay() {
        for (answer, expected) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], Some(BAD_HEAD)),
            (b"HTTP/1.0 400 Bad Request\r\n", Some(BAD_HEAD)),
            (b"HTTP/1.1 405 Method Not Allowed\r\n", Some(NO_TUNNELS)),
            (b"HTTP/1.1 200 OK\r\n", None),
            (b"HTTP/1.1 40", None),
            (b"data: HTTP/1.1 400", None),
        ] {
            assert_eq!(in_place_of(answer), expected);
        }
    }
}
