//! What can go wrong with a request and with an attempt. [`Failure`] is what the gateway itself tells a client: status, a code
//! for logs and metrics, and a text that says what to do, in the client's own format.

pub(super) mod attempt;
pub(super) mod deadline;
pub(super) mod error_answer;
pub(super) mod reasons;
pub(super) mod words;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::admission::NoSlot;
use crate::fleet::{RestCause, Resting, Unavailable};
use remuda_formats::client::{ErrorBody, ErrorStyle};
use remuda_formats::dialect::ollama;
use remuda_formats::dialect::overflow;
use remuda_formats::ir::{Class, Fault, FaultKind, Overflow, Refused};

/// The code of a wait in vain.
const QUEUE_TIMEOUT: &str = "queue_timeout";

/// The code of a request that no backend could take.
const NOBODY_HEALTHY: &str = "no_healthy_backend";

/// The code of a provider without capacity.
const OVERLOADED: &str = "provider_overloaded";

/// What a client of the port-range balancer reads under the key `detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BalancerDetail {
    /// The failure's text, which is the balancer's own.
    AsTold,
    /// That all attempts failed; the failure's text goes on with their reasons.
    AllAttemptsFailed,
}

/// A request that ends with an error of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {code}: {text}")]
pub(crate) struct Failure {
    /// The HTTP status.
    pub(crate) status: u16,
    /// What went wrong, as one of a few constants for logs and metrics.
    pub(crate) code: &'static str,
    /// What the client reads; it never holds a credential or a prompt.
    pub(crate) text: Cow<'static, str>,
    /// Seconds for `Retry-After`.
    pub(crate) retry_after: Option<u32>,
    /// For `Allow`, with 405.
    pub(crate) allow: Option<&'static str>,
    /// The request's body was not read to its end, so its connection cannot serve another.
    pub(crate) close: bool,
    /// What clients of the port-range balancer read under the key `detail`, if the text is that program's.
    pub(crate) detail: Option<BalancerDetail>,
    /// OpenAI's `code`, where a client may act on it.
    pub(crate) api_code: Option<Cow<'static, str>>,
    /// The request field that is wrong.
    pub(crate) param: Option<Box<str>>,
    /// By how much a prompt is too long; clients of some formats know it by words of their own.
    pub(crate) overflow: Option<Box<Overflow>>,
    /// No candidate is left, so asking again at once is in vain.
    pub(crate) final_word: bool,
}

