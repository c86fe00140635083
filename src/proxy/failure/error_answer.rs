//! A backend's own error, put into the form in which its client reads errors where it has another: its status and its
//! header's fields stay, and its words, as far as a client may see them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, header};
use pingora::http::ResponseHeader;

use crate::proxy::failure::Failure;
use remuda_formats::client::{ErrorStyle, Operation};
use remuda_formats::dialect::openai;
use remuda_formats::translate::ClientForm;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A backend's own error answer.
#[derive(Debug)]
pub(crate) struct ErrorAnswer {
    pub(crate) head: ResponseHeader,
    pub(crate) body: Bytes,
}

/// Returns the same error as a client of that operation reads it.
pub(crate) fn for_client(answer: ErrorAnswer, operation: Operation) -> ErrorAnswer {
    let ErrorAnswer { mut head, body } = answer;
    let style = ErrorStyle::of(operation);
    // What is still packed was packed in a way that nobody asked for.
    let is_packed = head.headers.contains_key(header::CONTENT_ENCODING);
    if !is_packed && style.is_form_of(&body) {
        return ErrorAnswer { head, body };
    }
    let said: &[u8] = if is_packed { b"" } else { &body };
    let body = body_of(head.status.as_u16(), &head.headers, said, operation);
    head.remove_header(&header::CONTENT_ENCODING);
    if head.insert_header(header::CONTENT_TYPE, JSON).is_err() {
        head.remove_header(&header::CONTENT_TYPE);
    }
    ErrorAnswer { head, body }
}

fn body_of(status: u16, headers: &http::HeaderMap, said: &[u8], operation: Operation) -> Bytes {
    // Reads every shape that servers give errors.
    let fault = openai::fault(status, headers, said);
    let failure = Failure {
        status,
        text: fault.message.clone(),
        ..Failure::of_fault(&fault, "")
    };
    let style = ErrorStyle::of(operation);
    let embeds = ClientForm::of(operation).is_some_and(ClientForm::embeds);
    failure
        .in_words_of(style, embeds, Duration::ZERO)
        .body(style, None)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn told(status: u16, said: &str, operation: Operation) -> String {
        let body = body_of(status, &HeaderMap::new(), said.as_bytes(), operation);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn words_fields_and_codes_stay_and_what_is_private_goes() {
        for (status, said, expected) in [
            (
                422,
                r#"{"detail":[{"type":"missing","loc":["body","messages",0,"role"],"msg":"Field required"}]}"#,
                r#"{"error":{"message":"Field required","type":"invalid_request_error","param":"messages.0.role","code":null}}"#,
            ),
            (
                400,
                r#"{"object":"error","message":"no","type":"BadRequestError","param":"top_p","code":400}"#,
                r#"{"error":{"message":"no","type":"invalid_request_error","param":"top_p","code":null}}"#,
            ),
            (
                400,
                r#"{"code":"bad_thing","message":"see http://10.0.0.7/x"}"#,
                r#"{"error":{"message":"see [hidden]","type":"invalid_request_error","param":null,"code":"bad_thing"}}"#,
            ),
            (
                413,
                "<html>secret</html>",
                r#"{"error":{"message":"the provider answered with status 413","type":"invalid_request_error","param":null,"code":null}}"#,
            ),
        ] {
            assert_eq!(told(status, said, Operation::OpenAiChat), expected);
        }
        assert_eq!(
            told(400, "no such field", Operation::AnthropicMessages),
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"no such field"}}"#
        );
        let long = "word ".repeat(10_000);
        assert!(told(404, &long, Operation::Chat).len() < 1_100);
    }
}
