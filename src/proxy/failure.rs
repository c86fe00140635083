//! What went wrong with a request, as its client is told: status, a code for logs and metrics, a
//! text that says what to do, in the client's own format.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::attempt::Word;
use crate::admission::Refusal;
use crate::dialect::ollama::{self, ErrorStyle};
use crate::fleet::{RestCause, Resting, Unavailable};
use crate::ir::{Class, Fault, FaultKind};

/// The code of a wait in vain.
const QUEUE_TIMEOUT: &str = "queue_timeout";

/// The code of a request that no backend could take.
const NOBODY_HEALTHY: &str = "no_healthy_backend";

/// The code of a provider without capacity.
const OVERLOADED: &str = "provider_overloaded";

/// A request that ends with an error of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {text}")]
pub(super) struct Failure {
    /// HTTP status.
    pub(super) status: u16,
    /// One of a few constants, for logs.
    pub(super) code: &'static str,
    /// For the client; never holds a credential or a prompt.
    pub(super) text: Cow<'static, str>,
    /// Seconds for `Retry-After`.
    pub(super) retry_after: Option<u32>,
    /// For `Allow`, with 405.
    pub(super) allow: Option<&'static str>,
    /// The request's body was not read to its end, so its connection cannot serve another.
    pub(super) close: bool,
    /// A text of the port-range balancer, whose clients read it under the key `detail`.
    pub(super) detail: bool,
    /// OpenAI's `code`, where a client may act on it.
    pub(super) api_code: Option<&'static str>,
    /// The request field that is wrong.
    pub(super) param: Option<&'static str>,
    /// No candidate is left, so asking again at once is in vain.
    pub(super) final_word: bool,
}

impl Failure {
    pub(super) fn new(status: u16, code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            retry_after: None,
            allow: None,
            close: false,
            detail: false,
            api_code: None,
            param: None,
            final_word: false,
        }
    }

    fn in_balancers_words(status: u16, code: &'static str, text: &'static str) -> Self {
        Self {
            detail: true,
            ..Self::new(status, code, text)
        }
    }

    pub(super) fn streaming_refused() -> Self {
        Self::in_balancers_words(400, "streaming_refused", ollama::STREAMING_REFUSED)
    }

    pub(super) fn no_healthy_backend() -> Self {
        Self::in_balancers_words(503, NOBODY_HEALTHY, ollama::NO_HEALTHY_BACKENDS)
    }

    pub(super) fn queue_timeout() -> Self {
        Self::in_balancers_words(503, QUEUE_TIMEOUT, ollama::QUEUE_TIMEOUT)
    }

    pub(super) fn all_attempts_failed() -> Self {
        Self::in_balancers_words(502, "all_attempts_failed", ollama::ALL_ATTEMPTS_FAILED)
    }

    /// What is told of Ollama servers, of these services: the queue's timeout as a balancer of cloud services tells it.
    pub(super) fn in_words_of_services(self, names: &[&str], timeout: Duration) -> Self {
        let seconds = timeout.as_secs_f64();
        let text = match (self.code, names) {
            (QUEUE_TIMEOUT, _) => {
                format!("Request queue timeout after {seconds}s - server overloaded")
            }
            (NOBODY_HEALTHY, [one]) => {
                format!("provider {one} cannot be reached at the moment; /health says why")
            }
            (NOBODY_HEALTHY, _) => format!(
                "none of the providers {} can be reached at the moment; /health says why",
                names.join(", ")
            ),
            _ => return self,
        };
        Self {
            text: text.into(),
            detail: false,
            ..self
        }
    }

    /// Something that is known to be down may not be called absent.
    pub(super) fn down(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, "down", text).retry_after(1)
    }

    /// 503 for a request that still waits when the drain is over.
    pub(super) fn shutting_down() -> Self {
        Self::new(503, "shutting_down", "the gateway is shutting down").retry_after(1)
    }

    /// The balancer of Ollama servers and that of OpenAI's clients have each their own words for a wait in vain, and
    /// Anthropic has a status of its own for an overload.
    pub(super) fn in_words_of(self, style: ErrorStyle, waited: Duration) -> Self {
        if self.code == OVERLOADED && self.status == 503 && style == ErrorStyle::Anthropic {
            return Failure {
                status: 529,
                ..self
            };
        }
        let openai = matches!(style, ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses);
        if self.code != QUEUE_TIMEOUT || !openai {
            return self;
        }
        let seconds = waited.as_secs_f64();
        Failure {
            text: format!("Request queue timeout after {seconds}s - server overloaded").into(),
            ..self
        }
    }

    /// The body of the answer.
    pub(super) fn body(&self, style: ErrorStyle) -> Bytes {
        match style {
            ErrorStyle::Ollama if self.detail => ollama::error_body_with_detail(&self.text),
            _ => style.body_with(self.status, &self.text, self.api_code, self.param),
        }
    }

    /// What the client is told of a provider's error: by what can be done about it, never by copying its status.
    pub(super) fn of_fault(fault: &Fault, provider: &str) -> Self {
        let text = match fault.kind {
            FaultKind::Credentials | FaultKind::Billing => credentials_refused(provider),
            _ => format!("provider {provider}: {}", fault.message),
        };
        let retry_after = fault
            .retry_after
            .map(|after| u32::try_from(after.as_secs().clamp(1, MOST_RETRY_AFTER)).unwrap_or(1));
        Self {
            retry_after: match fault.class {
                Class::Capacity => retry_after.or(Some(1)),
                _ => None,
            },
            api_code: match fault.kind {
                FaultKind::ContextLength => Some("context_length_exceeded"),
                FaultKind::ContentFilter => Some("content_filter"),
                FaultKind::ModelNotFound => Some("model_not_found"),
                FaultKind::RateLimit => Some("rate_limit_exceeded"),
                _ => None,
            },
            ..Self::new(fault.client_status(), code_of(fault), text)
        }
    }

    /// Several providers were asked, and none gave an answer: what each said, with the status of the `last` word.
    pub(super) fn all_providers_failed(last: Option<Word>, errors: &[String]) -> Self {
        let errors = errors.iter().map(|error| format!("{error:?}"));
        let errors: Vec<String> = errors.collect();
        let text = format!("All providers failed. Errors: [{}]", errors.join(", "));
        match last {
            Some(Word::Failure(failure)) => Self {
                text: text.into(),
                param: None,
                ..*failure
            },
            _ => Self::new(502, "all_attempts_failed", text),
        }
    }

    /// The provider is not asked for now.
    pub(super) fn unavailable(provider: &str, why: &Unavailable, now: Instant) -> Self {
        let (status, code, text) = match why {
            Unavailable::Open { cause, .. } => (
                503,
                "breaker_open",
                format!("provider {provider}: is left alone for a while, as {cause}"),
            ),
            Unavailable::Resting(Resting { cause, .. }) => match cause {
                RestCause::RateLimited | RestCause::UsedUp => (
                    429,
                    "provider_rate_limit",
                    format!("provider {provider}: {cause}"),
                ),
                RestCause::Overloaded => (503, OVERLOADED, format!("provider {provider}: {cause}")),
                RestCause::Refused | RestCause::Spent => {
                    (502, "provider_credentials", credentials_refused(provider))
                }
            },
        };
        let wait = why.until().saturating_duration_since(now);
        let seconds = (wait.as_secs_f64().ceil() as u64).clamp(1, MOST_RETRY_AFTER);
        Self {
            retry_after: u32::try_from(seconds).ok().filter(|_| status != 502),
            api_code: (status == 429).then_some("rate_limit_exceeded"),
            ..Self::new(status, code, text)
        }
    }

    /// What a provider said, without its name.
    pub(super) fn said(&self) -> &str {
        match self.text.strip_prefix("provider ") {
            Some(rest) => rest.split_once(": ").map_or(rest, |(_, said)| said),
            None => &self.text,
        }
    }

    /// With `Retry-After`.
    #[must_use]
    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Ends the client's connection after the answer.
    #[must_use]
    pub(super) fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    pub(super) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "bad_request", text)
    }
}