impl Failure {
    pub(crate) fn new(status: u16, code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            retry_after: None,
            allow: None,
            close: false,
            detail: None,
            api_code: None,
            param: None,
            overflow: None,
            final_word: false,
        }
    }

    fn in_balancers_words(status: u16, code: &'static str, text: &'static str) -> Self {
        Self {
            detail: Some(BalancerDetail::AsTold),
            ..Self::new(status, code, text)
        }
    }

    pub(crate) fn streaming_refused() -> Self {
        Self::in_balancers_words(400, "streaming_refused", words::STREAMING_REFUSED)
    }

    pub(crate) fn no_healthy_backend() -> Self {
        Self::in_balancers_words(503, NOBODY_HEALTHY, words::NO_HEALTHY_BACKENDS)
    }

    pub(crate) fn queue_timeout() -> Self {
        Self::in_balancers_words(503, QUEUE_TIMEOUT, words::WAITED_IN_VAIN)
    }

    pub(crate) fn all_attempts_failed() -> Self {
        Self::in_balancers_words(502, "all_attempts_failed", words::ALL_ATTEMPTS_FAILED)
    }

    /// Returns the failure as it is told of services instead of Ollama servers: a timeout of the queue in the words of a
    /// balancer of cloud services, and who cannot be reached by the services' names.
    pub(crate) fn in_words_of_services(self, names: &[&str], timeout: Duration) -> Self {
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
            detail: None,
            ..self
        }
    }

    /// Makes the failure of something that is known to be down, which may not be called absent.
    pub(crate) fn down(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, "down", text).retry_after(1)
    }

    /// Makes the failure of a prompt of so many tokens that no context of a model's holds.
    pub(crate) fn too_long(tokens: u32, most: u32) -> Self {
        let text = format!(
            "the prompt has about {tokens} tokens, and the model's context is {most} tokens at most; shorten the prompt"
        );
        Self {
            api_code: Some("context_length_exceeded".into()),
            param: Some("messages".into()),
            overflow: Some(Box::new(Overflow {
                input: Some(tokens.max(most.saturating_add(1)).into()),
                most: Some(most.into()),
                ..Overflow::default()
            })),
            ..Self::new(400, "context_length", text)
        }
    }

    /// Makes the failure of a model that no server can load for now; `cause` is what a server has said of it.
    pub(crate) fn cannot_load(cause: &str, retry_after: Duration) -> Self {
        let text = match cause {
            "" => "the model could not be loaded",
            cause => cause,
        };
        Self {
            retry_after: Some(seconds_until(retry_after)),
            ..Self::new(500, "cannot_load", text.to_owned())
        }
    }

    /// Makes the failure (503) of a request that still waits when the drain is over.
    pub(crate) fn shutting_down() -> Self {
        Self::new(503, "shutting_down", "the gateway is shutting down").retry_after(1)
    }

    /// Returns the failure as clients of that API know it: those of Ollama's and of OpenAI's have each their own words for a wait
    /// in vain, Anthropic's know an overload by a status of its own, and a prompt that is too long is known by words where the API
    /// has no code for it.
    pub(crate) fn in_words_of(self, style: ErrorStyle, embeds: bool, waited: Duration) -> Self {
        if let Some(by) = &self.overflow {
            let text = match style {
                ErrorStyle::Ollama => overflow::in_words_of_ollama(by, embeds).into(),
                ErrorStyle::Anthropic => overflow::in_words_of_anthropic(by, self.said()).into(),
                // These have a code for it.
                ErrorStyle::OpenAi | ErrorStyle::OpenAiResponses => self.text.clone(),
            };
            return Failure { text, ..self };
        }
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

    /// Returns the parts of the failure that API formats have a place for.
    pub(crate) fn told(&self) -> ErrorBody<'_> {
        ErrorBody {
            code: self.api_code.as_deref(),
            param: self.param.as_deref(),
            ..ErrorBody::new(self.status, &self.text)
        }
    }

    /// Returns the body of the answer.
    pub(crate) fn body(&self, style: ErrorStyle, request_id: Option<&str>) -> Bytes {
        let detail = self.detail.map(|detail| match detail {
            BalancerDetail::AsTold => &*self.text,
            BalancerDetail::AllAttemptsFailed => words::ALL_ATTEMPTS_FAILED,
        });
        match (style, detail) {
            (ErrorStyle::Ollama, Some(detail)) => {
                ollama::error_body_with_detail(&self.text, detail)
            }
            _ => style.body_of(&ErrorBody {
                request_id,
                ..self.told()
            }),
        }
    }

    /// Returns what the client is told of a provider's error: by what can be done about it, never by copying its status.
    pub(crate) fn of_fault(fault: &Fault, provider: &str) -> Self {
        let text = if is_the_operators(fault) {
            credentials_refused(provider)
        } else {
            format!("provider {provider}: {}", fault.message)
        };
        let code = match fault.kind {
            FaultKind::ContextLength => Some("context_length_exceeded"),
            FaultKind::ContentFilter => Some("content_filter"),
            FaultKind::ModelNotFound => Some("model_not_found"),
            FaultKind::RateLimit => Some("rate_limit_exceeded"),
            _ => None,
        };
        // Where clients act on a code, it is the one that they know.
        let own = fault
            .code
            .clone()
            .map(|code| Cow::Owned(code.into_string()));
        let own = own.filter(|_| fault.kind != FaultKind::ContextLength);
        let retry_after = fault.retry_after.map(seconds_until);
        Self {
            retry_after: match fault.class {
                Class::Capacity => retry_after.or(Some(1)),
                Class::Transient => retry_after,
                Class::Permanent | Class::Route => None,
            },
            api_code: own.or(code.map(Cow::Borrowed)),
            param: fault.param.as_deref().map(Into::into),
            overflow: fault.overflow.clone(),
            ..Self::new(fault.client_status(), code_of(fault), text)
        }
    }

    /// Returns what the client is told of an error of an Ollama server, which is what clients of Ollama's own format are told,
    /// where errors pass as they are. `status` is the server's; `None` for an error within a stream.
    pub(crate) fn of_server(fault: &Fault, provider: &str, status: Option<u16>) -> Self {
        let failure = Self::of_fault(fault, provider);
        let own = match (fault.class, fault.kind) {
            (Class::Transient, FaultKind::Server) | (Class::Route, FaultKind::InvalidRequest) => {
                status.or(Some(500))
            }
            // What none of its models can do.
            (Class::Route, FaultKind::Unsupported) => status,
            _ => None,
        };
        Self {
            text: if is_the_operators(fault) {
                failure.text
            } else {
                fault.message.clone()
            },
            status: own
                .filter(|own| (500..600).contains(own))
                .unwrap_or(failure.status),
            ..failure
        }
    }

    /// Makes the failure of a provider that is not asked for now, for that reason.
    pub(crate) fn unavailable(provider: &str, why: &Unavailable, now: Instant) -> Self {
        let (status, code, text) = match why {
            Unavailable::Open {
                cause, of_model, ..
            } => (
                503,
                "breaker_open",
                if *of_model {
                    format!(
                        "provider {provider}: is not asked for this model for a while, as {cause}"
                    )
                } else {
                    format!("provider {provider}: is left alone for a while, as {cause}")
                },
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
        Self {
            retry_after: Some(seconds_until(wait)).filter(|_| status != 502),
            api_code: (status == 429).then_some("rate_limit_exceeded".into()),
            ..Self::new(status, code, text)
        }
    }

    /// Returns what a provider said, without its name.
    pub(crate) fn said(&self) -> &str {
        match self.text.strip_prefix("provider ") {
            Some(rest) => rest.split_once(": ").map_or(rest, |(_, said)| said),
            None => &self.text,
        }
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..self
        }
    }

    /// Ends the client's connection after the answer.
    #[must_use]
    pub(crate) fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    /// Makes the failure of what cannot be expressed in the provider's format.
    pub(crate) fn inexpressible(refused: Refused) -> Box<Self> {
        Box::new(Self {
            param: refused.param.map(Into::into),
            ..Self::bad_request(refused.text)
        })
    }

    /// Makes the failure of a request whose path or fields a head cannot hold.
    pub(crate) fn unwritable() -> Box<Self> {
        Box::new(Self::bad_request(
            "the request's path or a header field cannot be written for the backend",
        ))
    }

    /// Makes the failure of a request that was refused and of which nothing can be left out. The client is not told of it, but
    /// of the provider's own error.
    pub(crate) fn unmendable() -> Box<Self> {
        Box::new(Self::bad_request("there is nothing to be left out"))
    }

    pub(crate) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "bad_request", text)
    }
}

