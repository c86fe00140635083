//! Which of Ollama's 500 answers are the request's fault: another backend would say the same, and the
//! one that said it is well.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error_text::error_text;

/// Beginnings of the errors that Ollama answers with 500 although the request is wrong (api/types.go,
/// server/routes.go: option types are checked when a runner is scheduled, `format` when it runs).
const REQUEST_FAULTS: [&str; 5] = [
    "invalid format",
    "option \"",
    "invalid options",
    "failed to parse grammar",
    "unable to create sampling context: failed to parse grammar",
];

/// Returns whether `body`, the answer to a request that failed with 500, blames the request.
pub fn is_request_fault(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: &'a RawValue,
    }
    serde_json::from_slice::<Body<'_>>(body)
        .ok()
        .and_then(|body| error_text(body.error))
        .is_some_and(|text| REQUEST_FAULTS.iter().any(|fault| text.starts_with(fault)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_requests_fault_from_the_servers() {
        assert!(is_request_fault(
            br#"{"error":"option \"num_ctx\" must be of type integer"}"#
        ));
        assert!(is_request_fault(
            br#"{"error":"invalid format: \"xml\"; expected \"json\""}"#
        ));
        assert!(is_request_fault(
            br#"{ "code" : 500, "error" : "invalid format: \"xml\"" }"#
        ));
        assert!(!is_request_fault(
            br#"{"error":"model runner has unexpectedly stopped"}"#
        ));
        assert!(!is_request_fault(b"Internal Server Error"));
        assert!(!is_request_fault(b"\xff"));
    }
}