fn credentials_refused(provider: &str) -> String {
    format!(
        "provider {provider} refuses the gateway's credentials or account; its operator has to look at them"
    )
}

/// Seconds after which a client is asked to come back at most.
const MOST_RETRY_AFTER: u64 = 120;

/// For logs.
fn code_of(fault: &Fault) -> &'static str {
    match fault.kind {
        FaultKind::InvalidRequest => "provider_refused",
        FaultKind::ContextLength => "context_length",
        FaultKind::TooLarge => "provider_too_large",
        FaultKind::ContentFilter => "content_filter",
        FaultKind::Credentials => "provider_credentials",
        FaultKind::Billing => "provider_billing",
        FaultKind::ModelNotFound => "model_not_found",
        FaultKind::Unsupported => "provider_unsupported",
        FaultKind::RateLimit => "provider_rate_limit",
        FaultKind::Overloaded => OVERLOADED,
        FaultKind::Timeout => "provider_timeout",
        FaultKind::Server => "provider_error",
        FaultKind::Incomplete => "broken_stream",
        FaultKind::Garbled => "provider_garbled",
    }
}

/// Why a request's journey ended before its answer was whole.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing was sent yet: the client gets this.
    Failure(Failure),
    /// The client left; there is nobody to answer.
    ClientGone,
    /// The answer broke after its head and cannot be mended: the connection ends, so that it never
    /// looks complete.
    Broken,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failure(failure)
    }
}

/// What the client is told when it gets no slot.
pub(super) fn refused(refusal: &Refusal, not_found: impl Fn() -> Failure) -> Failure {
    let seconds = |after: &Duration| u32::try_from(after.as_secs().max(1)).unwrap_or(u32::MAX);
    match refusal {
        Refusal::UnknownModel => not_found(),
        Refusal::UnknownBackend => Failure::bad_request(
            "X-Backend names no known backend; GET /__proxy/backends lists them",
        ),
        Refusal::QueueFull { retry_after } => {
            Failure::new(503, "queue_full", ollama::SERVER_BUSY).retry_after(seconds(retry_after))
        }
        Refusal::TimedOut {
            healthy: true,
            retry_after,
        } => Failure::queue_timeout().retry_after(seconds(retry_after)),
        Refusal::TimedOut {
            healthy: false,
            retry_after,
        }
        | Refusal::NoHealthyBackend { retry_after } => {
            Failure::no_healthy_backend().retry_after(seconds(retry_after))
        }
        // Who is told of it looks for another way; there is none left.
        Refusal::Closed | Refusal::Exhausted => Failure::all_attempts_failed(),
    }
}