pub(crate) fn credentials_refused(provider: &str) -> String {
    format!(
        "provider {provider} refuses the gateway's credentials or account; its operator has to look at them"
    )
}

/// The most seconds after which a client is asked to come back.
const MOST_RETRY_AFTER: u32 = 120;

/// Returns a wait in whole seconds, rounded up so that a client which comes back as told is not early.
fn seconds_until(wait: Duration) -> u32 {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000));
    seconds.unwrap_or(u32::MAX).clamp(1, MOST_RETRY_AFTER)
}

/// Returns whether a fault is for the operator to mend, so that the client is not told of it in the provider's words.
pub(crate) fn is_the_operators(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Credentials | FaultKind::Billing)
}

/// Returns the code by which logs and metrics know a fault.
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

/// Why a request ended before its answer was whole.
#[derive(Debug)]
pub(crate) enum Stop {
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

/// Returns what the client is told when it gets no slot.
pub(crate) fn refused(refusal: &NoSlot, not_found: impl Fn() -> Failure) -> Failure {
    let seconds = |after: &Duration| u32::try_from(after.as_secs().max(1)).unwrap_or(u32::MAX);
    match refusal {
        NoSlot::UnknownModel => not_found(),
        NoSlot::UnknownBackend => Failure::bad_request(
            "X-Backend names no known backend; GET /__proxy/backends lists them",
        ),
        NoSlot::QueueFull { retry_after } => {
            Failure::new(503, "queue_full", ollama::SERVER_BUSY).retry_after(seconds(retry_after))
        }
        NoSlot::TimedOut {
            healthy: true,
            retry_after,
        } => Failure::queue_timeout().retry_after(seconds(retry_after)),
        NoSlot::TimedOut {
            healthy: false,
            retry_after,
        }
        | NoSlot::NoHealthyBackend { retry_after }
        | NoSlot::CannotLoad { retry_after } => {
            Failure::no_healthy_backend().retry_after(seconds(retry_after))
        }
        NoSlot::TooLong { largest } => Failure::bad_request(format!(
            "the prompt is longer than the context of the model: {largest} tokens at most"
        )),
        // Who is told of it looks for another way; there is none left.
        NoSlot::Closed | NoSlot::Exhausted => Failure::all_attempts_failed(),
    }
}
