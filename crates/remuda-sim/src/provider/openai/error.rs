//! Refusals of OpenAI's API and of those that imitate it: status, message, type, parameter, code.

use serde_json::{Value, json};

use super::super::exchange::{Failed, Reply};

/// Why a request is refused; each dialect words it in its own shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<String>,
}

impl Refusal {
    /// Returns a 400 without a parameter or a code.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            message: message.into(),
            kind: "invalid_request_error",
            param: None,
            code: None,
        }
    }

    pub(crate) fn of(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn code(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn missing(param: &str) -> Self {
        Self::bad(format!("Missing required parameter: '{param}'."))
            .of(param)
            .code("missing_required_parameter")
    }

    pub(crate) fn unsupported(param: &str, hint: &str) -> Self {
        Self::bad(format!(
            "Unsupported parameter: '{param}' is not supported with this model.{hint}"
        ))
        .of(param)
        .code("unsupported_parameter")
    }

    pub(crate) fn value(param: &str, got: &str, supported: &[&str]) -> Self {
        Self::bad(format!(
            "Invalid value: '{got}'. Supported values are: {}.",
            listed(supported)
        ))
        .of(param)
        .code("invalid_value")
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        Self::bad(format!(
            "The model `{model}` does not exist or you do not have access to it."
        ))
        .status(404)
        .code("model_not_found")
    }

    pub(crate) fn unknown_url(method: &hyper::Method, path: &str) -> Self {
        Self::bad(format!("Invalid URL ({method} {path})")).status(404)
    }

    pub(crate) fn wrong_method(method: &hyper::Method, path: &str) -> Self {
        Self::bad(format!("Not allowed to {method} on {path}."))
            .status(405)
            .code("method_not_supported")
    }

    /// Returns what OpenAI says with a status that was asked for as a fault.
    pub(crate) fn failed(failed: &Failed, model: &str) -> Self {
        let code = failed.code.as_deref();
        let (kind, usual, message) = usual(failed.status, code, model);
        Self {
            status: failed.status,
            message: failed.message.clone().unwrap_or(message),
            kind,
            param: None,
            code: failed.code.clone().or(usual.map(str::to_owned)),
        }
    }

    /// `{"message", "type", "param", "code"}`.
    pub(crate) fn value_of(&self) -> Value {
        json!({"message": self.message, "type": self.kind, "param": self.param, "code": self.code})
    }

    pub(crate) fn reply(&self) -> Reply {
        Reply::json(self.status, &json!({"error": self.value_of()}))
    }
}

/// Type, code and message that come with a status.
fn usual(
    status: u16,
    code: Option<&str>,
    model: &str,
) -> (&'static str, Option<&'static str>, String) {
    let plain = "invalid_request_error";
    match status {
        429 if code == Some("insufficient_quota") => (
            "insufficient_quota",
            None,
            "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.".into(),
        ),
        429 => (
            "requests",
            Some("rate_limit_exceeded"),
            format!("Rate limit reached for {model} in organization org-sim on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms. Visit https://platform.openai.com/account/rate-limits to learn more."),
        ),
        401 => (
            plain,
            Some("invalid_api_key"),
            "Incorrect API key provided: sk-sim**********key. You can find your API key at https://platform.openai.com/account/api-keys.".into(),
        ),
        403 => (
            plain,
            Some("unsupported_country_region_territory"),
            "Country, region, or territory not supported".into(),
        ),
        404 => (
            plain,
            Some("model_not_found"),
            format!("The model `{model}` does not exist or you do not have access to it."),
        ),
        400 if code == Some("context_length_exceeded") => (
            plain,
            None,
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens. Please reduce the length of the messages.".into(),
        ),
        503 => (
            "server_error",
            None,
            "That model is currently overloaded with other requests. You can retry your request, or contact us through our help center at help.openai.com if the error persists.".into(),
        ),
        500.. => (
            "server_error",
            None,
            "The server had an error while processing your request. Sorry about that!".into(),
        ),
        _ => (plain, None, "The request was refused.".into()),
    }
}

/// `'a', 'b', and 'c'`.
pub(crate) fn listed(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [most @ .., last] => format!("{}, and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_gets_the_words_that_belong_to_it() {
        let failed = |status, code: Option<&str>| Failed {
            status,
            message: None,
            code: code.map(str::to_owned),
            retry_after: None,
        };
        let quota = Refusal::failed(&failed(429, Some("insufficient_quota")), "m");
        assert_eq!(quota.value_of()["type"], "insufficient_quota");
        let rate = Refusal::failed(&failed(429, None), "m").value_of();
        assert_eq!(rate["code"], "rate_limit_exceeded");
        assert_eq!(rate["type"], "requests");
        assert!(Refusal::failed(&failed(500, None), "m").value_of()["code"].is_null());
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(listed(&["a", "b", "c"]), "'a', 'b', and 'c'");
        assert_eq!(listed(&["a", "b"]), "'a' and 'b'");
    }
}
