//! Frames of `application/vnd.amazon.eventstream`: prelude, headers, payload, and two checksums.
//!
//! u32 total length | u32 headers length | u32 CRC-32 of these | headers | payload | u32 CRC-32 of all before it.

use bytes::Bytes;

/// A header's type: a string with a length of two bytes.
const STRING: u8 = 7;

/// Returns an event of the stream.
pub(super) fn event(name: &str, payload: &str) -> Bytes {
    frame(
        &[
            (":event-type", name),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ],
        payload.as_bytes(),
    )
}

/// Returns a modelled failure that ends the stream.
pub(super) fn exception(name: &str, payload: &str) -> Bytes {
    frame(
        &[
            (":exception-type", name),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ],
        payload.as_bytes(),
    )
}

/// Returns a failure that the service has no model of: all of it stands in the headers.
pub(super) fn error(code: &str, message: &str) -> Bytes {
    frame(
        &[
            (":error-code", code),
            (":error-message", message),
            (":message-type", "error"),
        ],
        b"",
    )
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let mut named = Vec::new();
    for (name, value) in headers {
        let name_length = u8::try_from(name.len()).expect("the names above are short");
        // A header's value has at most 64 KiB; what does not fit is a message that was asked for as a fault.
        let value = &value.as_bytes()[..value.len().min(usize::from(u16::MAX))];
        named.push(name_length);
        named.extend_from_slice(name.as_bytes());
        named.push(STRING);
        named.extend_from_slice(&(value.len() as u16).to_be_bytes());
        named.extend_from_slice(value);
    }
    let total = 12 + named.len() + payload.len() + 4;
    let mut frame = Vec::with_capacity(total);
    frame.extend_from_slice(&(total as u32).to_be_bytes());
    frame.extend_from_slice(&(named.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&named);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn frames_that_another_decoder_has_read() {
        assert_eq!(
            hex(&event("messageStart", r#"{"role":"assistant"}"#)),
            "000000760000005296d5fade0b3a6576656e742d7479706507000c6d65737361676553746172740d3a636f6e74656e742d747970\
             650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b22726f6c65223a2261\
             7373697374616e74227d6fa8c599"
        );
        assert_eq!(
            hex(&exception(
                "throttlingException",
                r#"{"message":"slow down"}"#
            )),
            "0000008800000061de0175f40f3a657863657074696f6e2d747970650700137468726f74746c696e67457863657074696f6e0d3a\
             636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d7479706507000965786365\
             7074696f6e7b226d657373616765223a22736c6f7720646f776e227d832ee072"
        );
    }
}
